"""Forged answers: each test shows the honest one accepted, then the forged one refused."""

import asyncio
import copy
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from lxml import etree

from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.federation.prescreen import MAX_BYTES, decode, prescreen
from mydocker_hub.federation.refresh import Federation
from mydocker_hub.federation.response import Responses, Verified, request_id, verify

from . import forge
from .forge import ACS, Answer, Signer, World

pytestmark = pytest.mark.peers

BAD = "sign-in-message-invalid"
ALICE, BOB = "alice@univ-a.example", "bob@univ-a.example"
NS = {
    "samlp": "urn:oasis:names:tc:SAML:2.0:protocol",
    "saml": "urn:oasis:names:tc:SAML:2.0:assertion",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return forge.world(tmp_path_factory.mktemp("federation"))


@pytest.fixture
def answer(world: World) -> Answer:
    return Answer(issuer=world.univ_a.entity_id, in_response_to=request_id("ab" * 16, time.time()))


def check(world: World, xml: str | bytes, *, now: float = 0) -> Verified:
    """As the hub does, one step after the other."""
    sent = decode(forge.posted(xml), provider="?")
    envelope = prescreen(sent, acs=ACS, provider="?")
    idps = {one.entity_id: one for one in (world.univ_a, world.univ_b)}
    idp = world.idp(idps[envelope.issuer])
    return verify(envelope, idp, world.site, datetime.now(UTC) + timedelta(seconds=now))


def name_of(verified: Verified) -> str:
    return verified.claims.identifiers[0][1]


def code_of(world: World, xml: str | bytes, *, now: float = 0) -> str:
    with pytest.raises(MydockerError) as caught:
        check(world, xml, now=now)
    assert "bob" not in str(caught.value)
    assert "Signature>" not in str(caught.value)
    return caught.value.code


# --- signature wrapping ---------------------------------------------------------------------------


def parts(xml: str) -> tuple[etree._Element, etree._Element]:
    """The response and its assertion, as trees."""
    root = etree.fromstring(xml)
    return root, root.find("saml:Assertion", NS)


def turned_evil(element: etree._Element, id: str) -> etree._Element:
    """A copy that speaks of Bob."""
    evil = etree.fromstring(etree.tostring(element).replace(ALICE.encode(), BOB.encode()))
    evil.set("ID", id)
    return evil


def unsigned(element: etree._Element) -> etree._Element:
    naked = copy.deepcopy(element)
    for signature in naked.findall("ds:Signature", NS):
        naked.remove(signature)
    return naked


def wrapped(xml: str, variant: str, id: str) -> str:
    """The eight variants of “On Breaking SAML” (2012); `id` is that of the forged part."""
    root, assertion = parts(xml)
    of_response = variant in {"1", "2"}
    target = root if of_response else assertion
    evil = turned_evil(target, id)
    signature = evil.find("ds:Signature", NS)
    original = unsigned(target)
    if variant == "1":  # the original response inside the signature
        signature.append(original)
        return etree.tostring(evil).decode()
    if variant == "2":  # the original response before the signature
        signature.addprevious(original)
        return etree.tostring(evil).decode()
    at = root.index(assertion)
    if variant == "3":  # the forged assertion first, the original after it
        root.insert(at, unsigned(evil))
    elif variant == "4":  # the original inside the forged one
        forged = unsigned(evil)
        root.replace(assertion, forged)
        forged.append(assertion)
    elif variant == "5":  # the forged one carries the signature, the original stands at the end
        root.replace(assertion, evil)
        root.append(original)
    elif variant == "6":  # the original inside the signature of the forged one
        root.replace(assertion, evil)
        signature.append(original)
    elif variant == "7":  # the forged one among extensions
        extensions = etree.Element(f"{{{NS['samlp']}}}Extensions")
        extensions.append(unsigned(evil))
        root.insert(at, extensions)
    elif variant == "8":  # the original as an object of the signature
        root.replace(assertion, evil)
        thing = etree.SubElement(signature, f"{{{NS['ds']}}}Object")
        thing.append(original)
    return etree.tostring(root).decode()


SIGNED: dict[str, Callable[[Answer, World], str]] = {
    "response": lambda answer, world: forge.signed_response(answer, world.univ_a.key),
    "assertion": lambda answer, world: forge.signed_assertion(answer, world.univ_a.key),
    "both": lambda answer, world: forge.both_signed(answer, world.univ_a.key),
}


@pytest.mark.parametrize("same_id", [False, True], ids=["new ID", "same ID"])
@pytest.mark.parametrize(
    ("signed", "variant"),
    [
        ("response", "1"),
        ("response", "2"),
        ("both", "1"),
        ("both", "2"),
        *((signed, variant) for signed in ("assertion", "both") for variant in "345678"),
    ],
)
def test_signature_wrapping(
    signed: str, variant: str, same_id: bool, world: World, answer: Answer
) -> None:
    honest = SIGNED[signed](answer, world)
    assert name_of(check(world, honest)) == ALICE
    id_of = answer.id if variant in "12" else answer.assertion_id
    forged = wrapped(honest, variant, id_of if same_id else "_evil")
    assert BOB in forged
    assert ALICE in forged
    assert code_of(world, forged) == BAD


@pytest.mark.parametrize("where", ["before", "after", "in its place"])
def test_an_assertion_of_ones_own_beside_an_encrypted_one(
    where: str, world: World, answer: Answer
) -> None:
    honest = forge.encrypt(forge.signed_assertion(answer, world.univ_a.key), world.certificates[0])
    assert name_of(check(world, honest)) == ALICE
    bob = replace(answer, attributes={"eduPersonPrincipalName": [BOB]}, assertion_id="_bob")
    start, end = "<saml:EncryptedAssertion>", "</saml:EncryptedAssertion>"
    forged = {
        "before": honest.replace(start, bob.assertion() + start),
        "after": honest.replace(end, end + bob.assertion()),
        "in its place": honest.replace(start, start + bob.assertion()),
    }[where]
    assert code_of(world, forged) == BAD


# --- what is signed, and by whom ------------------------------------------------------------------


@pytest.mark.parametrize("signed", SIGNED)
def test_not_signed_any_more(signed: str, world: World, answer: Answer) -> None:
    honest = SIGNED[signed](answer, world)
    assert check(world, honest)
    root, assertion = parts(honest)
    for element in (root, assertion):
        for signature in element.findall("ds:Signature", NS):
            element.remove(signature)
    assert code_of(world, etree.tostring(root)) == BAD


@pytest.mark.parametrize("signed", SIGNED)
@pytest.mark.parametrize(
    ("before", "after"),
    [(ALICE, BOB), (">student<", ">faculty<"), ('ID="_assertion0001"', 'ID="_assertion0002"')],
)
def test_edited(signed: str, before: str, after: str, world: World, answer: Answer) -> None:
    honest = SIGNED[signed](answer, world)
    assert check(world, honest)
    assert before in honest
    assert code_of(world, honest.replace(before, after)) == BAD


def test_one_signature_of_two_is_wrong(world: World, answer: Answer) -> None:
    """A good signature of the assertion does not make up for a bad one of the response."""
    honest = forge.both_signed(answer, world.univ_a.key)
    assert check(world, honest)
    edited = honest.replace(f'ID="{answer.id}"', f'ID="{answer.id}" Consent="x"')
    assert code_of(world, edited) == BAD
    inner = forge.signed_assertion(answer, world.attacker)
    assert code_of(world, forge.sign_around(inner, answer, world.univ_a.key)) == BAD
    inner = forge.signed_assertion(answer, world.univ_a.key)
    assert check(world, forge.sign_around(inner, answer, world.univ_a.key))
    assert code_of(world, forge.sign_around(inner, answer, world.attacker)) == BAD


@pytest.mark.parametrize("signed", [forge.signed_response, forge.signed_assertion])
def test_another_key(signed: Callable[..., str], world: World, answer: Answer) -> None:
    assert check(world, signed(answer, world.univ_a.key))
    assert code_of(world, signed(answer, world.attacker)) == BAD
    assert code_of(world, signed(answer, world.univ_b.key)) == BAD
    for certificate in (world.attacker.with_suffix(".crt"), world.univ_b.certificate):
        brought = (
            "<ds:KeyInfo><ds:X509Data><ds:X509Certificate>"
            f"{forge._body(certificate)}"
            "</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"
        )
        forged = signed(answer, certificate.with_suffix(".pem"), key_info=brought)
        assert code_of(world, forged) == BAD


def test_our_own_key_signs_for_nobody(world: World, answer: Answer) -> None:
    ours = world.certificates[0].with_suffix("")
    candidates = [
        path for path in ours.parent.rglob("*") if "PRIVATE" in path.read_text(errors="replace")
    ]
    assert candidates
    for key in candidates:
        assert code_of(world, forge.signed_response(answer, key)) == BAD


def test_weak_algorithms(world: World, answer: Answer) -> None:
    assert check(world, forge.signed_response(answer, world.univ_a.key))
    weak = forge.signed_response(answer, world.univ_a.key, method=forge.RSA_SHA1)
    assert code_of(world, weak) == BAD
    weak = forge.signed_response(answer, world.univ_a.key, digest=forge.SHA1)
    assert code_of(world, weak) == BAD


def test_weak_algorithms_inside_an_encrypted_assertion(world: World, answer: Answer) -> None:
    ours = world.certificates[0]
    assert check(world, forge.encrypt(forge.signed_assertion(answer, world.univ_a.key), ours))
    weak = forge.signed_assertion(answer, world.univ_a.key, method=forge.RSA_SHA1)
    assert code_of(world, forge.encrypt(weak, ours)) == BAD


# --- encryption -----------------------------------------------------------------------------------


def test_encrypted_by_an_attacker(world: World, answer: Answer) -> None:
    """Anybody can encrypt for us: that says nothing of who speaks."""
    ours = world.certificates[0]
    assert check(world, forge.encrypt(forge.signed_assertion(answer, world.univ_a.key), ours))
    bob = replace(answer, attributes={"eduPersonPrincipalName": [BOB]})
    unsigned = forge.encrypt(bob.response(bob.assertion()), ours)
    assert code_of(world, unsigned) == BAD
    own = forge.encrypt(forge.signed_assertion(bob, world.attacker), ours)
    assert code_of(world, own) == BAD
    assert code_of(world, forge.sign_around(unsigned, bob, world.attacker)) == BAD


def test_no_difference_between_decryption_and_signature(world: World, answer: Answer) -> None:
    """What cannot be decrypted is refused in the very words of what is not signed (oracles)."""
    ours = world.certificates[0]
    honest = forge.encrypt(forge.signed_assertion(answer, world.univ_a.key), ours)
    assert check(world, honest)
    for_others = forge.encrypt(
        forge.signed_assertion(answer, world.univ_a.key), world.univ_c.certificate
    )
    badly_signed = forge.encrypt(forge.signed_assertion(answer, world.attacker), ours)
    head, end = honest.rsplit("<xenc:CipherValue>", 1)
    damaged = f"{head}<xenc:CipherValue>{'A' * 40}{end[40:]}"
    said = []
    for xml in (for_others, badly_signed, damaged):
        with pytest.raises(MydockerError) as caught:
            check(world, xml)
        said.append((caught.value.code, caught.value.params, caught.value.status))
    assert said[0] == said[1] == said[2]
    assert said[0][0] == BAD


# --- for whom, from whom, for what ----------------------------------------------------------------


@pytest.mark.parametrize("signed", [forge.signed_response, forge.signed_assertion])
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"audience": "https://other.example/sp"}, "sign-in-not-for-us"),
        ({"audience": ""}, "sign-in-not-for-us"),
        ({"audience": f"{forge.SP}/"}, "sign-in-not-for-us"),
        ({"recipient": "https://other.example/acs"}, "sign-in-not-for-us"),
        ({"recipient": ""}, BAD),
        ({"destination": "https://other.example/acs"}, "sign-in-not-for-us"),
        ({"confirmed_in_response_to": f"_{'cd' * 16}6b03ccdd"}, BAD),
        ({"method": "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"}, BAD),
        ({"method": "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"}, BAD),
        ({"in_response_to": "_unknown"}, "sign-in-other-browser"),
        ({"in_response_to": "_" + "ab" * 16}, "sign-in-other-browser"),
        ({"in_response_to": "_" + "ab" * 16 + "f" * 10}, "sign-in-other-browser"),
        ({"assertion_issuer": "https://idp.univ-b.example/idp/shibboleth"}, BAD),
        ({"assertion_issuer": "https://idp.univ-c.example/idp/shibboleth"}, BAD),
    ],
)
def test_not_for_us(
    signed: Callable[..., str],
    change: dict[str, str],
    code: str,
    world: World,
    answer: Answer,
) -> None:
    assert check(world, signed(answer, world.univ_a.key))
    assert code_of(world, signed(replace(answer, **change), world.univ_a.key)) == code


