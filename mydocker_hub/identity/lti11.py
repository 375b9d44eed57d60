"""LTI 1.1: a form that the platform signed with the secret of its consumer key (OAuth 1.0).

Nothing binds such a launch to the browser that asked for it: who has a fresh one can have it
opened by somebody else's browser, once. That is the protocol's own weakness; LTI 1.3 has it not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from oauthlib.common import safe_string_equals
from oauthlib.oauth1.rfc5849 import signature

from ..domain.errors import N_, Invalid, Refused
from . import clock
from .claims import Claims, Course, CourseRole, Door
from .lti import (
    MISSING,
    NOT_TAKEN,
    Launch,
    MessageType,
    exact,
    invalid,
    join_link,
    join_rule_value,
    line,
    web_address,
)
from .platform import Platform

Pairs = Sequence[tuple[str, str]]

_MAX_TOLERANCE = timedelta(minutes=5)
_MAX_FIELDS = 500
_TEACHING = re.compile(
    # A context role by its whole name or its short one (LTI 1.1 Implementation Guide §A.2.2).
    r"(?:urn:lti:role:ims/lis/)?"
    r"(?:Instructor|ContentDeveloper|TeachingAssistant(?:/TeachingAssistant\w*)?)"
)


def consumer_key(form: Pairs) -> str:
    """The key that says whose secret to check with. Raises `Invalid` where there is none."""
    keys = [value for name, value in form if name == "oauth_consumer_key"]
    if len(keys) != 1 or not exact(keys[0]):
        raise Invalid(
            "lti-message-invalid",
            problems=[("oauth_consumer_key", MISSING)],
            provider="LTI",
        )
    return keys[0]


def verify(form: Pairs, query: Pairs, *, url: str, platform: Platform, secret: str) -> None:
    """Check the signature of a POST to `url`, as people see it and without its query (RFC 5849).

    Raises `Refused` where it is wrong, `Invalid` where a name comes twice: a second value would be
    another one for whoever reads the last.
    """
    everything = [*query, *form]
    names = [name for name, _ in everything]
    if len(names) > _MAX_FIELDS or len(set(names)) != len(names):
        raise invalid(platform, "", N_("something is said twice"))
    fields = dict(form)  # not the query: what OAuth says comes in the form alone
    if fields.get("oauth_signature_method") != "HMAC-SHA1":
        raise invalid(platform, "oauth_signature_method", NOT_TAKEN)
    if fields.get("oauth_version", "1.0") != "1.0":
        raise invalid(platform, "oauth_version", NOT_TAKEN)
    base = signature.signature_base_string(
        "POST",
        signature.base_string_uri(url),
        signature.normalize_parameters(
            [(name, value) for name, value in everything if name != "oauth_signature"]
        ),
    )
    expected = signature.sign_hmac_sha1_with_client(base, _Client(secret))
    sent = fields.get("oauth_signature", "")
    if not secret or not safe_string_equals(expected, sent):
        raise Refused("sign-in-message-invalid", provider=platform.name, log_detail="signature")


class _Client:
    """What oauthlib's function reads of a client."""

    resource_owner_secret = ""

    def __init__(self, secret: str) -> None:
        self.client_secret = secret


def validate(
    form: Pairs,
    platform: Platform,
    *,
    url: str,
    now: datetime,
    tolerance: timedelta,
    hub_url: str,
) -> Launch:
    """What a form says whose signature is right.

    That its nonce is new is for the door to see to, and only now: `Launch.nonce` and
    `Claims.issuer` together. Raises `Invalid` and `Refused`.
    """
    fields = dict(form)
    issued_at = _check_time(fields, platform, now, min(tolerance, _MAX_TOLERANCE))
    if fields.get("lti_version") != "LTI-1p0":
        raise invalid(platform, "lti_version", NOT_TAKEN)
    if fields.get("lti_message_type") != "basic-lti-launch-request":
        raise invalid(platform, "lti_message_type", NOT_TAKEN)
    resource_link = _required(fields, "resource_link_id", platform)
    user = _required(fields, "user_id", platform)
    roles = [role.strip() for role in fields.get("roles", "").split(",")]
    teaches = any(_TEACHING.fullmatch(role) for role in roles)
    role = CourseRole.TEACHER if teaches else CourseRole.STUDENT
    join = join_link(exact(fields.get("custom_join"), 2000), url, hub_url)
    context = exact(fields.get("context_id"))
    return Launch(
        message=MessageType.RESOURCE_LINK,
        claims=_claims(fields, platform, user),
        role=role,
        course=Course(
            platform=platform.id,
            context=context,
            title=line(fields.get("context_title")) or line(fields.get("context_label")),
            role=role,
            join_key=join.key if join else "",
        )
        if context
        else None,
        join=join,
        resource_link=resource_link,
        nonce=_required(fields, "oauth_nonce", platform),
        issued_at=issued_at,
        return_url=web_address(fields.get("launch_presentation_return_url"), 2000),
    )


def _required(fields: Mapping[str, str], name: str, platform: Platform) -> str:
    value = exact(fields.get(name))
    if not value:
        raise invalid(platform, name, MISSING)
    return value


def _check_time(
    fields: Mapping[str, str], platform: Platform, now: datetime, tolerance: timedelta
) -> datetime:
    written = fields.get("oauth_timestamp", "")
    if not re.fullmatch(r"[0-9]{1,10}", written):
        raise invalid(platform, "oauth_timestamp", NOT_TAKEN)
    issued = datetime.fromtimestamp(int(written), UTC)
    times = clock.Times(issued, None, issued)
    clock.check(times, now=now, tolerance=tolerance, provider=platform.name)
    return issued


def _claims(fields: Mapping[str, str], platform: Platform, user: str) -> Claims:
    custom = {
        name.removeprefix("custom_"): value
        for name, value in fields.items()
        if name.startswith("custom_")
    }
    values = {
        "user_username": exact(fields.get("ext_user_username")),
        "person_sourcedid": exact(fields.get("lis_person_sourcedid")),
        **join_rule_value(platform, custom),
    }
    return Claims(
        door=Door.LTI11,
        provider=platform.provider,
        issuer=f"lti11:{platform.client_id}",
        identifiers=(("user_id", user),),
        display_name=line(fields.get("lis_person_name_full")),
        given_name=line(fields.get("lis_person_name_given")),
        family_name=line(fields.get("lis_person_name_family")),
        mail=exact(fields.get("lis_person_contact_email_primary")),
        values={name: value for name, value in values.items() if value},
    )


def return_address(form: Pairs, origin: str, sentence: str) -> str:
    """Where the platform wants people back who could not be let in, with the sentence it shows.

    Only for a form whose signature is right, and only on the site that sent it (`origin`, the
    header of the request); empty where it wants none or another.
    """
    written = web_address(dict(form).get("launch_presentation_return_url"), 2000)
    parts = urlsplit(written)
    if not written or f"{parts.scheme}://{parts.netloc}" != origin:
        return ""
    query = [
        pair
        for pair in parse_qsl(parts.query, keep_blank_values=True)
        if pair[0] not in {"lti_errormsg", "lti_msg"}
    ]
    query.append(("lti_errormsg", sentence))
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))
