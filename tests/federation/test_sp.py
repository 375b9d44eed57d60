"""Our own side: what our metadata say, the keys and how they are changed, what we ask."""

from __future__ import annotations

import base64
import json
import re
import stat
import subprocess
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from lxml import etree
from saml2.mdstore import InMemoryMetaData
from saml2.xml.schema import validate

from mydocker_hub.domain.environment import Text
from mydocker_hub.domain.errors import Invalid
from mydocker_hub.federation import attributes, keys, metadata, signedmetadata, sp
from mydocker_hub.federation.metadata import Idp
from mydocker_hub.federation.refresh import Federation, folder_of
from mydocker_hub.identity.settings import SignInSettings

from ..conftest import free_ports
from ..peers.ssp import start_idp
from .conftest import MakeSite, Site
from .documents import Signer, aggregate, entity

pytestmark = pytest.mark.peers

MD = "{urn:oasis:names:tc:SAML:2.0:metadata}"
DS = "{http://www.w3.org/2000/09/xmldsig#}"
MDUI = "{urn:oasis:names:tc:SAML:metadata:ui}"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"

WHOLE: dict[str, Any] = {
    "name": {"fr": "mydocker « été »", "en": "mydocker <summer> & more"},
    "description": {"fr": "Environnements", "en": "Environments"},
    "information_url": "https://hub.example.org/about?a=1&b=2",
    "privacy_url": "https://hub.example.org/privacy",
    "logo_url": "https://hub.example.org/logo.png",
    "contacts": [
        {"kind": "technical", "name": "The desk", "mail": "it@example.org"},
        {"kind": "support", "name": "Help", "mail": "help@example.org"},
        {"kind": "security", "name": "CSIRT", "mail": "csirt@example.org"},
    ],
    "entity_categories": ["http://www.geant.net/uri/dataprotection-code-of-conduct/v1"],
}


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large keys take long to make, and no test here is about their size."""
    monkeypatch.setattr(keys, "BITS", 2048)


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site(**WHOLE)


def certificates(document: bytes, use: str) -> list[str]:
    root = etree.fromstring(document)
    return [
        text.text
        for descriptor in root.iter(f"{MD}KeyDescriptor")
        if descriptor.get("use") == use
        for text in descriptor.iter(f"{DS}X509Certificate")
    ]


# --- our metadata --------------------------------------------------------------------------------


def test_our_metadata_are_valid(site: Site, make_site: MakeSite) -> None:
    document = sp.own_metadata(site)
    validate(document.decode().split("?>\n", 1)[1])  # the OASIS schema
    validate(sp.own_metadata(make_site()).decode().split("?>\n", 1)[1])
    assert document == sp.own_metadata(site)


def test_what_our_metadata_say(site: Site) -> None:
    root = etree.fromstring(sp.own_metadata(site))
    assert root.get("entityID") == "https://hub.example.org/hub/saml/metadata"
    service = root.find(f"{MD}AssertionConsumerService") or root.find(
        f"{MD}SPSSODescriptor/{MD}AssertionConsumerService"
    )
    assert service is not None
    assert service.get("Location") == "https://hub.example.org/hub/saml/acs"
    assert service.get("Binding") == "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
    disco = root.find(".//{urn:oasis:names:tc:SAML:profiles:SSO:idp-discovery-protocol}*")
    assert disco is not None
    assert disco.get("Location") == "https://hub.example.org/hub/saml/disco"
    names = {one.get(LANG): one.text for one in root.iter(f"{MDUI}DisplayName")}
    assert names == {"fr": "mydocker « été »", "en": "mydocker <summer> & more"}
    for name in ("Description", "InformationURL", "PrivacyStatementURL"):
        assert [one.get(LANG) for one in root.iter(f"{MDUI}{name}")] == ["fr", "en"]
    assert [one.text for one in root.iter(f"{MDUI}Logo")] == ["https://hub.example.org/logo.png"]
    text = sp.own_metadata(site).decode()
    for weak in ("md5", "sha1<", "#sha1", "ripemd", "dsa-sha1", "DigestMethod"):
        assert weak not in text
    assert "WantAssertionsSigned" not in text
    assert "mailto:csirt@example.org" in text
    assert "http://refeds.org/metadata/contactType/security" in text
    assert "dataprotection-code-of-conduct" in text
    requested = [one.get("FriendlyName") for one in root.iter(f"{MD}RequestedAttribute")]
    assert requested == [one.short for one in attributes.REQUESTED]


def test_our_metadata_by_default(make_site: MakeSite) -> None:
    text = sp.own_metadata(make_site(entity_id="https://our.example/name")).decode()
    assert 'entityID="https://our.example/name"' in text
    for absent in ("Logo", "InformationURL", "PrivacyStatementURL", "ContactPerson"):
        assert absent not in text
    assert "urn:oasis:names:tc:SAML:profiles:subject-id:req" in text


def test_simplesamlphp_reads_our_metadata(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "sp.xml"
    file.write_bytes(sp.own_metadata(site))
    script = (
        'require "/usr/share/simplesamlphp/lib/_autoload.php";'
        "$read = SimpleSAML\\Metadata\\SAMLParser::parseFile($argv[1]);"
        "echo json_encode($read->getMetadata20SP());"
    )
    done = subprocess.run(
        ["php", "-d", "error_reporting=0", "-r", script, "--", str(file)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    read = json.loads(done.stdout)
    assert read["entityid"] == "https://hub.example.org/hub/saml/metadata"
    assert [one["Location"] for one in read["AssertionConsumerService"]] == [sp.acs_url(site)]
    assert read["UIInfo"]["DisplayName"] == WHOLE["name"]
    assert read["UIInfo"]["Logo"][0]["url"] == WHOLE["logo_url"]
    assert len(read["attributes"]) == len(attributes.REQUESTED)
    assert [(key["signing"], key["encryption"]) for key in read["keys"]] == [
        (True, False),
        (False, True),
    ]
    assert [one["contactType"] for one in read["contacts"]] == ["technical", "support", "other"]


def test_pysaml2_reads_our_metadata(site: Site) -> None:
    read = InMemoryMetaData(None)
    read.parse(sp.own_metadata(site))
    assert list(read.keys()) == [sp.entity_id(site)]


# --- keys ----------------------------------------------------------------------------------------


def test_keys_are_made_once_for_us_alone(site: Site) -> None:
    made = sp.open_keys(site)
    assert sp.open_keys(site) == made
    assert (made.next, made.old) == (None, None)
    files = list(folder_of(site).rglob("*"))
    assert {stat.S_IMODE(file.stat().st_mode) for file in files if file.is_file()} == {0o600}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files if file.is_dir()} == {0o700}
    assert made.current.signing.key.read_bytes() != made.current.encryption.key.read_bytes()
    certificate = x509.load_pem_x509_certificate(made.current.signing.certificate.read_bytes())
    lasts = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lasts.days > 9 * 365


def test_a_change_of_keys(site: Site) -> None:
    def shown() -> tuple[list[str], list[str]]:
        document = sp.own_metadata(site)
        validate(document.decode().split("?>\n", 1)[1])
        return certificates(document, "signing"), certificates(document, "encryption")

    def signs_with() -> bytes:
        return sp.open_keys(site).current.signing.key.read_bytes()

    def decrypts_with() -> list[bytes]:
        pairs = sp.sp_config(site).encryption_keypairs
        return [Path(pair["key_file"]).read_bytes() for pair in pairs]

    signing, encryption = shown()
    first, first_encryption = signs_with(), decrypts_with()
    assert len(signing) == len(encryption) == len(first_encryption) == 1
    with pytest.raises(Invalid, match="no next keys"):
        sp.use_next_key(site)

    sp.prepare_next_key(site)
    both_signing, both_encryption = shown()
    assert len(both_signing) == len(both_encryption) == 2
    assert both_signing[:1] == signing
    assert both_encryption[:1] == encryption
    assert signs_with() == first
    assert len(decrypts_with()) == 2
    with pytest.raises(Invalid, match="next keys already"):
        sp.prepare_next_key(site)

    sp.use_next_key(site)
    assert shown() == (both_signing[1:], both_encryption[1:])
    assert signs_with() != first
    assert len(decrypts_with()) == 2
    assert first_encryption[0] in decrypts_with()

    sp.prepare_next_key(site)
    assert len(decrypts_with()) == 3
    with pytest.raises(Invalid, match="forget the old keys"):
        sp.use_next_key(site)  # it would forget the old one without asking
    sp.forget_old_key(site)
    assert first_encryption[0] not in decrypts_with()
    with pytest.raises(Invalid, match="no old keys"):
        sp.forget_old_key(site)


def test_a_change_that_was_interrupted(site: Site) -> None:
    sp.prepare_next_key(site)
    folder = folder_of(site) / "keys"
    following = sp.open_keys(site).next
    assert following is not None
    expected = following.signing.key.read_bytes()
    (folder / "current").rename(folder / "old")  # and then the machine stopped
    found = sp.open_keys(site)
    assert found.current.signing.key.read_bytes() == expected
    assert found.next is None
    assert found.old is not None


def test_what_was_encrypted_before_a_change_is_read_after(site: Site, tmp_path: Path) -> None:
    [before] = certificates(sp.own_metadata(site), "encryption")
    pem = tmp_path / "before.pem"
    pem.write_text(f"-----BEGIN CERTIFICATE-----\n{before}\n-----END CERTIFICATE-----\n")
    sp.prepare_next_key(site)
    sp.use_next_key(site)
    encrypted = encrypt("<secret>abc</secret>", pem, tmp_path)
    assert "abc" not in encrypted
    assert "abc" in sp.client(site).sec.decrypt(encrypted)
    sp.forget_old_key(site)
    with pytest.raises(Exception, match=r"."):
        sp.client(site).sec.decrypt(encrypted)


def encrypt(xml: str, certificate: Path, folder: Path) -> str:
    (folder / "plain.xml").write_text(xml)
    (folder / "template.xml").write_text(
        '<xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#"'
        ' Type="http://www.w3.org/2001/04/xmlenc#Element"><xenc:EncryptionMethod'
        ' Algorithm="http://www.w3.org/2009/xmlenc11#aes128-gcm"/>'
        '<ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><xenc:EncryptedKey>'
        '<xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"/>'
        "<xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo>"
        "<xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedData>"
    )
    done = subprocess.run(
        [
            *("xmlsec1", "--encrypt", "--pubkey-cert-pem", certificate),
            *("--session-key", "aes-128"),
            *("--xml-data", folder / "plain.xml", folder / "template.xml"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


# --- pysaml2 -------------------------------------------------------------------------------------


def test_pysaml2_knows_one_entity(tmp_path: Path, site: Site, federation_key: Signer) -> None:
    store = metadata.MetadataStore(folder_of(site), site.settings.federation)  # type: ignore[arg-type]
    file = tmp_path / "aggregate.xml"
    file.write_bytes(federation_key.sign(aggregate(entity("univ-a"), entity("univ-b"))))
    store.load(file)
    idp = store.entity("https://idp.univ-a.example/idp")
    assert idp is not None
    client = sp.client(site, idp)
    assert list(client.metadata.keys()) == [idp.entity_id]
    assert client.metadata.shibmd_scopes(idp.entity_id, "idpsso_descriptor")
    with pytest.raises(NotImplementedError):
        client.metadata.load("inline", "")
    config = client.config
    assert config.accepted_time_diff == site.settings.clock_tolerance_seconds
    assert config.getattr("want_assertions_or_response_signed", "sp") is True
    assert config.getattr("allow_unsolicited", "sp") is False
    assert client.signing_algorithm == sp.RSA_SHA256
    assert client.digest_algorithm == sp.SHA256
    [converter] = config.attribute_converters
    assert converter.name_format == attributes.NAME_FORMAT_URI


# --- what we ask ---------------------------------------------------------------------------------


def asked(url: str) -> Any:
    [request] = parse_qs(urlsplit(url).query)["SAMLRequest"]
    return etree.fromstring(zlib.decompress(base64.b64decode(request), -15))


def test_a_request(site: Site) -> None:
    idp = Idp("https://idp.example", Text(fr="a", en="a"), sso_url="https://idp.example/sso?x=1")
    url = sp.login_request(Federation(site), idp, "_" + "a" * 32, False)
    assert url.startswith("https://idp.example/sso?x=1&SAMLRequest=")
    request = asked(url)
    assert request.get("ID") == "_" + "a" * 32
    assert request.get("Destination") == idp.sso_url
    assert request.get("AssertionConsumerServiceURL") == sp.acs_url(site)
    assert request.get("ForceAuthn") is None
    assert request.findtext("{*}Issuer") == sp.entity_id(site)
    assert request.find("{*}NameIDPolicy") is None
    forced = sp.login_request(Federation(site), idp, "_" + "a" * 32, True)
    assert asked(forced).get("ForceAuthn") == "true"
    query = parse_qs(urlsplit(url).query)
    assert "RelayState" not in query
    assert query["SigAlg"] == [sp.RSA_SHA256]
    signed = urlsplit(url).query.removeprefix("x=1&").split("&Signature=")[0]
    [shown] = certificates(sp.own_metadata(site), "signing")
    key = x509.load_der_x509_certificate(base64.b64decode(shown)).public_key()
    key.verify(  # type: ignore[union-attr, call-arg]
        base64.b64decode(query["Signature"][0]),
        signed.encode(),
        padding.PKCS1v15(),
        hashes.SHA256(),
    )


def test_simplesamlphp_takes_our_requests(
    tmp_path: Path, make_site: MakeSite, federation_key: Signer
) -> None:
    """A real identity provider reads our metadata, and wants requests to be signed."""
    site = make_site(**WHOLE)
    store = metadata.MetadataStore(folder_of(site), site.settings.federation)  # type: ignore[arg-type]
    [port] = free_ports(1)
    with start_idp(
        tmp_path, "univ-a", sp_metadata=sp.own_metadata(site), port=port, IDP_WANT_SIGNED="1"
    ) as peer:
        part = etree.fromstring(peer.metadata)
        for signature in part.findall(f"{DS}Signature"):
            part.remove(signature)
        file = tmp_path / "aggregate.xml"
        file.write_bytes(federation_key.sign(aggregate(etree.tostring(part).decode())))
        store.load(file)
        idp = store.entity(peer.entity_id)
        assert idp is not None
        assert idp.scopes == {peer.scope}
        url = sp.login_request(Federation(site), idp, "_" + "b" * 32, False)
        assert url.startswith(peer.url)
        assert "AuthState" in requests.get(url, timeout=30).text
        other = sp.login_request(Federation(site), idp, "_" + "c" * 32, False)
        request = other.partition("SAMLRequest=")[2].partition("&")[0]
        ours = url.partition("SAMLRequest=")[2].partition("&")[0]
        forged = requests.get(url.replace(ours, request), timeout=30)
        assert "AuthState" not in forged.text
        assert "Unable to validate signature" in forged.text


def test_without_xmlsec1(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    signedmetadata.xmlsec1.cache_clear()
    try:
        with pytest.raises(ValueError, match="apt-get install xmlsec1"):
            sp.sp_config(site)
    finally:
        signedmetadata.xmlsec1.cache_clear()


# --- what the documentation shows ----------------------------------------------------------------


def test_the_examples_are_valid() -> None:
    page = Path(__file__).parents[2] / "docs" / "operators" / "federation.md"
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    for block in blocks:
        settings = SignInSettings.model_validate(yaml.safe_load(block))
        assert settings.federation is not None
