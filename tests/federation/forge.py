"""SAML responses as identity providers make them, and as attackers would like them.

Built here from templates, signed and encrypted by `xmlsec1`, so that neither the code under test
nor its library has a hand in them.
"""

from __future__ import annotations

import base64
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from mydocker_hub.federation import sp
from mydocker_hub.federation.metadata import Idp, MetadataStore
from mydocker_hub.federation.refresh import folder_of, rules_of
from mydocker_hub.identity.settings import SignInSettings

from ..peers.keys import fingerprint, key_pair

HUB = "https://hub.example.org/hub/"
ACS = f"{HUB}saml/acs"
SP = f"{HUB}saml/metadata"

_OIDS = {
    "eduPersonPrincipalName": "urn:oid:1.3.6.1.4.1.5923.1.1.1.6",
    "eduPersonAffiliation": "urn:oid:1.3.6.1.4.1.5923.1.1.1.1",
    "eduPersonScopedAffiliation": "urn:oid:1.3.6.1.4.1.5923.1.1.1.9",
    "eduPersonPrimaryAffiliation": "urn:oid:1.3.6.1.4.1.5923.1.1.1.5",
    "displayName": "urn:oid:2.16.840.1.113730.3.1.241",
    "mail": "urn:oid:0.9.2342.19200300.100.1.3",
    "subject-id": "urn:oasis:names:tc:SAML:attribute:subject-id",
    "pairwise-id": "urn:oasis:names:tc:SAML:attribute:pairwise-id",
}

RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
RSA_SHA1 = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
GCM = "http://www.w3.org/2009/xmlenc11#aes128-gcm"
CBC = "http://www.w3.org/2001/04/xmlenc#aes128-cbc"
ENVELOPED = '<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>'
C14N = '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>'

ALICE: Mapping[str, Sequence[str]] = {
    "eduPersonPrincipalName": ["alice@univ-a.example"],
    "displayName": ["Alice Martin"],
    "eduPersonAffiliation": ["student", "member"],
}


@dataclass(frozen=True)
class Signer:
    """An identity provider's name and key."""

    entity_id: str
    scope: str
    key: Path
    certificate: Path
    older: Sequence[Path] = ()  # further certificates in its metadata

    @property
    def metadata(self) -> str:
        """Its EntityDescriptor."""
        certificates = "".join(
            '<md:KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>'
            f"{_body(file)}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
            for file in (*self.older, self.certificate)
        )
        return (
            f'<md:EntityDescriptor entityID="{self.entity_id}"><md:IDPSSODescriptor '
            'protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">'
            '<md:Extensions><shibmd:Scope xmlns:shibmd="urn:mace:shibboleth:metadata:1.0" '
            f'regexp="false">{self.scope}</shibmd:Scope>'
            '<mdui:UIInfo xmlns:mdui="urn:oasis:names:tc:SAML:metadata:ui">'
            f'<mdui:DisplayName xml:lang="fr">Université {self.scope}</mdui:DisplayName>'
            f'<mdui:DisplayName xml:lang="en">University {self.scope}</mdui:DisplayName>'
            f"</mdui:UIInfo></md:Extensions>{certificates}<md:SingleSignOnService "
            'Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" '
            f'Location="https://idp.{self.scope}/sso"/></md:IDPSSODescriptor>'
            "</md:EntityDescriptor>"
        )


def signed_federation(entities: Sequence[str], key: Path) -> str:
    """The signed metadata of a federation of these EntityDescriptors."""
    ends = (datetime.now(UTC) + timedelta(days=8)).strftime("%Y-%m-%dT%H:%M:%SZ")
    xml = (
        '<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" '
        f'xmlns:ds="http://www.w3.org/2000/09/xmldsig#" ID="_federation" validUntil="{ends}">'
        f"{template('_federation')}{''.join(entities)}</md:EntitiesDescriptor>"
    )
    return sign(xml, key, "EntitiesDescriptor", "_federation")


def signer(folder: Path, name: str) -> Signer:
    key, certificate = key_pair(folder, name)
    return Signer(f"https://idp.{name}.example/idp/shibboleth", f"{name}.example", key, certificate)


def _body(certificate: Path) -> str:
    return "".join(certificate.read_text().strip().splitlines()[1:-1])


