"""The answer of a CAS 3.0 server to `/p3/serviceValidate` (CAS Protocol 3.0 §2.5, §2.8)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lxml import etree

from ..domain.errors import N_, Refused
from .attributes import claims_of, is_line
from .claims import Claims, Door
from .settings import CasProvider

_NAMESPACE = "{http://www.yale.edu/tp/cas}"
_MAX_ATTRIBUTES = 1000
_TICKET = re.compile(r"ST-[A-Za-z0-9_.-]{1,256}")

REASONS = {
    "INVALID_TICKET": N_("its ticket was used already, or is too old"),
    "INVALID_TICKET_SPEC": N_("its ticket was used already, or is too old"),
    "INVALID_REQUEST": N_("it did not understand what this service asked"),
    "UNAUTHORIZED_SERVICE": N_("this service is not registered there as it should be"),
    "UNAUTHORIZED_SERVICE_PROXY": N_("this service is not registered there as it should be"),
}
"""The codes of CAS Protocol 3.0 §2.5.3, and those that Apereo CAS has besides, in words."""

NO_REASON = N_("it gave no reason")


def reason(code: str) -> str:
    """A failure in words, untranslated."""
    return REASONS.get(code, NO_REASON)


def is_ticket(text: str) -> bool:
    """Whether this is a service ticket (§3.1). A proxy ticket is another service's, not ours."""
    return _TICKET.fullmatch(text) is not None


@dataclass(frozen=True)
class Success:
    """Who a ticket stands for; an attribute has as many values as the answer had elements."""

    user: str
    attributes: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Failure:
    """Why a ticket stands for nobody. `code` may be any word that the server sent, or empty."""

    code: str


def read(body: bytes) -> Success | Failure | None:
    """Read an answer; None where it is not one that can be understood in a single way.

    No document type, entity, comment or processing instruction is taken: text that is in pieces
    reads differently to different readers.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    if root.getroottree().docinfo.doctype or root.tag != f"{_NAMESPACE}serviceResponse":
        return None
    if any(not isinstance(element.tag, str) for element in root.iter()) or len(root) != 1:
        return None
    answer = root[0]
    if answer.tag == f"{_NAMESPACE}authenticationFailure":
        return Failure((answer.get("code") or "").strip()[:60])
    if answer.tag != f"{_NAMESPACE}authenticationSuccess":
        return None
    return _success(answer)


def _success(answer: etree._Element) -> Success | None:
    users = answer.findall(f"{_NAMESPACE}user")
    blocks = answer.findall(f"{_NAMESPACE}attributes")
    proxied = answer.find(f"{_NAMESPACE}proxies") is not None
    if len(users) != 1 or len(users[0]) or len(blocks) > 1 or proxied:
        return None
    attributes: dict[str, list[str]] = {}
    for element in blocks[0][:_MAX_ATTRIBUTES] if blocks else ():
        name = etree.QName(element)
        if f"{{{name.namespace}}}" == _NAMESPACE and not len(element):
            attributes.setdefault(name.localname, []).append((element.text or "").strip())
    return Success((users[0].text or "").strip(), attributes)


def claims(answer: Success | None, provider: CasProvider) -> Claims:
    """What an answer says of a person. Raises `Refused`.

    Upper-case letters of A to Z in the user become lower-case ones. CAS servers ask directories
    that do not distinguish them (`uid`, RFC 4519 §2.39) and hand on what was typed: the same person
    would have one account as `jdupont` and another as `JDupont`. Other letters stay as they are,
    since more than one of them may have the same lower-case letter.
    """
    if answer is None:
        raise Refused(
            "sign-in-message-invalid", provider=provider.title, log_detail="no answer of CAS 3.0"
        )
    user = "".join(c.lower() if c.isascii() else c for c in answer.user)
    if not user:
        raise Refused("sign-in-no-identifier", provider=provider.title, attributes="user")
    if not is_line(user, 255):
        raise Refused(
            "sign-in-message-invalid",
            provider=provider.title,
            log_detail="user is not a text of 1 to 255 characters",
        )
    return claims_of(
        provider,
        {name: list(values) for name, values in answer.attributes.items()},
        door=Door.CAS,
        issuer=issuer(provider),
        identifier=("user", user),
    )


def issuer(provider: CasProvider) -> str:
    """Who asserts: the address of the server, without a / at its end."""
    return provider.url.rstrip("/")
