"""The form of an environment as values: short names, rows, what an image proposes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub.domain.environment import Interface, Text
from mydocker_hub.domain.names import is_slug
from mydocker_hub.services.catalogue.workshop_fields import (
    Proposal,
    Typed,
    as_previewed,
    blank,
    propose,
    proposed_slug,
    read,
)
from mydocker_hub.web.i18n import translator

few = settings(max_examples=50, deadline=None)
EMPTY = Text(fr="", en="")


def image(name: str, *interfaces: str, home: str = "", command: str = "") -> Proposal:
    return Proposal(
        name, EMPTY, EMPTY, command, tuple(Interface(name=i, title=i) for i in interfaces), home
    )


@pytest.mark.parametrize(
    ("title", "taken", "slug"),
    [
        ("Algèbre linéaire", [], "algebre-lineaire"),
        ("Algèbre linéaire", ["algebre-lineaire"], "algebre-lineaire-2"),
        ("R", ["r", "r-2"], "r-3"),
        ("2026 Python", [], "python"),
        ("101", [], "e-101"),
        ("New", [], "new-2"),
        ("数学", [], ""),
        ("", [], ""),
        ("a" * 40, ["a" * 30], "a" * 28 + "-2"),
        ("Introduction to the history of it", [], "introduction-to-the-history-of"),
    ],
)
def test_short_names(title: str, taken: list[str], slug: str) -> None:
    assert proposed_slug(title, taken) == slug


@few
@given(st.text(max_size=60))
def test_a_proposed_name_is_one(title: str) -> None:
    slug = proposed_slug(title)
    assert slug == "" or is_slug(slug)


def test_an_image_fills_in_what_is_empty_or_was_proposed() -> None:
    one = image("one", "lab", home="/home/one", command="start one")
    two = image("two", "lab", "code", home="/home/two")
    typed = blank(one, "en")
    assert typed.values["command"] == "start one"
    assert typed.values["storage.dedicated"] == "/home/one"
    propose(typed, one, two)
    assert typed.values["command"] == ""
    assert typed.values["storage.dedicated"] == "/home/two"
    assert len(typed.rows["interfaces"]) == 2
    typed.values["storage.dedicated"] = "/home/mine"
    typed.values["command"] = "mine"
    propose(typed, two, one)
    assert typed.values["command"] == "mine"
    assert typed.values["storage.dedicated"] == "/home/mine"
    assert len(typed.rows["interfaces"]) == 1
    # an image that nobody knows takes away what belongs to the other one's command only
    typed.values["command"] = "start one"
    propose(typed, one, None)
    assert typed.values["command"] == ""
    assert len(typed.rows["interfaces"]) == 1


NAMES = st.sampled_from(
    [*blank(None, "en").values, "interfaces.0.port", "interfaces.7.title.fr", "sheet.links.0.url",
     "variables", "sheet.maintainers", "audience.people", "audience.courses", "tags", "title.en"]
)  # fmt: skip


@few
@given(st.dictionaries(NAMES, st.lists(st.text(max_size=20), min_size=1, max_size=2)))
def test_whatever_is_sent_can_be_read_and_previewed(sent: dict[str, list[str]]) -> None:
    typed = Typed.sent(sent)
    done = read(typed, None, translator("fr"))
    assert as_previewed(done.definition, "Titre").slug == "preview"


def test_rows() -> None:
    typed = Typed.sent({"interfaces.3.name": ["b"], "interfaces.1.name": ["a"], "x y": ["z"]})
    assert typed.rows["interfaces"] == [1, 3]
    assert typed.add_row("interfaces") == 4
    typed.remove_row("interfaces", 1)
    assert typed.rows["interfaces"] == [3, 4]
    assert "interfaces.1.name" not in typed.values
    assert "x y" not in typed.values
