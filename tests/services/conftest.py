"""The catalogue service as the hub runs it, and who asks it.

Askers are a module's, since some modules have a hub of their own.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from tests.hub import RunningHub

API = "/services/catalogue/api"


@dataclass
class Asker:
    """Somebody with a token: a person's, the hub's secret, or none."""

    url: str
    token: str = ""

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Accept-Language": "en", **options.pop("headers", {})}
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        return requests.request(
            method,
            f"{self.url}{API}{path}",
            headers=headers,
            timeout=30,
            allow_redirects=False,
            **options,
        )

    def get(self, path: str, **options: Any) -> requests.Response:
        return self("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> requests.Response:
        return self("POST", path, json=json, **options)

    def put(self, path: str, json: Any = None, etag: str = "", **options: Any) -> requests.Response:
        headers = {"If-Match": etag} if etag else {}
        return self("PUT", path, json=json, headers=headers, **options)

    def delete(self, path: str, etag: str = "") -> requests.Response:
        return self("DELETE", path, headers={"If-Match": etag} if etag else {})


def _person(hub: RunningHub, name: str) -> Asker:
    with hub.signed_in(name) as visitor:
        return Asker(hub.url, visitor.token())


@pytest.fixture(scope="module")
def alice(hub: RunningHub) -> Asker:
    """A student."""
    return _person(hub, "alice")


@pytest.fixture(scope="module")
def bob(hub: RunningHub) -> Asker:
    """A teacher."""
    return _person(hub, "bob")


@pytest.fixture(scope="module")
def carol(hub: RunningHub) -> Asker:
    """An administrator."""
    return _person(hub, "carol")


@pytest.fixture(scope="session")
def the_hub(hub: RunningHub) -> Asker:
    """The hub itself, with the secret that it shares with the service."""
    return Asker(hub.url, (hub.state / "catalogue_secret").read_text())


@pytest.fixture(scope="module")
def direct(hub: RunningHub) -> str:
    """The service's own address, without the proxy, which refuses some things itself."""
    match = re.search(r"catalogue listens on ([0-9.:]+)", hub.log())
    assert match
    return f"http://{match[1]}"


@pytest.fixture(scope="session")
def nobody(hub: RunningHub) -> Asker:
    return Asker(hub.url)


def definition(slug: str = "", **changes: Any) -> dict[str, Any]:
    """What is sent to make an environment; its name is new."""
    return {
        "slug": slug or f"e-{secrets.token_hex(4)}".rstrip("-"),
        "title": "Test",
        "status": "ready",
        "image": "mydocker-test/busybox:1",
        "interfaces": [{"name": "web", "title": "Web"}],
        **changes,
    }


@pytest.fixture
def private(bob: Asker):
    """A private environment of bob's: its name and its ETag."""
    sent = definition(command="sh -c 'echo TOPSECRET'", variables={"LICENCE": "TOPSECRET"})
    answer = bob.post("/environments", sent)
    assert answer.status_code == 201, answer.text
    return sent["slug"], answer.headers["ETag"]


def person(name: str, *roles: str) -> dict[str, Any]:
    """A person as the hub names them."""
    return {"name": name, "roles": ["student", *roles]}


def federation_sign_in(uid: str = "", **changes: Any) -> dict[str, Any]:
    """Somebody whom the hub let in by a door; without `uid` a new person."""
    uid = uid or secrets.token_hex(6)
    claims = {
        "door": "saml",
        "provider": "federation",
        "issuer": "https://idp.univ-a.example",
        "identifiers": [["subject-id", f"{uid}@univ-a.example"]],
        "given_name": "Test",
        "family_name": uid,
        **changes.pop("claims", {}),
    }
    return {"claims": claims, **changes}


def problem(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    """The problem details of an answer, which has this status and code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    details = answer.json()
    assert details["status"] == status
    assert details["code"] == code
    assert details["type"] == "about:blank"
    assert details["title"]
    assert details["detail"]
    return details
