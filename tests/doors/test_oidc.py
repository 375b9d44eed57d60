"""The OpenID Connect client: honest providers that others wrote, and a provider that lies."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests

from mydocker_hub.domain.environment import Text
from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.doors import oidc, outside, setup
from mydocker_hub.doors.attempts import Attempt
from mydocker_hub.doors.base import Doors
from mydocker_hub.identity.claims import Claims, Door
from mydocker_hub.identity.settings import OpenIdProvider, SignInSettings

from ..peers import llng as llng_peer
from ..peers import op as op_peer
from .forging_op import CLIENT_ID, CLIENT_SECRET, LEFT_OUT, ForgingOp, public_jwk, rsa_key

HUB = "http://localhost:8000/hub/"
TOLERANCE = timedelta(minutes=3)
TITLE = Text(fr="Université", en="University")


def provider(url: str, **fields: Any) -> OpenIdProvider:
    return OpenIdProvider.model_validate(
        {
            "name": "univ",
            "title": TITLE,
            "issuer": url,
            "client_id": CLIENT_ID,
            "client_secret_file": "/nowhere",
            **fields,
        }
    )


@pytest.fixture
def op() -> Iterator[ForgingOp]:
    with ForgingOp() as running:
        yield running


@pytest.fixture
def client(op: ForgingOp) -> oidc.Client:
    return oidc.Client(provider(op.url), CLIENT_SECRET, HUB)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "SECONDS", 0.3)


def new_attempt() -> Attempt:
    return Attempt(Door.OIDC, "univ")


def arguments(url: str) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}


async def code_for(client: oidc.Client, attempt: Attempt) -> str:
    """Go to the forging provider, which sends everybody back at once."""
    url = await client.request(attempt)
    back = await asyncio.to_thread(requests.get, url, allow_redirects=False, timeout=10)
    return arguments(back.headers["Location"])["code"]


async def sign_in(client: oidc.Client) -> Claims:
    attempt = new_attempt()
    return await client.claims(await code_for(client, attempt), attempt, TOLERANCE)


async def refusal(client: oidc.Client) -> MydockerError:
    with pytest.raises(MydockerError) as raised:
        await sign_in(client)
    assert raised.value.params["provider"] == TITLE
    return raised.value


# --- honest ones, written by others --------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_oidc_provider(tmp_path: Path, method: str, monkeypatch: Any) -> None:
    with op_peer.start_op(
        tmp_path,
        redirect_uris=[f"{HUB}oidc/univ/callback"],
        OP_AUTH_METHOD=method,
        OP_REQUIRE_PKCE="1",
    ) as peer:
        settings = provider(
            peer.url,
            client_id=op_peer.CLIENT_ID,
            scopes=("openid", "profile", "email", "eduperson"),
        )
        client = oidc.Client(settings, op_peer.CLIENT_SECRET, HUB)
        if method == "client_secret_post":  # the provider takes both; this client only one
            metadata = await client.metadata.get()
            client.metadata.value = replace(metadata, basic_auth=False)
        found = {}
        for user in ("alice", "bob", "eve", "nobody"):
            attempt = new_attempt()
            with requests.Session() as session:
                url = await client.request(attempt)
                back = arguments(await asyncio.to_thread(op_peer.log_in, session, url, user))
            assert back["state"] == attempt.id
            await client.check_answerer(back["iss"])
            found[user] = await client.claims(back["code"], attempt, TOLERANCE)
            with pytest.raises(MydockerError) as again:  # the same code once more
                await client.claims(back["code"], attempt, TOLERANCE)
            assert again.value.code == "sign-in-provider-refused"
            assert "used already" in again.value.params["reason"]["en"]
    assert found["bob"] == Claims(
        door=Door.OIDC,
        provider="univ",
        issuer=peer.url,
        identifiers=(("sub", "bob"),),
        display_name="Bob Éàü",
        given_name="Bob",
        family_name="Éàü",
        mail="bob@univ-a.example",
        affiliations=("member", "employee", "faculty", "teacher"),
        primary_affiliation="faculty",
        values={"eduPersonPrincipalName": "bob@univ-a.example"},
    )
    assert found["alice"].affiliations == ("member", "student")
    assert found["eve"].affiliations == ("student",)  # sent as a string
    assert found["nobody"].identifiers == (("sub", "nobody"),)
    assert (found["nobody"].mail, found["nobody"].affiliations) == ("", ())


@pytest.mark.peers
@pytest.mark.parametrize("minutes", [1, 10, -9])
async def test_the_clock_of_oidc_provider(tmp_path: Path, minutes: int) -> None:
    with op_peer.start_op(
        tmp_path,
        redirect_uris=[f"{HUB}oidc/univ/callback"],
        clock_offset=timedelta(minutes=minutes),
    ) as peer:
        client = oidc.Client(
            provider(peer.url, client_id=op_peer.CLIENT_ID), op_peer.CLIENT_SECRET, HUB
        )
        attempt = new_attempt()
        with requests.Session() as session:
            url = await client.request(attempt)
            back = arguments(await asyncio.to_thread(op_peer.log_in, session, url, "bob"))
        if minutes == 1:
            assert (await client.claims(back["code"], attempt, TOLERANCE)).mail
            return
        with pytest.raises(MydockerError) as raised:
            await client.claims(back["code"], attempt, TOLERANCE)
        assert raised.value.code == "sign-in-clock"
        said = raised.value.params["difference"]
        assert abs(said - timedelta(minutes=abs(minutes))) < timedelta(minutes=1)


@pytest.mark.peers
async def test_lemonldap(tmp_path: Path) -> None:
    with llng_peer.start_llng(tmp_path, redirect_uris=[f"{HUB}oidc/univ/callback"]) as peer:
        settings = provider(
            peer.url,
            client_id=op_peer.CLIENT_ID,
            scopes=("openid", "profile", "email", "eduperson"),
        )
        client = oidc.Client(settings, op_peer.CLIENT_SECRET, HUB)
        found = {}
        for user in ("dwho", "rtyler"):
            attempt = new_attempt()
            with requests.Session() as session:
                url = await client.request(attempt)
                answer = await asyncio.to_thread(llng_peer.log_in, session, url, user)
            back = arguments(answer.headers["Location"])
            await client.check_answerer(back.get("iss", ""))
            found[user] = await client.claims(back["code"], attempt, TOLERANCE)
    assert found["dwho"].affiliations == ("member", "employee", "faculty")
    assert found["dwho"].primary_affiliation == "faculty"
    assert found["dwho"].values == {"eduPersonPrincipalName": "dwho@univ-llng.example"}
    assert found["rtyler"].identifiers == (("sub", "rtyler"),)


# --- what goes out -------------------------------------------------------------------------------


async def test_the_request(client: oidc.Client, op: ForgingOp) -> None:
    op.says["authorization_endpoint"] = f"{op.url}/auth?tenant=1"
    attempt = new_attempt()
    sent = arguments(await client.request(attempt))
    assert sent == {
        "tenant": "1",
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": "http://localhost:8000/hub/oidc/univ/callback",
        "scope": "openid profile email",
        "state": attempt.id,
        "nonce": attempt.nonce,
        "code_challenge": sent["code_challenge"],
        "code_challenge_method": "S256",
    }
    assert attempt.verifier not in str(sent)


async def test_openid_is_always_asked_for(op: ForgingOp) -> None:
    client = oidc.Client(provider(op.url, scopes=("profile",)), CLIENT_SECRET, HUB)
    assert arguments(await client.request(new_attempt()))["scope"] == "openid profile"


async def test_the_token_request(client: oidc.Client, op: ForgingOp) -> None:
    """The secret has characters that RFC 6749 §2.3.1 wants encoded: this provider insists."""
    attempt = new_attempt()
    code = await code_for(client, attempt)
    claims = await client.claims(code, attempt, TOLERANCE)
    assert (claims.identifiers, claims.display_name) == ((("sub", "bob-sub"),), "Bob")
    token, userinfo = (
        next(asked for asked in op.asked if asked.path == path) for path in ("/token", "/me")
    )
    assert token.arguments == {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": "http://localhost:8000/hub/oidc/univ/callback",
        "code_verifier": attempt.verifier,
    }
    assert userinfo.headers["authorization"] == "Bearer an-access-token"
    assert userinfo.arguments == {}


async def test_the_environment_changes_nothing(op: ForgingOp, monkeypatch: Any) -> None:
    """oauthenticator reads its defaults from OAUTH2_… and OAUTH_…"""
    for name, value in {
        "OAUTH_TLS_VERIFY": "0",
        "OAUTH2_USERDATA_REQUEST_TYPE": "url",
        "OAUTH2_BASIC_AUTH": "0",
        "OAUTH2_TOKEN_URL": "https://evil.example/",
        "OAUTH_CLIENT_SECRET": "other",
    }.items():
        monkeypatch.setenv(name, value)
    client = oidc.Client(provider(op.url), CLIENT_SECRET, HUB)
    assert (await sign_in(client)).display_name == "Bob"
    metadata = await client.metadata.get()
    assert oidc.BackChannel(client.provider, "s", metadata).validate_server_cert is True


# --- what is refused -----------------------------------------------------------------------------


def lie(**lies: Any) -> Callable[[ForgingOp], None]:
    def apply(op: ForgingOp) -> None:
        for where, changed in lies.items():
            getattr(op, where).update(changed)

    return apply


def signed(how: Callable[[dict[str, Any]], str]) -> Callable[[ForgingOp], None]:
    def apply(op: ForgingOp) -> None:
        op.sign = how

    return apply


def with_public_key_as_secret(claims: dict[str, Any]) -> str:
    modulus = public_jwk(rsa_key())["n"]
    return jwt.encode(claims, modulus, "HS256", headers={"kid": "k1"})


INVALID = "sign-in-message-invalid"
GONE = "sign-in-provider-unavailable"


@pytest.mark.parametrize(
    ("told", "code"),
    [
        (lie(claims={"nonce": "of another attempt"}), INVALID),
        (lie(claims={"nonce": LEFT_OUT}), INVALID),
        (lie(claims={"iss": "https://evil.example"}), INVALID),
        (lie(claims={"aud": "another"}), "sign-in-not-for-us"),
        (lie(claims={"aud": [CLIENT_ID, "another"]}), "sign-in-not-for-us"),
        (lie(claims={"aud": [CLIENT_ID, "another"], "azp": "another"}), "sign-in-not-for-us"),
        (lie(claims={"iat": time.time() + 3600, "exp": time.time() + 7200}), "sign-in-clock"),
        (lie(claims={"iat": time.time() - 7200, "exp": time.time() - 3600}), "sign-in-clock"),
        (lie(claims={"exp": time.time() - 3600}), "sign-in-message-expired"),
        (lie(claims={"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}), INVALID),
        (lie(claims={"sub": LEFT_OUT}, userinfo={"sub": LEFT_OUT}), "sign-in-no-identifier"),
        (lie(claims={"sub": 5}, userinfo={"sub": 5}), INVALID),
        (lie(claims={"sub": "x" * 5000}, userinfo={"sub": "x" * 5000}), INVALID),
        (lie(userinfo={"sub": "mallory-sub"}), INVALID),
        (lie(userinfo={"sub": LEFT_OUT}), INVALID),
        (signed(lambda claims: jwt.encode(claims, "", "none", headers={"kid": "k1"})), INVALID),
        (signed(with_public_key_as_secret), INVALID),
        (signed(lambda c: jwt.encode(c, rsa_key(1), "RS256", headers={"kid": "k1"})), INVALID),
        (signed(lambda c: jwt.encode(c, rsa_key(1), "RS256", headers={"kid": "k2"})), INVALID),
        (lie(tokens={"id_token": LEFT_OUT}), INVALID),
        (lie(tokens={"id_token": ["a"]}), INVALID),
        (lie(tokens={"id_token": "x" * 1_000_000}), INVALID),
        (lie(tokens={"access_token": LEFT_OUT}), INVALID),
        (lie(tokens={"access_token": 5}), INVALID),
        (lie(tokens={"access_token": "é"}), INVALID),
        (lie(tokens={"access_token": "a\r\nHost: evil"}), GONE),
        (lie(tokens={"token_type": "mac"}), INVALID),
        (lie(tokens={"token_type": LEFT_OUT}), INVALID),
        (lie(tokens={"error_description": "no"}), INVALID),
        (lie(answers={"/token": (500, b"{}")}), GONE),
        (lie(answers={"/token": (500, b'{"error": "invalid_grant"}')}), GONE),
        (lie(answers={"/token": (200, b"<html>Maintenance</html>")}), GONE),
        (lie(answers={"/token": (200, b"[" * 100_000)}), GONE),
        (lie(answers={"/token": (200, b"[]")}), GONE),
        (lie(answers={"/token": (200, b"")}), GONE),
        (lie(answers={"/token": (200, b" " * 2_000_000)}), GONE),
        (lie(answers={"/token": (302, b"")}), GONE),
        (
            lie(answers={"/token": (400, b'{"error": "invalid_client"}')}),
            "sign-in-provider-refused",
        ),
        (lie(answers={"/me": (401, b"{}")}), GONE),
        (lie(answers={"/me": (200, b"not JSON")}), GONE),
        (lie(answers={"/me": (200, b"{}")}), INVALID),
        (lie(answers={"/me": (307, b"")}), GONE),
        (lie(answers={"/jwks": (404, b"{}")}), GONE),
        (lie(answers={"/jwks": (200, b"<html>")}), GONE),
        (lie(answers={"/jwks": (200, b'{"keys": []}')}), GONE),
        (lie(answers={"/jwks": (200, b'{"keys": "' + b"x" * 2_000_000 + b'"}')}), GONE),
        (lie(answers={"/jwks": (302, b"")}), GONE),
    ],
)
async def test_lies(
    op: ForgingOp, client: oidc.Client, told: Any, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    honest = oidc.Client(client.provider, CLIENT_SECRET, HUB)
    assert (await sign_in(honest)).identifiers == (("sub", "bob-sub"),)
    told(op)
    caplog.set_level(logging.DEBUG)
    error = await refusal(client)
    assert error.code == code
    said = caplog.text + error.log_detail
    for secret in ("an-access-token", CLIENT_SECRET, "bob-sub"):
        assert secret not in said
    assert not re.search(r"eyJ[\w-]+\.[\w-]+\.", said)  # no ID token


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks", "/token", "/me"])
async def test_silence(op: ForgingOp, client: oidc.Client, path: str, impatient: None) -> None:
    op.silent.add(path)
    assert (await refusal(client)).code == GONE


async def test_nobody_there(impatient: None) -> None:
    client = oidc.Client(provider("http://127.0.0.1:1"), CLIENT_SECRET, HUB)
    assert (await refusal(client)).code == GONE


async def test_a_wrong_secret(op: ForgingOp) -> None:
    error = await refusal(oidc.Client(provider(op.url), "wrong", HUB))
    assert error.code == "sign-in-provider-refused"
    assert "not registered" in error.params["reason"]["en"]


@pytest.mark.parametrize(
    "says",
    [
        {"issuer": "https://evil.example"},
        {"issuer": LEFT_OUT},
        {"authorization_endpoint": LEFT_OUT},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "http://univ.example/auth"},
        {"token_endpoint": "http://univ.example/token"},
        {"token_endpoint": "http://169.254.169.254/latest"},
        {"token_endpoint": "https://user:pw@univ.example/"},
        {"token_endpoint": "https://univ.example\r\nX: y"},
        {"token_endpoint": ["https://univ.example"]},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://[::1"},
        {"userinfo_endpoint": "ftp://univ.example"},
        {"userinfo_endpoint": None},
        {"end_session_endpoint": "javascript:alert(1)"},
        {"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
        {"token_endpoint_auth_methods_supported": "client_secret_basic"},
    ],
)
async def test_discovery_documents_that_are_refused(
    op: ForgingOp, client: oidc.Client, says: dict[str, Any]
) -> None:
    assert await oidc.Client(client.provider, CLIENT_SECRET, HUB).request(new_attempt())
    op.says.update(says)
    with pytest.raises(MydockerError) as raised:
        await client.request(new_attempt())
    assert raised.value.code == GONE


async def test_http_is_for_this_machine_alone(op: ForgingOp) -> None:
    """A provider elsewhere cannot send us to this machine's own services."""
    document = {**op._discovery(), "issuer": "https://univ.example"}
    with pytest.raises(MydockerError):
        oidc.read_metadata(document, provider("https://univ.example"))
    document = json.loads(json.dumps(document).replace(op.url, "https://univ.example"))
    assert oidc.read_metadata(document, provider("https://univ.example")).basic_auth


