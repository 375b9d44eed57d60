"""`mydocker-hub check`: what an operator looks at before people do, and when they complain."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509

from .federation import signedmetadata, sp
from .federation.refresh import folder_of, read_status
from .identity.settings import Place, SignInSettings

_TIMEOUT_SECONDS = 10
_LARGEST_ANSWER = 1024 * 1024
_SOON = timedelta(days=30)
_STALE = timedelta(hours=24)
_CLOCK_SHARE = 2  # complain at half of what is tolerated


class Line(NamedTuple):
    """One finding: all is well, or what to do."""

    good: bool
    text: str


def check(place: Place, now: datetime) -> Iterator[Line]:
    """All findings, one after the other; asks the providers over the network."""
    settings = place.settings
    if settings.federation is not None:
        yield from _federation(place, now)
    for provider in settings.openid:
        yield from _secret(provider.client_secret_file, provider.name)
        yield from _discovery(provider.name, provider.issuer)
    yield from _clock(settings, now)


def _federation(place: Place, now: datetime) -> Iterator[Line]:
    try:
        yield Line(True, f"xmlsec1 is {signedmetadata.xmlsec1()}")
    except ValueError as error:
        yield Line(False, str(error))
        return
    keys = sp.open_keys(place)
    for pair in (keys.current.signing, keys.current.encryption):
        certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        left = certificate.not_valid_after_utc - now
        text = f"our certificate {pair.certificate.name} ends on {_day(now + left)}"
        yield Line(left > _SOON, text)
    status = read_status(folder_of(place))
    if status is None:
        yield Line(
            False, "the federation's metadata were never read: start the hub, then look again"
        )
        return
    if status.error:
        yield Line(False, f"the federation's metadata, last try {status.last_try}: {status.error}")
    if status.last_success:
        age = now - datetime.fromisoformat(status.last_success)
        yield Line(
            age < _STALE,
            f"{status.count} institutions, read on {status.last_success}"
            + (f", valid until {status.valid_until}" if status.valid_until else ""),
        )


def _secret(path: Path, name: str) -> Iterator[Line]:
    try:
        mode = path.stat().st_mode & 0o077
    except OSError as error:
        yield Line(False, f"{name}: {path} cannot be read ({type(error).__name__})")
        return
    if mode:
        yield Line(False, f"{name}: others can read {path}: chmod 600 {path}")
    else:
        yield Line(True, f"{name}: {path} is for its owner alone")


def _discovery(name: str, issuer: str) -> Iterator[Line]:
    url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        body, _ = _get(url)
        found: Any = json.loads(body)["issuer"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Line(False, f"{name}: {url} does not answer as it should ({type(error).__name__})")
        return
    if found != issuer:
        yield Line(False, f"{name}: its issuer is {found}: write that in sign-in.yaml")
    else:
        yield Line(True, f"{name}: {issuer} answers")


def _clock(settings: SignInSettings, now: datetime) -> Iterator[Line]:
    """Our clock against those of the servers that we work with, by the Date of their answers."""
    urls = [provider.issuer for provider in settings.openid]
    urls += [provider.url for provider in settings.cas]
    if settings.federation is not None:
        metadata = settings.federation.metadata
        urls += [url for url in (metadata.url, metadata.mdq) if url]
    offsets = []
    for url in urls:
        before = datetime.now(UTC)
        try:
            _, date = _get(url, head=True)
        except (OSError, ValueError):
            continue
        if date is not None:
            offsets.append(date - before)
    if not offsets:
        yield Line(True, f"our clock says {now:%Y-%m-%d %H:%M:%S} UTC; nobody to compare it with")
        return
    offsets.sort()
    middle = offsets[len(offsets) // 2].total_seconds()
    limit = settings.clock_tolerance_seconds / _CLOCK_SHARE
    way = "behind" if middle > 0 else "ahead of"
    text = f"our clock is {abs(middle):.0f} s {way} those of the providers"
    if abs(middle) >= limit:
        text += ": set this machine to automatic time (timedatectl set-ntp true)"
    yield Line(abs(middle) < limit, text)


def _get(url: str, *, head: bool = False) -> tuple[bytes, datetime | None]:
    """Body and Date of an answer, whatever its status where only the Date is wanted."""
    request = urllib.request.Request(url, method="HEAD" if head else "GET")  # noqa: S310 - http(s)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
            return answer.read(_LARGEST_ANSWER), _date(answer.headers.get("Date"))
    except urllib.error.HTTPError as error:
        if head:
            return b"", _date(error.headers.get("Date"))
        raise


def _date(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text) if text else None
    except ValueError:
        return None


def _day(when: datetime) -> str:
    return f"{when:%Y-%m-%d}"
