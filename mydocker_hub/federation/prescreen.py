"""A first look at a SAML response, before any library that trusts its input sees it.

It lets through what identity providers send and nothing else: one form of document, the algorithms
of today, signatures and encryption where SAML puts them. Most attacks on XML signatures are a
document of another form (USENIX Security 2012, “On Breaking SAML”). What is read here is not
verified: it chooses the identity provider and words a refusal.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lxml import etree

from ..domain.environment import Text
from ..domain.errors import Refused
from ..identity.clock import instant

MAX_BYTES = 128 * 1024
"""A response as XML. Real ones have 5 to 30 kB."""

_MOST_ELEMENTS = 2000  # pysaml2 looks at each, before any signature is checked

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
DS = "http://www.w3.org/2000/09/xmldsig#"
XENC = "http://www.w3.org/2001/04/xmlenc#"
XENC11 = "http://www.w3.org/2009/xmlenc11#"
_DSIG_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_EXCLUSIVE_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"

_NAMESPACES = frozenset({SAML, SAMLP, DS, XENC, XENC11, _EXCLUSIVE_C14N})
"""Whose elements matter here. Others are data, such as an attribute's value."""

SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"

_CANONICAL = frozenset({_EXCLUSIVE_C14N, f"{_EXCLUSIVE_C14N}WithComments"})
_TRANSFORMS = _CANONICAL | {f"{DS}enveloped-signature"}
_SHA1 = f"{DS}sha1"
_SHA2 = frozenset({f"{XENC}sha256", f"{_DSIG_MORE}sha384", f"{XENC}sha512"})
_CBC = frozenset({f"{XENC}aes128-cbc", f"{XENC}aes256-cbc"})

_ALGORITHMS: dict[tuple[str, str], frozenset[str]] = {
    (f"{{{DS}}}SignedInfo", f"{{{DS}}}CanonicalizationMethod"): _CANONICAL,
    (f"{{{DS}}}SignedInfo", f"{{{DS}}}SignatureMethod"): frozenset(
        f"{_DSIG_MORE}{kind}-sha{bits}" for kind in ("rsa", "ecdsa") for bits in (256, 384, 512)
    ),
    (f"{{{DS}}}Transforms", f"{{{DS}}}Transform"): _TRANSFORMS,
    (f"{{{DS}}}Reference", f"{{{DS}}}DigestMethod"): _SHA2,
    (f"{{{XENC}}}EncryptedData", f"{{{XENC}}}EncryptionMethod"): _CBC
    | {f"{XENC11}aes{bits}-gcm" for bits in (128, 192, 256)},
    (f"{{{XENC}}}EncryptedKey", f"{{{XENC}}}EncryptionMethod"): frozenset(
        {f"{XENC}rsa-oaep-mgf1p", f"{XENC11}rsa-oaep"}
    ),
    # OAEP needs no collision-free hash, and its SHA-1 is what everybody sends (RFC 8017 §B.1).
    (f"{{{XENC}}}EncryptionMethod", f"{{{DS}}}DigestMethod"): _SHA2 | {_SHA1},
    (f"{{{XENC}}}EncryptionMethod", f"{{{XENC11}}}MGF"): frozenset(
        f"{XENC11}mgf1sha{bits}" for bits in (1, 224, 256, 384, 512)
    ),
}
"""The algorithms allowed to an element, by its parent's name and its own."""

_NEVER = frozenset(
    {
        f"{{{DS}}}Object",
        f"{{{DS}}}Manifest",
        f"{{{DS}}}XPath",
        f"{{{DS}}}HMACOutputLength",
        f"{{{XENC}}}CipherReference",
        f"{{{SAML}}}Advice",
        f"{{{SAML}}}EncryptedAttribute",
        f"{{{SAML}}}EncryptedID",
    }
)
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,255}")
_DECLARATION = re.compile(r"""<\?xml[ \t\r\n](?:[^?<>]*)\?>""")
_ENCODING = re.compile(r"""encoding\s*=\s*["']([^"']*)["']""")


@dataclass(frozen=True)
class Envelope:
    """What a response says of itself; nothing of it is verified.

    `xml` is what was looked at, and is to be verified: UTF-8, without an XML declaration.
    `status` is empty for success, else its narrowest status code.
    """

    xml: bytes
    id: str
    issuer: str
    in_response_to: str
    status: str = ""
    signed: bool = False


