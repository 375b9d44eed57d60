"""The catalogue as code: environments, join links and compute types in one YAML file.

`load` reads such a file, `dump` writes one, `diff` says what an import would change, and
`json_schema` gives what editors check against (published as `share/catalogue/schema.json`):

    python -m mydocker_hub.cataloguefile > share/catalogue/schema.json

Of YAML only the part is read that every reader understands in the same way: no anchors, tags or
second documents, and no words that are text for one reader and a date, an octal number or
“false” for another. What is refused is refused with file, line, field, and what to write instead.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, ClassVar, Literal, NoReturn, Self, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from yaml.resolver import Resolver

from .domain.environment import (
    JOIN_KEY_PATTERN,
    ComputeType,
    Environment,
    JoinLink,
    Model,
    Text,
    iso_duration,
)
from .domain.errors import Invalid
from .domain.names import SLUG_PATTERN

MAX_BYTES = 5 * 10**6
MAX_DEPTH = 12  # a link's title in an environment's sheet is at 7
MAX_VALUES = 200_000
MAX_PROBLEMS = 50

Problem = tuple[str, str]
Location = tuple[int | str, ...]
File = TypeVar("File", bound=BaseModel)


# --- what a file holds ---------------------------------------------------------------------------


class CatalogueEntry(Environment):
    """An environment and the join links that lead to it."""

    join_links: tuple[JoinLink, ...] = Field(default=(), max_length=100)

    @field_validator("join_links")
    @classmethod
    def _keys_differ(cls, links: tuple[JoinLink, ...]) -> tuple[JoinLink, ...]:
        keys = [link.key for link in links]
        if len(set(keys)) != len(keys):
            raise ValueError("each join link needs a key of its own")
        return links


class CatalogueFile(Model):
    """Environments with their join links, and the compute types that they name."""

    version: Literal[1]
    compute_types: tuple[ComputeType, ...] = Field(default=(), max_length=200)
    environments: tuple[CatalogueEntry, ...] = Field(default=(), max_length=5000)

    @field_validator("version", mode="before")
    @classmethod
    def _a_number(cls, version: Any) -> Any:
        if type(version) is not int:  # for Python, true and 1.0 are 1
            raise ValueError("write 1")
        return version

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = list(_contradictions(self))
        if problems:
            # `load` wants the places one by one, everybody else a sentence.
            sentence = "; ".join(text for _, text in problems[:MAX_PROBLEMS])
            raise PydanticCustomError(
                "contradiction", "{sentence}", {"sentence": sentence, "problems": problems}
            )
        return self


def _contradictions(file: CatalogueFile) -> Iterator[tuple[Location, str]]:
    compute_types = {"default"}
    for index, compute_type in enumerate(file.compute_types):
        if compute_type.slug in [other.slug for other in file.compute_types[:index]]:
            yield (
                ("compute_types", index, "slug"),
                f"there is a compute type “{compute_type.slug}” above: choose another name",
            )
        compute_types.add(compute_type.slug)
    slugs: set[str] = set()
    owner_of: dict[str, str] = {}
    for index, entry in enumerate(file.environments):
        here: Location = ("environments", index)
        if entry.slug in slugs:
            yield (
                (*here, "slug"),
                f"there is an environment “{entry.slug}” above: choose another name",
            )
        slugs.add(entry.slug)
        wanted = entry.resources.compute_type
        if wanted not in compute_types:
            yield (
                (*here, "resources", "compute_type"),
                f"“{wanted}” is not among the compute_types of this file"
                f"{_perhaps(wanted, compute_types)}",
            )
        for number, link in enumerate(entry.join_links):
            if link.key in owner_of:
                yield (
                    (*here, "join_links", number, "key"),
                    f"this key leads to “{owner_of[link.key]}” already: each link needs its own",
                )
            owner_of.setdefault(link.key, entry.slug)


def _perhaps(word: str, known: set[str] | list[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f": did you mean {near[0]}?" if near else f": write one of {', '.join(sorted(known))}"


# --- reading -------------------------------------------------------------------------------------


def load(text: str | bytes, name: str) -> CatalogueFile:
    """The catalogue that `text` (UTF-8, at most 5 MB) holds; `name` is the file's, for messages.

    Raises `Invalid`, code `invalid` or `too-large`. Its `problems` are pairs of place and
    sentence: `("paris.yaml:12: environments[0].image", "this is not an image reference: …")`.
    """
    return read(text, name, CatalogueFile)


def read(text: str | bytes, name: str, model: type[File]) -> File:
    """The same for a file of another kind. Its `contradiction` errors name their own places."""
    root = _Reader(name).read(_decode(text, name))
    try:
        return model.model_validate(_plain(root), by_alias=True, by_name=False)
    except ValidationError as error:
        errors = _errors(error)
    problems = [
        (*_find(root, location), sentence)
        for details in errors[:MAX_PROBLEMS]
        for location, sentence in _explain(details, model)
    ]
    problems.sort(key=lambda problem: problem[0])
    more = max(0, len(errors) - MAX_PROBLEMS)
    raise _invalid(name, [(_place(name, line, path), text) for line, path, text in problems], more)


def _place(name: str, line: int, path: str) -> str:
    return f"{name}:{line}: {path}" if path else f"{name}:{line}"


def _invalid(name: str, problems: list[Problem], more: int = 0) -> Invalid:
    more += max(0, len(problems) - MAX_PROBLEMS)
    if more:
        problems = [*problems[:MAX_PROBLEMS], (name, f"and {more} more")]
    return Invalid(problems=problems)


_NOT_TEXT = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)  # YAML 1.2's c-printable, without the three that are line breaks for YAML 1.1 only


def _decode(text: str | bytes, name: str) -> str:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > MAX_BYTES:
        limit = f"{MAX_BYTES // 10**6} MB"
        problem = (f"{name}:1", f"a catalogue file has at most {limit}: split it")
        raise Invalid("too-large", problems=[problem], limit=limit)
    try:
        decoded = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        sentence = "this is not UTF-8: save the file with that encoding"
        raise _invalid(name, [(f"{name}:{line}", sentence)]) from None
    if found := _NOT_TEXT.search(decoded):
        line = decoded.count("\n", 0, found.start()) + 1
        sentence = f"remove the control character U+{ord(found[0]):04X}"
        raise _invalid(name, [(f"{name}:{line}", sentence)])
    return decoded


@dataclass
class _Node:
    """A value of the file: a scalar, a list of nodes, or nodes by field name.

    `line` is where a person looks for it: that of its field name, if it has one.
    """

    line: int
    value: Any


@dataclass
class _Open:
    """A list or mapping whose end has not been read; `field` waits for its value."""

    node: _Node
    path: str
    field: str | None = None
    field_line: int = 0


class _Reader:
    """Turns YAML events into nodes; one reader reads one file."""

    # libyaml where PyYAML was built with it: the same events, many times as fast.
    loader: ClassVar[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    def __init__(self, name: str) -> None:
        self.name = name
        self.root: _Node | None = None
        self.open: list[_Open] = []
        self.values = 0
        self.documents = 0
        self.problems: list[Problem] = []

    def read(self, text: str) -> _Node:
        """The file's nodes; raises `Invalid`."""
        try:
            for event in yaml.parse(text, Loader=self.loader):
                self._take(event)
        except yaml.YAMLError as error:
            line, sentence = _broken_yaml(error, text)
            self._stop(line, sentence)
        if self.root is None:
            self._stop(1, "the file is empty: begin with version: 1")
        if self.problems:
            raise _invalid(self.name, self.problems)
        return self.root

    def _take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self._stop(line, "one file holds one document: remove the line ---")
        elif isinstance(event, yaml.CollectionEndEvent):
            self.open.pop()
        elif isinstance(event, yaml.NodeEvent):
            self._check(event, line)
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event, line)
            else:
                self._collection([] if isinstance(event, yaml.SequenceStartEvent) else {}, line)

    def _check(self, event: yaml.NodeEvent, line: int) -> None:
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._stop(
                line,
                "anchors (&) and aliases (*) are not used here: write the value out, "
                "or put it between quotes if text is meant",
            )
        if getattr(event, "tag", None) is not None:
            self._stop(
                line,
                "tags (!) are not used here: remove it, "
                "or put the value between quotes if text is meant",
            )
        self.values += 1
        if self.values > MAX_VALUES:
            self._stop(line, f"a catalogue file has at most {MAX_VALUES} values: split it")

    def _collection(self, value: list[_Node] | dict[str, _Node], line: int) -> None:
        if self._awaits_field():
            self._stop(line, "a field's name is a word, not a list or fields")
        if len(self.open) >= MAX_DEPTH:
            self._stop(line, "this is nested deeper than anything in a catalogue: check the layout")
        node = _Node(line, value)
        path = self._path()
        self._add(node)
        self.open.append(_Open(node, path))

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        value: Any = event.value
        sentence = ""
        if event.implicit[0]:  # written without quotes
            try:
                value = _meaning(event.value)
            except ValueError as error:
                sentence = str(error)
        if not self._awaits_field():
            if sentence:
                self._note(line, sentence)
            self._add(_Node(line, value))
            return
        top = self.open[-1]
        top.field, top.field_line = event.value, line
        if sentence or not isinstance(value, str):
            self._note(line, "a field's name is a word: put it between quotes")
        elif known := top.node.value.get(value):
            self._note(line, f"this field is on line {known.line} already: keep one of them")

    def _awaits_field(self) -> bool:
        if not self.open:
            return False
        top = self.open[-1]
        return isinstance(top.node.value, dict) and top.field is None

    def _add(self, node: _Node) -> None:
        if not self.open:
            self.root = node
            return
        top = self.open[-1]
        if top.field is None:
            top.node.value.append(node)
        else:
            node.line = top.field_line
            top.node.value.setdefault(top.field, node)
            top.field = None

    def _path(self) -> str:
        """The field that is being read, such as `environments[2].image`."""
        if not self.open:
            return ""
        top = self.open[-1]
        if isinstance(top.node.value, list):
            return _join(top.path, len(top.node.value))
        return _join(top.path, top.field) if top.field is not None else top.path

    def _note(self, line: int, sentence: str) -> None:
        self.problems.append((_place(self.name, line, self._path()), sentence))

    def _stop(self, line: int, sentence: str) -> NoReturn:
        self._note(line, sentence)
        raise _invalid(self.name, self.problems)