def test_nobody_asked(world: World, answer: Answer) -> None:
    honest = forge.signed_response(answer, world.univ_a.key)
    assert check(world, honest)
    unsolicited = answer.response(answer.assertion(), forge.template(answer.id)).replace(
        f' InResponseTo="{answer.in_response_to}"', ""
    )
    signed = forge.sign(unsolicited, world.univ_a.key, "Response", answer.id)
    assert code_of(world, signed) == "sign-in-other-browser"


@pytest.mark.parametrize("left_out", ["Conditions", "AudienceRestriction", "AuthnStatement"])
def test_what_has_to_be_said(left_out: str, world: World, answer: Answer) -> None:
    root = etree.fromstring(answer.response(answer.assertion(), forge.template(answer.id)))
    honest = forge.sign(etree.tostring(root).decode(), world.univ_a.key, "Response", answer.id)
    assert check(world, honest)
    for element in root.iter(f"{{{NS['saml']}}}{left_out}"):
        element.getparent().remove(element)
    forged = forge.sign(etree.tostring(root).decode(), world.univ_a.key, "Response", answer.id)
    assert code_of(world, forged) in {BAD, "sign-in-not-for-us"}


def test_a_condition_that_nobody_knows(world: World, answer: Answer) -> None:
    known = answer.assertion()
    unknown = known.replace(
        "</saml:AudienceRestriction>",
        '</saml:AudienceRestriction><saml:Condition xmlns:x="urn:x" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="x:Unknown"/>',
    )
    for assertion, good in ((known, True), (unknown, False)):
        xml = forge.sign(
            answer.response(assertion, forge.template(answer.id)),
            world.univ_a.key,
            "Response",
            answer.id,
        )
        assert check(world, xml) if good else code_of(world, xml) == BAD


