"""Honest answers, in all the forms that identity providers give them, and refusals in words."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mydocker_hub.domain.errors import MydockerError, NotFound, Refused, Unavailable
from mydocker_hub.federation import response, sp
from mydocker_hub.federation.prescreen import prescreen
from mydocker_hub.federation.refresh import Federation
from mydocker_hub.federation.response import (
    Responses,
    Verified,
    attempt_of,
    explain,
    request_id,
    verify,
)
from mydocker_hub.web.i18n import translator

from . import forge
from .forge import ACS, Answer, Signer, World

pytestmark = pytest.mark.peers

ATTEMPT = "4f3c2b1a" * 4


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return forge.world(tmp_path_factory.mktemp("federation"))


@pytest.fixture
def answer(world: World) -> Answer:
    return Answer(issuer=world.univ_a.entity_id, in_response_to=request_id(ATTEMPT, time.time()))


def check(world: World, xml: str, *, idp: Signer | None = None, now: float = 0) -> Verified:
    envelope = prescreen(xml.encode(), acs=ACS, provider="?")
    return verify(
        envelope,
        world.idp(idp or world.univ_a),
        world.site,
        datetime.now(UTC) + timedelta(seconds=now),
    )


def refused(world: World, xml: str, **more: float) -> MydockerError:
    with pytest.raises(Refused) as caught:
        check(world, xml, **more)
    for language in ("en", "fr"):
        assert "%(" not in translator(language).error(caught.value)
    return caught.value


def encrypted_response(world: World, answer: Answer, algorithm: str = forge.GCM) -> str:
    """Shibboleth's default: the response signed, the assertion encrypted and not signed."""
    inside = forge.encrypt(answer.response(answer.assertion()), world.certificates[0], algorithm)
    return forge.sign_around(inside, answer, world.univ_a.key)


