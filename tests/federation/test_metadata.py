"""What is taken for the federation's metadata, what is read in them, and what is found again."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from mydocker_hub.domain.environment import Text
from mydocker_hub.federation import metadata, signedmetadata
from mydocker_hub.federation.metadata import MetadataStore, fold, may_enter
from mydocker_hub.federation.refresh import rules_of
from mydocker_hub.federation.signedmetadata import MetadataInvalid
from mydocker_hub.identity import settings

from .conftest import MakeSite
from .documents import (
    MD,
    RSA_SHA1,
    SHA1,
    WEEK,
    Signer,
    aggregate,
    entity,
    moment,
    template,
)

pytestmark = pytest.mark.peers

A = "https://idp.univ-a.example/idp"
DAY = timedelta(days=1)
LOGO = '<mdui:Logo height="{1}" width="80">{0}</mdui:Logo>'
SMALL = "https://idp.univ-a.example/small.png"


class World:
    """A store, and documents to give to it."""

    def __init__(self, folder: Path, store: MetadataStore, signer: Signer) -> None:
        self.folder = folder
        self.store = store
        self.signer = signer

    def load(self, document: bytes | str) -> metadata.About:
        file = self.folder / "document.xml"
        file.write_bytes(document.encode() if isinstance(document, str) else document)
        return self.store.load(file)

    def load_signed(self, *entities: str) -> metadata.About:
        return self.load(self.signer.sign(aggregate(*entities)))

    def idp(self, entity_id: str = A) -> metadata.Idp:
        idp = self.store.entity(entity_id)
        assert idp is not None
        return idp

    def refused(self, document: bytes | str) -> str:
        with pytest.raises(MetadataInvalid) as error:
            self.load(document)
        return str(error.value)


@pytest.fixture
def world(tmp_path: Path, make_site: MakeSite, federation_key: Signer) -> World:
    store = MetadataStore(tmp_path / "saml", rules_of(make_site()))
    return World(tmp_path, store, federation_key)


# --- what is taken -------------------------------------------------------------------------------


def test_honest(world: World) -> None:
    assert world.store.about() is None
    assert world.store.entity(A) is None
    assert world.store.search().total == 0
    about = world.load_signed(entity("univ-a"), entity("univ-b"))
    assert about.count == world.store.count == 2
    assert about == world.store.about()
    assert about.valid_until == world.store.valid_until
    assert about.fingerprint == world.signer.fingerprint
    idp = world.idp()
    assert idp.sso_url == "https://idp.univ-a.example/sso"
    assert idp.scopes == {"univ-a.example"}
    assert idp.xml.startswith(b"<md:EntityDescriptor")
    assert world.store.entity("https://idp.univ-c.example/idp") is None


def test_one_entity_alone(world: World) -> None:
    document = entity(
        "univ-a", attributes=f' ID="all" validUntil="{moment(WEEK)}"', signature=template()
    )
    world.load(world.signer.sign(document, "EntityDescriptor"))
    assert world.idp().entity_id == A


Forge = Callable[[Signer, Signer], "bytes | str"]


def _edited(old: str, new: str) -> Forge:
    def forge(signer: Signer, stranger: Signer) -> str:
        honest = signer.sign(aggregate(entity("univ-a"))).decode()
        assert old in honest
        return honest.replace(old, new, 1)

    return forge


def _of(document: Callable[[], str], *, by_stranger: bool = False) -> Forge:
    def forge(signer: Signer, stranger: Signer) -> bytes:
        return (stranger if by_stranger else signer).sign(document())

    return forge


def _certificate_swapped(signer: Signer, stranger: Signer) -> str:
    """Signed by a stranger, with the federation's certificate in it."""
    forged = stranger.sign(aggregate(entity("univ-a"))).decode()
    honest = signer.sign(aggregate(entity("univ-a"))).decode()
    pattern = r"<ds:X509Certificate>[^<]*"
    found = re.search(pattern, honest)
    assert found
    return re.sub(pattern, found[0], forged)