def test_every_audience_restriction_counts(world: World, answer: Answer) -> None:
    other = (
        "<saml:AudienceRestriction><saml:Audience>https://other.example</saml:Audience>"
        "</saml:AudienceRestriction>"
    )
    both = answer.assertion().replace(other[:26], other + other[:26])
    assert both.count("<saml:AudienceRestriction>") == 2
    xml = forge.sign(
        answer.response(both, forge.template(answer.id)), world.univ_a.key, "Response", answer.id
    )
    assert code_of(world, xml) == "sign-in-not-for-us"


# --- times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"ends": -170}, True),  # within the tolerance
        ({"ends": -200, "not_before": -400}, False),
        ({"confirmed_until": -200}, False),
        ({"not_before": 170}, True),
        ({"not_before": 200}, False),
        ({"not_before": 20, "ends": 10}, False),
    ],
)
@pytest.mark.parametrize("signed", [forge.signed_response, forge.signed_assertion])
def test_times(
    signed: Callable[..., str],
    change: dict[str, float],
    good: bool,
    world: World,
    answer: Answer,
) -> None:
    if change.get("ends", 1) < 0:
        change = {"not_before": -400, **change}
    xml = signed(replace(answer, **change), world.univ_a.key)
    if good:
        assert check(world, xml)
    else:
        assert code_of(world, xml) in {"sign-in-clock", "sign-in-message-expired", BAD}