FORMS: dict[str, Callable[[World, Answer], str]] = {
    "response signed": lambda world, answer: forge.signed_response(answer, world.univ_a.key),
    "assertion signed": lambda world, answer: forge.signed_assertion(answer, world.univ_a.key),
    "both signed": lambda world, answer: forge.both_signed(answer, world.univ_a.key),
    "sha512": lambda world, answer: forge.signed_response(
        answer,
        world.univ_a.key,
        method="http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
        digest="http://www.w3.org/2001/04/xmlenc#sha512",
    ),
    "certificate inside": lambda world, answer: forge.signed_response(
        answer,
        world.univ_a.key,
        key_info="<ds:KeyInfo><ds:X509Data><ds:X509Certificate>"
        f"{forge._body(world.univ_a.certificate)}"
        "</ds:X509Certificate></ds:X509Data></ds:KeyInfo>",
    ),
    "signed, then encrypted": lambda world, answer: forge.encrypt(
        forge.signed_assertion(answer, world.univ_a.key), world.certificates[0]
    ),
    "encrypted, then signed": encrypted_response,
    "encrypted with CBC, then signed": lambda world, answer: encrypted_response(
        world, answer, forge.CBC
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_honest(form: str, world: World, answer: Answer) -> None:
    verified = check(world, FORMS[form](world, answer))
    assert verified.issuer == world.univ_a.entity_id
    assert verified.claims.issuer == world.univ_a.entity_id
    assert verified.claims.identifiers == (("eduPersonPrincipalName", "alice@univ-a.example"),)
    assert verified.claims.display_name == "Alice Martin"
    assert verified.claims.affiliations == ("student", "member")
    assert verified.in_response_to == answer.in_response_to
    assert attempt_of(verified.in_response_to) == ATTEMPT
    assert verified.assertion_id == answer.assertion_id
    assert abs(verified.skew) < timedelta(seconds=30)
    assert timedelta(minutes=7) < verified.remember <= timedelta(minutes=8)


def test_attributes_without_a_name_format(world: World, answer: Answer) -> None:
    """Some providers do not say that a name is a URI."""
    eppn = '<saml:Attribute Name="urn:oid:1.3.6.1.4.1.5923.1.1.1.6"{}>{}</saml:Attribute>'
    value = "<saml:AttributeValue>\n alice@univ-a.example\n</saml:AttributeValue>"
    for form in (
        "",
        ' NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:unspecified"',
        ' NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri"',
    ):
        xml = forge.signed_response(
            replace(answer, raw_attributes=eppn.format(form, value)), world.univ_a.key
        )
        assert check(world, xml).claims.identifiers[0][1] == "alice@univ-a.example"


def test_a_response_without_an_issuer(world: World, answer: Answer) -> None:
    xml = forge.signed_assertion(answer, world.univ_a.key)
    issuer = f"<saml:Issuer>{answer.issuer}</saml:Issuer>"
    assert xml.count(issuer) == 2
    assert check(world, xml.replace(issuer, "", 1)).issuer == answer.issuer


def test_until_the_end_of_time(world: World, answer: Answer) -> None:
    """No date makes it fail, and nothing is remembered for longer than a day."""
    text = answer.assertion().replace(answer.at(300), "9999-12-31T23:59:59Z")
    for assertion in (text, text.replace(answer.at(-1), "0001-01-01T00:00:00Z")):
        xml = answer.response(assertion, forge.template(answer.id))
        signed = forge.sign(xml, world.univ_a.key, "Response", answer.id)
        assert check(world, signed).remember == timedelta(days=1)


def test_a_friendly_name_is_only_a_name(world: World, answer: Answer) -> None:
    other = (
        '<saml:Attribute Name="urn:example:x" FriendlyName="eduPersonPrincipalName">'
        "<saml:AttributeValue>bob@univ-a.example</saml:AttributeValue></saml:Attribute>"
    )
    xml = forge.signed_response(replace(answer, raw_attributes=other), world.univ_a.key)
    assert refused(world, xml).code == "sign-in-no-identifier"


def test_the_keys_of_before_still_decrypt(world: World, answer: Answer) -> None:
    before = world.certificates[0]
    xml = forge.encrypt(forge.signed_assertion(answer, world.univ_a.key), before)
    sp.prepare_next_key(world.site)
    xml_next = forge.encrypt(
        forge.signed_assertion(answer, world.univ_a.key), world.certificates[1]
    )
    assert check(world, xml)
    assert check(world, xml_next)
    sp.use_next_key(world.site)
    assert check(world, xml)
    assert check(world, xml_next)


# --- clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [90, -90, 170, -380])
def test_clocks_that_are_a_little_off(seconds: int, world: World, answer: Answer) -> None:
    verified = check(world, forge.signed_response(answer.shifted(seconds), world.univ_a.key))
    assert abs(verified.skew - timedelta(seconds=seconds)) < timedelta(seconds=30)


@pytest.mark.parametrize("minutes", [10, -10, 60 * 24 * 400])
def test_clocks_that_are_wrong(minutes: int, world: World, answer: Answer) -> None:
    shifted = answer.shifted(minutes * 60)
    error = refused(world, forge.signed_response(shifted, world.univ_a.key))
    assert error.code == "sign-in-clock"
    assert error.params["theirs"] == shifted.now.replace(microsecond=0)
    assert abs(error.params["ours"] - datetime.now(UTC)) < timedelta(seconds=60)
    sentence = translator("en").error(error)
    assert "University univ-a.example" in sentence
    assert translator("en").duration(error.params["difference"]) in sentence
    assert abs(error.params["difference"] - timedelta(minutes=abs(minutes))) < timedelta(minutes=1)


def test_a_page_that_was_left_open(world: World, answer: Answer) -> None:
    asked = request_id(ATTEMPT, time.time() - 20)
    xml = forge.signed_response(replace(answer, in_response_to=asked), world.univ_a.key)
    assert refused(world, xml, now=600).code == "sign-in-message-expired"


# --- refusals in words ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("AuthnFailed", "authentication failed"),
        ("RequestDenied", "refused there"),
        ("Responder", "something went wrong there"),
        ("Whatever", "it gave no reason"),
    ],
)
def test_a_provider_that_says_no(status: str, words: str, world: World, answer: Answer) -> None:
    answer = replace(answer, status=f"urn:oasis:names:tc:SAML:2.0:status:{status}")
    error = refused(world, answer.response(""))
    assert error.code == "sign-in-provider-refused"
    assert words in translator("en").error(error)


def test_no_identifier(world: World, answer: Answer) -> None:
    nobody = replace(answer, attributes={"displayName": ["Nobody"], "mail": ["n@univ-a.example"]})
    error = refused(world, forge.signed_response(nobody, world.univ_a.key))
    assert error.code == "sign-in-no-identifier"
    assert "pairwise-id" in translator("en").error(error)
    none = replace(answer, attributes={})
    error = refused(world, forge.signed_response(none, world.univ_a.key))
    assert error.code == "sign-in-no-identifier"


# --- in the hub -----------------------------------------------------------------------------------


