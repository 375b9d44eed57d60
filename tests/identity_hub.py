"""A hub whose doors lead to real peers: a federation, OpenID Connect, CAS, LTI platforms.

`identity_hub` is for tests that come in as people do. The hub is at `localhost`, the peers at
`127.0.0.1`: two sites to a browser, as in the world.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import docker
import pytest
import requests
import yaml

from .conftest import free_ports, remove_all, start_hub
from .hub import RunningHub, Visitor
from .peers import aggregate, keys, llng, op, ssp
from .peers.forms import Form, form
from .peers.lti_platforms import EdxPlatform, P13Platform

ADMIN = "carol"
"""At the institution univ-a: administrator by configuration."""


@dataclass
class IdentityHub:
    """The hub and its peers.

    Institutions: `univ_a`, `univ_b`; `late`, whose clock is ten minutes ahead; `closed`, which may
    not enter. `op` is the provider `univ-op`, `llng` both `univ-llng` (OpenID Connect) and
    `univ-cas`.
    """

    hub: RunningHub
    folder: Path
    univ_a: ssp.Peer
    univ_b: ssp.Peer
    late: ssp.Peer
    closed: ssp.Peer
    op: op.Peer
    llng: llng.Peer
    edx: EdxPlatform
    p13: P13Platform
    numbers: dict[str, int] = field(default_factory=dict)  # of the platforms in the admin's pages

    def login_path(self, idp: ssp.Peer, next_url: str = "") -> str:
        asked = f"&next={quote(next_url, safe='')}" if next_url else ""
        return f"/hub/saml/login?idp={quote(idp.entity_id, safe='')}{asked}"

    def answer(
        self, session: requests.Session, user: str, *, idp: ssp.Peer | None = None, to: str = ""
    ) -> Form:
        """The answer of an institution, not sent yet."""
        path = self.login_path(idp or self.univ_a, to)
        return ssp.log_in(session, f"{self.hub.url}{path}", user)

    def come(
        self, session: requests.Session, user: str, *, idp: ssp.Peer | None = None, to: str = ""
    ) -> requests.Response:
        """Come in by the federation without a browser; the page at the end, refusals too."""
        page = self.answer(session, user, idp=idp, to=to).send(session)
        page.encoding = "utf-8"
        return page

    def visitor(self, session: requests.Session, user: str, **options: Any) -> Visitor:
        """Come in, and go on as `Visitor`. Its `name` is that of the account."""
        self.come(session, user, **options).raise_for_status()
        return Visitor(self.hub, account_of(self.hub, session), session)


def account_of(hub: RunningHub, session: requests.Session) -> str:
    """The name of the account that is signed in."""
    page = session.get(f"{hub.url}/hub/home", timeout=60)
    page.raise_for_status()
    return str(
        session.get(f"{hub.url}/hub/api/user", headers=_xsrf(page), timeout=60).json()["name"]
    )


def _xsrf(page: requests.Response) -> dict[str, str]:
    token = page.text.split('xsrf_token: "', 1)[1].split('"', 1)[0]
    return {"X-XSRFToken": token, "Sec-Fetch-Mode": "cors"}


@pytest.fixture(scope="session")
def identity_hub(
    engine: docker.DockerClient,
    bridge_address: str,
    tiny_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[IdentityHub]:
    hub_id = f"test-{secrets.token_hex(4)}"
    folder = tmp_path_factory.mktemp("identity")
    state = folder / "hub"
    state.mkdir()
    settings = str(folder / "sign-in.yaml")
    starting = start_hub(
        state, hub_id, bridge_address, install=f"sign_in=Path({settings!r})", demo=False
    )
    url = f"http://localhost:{starting.ports[0]}"
    with ExitStack() as stack:
        peers = _start_peers(stack, folder, url)
        running = stack.enter_context(starting)
        metadata = requests.get(f"{url}/hub/saml/metadata", timeout=30)
        metadata.raise_for_status()
        (folder / "sp.xml").write_bytes(metadata.content)
        portal = stack.enter_context(_portal(folder, url, peers.pop("llng_port")))
        started = IdentityHub(hub=running, folder=folder, llng=portal, **peers)
        _register_platforms(started)
        yield started
    remove_all(engine, hub_id)


def _start_peers(stack: ExitStack, folder: Path, url: str) -> dict[str, Any]:
    """Start what the hub's configuration names, and write that."""
    sp = folder / "sp.xml"  # what the hub says of itself: not there yet
    titles = {
        "univ-a": ("Université des Alpes du Nord", "University of the Northern Alps"),
        "univ-b": ("Université de Bretagne-Loire", "Brittany-Loire University"),
        "univ-late": ("Université de l'Heure d'été", "Summertime University"),
        "univ-closed": ("École fermée", "Closed School"),
    }
    idps = {
        name: stack.enter_context(
            ssp.start_idp(
                folder,
                name,
                sp_metadata=sp,
                clock_offset=timedelta(minutes=10) if name == "univ-late" else None,
                IDP_TITLE_FR=french,
                IDP_TITLE_EN=english,
            )
        )
        for name, (french, english) in titles.items()
    }
    # LemonLDAP::NG reads of its clients only when it starts: now for its own metadata.
    (llng_port,) = free_ports(1)
    with llng.start_llng(folder, port=llng_port) as portal:
        entities = [*(idp.metadata for idp in idps.values()), llng.with_scope(portal.metadata)]
    openid = stack.enter_context(
        op.start_op(
            folder,
            redirect_uris=[f"{url}/hub/oidc/univ-op/callback"],
            logout_uris=[f"{url}/hub/logout"],
        )
    )
    signed = aggregate.sign([*entities, *aggregate.invented(folder)], folder)
    secret = folder / "client-secret"
    secret.write_text(op.CLIENT_SECRET)
    secret.chmod(0o600)
    scopes = ["openid", "profile", "email", "eduperson"]
    settings = {
        "administrators": [{"provider": "federation", "identifier": f"{ADMIN}@univ-a.example"}],
        "federation": {
            "metadata": {
                "file": str(signed),
                "fingerprints": [keys.fingerprint(folder / "federation.crt")],
            },
            "institutions": [{"entity_id": idps["univ-closed"].entity_id, "allow": False}],
            "contacts": [{"name": "Support", "mail": "support@example.org"}],
        },
        "openid": [
            {
                "name": "univ-op",
                "title": {"fr": "Compte du campus", "en": "Campus account"},
                "help": {
                    "fr": "Pour les personnels et les étudiants du campus",
                    "en": "For the staff and the students of the campus",
                },
                "issuer": openid.url,
                "client_id": op.CLIENT_ID,
                "client_secret_file": str(secret),
                "scopes": scopes,
            },
            {
                "name": "univ-llng",
                "title": {"fr": "Portail de l'université", "en": "University portal"},
                "issuer": f"http://127.0.0.1:{llng_port}",
                "client_id": op.CLIENT_ID,
                "client_secret_file": str(secret),
                "scopes": scopes,
            },
            {
                "name": "univ-gone",
                "title": {"fr": "Compte de l'annexe", "en": "Annexe account"},
                "issuer": f"http://127.0.0.1:{free_ports(1)[0]}",  # nobody listens there
                "client_id": op.CLIENT_ID,
                "client_secret_file": str(secret),
            },
        ],
        "cas": [
            {
                "name": "univ-cas",
                "title": {"fr": "Identifiant CAS", "en": "CAS login"},
                "url": f"http://127.0.0.1:{llng_port}/cas",
                "claims": {
                    "display_name": "displayName",
                    "mail": "mail",
                    "affiliations": "eduPersonAffiliation",
                    "primary_affiliation": "eduPersonPrimaryAffiliation",
                    "principal_name": "eduPersonPrincipalName",
                },
            }
        ],
        "lti": {},
        "support": {
            "mail": "support@example.org",
            "text": {
                "fr": "Le support répond en semaine.",
                "en": "The support answers on weekdays.",
            },
        },
        "links": [
            {
                "title": {"fr": "Mode d'emploi", "en": "User guide"},
                "url": "https://docs.example.org/",
            }
        ],
    }
    (folder / "sign-in.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True))
    tool = {
        "login_url": f"{url}/hub/lti/login",
        "launch_url": f"{url}/hub/lti/launch",
        "tool_jwks_url": f"{url}/services/catalogue/lti/jwks.json",
    }
    return {
        "univ_a": idps["univ-a"],
        "univ_b": idps["univ-b"],
        "late": idps["univ-late"],
        "closed": idps["univ-closed"],
        "op": openid,
        "llng_port": llng_port,
        "edx": stack.enter_context(EdxPlatform(**tool)),
        "p13": stack.enter_context(P13Platform(**tool)),
    }


def _portal(folder: Path, url: str, port: int) -> Any:
    return llng.start_llng(
        folder,
        port=port,
        sp_metadata=folder / "sp.xml",
        redirect_uris=[f"{url}/hub/oidc/univ-llng/callback"],
        cas_service=f"{url}/hub/cas/univ-cas/callback",
    )


def _register_platforms(started: IdentityHub) -> None:
    """As an administrator does, in the pages."""
    pages = "/services/catalogue/admin/platforms"
    with requests.Session() as session:
        admin = started.visitor(session, ADMIN)
        for name, platform in (("edX", started.edx), ("Moodle", started.p13)):
            answer = form(admin.get(f"{pages}/new"), having="issuer").send(
                session,
                version="1.3",
                name=name,
                issuer=platform.url,
                client_id=platform.client_id,
                authorization_url=platform.authorization_url,
                token_url=platform.token_url,
                jwks_url=platform.jwks_url,
                deployments=platform.deployment,
            )
            answer.raise_for_status()
            started.numbers[name] = int(answer.url.rsplit("/", 1)[1])
