"""The form of an image: what was typed, and the recipe that it means."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from ...domain.environment import LANGUAGES, InterfaceKind
from ...domain.errors import N_
from ...domain.images import BaseImage, Recipe, Source, Tool, as_environment
from ...domain.names import SLUG_MAX_LENGTH
from ...domain.packages import listed

Typed = dict[str, str]


class Problem(NamedTuple):
    """What is wrong with a field, for `Translator.known`; `item` is the line that is meant."""

    text: str
    item: str = ""


Problems = dict[str, list[Problem]]

_SLUG_LENGTH = SLUG_MAX_LENGTH - 3

OTHER = "other"
"""The choice of a base image that is none of those with a card."""

FIELDS = (
    "slug",
    "title_fr",
    "title_en",
    "description_fr",
    "description_en",
    "source",
    "base",
    "other_base",
    "apt",
    "pip",
    "conda",
    "r",
    "start",
    "dockerfile",
    "repository",
    "branch",
    "arguments",
    "command",
    "home",
    "port",
    "kind",
    "interfaces",
)

# What our models say of a value that matches no pattern is for programs.
_PATTERN_SAYS = {
    "apt": N_("write the name of a Debian package, such as graphviz or libxml2-dev"),
    "pip": N_("write a package of PyPI, such as numpy or numpy==2.1"),
    "conda": N_("write a package of conda, such as numpy or numpy=1.26"),
    "r": N_("write the name of an R package, such as ggplot2"),
    "branch": N_("write the name of a branch or a tag, such as main"),
}
# Said by `domain.images`, of which the message catalogues know nothing.
_SENTENCES = (
    N_("choose the image that this one is based on"),
    N_("write the Dockerfile"),
    N_("names of proxies, and those that start with BUILDKIT_, are not taken"),
    N_("write the address of the Git repository"),
    N_("write one package, such as numpy or numpy==2.1; options are not taken"),
    N_("write one package, such as numpy or numpy==2.1"),
)
_MAIN_FIELD = {
    Source.PACKAGES: "other_base",
    Source.DOCKERFILE: "dockerfile",
    Source.GIT: "repository",
}
_SHORTER = N_("this is too long")
_NO_TOOL = N_("this base image has nothing to install these with: choose another one")


def base_of(bases: Sequence[BaseImage], reference: str | None) -> BaseImage | None:
    """The base image with a card that a reference names."""
    return next((base for base in bases if base.reference == reference), None)


def blank(bases: Sequence[BaseImage]) -> Typed:
    """The form of a new image."""
    return dict.fromkeys(FIELDS, "") | {
        "source": Source.PACKAGES.value,
        "base": bases[0].slug if bases else OTHER,
        "kind": InterfaceKind.WEB.value,
    }


def typed_of(recipe: Recipe, bases: Sequence[BaseImage]) -> Typed:
    """A recipe as the form shows it."""
    base = base_of(bases, recipe.base)
    only = recipe.interfaces[0] if len(recipe.interfaces) == 1 else None
    return {
        "slug": "",
        "title_fr": recipe.title.fr,
        "title_en": recipe.title.en,
        "description_fr": recipe.description.fr,
        "description_en": recipe.description.en,
        "source": recipe.source.value,
        "base": base.slug if base else OTHER,
        "other_base": "" if base else recipe.base or "",
        **{tool.value: "\n".join(getattr(recipe, tool.value)) for tool in Tool},
        "start": recipe.start,
        "dockerfile": recipe.dockerfile,
        "repository": recipe.repository or "",
        "branch": recipe.branch or "",
        "arguments": "\n".join(f"{name}={value}" for name, value in recipe.arguments.items()),
        "command": recipe.command or "",
        "home": recipe.home or "",
        "port": str(only.port) if only else "",
        "kind": (only.kind if only else InterfaceKind.WEB).value,
        "interfaces": _interfaces_json(recipe.interfaces),
    }


def by_hand(typed: Typed, text: str, bases: Sequence[BaseImage]) -> Typed:
    """The form of the same image as a Dockerfile that people go on with themselves.

    What environments are proposed stays that of the base image.
    """
    taken = typed | {"source": Source.DOCKERFILE.value, "dockerfile": text}
    base = next((base for base in bases if base.slug == typed["base"]), None)
    if base is not None:
        only = base.interfaces[0] if len(base.interfaces) == 1 else None
        taken |= {
            "command": base.command or "",
            "home": base.home or "",
            "port": str(only.port) if only else "",
            "kind": (only.kind if only else InterfaceKind.WEB).value,
            "interfaces": _interfaces_json(base.interfaces),
        }
    return taken


def _interfaces_json(interfaces: Sequence[Any]) -> str:
    if not interfaces:
        return ""
    return json.dumps(
        [interface.model_dump(mode="json", exclude_none=True) for interface in interfaces]
    )


def read_recipe(typed: Typed, bases: Sequence[BaseImage]) -> tuple[Recipe | None, Problems]:
    """The recipe that a form means, or why it means none: sentences by field of the form."""
    problems: Problems = {}
    sent = _sent(typed, bases, problems)
    recipe = None
    whole = _MAIN_FIELD[Source(sent["source"])]
    try:
        recipe = Recipe.model_validate(sent)
        whole = "command"
        as_environment(recipe, "image", "image:1")  # what environments of it are proposed
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_context=False):
            field, problem = _worded(fault, sent)
            problems.setdefault(field or whole, []).append(problem)
    base = base_of(bases, sent.get("base"))
    if base and sent["source"] == Source.PACKAGES:
        for tool in Tool:
            if sent[tool.value] and tool not in base.tools:
                problems.setdefault(tool.value, []).append(Problem(_NO_TOOL))
    return (None if problems else recipe), problems


def _sent(typed: Typed, bases: Sequence[BaseImage], problems: Problems) -> dict[str, Any]:
    """The fields of a `Recipe`; only those that its source has."""
    source = typed["source"] if typed["source"] in list(Source) else Source.PACKAGES.value
    sent: dict[str, Any] = {
        "title": _both(typed["title_fr"], typed["title_en"]),
        "description": {"fr": typed["description_fr"], "en": typed["description_en"]},
        "source": source,
        **{tool.value: () for tool in Tool},
    }
    base = next((base for base in bases if base.slug == typed["base"]), None)
    if source != Source.DOCKERFILE:
        sent["base"] = base.reference if base else typed["other_base"] or None
    if source == Source.PACKAGES:
        sent |= {tool.value: listed(tool, typed[tool.value]) for tool in Tool}
        sent["start"] = typed["start"]
    elif source == Source.DOCKERFILE:
        sent["dockerfile"] = typed["dockerfile"]
    else:
        sent["repository"] = typed["repository"] or None
        sent["branch"] = typed["branch"] or None
    if source != Source.GIT:
        sent["arguments"] = _arguments(typed["arguments"], problems)
    sent["command"] = typed["command"] or None
    sent["home"] = typed["home"] or None
    sent["interfaces"] = _interfaces(typed, problems)
    if source == Source.PACKAGES and base:
        sent |= {"command": base.command, "home": base.home, "interfaces": base.interfaces}
    return sent


def _both(fr: str, en: str) -> dict[str, str]:
    """One that was left empty is the other."""
    return {"fr": fr or en, "en": en or fr}


def _arguments(text: str, problems: Problems) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if name and equals:
            found[name.strip()] = value.strip()
        elif name:
            problems["arguments"] = [Problem(N_("write NAME=value on each line"), line)]
    return found


def _interfaces(typed: Typed, problems: Problems) -> list[Any]:
    """What was kept in the form; of one interface, port and kind may be typed."""
    try:
        kept = json.loads(typed["interfaces"] or "[]")
    except ValueError:
        kept = []
    kept = kept if isinstance(kept, list) else []
    if len(kept) > 1:
        return kept
    if not typed["port"]:
        return []
    if not re.fullmatch("[1-9][0-9]{0,4}", typed["port"]):
        problems["port"] = [Problem(N_("write the number of a port, such as 8888"))]
        return []
    only = kept[0] if kept and isinstance(kept[0], dict) else {"name": "web", "title": "Web"}
    if only.get("kind") != typed["kind"]:  # these are of the other kind
        only = {key: value for key, value in only.items() if key not in {"prefix", "sign_in"}}
    return [{**only, "port": int(typed["port"]), "kind": typed["kind"] or "web"}]


def _worded(fault: Any, sent: dict[str, Any]) -> tuple[str, Problem]:
    """A finding of the models as a field of the form ("": the whole of it) and a sentence."""
    where = [str(part) for part in fault["loc"]]
    text = str(fault["msg"]).removeprefix("Value error, ")
    if not where:
        return "", Problem(text)
    name = where[0]
    if fault["type"] == "string_pattern_mismatch":
        text = _PATTERN_SAYS.get(name, text)
    elif fault["type"] in {"string_too_long", "too_long"}:
        text = _SHORTER
    if name in {"title", "description"}:
        language = where[1] if len(where) > 1 and where[1] in LANGUAGES else LANGUAGES[0]
        return f"{name}_{language}", Problem(text)
    if name in list(Tool) and len(where) > 1 and where[1].isdigit():
        return name, Problem(text, sent[name][int(where[1])])
    return {"base": "other_base", "interfaces": "port"}.get(name, name), Problem(text)


def of_list(error: ValidationError, tool: Tool, packages: Sequence[str]) -> list[Problem]:
    """What is wrong with the packages of one list."""
    sent = {"source": Source.PACKAGES, tool.value: packages}
    return [
        _worded(fault, sent)[1] for fault in error.errors(include_url=False, include_context=False)
    ]


def proposed_slug(title: str) -> str:
    """A short name for the address, from a title; there is room for a number after it."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = re.findall("[a-z0-9]+", plain) or ["image"]
    slug = words[0][:_SLUG_LENGTH]
    for word in words[1:]:
        if len(slug) + len(word) + 1 > _SLUG_LENGTH:
            break
        slug += f"-{word}"
    return slug if slug[0].isalpha() else f"i{slug}"


def clean(name: str, value: str) -> str:
    """A value as it came, with the line ends of this system and without spaces around it."""
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    return value.strip("\n") if name in {"start", "dockerfile"} else value.strip()
