"""Our own keys and certificates of SAML: made at first start, changed without anybody noticing.

A change takes three steps with days between them, as identity providers read our metadata when they
like: the next keys are shown beside those in use (`prepare_next`), then used (`use_next`), and what
was used before can still decrypt until it is forgotten (`forget_old`).

The certificates only carry the keys; nothing else of them means anything (SAML V2.0 Metadata
Interoperability Profile §2.6.1).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from ..domain.errors import Invalid

BITS = 3072
_LASTS = timedelta(days=3653)
_USES = ("signing", "encryption")


@dataclass(frozen=True)
class Pair:
    """A private key and its certificate, both PEM files."""

    key: Path
    certificate: Path

    def certificate_der(self) -> bytes:
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        return certificate.public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True)
class Pairs:
    """What one set of keys holds."""

    signing: Pair
    encryption: Pair


@dataclass(frozen=True)
class Keys:
    """All sets: that in use, that to come, and that of before."""

    current: Pairs
    next: Pairs | None
    old: Pairs | None

    @property
    def shown(self) -> tuple[Pairs, ...]:
        """Those whose certificates are in our metadata."""
        return tuple(pairs for pairs in (self.current, self.next) if pairs)

    @property
    def decrypting(self) -> tuple[Pair, ...]:
        return tuple(pairs.encryption for pairs in (self.current, self.next, self.old) if pairs)


def open_keys(folder: Path, hub_url: str) -> Keys:
    """The keys in `folder`; where there are none yet, they are made, in a second or two."""
    if not _set(folder, "current"):
        if following := _set(folder, "next"):  # a change was interrupted: finish it
            _rename(following, folder / "current")
        else:
            _make(folder, "current", hub_url)
    return Keys(
        current=_pairs(folder / "current"),
        next=_pairs(path) if (path := _set(folder, "next")) else None,
        old=_pairs(path) if (path := _set(folder, "old")) else None,
    )


def prepare_next(folder: Path, hub_url: str) -> None:
    """Make the next keys, which our metadata then show beside those in use. Raises `Invalid`."""
    open_keys(folder, hub_url)
    if _set(folder, "next"):
        raise Invalid(detail="there are next keys already")
    _make(folder, "next", hub_url)


def use_next(folder: Path) -> None:
    """Sign with the next keys from now on. Raises `Invalid` where none were prepared, or those of
    the change before were not forgotten yet."""
    if not _set(folder, "next"):
        raise Invalid(detail="no next keys were prepared")
    if _set(folder, "old"):
        raise Invalid(detail="forget the old keys first")
    (folder / "current").rename(folder / "old")
    _rename(folder / "next", folder / "current")


def forget_old(folder: Path) -> None:
    """Delete the keys that were used before. Raises `Invalid`."""
    if not _set(folder, "old"):
        raise Invalid(detail="there are no old keys")
    shutil.rmtree(folder / "old")


def _set(folder: Path, name: str) -> Path | None:
    path = folder / name
    return path if path.is_dir() else None


def _rename(source: Path, target: Path) -> None:
    """Rename a set, unless another process of ours has just done so."""
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _pairs(folder: Path) -> Pairs:
    signing, encryption = (Pair(folder / f"{use}.key", folder / f"{use}.crt") for use in _USES)
    return Pairs(signing=signing, encryption=encryption)


def _make(folder: Path, name: str, hub_url: str) -> None:
    """Make a set beside its place first: a set is there whole, or not at all."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:  # mode 0700
        new = Path(made) / name
        new.mkdir(mode=0o700)
        for use in _USES:
            key, certificate = _make_pair(hub_url)
            _write(new / f"{use}.key", key)
            _write(new / f"{use}.crt", certificate)
        _rename(new, folder / name)


def _make_pair(hub_url: str) -> tuple[bytes, bytes]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    host = (urlsplit(hub_url).hostname or "mydocker_hub")[:64]  # RFC 5280: ub-common-name
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # for clocks that are behind ours
        .not_valid_after(now + _LASTS)
        .sign(key, hashes.SHA256())
    )
    return (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificate.public_bytes(serialization.Encoding.PEM),
    )


def _write(file: Path, content: bytes) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(content)