async def test_a_provider_without_userinfo(op: ForgingOp, client: oidc.Client) -> None:
    op.says["userinfo_endpoint"] = LEFT_OUT
    op.claims["name"] = "From the token"
    assert (await sign_in(client)).display_name == "From the token"
    assert op.count("/me") == 0


async def test_a_code_of_another_provider(op: ForgingOp, client: oidc.Client) -> None:
    """Mix-up (RFC 9700 §4.4): the code of one provider at the callback of another."""
    with ForgingOp() as other:
        there = oidc.Client(provider(other.url, name="other"), CLIENT_SECRET, HUB)
        attempt = new_attempt()
        code = await code_for(there, attempt)
        with pytest.raises(MydockerError) as raised:
            await client.claims(code, attempt, TOLERANCE)
        assert raised.value.code == "sign-in-provider-refused"
        assert (await there.claims(code, attempt, TOLERANCE)).issuer == other.url


async def test_the_issuer_of_an_answer(op: ForgingOp, client: oidc.Client) -> None:
    """RFC 9207: an answer may name who gives it, and has to where the provider says so."""
    for names_itself, issuer, right in (
        (False, "", True),
        (False, op.url, True),
        (False, "https://evil.example", False),
        (True, op.url, True),
        (True, "", False),
        (True, f"{op.url}/", False),
    ):
        op.says["authorization_response_iss_parameter_supported"] = names_itself
        fresh = oidc.Client(client.provider, CLIENT_SECRET, HUB)
        if right:
            await fresh.check_answerer(issuer)
            continue
        with pytest.raises(MydockerError) as raised:
            await fresh.check_answerer(issuer)
        assert raised.value.code == INVALID


