"""Whether a metadata document is signed by the federation that the operator named.

The whole document has to be signed, by a certificate whose SHA-256 fingerprint the operator
confirmed. The certificate's own dates say nothing: federations sign for years with one that has
expired (SAML V2.0 Metadata Interoperability Profile §2.6.1). It is read from a private file, by
`xmlsec1` and then by us, so that both see the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

MD = "urn:oasis:names:tc:SAML:2.0:metadata"
DS = "http://www.w3.org/2000/09/xmldsig#"
MDRPI = "urn:oasis:names:tc:SAML:metadata:rpi"

MOST_BYTES = 200 * 1024 * 1024
LONGEST = timedelta(days=28)
_CLOCKS = timedelta(hours=1)  # two clocks that differ do not make a document invalid
_XMLSEC_SECONDS = 120

_C14N = {
    "http://www.w3.org/2001/10/xml-exc-c14n#",
    "http://www.w3.org/2001/10/xml-exc-c14n#WithComments",
}
_TRANSFORMS = {"http://www.w3.org/2000/09/xmldsig#enveloped-signature", *_C14N}
_SIGNATURES = {
    f"http://www.w3.org/2001/04/xmldsig-more#{kind}-sha{bits}"
    for kind in ("rsa", "ecdsa")
    for bits in (256, 384, 512)
}
_DIGESTS = {
    "http://www.w3.org/2001/04/xmlenc#sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512",
}
_IN_SIGNED_INFO = {
    f"{{{DS}}}{name}"
    for name in (
        "CanonicalizationMethod",
        "SignatureMethod",
        "Reference",
        "Transforms",
        "Transform",
        "DigestMethod",
        "DigestValue",
    )
} | {"{http://www.w3.org/2001/10/xml-exc-c14n#}InclusiveNamespaces"}


class MetadataInvalid(Exception):
    """Why a metadata document is not taken, in English, for the log and the operator."""


@dataclass(frozen=True)
class Signed:
    """What a verified document says of itself."""

    tag: str
    id: str
    valid_until: datetime
    created: datetime | None
    """When the federation made it (mdrpi:PublicationInfo), where it says so."""
    fingerprint: str
    """Of the certificate that verified it."""
    cache_seconds: int | None
    """For how long it need not be asked for again (cacheDuration), at most a day."""


@cache
def xmlsec1() -> str:
    """The path of the `xmlsec1` program. Raises `ValueError` where there is none."""
    path = shutil.which("xmlsec1")
    if path is None:
        raise ValueError(
            "the federation needs the program xmlsec1, which is not on this machine: "
            "apt-get install xmlsec1"
        )
    return path


def verify(
    file: Path, *, fingerprints: tuple[str, ...], certificate_file: Path | None, now: datetime
) -> Signed:
    """Check the signature and the dates of a document. Raises `MetadataInvalid`."""
    if file.stat().st_size > MOST_BYTES:
        raise MetadataInvalid(f"it has more than {MOST_BYTES // 1024 // 1024} MB")
    root, created = _head(file)
    signature = root[0]
    identifier = _check_reference(root, signature)
    valid_until = _valid_until(root, now)
    certificate, fingerprint = _certificate(signature, fingerprints, certificate_file)
    _run_xmlsec1(file, root.tag, certificate)
    return Signed(
        tag=root.tag,
        id=identifier,
        valid_until=valid_until,
        created=created,
        fingerprint=fingerprint,
        cache_seconds=_seconds(root.get("cacheDuration")),
    )


def parse(file: Path, *tags: str) -> Iterator[tuple[str, Any]]:
    """(start or end, element) of a document in turn, of these tags alone where any are given.

    Without entities, network and comments: anybody may add a comment to a signed document (exc-c14n
    leaves them out of the signature), which must not cut a value in two. Raises `MetadataInvalid`.
    """
    with file.open("rb") as content:
        if content.read(4).startswith((b"\xfe\xff", b"\xff\xfe", b"\x00", b"<\x00")):
            raise MetadataInvalid("it is not in UTF-8")
        content.seek(0)
        parser = etree.iterparse(
            content,
            events=("start", "end"),
            tag=tags or None,
            resolve_entities=False,
            load_dtd=False,
            no_network=True,
            remove_comments=True,
            remove_pis=True,
            huge_tree=False,
        )
        first = True
        try:
            for event, element in parser:
                if first:
                    first = False
                    document = element.getroottree().docinfo
                    if document.doctype or document.internalDTD is not None:
                        raise MetadataInvalid("it has a document type declaration")
                    if (document.encoding or "UTF-8").upper() not in {"UTF-8", "ASCII", "US-ASCII"}:
                        raise MetadataInvalid("it is not in UTF-8")
                yield event, element
        except etree.XMLSyntaxError as error:
            raise MetadataInvalid(f"it is not XML: {str(error)[:200]}") from None


def instant(text: str | None) -> datetime | None:
    """An xs:dateTime of SAML, which is in UTC (SAML V2.0 core §1.3.3)."""
    if not text or len(text) > 40:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _seconds(duration: str | None) -> int | None:
    """An xs:duration of days and less, in seconds between a minute and a day."""
    found = re.fullmatch(
        r"P(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,8})M)?(?:(\d{1,9})(?:\.\d{1,9})?S)?)?",
        duration or "",
        re.ASCII,
    )
    if not found or not any(found.groups()):
        return None
    days, hours, minutes, seconds = (int(number or 0) for number in found.groups())
    return min(max(((days * 24 + hours) * 60 + minutes) * 60 + seconds, 60), 86400)


def _head(file: Path) -> tuple[Any, datetime | None]:
    """The root as far as its signature and extensions, which come first."""
    root = None
    depth = 0
    created = None
    for event, element in parse(file):
        if event == "start":
            depth += 1
            if root is None:
                root = element
                if root.tag not in (f"{{{MD}}}EntitiesDescriptor", f"{{{MD}}}EntityDescriptor"):
                    raise MetadataInvalid("it is no SAML metadata")
            elif depth == 2 and root[0].tag != f"{{{DS}}}Signature":
                raise MetadataInvalid("it is not signed as a whole")
            elif depth == 2 and element.tag not in (f"{{{DS}}}Signature", f"{{{MD}}}Extensions"):
                break
        else:
            depth -= 1
            if element.tag == f"{{{MDRPI}}}PublicationInfo" and depth == 2:
                created = instant(element.get("creationInstant"))
    if root is None or len(root) == 0 or root[0].tag != f"{{{DS}}}Signature":
        raise MetadataInvalid("it is not signed as a whole")
    return root, created


def _check_reference(root: Any, signature: Any) -> str:
    """The ID of the root, which the signature is about, in the only form that we take."""
    identifier = root.get("ID")
    if not identifier or not re.fullmatch(r"[A-Za-z_][\w.-]{0,255}", identifier, re.ASCII):
        raise MetadataInvalid("its root has no ID")
    if [child.tag for child in signature] not in (
        [f"{{{DS}}}SignedInfo", f"{{{DS}}}SignatureValue"],
        [f"{{{DS}}}SignedInfo", f"{{{DS}}}SignatureValue", f"{{{DS}}}KeyInfo"],
    ):
        raise MetadataInvalid("its signature has parts that are not taken")
    info = signature[0]
    references = info.findall(f"{{{DS}}}Reference")
    if len(references) != 1 or references[0].get("URI") != f"#{identifier}":
        raise MetadataInvalid("its signature is not about the whole document")
    for element in info.iterdescendants():
        if element.tag not in _IN_SIGNED_INFO:
            raise MetadataInvalid("its signature has parts that are not taken")
    for name, allowed in (
        ("CanonicalizationMethod", _C14N),
        ("SignatureMethod", _SIGNATURES),
        ("Transform", _TRANSFORMS),
        ("DigestMethod", _DIGESTS),
    ):
        for element in info.iter(f"{{{DS}}}{name}"):
            if element.get("Algorithm") not in allowed:
                raise MetadataInvalid(
                    f"its signature uses {element.get('Algorithm')}, which is not taken"
                )
    return str(identifier)


def _valid_until(root: Any, now: datetime) -> datetime:
    valid_until = instant(root.get("validUntil"))
    if valid_until is None:
        raise MetadataInvalid("it does not say until when it is valid (validUntil)")
    if valid_until <= now:
        raise MetadataInvalid(f"it was valid until {valid_until:%Y-%m-%d %H:%M} UTC")
    if valid_until > now + LONGEST + _CLOCKS:
        raise MetadataInvalid(
            f"it is valid until {valid_until:%Y-%m-%d}, more than {LONGEST.days} days ahead"
        )
    return valid_until


def _certificate(
    signature: Any, fingerprints: tuple[str, ...], certificate_file: Path | None
) -> tuple[x509.Certificate, str]:
    """The certificate to verify with: of the file or in the document, its fingerprint confirmed."""
    if certificate_file is not None:
        try:
            candidates = x509.load_pem_x509_certificates(certificate_file.read_bytes())
        except (OSError, ValueError) as error:
            raise MetadataInvalid(
                f"the certificate cannot be read from {certificate_file}: {error}"
            ) from None
    else:
        candidates = []
        for element in signature.iter(f"{{{DS}}}X509Certificate"):
            try:
                candidates.append(
                    x509.load_der_x509_certificate(base64.b64decode(element.text or ""))
                )
            except ValueError:
                continue
    seen = []
    for candidate in candidates:
        fingerprint = hashlib.sha256(candidate.public_bytes(Encoding.DER)).digest().hex(":").upper()
        if fingerprint in fingerprints:
            return candidate, fingerprint
        seen.append(fingerprint)
    if not seen:
        raise MetadataInvalid(
            "it does not hold the certificate that it is signed with: give certificate_file"
        )
    raise MetadataInvalid(
        f"it is signed with another certificate ({', '.join(seen[:3])}) "
        "than the fingerprints of the configuration name"
    )


def _run_xmlsec1(file: Path, root_tag: str, certificate: x509.Certificate) -> None:
    name = etree.QName(root_tag)
    with tempfile.NamedTemporaryFile(suffix=".pem") as pem:
        pem.write(certificate.public_bytes(Encoding.PEM))
        pem.flush()
        try:
            result = subprocess.run(
                [
                    xmlsec1(),
                    "--verify",
                    *_version_options(),
                    *("--enabled-reference-uris", "same-doc"),
                    # keys come from our file alone, whatever the document holds
                    *("--enabled-key-data", "raw-x509-cert"),
                    *("--pubkey-cert-pem", pem.name),
                    *("--id-attr:ID", f"{name.namespace}:{name.localname}"),
                    str(file),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_XMLSEC_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MetadataInvalid("its signature could not be verified in time") from None
    if result.returncode != 0:
        raise MetadataInvalid("its signature is wrong")


@cache
def _version_options() -> tuple[str, ...]:
    """xmlsec1 1.3 only takes keys that the document names, unless it is told otherwise."""
    result = subprocess.run(
        [xmlsec1(), "--version"], capture_output=True, text=True, timeout=10, check=False
    )
    found = re.search(r"(\d+)\.(\d+)", result.stdout)
    version = (int(found[1]), int(found[2])) if found else (1, 2)
    return ("--lax-key-search",) if version >= (1, 3) else ()