def _broken_yaml(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark else 1
    lines = text.splitlines()
    content = lines[line - 1] if line <= len(lines) else ""
    indentation = content[: len(content) - len(content.lstrip())]
    if "\t" in indentation or (mark and content[mark.column : mark.column + 1] == "\t"):
        return line, "YAML takes no tabs here: replace them by spaces"
    reason = getattr(error, "problem", None) or "it cannot be read"
    return line, f"this is not YAML ({reason}): check quotes, colons and indentation"


_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True)
_WORDS |= dict.fromkeys(("false", "False", "FALSE"), False)
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,30}")
_NUMBER_ELSEWHERE = re.compile(  # in YAML 1.2; PyYAML's resolver knows those of 1.1
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+"
)
_YAML_1_1: Any = Resolver()  # its stub has no types


def _meaning(text: str) -> str | int | float | bool | None:
    """What a scalar without quotes stands for; raises ValueError where YAML readers disagree."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    resolved: str = _YAML_1_1.resolve(yaml.ScalarNode, text, (True, False))
    tag = resolved.rpartition(":")[2]
    if tag in {"int", "float"} or _NUMBER_ELSEWHERE.fullmatch(text):
        raise ValueError(
            f"write this number in plain decimal digits, or put {_shown(text)} between quotes "
            "if text is meant"
        )
    if tag == "bool":
        raise ValueError(
            f"{_shown(text)} is true or false for some YAML readers: write true or false, "
            "or put it between quotes if text is meant"
        )
    if tag != "str":
        raise ValueError(f"put {_shown(text)} between quotes: YAML readers differ on what it is")
    return text


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    text = " ".join(text.split())
    return f"“{text if len(text) <= 40 else text[:39] + '…'}”"


def _join(path: str, part: int | str) -> str:
    if isinstance(part, int):
        return f"{path}[{part}]"
    if not re.fullmatch(r"[\w.-]{1,60}", part):
        part = _shown(part)
    return f"{path}.{part}" if path else part


def _plain(node: _Node) -> Any:
    if isinstance(node.value, dict):
        return {field: _plain(child) for field, child in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(child) for child in node.value]
    return node.value


# --- explaining ----------------------------------------------------------------------------------


def _find(node: _Node, location: Location) -> tuple[int, str]:
    """Line and path of what `location` names; the line of what is around it if it is not there."""
    path = ""
    for part in location:
        if part == "[key]":  # pydantic: the name of the field before, not its value
            break
        path = _join(path, part)
        if isinstance(node.value, dict):
            node = node.value.get(part, node)
        elif isinstance(node.value, list) and isinstance(part, int):
            node = node.value[part]
    return node.line, path


def _errors(error: ValidationError) -> list[ErrorDetails]:
    """The errors, without “the list is too short” where pydantic says so of its faulty items."""
    errors = error.errors(include_url=False)
    inside = {item["loc"][:end] for item in errors for end in range(len(item["loc"]))}
    return [item for item in errors if item["type"] != "too_short" or item["loc"] not in inside]


def _explain(error: ErrorDetails, model: type[BaseModel]) -> list[tuple[Location, str]]:
    """Where and what, of an error of pydantic's, for the person who wrote the file."""
    location = error["loc"]
    if error["type"] == "contradiction":
        return list(error["ctx"]["problems"])
    if error["type"] == "extra_forbidden":
        known = _fields_at(location[:-1], model)
        return [(location, f"there is no such field here{_perhaps(str(location[-1]), known)}")]
    return [(location, _sentence(error))]


