"""A federation's metadata: identity providers in one document, signed by xmlsec1."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.sax.saxutils import escape

from lxml import etree

from .keys import key_pair

_MD = "urn:oasis:names:tc:SAML:2.0:metadata"

_SIGNATURE = """\
<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>\
<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>\
<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/>\
<ds:Reference URI="#all"><ds:Transforms>\
<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>\
<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></ds:Transforms>\
<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue/>\
</ds:Reference></ds:SignedInfo><ds:SignatureValue/>\
<ds:KeyInfo><ds:X509Data><ds:X509Certificate/></ds:X509Data></ds:KeyInfo></ds:Signature>"""

INVENTED = (
    ("Université de Bretagne intérieure", "University of Inner Brittany"),
    ("École supérieure d'électricité de l'Île", "Island School of Electricity"),
    ("Université Élisée-Reclus", "Élisée Reclus University"),
    ("Institut national des sciences appliquées du Berry", "Berry Institute of Applied Sciences"),
    ("Université de la Côte d'Ambre", "Amber Coast University"),
    ("Observatoire de Haute-Garrigue", "High Garrigue Observatory"),
    ("École nationale des ponts et canaux", "National School of Bridges and Canals"),
    ("Université de Franche-Vallée", "Franche-Vallée University"),
    ("Institut d'études politiques d'Évreuil", "Évreuil Institute of Political Studies"),
    ("Université Sophie-Germain", "Sophie Germain University"),
    ("Conservatoire des arts et mesures", "Conservatory of Arts and Measures"),
    ("Université de Nîmes-Garonne", "Nîmes-Garonne University"),
    ("École des hautes études en cœur de ville", "School of Inner City Studies"),
    ("Université Gaston-Planté", "Gaston Planté University"),
    ("Muséum d'histoire naturelle des Ardennes", "Ardennes Museum of Natural History"),
    ("Université catholique du Ponant", "Catholic University of the West Wind"),
    ("Institut Châtelet", "Châtelet Institute"),
    ("École centrale de Lorient-sur-Mer", "Central School of Lorient-sur-Mer"),
    ("Université de Savoie-Piémont", "Savoy-Piedmont University"),
    ("Académie des sciences du climat", "Academy of Climate Sciences"),
)
"""Names, French and English, that the search has to find its way among."""


def sign(entities: Iterable[bytes], folder: Path, *, valid: timedelta = timedelta(days=7)) -> Path:
    """Write `aggregate.xml`, signed with the key `federation.pem` that is made beside it.

    `keys.fingerprint(folder / "federation.crt")` is what a service is told to trust.
    """
    key, certificate = key_pair(folder, "federation")
    until = (datetime.now(UTC) + valid).strftime("%Y-%m-%dT%H:%M:%SZ")
    parts = [etree.tostring(etree.fromstring(entity)).decode() for entity in entities]
    unsigned = folder / "aggregate-unsigned.xml"
    unsigned.write_text(
        f'<md:EntitiesDescriptor xmlns:md="{_MD}" ID="all" validUntil="{until}">'
        f"{_SIGNATURE}{''.join(parts)}</md:EntitiesDescriptor>"
    )
    signed = folder / "aggregate.xml"
    command = ["xmlsec1", "--sign", "--privkey-pem", f"{key},{certificate}", "--id-attr:ID"]
    subprocess.run(
        [*command, f"{_MD}:EntitiesDescriptor", "--output", str(signed), str(unsigned)],
        check=True,
        capture_output=True,
    )
    return signed


def invented(folder: Path, names: Sequence[tuple[str, str]] = INVENTED) -> list[bytes]:
    """Metadata of identity providers that nobody runs: (French, English) names."""
    _, certificate = key_pair(folder, "invented")
    lines = certificate.read_text().splitlines()[1:-1]
    return [_entity(number, *name, "".join(lines)) for number, name in enumerate(names)]


def _entity(number: int, french: str, english: str, certificate: str) -> bytes:
    scope = f"invented-{number}.example"
    return f"""\
<md:EntityDescriptor xmlns:md="{_MD}" entityID="https://idp.{scope}/idp/shibboleth">
<md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
<md:Extensions>
<shibmd:Scope xmlns:shibmd="urn:mace:shibboleth:metadata:1.0">{scope}</shibmd:Scope>
<mdui:UIInfo xmlns:mdui="urn:oasis:names:tc:SAML:metadata:ui">
<mdui:DisplayName xml:lang="fr">{escape(french)}</mdui:DisplayName>
<mdui:DisplayName xml:lang="en">{escape(english)}</mdui:DisplayName>
</mdui:UIInfo></md:Extensions>
<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">
<ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>
</md:KeyDescriptor>
<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
 Location="https://idp.{scope}/sso"/>
</md:IDPSSODescriptor></md:EntityDescriptor>""".encode()
