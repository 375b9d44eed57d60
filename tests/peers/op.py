"""npm's `oidc-provider` (certified): an OpenID Connect provider.

    with start_op(folder, redirect_uris=["http://localhost:8000/hub/oidc/univ/callback"]) as op:
        callback = log_in(session, address_of_a_request, "alice")

Accounts (any password; `sub` is the name): alice (student), bob (faculty, teacher), carol (staff),
eve (student, sent as a string and not as a list), nobody (`sub` alone).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urljoin

import requests

from ..conftest import ROOT, free_ports
from .forms import form
from .process import running

CLIENT_ID = "mydocker"
CLIENT_SECRET = "only-for-tests-only-for-tests-only"
PROGRAM = Path(__file__).parent / "op" / "op.mjs"
MODULE = ROOT / ".venv/lib/oidc-provider/node_modules/oidc-provider/lib/index.js"


@dataclass(frozen=True)
class Peer:
    """A running provider; its `url` is the issuer."""

    url: str
    process: subprocess.Popen[bytes]
    people: Path

    def says(self, user: str, **claims: object) -> None:
        """From now on, say this of `user`."""
        people = json.loads(self.people.read_text())
        people.setdefault(user, {}).update(claims)
        self.people.write_text(json.dumps(people))


@contextmanager
def start_op(
    folder: Path,
    *,
    redirect_uris: Sequence[str],
    logout_uris: Sequence[str] = (),
    port: int | None = None,
    clock_offset: timedelta | None = None,
    **environment: str,
) -> Iterator[Peer]:
    """Run a provider with one client, `CLIENT_ID` and `CLIENT_SECRET`.

    `environment`: OP_SCOPE (of the people's names), OP_AUTH_METHOD (of the client),
    OP_CLAIMS_IN_ID_TOKEN=1, OP_REQUIRE_PKCE=1.
    """
    assert MODULE.exists(), (
        "oidc-provider is missing: run scripts/test identity, or "
        "npm install --prefix .venv/lib/oidc-provider oidc-provider"
    )
    node = shutil.which("node")
    assert node, "Node.js is missing: run scripts/test identity"
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    people = folder / f"op-{port}-people.json"
    people.write_text("{}")
    with running(
        [node, PROGRAM],
        answers_at=f"{url}/.well-known/openid-configuration",
        log=folder / f"op-{port}.log",
        environment={
            "OP_MODULE": str(MODULE),
            "OP_PORT": str(port),
            "OP_PEOPLE": str(people),
            "OP_REDIRECT_URIS": " ".join(redirect_uris),
            "OP_LOGOUT_URIS": " ".join(logout_uris),
            **environment,
        },
        clock_offset=clock_offset,
    ) as process:
        yield Peer(url=url, process=process, people=people)


def log_in(session: requests.Session, url: str, user: str) -> str:
    """Follow the address of a request and sign in: the callback's address, not followed."""
    issuer = urljoin(url, "/")
    answer = session.get(url, timeout=30, allow_redirects=False)
    while True:
        location = answer.headers.get("Location")
        if location is None:
            filled = form(answer, having="prompt")
            fields = {**filled.fields, "login": user, "password": "any"}
            answer = session.post(filled.action, data=fields, timeout=30, allow_redirects=False)
            continue
        address = urljoin(answer.url, location)
        if not address.startswith(issuer):
            return address
        answer = session.get(address, timeout=30, allow_redirects=False)
