"""User names: readable, in one alphabet, never a word that means something here."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mydocker_hub.identity.usernames import MAX_LENGTH, RESERVED, base_name, numbered

PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")


@pytest.mark.parametrize(
    ("given_name", "family_name", "display", "expected"),
    [
        ("Jean", "Dupont", "", "jean.dupont"),
        ("Jean-Éric", "de la Tour", "", "jean-eric.de-la-tour"),
        ("Zoé", "O’Neil", "", "zoe.oneil"),
        ("Bjørn", "Weiß", "", "bjorn.weiss"),
        ("Œdipe", "Łukasiewicz", "", "oedipe.lukasiewicz"),
        ("", "", "Marie Curie", "marie.curie"),
        ("", "", "Curie, Marie", "marie.curie"),
        ("", "", "Marie", "marie"),
        ("", "", "Jean Le Rond d'Alembert", "jean.le-rond-dalembert"),
        ("Marie", "", "Somebody Else", "marie"),
        ("李", "明", "", "person"),
        ("", "", "", "person"),
        ("", "", "…", "person"),
        ("ＡＤＭＩＮ", "", "", "person.admin"),
        ("𝐑𝐨𝐨𝐭", "", "", "person.root"),
        ("Admin", "", "", "person.admin"),
        ("", "", "mydocker-hub", "person.mydocker-hub"),
        ("Alice", "", "", "person.alice"),
        ("../..", "<script>", "", "script"),
    ],
)
def test_names(given_name, family_name, display, expected) -> None:
    assert base_name(given_name, family_name, display) == expected


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80), st.integers(1, 5000))
def test_any_name(given_name, family_name, display, number) -> None:
    name = base_name(given_name, family_name, display)
    assert PATTERN.fullmatch(name)
    assert len(name) <= MAX_LENGTH
    assert name not in RESERVED
    assert base_name(given_name, family_name, display) == name
    assert PATTERN.fullmatch(numbered(name, number))
    assert numbered(name, number) not in RESERVED


@given(st.sampled_from(sorted(RESERVED)))
def test_no_reserved_word_alone(word) -> None:
    for name in (word, word.upper(), f" {word} ", f"“{word}”"):
        assert base_name(name, "", "") not in RESERVED
        assert base_name("", name, "") not in RESERVED
        assert base_name("", "", name) not in RESERVED


def test_numbers() -> None:
    assert numbered("jean.dupont", 1) == "jean.dupont"
    assert numbered("jean.dupont", 2) == "jean.dupont-2"
