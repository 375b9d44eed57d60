"""LTI platforms, the links by which they register themselves, and our own signing keys."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..domain.errors import Conflict, Invalid, NotFound
from ..identity.platform import KnownPlatform, Platform, PlatformStatus
from ..seal import Seal
from . import people
from .editing import audit
from .tables import AuditRow, IdentityRow, PlatformRow, RegistrationLinkRow, ToolKeyRow

LINK_LASTS = timedelta(hours=24)

OLD_KEY_SHOWN = timedelta(days=30)
"""How long a key that no longer signs stays in the JWKS: answers under way, platforms' caches."""

_KEY_SIZE = 2048  # what LTI platforms read, Moodle's among them


@dataclass(frozen=True)
class Kept:
    """A platform as it is stored; `people` counts the identities that came by it."""

    platform: Platform
    version: int
    created_at: datetime
    last_launch_at: datetime | None
    people: int = 0


# --- platforms -----------------------------------------------------------------------------------


def platforms(session: Session) -> list[Kept]:
    """All of them; those that wait for an administrator first, then by name."""
    rows = session.scalars(select(PlatformRow))
    kept = [_kept(row) for row in rows]
    waiting = PlatformStatus.PENDING
    return sorted(
        kept, key=lambda one: (one.platform.status is not waiting, one.platform.name.casefold())
    )


def platform(session: Session, platform_id: int) -> Kept:
    """One of them. Raises `NotFound`."""
    row = _row(session, platform_id)
    count = session.scalar(
        select(func.count())
        .select_from(IdentityRow)
        .where(IdentityRow.provider == _platform(row).provider)
    )
    return _kept(row, count or 0)


def find(
    session: Session, *, version: str, issuer: str, client_id: str, seal: Seal
) -> list[KnownPlatform]:
    """Platforms of an issuer (1.3, of one client where `client_id` is given) or of a key (1.1)."""
    query = select(PlatformRow)
    if version == "1.1":
        query = query.where(PlatformRow.issuer == "", PlatformRow.client_id == client_id)
    elif not issuer:
        return []
    else:
        query = query.where(PlatformRow.issuer == issuer)
        if client_id:
            query = query.where(PlatformRow.client_id == client_id)
    return [
        KnownPlatform(
            platform=_platform(row),
            secret=SecretStr(str(seal.open(row.sealed_secret) or "") if row.sealed_secret else ""),
        )
        for row in session.scalars(query.order_by(PlatformRow.id))
    ]


def same_issuer(session: Session, one: Platform) -> list[Kept]:
    """The other platforms that say to be the same issuer."""
    if not one.issuer:
        return []
    rows = session.scalars(
        select(PlatformRow).where(PlatformRow.issuer == one.issuer, PlatformRow.id != one.id)
    )
    return [_kept(row) for row in rows]


def create(
    session: Session, new: Platform, actor: str, now: datetime, *, seal: Seal, secret: str = ""
) -> Kept:
    """Add a platform; `secret` is LTI 1.1's. Raises `Conflict` where it is known: nothing of what
    is there is ever overwritten."""
    row = PlatformRow(
        id=_new_id(session),
        issuer=new.issuer,
        client_id=new.client_id,
        sealed_secret=seal.close(secret) if secret else "",
        version=1,
        created_at=now,
    )
    _write(row, new, now)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        raise Conflict("platform-known-already", issuer=new.issuer or new.client_id) from None
    _audit(session, actor, "platform-created", row, now, definition=row.definition)
    return _kept(row)


def edit(
    session: Session, changed: Platform, expected_version: int, actor: str, now: datetime
) -> Kept:
    """Replace what is known of a platform. Raises `Conflict` if somebody else changed it meanwhile.

    What people are known by (the issuer; with LTI 1.1 the consumer key) never changes.
    """
    row = _row(session, changed.id, expected_version)
    before = _platform(row)
    key = (before.client_id, changed.client_id) if before.version == "1.1" else ("", "")
    if (changed.version, changed.issuer, key[1]) != (before.version, before.issuer, key[0]):
        raise Invalid(
            problems=[("issuer", "people are known by it: register another platform instead")]
        )
    if changed == before:
        return _kept(row)
    row.version += 1
    row.client_id = changed.client_id
    _write(row, changed, now)
    try:
        session.flush()
    except IntegrityError:
        raise Conflict("platform-known-already", issuer=changed.issuer) from None
    differences = {
        name: value
        for name, value in row.definition.items()
        if value != before.model_dump(mode="json").get(name)
    }
    _audit(session, actor, "platform-changed", row, now, changed=differences)
    people.platform_changed(session, changed, now)
    return _kept(row)


def new_secret(
    session: Session, platform_id: int, expected_version: int, actor: str, now: datetime, seal: Seal
) -> str:
    """A new secret for a platform of LTI 1.1; the one before opens nothing any more."""
    row = _row(session, platform_id, expected_version)
    if _platform(row).version != "1.1":
        raise NotFound()
    secret = secrets.token_urlsafe(32)
    row.sealed_secret = seal.close(secret)
    row.version += 1
    row.updated_at = now
    _audit(session, actor, "platform-secret-changed", row, now)
    return secret