# --- documents that are kept ---------------------------------------------------------------------


def make_old(kept: oidc.Kept[Any], seconds: float) -> None:
    kept._asked_at -= seconds
    kept._due_at -= seconds


async def settled(kept: oidc.Kept[Any]) -> None:
    if kept._fetching is not None:
        await asyncio.wait([kept._fetching])


async def test_documents_are_fetched_once(op: ForgingOp, client: oidc.Client) -> None:
    await asyncio.gather(*(client.request(new_attempt()) for _ in range(20)))
    for _ in range(3):
        await sign_in(client)
    assert op.count("/.well-known/openid-configuration") == op.count("/jwks") == 1


async def test_old_documents_are_renewed_behind_the_scenes(
    op: ForgingOp, client: oidc.Client
) -> None:
    await sign_in(client)
    op.says["authorization_endpoint"] = f"{op.url}/moved"
    make_old(client.metadata, oidc.FRESH_SECONDS)
    assert "/auth?" in await client.request(new_attempt())  # nobody waits
    await settled(client.metadata)
    assert "/moved?" in await client.request(new_attempt())
    assert op.count("/.well-known/openid-configuration") == 2


async def test_the_last_good_document_stays(
    op: ForgingOp, client: oidc.Client, caplog: pytest.LogCaptureFixture
) -> None:
    await sign_in(client)
    for path in ("/.well-known/openid-configuration", "/jwks"):
        op.answers[path] = (500, b"")
    for kept in (client.metadata, client.keys):
        make_old(kept, oidc.FRESH_SECONDS)
    assert await sign_in(client)
    await settled(client.metadata)
    await settled(client.keys)
    assert "discovery of univ" in caplog.text
    assert await sign_in(client)
    assert op.count("/jwks") == 2  # and not again at once


