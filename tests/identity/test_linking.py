"""Which stored identity a set of identifiers means, and whom a platform's rule joins."""

from __future__ import annotations

import pytest

from mydocker_hub.domain.errors import Refused
from mydocker_hub.identity.claims import Claims, Door
from mydocker_hub.identity.linking import (
    Match,
    Wanted,
    compare,
    family,
    find,
    wanted_of_institution,
    wanted_of_platform,
)
from mydocker_hub.identity.platform import JoinRule

IDP = "https://idp.univ-a.example"
S, P, E = "subject-id", "pairwise-id", "eduPersonPrincipalName"


@pytest.mark.parametrize(
    ("stored", "shown", "expected"),
    [
        ({S: "1"}, [(S, "1")], Match.SAME),
        ({S: "1"}, [(S, "2")], Match.OTHER),
        ({S: "1", E: "e"}, [(S, "1"), (E, "new")], Match.SAME),
        ({E: "e"}, [(S, "1"), (E, "e")], Match.SAME),
        ({S: "1", E: "e"}, [(E, "e")], Match.SAME),
        ({S: "1", E: "e"}, [(S, "2"), (E, "e")], Match.REASSIGNED),
        ({P: "1", E: "e"}, [(S, "2"), (P, "9"), (E, "e")], Match.REASSIGNED),
        ({S: "1", P: "p", E: "e"}, [(S, "2"), (P, "p"), (E, "x")], Match.REASSIGNED),
        ({S: "same"}, [(E, "same")], Match.OTHER),
        ({}, [(S, "1")], Match.OTHER),
    ],
)
def test_comparing(stored, shown, expected) -> None:
    assert compare(stored, shown)[0] is expected


def test_finding() -> None:
    shown = [(S, "1"), (E, "e")]
    assert find([], shown) is None
    assert find([("a", {S: "9"})], shown) is None
    assert find([("a", {E: "e"})], shown) == "a"
    # the strongest identifier decides between two
    assert find([("a", {E: "e"}), ("b", {S: "1"})], shown) == "b"
    assert find([("a", {S: "1"}), ("b", {S: "2", E: "e"})], shown) == "a"
    for candidates in ([("b", {S: "2", E: "e"})], [("a", {E: "e"}), ("b", {E: "e", P: "p"})]):
        with pytest.raises(Refused) as caught:
            find(candidates, shown, provider="Université A")
        assert caught.value.code == "sign-in-identifier-reassigned"
        assert caught.value.params == {"provider": "Université A"}


def test_families() -> None:
    assert family(Door.LTI11) == family(Door.LTI13)
    assert len({family(door) for door in Door}) == 4


def launch(**values: str) -> Claims:
    return Claims(
        door=Door.LTI13,
        provider="lti-1",
        issuer="https://moodle.example",
        identifiers=(("sub", "7"),),
        values=values,
    )


def of_institution(eppn: str = "jean@univ-a.example", issuer: str = IDP, **values) -> Claims:
    return Claims(
        door=Door.SAML, provider="federation", issuer=issuer, identifiers=((E, eppn),),
        values=values,
    )  # fmt: skip


def rule(**changes) -> JoinRule:
    return JoinRule(
        **{"issuer": IDP, "claim": "user_username", "scope": "univ-a.example"} | changes
    )


@pytest.mark.parametrize(
    ("rule", "username", "expected"),
    [
        (rule(), "jean", ("jean@univ-a.example",)),
        (rule(), "jean@univ-a.example", ("jean@univ-a.example",)),
        (rule(), "jean@Univ-A.example", ("jean@univ-a.example",)),
        (rule(scope="Univ-A.example"), "jean", ("jean@univ-a.example",)),
        (rule(), "jean@univ-b.example", None),
        (rule(), "jean@x@univ-b.example", None),
        (rule(), "@univ-a.example", None),
        (rule(), "", None),
        (rule(claim="other"), "jean", None),
        (rule(scope=""), "jean", ("jean",)),
        (rule(scope="", claim="sub"), "jean", ("7",)),
    ],
)
def test_whom_somebody_of_the_platform_joins(rule, username, expected) -> None:
    wanted = wanted_of_institution(rule, launch(user_username=username))
    assert wanted == (None if expected is None else Wanted(E, expected))


@pytest.mark.parametrize(
    ("rule", "claims", "expected"),
    [
        (rule(), of_institution(), ("jean@univ-a.example", "jean")),
        (rule(), of_institution("jean@univ-b.example"), None),
        (rule(), of_institution(issuer="https://idp.other.example"), None),
        (rule(scope=""), of_institution(), ("jean@univ-a.example",)),
        (rule(scope="", attribute="uid"), of_institution(uid="jd"), ("jd",)),
        (rule(attribute="uid"), of_institution(uid="jd"), None),
        (rule(attribute="uid"), of_institution(), None),
    ],
)
def test_whom_somebody_of_the_institution_joins(rule, claims, expected) -> None:
    wanted = wanted_of_platform(rule, claims)
    assert wanted == (None if expected is None else Wanted("user_username", expected))


def test_a_platform_is_no_institution() -> None:
    """Not even one that has taken its name."""
    false = launch(**{E: "jean@univ-a.example"}).model_copy(update={"issuer": IDP})
    assert wanted_of_platform(rule(), false) is None