def remove(
    session: Session, platform_id: int, expected_version: int, actor: str, now: datetime
) -> None:
    """Remove a platform with its courses. Who came by it keeps their account and identities."""
    row = _row(session, platform_id, expected_version)
    _audit(session, actor, "platform-deleted", row, now, definition=row.definition)
    people.platform_changed(session, _platform(row), now, deleted=True)
    session.delete(row)


def mark_launched(session: Session, platform_id: int, now: datetime) -> None:
    """Somebody came from a platform."""
    session.execute(
        update(PlatformRow).where(PlatformRow.id == platform_id).values(last_launch_at=now)
    )


def _new_id(session: Session) -> int | None:
    """An id that no platform ever had: identities and the audit log name platforms by it.

    None where the database sees to it; SQLite gives out the id of a last row that was deleted.
    """
    if session.get_bind().dialect.name != "sqlite":
        return None
    names = [
        *session.scalars(
            select(IdentityRow.provider).distinct().where(IdentityRow.provider.like("lti-%"))
        ),
        *session.scalars(select(AuditRow.subject).where(AuditRow.action == "platform-created")),
    ]
    used = [int(name[4:]) for name in names if name[4:].isdigit()]
    return max([session.scalar(select(func.max(PlatformRow.id))) or 0, *used]) + 1


def _row(session: Session, platform_id: int, expected_version: int | None = None) -> PlatformRow:
    row = session.scalar(
        select(PlatformRow).where(PlatformRow.id == platform_id).with_for_update()
        if expected_version is not None
        else select(PlatformRow).where(PlatformRow.id == platform_id)
    )
    if row is None:
        raise NotFound()
    if expected_version is not None and row.version != expected_version:
        raise Conflict("changed-meanwhile")
    return row


def _write(row: PlatformRow, definition: Platform, now: datetime) -> None:
    row.status = definition.status
    row.definition = definition.model_dump(mode="json", exclude={"id"})
    row.updated_at = now


def _platform(row: PlatformRow) -> Platform:
    return Platform.model_validate({**row.definition, "id": row.id})


def _kept(row: PlatformRow, people: int = 0) -> Kept:
    return Kept(
        platform=_platform(row),
        version=row.version,
        created_at=row.created_at,
        last_launch_at=row.last_launch_at,
        people=people,
    )


def _audit(
    session: Session, actor: str, action: str, row: PlatformRow, now: datetime, **detail: Any
) -> None:
    session.flush()  # a new one has its id then
    audit(session, actor, action, f"lti-{row.id}", now, **detail)


# --- registration links --------------------------------------------------------------------------


@dataclass(frozen=True)
class OpenLink:
    """A registration link that was not used; `digest` names it, and opens nothing."""

    digest: str
    label: str
    made_by: str
    expires_at: datetime


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def make_link(
    session: Session, label: str, actor: str, now: datetime, *, private: bool = False
) -> str:
    """The key of a new registration link (160 bits), which is told this once.

    `private` lets the platform be on loopback or a private network. The first letter of the key
    says so: as only a digest is kept, nobody can change it.
    """
    key = ("p" if private else "o") + secrets.token_hex(20)
    row = RegistrationLinkRow(
        digest=digest_of(key), label=label, made_by=actor, made_at=now, expires_at=now + LINK_LASTS
    )
    session.add(row)
    audit(session, actor, "registration-link-made", row.digest[:12], now, label=label)
    return key


def is_private(key: str) -> bool:
    """Whether the link of this key is for a platform on a private network."""
    return key.startswith("p")


def open_links(session: Session, now: datetime) -> list[OpenLink]:
    rows = session.scalars(
        select(RegistrationLinkRow)
        .where(RegistrationLinkRow.used_at.is_(None), RegistrationLinkRow.expires_at > now)
        .order_by(RegistrationLinkRow.made_at)
    )
    return [OpenLink(row.digest, row.label, row.made_by, row.expires_at) for row in rows]


def withdraw_link(session: Session, digest: str, actor: str, now: datetime) -> None:
    """Withdraw a link that was not used. Raises `NotFound`."""
    changed = session.execute(
        delete(RegistrationLinkRow).where(
            RegistrationLinkRow.digest == digest, RegistrationLinkRow.used_at.is_(None)
        )
    )
    if not changed.rowcount:  # type: ignore[attr-defined]
        raise NotFound("registration-link-used")
    audit(session, actor, "registration-link-withdrawn", digest[:12], now)


def check_link(session: Session, key: str, now: datetime) -> None:
    """Raise `NotFound` where a link cannot be used now."""
    row = session.get(RegistrationLinkRow, digest_of(key))
    if row is None or row.used_at is not None or row.expires_at <= now:
        raise NotFound("registration-link-used")