async def test_a_first_failure_is_not_kept(op: ForgingOp, client: oidc.Client) -> None:
    op.answers["/.well-known/openid-configuration"] = (500, b"")
    with pytest.raises(MydockerError):
        await client.request(new_attempt())
    op.answers.clear()
    assert await sign_in(client)


async def test_new_keys_are_found_but_not_at_every_request(
    op: ForgingOp, client: oidc.Client
) -> None:
    await sign_in(client)
    op.sign = lambda claims: jwt.encode(claims, rsa_key(1), "RS256", headers={"kid": "k2"})
    for _ in range(3):
        assert (await refusal(client)).code == INVALID
    assert op.count("/jwks") == 1  # asked a moment ago
    op.keys.append(public_jwk(rsa_key(1), "k2"))
    make_old(client.keys, 60)
    assert await sign_in(client)
    assert op.count("/jwks") == 2
    assert await sign_in(client)
    assert op.count("/jwks") == 2


async def test_new_keys_that_are_on_their_way_are_waited_for(
    op: ForgingOp, client: oidc.Client
) -> None:
    await sign_in(client)
    op.sign = lambda claims: jwt.encode(claims, rsa_key(1), "RS256", headers={"kid": "k2"})
    op.keys.append(public_jwk(rsa_key(1), "k2"))
    make_old(client.keys, oidc.FRESH_SECONDS)
    assert await sign_in(client)
    assert op.count("/jwks") == 2