def _wrapped(signer: Signer, stranger: Signer) -> str:
    """The honest document inside one of ours, as pysaml2 takes it."""
    honest = signer.sign(aggregate(entity("univ-a"))).decode().split("?>\n", 1)[1]
    return (
        f'<md:EntitiesDescriptor xmlns:md="{MD}" validUntil="{moment(WEEK)}">'
        f"{honest}{entity('univ-a', sso='https://evil.example/sso')}</md:EntitiesDescriptor>"
    )


def _moved(where: str) -> Forge:
    """The honest signature at our root; what it signs, with the same ID, elsewhere."""

    def forge(signer: Signer, stranger: Signer) -> str:
        honest = signer.sign(aggregate(entity("univ-a"))).decode().split("?>\n", 1)[1]
        found = re.search(r"<ds:Signature .*</ds:Signature>", honest, re.DOTALL)
        assert found
        signature, original = found[0], honest.replace(found[0], "")
        if where == "object":
            inner = f"<ds:Object>{original}</ds:Object></ds:Signature>"
            signature, original = signature.replace("</ds:Signature>", inner), ""
        elif where == "extensions":
            original = f"<md:Extensions>{original}</md:Extensions>"
        elif where == "renamed":
            original = original.replace(
                "<md:EntitiesDescriptor", '<md:EntitiesDescriptor xml:id="all"'
            )
        forged = entity("univ-a", sso="https://evil.example/sso")
        parts = forged + original if where == "after" else original + forged
        return (
            f'<md:EntitiesDescriptor xmlns:md="{MD}" ID="all" validUntil="{moment(WEEK)}">'
            f"{signature}{parts}</md:EntitiesDescriptor>"
        )

    return forge


def _other_reference(signer: Signer, stranger: Signer) -> bytes:
    """Our root, signed in one of its parts only."""
    signed_part = entity("univ-b", attributes=' ID="part"')
    return signer.sign(
        aggregate(entity("univ-a"), signed_part, signature=template("part")), "EntityDescriptor"
    )


def _doctype(declaration: str, use: str = "") -> Forge:
    def forge(signer: Signer, stranger: Signer) -> str:
        honest = signer.sign(aggregate(entity("univ-a"))).decode().split("?>\n", 1)[1]
        return f"<!DOCTYPE x [{declaration}]>{honest.replace('univ-a.example<', use + '<', 1)}"

    return forge


_BOMB = '<!ENTITY a0 "ha">' + "".join(
    f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)
)

