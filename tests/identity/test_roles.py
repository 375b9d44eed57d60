"""Affiliations to roles; institutions; administrators by configuration; what holds now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from mydocker_hub.domain.errors import Refused
from mydocker_hub.domain.people import Role
from mydocker_hub.identity.claims import Claims, Course, CourseRole, Door
from mydocker_hub.identity.roles import (
    Claimed,
    Decision,
    Origin,
    effective_roles,
    sign_in_for,
)
from mydocker_hub.identity.settings import SignInSettings

IDP = "https://idp.univ-a.example/idp/shibboleth"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def claims(affiliations: str = "", primary: str = "", **more) -> Claims:
    known = {
        "door": Door.SAML,
        "provider": "federation",
        "issuer": IDP,
        "identifiers": (("subject-id", "jean@univ-a.example"),),
        "institution": "Université A",
        "affiliations": tuple(affiliations.split()),
        "primary_affiliation": primary,
    }
    return Claims(**{**known, **more})


def settings(**federation) -> SignInSettings:
    roles = federation.pop("roles", {})
    return SignInSettings.model_validate(
        {
            "roles": roles,
            "federation": {
                "metadata": {"file": "/metadata.xml", "fingerprints": [":".join(["AB"] * 32)]},
                **federation,
            },
        }
    )


def role(claims: Claims, configured: SignInSettings) -> Role:
    return sign_in_for(claims, configured).role


@pytest.mark.parametrize(
    ("affiliations", "primary", "expected"),
    [
        ("", "", Role.STUDENT),
        ("member", "", Role.STUDENT),
        ("invented", "", Role.STUDENT),
        ("member student", "student", Role.STUDENT),
        ("alum", "alum", Role.STUDENT),
        ("affiliate library-walk-in", "", Role.STUDENT),
        ("member faculty", "faculty", Role.TEACHER),
        ("member employee", "", Role.TEACHER),
        ("researcher", "", Role.TEACHER),
        ("", "staff", Role.TEACHER),
        ("staff@univ-a.example", "", Role.TEACHER),
        ("STAFF@Univ-A.example", "", Role.TEACHER),
        ("staffer", "", Role.STUDENT),
        ("@staff", "", Role.STUDENT),
        # a doctoral student who teaches is first a student
        ("member student employee teacher", "student", Role.STUDENT),
        ("member student employee teacher", "employee", Role.TEACHER),
        ("member student employee teacher", "", Role.STUDENT),
        ("member student employee teacher", "member", Role.STUDENT),
        # who studied here once and works here now
        ("member employee alum", "employee", Role.TEACHER),
        ("member employee alum", "", Role.TEACHER),
    ],
)
def test_the_default_table(affiliations, primary, expected) -> None:
    assert role(claims(affiliations, primary), settings()) is expected


def test_the_primary_affiliation_need_not_decide() -> None:
    moniteur = claims("student teacher", "student")
    assert role(moniteur, settings(roles={"primary_decides": False})) is Role.TEACHER


@pytest.mark.parametrize(
    ("affiliations", "enters"),
    [
        ("alum", False),
        ("ALUM@univ-a.example", False),
        ("alum affiliate", False),
        ("alum member", False),
        ("alum student", True),
        ("alum employee", True),
        ("", True),
    ],
)
def test_affiliations_that_do_not_open_the_service(affiliations, enters) -> None:
    configured = settings(roles={"refuse": ["alum", "Affiliate"]})
    if enters:
        sign_in_for(claims(affiliations), configured)
        return
    with pytest.raises(Refused) as caught:
        sign_in_for(claims(affiliations), configured)
    assert caught.value.code == "sign-in-affiliation-refused"
    assert caught.value.params["provider"] == "Université A"
    assert "alum" in caught.value.params["affiliations"]


@pytest.mark.parametrize(
    ("institutions", "others", "enters"),
    [
        ([], True, True),
        ([], False, False),
        ([{"entity_id": IDP}], False, True),
        ([{"entity_id": IDP + "/"}], False, False),
        ([{"scope": "Univ-A.example"}], False, True),
        ([{"scope": "v-a.example"}], False, False),
        ([{"entity_id": IDP, "allow": False}], True, False),
        ([{"scope": "univ-a.example", "allow": False}], True, False),
        ([{"entity_id": IDP}, {"scope": "univ-a.example", "allow": False}], True, False),
        ([{"scope": "other.example", "allow": False}], True, True),
    ],
)
def test_institutions_that_may_enter(institutions, others, enters) -> None:
    configured = settings(institutions=institutions, others_may_enter=others)
    if enters:
        sign_in_for(claims("student"), configured)
        return
    with pytest.raises(Refused) as caught:
        sign_in_for(claims("student"), configured)
    assert caught.value.code == "sign-in-institution-refused"


def test_an_institution_has_its_own_table_and_limit() -> None:
    configured = settings(
        institutions=[
            {"entity_id": IDP, "roles": {"teacher": ["emeritus"]}},
            {"scope": "guest.example", "highest_role": "student"},
        ]
    )
    assert role(claims("emeritus"), configured) is Role.TEACHER
    assert role(claims("faculty"), configured) is Role.STUDENT
    guest = claims("emeritus faculty@guest.example")
    assert role(guest, configured) is Role.STUDENT  # the lowest limit of all that match
    assert role(claims("faculty", issuer="https://other.example"), configured) is Role.TEACHER


def test_a_provider_has_its_own_table_and_limit(tmp_path) -> None:
    configured = SignInSettings.model_validate(
        {
            "cas": [
                {"name": "ens", "title": "ENS", "url": "https://cas.example",
                 "roles": {"teacher": ["prof"]}},
                {"name": "guests", "title": "G", "url": "https://g.example",
                 "highest_role": "student"},
            ]
        }
    )  # fmt: skip

    def of(provider: str, affiliations: str) -> Role:
        known = claims(affiliations, door=Door.CAS, provider=provider, issuer="https://cas.example")
        return role(known, configured)

    assert of("ens", "prof") is Role.TEACHER
    assert of("ens", "faculty") is Role.STUDENT
    assert of("guests", "faculty") is Role.STUDENT
    assert of("other", "faculty") is Role.TEACHER


@pytest.mark.parametrize("door", [Door.LTI13, Door.LTI11])
def test_from_a_platform_everybody_is_a_student(door) -> None:
    configured = SignInSettings.model_validate(
        {"administrators": [{"provider": "lti-1", "identifier": "root"}]}
    )
    known = claims(
        "faculty",
        door=door,
        provider="lti-1",
        identifiers=(("sub", "root"),),
        values={"user_username": "root"},
    )
    course = Course(platform=1, context="42", role=CourseRole.TEACHER)
    found = sign_in_for(known, configured, course=course)
    assert (found.role, found.admin, found.course) == (Role.STUDENT, False, course)


@pytest.mark.parametrize(
    ("provider", "identifier", "named"),
    [
        ("federation", "jean@univ-a.example", True),
        ("federation", "Jean@Univ-A.example", True),
        ("keycloak", "jean@univ-a.example", False),
        ("federation", "jean.dupont@univ-a.example", False),
    ],
)
def test_administrators_by_configuration(provider, identifier, named) -> None:
    configured = SignInSettings.model_validate(
        {"administrators": [{"provider": provider, "identifier": identifier}]}
    )
    known = claims("student", values={"uid": "jd123"}, mail="jean.dupont@univ-a.example")
    found = sign_in_for(known, configured)
    assert (found.role, found.admin) == (Role.STUDENT, named)


@pytest.mark.parametrize("name", ["uid", "supannEtablissement", "eduPersonPrincipalName", "x"])
def test_no_provider_of_the_federation_names_an_administrator_of_another(name) -> None:
    """Anybody's provider may say any value that has no scope."""
    configured = SignInSettings.model_validate(
        {"administrators": [{"provider": "federation", "identifier": "marie@univ-a.example"}]}
    )
    honest = claims("staff", identifiers=(("subject-id", "marie@univ-a.example"),))
    assert sign_in_for(honest, configured).admin
    forged = claims(
        "staff",
        issuer="https://idp.evil.example",
        identifiers=(("subject-id", "eve@evil.example"),),
        values={name: "marie@univ-a.example"},
    )
    assert not sign_in_for(forged, configured).admin