def test_expired_and_not_yet_valid(world: World, answer: Answer) -> None:
    xml = forge.signed_response(answer, world.univ_a.key)
    assert check(world, xml)
    assert code_of(world, xml, now=481) == "sign-in-message-expired"
    assert code_of(world, xml, now=-200) == "sign-in-clock"


@pytest.mark.parametrize(
    "times",
    ['NotOnOrAfter="never"', 'NotOnOrAfter=""', 'NotOnOrAfter="2026-11-23"', ""],
)
def test_times_that_are_none(times: str, world: World, answer: Answer) -> None:
    honest = answer.response(answer.assertion(), forge.template(answer.id))
    assert check(world, forge.sign(honest, world.univ_a.key, "Response", answer.id))
    without = honest.replace(
        f'SubjectConfirmationData NotOnOrAfter="{answer.at(answer.confirmed_until)}"',
        f"SubjectConfirmationData {times}",
    )
    assert without != honest
    forged = forge.sign(without, world.univ_a.key, "Response", answer.id)
    assert code_of(world, forged) == BAD


# --- what it says ---------------------------------------------------------------------------------


def test_another_institution(world: World, answer: Answer) -> None:
    """One institution of the federation speaks for a person of another."""
    b = replace(answer, issuer=world.univ_b.entity_id)
    of_b = replace(b, attributes={"eduPersonPrincipalName": ["bob@univ-b.example"]})
    assert name_of(check(world, forge.signed_response(of_b, world.univ_b.key)))
    of_a = replace(b, attributes={"eduPersonPrincipalName": [ALICE]})
    forged = forge.signed_response(of_a, world.univ_b.key)
    assert code_of(world, forged) == "sign-in-foreign-scope"
    staff = replace(
        of_b,
        attributes={
            **of_b.attributes,
            "eduPersonScopedAffiliation": ["staff@univ-a.example", "student@univ-b.example"],
        },
    )
    claims = check(world, forge.signed_response(staff, world.univ_b.key)).claims
    assert claims.affiliations == ("student@univ-b.example",)


