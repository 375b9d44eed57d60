"""The peers themselves: each starts, answers, and is gone afterwards."""

from __future__ import annotations

import base64
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import jwt
import pytest
import requests
from lxml import etree
from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT
from saml2.client import Saml2Client
from saml2.config import SPConfig
from saml2.metadata import entity_descriptor

from . import aggregate, llng, op, ssp
from .forms import form, forms
from .keys import fingerprint, key_pair
from .lti_platforms import (
    DEEP_LINKING,
    EdxPlatform,
    P13Platform,
    Platform,
    edx_lti11,
    form_page,
    pylti_lti11,
)

pytestmark = pytest.mark.peers

ACS = "http://127.0.0.1:1/acs"


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def service_provider(*metadata: Path, keys: tuple[Path, Path] | None = None) -> Saml2Client:
    """As little of a service provider as asks an identity provider."""
    key = {"key_file": str(keys[0]), "cert_file": str(keys[1])} if keys else {}
    endpoints = {"assertion_consumer_service": [(ACS, BINDING_HTTP_POST)]}
    config = SPConfig().load(
        {
            "entityid": "https://hub.example/saml/metadata",
            "service": {"sp": {"endpoints": endpoints}},
            "metadata": {"local": [str(file) for file in metadata]},
            **key,
            **({"encryption_keypairs": [key]} if key else {}),
        }
    )
    return Saml2Client(config)


def sp_metadata(keys: tuple[Path, Path] | None = None) -> bytes:
    return str(entity_descriptor(service_provider(keys=keys).config)).encode()


def request_to(idp_metadata: bytes, entity_id: str, folder: Path) -> str:
    file = folder / "idp.xml"
    file.write_bytes(idp_metadata)
    _, info = service_provider(file).prepare_for_authenticate(
        entityid=entity_id, binding=BINDING_HTTP_REDIRECT, relay_state="kept"
    )
    return str(dict(info["headers"])["Location"])


def test_forms_are_read_as_a_browser_does() -> None:
    page = """<form action="/a?b=1&amp;c=2" method=POST><input name=x value="&quot;1">
      <input type=checkbox name=no><input type=checkbox name=yes value=1 checked>
      <select name=s><option value=1><option value=2 selected></select><button name=go>Go</button>
      </form><form><textarea name=t></textarea></form>"""
    first, second = forms(page, "http://h/p")
    assert (first.action, first.method) == ("http://h/a?b=1&c=2", "post")
    assert first.fields == {"x": '"1', "yes": "1", "s": "2"}
    assert (second.action, second.method, second.fields) == ("http://h/p", "get", {"t": ""})


def test_two_identity_providers_at_once(tmp_path) -> None:
    ahead = timedelta(minutes=10)
    with (
        ssp.start_idp(tmp_path, "univ-a", sp_metadata=sp_metadata()) as a,
        ssp.start_idp(tmp_path, "univ-b", sp_metadata=sp_metadata(), clock_offset=ahead) as b,
    ):
        pids = [a.process.pid, b.process.pid]
        a.says("bob", eduPersonAffiliation=["student"])
        for idp, affiliations in ((a, ["student"]), (b, ["member", "employee", "faculty"])):
            url = request_to(idp.metadata, idp.entity_id, tmp_path)
            with requests.Session() as session:
                answer = ssp.log_in(session, url, "bob")
            assert (answer.action, answer.fields["RelayState"]) == (ACS, "kept")
            response = etree.fromstring(base64.b64decode(answer.fields["SAMLResponse"]))
            said = response.xpath(
                "//*[local-name()='Attribute'][@Name='urn:oid:1.3.6.1.4.1.5923.1.1.1.1']/*/text()"
            )
            assert said[: len(affiliations)] == affiliations
            assert len(response.xpath("//*[local-name()='SignatureValue']")) == 2
            issued = datetime.fromisoformat(response.get("IssueInstant"))
            off = issued - datetime.now(UTC)
            assert (off > ahead / 2) == (idp is b), off
    assert all(is_gone(pid) for pid in pids)