@dataclass(frozen=True)
class Answer:
    """What a response says, honest unless told otherwise. Instants are seconds from now."""

    issuer: str
    in_response_to: str
    attributes: Mapping[str, Sequence[str]] = field(default_factory=lambda: ALICE)
    raw_attributes: str = ""
    id: str = "_response0001"
    assertion_id: str = "_assertion0001"
    destination: str = ACS
    recipient: str = ACS
    audience: str = SP
    assertion_issuer: str = ""
    confirmed_in_response_to: str = ""
    method: str = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
    issued: float = 0
    not_before: float = -1
    ends: float = 300
    confirmed_until: float = 300
    status: str = "urn:oasis:names:tc:SAML:2.0:status:Success"
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def at(self, seconds: float) -> str:
        # +offsets are on the issuer's clock
        return (self.now + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def shifted(self, seconds: float) -> Answer:
        """The same from an identity provider whose clock is ahead."""
        return replace(self, now=self.now + timedelta(seconds=seconds))

    def assertion(self, signature: str = "") -> str:
        attributes = self.raw_attributes or "".join(
            f'<saml:Attribute Name="{_OIDS[name]}" FriendlyName="{name}" '
            'NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri">'
            + "".join(
                f"<saml:AttributeValue>{escape(value)}</saml:AttributeValue>" for value in values
            )
            + "</saml:Attribute>"
            for name, values in self.attributes.items()
        )
        statement = (
            f"<saml:AttributeStatement>{attributes}</saml:AttributeStatement>" if attributes else ""
        )
        in_response_to = self.confirmed_in_response_to or self.in_response_to
        return (
            '<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" '
            f'ID="{self.assertion_id}" Version="2.0" IssueInstant="{self.at(self.issued)}">'
            f"<saml:Issuer>{self.assertion_issuer or self.issuer}</saml:Issuer>{signature}"
            '<saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:'
            'transient">_t0001</saml:NameID>'
            f'<saml:SubjectConfirmation Method="{self.method}">'
            f'<saml:SubjectConfirmationData NotOnOrAfter="{self.at(self.confirmed_until)}" '
            f'Recipient="{self.recipient}" InResponseTo="{in_response_to}"/>'
            "</saml:SubjectConfirmation></saml:Subject>"
            f'<saml:Conditions NotBefore="{self.at(self.not_before)}" '
            f'NotOnOrAfter="{self.at(self.ends)}"><saml:AudienceRestriction>'
            f"<saml:Audience>{self.audience}</saml:Audience></saml:AudienceRestriction>"
            f'</saml:Conditions><saml:AuthnStatement AuthnInstant="{self.at(self.issued)}">'
            "<saml:AuthnContext><saml:AuthnContextClassRef>"
            "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
            "</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>"
            f"{statement}</saml:Assertion>"
        )

    def response(self, content: str, signature: str = "") -> str:
        return (
            '<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" '
            'xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" '
            f'ID="{self.id}" Version="2.0" IssueInstant="{self.at(self.issued)}" '
            f'Destination="{self.destination}" InResponseTo="{self.in_response_to}">'
            f"<saml:Issuer>{self.issuer}</saml:Issuer>{signature}"
            f'<samlp:Status><samlp:StatusCode Value="{self.status}"/></samlp:Status>'
            f"{content}</samlp:Response>"
        )


def template(
    of: str,
    *,
    method: str = RSA_SHA256,
    digest: str = SHA256,
    transforms: str = ENVELOPED + C14N,
    key_info: str = "",
) -> str:
    """A signature of the element with the ID `of`, which xmlsec1 fills in."""
    return (
        '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>'
        '<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>'
        f'<ds:SignatureMethod Algorithm="{method}"/><ds:Reference URI="#{of}">'
        f"<ds:Transforms>{transforms}</ds:Transforms>"
        f'<ds:DigestMethod Algorithm="{digest}"/><ds:DigestValue/></ds:Reference></ds:SignedInfo>'
        f"<ds:SignatureValue/>{key_info}</ds:Signature>"
    )


def sign(xml: str, key: Path, kind: str, of: str) -> str:
    """Fill in the signature of the `kind` (Response, Assertion) whose ID is `of`."""
    space = {"Response": "protocol", "Assertion": "assertion"}.get(kind, "metadata")
    name = f"urn:oasis:names:tc:SAML:2.0:{space}:{kind}"
    where = f"//*[@ID='{of}']/*[local-name()='Signature']"
    return _xmlsec(
        ["--sign", "--privkey-pem", str(key), "--id-attr:ID", name, "--node-xpath", where], xml
    )


def encrypt(xml: str, certificate: Path, algorithm: str = GCM) -> str:
    """Put the assertion of a response into an EncryptedAssertion."""
    plain = re.search(r"<saml:Assertion .*</saml:Assertion>", xml, re.DOTALL)
    assert plain
    wrapped = xml.replace(
        plain.group(), f"<saml:EncryptedAssertion>{plain.group()}</saml:EncryptedAssertion>"
    )
    data = (
        '<xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" '
        'Type="http://www.w3.org/2001/04/xmlenc#Element">'
        f'<xenc:EncryptionMethod Algorithm="{algorithm}"/>'
        '<ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><xenc:EncryptedKey>'
        '<xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p">'
        '<ds:DigestMethod Algorithm="http://www.w3.org/2000/09/xmldsig#sha1"/>'
        "</xenc:EncryptionMethod><xenc:CipherData><xenc:CipherValue/></xenc:CipherData>"
        "</xenc:EncryptedKey></ds:KeyInfo>"
        "<xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedData>"
    )
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / "document.xml"
        document.write_text(wrapped)
        where = "/*[local-name()='Response']/*[local-name()='EncryptedAssertion']/*"
        return _xmlsec(
            [
                "--encrypt",
                "--pubkey-cert-pem",
                str(certificate),
                "--session-key",
                "aes-128",
                "--xml-data",
                str(document),
                "--node-xpath",
                where,
            ],
            data,
        )


def _xmlsec(arguments: list[str], xml: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "in.xml", Path(folder) / "out.xml"
        given.write_text(xml)
        done = subprocess.run(
            ["xmlsec1", *arguments, "--output", str(made), str(given)],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return re.sub(r"^<\?xml[^>]*\?>\s*", "", made.read_text())


def signed_assertion(answer: Answer, key: Path, **more: str) -> str:
    """A response in which the assertion alone is signed."""
    return sign(
        answer.response(answer.assertion(template(answer.assertion_id, **more))),
        key,
        "Assertion",
        answer.assertion_id,
    )


def signed_response(answer: Answer, key: Path, **more: str) -> str:
    """A response which is signed, and its assertion is not: what a Shibboleth IdP sends."""
    return sign(
        answer.response(answer.assertion(), template(answer.id, **more)),
        key,
        "Response",
        answer.id,
    )


def both_signed(answer: Answer, key: Path) -> str:
    inner = sign(
        answer.response(answer.assertion(template(answer.assertion_id)), template(answer.id)),
        key,
        "Assertion",
        answer.assertion_id,
    )
    return sign(inner, key, "Response", answer.id)


def sign_around(xml: str, answer: Answer, key: Path) -> str:
    """Sign a response as it is now, such as one with an encrypted assertion."""
    issuer = f"<saml:Issuer>{answer.issuer}</saml:Issuer>"
    head, _, rest = xml.partition(issuer)
    return sign(head + issuer + template(answer.id) + rest, key, "Response", answer.id)


def posted(xml: str | bytes) -> str:
    """As the form field SAMLResponse."""
    return base64.b64encode(xml.encode() if isinstance(xml, str) else xml).decode()


@dataclass(frozen=True)
class Site:
    """A hub, as far as the federation is concerned."""

    settings: SignInSettings
    state: Path
    hub_url: str = HUB


@dataclass(frozen=True)
class World:
    """A hub whose federation knows univ-a and univ-b; univ-c is one that it does not trust."""

    site: Site
    univ_a: Signer
    univ_b: Signer
    univ_c: Signer
    attacker: Path  # a key that nobody trusts

    def idp(self, provider: Signer) -> Idp:
        idp = MetadataStore(folder_of(self.site), rules_of(self.site)).entity(provider.entity_id)
        assert idp is not None
        return idp

    @property
    def certificates(self) -> list[Path]:
        """Ours, that answers may be encrypted for."""
        return [pair.certificate for pair in sp.open_keys(self.site).decrypting]


def world(folder: Path, **federation: Any) -> World:
    """Make one; `federation` are further settings."""
    univ_a, univ_b, univ_c = (signer(folder, name) for name in ("univ-a", "univ-b", "univ-c"))
    _, older = key_pair(folder, "univ-a-older", expired=True)
    univ_a = replace(univ_a, older=[older])
    key, certificate = key_pair(folder, "federation")
    file = folder / "federation.xml"
    file.write_text(signed_federation([univ_a.metadata, univ_b.metadata], key))
    settings = SignInSettings.model_validate(
        {
            "federation": {
                "metadata": {
                    "file": file,
                    "fingerprints": [fingerprint(certificate)],
                    "certificate_file": certificate,
                },
                **federation,
            }
        }
    )
    site = Site(settings, folder / "state")
    MetadataStore(folder_of(site), rules_of(site)).load(file)
    attacker, _ = key_pair(folder, "attacker")
    return World(site, univ_a, univ_b, univ_c, attacker)
