"""The help for fields, their names and values in words, and what is wrong with them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mydocker_hub.domain import calendar, command, environment, quantities
from mydocker_hub.domain.calendar import Session
from mydocker_hub.domain.environment import Environment
from mydocker_hub.web import faults
from mydocker_hub.web.faults import message_text
from mydocker_hub.web.help import field_label, field_value, help_for, helps
from mydocker_hub.web.i18n import LANGUAGES, translator

FR, EN = translator("fr"), translator("en")


def test_the_same_fields_in_both_languages() -> None:
    assert list(helps("fr")) == list(helps("en"))
    for language in LANGUAGES:
        for path, found in helps(language).items():
            assert found.label, path
            assert found.html.startswith("<p>"), path
            assert "`" not in found.html, path
            assert "*" not in re.sub(r"<code>.*?</code>", "", found.html), path


def leaves(model: type, path: str = "") -> Iterator[str]:
    """The paths of a model's fields, those of nested models too."""
    for name, field in model.model_fields.items():
        here = f"{path}{field.alias or name}"
        inner = field.annotation
        if hasattr(inner, "model_fields") and inner.__name__ != "Text":
            yield from leaves(inner, f"{here}.")
        else:
            yield here


def test_every_field_of_an_environment_and_of_a_session_has_help() -> None:
    for path in (*leaves(Environment), *leaves(Session, "session.")):
        assert path in helps("en"), path


@pytest.mark.parametrize(
    ("path", "fr", "en"),
    [
        ("title", "Titre", "Title"),
        ("title.fr", "Titre (en français)", "Title (in French)"),
        ("interfaces.3.port", "Port", "Port"),
        ("variables.DEBUG", "Variable DEBUG", "Variable DEBUG"),
        ("nothing.known", "nothing.known", "nothing.known"),
    ],
)
def test_labels(path: str, fr: str, en: str) -> None:
    assert field_label(path, FR) == fr
    assert field_label(path, EN) == en


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("command", None, ""),
        ("tags", [], ""),
        ("tags", ["a", "b"], "a, b"),
        ("public", True, "oui"),
        ("resources.memory_bytes", 4 * 10**9, "4\u202fGo"),
        ("resources.cpu_limit", 1.5, "1,5"),
        ("lifetime.idle_limit", "PT1H30M", "1\u202fheure et 30 minutes"),
        ("sessions.open_before", "PT15M", "15 minutes"),
        ("sessions.effect", "exam", "examen"),
        ("status", "test", "en test"),
        ("sheet.maintainers", [{"name": "Ada", "email": None}], "Ada"),
        ("content", {"repository": "https://x.fr/y", "branch": None, "path": ""}, "https://x.fr/y"),
        (
            "interfaces",
            [{"name": "lab", "title": {"fr": "Labo", "en": "Lab"}, "port": 8888}],
            "Labo (nom de l’interface: lab, port: 8\u202f888)",
        ),
    ],
)
def test_values(path: str, value: object, words: str) -> None:
    assert field_value(path, value, FR).replace("\u00a0", "\u202f") == words


def test_typography_is_not_for_code() -> None:
    html = helps("fr")["command"].html
    assert "{{HOST[&#39;8888&#39;]}}" in html
    assert "l’image" in html
    assert " :" not in re.sub(r"<code>.*?</code>", "", html)


def test_help_is_escaped() -> None:
    assert "&lt;ada@example.org&gt;" in helps("en")["sheet.maintainers"].html
    assert help_for("nothing.known", EN) is None


def sentences(module: object) -> Iterator[str]:
    """What a module says with ValueError; parameters are stood for by 1."""
    tree = ast.parse(Path(module.__file__).read_text())  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        raised = isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        if not raised or getattr(node.exc.func, "id", "") != "ValueError":  # type: ignore
            continue
        said = node.exc.args[0]  # type: ignore[union-attr]
        if isinstance(said, ast.Constant):
            yield said.value
        elif isinstance(said, ast.JoinedStr):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else "1" for part in said.values
            )


NOT_IN_THE_FORM = (
    "write a duration such as PT20M",
    "write a day",
    "write a year",
    "write {{VOLUME",
    "write whole minutes",
    "write a time zone",
)


@pytest.mark.parametrize("module", [calendar, environment, command, quantities])
def test_each_sentence_of_the_models_is_said_in_french(module: object) -> None:
    for sentence in sentences(module):
        if not sentence.startswith(NOT_IN_THE_FORM):
            assert message_text(sentence, FR) != sentence, sentence


def test_patterns_lead_to_sentences_with_their_parameters() -> None:
    for pattern, sentence in faults._PATTERNS:
        assert set(re.compile(pattern).groupindex) >= set(re.findall(r"%\((\w+)\)s", sentence))
    said = message_text("/etc belongs to the system: choose a folder such as /home/jovyan", FR)
    assert said.startswith("/etc appartient au système")
    assert message_text("something else", FR) == "something else"
