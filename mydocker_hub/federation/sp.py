"""Our own side of the federation: our metadata, our requests, and pysaml2's configuration.

pysaml2 gets one identity provider at a time, out of metadata that we verified, and never loads any
itself: it takes unsigned ones.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree
from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT
from saml2.attribute_converter import AttributeConverter
from saml2.client import Saml2Client
from saml2.config import SPConfig
from saml2.mdstore import InMemoryMetaData, MetadataStore
from saml2.sigver import RSACrypto

from ..domain.environment import Text
from . import attributes, keys, signedmetadata
from .metadata import Idp
from .refresh import Federation, Site, folder_of, rules_of

MEDIA_TYPE = "application/samlmetadata+xml"

RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"

_MD = "urn:oasis:names:tc:SAML:2.0:metadata"
_MDUI = "urn:oasis:names:tc:SAML:metadata:ui"
_MDATTR = "urn:oasis:names:tc:SAML:metadata:attribute"
_SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
_SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
_DS = "http://www.w3.org/2000/09/xmldsig#"
_DISCO = "urn:oasis:names:tc:SAML:profiles:SSO:idp-discovery-protocol"
_REMD = "http://refeds.org/metadata"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_PREFIXES = {
    None: _MD,
    "ds": _DS,
    "idpdisc": _DISCO,
    "mdattr": _MDATTR,
    "mdui": _MDUI,
    "remd": _REMD,
    "saml": _SAML,
}
_TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
_CATEGORY = "http://macedir.org/entity-category"
_SUBJECT_ID = "urn:oasis:names:tc:SAML:profiles:subject-id:req"
_SECURITY = "http://refeds.org/metadata/contactType/security"

_ENCRYPTION = (
    # CBC is not among them: it says nothing of who wrote the text (XML Encryption 1.1 §6.1.1)
    "http://www.w3.org/2009/xmlenc11#aes128-gcm",
    "http://www.w3.org/2009/xmlenc11#aes256-gcm",
    "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p",
)


def entity_id(site: Site) -> str:
    """Our own name in the federation."""
    return rules_of(site).entity_id or f"{site.hub_url}saml/metadata"


def acs_url(site: Site) -> str:
    """Where answers are sent: the assertion consumer service."""
    return f"{site.hub_url}saml/acs"


def disco_url(site: Site) -> str:
    """Where a discovery service sends back the institution that was chosen."""
    return f"{site.hub_url}saml/disco"


# --- keys ----------------------------------------------------------------------------------------


def open_keys(site: Site) -> keys.Keys:
    """Our keys, which are made where there are none yet."""
    return keys.open_keys(_key_folder(site), site.hub_url)


def prepare_next_key(site: Site) -> None:
    """First step of a change of keys: the next ones are in our metadata. Raises `Invalid`."""
    keys.prepare_next(_key_folder(site), site.hub_url)


def use_next_key(site: Site) -> None:
    """Second step: the next keys are those in use. Raises `Invalid`."""
    keys.use_next(_key_folder(site))


def forget_old_key(site: Site) -> None:
    """Last step: what was encrypted for the keys of before can no longer be read. Raises
    `Invalid`."""
    keys.forget_old(_key_folder(site))


def _key_folder(site: Site) -> Path:
    return folder_of(site) / "keys"


# --- pysaml2 -------------------------------------------------------------------------------------


class OneEntity(MetadataStore):
    """The metadata of one identity provider, which was verified before."""

    def __init__(self, converters: list[Any], config: SPConfig, idp: Idp) -> None:
        super().__init__(converters, config)
        entity = InMemoryMetaData(converters, check_validity=False)  # `MetadataStore.entity` did
        entity.parse(idp.xml)
        self.metadata = {"verified": entity}

    def load(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("metadata are verified before they come here")


def sp_config(site: Site, idp: Idp | None = None) -> SPConfig:
    """pysaml2's configuration for talking with one identity provider, or for asking only.

    Without our signing key, which `client` adds: pysaml2 would prove at each use that it is a good
    one, which takes a tenth of a second and holds the whole process.
    """
    rules = rules_of(site)
    own = open_keys(site)
    endpoints = {
        "assertion_consumer_service": [(acs_url(site), BINDING_HTTP_POST)],
        "discovery_response": [(disco_url(site), _DISCO)],
    }
    config = SPConfig().load(
        {
            "entityid": entity_id(site),
            "name": rules.name.en,
            "service": {
                "sp": {
                    "endpoints": endpoints,
                    "name_id_format": [_TRANSIENT],
                    "allow_unsolicited": False,
                    "authn_requests_signed": True,
                    # one of the two: Shibboleth signs the answer, others the assertion
                    "want_response_signed": False,
                    "want_assertions_signed": False,
                    "want_assertions_or_response_signed": True,
                    # at the top level these two are not read
                    "signing_algorithm": RSA_SHA256,
                    "digest_algorithm": SHA256,
                }
            },
            "encryption_keypairs": [
                {"key_file": str(pair.key), "cert_file": str(pair.certificate)}
                for pair in own.decrypting
            ],
            "allow_unknown_attributes": False,
            "accepted_time_diff": site.settings.clock_tolerance_seconds,
            "xmlsec_binary": signedmetadata.xmlsec1(),
            "delete_tmpfiles": True,
        }
    )
    converter = AttributeConverter(attributes.NAME_FORMAT_URI)
    converter.from_dict(attributes.MAP)
    config.attribute_converters = [converter]
    if idp is not None:
        config.metadata = OneEntity(config.attribute_converters, config, idp)
    return config


def client(site: Site, idp: Idp | None = None) -> Saml2Client:
    """pysaml2 itself, with `sp_config`. Made for one use: it takes 2 ms."""
    made = Saml2Client(config=sp_config(site, idp))
    pem = open_keys(site).current.signing.key.read_bytes()
    made.sec.sec_backend = RSACrypto(
        load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    )
    return made


def login_request(federation: Federation, idp: Idp, request_id: str, force: bool = False) -> str:
    """The address to send a browser to: a signed AuthnRequest of this ID (HTTP-Redirect).

    `request_id` is an xs:ID: it begins with a letter or `_`. `force` asks that the person proves
    who they are once more. RelayState is not used.
    """
    saml = client(federation.site)
    _, request = saml.create_authn_request(
        destination=idp.sso_url,
        message_id=request_id,
        sign=False,  # HTTP-Redirect signs the address instead
        **({"force_authn": "true"} if force else {}),
    )
    sent = saml.apply_binding(
        BINDING_HTTP_REDIRECT, str(request), idp.sso_url, "", sign=True, sigalg=RSA_SHA256
    )
    return str(dict(sent["headers"])["Location"])


# --- our metadata --------------------------------------------------------------------------------


def own_metadata(site: Site) -> bytes:
    """Our metadata, for the federation's desk and its identity providers.

    The same bytes as long as configuration and keys are the same.
    """
    rules = rules_of(site)
    root = etree.Element(f"{{{_MD}}}EntityDescriptor", nsmap=_PREFIXES, entityID=entity_id(site))
    categories = _add(_add(root, _MD, "Extensions"), _MDATTR, "EntityAttributes")
    if rules.entity_categories:
        _entity_attribute(categories, _CATEGORY, rules.entity_categories)
    _entity_attribute(categories, _SUBJECT_ID, ("any",))

    sp = _add(
        root,
        _MD,
        "SPSSODescriptor",
        protocolSupportEnumeration=_SAMLP,
        AuthnRequestsSigned="true",
        # WantAssertionsSigned is not said: some would sign the assertion alone, others both
    )
    extensions = _add(sp, _MD, "Extensions")
    _ui_info(extensions, site)
    _add(
        extensions,
        _DISCO,
        "DiscoveryResponse",
        Binding=_DISCO,
        Location=disco_url(site),
        index="1",
    )
    shown = open_keys(site).shown
    for pairs in shown:
        _key(sp, "signing", pairs.signing)
    for pairs in shown:
        descriptor = _key(sp, "encryption", pairs.encryption)
        for algorithm in _ENCRYPTION:
            _add(descriptor, _MD, "EncryptionMethod", Algorithm=algorithm)
    _add(sp, _MD, "NameIDFormat").text = _TRANSIENT
    _add(
        sp,
        _MD,
        "AssertionConsumerService",
        Binding=BINDING_HTTP_POST,
        Location=acs_url(site),
        index="1",
        isDefault="true",
    )
    service = _add(sp, _MD, "AttributeConsumingService", index="1")
    _texts(service, _MD, "ServiceName", rules.name)
    _texts(service, _MD, "ServiceDescription", rules.description)
    for requested in attributes.REQUESTED:
        _add(
            service,
            _MD,
            "RequestedAttribute",
            FriendlyName=requested.short,
            Name=attributes.BY_SHORT_NAME[requested.short],
            NameFormat=attributes.NAME_FORMAT_URI,
            isRequired=str(requested.required).lower(),
        )

    organization = _add(root, _MD, "Organization")
    _texts(organization, _MD, "OrganizationName", rules.name)
    _texts(organization, _MD, "OrganizationDisplayName", rules.name)
    home = rules.information_url or site.hub_url
    _texts(organization, _MD, "OrganizationURL", Text(fr=home, en=home))
    for contact in rules.contacts:
        kind = {"security": "other"}.get(contact.kind, contact.kind)
        person = _add(root, _MD, "ContactPerson", contactType=kind)
        if contact.kind == "security":
            person.set(f"{{{_REMD}}}contactType", _SECURITY)
        _add(person, _MD, "GivenName").text = contact.name
        _add(person, _MD, "EmailAddress").text = f"mailto:{contact.mail}"
    etree.indent(root)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8") + b"\n"


def _ui_info(parent: Any, site: Site) -> None:
    rules = rules_of(site)
    info = _add(parent, _MDUI, "UIInfo")
    _texts(info, _MDUI, "DisplayName", rules.name)
    _texts(info, _MDUI, "Description", rules.description)
    for name, url in (
        ("InformationURL", rules.information_url),
        ("PrivacyStatementURL", rules.privacy_url),
    ):
        if url:
            _texts(info, _MDUI, name, Text(fr=url, en=url))
    if rules.logo_url:
        _add(info, _MDUI, "Logo", height="60", width="80").text = rules.logo_url


def _entity_attribute(parent: Any, name: str, values: tuple[str, ...]) -> None:
    attribute = _add(parent, _SAML, "Attribute", Name=name, NameFormat=attributes.NAME_FORMAT_URI)
    for value in values:
        _add(attribute, _SAML, "AttributeValue").text = value


def _key(parent: Any, use: str, pair: keys.Pair) -> Any:
    descriptor = _add(parent, _MD, "KeyDescriptor", use=use)
    data = _add(_add(descriptor, _DS, "KeyInfo"), _DS, "X509Data")
    _add(data, _DS, "X509Certificate").text = base64.b64encode(pair.certificate_der()).decode()
    return descriptor


def _texts(parent: Any, namespace: str, name: str, text: Text) -> None:
    for language in ("fr", "en"):
        element = _add(parent, namespace, name)
        element.set(_LANG, language)
        element.text = text.in_(language)


def _add(parent: Any, namespace: str, name: str, **values: str) -> Any:
    return etree.SubElement(parent, f"{{{namespace}}}{name}", **values)
