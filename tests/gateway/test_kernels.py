"""A notebook that computes counts as somebody at work; one that waits does not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from mydocker_hub.services.gateway.kernels import busy

from .test_presence import reports
from .world import GatewayProcess, Server, wait_for

OFTEN = """
import dataclasses
from mydocker_hub.services.gateway.state import Settings
usual = Settings.from_environ()
Settings.from_environ = lambda: dataclasses.replace(
    usual, presence_seconds=0.2, kernels_seconds=0.2
)
"""


@pytest.fixture(scope="module")
def often(world) -> Iterator[GatewayProcess]:
    process = world.new_gateway(before=OFTEN).start()
    yield process
    process.stop()  # it would go on reporting, to who looks at reports after us


def running(world, often, answer: object, sign_in: str = "jupyter", **changes) -> Server:
    """A server whose program says this of its kernels."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    path = world.container.says(body=body, **changes)
    server = world.server(prefix=f"{path}/", keeps=True, sign_in=sign_in)
    server.push(often)
    return server


def asked(world, server: Server) -> list:
    return [one for one in world.container.asked if one.target.startswith(server.base)]


@pytest.mark.parametrize("state", ["busy", "idle", "starting"])
def test_a_kernel_that_computes_is_somebody_at_work(world, often, state: str) -> None:
    kernels = [{"execution_state": "idle"}, {"execution_state": state, "id": "x"}]
    server = running(world, often, kernels)
    wait_for(lambda: len(asked(world, server)) > 2, "Jupyter is not asked")
    question = asked(world, server)[0]
    assert question.target.endswith("api/kernels?no_track_activity=1")
    assert question.one("Authorization") == f"token {server.secret}"
    if state == "busy":
        wait_for(lambda: reports(server), "nothing was reported")
    else:
        time.sleep(0.5)
        assert reports(server) == []


def test_only_jupyter_is_asked(world, often) -> None:
    server = running(world, often, [{"execution_state": "busy"}], sign_in="none")
    time.sleep(0.6)
    assert asked(world, server) == []
    assert reports(server) == []


def test_one_that_fails_holds_up_no_other(world, often) -> None:
    running(world, often, b"", status=500)
    server = running(world, often, [{"execution_state": "busy"}])
    wait_for(lambda: reports(server), "nothing was reported")


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b"1", b"{}", b"[1]", b'"busy"', b"[" * 100_000, b"\xff", b"[null]"]
)
def test_an_answer_may_be_anything(answer: bytes) -> None:
    assert not busy(answer)
