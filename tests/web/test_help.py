"""The help for fields, their names and values in words, and what is wrong with them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import lxml.html
import pytest

from mydocker_hub.domain import calendar, command, context, environment, quantities
from mydocker_hub.domain.access import Right
from mydocker_hub.domain.calendar import Session
from mydocker_hub.domain.environment import Environment, Status, Text
from mydocker_hub.domain.images import Recipe, Tool
from mydocker_hub.domain.people import Person
from mydocker_hub.services.catalogue import images_form, images_pages
from mydocker_hub.services.catalogue.app import _templates
from mydocker_hub.share import share_path
from mydocker_hub.store.workshop import Colleague, Holder, Request
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
            "Labo (nom de l’interface\u202f: lab, port\u202f: 8888)",
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


# --- beside each field ---------------------------------------------------------------------------

NOW = datetime(2026, 9, 1, tzinfo=UTC)
TINY = Environment(
    slug="tiny", title="Tiny", image="a:1", interfaces=[{"name": "lab", "title": "Lab"}]
)
ADA = Person(name="ada")
IMAGE = SimpleNamespace(
    slug="i",
    recipe=Recipe(title="I", base="a:1"),
    version=1,
    public=False,
    files=(),
    updated_at=NOW,
)  # type: ignore[arg-type]
FOUND = SimpleNamespace(environment=TINY, version=1)
OF_ENVIRONMENT = {
    "environment": TINY,
    "found": FOUND,
    "rights": SimpleNamespace(edit=True, own=True),
    "tab": "",
    "done": "",
    "refusal": None,
    "problems": {},
}
ASKED = Request(
    id=1,
    kind="access",
    slug="tiny",
    title=Text(fr="T", en="T"),
    status=Status.READY,
    person="bob",
    display_name="Bob",
    message="Please",
    made_at=NOW,
    answered_at=None,
    accepted=False,
    answer="",
    answered_by="",
    version=1,
)
BUILT = SimpleNamespace(
    number=1, id=1, state="done", cancel_asked=False, finished=True, removed_at=None,
    started_at=NOW, ended_at=NOW, asked_at=NOW, made_by="ada", reference="a:1", digest="",
    size_bytes=1, git_commit="", files=(), dockerfile="",
)  # fmt: skip

Forms = list[tuple[str, str, dict[str, Any]]]
FORMS: Forms = [
    ("images/form.html", "recipe.", {
        "found": None, "typed": images_form.blank(()), "problems": {}, "differences": [],
        "version": 0, "bases": (), "tools": list(Tool), "generated": "", "note": "",
        "labels": images_pages.LABELS,
    }),
    ("images/files.html", "recipe.", {
        "found": IMAGE, "folders": [], "total": 0, "limits": context, "may_edit": True,
        "done": "", "problems": [],
    }),
    ("images/sharing.html", "recipe.", {
        "found": IMAGE, "holders": [Holder("ada", "", Right.OWN)], "asked": "bob",
        "colleagues": [Colleague("bob", "Bob")], "rights": images_pages.RIGHTS, "done": "",
    }),
    ("images/build.html", "build.", {
        "found": IMAGE, "build": BUILT, "unfinished": False, "usable": True, "log": "",
        "cut": False, "last": 0, "failure": None, "error": None, "steps": [], "may_edit": True,
        "direct": False, "quoted_reference": "", "done": "",
        "one": SimpleNamespace(wanted=None, environments=[FOUND], uses=[], position=0),
    }),
    ("images/packages.html", "packages.", {
        "found": FOUND, "tools": list(Tool), "tool": "pip", "text": "", "problems": [],
    }),
    ("workshop/links.html", "link.", {
        **OF_ENVIRONMENT, "links": [], "today": "2026-09-01",
        "typed": SimpleNamespace(label="", until=""),
    }),
    ("workshop/duplicate.html", "copy.", {
        **OF_ENVIRONMENT, "typed": SimpleNamespace(title_fr="", title_en="", slug=""),
    }),
    ("workshop/ask.html", "request.", {
        **OF_ENVIRONMENT, "kind": "access", "typed": "", "problem": "",
    }),
    ("workshop/requests.html", "answer.", {
        "requests": [ASKED], "sent": [], "typed": {}, "waiting": 1, "done": "", "refusal": None,
    }),
    ("workshop/sharing.html", "sharing.", {
        **OF_ENVIRONMENT, "holders": [Holder("ada", "", Right.OWN)], "text": "bob", "to": "",
        "colleagues": [Colleague("bob", "Bob")],
    }),
]  # fmt: skip

WITHOUT = {
    "images/_parts.html",  # pieces of the above
    "images/_packages.html",
    "images/list.html",  # a search
    "images/image.html",  # buttons; the public switch is looked at below
    "images/delete.html",
    "workshop/_parts.html",
    "workshop/_form_parts.html",  # the form of an environment: tests/services/test_workshop_form.py
    "workshop/_form_meeting.html",
    "workshop/form.html",
    "workshop/list.html",  # a search
    "workshop/environment.html",  # a choice whose labels say what each state is
    "workshop/delete.html",  # “I want to delete it”
}


def rendered(name: str, language: str, given: Mapping[str, Any]) -> lxml.html.HtmlElement:
    """The inner part of a page, as the service would show it."""
    tr = translator(language)
    templates = _templates()
    assert templates.loader is not None
    layout = "{% block scripts %}{% endblock %}{% block main %}{% endblock %}"
    templates.loader = jinja2.ChoiceLoader(
        [jinja2.DictLoader({"catalogue/layout.html": layout}), templates.loader]
    )
    return lxml.html.fromstring(
        templates.get_template(name).render(
            tr=tr, _=tr.gettext, gettext=tr.gettext, ngettext=tr.ngettext, lang=language,
            help_for=partial(help_for, translator=tr), person=ADA, prefix="/", xsrf="",
            here="/", path="/", static_url=str, now=NOW, **given,
        )
    )  # fmt: skip


def fields(page: lxml.html.HtmlElement) -> set[str]:
    """What can be filled in, but for searches and for the check boxes of lists."""
    return {
        field.get("name")
        for field in page.xpath("//input[@name] | //select[@name] | //textarea[@name]")
        if field.get("type") not in {"hidden", "search", "checkbox"}
        and not field.xpath("ancestor::form[@role='search']")
    }


def helped(page: lxml.html.HtmlElement) -> list[str]:
    """What the question marks of a page say to a screen reader."""
    return [
        one.text_content().strip() for one in page.xpath("//details[@class='field-help']/summary")
    ]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("name", "prefix", "given"), FORMS, ids=[form[0] for form in FORMS])
def test_each_field_has_its_help_beside_it(
    name: str, prefix: str, given: dict[str, Any], language: str
) -> None:
    page = rendered(name, language, given)
    beside = helped(page)
    assert fields(page)
    for field in fields(page):
        path = prefix + re.sub("_(fr|en)$", "", field)
        assert path in helps(language), path
        said = translator(language).gettext("Help: %(field)s", field=helps(language)[path].label)
        assert beside.count(said) == 1, path


def test_no_page_with_fields_is_left_out() -> None:
    templates = share_path("templates")
    looked_at = {form[0] for form in FORMS} | WITHOUT
    for folder in ("images", "workshop"):
        for page in (templates / folder).glob("*.html"):
            text = re.sub(r"<input type=\"hidden\"[^>]*>", "", page.read_text())
            if re.search(r"<(input|select|textarea)\b|parts\.(line|area|field)\(", text):
                assert f"{folder}/{page.name}" in looked_at


def test_the_public_switch_of_an_image_has_help() -> None:
    assert 'help("recipe.public")' in (share_path("templates") / "images/image.html").read_text()


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