def test_an_identifier_without_a_scope_names_nobody_in_a_federation() -> None:
    with pytest.raises(ValidationError, match="whole identifier"):
        SignInSettings.model_validate(
            {"administrators": [{"provider": "federation", "identifier": "marie"}]}
        )


# --- what holds now ------------------------------------------------------------------------------


def held(*claimed: Claimed, decisions=()) -> dict[Role, Origin]:
    return {
        one.role: one.origin
        for one in effective_roles(claimed, decisions, NOW, role_days=100)
        if one.role is not Role.STUDENT
    }


def claimed(role: Role = Role.TEACHER, age: timedelta = DAY, admin: bool = False) -> Claimed:
    return Claimed(role, since=NOW - age, signed_in_at=NOW - age, configured_admin=admin)


def decided(granted: bool, role: Role = Role.TEACHER, age: int = 1, until=None) -> Decision:
    return Decision(role, granted, decided_at=NOW - age * DAY, until=until)


@pytest.mark.parametrize(
    ("identities", "decisions", "expected"),
    [
        ([], [], {}),
        ([claimed(Role.STUDENT)], [], {}),
        ([claimed()], [], {Role.TEACHER: Origin.CLAIMED}),
        ([claimed(Role.ADMIN)], [], {}),  # no attribute says so
        ([claimed(Role.STUDENT), claimed()], [], {Role.TEACHER: Origin.CLAIMED}),
        ([claimed(age=100 * DAY)], [], {}),
        ([claimed(age=100 * DAY - timedelta(seconds=1))], [], {Role.TEACHER: Origin.CLAIMED}),
        ([claimed(Role.STUDENT, admin=True)], [], {Role.ADMIN: Origin.CONFIGURED}),
        ([claimed(Role.STUDENT, 100 * DAY, admin=True)], [], {}),
        ([claimed()], [decided(False)], {}),
        ([], [decided(True)], {Role.TEACHER: Origin.DECIDED}),
        ([claimed()], [decided(True)], {Role.TEACHER: Origin.DECIDED}),
        ([], [decided(True, age=2), decided(False, age=1)], {}),
        ([], [decided(True, age=1), decided(False, age=2)], {Role.TEACHER: Origin.DECIDED}),
        ([], [decided(True, until=NOW)], {}),
        ([], [decided(True, until=NOW + DAY)], {Role.TEACHER: Origin.DECIDED}),
        ([claimed()], [decided(False, until=NOW)], {Role.TEACHER: Origin.CLAIMED}),
        ([claimed()], [decided(False, until=NOW + DAY)], {}),
        ([claimed(admin=True)], [decided(False, Role.ADMIN)], {Role.TEACHER: Origin.CLAIMED}),
        ([], [decided(True, Role.ADMIN)], {Role.ADMIN: Origin.DECIDED}),
    ],
)
def test_what_holds(identities, decisions, expected) -> None:
    assert held(*identities, decisions=decisions) == expected


def test_since_when() -> None:
    found = effective_roles([claimed(age=2 * DAY), claimed(age=DAY)], [], NOW)
    assert [(one.role, one.since) for one in found] == [
        (Role.STUDENT, None),
        (Role.TEACHER, NOW - 2 * DAY),
    ]