_KINDS = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "tuple_type": "a list, one “- …” a line",
    "dict_type": "fields, one “name: value” a line",
    "model_type": "fields, one “name: value” a line",
    "model_attributes_type": "fields, one “name: value” a line",
}

_PATTERNS = {
    SLUG_PATTERN: (
        "write lower-case letters, digits and single hyphens, beginning with a letter, "
        "such as jupyterlab-python"
    ),
    JOIN_KEY_PATTERN: "a key has 12 to 64 letters and digits, and nothing else",
}


def _sentence(error: ErrorDetails) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "missing":
        return "this field is needed"
    if value is None:
        return "this is empty: write a value, or leave the field out"
    if kind in _KINDS:
        if isinstance(value, list | dict):
            return f"write {_KINDS[kind]}, not {'a list' if isinstance(value, list) else 'fields'}"
        if kind == "string_type":
            return f"write text: put {_shown(value)} between quotes"
        return f"write {_KINDS[kind]}, not {_shown(value)}"
    if kind == "value_error":
        return str(context["error"])
    if kind in {"enum", "literal_error"}:
        return f"write {context['expected']}, not {_shown(value)}"
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        return _PATTERNS.get(pattern, f"write something that matches {pattern}")
    if kind in {"greater_than_equal", "less_than_equal"}:
        least = kind == "greater_than_equal"
        bound = context["ge" if least else "le"]
        return f"write a number of at {'least' if least else 'most'} {bound:.15g}"
    if kind in {"too_long", "string_too_long", "too_short", "string_too_short"}:
        least = "short" in kind
        bound = context["min_length" if least else "max_length"]
        kinds = {"list": "entries", "dict": "fields"}
        what = kinds.get(type(value).__name__, "characters")
        return f"write at {'least' if least else 'most'} {bound} {what}"
    return error["msg"]


