"""Checks a SAML response: from the form that a browser posted to verified claims.

The pre-screen looks first, pysaml2 checks the signatures and decrypts, and what it verified is
checked once more here, where each refusal has its words. `xmlsec1` runs two to four times for each
answer, so that all of it happens in a few threads of its own.
"""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from saml2 import saml
from saml2.config import SPConfig
from saml2.response import AuthnResponse
from saml2.sigver import CryptoBackendXmlSec1, XmlsecError, security_context

from ..domain.environment import Text
from ..domain.errors import MydockerError, Refused, Unavailable
from ..identity import clock
from ..identity.claims import Claims
from ..identity.saml import reason, told
from . import sp
from .attributes import NAMES
from .metadata import Idp, MetadataStore
from .prescreen import Envelope, decode, prescreen, prescreen_decrypted
from .refresh import Federation, Site, folder_of, rules_of

log = logging.getLogger("mydocker_hub.federation")

# It would write whole assertions into the log.
logging.getLogger("saml2").setLevel(logging.CRITICAL)

_ASKING_THREADS = 2
_CHECKING_THREADS = 4
_MOST_WAITING = 500
_XMLSEC_SECONDS = 10
_ANY_TIME_SECONDS = 100 * 366 * 86400  # of pysaml2's own tolerance: the times are judged here
_LONGEST_MEMORY = timedelta(days=1)

_REQUEST_ID = re.compile(r"_([0-9a-f]{32})([0-9a-f]{8})")

T = TypeVar("T")


@dataclass(frozen=True)
class Verified:
    """An answer that holds. `skew` is how far the issuer's clock is ahead of ours.

    `remember` is how long its assertion could be sent again.
    """

    claims: Claims
    in_response_to: str
    assertion_id: str
    issuer: str
    skew: timedelta
    remember: timedelta


def request_id(attempt_id: str, began_at: float) -> str:
    """The ID of the request of an attempt (32 hexadecimal digits); an xs:ID.

    It carries when we asked, so that a page left open and a wrong clock are told apart. Nothing
    else depends on that: who could change it could only change the words.
    """
    return f"_{attempt_id}{int(began_at):08x}"


def attempt_of(in_response_to: str) -> str:
    """The id of the attempt that was answered; empty where it was none of ours."""
    match = _REQUEST_ID.fullmatch(in_response_to)
    return match.group(1) if match else ""


def _asked(in_response_to: str) -> datetime | None:
    match = _REQUEST_ID.fullmatch(in_response_to)
    return datetime.fromtimestamp(int(match.group(2), 16), UTC) if match else None


class Responses:
    """Asks and checks what was answered, several at once, off the loop. One in each hub."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._site = federation.site
        self._acs = sp.acs_url(self._site)
        self._title = rules_of(self._site).title
        # Apart, so that nobody waits for others' answers before they are even sent on.
        self._asking = _Queue(_ASKING_THREADS)
        self._checking = _Queue(_CHECKING_THREADS)

    async def login_request(self, idp: Idp, request_id: str, *, force: bool = False) -> str:
        """Where to send a browser that wants to sign in at `idp`. Raises `Unavailable`."""
        return await self._asking.run(
            idp.name, sp.login_request, self._federation, idp, request_id, force
        )

    async def check(self, sent: str) -> Verified:
        """Verify the form field `SAMLResponse`. Raises `Refused`, `NotFound`, `Unavailable`."""
        envelope = await self._checking.run(self._title, self._look, sent)
        idp = await self._federation.idp(envelope.issuer)
        verified = await self._checking.run(
            idp.name, verify, envelope, idp, self._site, datetime.now(UTC)
        )
        log.info(
            "federation: %s answered; its clock is %+.0f s from ours",
            verified.issuer,
            verified.skew.total_seconds(),
        )
        return verified

    def close(self) -> None:
        for queue in (self._asking, self._checking):
            queue.close()

    def _look(self, sent: str) -> Envelope:
        return prescreen(decode(sent, provider=self._title), acs=self._acs, provider=self._title)


class _Queue:
    """Some threads, and a bound to those who wait for them."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="saml")
        self._inside = 0

    async def run(self, provider: Text, function: Callable[..., T], *arguments: Any) -> T:
        if self._inside >= _MOST_WAITING:
            raise Unavailable(
                "sign-in-provider-unavailable",
                provider=provider,
                log_detail=f"{self._inside} sign-ins wait already",
            )
        self._inside += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, function, *arguments)
        finally:
            self._inside -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def verify(envelope: Envelope, idp: Idp, site: Site, now: datetime) -> Verified:
    """Verify a response that passed the pre-screen, as one of `idp`. Blocks for its `xmlsec1`.

    Raises `Refused`; the `reason` of `sign-in-provider-refused` is a sentence to be translated.
    """
    if envelope.status:
        raise Refused(
            "sign-in-provider-refused",
            provider=idp.name,
            reason=reason(envelope.status),
            log_detail=repr(envelope.status[:200]),
        )
    if not attempt_of(envelope.in_response_to):
        raise Refused("sign-in-other-browser", log_detail="nobody here asked for this answer")
    asserted = _asserted(envelope, idp, site)
    skew = clock.check(
        asserted.times,
        now=now,
        tolerance=site.settings.clock_tolerance,
        provider=idp.name,
        asked=_asked(asserted.in_response_to),
    )
    return _verified(asserted, idp, site, now=now, skew=skew)