async def test_in_the_hub(world: World, answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    """Many at once, off the loop; what it logs holds no assertion."""
    responses = Responses(Federation(world.site))
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    caplog.set_level(logging.DEBUG)
    xml = forge.posted(forge.both_signed(answer, world.univ_a.key))
    heart = asyncio.create_task(beat())
    try:
        all_verified = await asyncio.gather(*(responses.check(xml) for _ in range(20)))
    finally:
        heart.cancel()
        responses.close()
    assert {one.claims.identifiers[0][1] for one in all_verified} == {"alice@univ-a.example"}
    assert beats > 5
    assert "its clock is" in caplog.text
    assert world.univ_a.entity_id in caplog.text
    for secret in ("alice", "Alice", "<saml", xml[:40]):
        assert secret not in caplog.text


async def test_providers_that_are_not_known(world: World, answer: Answer) -> None:
    responses = Responses(Federation(world.site))
    stranger = replace(answer, issuer=world.univ_c.entity_id)
    try:
        assert await responses.check(forge.posted(forge.signed_response(answer, world.univ_a.key)))
        with pytest.raises(NotFound, match="sign-in-institution-unknown"):
            await responses.check(forge.posted(forge.signed_response(stranger, world.univ_c.key)))
    finally:
        responses.close()


async def test_providers_that_may_not_enter(
    tmp_path_factory: pytest.TempPathFactory, answer: Answer
) -> None:
    closed = forge.world(
        tmp_path_factory.mktemp("closed"),
        institutions=[{"entity_id": answer.issuer, "allow": False}],
    )
    responses = Responses(Federation(closed.site))
    try:
        with pytest.raises(Refused, match="sign-in-institution-refused"):
            await responses.check(forge.posted(forge.signed_response(answer, closed.univ_a.key)))
        other = replace(
            answer,
            issuer=closed.univ_b.entity_id,
            attributes={"eduPersonPrincipalName": ["bob@univ-b.example"]},
        )
        assert await responses.check(forge.posted(forge.signed_response(other, closed.univ_b.key)))
    finally:
        responses.close()


async def test_a_full_queue_is_said(
    world: World, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response, "_MOST_WAITING", 3)
    responses = Responses(Federation(world.site))
    xml = forge.posted(forge.signed_response(answer, world.univ_a.key))
    try:
        answers = await asyncio.gather(
            *(responses.check(xml) for _ in range(5)), return_exceptions=True
        )
        assert await responses.check(xml)  # it empties again
    finally:
        responses.close()
    assert [isinstance(one, Verified) for one in answers] == [True, True, True, False, False]
    assert [one.code for one in answers if isinstance(one, Unavailable)] == [
        "sign-in-provider-unavailable"
    ] * 2


def test_a_program_that_hangs(
    world: World, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    xml = forge.signed_response(answer, world.univ_a.key)
    assert check(world, xml)
    monkeypatch.setattr(response, "_XMLSEC_SECONDS", 1e-6)
    assert refused(world, xml).code == "sign-in-message-invalid"


async def test_the_request(world: World) -> None:
    responses = Responses(Federation(world.site))
    try:
        url = await responses.login_request(
            world.idp(world.univ_a), request_id(ATTEMPT, time.time())
        )
    finally:
        responses.close()
    assert url.startswith("https://idp.univ-a.example/sso?")
    assert "SAMLRequest=" in url
    assert "Signature=" in url


# --- for an operator ------------------------------------------------------------------------------


def test_explained_much_later(world: World, answer: Answer) -> None:
    old = answer.shifted(-40 * 86400)
    for xml in (
        forge.signed_response(old, world.univ_a.key),
        forge.encrypt(forge.signed_assertion(old, world.univ_a.key), world.certificates[0]),
    ):
        for sent in (forge.posted(xml), xml):
            told = explain(sent, world.site)
            assert told.claims.identifiers[0][1] == "alice@univ-a.example"
            assert told.issuer == world.univ_a.entity_id
            assert any("time" in note for note in told.notes)
            assert any("used before" in note for note in told.notes)


def test_explained_as_it_was_refused(world: World, answer: Answer) -> None:
    forged = forge.signed_response(answer, world.attacker)
    with pytest.raises(Refused, match="sign-in-message-invalid"):
        explain(forged, world.site)
    unknown = forge.signed_response(
        replace(answer, issuer=world.univ_c.entity_id), world.univ_c.key
    )
    with pytest.raises(Refused, match="sign-in-institution-unknown"):
        explain(unknown, world.site)