ATTACKS: dict[str, tuple[Forge, str]] = {
    "unsigned": (lambda *_: aggregate(entity("univ-a"), signature=""), "not signed as a whole"),
    "empty": (lambda *_: "", "not XML"),
    "not metadata": (lambda *_: "<html/>", "no SAML metadata"),
    "not signed, only a template": (lambda *_: aggregate(entity("univ-a")), "not hold the cert"),
    "edited": (_edited("https://idp.univ-a.example/sso", "https://evil.example/sso"), "is wrong"),
    "attribute added": (_edited(f'{MD}" ID=', f'{MD}" x="" ID='), "is wrong"),
    "digest edited": (_edited("<ds:DigestValue>", "<ds:DigestValue>AAAA"), "is wrong"),
    "by a stranger": (_of(lambda: aggregate(entity("univ-a")), by_stranger=True), "another cert"),
    "certificate swapped": (_certificate_swapped, "is wrong"),
    "wrapped": (_wrapped, "not signed as a whole"),
    "moved before": (_moved("before"), "is wrong"),
    "moved after": (_moved("after"), "is wrong"),
    "moved into extensions": (_moved("extensions"), "is wrong"),
    "moved into an object": (_moved("object"), "parts that are not taken"),
    "moved and renamed": (_moved("renamed"), "is wrong"),
    "only a part signed": (_other_reference, "not about the whole"),
    "empty reference": (
        _of(lambda: aggregate(entity("univ-a"), signature=template(""))),
        "not about the whole",
    ),
    "signature not first": (
        _of(lambda: aggregate(entity("univ-a"), template(), signature="")),
        "not signed as a whole",
    ),
    "sha-1 signature": (
        _of(lambda: aggregate(entity("univ-a"), signature=template(algorithm=RSA_SHA1))),
        "rsa-sha1, which is not taken",
    ),
    "sha-1 digest": (
        _of(lambda: aggregate(entity("univ-a"), signature=template(digest=SHA1))),
        "sha1, which is not taken",
    ),
    "xpath transform": (
        _of(
            lambda: aggregate(
                entity("univ-a"),
                signature=template(
                    transforms='<ds:Transform Algorithm="http://www.w3.org/TR/1999/'
                    'REC-xpath-19991116"><ds:XPath>true()</ds:XPath></ds:Transform>'
                ),
            )
        ),
        "parts that are not taken",
    ),
    "no validUntil": (_of(lambda: aggregate(entity("univ-a"), valid=None)), "does not say until"),
    "expired": (_of(lambda: aggregate(entity("univ-a"), valid=-DAY)), "it was valid until"),
    "too far ahead": (_of(lambda: aggregate(entity("univ-a"), valid=30 * DAY)), "28 days ahead"),
    "entity bomb": (_doctype(_BOMB, "&a11;"), "document type declaration"),
    "external entity": (
        _doctype('<!ENTITY x SYSTEM "file:///etc/hostname">', "&x;"),
        "document type declaration",
    ),
    "external subset": (
        _doctype('<!ENTITY % x SYSTEM "http://127.0.0.1:9/x.dtd"> %x;'),
        "document type declaration",
    ),
    "no identity provider": (
        _of(lambda: aggregate(entity("univ-a", sso="http://evil.example/sso"))),
        "no identity provider",
    ),
    "cut off": (lambda signer, _: signer.sign(aggregate(entity("univ-a")))[:-30], "is wrong"),
    "another encoding": (
        lambda signer, _: signer.sign(aggregate(entity("univ-a"))).decode().encode("utf-16"),
        "not in UTF-8",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks(name: str, world: World, federation_key: Signer, stranger: Signer) -> None:
    forge, because = ATTACKS[name]
    before = world.load_signed(entity("univ-a"))  # the honest one is taken
    reason = world.refused(forge(federation_key, stranger))
    print("REASON", name, "|", reason)
    assert because in reason
    assert world.store.about() == before
    assert world.idp().sso_url == "https://idp.univ-a.example/sso"
    assert {file.name for file in (world.folder / "saml").iterdir()} == {"institutions.sqlite"}


def test_a_part_with_the_id_of_the_whole(world: World) -> None:
    # xmlsec1 refuses it already; another version of it might not
    document = aggregate(entity("univ-a", attributes=' ID="all"'))
    file = world.folder / "document.xml"
    file.write_text(document)
    signed = signedmetadata.Signed(
        tag=f"{{{MD}}}EntitiesDescriptor",
        id="all",
        valid_until=datetime.now(UTC) + DAY,
        created=datetime.now(UTC),
        fingerprint=world.signer.fingerprint,
        cache_seconds=None,
    )
    with pytest.raises(MetadataInvalid, match="has the ID of the whole"):
        list(metadata.entities(file, signed))
    file.write_text(document.replace('idp" ID="all"', 'idp" ID="a"'))
    assert len(list(metadata.entities(file, signed))) == 1


def test_too_large(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    document = world.signer.sign(aggregate(entity("univ-a")))
    monkeypatch.setattr(signedmetadata, "MOST_BYTES", len(document))
    world.load(document)
    assert "MB" in world.refused(document + b" ")


def test_too_many_entities(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "_MOST_ENTITIES", 2)
    world.load_signed(entity("univ-a"), entity("univ-b"))
    three = aggregate(entity("univ-a"), entity("univ-b"), entity("univ-c"))
    assert "more than 2 entities" in world.refused(world.signer.sign(three))
    assert world.store.count == 2


def test_older_than_ours(world: World) -> None:
    def made(ahead: timedelta) -> bytes:
        return world.signer.sign(aggregate(entity("univ-a"), created=ahead))

    older, newer = made(-2 * DAY), made(-DAY)
    world.load(older)
    world.load(newer)
    assert "older" in world.refused(older)
    world.load(newer)  # the same again is no step back


def test_older_where_only_the_dates_tell(world: World) -> None:
    world.load(world.signer.sign(aggregate(entity("univ-a"), valid=5 * DAY)))
    earlier = world.signer.sign(aggregate(entity("univ-a"), valid=4 * DAY))
    assert "older" in world.refused(earlier)


def test_a_federation_that_begins_to_say_when_it_made_them(world: World) -> None:
    world.load(world.signer.sign(aggregate(entity("univ-a"), valid=5 * DAY)))
    world.load(world.signer.sign(aggregate(entity("univ-a"), valid=6 * DAY, created=-DAY)))
    # from then on that counts: they may become valid for a shorter time
    world.load(world.signer.sign(aggregate(entity("univ-a"), valid=3 * DAY, created=-DAY / 2)))
    earlier = world.signer.sign(aggregate(entity("univ-a"), valid=9 * DAY, created=-DAY))
    assert "older" in world.refused(earlier)


@pytest.fixture(scope="module")
def signed_document(federation_key: Signer) -> bytes:
    return federation_key.sign(
        aggregate(
            entity("univ-a", fr="Été", logo=LOGO.format(SMALL, 40), categories=("x",)),
            created=-DAY,
        )
    )


@settings_of_hypothesis(max_examples=100, deadline=None)
@given(place=st.floats(0, 1), cut=st.integers(0, 20), put=st.binary(max_size=20))
def test_damaged_documents(
    place: float,
    cut: int,
    put: bytes,
    signed_document: bytes,
    federation_key: Signer,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    start = int(place * len(signed_document))
    file = tmp_path_factory.getbasetemp() / "damaged.xml"
    file.write_bytes(signed_document[:start] + put + signed_document[start + cut :])
    now = datetime.now(UTC)
    signed = signedmetadata.Signed(
        tag=f"{{{MD}}}EntitiesDescriptor",
        id="all",
        valid_until=now + DAY,
        created=now,
        fingerprint="",
        cache_seconds=None,
    )
    with suppress(MetadataInvalid):  # and nothing else
        list(metadata.entities(file, signed))
    with suppress(MetadataInvalid):
        signedmetadata.verify(
            file, fingerprints=(federation_key.fingerprint,), certificate_file=None, now=now
        )
        # what is still right says the same
        [(idp, _)] = metadata.entities(file, signed)
        assert (idp.entity_id, idp.name.fr, idp.logo) == (A, "Été", SMALL)


def test_expires(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.load_signed(entity("univ-a"))
    later = datetime.now(UTC) + WEEK + DAY
    monkeypatch.setattr(metadata, "_now", lambda: later)
    assert world.store.about() is None
    assert world.store.entity(A) is None
    assert world.store.search().total == 0
    # what has expired does not stand in the way of what has not, whatever its dates
    world.load(world.signer.sign(aggregate(entity("univ-a"), valid=WEEK + 2 * DAY)))
    assert world.idp().entity_id == A


def test_an_entity_expires_before_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    soon = f' validUntil="{moment(DAY)}"'
    group = (
        f'<md:EntitiesDescriptor xmlns:md="{MD}"{soon}>{entity("univ-c")}</md:EntitiesDescriptor>'
    )
    past = f' validUntil="{moment(-DAY)}"'
    world.load_signed(
        entity("univ-a"),
        entity("univ-b", attributes=soon),
        entity("univ-d", attributes=past),
        group,
    )
    assert world.store.search().total == 3
    later = datetime.now(UTC) + 2 * DAY
    monkeypatch.setattr(metadata, "_now", lambda: later)
    assert world.idp().entity_id == A
    assert world.store.entity("https://idp.univ-b.example/idp") is None
    assert world.store.entity("https://idp.univ-c.example/idp") is None
    assert world.store.search().total == 1


def test_certificate_in_a_file(
    tmp_path: Path, make_site: MakeSite, federation_key: Signer, stranger: Signer
) -> None:
    def store(file: Path) -> World:
        source = {"file": "x", "certificate_file": str(file)}
        return World(
            tmp_path,
            MetadataStore(tmp_path / "saml", rules_of(make_site(source))),
            federation_key,
        )

    bare = federation_key.sign(
        aggregate(
            entity("univ-a"), signature=re.sub("<ds:KeyInfo>.*</ds:KeyInfo>", "", template())
        ),
        keep_certificate=False,
    )
    both = tmp_path / "both.pem"
    both.write_bytes(stranger.certificate.read_bytes() + federation_key.certificate.read_bytes())
    store(federation_key.certificate).load(bare)
    store(both).load(bare)
    assert "another certificate" in store(stranger.certificate).refused(bare)
    assert "cannot be read" in store(tmp_path / "none.pem").refused(bare)
    (tmp_path / "empty.pem").write_text("")
    assert "cannot be read" in store(tmp_path / "empty.pem").refused(bare)


def test_dates_of_the_certificate_say_nothing(tmp_path: Path, make_site: MakeSite) -> None:
    from ..peers.keys import key_pair

    key_pair(tmp_path, "expired", expired=True)
    signer = Signer(tmp_path, "expired")
    source = {"file": "x", "fingerprints": [signer.fingerprint]}
    store = MetadataStore(tmp_path / "saml", rules_of(make_site(source)))
    assert World(tmp_path, store, signer).load_signed(entity("univ-a")).count == 1


def test_a_copy_is_only_used_for_what_it_was_made_for(
    world: World, make_site: MakeSite, federation_key: Signer, stranger: Signer
) -> None:
    world.load_signed(entity("univ-a"))

    def reopened(**metadata: object) -> MetadataStore:
        source = {"file": str(world.folder / "aggregate.xml"), **metadata}
        return MetadataStore(world.folder / "saml", rules_of(make_site(source)))

    rollover = [federation_key.fingerprint, stranger.fingerprint]
    assert reopened().entity(A) is not None
    assert reopened(fingerprints=rollover).entity(A) is not None
    assert reopened(fingerprints=[stranger.fingerprint]).entity(A) is None
    assert reopened(file="elsewhere.xml").entity(A) is None


def test_a_damaged_copy_is_as_none(world: World) -> None:
    world.load_signed(entity("univ-a"))
    (world.folder / "saml" / "institutions.sqlite").write_bytes(b"not a database" * 100)
    assert world.store.about() is None
    assert world.store.entity(A) is None
    assert world.store.search().total == 0
    world.load_signed(entity("univ-a"))
    assert world.idp().entity_id == A


def test_read_while_it_changes(world: World) -> None:
    document = world.signer.sign(aggregate(*(entity(f"univ-{n}") for n in range(50))))
    world.load(document)
    wrong: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            found = world.store.search("univ", limit=5)
            idp = world.store.entity("https://idp.univ-7.example/idp")
            if found.total != 50 or len(found.institutions) != 5 or idp is None:
                wrong.append((found, idp))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(5):
        world.load(document)
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong


# --- what is read --------------------------------------------------------------------------------


def test_names(world: World) -> None:
    world.load_signed(
        entity("univ-a", fr="Université  d'Été\n", en="Summer University"),
        entity("univ-b", fr="Bordeaux"),
        entity("univ-c", organization="Lille\u202e"),
        entity("univ-d"),
        entity("univ-e", fr="x" * 500),
    )
    names = {one.entity_id[12:18]: one.name for one in world.store.search(limit=10).institutions}
    assert names == {
        "univ-a": Text(fr="Université d'Été", en="Summer University"),
        "univ-b": Text(fr="Bordeaux", en="Bordeaux"),
        "univ-c": Text(fr="Lille", en="Lille"),
        "univ-d": Text(fr="idp.univ-d.example", en="idp.univ-d.example"),
        "univ-e": Text(fr="x" * 200, en="x" * 200),
    }


def test_scopes(world: World) -> None:
    world.load_signed(
        entity(
            "univ-a",
            scopes='<shibmd:Scope regexp="false"> Univ-A.Example </shibmd:Scope>'
            '<shibmd:Scope regexp="0">iut.univ-a.example</shibmd:Scope>'
            '<shibmd:Scope regexp="true">.*</shibmd:Scope>'
            '<shibmd:Scope regexp="1">univ-b.example</shibmd:Scope>'
            '<shibmd:Scope regexp="TRUE">univ-c.example</shibmd:Scope>'
            "<shibmd:Scope></shibmd:Scope><shibmd:Scope>a b</shibmd:Scope>"
            "<md:x><shibmd:Scope>deep.example</shibmd:Scope></md:x>",
            more_scopes="<shibmd:Scope>lab.univ-a.example</shibmd:Scope>",
        )
    )
    assert world.idp().scopes == {"univ-a.example", "iut.univ-a.example", "lab.univ-a.example"}


def test_a_comment_does_not_cut_a_value(world: World) -> None:
    # exc-c14n leaves comments out of the signature: anybody on the way may add them
    honest = world.signer.sign(aggregate(entity("univ-a", fr="Nantes et Brest"))).decode()
    assert "univ-a.example<" in honest
    with_comments = honest.replace("univ-a.example<", "univ<!-- x -->-a.example<")
    with_comments = with_comments.replace("Nantes et", "Nantes<!-- x --> et")
    world.load(with_comments)
    assert world.idp().scopes == {"univ-a.example"}
    assert world.idp().name.fr == "Nantes et Brest"
    assert b"<!--" not in world.idp().xml


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("https://idp.univ-a.example/sso?x=1", True),
        ("http://127.0.0.1:18080/sso", True),
        ("http://localhost/sso", True),
        ("http://idp.univ-a.example/sso", False),
        ("javascript:alert(1)", False),
        ("https:///sso", False),
        ("https://idp.univ-a.example/\nsso", False),
        ("https://[::1/sso", False),
        ("https://idp.univ-a.example/" + "x" * 2000, False),
    ],
)
def test_where_people_are_sent(url: str, taken: bool, world: World) -> None:
    world.load_signed(entity("univ-a", sso=url), entity("univ-b"))
    idp = world.store.entity(A)
    assert (idp is not None and idp.sso_url == url) if taken else idp is None


def test_what_is_no_identity_provider_is_passed_over(world: World) -> None:
    saml1 = entity("univ-b").replace("SAML:2.0:protocol", "SAML:1.1:protocol")
    service = f'<md:EntityDescriptor xmlns:md="{MD}" entityID="https://sp.example/"/>'
    post = entity("univ-c").replace("HTTP-Redirect", "HTTP-POST")
    long = entity("univ-d", entity_id="https://d.example/" + "x" * 1024)
    nameless = entity("univ-e").replace('entityID="https://idp.univ-e.example/idp"', 'entityID=""')
    twice = entity("univ-a", sso="https://idp.univ-a.example/second")
    about = world.load_signed(entity("univ-a"), saml1, service, post, long, nameless, twice)
    assert about.count == 1
    assert world.idp().sso_url == "https://idp.univ-a.example/sso"  # the first counts


@pytest.mark.parametrize(
    ("logos", "taken"),
    [
        ([(SMALL, 40), ("https://idp.univ-a.example/large.png", 400)], SMALL),
        ([("https://idp.univ-a.example/large.png", 400), (SMALL, 40)], SMALL),
        ([("http://idp.univ-a.example/logo.png", 40), (SMALL, 400)], SMALL),
        ([("data:image/png;base64,AAAA", 16)], "data:image/png;base64,AAAA"),
        ([("data:image/png;base64,\n AAAA\n BBBB", 16)], "data:image/png;base64,AAAABBBB"),
        ([("data:text/html;base64,AAAA", 16)], ""),
        ([("data:image/svg+xml,&lt;svg onload='x()'>", 16)], ""),
        ([("data:image/png;base64," + "A" * 40_001, 16)], ""),
        ([("javascript:alert(1)", 16)], ""),
        ([], ""),
    ],
)
def test_logo(logos: list[tuple[str, int]], taken: str, world: World) -> None:
    text = "".join(LOGO.format(*logo) for logo in logos)
    world.load_signed(entity("univ-a", logo=text))
    assert world.idp().logo == taken
    assert world.store.search().institutions[0].logo == taken


def test_help_desk(world: World) -> None:
    def contact(kind: str, mail: str) -> str:
        return (
            f'<md:ContactPerson contactType="{kind}"><md:EmailAddress>{mail}</md:EmailAddress>'
            "</md:ContactPerson>"
        )

    technical = contact("technical", "mailto:it@univ-a.example")
    support = contact("support", "help@univ-a.example") + contact("support", "not a mail")
    world.load_signed(
        entity("univ-a", contacts=technical + support), entity("univ-b", contacts=technical)
    )
    assert world.idp().help_desk == ("help@univ-a.example",)
    assert world.idp("https://idp.univ-b.example/idp").help_desk == ("it@univ-a.example",)


# --- what is found -------------------------------------------------------------------------------


@pytest.fixture
def names(world: World) -> Callable[..., list[str]]:
    world.load_signed(
        entity("univ-a", fr="Université de Nîmes-Garonne", en="Nîmes-Garonne University"),
        entity("univ-b", fr="École des Œuvres", en="School of Works"),
        entity("univ-c", fr="Zénith", en="Antwerp Zenith"),
        entity(
            "univ-d",
            fr="Dijon",
            keywords='<mdui:Keywords xml:lang="fr">bourgogne moutarde+de+dijon</mdui:Keywords>',
        ),
        entity("univ-e", fr="Cachée", categories=(metadata.HIDE_FROM_DISCOVERY,)),
    )

    def search(text: str, language: str = "fr", **page: int) -> list[str]:
        found = world.store.search(text, language, **page)
        return [one.entity_id[12:18] for one in found.institutions]

    return search


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nimes", ["univ-a"]),
        ("NÎMES", ["univ-a"]),
        ("Nimes garonne", ["univ-a"]),
        ("garonne, nîmes", ["univ-a"]),
        ("nîmes zenith", []),
        ("university", ["univ-a"]),  # whatever the language of the page
        ("ecole", ["univ-b"]),
        ("works", ["univ-b"]),
        ("moutarde de", ["univ-d"]),
        ("univ-c.example", ["univ-c", "univ-b"]),  # as in mail addresses
        ("oeuvres", ["univ-b"]),
        ("d", ["univ-d", "univ-b", "univ-a"]),
        ("cachee", []),
        ("%", ["univ-d", "univ-b", "univ-a", "univ-c"]),  # no words: all
        ("'; DROP TABLE idps", []),
        ("x" * 100_000, []),
    ],
)
def test_search(text: str, found: list[str], names: Callable[..., list[str]]) -> None:
    assert names(text) == found


def test_search_by_page_and_language(names: Callable[..., list[str]]) -> None:
    assert names("") == ["univ-d", "univ-b", "univ-a", "univ-c"]
    assert names("", "en") == ["univ-c", "univ-d", "univ-a", "univ-b"]
    assert names("", limit=2) == ["univ-d", "univ-b"]
    assert names("", limit=2, offset=2) == ["univ-a", "univ-c"]
    assert names("", limit=2, offset=4) == []
    assert names("", limit=-1, offset=-1) == []


def test_hidden_ones_may_enter(names: Callable[..., list[str]], world: World) -> None:
    assert world.idp("https://idp.univ-e.example/idp").hidden


@given(st.text())
def test_fold_is_stable(text: str) -> None:
    folded = fold(text)
    assert folded == " ".join(folded.split())
    assert fold(folded) == folded
    assert fold(text.casefold()) == folded


# --- who may enter -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("institutions", "others", "scopes", "may"),
    [
        ([], True, {"a.fr"}, True),
        ([], False, {"a.fr"}, False),
        ([{"entity_id": A}], False, {"a.fr"}, True),
        ([{"entity_id": A, "allow": False}], True, {"a.fr"}, False),
        ([{"entity_id": A + "x"}], False, {"a.fr"}, False),
        ([{"scope": "A.fr"}], False, {"a.fr"}, True),
        ([{"scope": "a.fr", "allow": False}], True, {"a.fr"}, False),
        ([{"scope": "a.fr", "allow": False}], True, {"a.fr", "b.fr"}, True),
        ([{"scope": "a.fr"}], False, {"b.fr"}, False),
        ([{"scope": "a.fr"}], False, set(), False),
        ([{"scope": "a.fr", "allow": False}], True, set(), True),
        ([{"scope": "a.fr", "allow": False}, {"entity_id": A}], False, {"a.fr"}, False),
        ([{"scope": "a.fr", "allow": False}, {"entity_id": A}], False, {"a.fr", "b.fr"}, True),
        ([{"entity_id": A}], False, set(), True),
        ([{"entity_id": A}, {"entity_id": A, "allow": False}], True, {"a.fr"}, False),
        ([{"scope": "a.fr", "allow": False}, {"scope": "A.fr"}], True, {"a.fr"}, False),
        ([{"scope": "a.fr"}, {"entity_id": A, "allow": False}], True, {"a.fr"}, False),
    ],
)
def test_may_enter(
    institutions: list[dict[str, object]],
    others: bool,
    scopes: set[str],
    may: bool,
    make_site: MakeSite,
) -> None:
    rules = rules_of(make_site(institutions=institutions, others_may_enter=others))
    assert may_enter(rules, A, frozenset(scopes)) is may