def decode(sent: str, *, provider: Text | str) -> bytes:
    """The XML of a `SAMLResponse` (base64, SAML Bindings §3.5.4). Raises `Refused`."""
    if len(sent) > MAX_BYTES * 2:
        raise _unfit(provider, "too large")
    try:
        # Lines may be folded; nothing else than the alphabet is base64.
        xml = base64.b64decode(re.sub(r"[ \t\r\n]+", "", sent), validate=True)
    except (binascii.Error, ValueError):
        raise _unfit(provider, "not base64") from None
    if len(xml) > MAX_BYTES:
        raise _unfit(provider, "too large")
    return xml


def prescreen(xml: bytes, *, acs: str, provider: Text | str) -> Envelope:
    """Look at a response that was sent to `acs`, our assertion consumer service.

    `provider` is whom a refusal names. Raises `Refused`: `sign-in-message-invalid`, or
    `sign-in-not-for-us` where it was made for another service.
    """
    text = _text(xml, provider)
    root = _parse(text, provider)
    try:
        _screen(root, decrypted=False)
        envelope = _read(root, text)
    except _UnfitError as unfit:
        raise _unfit(provider, str(unfit)) from None
    if root.get("Destination") != acs:
        raise Refused("sign-in-not-for-us", provider=provider, log_detail="Destination")
    return envelope


def prescreen_decrypted(xml: bytes, *, provider: Text | str) -> None:
    """Look again, at what was inside an encrypted assertion. Raises `Refused`."""
    root = _parse(_text(xml, provider), provider)
    try:
        _screen(root, decrypted=True)
    except _UnfitError as unfit:
        raise _unfit(provider, f"decrypted: {unfit}") from None


class _UnfitError(Exception):
    """What is wrong, for the log."""


def _unfit(provider: Text | str, why: str) -> Refused:
    return Refused("sign-in-message-invalid", provider=provider, log_detail=f"pre-screen: {why}")


def _text(xml: bytes, provider: Text | str) -> bytes:
    """The document without its XML declaration; without DTD, comments, CDATA and instructions."""
    try:
        text = xml.decode("utf-8")
    except UnicodeDecodeError:
        raise _unfit(provider, "not UTF-8") from None
    declaration = _DECLARATION.match(text)
    if declaration:
        encoding = _ENCODING.search(declaration.group())
        if encoding and encoding.group(1).lower() != "utf-8":
            raise _unfit(provider, "not UTF-8")
        text = text[declaration.end() :]
    # Every DTD, entity declaration, comment and CDATA section begins so. None has a place in a
    # response, and texts that one reader joins and another cuts at a comment were a whole family
    # of faults (CVE-2017-11427).
    if "<!" in text or "<?" in text:
        raise _unfit(provider, "DTD, comment, CDATA or processing instruction")
    return text.encode()