async def test_a_new_key_under_the_old_name(op: ForgingOp, client: oidc.Client) -> None:
    await sign_in(client)
    op.sign = lambda claims: jwt.encode(claims, rsa_key(1), "RS256", headers={"kid": "k1"})
    make_old(client.keys, 60)
    assert (await refusal(client)).code == INVALID
    op.keys = [public_jwk(rsa_key(1), "k1")]
    make_old(client.keys, 60)
    assert await sign_in(client)


async def test_unknown_keys_while_the_key_set_is_out_of_reach(
    op: ForgingOp, client: oidc.Client
) -> None:
    await sign_in(client)
    op.sign = lambda claims: jwt.encode(claims, rsa_key(1), "RS256", headers={"kid": "k2"})
    op.answers["/jwks"] = (500, b"")
    make_old(client.keys, 60)
    assert (await refusal(client)).code == GONE


# --- start and end -------------------------------------------------------------------------------


def doors(tmp_path: Path, *providers: OpenIdProvider) -> Doors:
    opened, _ = setup.open_doors(
        SignInSettings(openid=providers),
        secret="s",
        state=tmp_path,
        public_url="http://localhost:8000",
        hub_prefix="/hub/",
        demo=False,
    )
    return opened


async def test_start_and_logout(tmp_path: Path, op: ForgingOp) -> None:
    (tmp_path / "secret").write_text(f"{CLIENT_SECRET}\n")
    settings = provider(op.url, client_secret_file=tmp_path / "secret")
    opened = doors(tmp_path, settings)
    client = opened.extras["oidc"]["univ"]
    assert await sign_in(client)  # the line's end is not part of the secret
    assert oidc.logout_url(opened, "univ") is None  # the provider has none
    assert oidc.logout_url(opened, "federation") is None
    op.says["end_session_endpoint"] = f"{op.url}/end?x=1"
    oidc.start(opened)
    assert oidc.logout_url(opened, "univ") is None  # not known yet
    client = opened.extras["oidc"]["univ"]
    await client.metadata.get()
    url = oidc.logout_url(opened, "univ")
    assert url is not None
    assert url.startswith(f"{op.url}/end?")
    assert arguments(url) == {
        "x": "1",
        "client_id": CLIENT_ID,
        "post_logout_redirect_uri": "http://localhost:8000/hub/logout",
    }