def _fields_at(location: Location, model: type[BaseModel]) -> list[str]:
    """The fields that may stand at a place, read off the JSON schema."""
    schema = _schema(model)
    definitions = schema["$defs"]
    here = _resolve(schema, definitions)
    for part in location:
        if isinstance(part, int):
            here = _resolve(here.get("items", {}), definitions)
        else:
            here = _resolve(here.get("properties", {}).get(part, {}), definitions)
    return list(here.get("properties", {}))


def _resolve(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _resolve(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    choices = [_resolve(choice, definitions) for choice in schema.get("anyOf", ())]
    return next((choice for choice in choices if "properties" in choice), schema)


# --- writing -------------------------------------------------------------------------------------


def dump(catalogue: CatalogueFile) -> str:
    """The file of a catalogue, without what goes without saying: `load` gives the same again."""
    text: str = yaml.dump(
        _data(catalogue),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=100,
    )
    return text


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)  # lists stand to the right of their field

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=_style(text))


_Dumper.add_representer(str, _Dumper.represent_text)
_PARAGRAPHS = re.compile(r"(?:[^\s\ufeff](?:.*[^\s\ufeff])?\n+)+[^\s\ufeff](?:.*[^\s\ufeff])?\n?")


def _style(text: str) -> str | None:
    if re.search("[\x85\u2028\u2029]", text):
        return '"'
    if "\n" in text:
        return "|" if _PARAGRAPHS.fullmatch(text) else '"'
    try:
        return None if _meaning(text) == text else '"'
    except ValueError:
        return '"'


