"""The first look at a response: honest ones pass, other forms do not, whatever they hold."""

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mydocker_hub.domain.errors import Refused
from mydocker_hub.federation.prescreen import (
    MAX_BYTES,
    Envelope,
    decode,
    prescreen,
    prescreen_decrypted,
)

from . import forge
from .forge import ACS, Answer, Signer

pytestmark = pytest.mark.peers

NAME = "University A"
REQUEST = "_4f3c2b1a4f3c2b1a4f3c2b1a4f3c2b1a"
BOMB = (
    '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(8))
    + "]>"
)


@pytest.fixture(scope="session")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return forge.signer(tmp_path_factory.mktemp("idp"), "univ-a")


@pytest.fixture(scope="session")
def sp(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return forge.signer(tmp_path_factory.mktemp("sp"), "hub")


@pytest.fixture(scope="session")
def answer(idp: Signer) -> Answer:
    return Answer(issuer=idp.entity_id, in_response_to=REQUEST)


@pytest.fixture(scope="session")
def honest(answer: Answer, idp: Signer) -> str:
    return forge.both_signed(answer, idp.key)


def look(xml: str | bytes) -> Envelope:
    return prescreen(xml.encode() if isinstance(xml, str) else xml, acs=ACS, provider=NAME)


def refusal(xml: str | bytes) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        look(xml)
    assert caught.value.params == {"provider": NAME}
    return caught.value.code, caught.value.log_detail


def test_honest(answer: Answer, honest: str, idp: Signer) -> None:
    envelope = look('<?xml version="1.0" encoding="UTF-8"?>\n' + honest)
    assert envelope.issuer == idp.entity_id
    assert envelope.in_response_to == REQUEST
    assert envelope.id == answer.id
    assert envelope.status == ""
    assert envelope.signed
    assert envelope.xml.strip() == honest.strip().encode()
    assert look(forge.signed_response(answer, idp.key)).signed
    assert not look(forge.signed_assertion(answer, idp.key)).signed
    assert not look(answer.response(answer.assertion())).signed  # that nothing is: not for here


def test_honest_encrypted(answer: Answer, idp: Signer, sp: Signer) -> None:
    inside = forge.encrypt(forge.signed_assertion(answer, idp.key), sp.certificate)
    plain = forge.encrypt(answer.response(answer.assertion()), sp.certificate, forge.CBC)
    around = forge.sign_around(plain, answer, idp.key)
    for xml, signed in ((inside, False), (around, True)):
        assert "EncryptedAssertion" in xml
        assert look(xml).signed is signed


def test_cbc_only_where_the_response_is_signed(answer: Answer, idp: Signer, sp: Signer) -> None:
    xml = forge.encrypt(forge.signed_assertion(answer, idp.key), sp.certificate, forge.CBC)
    assert refusal(xml)[0] == "sign-in-message-invalid"
    assert "CBC" in refusal(xml)[1]


def test_a_failure_has_a_status_and_no_assertion(answer: Answer) -> None:
    xml = replace(answer, status="urn:oasis:names:tc:SAML:2.0:status:Responder").response("")
    inner = '<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:AuthnFailed"/>'
    xml = xml.replace('Responder"/>', f'Responder">{inner}</samlp:StatusCode>')
    assert look(xml).status == "urn:oasis:names:tc:SAML:2.0:status:AuthnFailed"


def edits(answer: Answer) -> dict[str, tuple[str, str]]:
    """Names of forms that are refused: what is replaced in the honest one, and with what."""
    assertion = answer.assertion()
    other = assertion.replace(answer.assertion_id, "_other")
    return {
        "another root": ("samlp:Response", "samlp:ArtifactResponse"),
        "SAML 1": (f'{answer.id}" Version="2.0"', f'{answer.id}" Version="1.1"'),
        "assertion of SAML 1": (
            f'{answer.assertion_id}" Version="2.0"',
            f'{answer.assertion_id}" Version="1.1"',
        ),
        "two assertions": ("</samlp:Response>", f"{other}</samlp:Response>"),
        "assertion elsewhere": (
            "<samlp:Status>",
            f"<samlp:Extensions>{other}</samlp:Extensions><samlp:Status>",
        ),
        "response in response": (
            "</samlp:Response>",
            "<samlp:Extensions><samlp:Response/></samlp:Extensions></samlp:Response>",
        ),
        "advice": ("<saml:AuthnStatement", "<saml:Advice/><saml:AuthnStatement"),
        "encrypted attribute": ("<saml:AttributeValue>", "<saml:EncryptedAttribute/>"),
        "same ID": (f'ID="{answer.assertion_id}"', f'ID="{answer.id}"'),
        "ID by another name": ("<saml:Conditions", f'<saml:Conditions Id="{answer.id}"'),
        "xml:id": ("<saml:Conditions", '<saml:Conditions xml:id="_new"'),
        "ID that is none": (f'ID="{answer.id}"', 'ID="1 2"'),
        "no ID": (f'ID="{answer.assertion_id}" ', ""),
        "comment": ("alice@univ-a", "alice@univ-b.example<!-- -->@univ-a"),
        "instruction": ("alice@univ-a", "alice<?x y?>@univ-a"),
        "CDATA": ("alice@", "<![CDATA[alice]]>@"),
        "object": ("</ds:Signature>", "<ds:Object/></ds:Signature>"),
        "two references": ("</ds:Reference>", '</ds:Reference><ds:Reference URI="#x"/>'),
        "reference to another": (f'URI="#{answer.assertion_id}"', f'URI="#{answer.id}"'),
        "reference to all": (f'URI="#{answer.assertion_id}"', 'URI=""'),
        "reference to outside": (f'URI="#{answer.assertion_id}"', 'URI="http://x/"'),
        "weak signature": (forge.RSA_SHA256, forge.RSA_SHA1),
        "MAC": (forge.RSA_SHA256, "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"),
        "weak digest": (forge.SHA256, forge.SHA1),
        "XSLT": (
            forge.C14N,
            '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116">'
            '<xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform"/></ds:Transform>',
        ),
        "XSLT under another name": (
            forge.C14N,
            f'{forge.C14N[:-2]}><xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform"/>'
            "</ds:Transform>",
        ),
        "XPath": (
            forge.C14N,
            '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"/>',
        ),
        "no algorithm": (f'<ds:DigestMethod Algorithm="{forge.SHA256}"/>', "<ds:DigestMethod/>"),
        "no enveloped": (forge.ENVELOPED, ""),
        "many transforms": (forge.C14N, forge.C14N * 2),
        "signature elsewhere": (
            "<saml:Subject>",
            f"<saml:Subject>{forge.template(answer.assertion_id)}",
        ),
        "two signatures": (
            "<samlp:Status>",
            f"{forge.template(answer.id)}<samlp:Status>",
        ),
        "encrypted elsewhere": (
            "<saml:AttributeValue>",
            '<saml:AttributeValue><xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#"/>',
        ),
        "no issuer": (f"<saml:Issuer>{answer.issuer}</saml:Issuer>", "<saml:Issuer/>"),
        "no instant": ("IssueInstant", "IssuedAt"),
        "no status": ("samlp:StatusCode", "samlp:StatusMessage"),
        "DTD": ("<samlp:Response", "<!DOCTYPE x><samlp:Response"),
        "external DTD": (
            "<samlp:Response",
            '<!DOCTYPE x SYSTEM "file:///etc/passwd"><samlp:Response',
        ),
        "entities": ("<samlp:Response", f"{BOMB}<samlp:Response"),
    }


NAMES = list(edits(Answer(issuer="x", in_response_to="_x")))


@pytest.mark.parametrize("name", NAMES)
def test_forms_that_are_refused(name: str, answer: Answer, honest: str) -> None:
    before, after = edits(answer)[name]
    assert look(honest)
    assert before in honest
    code, detail = refusal(honest.replace(before, after))
    assert code == "sign-in-message-invalid"
    assert detail.startswith("pre-screen: ")


def test_the_same_forms_decrypted(answer: Answer, honest: str, idp: Signer) -> None:
    """What was inside an encrypted assertion is looked at like the rest."""
    inside = honest.replace("<saml:Assertion", "<saml:EncryptedAssertion><saml:Assertion", 1)
    inside = inside.replace("</saml:Assertion>", "</saml:Assertion></saml:EncryptedAssertion>")
    prescreen_decrypted(inside.encode(), provider=NAME)
    for name in ("weak signature", "XSLT", "same ID", "comment", "object", "assertion elsewhere"):
        before, after = edits(answer)[name]
        forged = inside.replace(before, after)
        assert forged != inside
        with pytest.raises(Refused, match="pre-screen"):
            prescreen_decrypted(forged.encode(), provider=NAME)
    twice = inside.replace("</samlp:Response>", f"{answer.assertion()}</samlp:Response>")
    with pytest.raises(Refused):
        prescreen_decrypted(twice.encode(), provider=NAME)


@pytest.mark.parametrize("destination", ["https://other.example/acs", "", f"{ACS}/", ACS.upper()])
def test_for_another_service(destination: str, answer: Answer) -> None:
    xml = replace(answer, destination=destination).response(answer.assertion())
    assert refusal(xml)[0] == "sign-in-not-for-us"
    assert refusal(xml.replace(f' Destination="{destination}"', ""))[0] == "sign-in-not-for-us"


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"not XML",
        b"<a>" * 1000,
        b"\xff\xfe" + "<a/>".encode("utf-16-le"),
        b'<?xml version="1.0" encoding="UTF-16"?><a/>',
        '<?xml version="1.0" encoding="ISO-8859-1"?><a>é</a>'.encode(),
        b"<a>\x00</a>",
        b"<a>\xe9</a>",
        b"<a>&b;</a>",
    ],
)
def test_no_documents(xml: bytes) -> None:
    assert refusal(xml)[0] == "sign-in-message-invalid"


