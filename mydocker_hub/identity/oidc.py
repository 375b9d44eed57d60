"""ID tokens of OpenID Connect Core 1.0: signature, claims, and the person they name.

No network and no clock: keys and the time are handed in. Only asymmetric signatures are taken, of
a key whose kind fits the algorithm, so that a public key is never used as a shared secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ..domain.errors import N_, Refused
from . import clock
from .attributes import claims_of, is_line
from .claims import Claims, Door
from .settings import OpenIdProvider

MAX_TOKEN_CHARACTERS = 100_000
_MAX_KEYS = 100
_MIN_RSA_BITS = 2048

_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", *_CURVES})

REASONS = {
    "access_denied": N_("it was refused there, or cancelled"),
    "login_required": N_("nobody is signed in there"),
    "interaction_required": N_("it wants to ask you something first"),
    "account_selection_required": N_("it wants you to choose an account first"),
    "consent_required": N_("you did not agree there that your name is passed on"),
    "temporarily_unavailable": N_("it is overloaded or under maintenance"),
    "server_error": N_("something went wrong there"),
    "invalid_grant": N_("what it sent was used already, or is too old"),
    "invalid_client": N_("this service is not registered there as it should be"),
    "unauthorized_client": N_("this service is not registered there as it should be"),
    "invalid_request": N_("it did not understand what this service asked"),
    "invalid_scope": N_("it does not pass on what this service asks for"),
    "unsupported_response_type": N_("it did not understand what this service asked"),
    "unsupported_grant_type": N_("it did not understand what this service asked"),
}
"""The errors of RFC 6749 §4.1.2.1 and §5.2 and of OpenID Connect Core §3.1.2.6, in words."""

NO_REASON = N_("it gave no reason")


def reason(error: object) -> str:
    """An error of a provider in words, untranslated; its own word where it is short and plain."""
    if not isinstance(error, str):
        return NO_REASON
    known = REASONS.get(error)
    return known or (error if re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", error) else NO_REASON)


# --- keys and signature --------------------------------------------------------------------------


class UnknownKey(Exception):
    """No key that we know made this signature: the provider may have new ones."""


@dataclass(frozen=True)
class SigningKey:
    """A public key of a provider; `alg` is empty where it says of none what it is for."""

    kid: str | None
    alg: str
    key: RSAPublicKey | EllipticCurvePublicKey

    def fits(self, algorithm: str) -> bool:
        if self.alg and self.alg != algorithm:
            return False
        if algorithm in _CURVES:
            return (
                isinstance(self.key, EllipticCurvePublicKey)
                and self.key.curve.name == _CURVES[algorithm]
            )
        return isinstance(self.key, RSAPublicKey) and self.key.key_size >= _MIN_RSA_BITS


def signing_keys(document: Any) -> tuple[SigningKey, ...]:
    """The keys of a JWK set (RFC 7517 §5); those of another use or kind are left out."""
    listed = document.get("keys") if isinstance(document, dict) else None
    found = []
    for entry in listed[:_MAX_KEYS] if isinstance(listed, list) else ():
        if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC"):
            continue
        if entry.get("use", "sig") != "sig" or "d" in entry:
            continue
        kid, alg = entry.get("kid"), entry.get("alg", "")
        if not isinstance(kid, str | None) or not isinstance(alg, str):
            continue
        if alg and alg not in ALGORITHMS:
            continue
        try:
            key = jwt.PyJWK(entry).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
            continue
        if isinstance(key, RSAPublicKey | EllipticCurvePublicKey):
            found.append(SigningKey(kid, alg, key))
    return tuple(found)


@dataclass(frozen=True)
class Verified:
    """An ID token whose signature is right; its claims are still to be checked."""

    algorithm: str
    claims: Mapping[str, Any]


def verify(token: object, keys: Sequence[SigningKey], provider: OpenIdProvider) -> Verified:
    """Check the signature of an ID token (RFC 7515 §5.2).

    Raises `Refused`, and `UnknownKey` where none of `keys` has made the signature.
    """
    if not isinstance(token, str) or len(token) > MAX_TOKEN_CHARACTERS:
        raise _invalid(provider, "no ID token, or one beyond all measure")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise _invalid(provider, f"no signed token: {type(error).__name__}") from error
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS or "crit" in header:
        raise _invalid(provider, f"algorithm {algorithm!r:.40}")
    fitting = [key for key in keys if key.fits(algorithm) and kid in (None, key.kid)]
    if not fitting:
        raise UnknownKey
    if kid is None and len(fitting) > 1:  # OpenID Connect Core §10.1
        raise _invalid(provider, "several keys and no kid")
    for key in fitting:
        try:
            payload = jwt.PyJWS().decode(token, key.key, algorithms=[algorithm])
        except (jwt.PyJWTError, ValueError):
            continue
        return Verified(algorithm, _object(payload, provider))
    raise UnknownKey  # the provider may have a new one under the same name


def _object(payload: bytes, provider: OpenIdProvider) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise _invalid(provider, "the payload is no JSON object")
    return claims


# --- claims --------------------------------------------------------------------------------------


class Checked(NamedTuple):
    """Whom an ID token names, and how far its issuer's clock is ahead of ours."""

    subject: str
    ahead: timedelta


