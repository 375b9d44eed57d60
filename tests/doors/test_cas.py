"""The CAS client: LemonLDAP::NG's server, and one that lies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests

from mydocker_hub.domain.environment import Text
from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.doors import cas, outside, setup
from mydocker_hub.doors.attempts import Attempt
from mydocker_hub.doors.base import Doors
from mydocker_hub.identity.claims import Claims, Door
from mydocker_hub.identity.settings import CasProvider, SignInSettings

from ..peers import llng
from .forging_op import ForgingOp

HUB = "http://localhost:8000/hub/"
TITLE = Text(fr="Mon ENT", en="My campus")
TICKET = "ST-1-0123456789abcdef"
NAMES = {
    "display_name": "displayName",
    "mail": "mail",
    "affiliations": "eduPersonAffiliation",
    "primary_affiliation": "eduPersonPrimaryAffiliation",
    "principal_name": "eduPersonPrincipalName",
}


def provider(url: str, **fields: Any) -> CasProvider:
    return CasProvider.model_validate(
        {"name": "ent", "title": TITLE, "url": url, "claims": NAMES, **fields}
    )


def service(attempt: Attempt, name: str = "ent") -> str:
    return f"{HUB}cas/{name}/callback?state={attempt.id}"


async def refusal(provider: CasProvider, service_: str, ticket: str = TICKET) -> MydockerError:
    with pytest.raises(MydockerError) as raised:
        await cas.validate(provider, service_, ticket)
    assert raised.value.params["provider"] == TITLE
    return raised.value


# --- LemonLDAP::NG -------------------------------------------------------------------------------


async def ticket_of(peer: llng.Peer, service_: str, user: str) -> str:
    with requests.Session() as session:
        url = f"{peer.cas_url}/login?service={quote(service_, safe='')}"
        answer = await asyncio.to_thread(llng.log_in, session, url, user)
    location = answer.headers["Location"]
    assert location.startswith(service_)
    (ticket,) = parse_qs(urlsplit(location).query)["ticket"]
    return ticket


@pytest.mark.peers
async def test_lemonldap(tmp_path: Path) -> None:
    with llng.start_llng(tmp_path, cas_service=f"{HUB}cas/ent/callback") as peer:
        ent = provider(peer.cas_url)
        found = {}
        for user in ("dwho", "rtyler"):
            mine = service(Attempt(Door.CAS, "ent"))
            ticket = await ticket_of(peer, mine, user)
            found[user] = await cas.validate(ent, mine, ticket)
            again = await refusal(ent, mine, ticket)  # a ticket opens the door once
            assert again.code == "sign-in-provider-refused"
            assert "used already" in again.params["reason"]["en"]
        # of the attempt of another browser, which is another service
        ticket = await ticket_of(peer, service(Attempt(Door.CAS, "ent")), "rtyler")
        assert (await refusal(ent, service(Attempt(Door.CAS, "ent")), ticket)).code == (
            "sign-in-not-for-us"
        )
        assert (await refusal(ent, mine, "ST-invented")).code == "sign-in-provider-refused"
    assert found["dwho"] == Claims(
        door=Door.CAS,
        provider="ent",
        issuer=peer.cas_url,
        identifiers=(("user", "dwho"),),
        display_name=found["dwho"].display_name,
        mail=found["dwho"].mail,
        affiliations=("member", "employee", "faculty"),
        primary_affiliation="faculty",
        values={"eduPersonPrincipalName": "dwho@univ-llng.example"},
    )
    assert "@" in found["dwho"].mail
    assert found["dwho"].display_name
    assert found["rtyler"].affiliations == ("member", "student")


# --- one that lies -------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[ForgingOp]:
    with ForgingOp() as running:
        yield running


def answers(server: ForgingOp, body: str, status: int = 200) -> CasProvider:
    server.answers["/cas/p3/serviceValidate"] = (status, body.encode())
    return provider(f"{server.url}/cas")


def response(inner: str, doctype: str = "") -> str:
    uri = "http://www.yale.edu/tp/cas"
    return f'{doctype}<cas:serviceResponse xmlns:cas="{uri}">{inner}</cas:serviceResponse>'


def success(user: str = "bob", more: str = "") -> str:
    return (
        f"<cas:authenticationSuccess><cas:user>{user}</cas:user>{more}</cas:authenticationSuccess>"
    )


def failure(code: str) -> str:
    return f'<cas:authenticationFailure code="{code}">secret words</cas:authenticationFailure>'


async def test_what_is_asked(server: ForgingOp) -> None:
    ent = answers(server, response(success("Bob")))
    mine = service(Attempt(Door.CAS, "ent"))
    claims = await cas.validate(ent, mine, TICKET)
    assert claims.identifiers == (("user", "bob"),)
    assert claims.issuer == f"{server.url}/cas"
    (asked,) = server.asked
    assert asked.arguments == {"service": mine, "ticket": TICKET}


XXE = "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>"
LAUGHS = "".join(f"<!ENTITY l{i} '{f'&l{i - 1};' * 10}'>" for i in range(1, 10))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (response(success("&e;"), XXE), 200, "sign-in-message-invalid"),
        (response(success("bob"), XXE), 200, "sign-in-message-invalid"),
        (
            response(success("&l9;"), f"<!DOCTYPE x [<!ENTITY l0 'ha'>{LAUGHS}]>"),
            200,
            "sign-in-message-invalid",
        ),
        (response(success("bob<!-- -->by")), 200, "sign-in-message-invalid"),
        (response(success("x" * 300)), 200, "sign-in-message-invalid"),
        (response(success("")), 200, "sign-in-no-identifier"),
        (response(success() + success("mallory")), 200, "sign-in-message-invalid"),
        ("<html>Maintenance</html>", 200, "sign-in-message-invalid"),
        ("yes\nbob\n", 200, "sign-in-message-invalid"),
        ("", 200, "sign-in-message-invalid"),
        (response(success()), 500, "sign-in-provider-unavailable"),
        (response(success()), 302, "sign-in-provider-unavailable"),
        (response(success(more=" " * 2_000_000)), 200, "sign-in-provider-unavailable"),
        (response(failure("INVALID_TICKET")), 200, "sign-in-provider-refused"),
        (response(failure("INVALID_SERVICE")), 200, "sign-in-not-for-us"),
        (response(failure("INTERNAL_ERROR")), 200, "sign-in-provider-unavailable"),
        (response(failure("<b>")).replace("<b>", "&lt;b>"), 200, "sign-in-provider-refused"),
    ],
)
async def test_lies(
    server: ForgingOp, body: str, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    mine = service(Attempt(Door.CAS, "ent"))
    assert await cas.validate(answers(server, response(success())), mine, TICKET)
    caplog.set_level(logging.DEBUG)
    error = await refusal(answers(server, body, status), mine)
    assert error.code == code
    assert "<b>" not in str(error.params)
    assert TICKET not in caplog.text + error.log_detail
    assert "secret words" not in caplog.text + str(error)


async def test_silence(server: ForgingOp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "SECONDS", 0.3)
    server.silent.add("/cas/p3/serviceValidate")
    mine = service(Attempt(Door.CAS, "ent"))
    for url in (f"{server.url}/cas", "http://127.0.0.1:1"):
        error = await refusal(provider(url), mine)
        assert error.code == "sign-in-provider-unavailable"
        assert TICKET not in error.log_detail


# --- start and end -------------------------------------------------------------------------------


def doors(tmp_path: Path, *providers: CasProvider) -> Doors:
    opened, _ = setup.open_doors(
        SignInSettings(cas=providers),
        secret="s",
        state=tmp_path,
        public_url="http://localhost:8000",
        hub_prefix="/hub/",
        demo=False,
    )
    return opened


def test_logout(tmp_path: Path) -> None:
    opened = doors(tmp_path, provider("https://cas.univ.example/cas/"))
    assert cas.logout_url(opened, "ent") == (
        "https://cas.univ.example/cas/logout?service=http%3A%2F%2Flocalhost%3A8000%2Fhub%2Flogout"
    )
    assert cas.logout_url(opened, "univ") is None


@pytest.mark.parametrize("url", ["http://cas.univ.example/cas", "https://u:p@cas.example/"])
def test_addresses_of_servers(tmp_path: Path, url: str) -> None:
    doors(tmp_path, provider("https://cas.univ.example"), provider("http://[::1]:8", name="b"))
    with pytest.raises(ValueError, match="ent"):
        doors(tmp_path, provider(url))
