"""What the attributes of a SAML assertion say of a person. Pure.

Attributes are known by their friendly names (eduPerson 202208, SupAnn 2024, SCHAC). A scope, what
stands after the @, may be claimed by those identity providers alone whose metadata have it in a
`shibmd:Scope`: the federation has checked that it is theirs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..domain.environment import Text
from ..domain.errors import N_, Refused
from .claims import Claims, Door
from .settings import Federation

PROVIDER = "federation"
"""`Claims.provider` of whoever comes by the federation."""

IDENTIFIERS = ("subject-id", "pairwise-id", "eduPersonPrincipalName")
"""The strongest first. Never a mail address, and no NameID: it changes, or is another's later."""

_SCOPED = {
    # SAML V2.0 Subject Identifier Attributes Profile 1.0 §3.3.1, §3.4.1
    "subject-id": re.compile(r"[a-z0-9][a-z0-9=-]{0,126}@[a-z0-9][a-z0-9.-]{0,126}"),
    "pairwise-id": re.compile(r"[a-z0-9][a-z0-9=-]{0,126}@[a-z0-9][a-z0-9.-]{0,126}"),
    # eduPerson §2.2.8: ASCII alone, so that no letter passes for another.
    "eduPersonPrincipalName": re.compile(r"[!-?A-~]{1,127}@[a-z0-9][a-z0-9.-]{0,126}"),
}
_VALUES = ("uid", "supannEtablissement", "schacHomeOrganization")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_MOST_VALUES = 100


_STATUS = "urn:oasis:names:tc:SAML:2.0:status:"
_REASONS = {
    "AuthnFailed": N_("the authentication failed there"),
    "UnknownPrincipal": N_("it does not know this person"),
    "RequestDenied": N_("it was refused there, or cancelled"),
    "RequestUnsupported": N_("it did not understand what this service asked"),
    "NoAuthnContext": N_("it cannot authenticate in the way that was asked for"),
    "NoPassive": N_("it wants to ask you something first"),
    "Requester": N_("it did not understand what this service asked"),
    "Responder": N_("something went wrong there"),
}
_NO_REASON = N_("it gave no reason")


def reason(status: str) -> str:
    """A status code (SAML Core §3.2.2.2) in words, untranslated."""
    return _REASONS.get(status.removeprefix(_STATUS), _NO_REASON)


@dataclass(frozen=True)
class Told:
    """What an identity provider told; `dropped` names what was left out and why, for the log."""

    claims: Claims
    dropped: tuple[str, ...] = ()


def told(
    attributes: Mapping[str, Sequence[str]],
    *,
    issuer: str,
    name: Text | str,
    scopes: Collection[str],
    settings: Federation,
) -> Told:
    """The claims that `attributes` make. `name` is the identity provider's, for a refusal.

    Raises `Refused`: `sign-in-no-identifier`, `sign-in-foreign-scope`, `sign-in-message-invalid`
    where an identifier has several values or is not one.
    """
    reader = _Reader(attributes, name, frozenset(scope.lower() for scope in scopes))
    identifiers = reader.identifiers()
    values = dict(identifiers)
    for attribute in _VALUES:
        value = reader.one(attribute)
        if value:
            values[attribute] = value
    institution = values.get("schacHomeOrganization", "").lower()
    if institution and institution not in reader.scopes:
        reader.drop("schacHomeOrganization", "scope")
        del values["schacHomeOrganization"]
        institution = ""
    claims = Claims(
        door=Door.SAML,
        provider=PROVIDER,
        issuer=issuer,
        identifiers=identifiers,
        display_name=reader.shown("displayName") or reader.shown("cn"),
        given_name=reader.shown("givenName"),
        family_name=reader.shown("sn"),
        mail=reader.shown("mail"),
        institution=institution or identifiers[0][1].rpartition("@")[2],
        affiliations=reader.affiliations(),
        primary_affiliation=reader.primary_affiliation(),
        entitlements=(
            reader.all("eduPersonEntitlement") if issuer in settings.entitlements_from else ()
        ),
        values=values,
    )
    return Told(claims, tuple(reader.dropped))


class _Reader:
    """Reads attributes, and remembers what it had to leave out."""

    def __init__(
        self, attributes: Mapping[str, Sequence[str]], name: Text | str, scopes: frozenset[str]
    ) -> None:
        self._attributes = attributes
        self._name = name
        self.scopes = scopes
        self.dropped: list[str] = []

    def drop(self, attribute: str, why: str) -> None:
        note = f"{attribute} ({why})"
        if note not in self.dropped:
            self.dropped.append(note)

    def all(self, attribute: str) -> tuple[str, ...]:
        """The values that can be used: strings of one line, not empty, each once."""
        found: dict[str, None] = {}
        for value in self._attributes.get(attribute, ()):
            value = value.strip()
            if len(value) > 1000 or _CONTROL.search(value):
                self.drop(attribute, "form")
            elif value:
                found[value] = None
        if len(found) > _MOST_VALUES:
            self.drop(attribute, "number")
        return tuple(found)[:_MOST_VALUES]

    def one(self, attribute: str) -> str:
        """The only value; empty where there is none, or more than one."""
        values = self.all(attribute)
        if len(values) > 1:
            self.drop(attribute, "several values")
        return values[0] if len(values) == 1 else ""

    def shown(self, attribute: str) -> str:
        """The first value, as a page may show it."""
        for value in self._attributes.get(attribute, ()):
            shown = _CONTROL.sub(" ", value).strip()[:255]
            if shown:
                return shown
        return ""

    def identifiers(self) -> tuple[tuple[str, str], ...]:
        found = []
        for kind in IDENTIFIERS:
            values = [value for value in self._attributes.get(kind, ()) if value.strip()]
            if len(values) > 1:
                raise self._unusable(f"{kind} has {len(values)} values")
            if values:
                found.append((kind, self._identifier(kind, values[0].strip())))
        if not found:
            raise Refused(
                "sign-in-no-identifier", provider=self._name, attributes=", ".join(IDENTIFIERS)
            )
        return tuple(found)

    def _identifier(self, kind: str, value: str) -> str:
        # Checked before lower(), which makes ASCII of other letters (K, the Kelvin sign).
        value = value.lower() if value.isascii() else value
        if not _SCOPED[kind].fullmatch(value):
            raise self._unusable(f"{kind} is not of its form")
        if value.rpartition("@")[2] not in self.scopes:
            raise Refused("sign-in-foreign-scope", provider=self._name, log_detail=kind)
        return value

    def affiliations(self) -> tuple[str, ...]:
        """Those of the person, in lower case: `student`, or `student@scope` with a scope of theirs.

        One without a scope is the identity provider's own word about its own people.
        """
        found = [value.lower() for value in self.all("eduPersonAffiliation") if "@" not in value]
        for value in self.all("eduPersonScopedAffiliation"):
            affiliation, at, scope = value.lower().partition("@")
            if affiliation and at and scope in self.scopes:
                found.append(f"{affiliation}@{scope}")
            else:
                self.drop("eduPersonScopedAffiliation", "scope")
        return tuple(dict.fromkeys(found))[:_MOST_VALUES]

    def primary_affiliation(self) -> str:
        value = self.one("eduPersonPrimaryAffiliation").lower()
        if "@" in value:  # it has no scope (eduPerson §2.2.7), so that none was checked
            self.drop("eduPersonPrimaryAffiliation", "form")
            return ""
        return value

    def _unusable(self, why: str) -> Refused:
        return Refused("sign-in-message-invalid", provider=self._name, log_detail=why)
