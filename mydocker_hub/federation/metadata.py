"""The identity providers of the federation: out of its signed metadata, into a file to look in.

Thousands of entities are read once, one at a time, into an SQLite file of their own; what people
ask for is one row of it. A new aggregate is made beside the file and takes its place when it is
whole and verified, so that the last good one stays until then.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lxml import etree

from ..domain.environment import Text
from ..identity import settings
from . import signedmetadata
from .signedmetadata import MD, MetadataInvalid, Signed

FOR_EVER = datetime.max.replace(tzinfo=UTC)
HIDE_FROM_DISCOVERY = "http://refeds.org/category/hide-from-discovery"

_MDUI = "urn:oasis:names:tc:SAML:metadata:ui"
_MDATTR = "urn:oasis:names:tc:SAML:metadata:attribute"
_SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
_SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
_SHIBMD = "urn:mace:shibboleth:metadata:1.0"
_REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"

_MOST_ENTITIES = 100_000
_LONGEST_ENTITY = 1024 * 1024  # bytes; the largest of eduGAIN has a tenth of it
_LONGEST_ID = 1024  # SAML V2.0 metadata §2.2.1
_LONGEST_LOGO = 40_000
_SCOPE = re.compile(r"[a-z0-9][a-z0-9.-]{0,126}")  # Subject Identifier Attributes Profile §3.3.1

_LETTERS = str.maketrans({"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "ı": "i"})
"""What Unicode does not take apart."""

_FORMAT = "1"
"""Of the file; one of another format is read anew."""

_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE idps (
    entity_id TEXT PRIMARY KEY,
    name_fr TEXT NOT NULL, name_en TEXT NOT NULL,
    order_fr TEXT NOT NULL, order_en TEXT NOT NULL,
    folded TEXT NOT NULL,
    scopes TEXT NOT NULL,
    hidden INTEGER NOT NULL,
    valid_until REAL NOT NULL,
    fresh_until REAL NOT NULL,
    ends REAL NOT NULL, created REAL
) WITHOUT ROWID;
CREATE TABLE documents (
    entity_id TEXT PRIMARY KEY,
    logo TEXT NOT NULL, sso_url TEXT NOT NULL, help_desk TEXT NOT NULL, xml BLOB NOT NULL
);
"""


@dataclass(frozen=True)
class Listed:
    """What somebody who chooses their institution sees of it."""

    entity_id: str
    name: Text
    logo: str = ""


@dataclass(frozen=True)
class Idp(Listed):
    """An identity provider. `xml` is its EntityDescriptor, out of verified metadata.

    `logo` is empty, `https:` or `data:image/…;base64`; `scopes` are those of shibmd:Scope in lower
    case; `sso_url` is where HTTP-Redirect goes; `help_desk` are mail addresses.
    """

    scopes: frozenset[str] = frozenset()
    sso_url: str = ""
    help_desk: tuple[str, ...] = ()
    hidden: bool = False
    valid_until: datetime = FOR_EVER
    fresh_until: datetime = FOR_EVER
    xml: bytes = b""


@dataclass(frozen=True)
class Found:
    """One page of a search, and how many there are on all of them."""

    institutions: list[Listed]
    total: int


@dataclass(frozen=True)
class About:
    """What the stored copy is."""

    source: str
    fingerprint: str
    valid_until: datetime
    created: datetime | None
    loaded_at: datetime
    count: int


def fold(text: str) -> str:
    """Text as the search compares it: without accents and letter case, words with one space."""
    # twice, as each of the two brings forth what the other one folds (Unicode §3.13, D146)
    for _ in range(2):
        text = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(
        " " if unicodedata.category(char)[0] in "ZCP" else char
        for char in text.translate(_LETTERS)
        if not unicodedata.combining(char)
    )
    return " ".join(plain.split())


def may_enter(rules: settings.Federation, entity_id: str, scopes: frozenset[str]) -> bool:
    """Whether anybody of this identity provider may enter, as far as can be said of all its people.

    One line that says no is enough, as for each person (`identity.roles.check_institution`); one of
    several scopes that may enter is enough.
    """
    return _admission(rules)(entity_id, scopes)


