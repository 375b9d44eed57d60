"""Which machines may run something: Swarm's own placement constraints."""

from __future__ import annotations

import pytest

from mydocker_hub.domain.machines import Machine

MACHINE = Machine(
    id="abc123",
    name="Node-1",
    role="worker",
    system="linux",
    architecture="x86_64",
    labels={"gpu": "A100", "Zone": "b"},
    engine_labels={"disk": "ssd"},
)


@pytest.mark.parametrize(
    ("constraint", "fits"),
    [
        ("node.role==worker", True),
        ("node.role == manager", False),
        ("node.role != manager", True),
        ("node.labels.gpu==a100", True),  # values without regard to case, as swarmkit does
        ("node.labels.Zone==b", True),
        ("node.labels.gpu!=A100", False),
        ("node.labels.none==x", False),
        ("node.labels.none!=x", True),
        ("engine.labels.disk==ssd", True),
        ("node.hostname==node-1", True),
        ("node.id==abc123", True),
        ("node.platform.os==linux", True),
        ("node.platform.arch==arm64", False),
        ("something.else==x", False),
        ("something.else!=x", False),
        ("no constraint", False),
    ],
)
def test_a_constraint(constraint: str, fits: bool) -> None:
    assert MACHINE.may_run([constraint]) is fits


def test_all_of_them_have_to_fit() -> None:
    assert MACHINE.may_run([])
    assert MACHINE.may_run(["node.role==worker", "node.labels.gpu==a100"])
    assert not MACHINE.may_run(["node.role==worker", "node.labels.gpu==t4"])
