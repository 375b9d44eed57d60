"""From attributes to claims: identifiers, scopes, affiliations."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mydocker_hub.domain.environment import Text
from mydocker_hub.domain.errors import Refused
from mydocker_hub.identity.saml import IDENTIFIERS, Told, told
from mydocker_hub.identity.settings import Federation
from mydocker_hub.web.i18n import translator

ISSUER = "https://idp.univ-a.example/idp/shibboleth"
NAME = Text(fr="Université A", en="University A")
FINGERPRINT = ":".join(["AB"] * 32)
ALICE = {"eduPersonPrincipalName": ["alice@univ-a.example"]}


def read(
    attributes: Mapping[str, list[str]],
    *,
    scopes: tuple[str, ...] = ("univ-a.example",),
    **settings: Any,
) -> Told:
    federation = Federation.model_validate(
        {
            "metadata": {"file": "/federation.xml", "fingerprints": [FINGERPRINT]},
            **settings,
        }
    )
    return told(attributes, issuer=ISSUER, name=NAME, scopes=scopes, settings=federation)


def code_of(attributes: Mapping[str, list[str]], **more: Any) -> str:
    with pytest.raises(Refused) as caught:
        read(attributes, **more)
    assert caught.value.params["provider"] == NAME
    assert translator("en").error(caught.value)
    return caught.value.code


def test_everything() -> None:
    answer = read(
        {
            "mail": ["Alice.Martin@univ-a.example"],
            "displayName": ["Alice Martin"],
            "givenName": ["Alice"],
            "sn": ["Martin"],
            "eduPersonPrincipalName": ["Alice@Univ-A.example"],
            "pairwise-id": ["k3j4h5@univ-a.example"],
            "subject-id": ["am-4217@univ-a.example"],
            "eduPersonAffiliation": ["Member", "student"],
            "eduPersonScopedAffiliation": ["student@univ-a.example", "member@UNIV-A.EXAMPLE"],
            "eduPersonPrimaryAffiliation": ["Student"],
            "supannEtablissement": ["{UAI}0751717J"],
            "schacHomeOrganization": ["univ-a.example"],
            "uid": ["amartin"],
        }
    )
    claims = answer.claims
    assert answer.dropped == ()
    assert claims.issuer == ISSUER
    assert claims.provider == "federation"
    assert claims.identifiers == (
        ("subject-id", "am-4217@univ-a.example"),
        ("pairwise-id", "k3j4h5@univ-a.example"),
        ("eduPersonPrincipalName", "alice@univ-a.example"),
    )
    assert claims.display_name == "Alice Martin"
    assert (claims.given_name, claims.family_name) == ("Alice", "Martin")
    assert claims.mail == "Alice.Martin@univ-a.example"
    assert claims.institution == "univ-a.example"
    assert claims.affiliations == (
        "member",
        "student",
        "student@univ-a.example",
        "member@univ-a.example",
    )
    assert claims.primary_affiliation == "student"
    assert claims.values == {
        "subject-id": "am-4217@univ-a.example",
        "pairwise-id": "k3j4h5@univ-a.example",
        "eduPersonPrincipalName": "alice@univ-a.example",
        "uid": "amartin",
        "supannEtablissement": "{UAI}0751717J",
        "schacHomeOrganization": "univ-a.example",
    }


@pytest.mark.parametrize("kind", IDENTIFIERS)
def test_one_identifier_is_enough(kind: str) -> None:
    assert read({kind: ["x1@univ-a.example"]}).claims.identifiers == ((kind, "x1@univ-a.example"),)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"mail": ["alice@univ-a.example"], "uid": ["alice"]},
        {"eduPersonPrincipalName": []},
        {"eduPersonPrincipalName": [" "], "subject-id": [""]},
        {"eduPersonTargetedID": ["opaque"]},
    ],
)
def test_no_identifier(attributes: Mapping[str, list[str]]) -> None:
    assert code_of(attributes) == "sign-in-no-identifier"


def test_no_identifier_says_what_to_ask_for() -> None:
    with pytest.raises(Refused) as caught:
        read({"displayName": ["Nobody"]})
    sentence = translator("en").error(caught.value)
    for kind in IDENTIFIERS:
        assert kind in sentence
    assert "University A" in sentence


@pytest.mark.parametrize("kind", IDENTIFIERS)
@pytest.mark.parametrize(
    ("values", "code"),
    [
        (["alice@univ-a.example", "bob@univ-a.example"], "sign-in-message-invalid"),
        (["alice@univ-a.example", "alice@univ-a.example"], "sign-in-message-invalid"),
        (["alice"], "sign-in-message-invalid"),
        (["alice@"], "sign-in-message-invalid"),
        (["@univ-a.example"], "sign-in-message-invalid"),
        (["alice@evil.example@univ-a.example"], "sign-in-message-invalid"),
        (["ali ce@univ-a.example"], "sign-in-message-invalid"),
        (["alice\n@univ-a.example"], "sign-in-message-invalid"),
        (["alicé@univ-a.example"], "sign-in-message-invalid"),
        (["alice@univ-a.example\u200b"], "sign-in-message-invalid"),
        (["mar\u212a@univ-a.example"], "sign-in-message-invalid"),  # the Kelvin sign
        ([f"{'a' * 128}@univ-a.example"], "sign-in-message-invalid"),
        (["alice@univ-b.example"], "sign-in-foreign-scope"),
        (["alice@univ-a.example.evil.example"], "sign-in-foreign-scope"),
        (["alice@evil-univ-a.example"], "sign-in-foreign-scope"),
        (["alice@student.univ-a.example"], "sign-in-foreign-scope"),
        (["alice@example"], "sign-in-foreign-scope"),
    ],
)
def test_identifiers_that_are_refused(kind: str, values: list[str], code: str) -> None:
    assert code_of({kind: values}) == code
    if kind != "subject-id":  # beside a good one, too
        assert code_of({"subject-id": ["a1@univ-a.example"], kind: values}) == code


def test_without_a_scope_nobody_has_an_identifier() -> None:
    assert code_of(ALICE, scopes=()) == "sign-in-foreign-scope"


def test_several_scopes() -> None:
    for scope in ("univ-a.example", "iut.univ-a.example"):
        attributes = {"eduPersonPrincipalName": [f"x@{scope}"]}
        scopes = ("Univ-A.example", "iut.univ-a.example")
        assert read(attributes, scopes=scopes).claims.institution == scope


def test_affiliations_of_others_are_dropped() -> None:
    answer = read(
        {
            **ALICE,
            "eduPersonScopedAffiliation": [
                "student@univ-a.example",
                "faculty@univ-b.example",
                "staff",
                "staff@univ-a.example@univ-b.example",
                "@univ-a.example",
            ],
        }
    )
    assert answer.claims.affiliations == ("student@univ-a.example",)
    assert answer.dropped == ("eduPersonScopedAffiliation (scope)",)


def test_plain_affiliations_are_of_the_provider_itself() -> None:
    attributes = {**ALICE, "eduPersonAffiliation": ["Staff", "staff", "faculty@univ-a.example"]}
    assert read(attributes).claims.affiliations == ("staff",)


def test_home_organization_of_another_is_dropped() -> None:
    answer = read({**ALICE, "schacHomeOrganization": ["univ-b.example"]})
    assert answer.claims.institution == "univ-a.example"
    assert "schacHomeOrganization" not in answer.claims.values
    assert answer.dropped == ("schacHomeOrganization (scope)",)


def test_entitlements_only_from_those_who_may() -> None:
    attributes = {**ALICE, "eduPersonEntitlement": ["urn:example:teacher"]}
    assert read(attributes).claims.entitlements == ()
    assert read(attributes, entitlements_from=["https://other.example"]).claims.entitlements == ()
    told = read(attributes, entitlements_from=[ISSUER])
    assert told.claims.entitlements == ("urn:example:teacher",)


def test_several_primary_affiliations_are_none() -> None:
    answer = read({**ALICE, "eduPersonPrimaryAffiliation": ["student", "staff"]})
    assert answer.claims.primary_affiliation == ""
    assert answer.dropped == ("eduPersonPrimaryAffiliation (several values)",)


def test_a_primary_affiliation_has_no_scope() -> None:
    answer = read({**ALICE, "eduPersonPrimaryAffiliation": ["staff@univ-b.example"]})
    assert answer.claims.primary_affiliation == ""
    assert answer.dropped == ("eduPersonPrimaryAffiliation (form)",)


def test_names_are_made_fit_to_be_shown() -> None:
    claims = read({**ALICE, "displayName": ["\n", "Alice\r\n\x00Martin" + "x" * 500]}).claims
    assert claims.display_name.startswith("Alice Martin")
    assert len(claims.display_name) == 255
    assert read({**ALICE, "cn": ["Alice"]}).claims.display_name == "Alice"


def test_a_flood_of_values_is_cut() -> None:
    answer = read({**ALICE, "eduPersonAffiliation": [f"a{n}" for n in range(1000)]})
    assert len(answer.claims.affiliations) == 100


NAMES = st.sampled_from(
    [
        *IDENTIFIERS,
        "mail",
        "displayName",
        "uid",
        "eduPersonAffiliation",
        "eduPersonScopedAffiliation",
        "eduPersonPrimaryAffiliation",
        "schacHomeOrganization",
        "supannEtablissement",
    ]
)
TEXTS = st.text(max_size=20) | st.sampled_from(["a@univ-a.example", "b@univ-b.example", "x" * 2000])


@given(st.dictionaries(NAMES, st.lists(TEXTS, max_size=4)), st.booleans())
def test_anything_is_told_or_refused(attributes: dict[str, list[str]], honest: bool) -> None:
    """Whatever is sent, every scope in the answer is the provider's own."""
    if honest:
        attributes = {**attributes, **ALICE}
    try:
        claims = read(attributes).claims
    except Refused:
        return
    for _, value in claims.identifiers:
        assert value.endswith("@univ-a.example")
    for value in claims.affiliations:
        assert "@" not in value or value.endswith("@univ-a.example")