def take_link(session: Session, key: str, now: datetime) -> str:
    """Use a link: of two who try at once, one gets it. Its label. Raises `NotFound`."""
    taken = session.execute(
        update(RegistrationLinkRow)
        .where(
            RegistrationLinkRow.digest == digest_of(key),
            RegistrationLinkRow.used_at.is_(None),
            RegistrationLinkRow.expires_at > now,
        )
        .values(used_at=now)
    )
    if taken.rowcount != 1:  # type: ignore[attr-defined]
        raise NotFound("registration-link-used")
    return session.get_one(RegistrationLinkRow, digest_of(key)).label


def give_link_back(session: Session, key: str, host: str, code: str, now: datetime) -> None:
    """A registration came to nothing: the link can be used again, within its time."""
    session.execute(
        update(RegistrationLinkRow)
        .where(
            RegistrationLinkRow.digest == digest_of(key),
            RegistrationLinkRow.platform_id.is_(None),
        )
        .values(used_at=None)
    )
    audit(
        session, "", "registration-failed", digest_of(key)[:12], now, platform=host[:255], code=code
    )


def register(session: Session, key: str, new: Platform, now: datetime, *, seal: Seal) -> Kept:
    """Store a platform that registered itself by a link that was taken; it waits for approval."""
    link = session.get_one(RegistrationLinkRow, digest_of(key))
    waiting = new.model_copy(update={"id": 0, "status": PlatformStatus.PENDING})
    kept = create(session, waiting, f"link {link.digest[:12]} of {link.made_by}", now, seal=seal)
    link.platform_id = kept.platform.id
    return kept


# --- our signing keys ----------------------------------------------------------------------------


@dataclass(frozen=True)
class ToolKey:
    """A key pair of ours; `public` is its JWK (RFC 7517)."""

    kid: str
    private_pem: str = field(repr=False)
    public: dict[str, Any]


@dataclass(frozen=True)
class ShownKey:
    kid: str
    made_at: datetime
    retired_at: datetime | None


def new_tool_key() -> ToolKey:
    """A new RSA key pair. It takes some tenths of a second: not on an event loop."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_SIZE)
    kid = secrets.token_hex(8)
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = {"kty": jwk["kty"], "n": jwk["n"], "e": jwk["e"]}
    return ToolKey(kid, pem.decode(), {**public, "kid": kid, "alg": "RS256", "use": "sig"})


def signing_key(session: Session, now: datetime, seal: Seal) -> ToolKey:
    """The key that signs now; the first one is made here. It writes."""
    for row in _rows_of_keys(session):
        if row.retired_at is None:
            found = _opened(row, seal)
            if found is not None:  # else it was sealed under a secret that was changed since
                return found
    return _add_key(session, "", now, seal)


def jwks(session: Session, now: datetime, seal: Seal) -> dict[str, Any]:
    """The public keys that platforms may meet, those that no longer sign among them."""
    found = [
        _opened(row, seal)
        for row in _rows_of_keys(session)
        if row.retired_at is None or row.retired_at > now - OLD_KEY_SHOWN
    ]
    return {"keys": [key.public for key in found if key is not None]}


def tool_keys(session: Session, now: datetime) -> list[ShownKey]:
    """Those that are in the JWKS, the newest first."""
    return [
        ShownKey(row.kid, row.made_at, row.retired_at)
        for row in _rows_of_keys(session)
        if row.retired_at is None or row.retired_at > now - OLD_KEY_SHOWN
    ]


def rotate(session: Session, actor: str, now: datetime, seal: Seal) -> str:
    """Sign with a new key from now on; the ones before stay in the JWKS for a while. Its kid."""
    for row in _rows_of_keys(session):
        if row.retired_at is None:
            row.retired_at = now
    return _add_key(session, actor, now, seal).kid


def drop_key(session: Session, kid: str, actor: str, now: datetime) -> None:
    """Take a key that no longer signs out of the JWKS at once. Raises `NotFound`."""
    row = session.get(ToolKeyRow, kid)
    if row is None or row.retired_at is None:
        raise NotFound()
    session.delete(row)
    audit(session, actor, "tool-key-dropped", kid, now)


def _rows_of_keys(session: Session) -> list[ToolKeyRow]:
    query = select(ToolKeyRow).order_by(ToolKeyRow.made_at.desc(), ToolKeyRow.kid)
    return list(session.scalars(query))


def _add_key(session: Session, actor: str, now: datetime, seal: Seal) -> ToolKey:
    key = new_tool_key()
    sealed = seal.close({"private": key.private_pem, "public": key.public})
    session.add(ToolKeyRow(kid=key.kid, sealed_key=sealed, made_at=now))
    session.flush()
    audit(session, actor, "tool-key-made", key.kid, now)
    return key


def _opened(row: ToolKeyRow, seal: Seal) -> ToolKey | None:
    value = seal.open(row.sealed_key)
    if value is None:
        return None
    return ToolKey(row.kid, value["private"], value["public"])
