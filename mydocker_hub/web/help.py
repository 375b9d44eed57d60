"""What fields of the workshop are called, what they mean, and their values in words.

The text is the teachers' reference, `docs/teachers/fields.en.md` (environments) and
`image-fields.en.md`, and the same in French: a heading for each field, its path in code at the end,
and what follows up to the next heading. The forms show the same beside the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from markupsafe import Markup, escape
from pydantic import TypeAdapter

from ..domain.environment import Duration
from ..domain.errors import N_
from ..share import help_path
from .i18n import Translator

_PAGES = ("fields", "image-fields")
_HEADING = re.compile(r"#{2,3} (?P<label>.+?)(?: \(`(?P<path>[a-z_.*]+)`\))?")
_DURATION = TypeAdapter(Duration)
_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|\*([^*]+)\*")
_TAGS = (Markup("<code>{}</code>"), Markup("<strong>{}</strong>"), Markup("<em>{}</em>"))


@dataclass(frozen=True)
class Help:
    """A field's name for people, and what it means as HTML that is safe to show."""

    label: str
    html: Markup


@lru_cache(maxsize=4)
def helps(language: str) -> Mapping[str, Help]:
    """All fields of a language by their path, `interfaces.*.port`; read once."""
    found: dict[str, Help] = {}
    for page in _PAGES:
        found |= _read((help_path() / f"{page}.{language}.md").read_text(encoding="utf-8"))
    return MappingProxyType(found)


def _read(text: str) -> dict[str, Help]:
    found: dict[str, Help] = {}
    path, label, lines = "", "", list[str]()
    for line in [*text.splitlines(), "## "]:
        match = _HEADING.fullmatch(line)
        if match is None and not line.startswith("#"):
            lines.append(line)
            continue
        if path:
            found[path] = Help(_typeset(label), _html(lines))
        path, label = (match["path"] or "", match["label"]) if match else ("", "")
        lines = []
    return found


def _html(lines: list[str]) -> Markup:
    paragraphs = "\n".join(lines).strip().split("\n\n")
    return Markup("").join(Markup("<p>{}</p>").format(_inline(one)) for one in paragraphs if one)


def _inline(text: str) -> Markup:
    """Code, strong and emphasised words; everything else is plain text."""
    done, last = Markup(""), 0
    text = _typeset(" ".join(text.split()))
    for match in _INLINE.finditer(text):
        done += escape(text[last : match.start()])
        tag, words = next(
            (tag, words) for tag, words in zip(_TAGS, match.groups(), strict=True) if words
        )
        done += tag.format(words)
        last = match.end()
    return done + escape(text[last:])


def _typeset(text: str) -> str:
    """With the spaces and apostrophes that files of documentation do without, but not in code."""
    parts = re.split(r"(`[^`]*`)", text)
    for number in range(0, len(parts), 2):
        part = parts[number].replace("'", "’").replace("« ", "«\u00a0")
        part = re.sub(r" (?=[:»])", "\u00a0", part)
        parts[number] = re.sub(r" (?=[;!?])", "\u202f", part)
    return "".join(parts)


def help_for(path: str, translator: Translator) -> Help | None:
    """The help of a field by its path; neither row numbers nor a language at its end matter."""
    fields = helps(translator.lang)
    general = re.sub(r"\.(\d+|NUMBER)(?=\.|$)", ".*", path)  # or a row yet to be numbered
    without_language = re.sub(r"\.(fr|en)$", "", general)
    return fields.get(general) or fields.get(without_language)


_LANGUAGES = {"fr": N_("in French"), "en": N_("in English")}


def field_label(path: str, translator: Translator) -> str:
    """What a field is called, such as “Title (in French)” for `title.fr`.

    A path that is not known comes back as it is: better a technical name than none.
    """
    found = help_for(path, translator)
    if found is None:
        parent, _, last = path.rpartition(".")
        if parent == "variables":
            return translator.gettext("Variable %(name)s", name=last)
        return path
    ending = re.search(r"\.(fr|en)$", path)
    if ending is None:
        return found.label
    language = translator.gettext(_LANGUAGES[ending[1]])
    return translator.gettext("%(field)s (%(language)s)", field=found.label, language=language)


WORDS = {
    "status.draft": N_("draft"),
    "status.test": N_("in test"),
    "status.ready": N_("ready"),
    "status.archived": N_("archived"),
    "sessions.effect.indicative": N_("indicative"),
    "sessions.effect.reserved": N_("reserved"),
    "sessions.effect.exam": N_("exam"),
}


def field_value(path: str, value: Any, translator: Translator) -> str:
    """A field's value as `Environment.model_dump(mode="json")` has it, in words; "" for nothing.

    For tables of differences: sizes and durations with their units, lists with commas.
    """
    if value is None or value == "" or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return translator.gettext("yes") if value else translator.gettext("no")
    if path.endswith("_bytes") and isinstance(value, int):
        return translator.bytes(value)
    durations = path.startswith("lifetime.") or path == "sessions.open_before"
    if durations and isinstance(value, str):
        return translator.duration(_duration(value))
    if isinstance(value, int | float):
        return translator.number(value)
    if f"{path}.{value}" in WORDS:
        return translator.gettext(WORDS[f"{path}.{value}"])
    if isinstance(value, Mapping):
        return _mapping(path, value, translator)
    if isinstance(value, list | tuple):
        separator = "; " if any(isinstance(item, Mapping) for item in value) else ", "
        return separator.join(field_value(path, item, translator) for item in value)
    return str(value)


def _mapping(path: str, value: Mapping[str, Any], translator: Translator) -> str:
    """An interface, a link, a maintainer, content: what names it, then the rest in brackets."""
    if set(value) == {"fr", "en"}:
        return translator.text(value)
    named = [value[name] for name in ("title", "name", "repository") if value.get(name)]
    first = field_value("", named[0], translator) if named else ""
    colon = translator.gettext(": ")
    rest = [
        f"{_inner_label(path, name, translator)}{colon}{_inner_value(name, item, translator)}"
        for name, item in value.items()
        if item not in (None, "", [], {}) and not (named and item is named[0])
    ]
    if not first:
        return ", ".join(rest)
    return f"{first} ({', '.join(rest)})" if rest else first


def _inner_label(path: str, name: str, translator: Translator) -> str:
    """What a part of an item is called: a word where there is help for it."""
    fields = helps(translator.lang)
    found = next(
        (fields[one] for one in (f"{path}.*.{name}", f"{path}.{name}") if one in fields), None
    )
    return found.label.lower() if found else name


def _inner_value(name: str, value: Any, translator: Translator) -> str:
    """A part of an item in words; a port is a name made of digits, not a quantity."""
    return str(value) if name == "port" else field_value("", value, translator)


def _duration(text: str) -> timedelta:
    parsed: timedelta = _DURATION.validate_python(text)
    return parsed