def test_secrets_that_cannot_be_used(tmp_path: Path) -> None:
    missing, empty, binary = (tmp_path / name for name in ("missing", "empty", "binary"))
    empty.write_text("\n")
    binary.write_bytes(b"\xff\x00")
    for file in (missing, empty, binary, tmp_path):
        settings = provider("https://univ.example", client_secret_file=file)
        with pytest.raises(ValueError, match=str(file)):
            doors(tmp_path, settings)


@pytest.mark.parametrize(
    ("issuer", "right"),
    [
        ("https://univ.example", True),
        ("https://univ.example/realms/main", True),
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080", True),
        ("http://univ.example", False),
        ("http://127.0.0.1.univ.example", False),
        ("https://user:pw@univ.example", False),
        ("https://univ.example?a=b", False),
        ("https://univ.example#a", False),
        ("https://", False),
        ("https://univ.example:port", False),
    ],
)
def test_addresses_of_providers(tmp_path: Path, issuer: str, right: bool) -> None:
    (tmp_path / "secret").write_text("s")
    settings = provider(issuer, client_secret_file=tmp_path / "secret")
    if right:
        assert doors(tmp_path, settings).extras["oidc"]["univ"].provider == settings
    else:
        with pytest.raises(ValueError, match="univ"):
            doors(tmp_path, settings)
