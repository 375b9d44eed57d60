"""The form of an image: what was typed, the recipe that it means, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub.domain import names
from mydocker_hub.domain.images import BaseImage, Recipe, Source, Tool
from mydocker_hub.services.catalogue import images_form
from mydocker_hub.services.catalogue.images_form import Typed

TWO_WAYS = [{"name": "lab", "title": "Lab"}, {"name": "files", "title": "Files", "path": "/tree"}]
BASES = (
    BaseImage.model_validate(
        {
            "slug": "python",
            "reference": "example.org/python:1",
            "title": "Python",
            "description": "Python alone",
            "tools": ["apt", "pip"],
            "user": "1000",
            "command": "jupyterhub-singleuser",
            "interfaces": [{"name": "lab", "title": "Lab", "port": 8888}],
            "home": "/home/jovyan",
        }
    ),
    BaseImage.model_validate(
        {
            "slug": "both",
            "reference": "example.org/both:1",
            "title": "Both",
            "description": "Two interfaces",
            "tools": ["conda", "pip"],
            "interfaces": TWO_WAYS,
        }
    ),
)


def typed(**fields: str) -> Typed:
    return images_form.blank(BASES) | {"title_en": "Test", **fields}


def read(**fields: str) -> Recipe:
    recipe, problems = images_form.read_recipe(typed(**fields), BASES)
    assert recipe is not None, problems
    return recipe


def problems(**fields: str) -> dict[str, list[tuple[str, str]]]:
    recipe, found = images_form.read_recipe(typed(**fields), BASES)
    assert recipe is None
    return {name: [tuple(one) for one in of_name] for name, of_name in found.items()}


def test_lists_of_packages() -> None:
    recipe = read(pip="numpy\n# later\npandas==2.2", apt="graphviz ffmpeg", start="echo hello")
    assert recipe.base == "example.org/python:1"
    assert recipe.pip == ("numpy", "pandas==2.2")
    assert recipe.apt == ("graphviz", "ffmpeg")
    assert recipe.title.fr == recipe.title.en == "Test"
    assert (recipe.command, recipe.home) == ("jupyterhub-singleuser", "/home/jovyan")
    assert recipe.interfaces == BASES[0].interfaces


@pytest.mark.parametrize(
    ("fields", "field", "item"),
    [
        ({"title_en": ""}, "title_fr", ""),
        ({"title_en": "x" * 121}, "title_fr", ""),
        ({"pip": "numpy\n--index-url x"}, "pip", "--index-url x"),
        ({"apt": "graphviz\nlib;rm"}, "apt", "lib;rm"),
        ({"r": "ggplot2"}, "r", ""),  # the base has no R
        ({"base": "both", "conda": "gd al && x"}, "conda", "gd al && x"),
        ({"base": "other"}, "other_base", ""),
        ({"base": "other", "other_base": "not an image"}, "other_base", ""),
        ({"source": "dockerfile"}, "dockerfile", ""),
        ({"source": "git"}, "repository", ""),
        ({"source": "git", "repository": "git@host:x"}, "repository", ""),
        ({"source": "git", "repository": "https://a.b/c", "branch": "-x"}, "branch", ""),
        ({"arguments": "A=1\nB"}, "arguments", "B"),
        ({"arguments": "JUPYTERHUB_X=1"}, "arguments", ""),
        ({"source": "dockerfile", "dockerfile": "FROM x", "port": "no"}, "port", ""),
        ({"source": "dockerfile", "dockerfile": "FROM x", "port": "70000"}, "port", ""),
        ({"source": "dockerfile", "dockerfile": "FROM x", "home": "data"}, "home", ""),
        ({"source": "dockerfile", "dockerfile": "FROM x", "command": "sh -c '"}, "command", ""),
        (
            {"source": "dockerfile", "dockerfile": "FROM x", "command": "a {{PORT['1']}}"},
            "command",
            "",
        ),
        ({"start": "echo \x07"}, "start", ""),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(
    fields: dict[str, str], field: str, item: str
) -> None:
    found = problems(**fields)
    assert list(found) == [field]
    assert found[field][0][0]
    assert found[field][0][1] == item


def test_only_what_the_source_has_is_kept() -> None:
    recipe = read(source="dockerfile", dockerfile="FROM x", pip="numpy", start="echo")
    assert (recipe.pip, recipe.start, recipe.base) == ((), "", None)
    recipe = read(source="git", repository="https://a.example/c", dockerfile="FROM x")
    assert (recipe.dockerfile, recipe.base) == ("", "example.org/python:1")


def test_what_environments_are_proposed() -> None:
    recipe = read(
        source="dockerfile", dockerfile="FROM x", port="8080", kind="web", home="/home/me"
    )
    assert [(one.port, one.kind) for one in recipe.interfaces] == [(8080, "web")]
    again = images_form.typed_of(recipe, BASES) | {"port": "8081", "kind": "hub"}
    changed, found = images_form.read_recipe(again, BASES)
    assert changed is not None, found
    assert [(one.port, one.kind) for one in changed.interfaces] == [(8081, "hub")]
    assert changed.home == "/home/me"


@pytest.mark.parametrize("base", ["python", "both"])
def test_taken_over_by_hand(base: str) -> None:
    before = read(base=base)
    taken = images_form.by_hand(typed(base=base), "FROM example.org/x\n", BASES)
    after, found = images_form.read_recipe(taken, BASES)
    assert after is not None, found
    assert after.source is Source.DOCKERFILE
    assert after.dockerfile == "FROM example.org/x\n"
    assert after.interfaces == before.interfaces
    assert (after.command, after.home) == (before.command, before.home)


@pytest.mark.parametrize("sent", ["{", "[1]", '{"a": 1}', '[{"name": "a"}, {"b": 2}]'])
def test_interfaces_of_somebody_elses_making(sent: str) -> None:
    recipe, found = images_form.read_recipe(
        typed(source="dockerfile", dockerfile="FROM x", interfaces=sent, port="1"), BASES
    )
    assert recipe is not None or found


RECIPES: list[dict[str, Any]] = [
    {"base": "example.org/python:1", "pip": ("numpy",), "apt": ("git",), "start": "a\nb"},
    {"base": "example.org/unknown:2", "conda": ("gdal",), "arguments": {"A": "1=2"}},
    {"source": "dockerfile", "dockerfile": "FROM x\n", "interfaces": TWO_WAYS},
    {"source": "git", "repository": "https://a.example/c", "branch": "main"},
]


@pytest.mark.parametrize("fields", RECIPES)
def test_a_recipe_comes_back_from_its_form(fields: dict[str, Any]) -> None:
    recipe = Recipe.model_validate({"title": {"fr": "Un", "en": "One"}, **fields})
    again, found = images_form.read_recipe(images_form.typed_of(recipe, BASES), BASES)
    assert again is not None, found
    known = {"command", "home", "interfaces", "base"}
    assert again.model_dump(exclude=known) == recipe.model_dump(exclude=known)
    if "interfaces" in fields:
        assert again.interfaces == recipe.interfaces


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Python pour les statistiques", "python-pour-les"),
        ("Étude n° 3", "etude-n-3"),
        ("3D", "i3d"),
        ("日本", "image"),
        ("x" * 50, "x" * 27),
    ],
)
def test_proposed_names(title: str, slug: str) -> None:
    assert images_form.proposed_slug(title) == slug


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_any_title_gives_a_name(title: str) -> None:
    assert names.is_slug(images_form.proposed_slug(title))


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(images_form.FIELDS), st.text(max_size=40)))
def test_any_form_is_read(fields: dict[str, str]) -> None:
    recipe, found = images_form.read_recipe(typed(**fields), BASES)
    assert (recipe is None) == bool(found)
    assert set(found) <= set(images_form.FIELDS)


def test_tools_are_fields() -> None:
    assert {tool.value for tool in Tool} <= set(images_form.FIELDS)