@dataclass(frozen=True)
class _Asserted:
    """What the one assertion of a response says; its signature, issuer and audience are right."""

    id: str
    in_response_to: str
    times: clock.Times
    attributes: dict[str, list[str]]


def _verified(
    asserted: _Asserted, idp: Idp, site: Site, *, now: datetime, skew: timedelta
) -> Verified:
    said = told(
        asserted.attributes,
        issuer=idp.entity_id,
        name=idp.name,
        scopes=idp.scopes,
        settings=rules_of(site),
    )
    if said.dropped:
        log.warning("federation: %s: left out %s", idp.entity_id, ", ".join(said.dropped))
    left = asserted.times.not_on_or_after - now + site.settings.clock_tolerance
    return Verified(
        claims=said.claims,
        in_response_to=asserted.in_response_to,
        assertion_id=asserted.id,
        issuer=idp.entity_id,
        skew=skew,
        remember=min(left, _LONGEST_MEMORY),
    )


def _asserted(envelope: Envelope, idp: Idp, site: Site) -> _Asserted:
    """Raises `Refused`: with the same code whatever failed, signature or decryption."""
    config = sp.sp_config(site, idp)
    try:
        assertion = _signed_assertion(envelope, idp, config, acs=sp.acs_url(site))
        if _line(assertion.issuer) != idp.entity_id:
            raise _InvalidError("the assertion has another issuer")
        return _read(assertion, idp, envelope, own=sp.entity_id(site), acs=sp.acs_url(site))
    except MydockerError:
        raise
    except _InvalidError as error:
        detail = str(error)
    except Exception as error:  # pysaml2 raises many kinds, plain Exception among them
        detail = type(error).__name__
    raise Refused(
        "sign-in-message-invalid",
        provider=idp.name,
        log_detail=f"{idp.entity_id}: {detail} (response {envelope.id[:100]!r})",
    )


class _InvalidError(Exception):
    """What is wrong, for the log."""


class _Answer(AuthnResponse):
    def condition_ok(self, lax: bool = False) -> bool:
        """Times and audience are judged by `_read`, where each has its words."""
        return True


@cache
def _version(program: str) -> tuple[int, ...]:
    """What pysaml2 would ask before each call."""
    version: tuple[int, ...] = CryptoBackendXmlSec1(program).version_nums
    return version


class _XmlSec1(CryptoBackendXmlSec1):
    """`xmlsec1` with a time-out, and with another look at what it decrypts."""

    def __init__(self, program: str, provider: Text) -> None:
        super().__init__(program)
        self._provider = provider

    @property
    def version_nums(self) -> tuple[int, ...]:
        return _version(self.xmlsec)

    def decrypt(self, enctext: Any, key_file: str) -> str:
        decrypted: str = super().decrypt(enctext, key_file)
        prescreen_decrypted(decrypted.encode(), provider=self._provider)
        return decrypted

    def _run_xmlsec(self, com_list: list[str], extra_args: list[str]) -> tuple[str, str, bytes]:
        lax = ["--lax-key-search"] if self.version_nums >= (1, 3) else []
        with tempfile.NamedTemporaryFile(suffix=".xml") as output:
            try:
                done = subprocess.run(
                    [*com_list, "--output", output.name, *lax, *extra_args],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=_XMLSEC_SECONDS,
                )
            except subprocess.TimeoutExpired:
                raise XmlsecError("took too long") from None
            if done.returncode != 0:
                raise XmlsecError(f"returned {done.returncode}")
            return done.stdout.decode(), done.stderr.decode(), Path(output.name).read_bytes()