def _admission(rules: settings.Federation) -> Callable[[str, frozenset[str]], bool]:
    """`may_enter` for many: the lines of the configuration are looked through once."""
    by_name: dict[str, bool] = {}
    by_scope: dict[str, bool] = {}
    for one in rules.institutions:
        lines, name = (by_name, one.entity_id) if one.entity_id else (by_scope, one.scope.lower())
        lines[name] = lines.get(name, True) and one.allow

    def may(entity_id: str, scopes: frozenset[str]) -> bool:
        if by_name.get(entity_id) is False:
            return False
        otherwise = entity_id in by_name or rules.others_may_enter
        return any(by_scope.get(scope, otherwise) for scope in scopes) if scopes else otherwise

    return may


class MetadataStore:
    """The identity providers in a folder. All methods block for milliseconds, and may be called
    from any thread."""

    def __init__(self, folder: Path, rules: settings.Federation) -> None:
        self._rules = rules
        self._file = folder / "institutions.sqlite"
        self._may_enter = _admission(rules)
        self.source = source_of(rules.metadata)

    def about(self) -> About | None:
        """What the stored copy is; None where there is none that may still be used."""
        with self._reading() as connection:
            if connection is None:
                return None
            about = _read_about(connection)
        return about if about is not None and self._usable(about) else None

    @property
    def count(self) -> int:
        about = self.about()
        return about.count if about else 0

    @property
    def valid_until(self) -> datetime | None:
        about = self.about()
        return about.valid_until if about else None

    def entity(self, entity_id: str) -> Idp | None:
        """One identity provider, whether it may enter or not."""
        with self._reading() as connection:
            if connection is None:
                return None
            about = _read_about(connection)
            if about is None or not self._usable(about):
                return None
            row = connection.execute(
                "SELECT name_fr, name_en, logo, scopes, sso_url, help_desk, hidden, valid_until,"
                " fresh_until, xml FROM idps JOIN documents USING (entity_id)"
                " WHERE entity_id = ? AND valid_until > ?",
                (entity_id, _now().timestamp()),
            ).fetchone()
        if row is None:
            return None
        fr, en, logo, scopes, sso_url, help_desk, hidden, valid_until, fresh_until, xml = row
        return Idp(
            entity_id=entity_id,
            name=Text(fr=fr, en=en),
            logo=logo,
            scopes=frozenset(scopes.split()),
            sso_url=sso_url,
            help_desk=tuple(json.loads(help_desk)),
            hidden=bool(hidden),
            valid_until=datetime.fromtimestamp(valid_until, UTC),
            fresh_until=datetime.fromtimestamp(fresh_until, UTC),
            xml=xml,
        )

    def search(
        self, text: str = "", language: str = "fr", *, limit: int = 20, offset: int = 0
    ) -> Found:
        """The institutions that may enter and whose names, keywords or scopes hold all words.

        First those where the words stand together, as they were written.
        """
        words = fold(text[:200]).split()[:10]
        where = " AND ".join(
            ["NOT hidden", "valid_until > ?", *("instr(folded, ?)" for _ in words)]
        )
        if self._rules.institutions or not self._rules.others_may_enter:
            where += " AND may_enter(entity_id, scopes)"
        order = "order_en" if language == "en" else "order_fr"
        values = [_now().timestamp(), *words, " " + " ".join(words)]
        with self._reading() as connection:
            about = _read_about(connection) if connection is not None else None
            if connection is None or about is None or not self._usable(about):
                return Found([], 0)
            connection.create_function(
                "may_enter",
                2,
                lambda entity_id, scopes: self._may_enter(entity_id, frozenset(scopes.split())),
                deterministic=True,
            )
            matching = [
                row[0]
                for row in connection.execute(
                    # made of our own words alone
                    f"SELECT entity_id FROM idps WHERE {where}"  # noqa: S608
                    f" ORDER BY instr(' ' || folded, ?) = 0, {order}, entity_id",
                    values,
                )
            ]
            rows = [
                connection.execute(
                    "SELECT entity_id, name_fr, name_en, logo"
                    " FROM idps JOIN documents USING (entity_id) WHERE entity_id = ?",
                    (entity_id,),
                ).fetchone()
                for entity_id in matching[max(0, offset) : max(0, offset) + max(0, limit)]
            ]
        return Found(
            [Listed(entity_id, Text(fr=fr, en=en), logo) for entity_id, fr, en, logo in rows],
            len(matching),
        )

    def load(self, file: Path) -> About:
        """Verify a signed document and put it in place of the stored copy.

        Raises `MetadataInvalid`, and the stored copy stays.
        """
        now = _now()
        signed = self._verify(file, now)
        with self._reading() as connection:
            before = _read_about(connection) if connection is not None else None
        if before is not None and self._usable(before):
            _check_age(signed, before.created, before.valid_until)
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="institutions-", dir=self._file.parent)
        os.close(handle)
        new = Path(name)
        try:
            with closing(sqlite3.connect(new, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = OFF")  # it is thrown away if it fails
                connection.execute("PRAGMA synchronous = OFF")
                connection.executescript(_SCHEMA)
                connection.execute("BEGIN")
                count = 0
                for idp, keywords in entities(file, signed):
                    count += _write(connection, idp, keywords, signed)
                if not count:
                    raise MetadataInvalid("there is no identity provider in it")
                about = About(
                    source=self.source,
                    fingerprint=signed.fingerprint,
                    valid_until=signed.valid_until,
                    created=signed.created,
                    loaded_at=now,
                    count=count,
                )
                _write_about(connection, about)
                connection.execute("COMMIT")
            with new.open("rb") as content:
                os.fsync(content.fileno())
            new.replace(self._file)
        finally:
            new.unlink(missing_ok=True)
        return about

    def learn(self, file: Path, entity_id: str, *, fresh_seconds: int) -> Idp:
        """Verify the signed document of one entity, as MDQ answers it, and add it to the others.

        It need not be asked for again for as long as it says, else `fresh_seconds`.
        Raises `MetadataInvalid`, also where it is the document of another entity or older.
        """
        now = _now()
        signed = self._verify(file, now)
        if signed.tag != f"{{{MD}}}EntityDescriptor":
            raise MetadataInvalid("it is not the document of one entity")
        found = next(entities(file, signed), None)
        if found is None:
            raise MetadataInvalid("it is not the document of an identity provider")
        idp, keywords = found
        if idp.entity_id != entity_id:
            raise MetadataInvalid("it is the document of another entity")
        fresh = timedelta(seconds=signed.cache_seconds or fresh_seconds)
        idp = replace(idp, fresh_until=min(now + fresh, idp.valid_until))
        with self._writing(signed.fingerprint) as connection:
            before = connection.execute(
                "SELECT created, ends FROM idps WHERE entity_id = ? AND valid_until > ?",
                (entity_id, now.timestamp()),
            ).fetchone()
            if before is not None:
                created, ends = (one and datetime.fromtimestamp(one, UTC) for one in before)
                _check_age(signed, created, ends)
            _delete(connection, entity_id)
            _write(connection, idp, keywords, signed)
            _count(connection)
        return idp

    def forget(self, entity_id: str) -> None:
        """Take out an entity that the federation (MDQ) does not know any more."""
        if self.about() is not None:
            with self._writing("") as connection:
                _delete(connection, entity_id)
                _count(connection)

    def _verify(self, file: Path, now: datetime) -> Signed:
        return signedmetadata.verify(
            file,
            fingerprints=self._rules.metadata.fingerprints,
            certificate_file=self._rules.metadata.certificate_file,
            now=now,
        )

    def _usable(self, about: About) -> bool:
        """Not expired, of the configured source, and signed by whom the configuration trusts."""
        return (
            about.source == self.source
            and about.fingerprint in self._rules.metadata.fingerprints
            and about.valid_until > _now()
        )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection of this call alone: the file may be another one at the next call."""
        if not self._file.exists():
            yield None
            return
        uri = f"{self._file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
            yield connection

    @contextmanager
    def _writing(self, fingerprint: str) -> Iterator[sqlite3.Connection]:
        """A connection to the copy that grows with each entity asked for (MDQ)."""
        if self.about() is None:
            self._file.unlink(missing_ok=True)
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._file, timeout=5, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                _write_about(
                    connection,
                    About(
                        source=self.source,
                        fingerprint=fingerprint,
                        valid_until=FOR_EVER,  # each entity has its own
                        created=None,
                        loaded_at=_now(),
                        count=0,
                    ),
                )
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def _check_age(signed: Signed, created: datetime | None, valid_until: datetime) -> None:
    """Refuse a document that is older than the copy in use. Raises `MetadataInvalid`.

    Where one of the two does not say when it was made, the dates when they end have to tell.
    """
    new, old = signed.created, created
    if new is None or old is None:
        new, old = signed.valid_until, valid_until
    if new < old:
        raise MetadataInvalid(
            f"it is older ({new:%Y-%m-%d %H:%M} UTC) "
            f"than the copy in use ({old:%Y-%m-%d %H:%M} UTC)"
        )


def source_of(metadata: settings.Metadata) -> str:
    """What a stored copy was made from: one of another source is of no use.

    With MDQ the fingerprints are part of it, as each entity may be signed by another certificate.
    """
    if metadata.mdq:
        return " ".join(["mdq", metadata.mdq, *sorted(metadata.fingerprints)])
    return f"url {metadata.url}" if metadata.url else f"file {metadata.file}"


def entities(file: Path, signed: Signed) -> Iterator[tuple[Idp, str]]:
    """The identity providers of a verified document, and the words to find each by.

    What cannot be used is passed over: no SAML 2.0, no HTTP-Redirect, expired.
    """
    entity, group = f"{{{MD}}}EntityDescriptor", f"{{{MD}}}EntitiesDescriptor"
    seen = 0
    depth = 0
    now = _now()
    for event, element in signedmetadata.parse(file, entity, group):
        depth += 1 if event == "start" else -1
        if event == "start":
            if depth > 1 and element.get("ID") == signed.id:
                raise MetadataInvalid("a part of it has the ID of the whole")
            continue
        if element.tag == entity:
            seen += 1
            if seen > _MOST_ENTITIES:
                raise MetadataInvalid(f"it has more than {_MOST_ENTITIES} entities")
            limits = [
                signedmetadata.instant(one.get("validUntil")) or datetime.min.replace(tzinfo=UTC)
                for one in (element, *element.iterancestors())
                if one.get("validUntil") is not None
            ]
            valid_until = min([signed.valid_until, *limits])
            if valid_until > now and (found := _read(element, valid_until)):
                yield found
        element.clear()
        parent = element.getparent()
        if parent is not None:
            parent.remove(element)


def _read(element: Any, valid_until: datetime) -> tuple[Idp, str] | None:
    entity_id = element.get("entityID") or ""
    roles = [
        role
        for role in element.findall(f"{{{MD}}}IDPSSODescriptor")
        if _SAMLP in (role.get("protocolSupportEnumeration") or "").split()
    ]
    if not roles or not entity_id or len(entity_id) > _LONGEST_ID or entity_id != _line(entity_id):
        return None
    sso_url = next(
        (
            service.get("Location")
            for role in roles
            for service in role.findall(f"{{{MD}}}SingleSignOnService")
            if service.get("Binding") == _REDIRECT and _sends_to(service.get("Location") or "")
        ),
        None,
    )
    xml = etree.tostring(element, with_tail=False)
    if sso_url is None or len(xml) > _LONGEST_ENTITY:
        return None
    extensions = [
        found for one in (element, *roles) if (found := one.find(f"{{{MD}}}Extensions")) is not None
    ]
    infos = [info for one in extensions for info in one.findall(f"{{{_MDUI}}}UIInfo")]
    names = _in_languages(one for info in infos for one in info.findall(f"{{{_MDUI}}}DisplayName"))
    names = names or _in_languages(
        element.iterfind(f"{{{MD}}}Organization/{{{MD}}}OrganizationDisplayName")
    )
    fallback = next(iter(names.values()), "") or urlsplit(entity_id).hostname or entity_id[:200]
    english = names.get("en", "")
    french = names.get("fr", "")
    name = Text(fr=french or english or fallback, en=english or french or fallback)
    scopes = frozenset(
        scope
        for one in extensions
        for found in one.findall(f"{{{_SHIBMD}}}Scope")
        if found.get("regexp", "false").strip() in {"false", "0"}
        and _SCOPE.fullmatch(scope := (found.text or "").strip().lower())
    )
    keywords = [
        (one.text or "").replace("+", " ")
        for info in infos
        for one in info.findall(f"{{{_MDUI}}}Keywords")
    ]
    idp = Idp(
        entity_id=entity_id,
        name=name,
        logo=_logo(one for info in infos for one in info.findall(f"{{{_MDUI}}}Logo")),
        scopes=scopes,
        sso_url=sso_url,
        help_desk=_help_desk(element),
        hidden=HIDE_FROM_DISCOVERY in _categories(extensions),
        valid_until=valid_until,
        fresh_until=valid_until,
        xml=xml,
    )
    return idp, fold(" ".join([*names.values(), name.fr, *keywords, *sorted(scopes)]))[:4000]


def _sends_to(url: str) -> bool:
    """Whether we may send a browser there: with TLS, or on this machine for trying out."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if len(url) > 2000 or not url.isascii() or not url.isprintable() or " " in url or not host:
        return False
    return parts.scheme == "https" or (
        parts.scheme == "http" and host in {"localhost", "127.0.0.1", "::1"}
    )


def _in_languages(elements: Any) -> dict[str, str]:
    """The first text of each language; `fr-FR` counts as `fr`."""
    texts: dict[str, str] = {}
    for element in elements:
        text = _line(element.text or "")
        if text:
            texts.setdefault((element.get(_LANG) or "").lower().split("-")[0], text)
    return texts


def _line(text: str) -> str:
    """One line for pages and logs: without control and direction characters, at most 200 long."""
    kept = "".join(
        " " if char.isspace() else char
        for char in text
        if char.isspace() or unicodedata.category(char)[0] != "C"
    )
    return " ".join(kept.split())[:200] if len(kept) < _LONGEST_ID * 4 else ""


def _logo(elements: Any) -> str:
    """The logo whose height is nearest to that of a line of our list."""

    def distance(element: Any) -> int:
        height = element.get("height") or ""
        return abs(int(height) - 40) if height.isdecimal() and len(height) < 5 else 10_000

    for element in sorted(elements, key=distance):
        url = "".join((element.text or "").split())
        if len(url) > _LONGEST_LOGO or not url.isascii() or not url.isprintable():
            continue
        if url.startswith("https://") and len(url) <= 2000:
            return url
        if re.fullmatch(r"data:image/(?:png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=]+", url):
            return url
    return ""


def _help_desk(element: Any) -> tuple[str, ...]:
    """The mail addresses of the support, else of the technical contacts."""
    for kind in ("support", "technical"):
        mails = [
            (mail.text or "").strip().removeprefix("mailto:")
            for contact in element.findall(f"{{{MD}}}ContactPerson")
            if contact.get("contactType") == kind
            for mail in contact.findall(f"{{{MD}}}EmailAddress")
        ]
        good = [mail for mail in mails if re.fullmatch(r"[\w.+-]{1,64}@[\w.-]{1,190}", mail)]
        if good:
            return tuple(dict.fromkeys(good))[:3]
    return ()


def _categories(extensions: list[Any]) -> set[str]:
    return {
        (value.text or "").strip()
        for one in extensions
        for attribute in one.findall(f"{{{_MDATTR}}}EntityAttributes/{{{_SAML}}}Attribute")
        if attribute.get("Name") == "http://macedir.org/entity-category"
        for value in attribute.findall(f"{{{_SAML}}}AttributeValue")
    }


def _delete(connection: sqlite3.Connection, entity_id: str) -> None:
    connection.execute("DELETE FROM idps WHERE entity_id = ?", (entity_id,))
    connection.execute("DELETE FROM documents WHERE entity_id = ?", (entity_id,))


def _count(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE about SET value = (SELECT count(*) FROM idps) WHERE name = 'count'")


def _write(connection: sqlite3.Connection, idp: Idp, keywords: str, signed: Signed) -> int:
    """1, or 0 where there is one of that name already: the first counts."""
    written = connection.execute(
        "INSERT OR IGNORE INTO idps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            idp.entity_id,
            idp.name.fr,
            idp.name.en,
            fold(idp.name.fr),
            fold(idp.name.en),
            keywords,
            " ".join(sorted(idp.scopes)),
            idp.hidden,
            idp.valid_until.timestamp(),
            idp.fresh_until.timestamp(),
            signed.valid_until.timestamp(),
            signed.created and signed.created.timestamp(),
        ),
    ).rowcount
    if written:
        connection.execute(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?)",
            (idp.entity_id, idp.logo, idp.sso_url, json.dumps(idp.help_desk), idp.xml),
        )
    return written


def _write_about(connection: sqlite3.Connection, about: About) -> None:
    connection.executemany(
        "INSERT INTO about VALUES (?, ?)",
        [
            (name, value.isoformat() if isinstance(value, datetime) else str(value))
            for name, value in {"format": _FORMAT, **asdict(about)}.items()
            if value is not None
        ],
    )


def _read_about(connection: sqlite3.Connection) -> About | None:
    """None for a file that is damaged, or of another version of ours."""
    with suppress(sqlite3.DatabaseError, KeyError, ValueError):
        values = dict(connection.execute("SELECT name, value FROM about"))
        if values["format"] != _FORMAT:
            return None
        return About(
            source=values["source"],
            fingerprint=values["fingerprint"],
            valid_until=datetime.fromisoformat(values["valid_until"]),
            created=signedmetadata.instant(values.get("created")),
            loaded_at=datetime.fromisoformat(values["loaded_at"]),
            count=int(values["count"]),
        )
    return None


def _now() -> datetime:
    return datetime.now(UTC)