def test_an_encrypted_assertion(tmp_path) -> None:
    sp = sp_metadata(key_pair(tmp_path, "sp"))
    with ssp.start_idp(tmp_path, "univ-a", sp_metadata=sp, IDP_ENCRYPT="1") as idp:
        assert b"univ-a.example</shibmd:Scope>" in idp.metadata
        assert "Université univ-a" in etree.fromstring(idp.metadata).xpath("//text()")
        url = request_to(idp.metadata, idp.entity_id, tmp_path)
        with requests.Session() as session:
            answer = ssp.log_in(session, url, "alice")
        response = base64.b64decode(answer.fields["SAMLResponse"])
        assert b"EncryptedAssertion" in response
        assert b"alice" not in response
    assert is_gone(idp.process.pid)


def test_the_service_providers_metadata_may_come_later(tmp_path) -> None:
    file = tmp_path / "sp.xml"
    with ssp.start_idp(tmp_path, "univ-a", sp_metadata=file, IDP_AUTH="static") as idp:
        url = request_to(idp.metadata, idp.entity_id, tmp_path)
        assert 'name="SAMLResponse"' not in requests.get(url, timeout=30).text
        file.write_bytes(sp_metadata())
        with requests.Session() as session:
            assert ssp.log_in(session, url, "bob").action == ACS


def test_the_openid_provider(tmp_path) -> None:
    callback = "http://localhost:1/callback"
    with op.start_op(tmp_path, redirect_uris=[callback]) as peer:
        peer.says("alice", eduperson_affiliation=["alum"])
        asked = {
            "response_type": "code",
            "client_id": op.CLIENT_ID,
            "scope": "openid eduperson",
            "redirect_uri": callback,
            "state": "kept",
        }
        with requests.Session() as session:
            back = op.log_in(session, f"{peer.url}/auth?{urlencode(asked)}", "alice")
        assert back.startswith(callback)
        said = parse_qs(urlsplit(back).query)
        assert (said["state"], said["iss"]) == (["kept"], [peer.url])
        tokens = requests.post(
            f"{peer.url}/token",
            data={
                "grant_type": "authorization_code",
                "code": said["code"],
                "redirect_uri": callback,
            },
            auth=(op.CLIENT_ID, op.CLIENT_SECRET),
            timeout=30,
        ).json()
        claims = requests.get(
            f"{peer.url}/me",
            headers={"Authorization": f"Bearer {tokens['access_token']}"},
            timeout=30,
        ).json()
        assert (claims["sub"], claims["eduperson_affiliation"]) == ("alice", ["alum"])
    assert is_gone(peer.process.pid)


def test_lemonldap_speaks_cas_openid_and_saml(tmp_path) -> None:
    service, callback = "http://localhost:1/cas", "http://localhost:1/oidc"
    sp = sp_metadata()
    with llng.start_llng(
        tmp_path, sp_metadata=sp, cas_service=service, redirect_uris=[callback]
    ) as peer:
        here = f"{service}?state=1"
        with requests.Session() as session:
            answer = llng.log_in(
                session, f"{peer.cas_url}/login?{urlencode({'service': here})}", "dwho"
            )
        back = answer.headers["Location"]
        assert back.startswith(here)
        ticket = parse_qs(urlsplit(back).query)["ticket"][0]
        validation = {"service": here, "ticket": ticket}
        for expected in ("authenticationSuccess", "INVALID_TICKET"):  # once
            text = requests.get(
                f"{peer.cas_url}/p3/serviceValidate", params=validation, timeout=30
            ).text
            assert expected in text

        asked = {
            "response_type": "code",
            "client_id": op.CLIENT_ID,
            "scope": "openid",
            "redirect_uri": callback,
        }
        with requests.Session() as session:
            answer = llng.log_in(session, f"{peer.url}/oauth2/authorize?{urlencode(asked)}", "dwho")
        assert answer.headers["Location"].startswith(f"{callback}?")

        assert peer.entity_id.encode() in peer.metadata
    assert is_gone(peer.process.pid)