def _parse(xml: bytes, provider: Text | str) -> etree._Element:
    parser = etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=False,
        remove_pis=False,
    )
    try:
        return etree.fromstring(xml, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise _unfit(provider, f"not XML: {type(error).__name__}") from None


def _screen(root: etree._Element, *, decrypted: bool) -> None:
    if root.tag != f"{{{SAMLP}}}Response":
        raise _UnfitError("not a Response")
    _only_known_forms(root)
    _ids_are_unique(root)
    assertions = _assertions(root, decrypted=decrypted)
    signable = {root, *assertions}
    for signature in root.iter(f"{{{DS}}}Signature"):
        _signature(signature, signable)
    for data in root.iter(f"{{{XENC}}}EncryptedData"):
        parent = data.getparent()
        if parent is None or parent.tag != f"{{{SAML}}}EncryptedAssertion" or decrypted:
            raise _UnfitError("EncryptedData in another place")
        method = data.find(f"{{{XENC}}}EncryptionMethod")
        if method is None:
            raise _UnfitError("no EncryptionMethod")
        if method.get("Algorithm") in _CBC and root.find(f"{{{DS}}}Signature") is None:
            # Whoever may ask often enough whether a forged CBC text decrypts reads all of it.
            raise _UnfitError("CBC in a response that is not signed")


def _only_known_forms(root: etree._Element) -> None:
    for number, element in enumerate(root.iter()):
        if number >= _MOST_ELEMENTS:
            raise _UnfitError("too many elements")
        if not isinstance(element.tag, str):
            raise _UnfitError("comment or processing instruction")
        namespace = etree.QName(element).namespace or ""
        if element.tag in _NEVER or namespace.endswith(("/XSL/Transform", "/xmldsig-filter2")):
            raise _UnfitError(f"element {element.tag}")
        if element.tag == f"{{{SAMLP}}}Response" and element is not root:
            raise _UnfitError("a Response in the Response")
        algorithm = element.get("Algorithm")
        parent = element.getparent()
        allowed = _ALGORITHMS.get(("" if parent is None else str(parent.tag), element.tag))
        says = namespace in _NAMESPACES and (algorithm is not None or allowed is not None)
        if says and algorithm not in (allowed or ()):
            raise _UnfitError(f"algorithm {algorithm} of {element.tag}")
        uri = element.get("URI")
        if namespace in {DS, XENC, XENC11} and uri is not None and not uri.startswith("#"):
            raise _UnfitError("a reference to outside")


def _ids_are_unique(root: etree._Element) -> None:
    seen: set[str] = set()
    for element in root.iter():
        for name, value in element.attrib.items():
            if etree.QName(name).localname.lower() != "id":
                continue
            if str(name).startswith("{") or not _ID.fullmatch(str(value)) or value in seen:
                raise _UnfitError("an ID that is not good, or not unique")
            seen.add(str(value))


def _assertions(root: etree._Element, *, decrypted: bool) -> list[etree._Element]:
    """The Assertion, which is where it belongs and the only one; none where it is encrypted."""
    plain = list(root.iter(f"{{{SAML}}}Assertion"))
    encrypted = list(root.iter(f"{{{SAML}}}EncryptedAssertion"))
    succeeded = _status(root) == ""
    homes = {root, *encrypted} if decrypted else {root}
    if any(one.getparent() not in homes for one in plain) or any(
        one.getparent() is not root for one in encrypted
    ):
        raise _UnfitError("an assertion in another place")
    number = len(plain) if decrypted else len(plain) + len(encrypted)
    if number > 1 or len(encrypted) > 1 or (succeeded and number != 1):
        raise _UnfitError("not exactly one assertion")
    if not decrypted and any(
        [child.tag for child in one][:1] != [f"{{{XENC}}}EncryptedData"] for one in encrypted
    ):
        raise _UnfitError("an EncryptedAssertion without EncryptedData")
    if any(one.get("Version") != "2.0" or not one.get("ID") for one in plain):
        raise _UnfitError("an assertion without ID, or not of SAML 2.0")
    return plain


def _signature(signature: etree._Element, signable: set[etree._Element]) -> None:
    """Raise where a signature is not the one enveloped signature of its parent (Core §5.4)."""
    parent = signature.getparent()
    if parent is None or parent not in signable:
        raise _UnfitError("a signature in another place")
    if len(parent.findall(f"{{{DS}}}Signature")) != 1:
        raise _UnfitError("several signatures of one element")
    infos = signature.findall(f"{{{DS}}}SignedInfo")
    references = [found for info in infos for found in info.findall(f"{{{DS}}}Reference")]
    if len(infos) != 1 or len(references) != 1:
        raise _UnfitError("not exactly one reference in a signature")
    if references[0].get("URI") != f"#{parent.get('ID')}":
        raise _UnfitError("a signature of something else than its parent")
    transforms = [one.get("Algorithm") for one in references[0].iter(f"{{{DS}}}Transform")]
    if f"{DS}enveloped-signature" not in transforms or len(transforms) > 2:
        raise _UnfitError("transforms")


def _read(root: etree._Element, xml: bytes) -> Envelope:
    if root.get("Version") != "2.0":
        raise _UnfitError("not SAML 2.0")
    if instant(root.get("IssueInstant", "")) is None:
        raise _UnfitError("no IssueInstant")
    issuers = [
        *root.findall(f"{{{SAML}}}Issuer"),
        *root.findall(f"{{{SAML}}}Assertion/{{*}}Issuer"),
    ]
    issuer = (issuers[0].text or "").strip() if issuers else ""
    if not issuer or len(issuer) > 1024:
        raise _UnfitError("no Issuer")
    if not _ID.fullmatch(root.get("InResponseTo", "_")):
        raise _UnfitError("InResponseTo")
    return Envelope(
        xml=xml,
        id=root.get("ID", ""),
        issuer=issuer,
        in_response_to=root.get("InResponseTo", ""),
        status=_status(root),
        signed=root.find(f"{{{DS}}}Signature") is not None,
    )


def _status(root: etree._Element) -> str:
    """Empty for success, else the narrowest code (SAML Core §3.2.2.2)."""
    codes = list(_codes(root))
    if not codes:
        raise _UnfitError("no Status")
    return "" if codes[0] == SUCCESS else codes[-1]


def _codes(root: etree._Element) -> Iterator[str]:
    found = root.find(f"{{{SAMLP}}}Status/{{{SAMLP}}}StatusCode")
    while found is not None:
        yield found.get("Value", "")
        found = found.find(f"{{{SAMLP}}}StatusCode")