def test_only_those_who_may_enter_are_listed(world: World, make_site: MakeSite) -> None:
    world.load_signed(*(entity(f"univ-{letter}") for letter in "abcd"))

    def listed(**federation: object) -> list[str]:
        store = MetadataStore(world.folder / "saml", rules_of(make_site(**federation)))
        found = store.search()
        assert found.total == len(found.institutions)
        return [one.entity_id[17:18] for one in found.institutions]

    b = {"entity_id": "https://idp.univ-b.example/idp"}
    assert listed() == ["a", "b", "c", "d"]
    assert listed(others_may_enter=False) == []
    assert listed(others_may_enter=False, institutions=[b, {"scope": "univ-d.example"}]) == [
        "b",
        "d",
    ]
    assert listed(institutions=[{**b, "allow": False}]) == ["a", "c", "d"]


def test_settings_of_the_sources() -> None:
    prints = [":".join(["AA"] * 32)]
    sources = {
        metadata.source_of(settings.Metadata.model_validate({"fingerprints": prints, **source}))
        for source in (
            {"url": "https://a.example"},
            {"mdq": "https://a.example"},
            {"file": "https://a.example"},
        )
    }
    assert len(sources) == 3


def test_a_file_of_another_format_is_as_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.load_signed(entity("univ-a"))
    monkeypatch.setattr(metadata, "_FORMAT", "2")
    assert world.store.about() is None
    world.load_signed(entity("univ-a"))
    assert world.idp().entity_id == A
    monkeypatch.undo()
    (world.folder / "saml" / "institutions.sqlite").unlink()
    with sqlite3.connect(world.folder / "saml" / "institutions.sqlite") as connection:
        connection.execute("CREATE TABLE about (name TEXT, other TEXT)")
    connection.close()
    assert world.store.about() is None