def check(
    verified: Verified,
    provider: OpenIdProvider,
    *,
    nonce: str,
    access_token: str,
    began_at: datetime,
    now: datetime,
    tolerance: timedelta,
) -> Checked:
    """Whether an ID token is right (OpenID Connect Core §3.1.3.7). Raises `Refused`.

    It answers the attempt that began at `began_at` with `nonce`. What is wrong with its times is
    said last, in words for the person: before that it may be anybody's message.
    """
    claims = verified.claims
    if claims.get("iss") != provider.issuer:
        raise _invalid(provider, f"iss {claims.get('iss')!r:.200}")
    _check_audience(claims, provider)
    said = claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
        raise _invalid(provider, "nonce")
    at_hash = claims.get("at_hash")
    if at_hash is not None and at_hash != _left_half(verified.algorithm, access_token):
        raise _invalid(provider, "at_hash")
    ahead = _check_times(claims, provider, began_at=began_at, now=now, tolerance=tolerance)
    return Checked(_subject(claims, provider), ahead)


def _check_audience(claims: Mapping[str, Any], provider: OpenIdProvider) -> None:
    audience = claims.get("aud")
    listed = [audience] if isinstance(audience, str) else audience
    if not isinstance(listed, list) or provider.client_id not in listed:
        raise _not_for_us(provider, f"aud {audience!r:.200}")
    authorized = claims.get("azp")
    if authorized is None and len(listed) > 1:
        raise _not_for_us(provider, "several audiences and no azp")
    if authorized is not None and authorized != provider.client_id:
        raise _not_for_us(provider, f"azp {authorized!r:.200}")


def _check_times(
    claims: Mapping[str, Any],
    provider: OpenIdProvider,
    *,
    began_at: datetime,
    now: datetime,
    tolerance: timedelta,
) -> timedelta:
    issued, ends = _instant(claims.get("iat")), _instant(claims.get("exp"))
    if issued is None or ends is None:
        raise _invalid(provider, "iat or exp is missing, or no time")
    begins = _instant(claims["nbf"]) if "nbf" in claims else None
    times = clock.Times(issued=issued, not_before=begins, not_on_or_after=ends)
    if ("nbf" in claims and begins is None) or not times.make_sense:
        raise _invalid(provider, "nbf is no time, or after exp")
    return clock.check(times, now=now, tolerance=tolerance, provider=provider.title, asked=began_at)


def _instant(value: Any) -> datetime | None:
    """A NumericDate (RFC 7519 §2) of the years that a clock may show."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value) or not 0 <= value < 250_000_000_000:
        return None
    return datetime.fromtimestamp(value, UTC)


def _left_half(algorithm: str, access_token: str) -> str:
    """The `at_hash` of an access token (OpenID Connect Core §3.1.3.6)."""
    digest = hashlib.new(f"sha{algorithm[2:]}", access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def _subject(claims: Mapping[str, Any], provider: OpenIdProvider) -> str:
    subject = claims.get("sub")
    if subject in (None, ""):
        raise Refused("sign-in-no-identifier", provider=provider.title, attributes="sub")
    if not isinstance(subject, str) or not is_line(subject, 255) or subject.strip() != subject:
        raise _invalid(provider, "sub is not a text of 1 to 255 characters")
    return subject


def check_userinfo(userinfo: Mapping[str, Any], subject: str, provider: OpenIdProvider) -> None:
    """Whether the userinfo endpoint spoke of the same person (§5.3.2). Raises `Refused`."""
    if userinfo.get("sub") != subject:
        raise _invalid(provider, "sub of userinfo is another")


def claims(
    provider: OpenIdProvider,
    subject: str,
    id_token: Mapping[str, Any],
    userinfo: Mapping[str, Any],
) -> Claims:
    """What was said of a person; what the userinfo endpoint says goes before the ID token."""
    return claims_of(
        provider,
        {**id_token, **userinfo},
        door=Door.OIDC,
        issuer=provider.issuer,
        identifier=("sub", subject),
    )


def _invalid(provider: OpenIdProvider, log_detail: str) -> Refused:
    return Refused("sign-in-message-invalid", provider=provider.title, log_detail=log_detail)


def _not_for_us(provider: OpenIdProvider, log_detail: str) -> Refused:
    return Refused("sign-in-not-for-us", provider=provider.title, log_detail=log_detail)