@pytest.mark.parametrize(
    "value",
    [
        "alice@univ-a.example<!-- -->.evil.example",
        "bob<!-- -->alice@univ-a.example",
        "alice@univ-a.example<?x?>.evil.example",
        "<![CDATA[alice@univ-a.example]]>.evil.example",
        "alice@univ-a.example<saml:x/>.evil.example",
        "<saml:x>bob</saml:x>alice@univ-a.example",
    ],
)
def test_comments_and_more_inside_an_identifier(value: str, world: World, answer: Answer) -> None:
    """Signed by the provider itself: no reader may see half of it (CVE-2017-11427)."""
    attribute = (
        '<saml:Attribute Name="urn:oid:1.3.6.1.4.1.5923.1.1.1.6" '
        'NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri">'
        "<saml:AttributeValue>{}</saml:AttributeValue></saml:Attribute>"
    )
    for inside, good in ((ALICE, True), (value, False)):
        xml = forge.signed_response(
            replace(answer, raw_attributes=attribute.format(inside)), world.univ_a.key
        )
        if good:
            assert name_of(check(world, xml)) == ALICE
        else:
            assert code_of(world, xml) in {BAD, "sign-in-foreign-scope", "sign-in-no-identifier"}


def test_comments_added_on_the_way(world: World, answer: Answer) -> None:
    """Canonical XML has no comments: who adds one does not break the signature."""
    honest = forge.signed_response(answer, world.univ_a.key)
    assert check(world, honest)
    assert code_of(world, honest.replace("alice@", "alice<!-- -->@")) == BAD


