"""The attributes that we read, by their names in SAML.

Names: eduPerson 2020-01, SCHAC 1.5, SupAnn 2021, inetOrgPerson (RFC 2798); the two of the SAML V2.0
Subject Identifier Attributes Profile 1.0 are their own names.
"""

from __future__ import annotations

from typing import Any, NamedTuple

NAME_FORMAT_URI = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"

_EDU_PERSON = "urn:oid:1.3.6.1.4.1.5923.1.1.1."

NAMES: dict[str, str] = {
    "urn:oasis:names:tc:SAML:attribute:subject-id": "subject-id",
    "urn:oasis:names:tc:SAML:attribute:pairwise-id": "pairwise-id",
    f"{_EDU_PERSON}6": "eduPersonPrincipalName",
    f"{_EDU_PERSON}13": "eduPersonUniqueId",
    f"{_EDU_PERSON}1": "eduPersonAffiliation",
    f"{_EDU_PERSON}5": "eduPersonPrimaryAffiliation",
    f"{_EDU_PERSON}9": "eduPersonScopedAffiliation",
    f"{_EDU_PERSON}7": "eduPersonEntitlement",
    "urn:oid:1.3.6.1.4.1.7135.1.2.1.14": "supannEtablissement",
    "urn:oid:1.3.6.1.4.1.25178.1.2.9": "schacHomeOrganization",
    "urn:oid:0.9.2342.19200300.100.1.1": "uid",
    "urn:oid:0.9.2342.19200300.100.1.3": "mail",
    "urn:oid:2.16.840.1.113730.3.1.241": "displayName",
    "urn:oid:2.5.4.42": "givenName",
    "urn:oid:2.5.4.4": "sn",
    "urn:oid:2.5.4.3": "cn",
}
"""Name in SAML to the short one."""

BY_SHORT_NAME: dict[str, str] = {short: name for name, short in NAMES.items()}

MAP: dict[str, Any] = {"identifier": NAME_FORMAT_URI, "fro": NAMES, "to": BY_SHORT_NAME}
"""For pysaml2's `AttributeConverter`."""


class Requested(NamedTuple):
    """An attribute that our metadata ask for. subject-id and pairwise-id are asked for otherwise
    (Subject Identifier Attributes Profile §4.2)."""

    short: str
    required: bool


REQUESTED = (
    Requested("eduPersonPrincipalName", required=True),
    Requested("eduPersonScopedAffiliation", required=True),
    Requested("eduPersonAffiliation", required=False),
    Requested("eduPersonPrimaryAffiliation", required=False),
    Requested("displayName", required=False),
    Requested("givenName", required=False),
    Requested("sn", required=False),
    Requested("mail", required=False),
    Requested("supannEtablissement", required=False),
    Requested("schacHomeOrganization", required=False),
    Requested("eduPersonEntitlement", required=False),
)
