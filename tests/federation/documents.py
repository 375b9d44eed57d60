"""Metadata documents as federations sign them, and as attackers would like them.

Built from text and signed by `xmlsec1`, so that the code under test has no hand in them.
"""

from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from ..peers.keys import fingerprint, key_pair

MD = "urn:oasis:names:tc:SAML:2.0:metadata"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
RSA_SHA1 = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Signer:
    """A federation's key, made in a folder."""

    folder: Path
    name: str = "federation"

    @property
    def key(self) -> Path:
        return key_pair(self.folder, self.name)[0]

    @property
    def certificate(self) -> Path:
        return key_pair(self.folder, self.name)[1]

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.certificate)

    def sign(
        self, xml: str, root: str = "EntitiesDescriptor", *, keep_certificate: bool = True
    ) -> bytes:
        """The document, its signature template filled in."""
        unsigned = self.folder / f"{hashlib.sha256(xml.encode()).hexdigest()}.xml"
        unsigned.write_text(xml)
        key = f"{self.key},{self.certificate}" if keep_certificate else str(self.key)
        done = subprocess.run(
            ["xmlsec1", "--sign", "--privkey-pem", key, "--id-attr:ID", f"{MD}:{root}", unsigned],
            check=True,
            capture_output=True,
        )
        unsigned.unlink()
        return done.stdout


def template(
    identifier: str = "all", algorithm: str = RSA_SHA256, digest: str = SHA256, transforms: str = ""
) -> str:
    return (
        '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>'
        '<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>'
        f'<ds:SignatureMethod Algorithm="{algorithm}"/>'
        f'<ds:Reference URI="{"#" + identifier if identifier else ""}"><ds:Transforms>'
        '<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>'
        f"{transforms}"
        '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></ds:Transforms>'
        f'<ds:DigestMethod Algorithm="{digest}"/><ds:DigestValue/>'
        "</ds:Reference></ds:SignedInfo><ds:SignatureValue/>"
        "<ds:KeyInfo><ds:X509Data><ds:X509Certificate/></ds:X509Data></ds:KeyInfo></ds:Signature>"
    )


def moment(ahead: timedelta) -> str:
    return (datetime.now(UTC) + ahead).strftime("%Y-%m-%dT%H:%M:%SZ")


def aggregate(
    *entities: str,
    valid: timedelta | None = WEEK,
    created: timedelta | None = None,
    signature: str | None = None,
    attributes: str = "",
) -> str:
    """An unsigned EntitiesDescriptor; its ID is `all`, and it is made `created` from now."""
    until = f' validUntil="{moment(valid)}"' if valid is not None else ""
    published = (
        '<md:Extensions><mdrpi:PublicationInfo xmlns:mdrpi="urn:oasis:names:tc:SAML:metadata:rpi"'
        f' publisher="https://federation.example" creationInstant="{moment(created)}"/>'
        "</md:Extensions>"
        if created is not None
        else ""
    )
    return (
        f'<md:EntitiesDescriptor xmlns:md="{MD}" ID="all"{until}{attributes}>'
        f"{template() if signature is None else signature}{published}"
        f"{''.join(entities)}</md:EntitiesDescriptor>"
    )


def entity(
    name: str = "univ-a",
    *,
    fr: str = "",
    en: str = "",
    organization: str = "",
    keywords: str = "",
    scopes: str | None = None,
    more_scopes: str = "",
    logo: str = "",
    sso: str = "",
    entity_id: str = "",
    categories: tuple[str, ...] = (),
    contacts: str = "",
    attributes: str = "",
    signature: str = "",
    certificate: str = "",
) -> str:
    """An identity provider of the scope NAME.example."""
    names = "".join(
        f'<mdui:DisplayName xml:lang="{language}">{escape(text)}</mdui:DisplayName>'
        for language, text in (("fr", fr), ("en", en))
        if text
    )
    info = (
        '<mdui:UIInfo xmlns:mdui="urn:oasis:names:tc:SAML:metadata:ui">'
        f"{names}{keywords}{logo}</mdui:UIInfo>"
    )
    scope = f"<shibmd:Scope>{name}.example</shibmd:Scope>" if scopes is None else scopes
    values = "".join(f"<saml:AttributeValue>{one}</saml:AttributeValue>" for one in categories)
    category = (
        '<mdattr:EntityAttributes xmlns:mdattr="urn:oasis:names:tc:SAML:metadata:attribute"'
        ' xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">'
        f'<saml:Attribute Name="http://macedir.org/entity-category">{values}</saml:Attribute>'
        "</mdattr:EntityAttributes>"
        if categories
        else ""
    )
    display = (
        '<md:Organization><md:OrganizationName xml:lang="en">x</md:OrganizationName>'
        f'<md:OrganizationDisplayName xml:lang="en">{escape(organization)}'
        "</md:OrganizationDisplayName>"
        '<md:OrganizationURL xml:lang="en">https://x.example</md:OrganizationURL>'
        "</md:Organization>"
        if organization
        else ""
    )
    identifier = entity_id or f"https://idp.{name}.example/idp"
    location = sso or f"https://idp.{name}.example/sso"
    return (
        f'<md:EntityDescriptor xmlns:md="{MD}" xmlns:shibmd="urn:mace:shibboleth:metadata:1.0"'
        f" entityID={quoteattr(identifier)}{attributes}>{signature}"
        f"<md:Extensions>{category}{more_scopes}</md:Extensions>"
        '<md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">'
        f"<md:Extensions>{scope}{info}</md:Extensions>{certificate}"
        f'<md:SingleSignOnService Binding="{REDIRECT}" Location={quoteattr(location)}/>'
        f"</md:IDPSSODescriptor>{display}{contacts}</md:EntityDescriptor>"
    )


@dataclass
class Served:
    """What a `server` answers, by path; a function sees the headers of the request."""

    url: str
    pages: dict[str, bytes | int | Callable[[BaseHTTPRequestHandler], None]] = field(
        default_factory=dict
    )
    asked: list[str] = field(default_factory=list)


@contextmanager
def server() -> Iterator[Served]:
    """An HTTP server on this machine, with ETags."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = served.pages.get(self.path, 404)
            served.asked.append(self.path)
            if callable(page):
                page(self)
                return
            status = page if isinstance(page, int) else 200
            body = page if isinstance(page, bytes) else b""
            tag = f'"{hashlib.sha256(body).hexdigest()}"'
            if body and self.headers.get("If-None-Match") == tag:
                status, body = 304, b""
                served.asked[-1] += " unchanged"
            self.send_response(status)
            self.send_header("ETag", tag)
            if status != 304:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        served = Served(url=f"http://127.0.0.1:{listening.server_port}")
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield served
        finally:
            listening.shutdown()
            thread.join()