def _signed_assertion(
    envelope: Envelope, idp: Idp, config: SPConfig, *, acs: str
) -> saml.Assertion:
    """The assertion, where the response or it is signed by a key of `idp`."""
    security = security_context(config)
    security.crypto = _XmlSec1(config.xmlsec_binary, idp.name)
    answer = _Answer(
        security,
        config.attribute_converters,
        config.entityid,
        return_addrs=[acs],
        outstanding_queries={envelope.in_response_to: "/"},
        timeslack=_ANY_TIME_SECONDS,
    )
    answer.loads(envelope.xml.decode())  # checks the signature of the response, if it has one
    if bool(answer.response.signature) != envelope.signed:
        raise _InvalidError("two readers see two documents")
    if (answer.issuer() or idp.entity_id) != idp.entity_id:  # it need not have one (§4.1.4.2)
        raise _InvalidError("the response has another issuer")
    answer.require_signature = not envelope.signed
    if answer.verify() is None:
        raise _InvalidError("not verified")
    if len(answer.assertions) != 1:
        raise _InvalidError("not exactly one assertion")
    return answer.assertions[0]


def _read(
    assertion: saml.Assertion, idp: Idp, envelope: Envelope, *, own: str, acs: str
) -> _Asserted:
    conditions = assertion.conditions
    if conditions is None or conditions.condition or conditions.extension_elements:
        raise _InvalidError("no conditions, or unknown ones")
    restrictions = conditions.audience_restriction
    if not restrictions or not all(
        own in [_line(audience) for audience in restriction.audience]
        for restriction in restrictions
    ):
        raise Refused("sign-in-not-for-us", provider=idp.name, log_detail="Audience")
    bearers = [
        one.subject_confirmation_data
        for one in assertion.subject.subject_confirmation
        if one.method == saml.SCM_BEARER and one.subject_confirmation_data is not None
    ]
    if not bearers:
        raise _InvalidError("no bearer")
    if any(bearer.recipient != acs for bearer in bearers):
        raise Refused("sign-in-not-for-us", provider=idp.name, log_detail="Recipient")
    if any(bearer.in_response_to != envelope.in_response_to for bearer in bearers):
        raise _InvalidError("InResponseTo")
    return _Asserted(
        id=assertion.id,
        in_response_to=envelope.in_response_to,
        times=_times(assertion, [conditions, *bearers], bearers),
        attributes=_attributes(assertion),
    )


def _times(assertion: saml.Assertion, limits: list[Any], bearers: list[Any]) -> clock.Times:
    issued = clock.instant(assertion.issue_instant or "")
    not_before = [clock.instant(one.not_before) for one in limits if one.not_before]
    ends = [clock.instant(one.not_on_or_after) for one in limits if one.not_on_or_after]
    if (
        issued is None
        or None in (*not_before, *ends)
        or not all(bearer.not_on_or_after for bearer in bearers)
    ):
        raise _InvalidError("times")
    times = clock.Times(
        issued=issued,
        not_before=max((one for one in not_before if one), default=None),
        not_on_or_after=min(one for one in ends if one),
    )
    if not times.make_sense:
        raise _InvalidError("it ends before it begins")
    return times


def _attributes(assertion: saml.Assertion) -> dict[str, list[str]]:
    """The attributes that we know, by their short names. Values are texts; others are not read."""
    found: dict[str, list[str]] = {}
    for statement in assertion.attribute_statement:
        for attribute in statement.attribute:
            name = NAMES.get((attribute.name or "").strip())
            if name is None:
                continue
            found.setdefault(name, []).extend(
                value.text
                for value in attribute.attribute_value
                if value.text and not value.extension_elements
            )
    return found


def _line(element: Any) -> str:
    return (element.text or "").strip() if element is not None else ""


# --- for an operator ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Explanation:
    """What a recorded response says; `notes` are what could not be, or was not, looked at."""

    claims: Claims
    issuer: str
    name: Text
    notes: tuple[str, ...]


def explain(sent: str, site: Site, *, now: datetime | None = None) -> Explanation:
    """Check a recorded response, as base64 or XML, at whatever time and however often.

    Raises what a person would have met. Blocks.
    """
    now = now or datetime.now(UTC)
    rules = rules_of(site)
    text = sent.strip()
    xml = text.encode() if text.startswith("<") else decode(text, provider=rules.title)
    envelope = prescreen(xml, acs=sp.acs_url(site), provider=rules.title)
    idp = MetadataStore(folder_of(site), rules).entity(envelope.issuer)
    if idp is None:
        raise Refused("sign-in-institution-unknown", log_detail=envelope.issuer)
    notes = ["whether it was used before was not looked at"]
    if envelope.status or not attempt_of(envelope.in_response_to):
        verify(envelope, idp, site, now)  # says why not
    asserted = _asserted(envelope, idp, site)
    try:
        clock.check(
            asserted.times, now=now, tolerance=site.settings.clock_tolerance, provider=idp.name
        )
    except Refused as refused:
        notes.append(f"its time was not looked at: now it would be refused ({refused.code})")
    verified = _verified(asserted, idp, site, now=now, skew=timedelta())
    return Explanation(verified.claims, idp.entity_id, idp.name, tuple(notes))