@pytest.mark.parametrize("kind", [EdxPlatform, P13Platform])
def test_an_lti_platform(kind: type[Platform]) -> None:
    tool = "http://localhost:1"
    with kind(login_url=f"{tool}/login", launch_url=f"{tool}/launch") as platform:
        for message in ("LtiResourceLinkRequest", DEEP_LINKING):
            link = f"{tool}/launch?to=tiny"
            with requests.Session() as session:
                begun = session.get(
                    platform.start_url("42", name="Ada", target=link, message=message),
                    timeout=30,
                    allow_redirects=False,
                )
                login = dict(parse_qsl(urlsplit(begun.headers["Location"]).query))
                if message != DEEP_LINKING:
                    assert login["target_link_uri"] == link
                asked = {
                    "scope": "openid",
                    "response_type": "id_token",
                    "response_mode": "form_post",
                    "prompt": "none",
                    "client_id": platform.client_id,
                    "redirect_uri": platform.launch_url,
                    "state": "kept",
                    "nonce": "n1",
                    "login_hint": login["login_hint"],
                    "lti_message_hint": login["lti_message_hint"],
                }
                page = session.get(platform.authorization_url, params=asked, timeout=30)
                posted = form(page, having="id_token")
                elsewhere = {**asked, "redirect_uri": f"{tool}/elsewhere"}
                refused = session.get(platform.authorization_url, params=elsewhere, timeout=30)
            assert (posted.action, posted.fields["state"]) == (platform.launch_url, "kept")
            assert refused.status_code == 400
            claims = verified(posted.fields["id_token"], platform)
            assert (claims["sub"], claims["nonce"], claims["name"]) == ("42", "n1", "Ada")
            assert claims[f"{LTI}message_type"] == message
            if message != DEEP_LINKING:
                assert claims[f"{LTI}target_link_uri"] == link
    with pytest.raises(requests.ConnectionError):
        requests.get(platform.jwks_url, timeout=5)


LTI = "https://purl.imsglobal.org/spec/lti/claim/"


def verified(token: str, platform: Platform) -> dict[str, object]:
    keys = jwt.PyJWKSet.from_dict(requests.get(platform.jwks_url, timeout=30).json())
    (key,) = [k for k in keys.keys if k.key_id == jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, object] = jwt.decode(
        token, key, algorithms=["RS256"], audience=platform.client_id, issuer=platform.url
    )
    return claims


def test_lti_11_consumers() -> None:
    url = "http://localhost:1/launch"
    for launch in (
        edx_lti11(url, "key", "secret", "ada", "Learner", custom={"to": "tiny"}),
        pylti_lti11(url, "key", "secret", "ada", "Learner", custom_to="tiny"),
    ):
        assert launch["oauth_consumer_key"] == "key"
        assert launch["oauth_signature"]
        assert launch["custom_to"] == "tiny"
    page = form_page(url, launch)
    assert forms(page, "http://h/")[0].fields == launch


def test_fingerprints_are_those_of_openssl(tmp_path) -> None:
    _, certificate = key_pair(tmp_path, "one")
    command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(certificate)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.strip().endswith(f"={fingerprint(certificate)}")


def test_a_signed_aggregate(tmp_path) -> None:
    signed = aggregate.sign(aggregate.invented(tmp_path), tmp_path)
    root = "urn:oasis:names:tc:SAML:2.0:metadata:EntitiesDescriptor"
    verify = ["xmlsec1", "--verify", "--pubkey-cert-pem", str(tmp_path / "federation.crt")]

    def status() -> int:
        command = [*verify, "--id-attr:ID", root, str(signed)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    assert status() == 0
    signed.write_text(signed.read_text().replace("invented-1.", "invented-2."))
    assert status() != 0
