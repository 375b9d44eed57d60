"""A hub with a second teacher: what colleagues do with each other's environments."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import RunHub
from .hub import RunningHub, Visitor

PREFIX = "/services/catalogue/"
WORKSHOP = f"{PREFIX}workshop/environments"

# Two more people of the demonstration: a teacher, and a student who is in a test of their own.
_MORE_PEOPLE = """
from mydocker_hub import authenticator
for name, shown, role in (("dora", "Dora", "teacher"), ("emil", "Emil", "student")):
    authenticator.DEMO_ACCOUNTS[name] = (shown, authenticator.Role(role))
    c.JupyterHub.template_vars["demo_accounts"].append(
        {"name": name, "display_name": shown, "role": role}
    )
"""


@pytest.fixture(scope="module")
def hub(run_hub: RunHub) -> Iterator[RunningHub]:
    """A hub of the demonstration with the teachers bob and dora, the students alice and emil."""
    with run_hub(config=_MORE_PEOPLE) as running:
        yield running


def definition(slug: str = "", **changes: Any) -> dict[str, Any]:
    """A small environment that starts at once; its name is new."""
    return {
        "slug": slug or f"w-{secrets.token_hex(4)}",
        "title": {"fr": "Atelier d'essai", "en": "Workshop test"},
        "status": "ready",
        "image": "mydocker-test/busybox:1",
        "interfaces": [{"name": "web", "title": "Web"}],
        "resources": {"cpu_limit": 0.5, "memory_bytes": 64_000_000, "shm_bytes": 16_000_000},
        "storage": {"dedicated": "/data/mine"},
        **changes,
    }


def make(visitor: Visitor, slug: str = "", **changes: Any) -> str:
    """Make an environment as this person; its name."""
    sent = definition(slug, **changes)
    answer = api(visitor, "POST", "/environments", sent)
    assert answer.status_code == 201, answer.text
    return str(sent["slug"])


def api(visitor: Visitor, method: str, path: str, body: Any = None, etag: str = "") -> Any:
    """The catalogue's REST API as this person."""
    headers = {"Authorization": f"Bearer {visitor.token()}", "Accept-Language": "en"}
    if etag:
        headers["If-Match"] = etag
    return visitor.session.request(
        method, f"{visitor.hub.url}{PREFIX}api{path}", json=body, headers=headers, timeout=30
    )