def _data(model: BaseModel, *, everything: bool = False) -> dict[str, Any]:
    """The fields of a model as YAML knows them, without those that have their default."""
    return {
        field.alias or name: _value(name, getattr(model, name), everything)
        for name, field in type(model).model_fields.items()
        if everything
        or field.is_required()
        or getattr(model, name) != field.get_default(call_default_factory=True)
    }


def _value(name: str, value: Any, everything: bool) -> Any:
    if isinstance(value, Text):
        one = value.fr == value.en and not everything
        return value.fr if one else {"fr": value.fr, "en": value.en}
    if isinstance(value, BaseModel):
        return _data(value, everything=everything)
    if isinstance(value, tuple):
        return [_value("", item, everything) for item in value]
    if isinstance(value, Mapping):
        return {key: _value("", item, everything) for key, item in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, timedelta):
        return iso_duration(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if name.endswith("_bytes") and value is not None:
        return _size(value)
    return value


_UNITS = {
    "TB": 10**12,
    "GB": 10**9,
    "MB": 10**6,
    "TiB": 1024**4,
    "GiB": 1024**3,
    "MiB": 1024**2,
}


def _size(size: int) -> str | int:
    """A number of bytes as “4 GB” or “64 MiB” where that is exact."""
    whole = [(size // factor, unit) for unit, factor in _UNITS.items() if size % factor == 0]
    return f"{min(whole)[0]} {min(whole)[1]}" if whole else size


# --- comparing -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """One line of what an import would do; `before` and `after` are worded for reading.

    `subject` is an environment's slug, or `compute_types.SLUG`. What is added has no `field`.
    """

    kind: Literal["add", "change"]
    subject: str
    field: str = ""
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        if self.kind == "add":
            return f"+ {self.subject}: {self.after}"
        return f"~ {self.subject} {self.field}: {self.before} → {self.after}"


def diff(before: CatalogueFile, after: CatalogueFile) -> list[Change]:
    """What importing `after` into `before` would add and change.

    An import removes neither environments, compute types nor join links (they are archived and
    revoked): what only `before` has is not listed.
    """
    return [
        *_compare("compute_types.", before.compute_types, after.compute_types),
        *_compare("", before.environments, after.environments),
    ]


def _compare(
    prefix: str,
    before: tuple[ComputeType, ...] | tuple[CatalogueEntry, ...],
    after: tuple[ComputeType, ...] | tuple[CatalogueEntry, ...],
) -> Iterator[Change]:
    known = {item.slug: item for item in before}
    for item in after:
        subject = prefix + item.slug
        if item.slug not in known:
            yield Change("add", subject, after=item.title.en)
            continue
        old, new = (_data(each, everything=True) for each in (known[item.slug], item))
        old_links, new_links = (
            {link["key"]: link for link in each.pop("join_links", ())} for each in (old, new)
        )
        changes = list(_leaves("", _by_name(old), _by_name(new)))
        for key, link in new_links.items():
            changes += _leaves(f"join_links[{key}]", old_links.get(key), link)
        for field, was, becomes in changes:
            yield Change("change", subject, field, was, becomes)


def _by_name(data: dict[str, Any]) -> dict[str, Any]:
    """With interfaces by name, and their order apart: the first is the main one."""
    interfaces = data.pop("interfaces", [])
    names = [interface["name"] for interface in interfaces]
    return {**data, "interfaces": names, **{f"interfaces[{i['name']}]": i for i in interfaces}}


def _leaves(path: str, before: Any, after: Any) -> Iterator[tuple[str, str, str]]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in {**before, **after}:
            yield from _leaves(
                f"{path}.{name}" if path else name, before.get(name), after.get(name)
            )
    else:
        yield path, _brief(before), _brief(after)


def _brief(value: Any) -> str:
    if value is None or value in ([], {}, ""):
        return "none"
    if isinstance(value, list):
        text = ", ".join(_brief(item) for item in value)
    elif isinstance(value, dict):
        text = " ".join(f"{name}={_brief(item)}" for name, item in value.items() if item)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    else:
        text = " ".join(str(value).split())
    return text if len(text) <= 80 else text[:79] + "…"


# --- schema --------------------------------------------------------------------------------------


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a catalogue file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **CatalogueFile.model_json_schema(mode="validation"),
        "title": "mydocker_hub catalogue",
    }


@functools.cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(mode="validation")


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