def test_base64(honest: str) -> None:
    sent = base64.b64encode(honest.encode()).decode()
    assert decode(sent, provider=NAME) == honest.encode()
    folded = "\r\n".join(sent[at : at + 76] for at in range(0, len(sent), 76))
    assert decode(folded, provider=NAME) == honest.encode()
    for bad in (sent[:-1], f"{sent[:10]}*{sent[10:]}", "é", f"{sent}===="):
        with pytest.raises(Refused) as caught:
            decode(bad, provider=NAME)
        assert caught.value.code == "sign-in-message-invalid"


def test_too_large() -> None:
    for size in (MAX_BYTES + 1, MAX_BYTES * 4):
        with pytest.raises(Refused, match="too large"):
            decode(base64.b64encode(b"x" * size).decode(), provider=NAME)
    assert len(decode(base64.b64encode(b"x" * MAX_BYTES).decode(), provider=NAME)) == MAX_BYTES


PIECES = st.sampled_from(
    [
        "<saml:Assertion/>",
        "<samlp:Response>",
        "</samlp:Response>",
        '<ds:Transform Algorithm="x"/>',
        "<!--",
        "]]>",
        "&amp;",
        '" ID="_a',
        "\x00",
        "<",
        "é",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_responses_are_read_or_refused(honest: str, data: st.DataObject) -> None:
    """No input makes it fail in another way than with a refusal."""
    at = data.draw(st.integers(0, len(honest)))
    cut = data.draw(st.integers(0, 40))
    damaged = honest[:at] + data.draw(PIECES | st.text(max_size=5)) + honest[at + cut :]
    try:
        look(damaged.encode("utf-8", "surrogatepass"))
    except Refused:
        return


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(xml: bytes) -> None:
    with pytest.raises(Refused):
        look(xml)


def test_nothing_is_read_from_the_disk(answer: Answer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret of the test")
    bad = answer.response(answer.assertion()).replace(
        "<samlp:Response",
        f'<!DOCTYPE x [<!ENTITY s SYSTEM "{secret.as_uri()}">]><samlp:Response',
    )
    _, detail = refusal(bad.replace("Alice Martin", "&s;"))
    assert "a secret" not in detail