# --- documents that hurt --------------------------------------------------------------------------


def test_entities(world: World, answer: Answer) -> None:
    honest = forge.signed_response(answer, world.univ_a.key)
    assert check(world, honest)
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(12))
    for dtd in (
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x [<!ENTITY % e SYSTEM "http://127.0.0.1:9/">%e;]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">',
        f"<!DOCTYPE x [{laughs}]>",
        "<!DOCTYPE x [<!ATTLIST saml:Assertion ID ID #IMPLIED>]>",
    ):
        entity = "&l11;" if "l11" in dtd else "&e;"
        forged = dtd + honest.replace("Alice Martin", entity)
        assert code_of(world, forged) == BAD
        assert code_of(world, forged.encode("utf-16")) == BAD


def test_transforms_that_compute(world: World, answer: Answer) -> None:
    """An XSLT bomb: before a signature is wrong its transforms have run."""
    honest = forge.signed_response(answer, world.univ_a.key)
    assert check(world, honest)
    calls = (
        '<xsl:call-template name="t"><xsl:with-param name="n" select="$n - 1"/></xsl:call-template>'
    )
    bomb = (
        '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116">'
        '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">'
        '<xsl:template name="t"><xsl:param name="n" select="40"/>'
        f'<xsl:if test="$n &gt; 0">{calls * 2}</xsl:if></xsl:template>'
        '<xsl:template match="/"><xsl:call-template name="t"/></xsl:template>'
        "</xsl:stylesheet></ds:Transform>"
    )
    forged = honest.replace(forge.C14N, bomb)
    assert forged != honest
    assert code_of(world, forged) == BAD  # the test's time-out would end it otherwise
    inside = forge.signed_assertion(answer, world.univ_a.key).replace(forge.C14N, bomb)
    assert code_of(world, forge.encrypt(inside, world.certificates[0])) == BAD


def test_very_large(world: World, answer: Answer) -> None:
    honest = forge.signed_response(answer, world.univ_a.key)
    assert check(world, honest)
    large = replace(answer, attributes={**answer.attributes, "mail": ["x" * 1024 * 1024]})
    assert code_of(world, forge.signed_response(large, world.univ_a.key)) == BAD
    for number, taken in ((1000, True), (2500, False)):
        many = replace(answer, attributes={**answer.attributes, "mail": ["x"] * number})
        xml = forge.signed_response(many, world.univ_a.key)
        assert len(xml) < MAX_BYTES
        if taken:
            assert name_of(check(world, xml)) == ALICE
        else:
            assert code_of(world, xml) == BAD


@pytest.mark.parametrize("depth", [300, 20_000])
def test_very_deep(depth: int, world: World, answer: Answer) -> None:
    honest = forge.signed_response(answer, world.univ_a.key)
    deep = honest.replace("Alice Martin", "<a>" * depth + "</a>" * depth)
    assert check(world, honest)
    assert code_of(world, deep) == BAD


async def test_two_providers_at_once(world: World, answer: Answer) -> None:
    """Answers that are checked at the same time are checked each with its own provider's keys."""
    responses = Responses(Federation(world.site))
    b = replace(
        answer,
        issuer=world.univ_b.entity_id,
        attributes={"eduPersonPrincipalName": ["bob@univ-b.example"]},
    )

    def sent(one: Answer, provider: Signer) -> str:
        return forge.posted(forge.signed_response(one, provider.key))

    try:
        answers = await asyncio.gather(
            *(
                responses.check(one)
                for _ in range(4)
                for one in (
                    sent(answer, world.univ_a),
                    sent(b, world.univ_b),
                    sent(answer, world.univ_b),
                    sent(b, world.univ_a),
                )
            ),
            return_exceptions=True,
        )
    finally:
        responses.close()
    said = [
        name_of(one) if isinstance(one, Verified) else getattr(one, "code", one) for one in answers
    ]
    assert said == [ALICE, "bob@univ-b.example", BAD, BAD] * 4
