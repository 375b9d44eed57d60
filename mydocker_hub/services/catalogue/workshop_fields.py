"""The form of an environment as values: what is typed, and the definition that it means.

Fields bear the names of the model's fields, `resources.cpu_limit`; rows that repeat have a number,
`interfaces.0.port`. What is typed is kept as it is, so that nothing is lost when it is shown again.
"""

from __future__ import annotations

import copy
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ...domain.environment import (
    Duration,
    Environment,
    FreeVariableName,
    Interface,
    InterfaceKind,
    SessionRules,
    Text,
    VariableValue,
    iso_duration,
)
from ...domain.errors import N_
from ...domain.images import BaseImage
from ...domain.names import SLUG_MAX_LENGTH, is_slug
from ...domain.quantities import (
    read_bytes,
    read_duration,
    read_lines,
    read_number,
    read_variables,
    read_words,
    write_bytes,
    write_duration,
    write_lines,
    write_variables,
)
from ...store.images import BuiltImage
from ...web.faults import fault_text, message_text
from ...web.i18n import Translator
from .api import RESERVED_SLUGS

ROWS = ("interfaces", "sheet.links", "secrets")
_NOTHING: dict[str, Any] = {"command": "", "home": "", "kind": "", "interfaces": []}
DEFAULT_HOME = "/home/jovyan"
_ICON = "📦"
_NUMBERS = ("cpu_limit", "cpu_share", "cpu_reservation")
_SIZES = ("memory_bytes", "memory_reservation_bytes", "shm_bytes")
_LIFETIME = ("idle_limit", "maximum", "extension", "protection")
_NAME = re.compile(r"[a-z_]{1,40}(?:\.[a-zA-Z0-9_]{1,200}){0,5}")
_ROW = re.compile(rf"({'|'.join(map(re.escape, ROWS))})\.([0-9]{{1,4}})\..+")
_VARIABLE_NAME = TypeAdapter(FreeVariableName)
_VARIABLE_VALUE = TypeAdapter(VariableValue)
_DURATION = TypeAdapter(Duration)


# --- images that propose something ---------------------------------------------------------------


@dataclass(frozen=True)
class Proposal:
    """An image to choose, and what it proposes for the fields that depend on it."""

    reference: str
    title: Text
    description: Text
    command: str
    interfaces: tuple[Interface, ...]
    home: str

    @classmethod
    def of_base(cls, base: BaseImage) -> Proposal:
        return cls(
            base.reference,
            base.title,
            base.description,
            base.command or "",
            base.interfaces,
            base.home or "",
        )

    @classmethod
    def of_built(cls, built: BuiltImage, bases: Iterable[BaseImage]) -> Proposal:
        """A build proposes what its recipe says, else what its base image does."""
        recipe = built.recipe
        base = next((one for one in bases if one.reference == recipe.base), None)
        return cls(
            built.reference,
            built.title,
            recipe.description,
            recipe.command or (base and base.command) or "",
            recipe.interfaces or (base.interfaces if base else ()),
            recipe.home or (base and base.home) or "",
        )

    def typed(self) -> dict[str, Any]:
        """Its fields as they are typed, for the page's script."""
        return {
            "command": self.command,
            "home": self.home,
            "kind": str(self.interfaces[0].kind) if self.interfaces else "",
            "interfaces": [
                _typed_interface(one.model_dump(mode="json")) for one in self.interfaces
            ],
        }


# --- what is typed -------------------------------------------------------------------------------


@dataclass
class Typed:
    """What stands in the form. `rows` are the numbers of the rows of each repeated part."""

    values: dict[str, str] = field(default_factory=dict)
    rows: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in ROWS})

    @classmethod
    def sent(cls, arguments: Mapping[str, list[str]]) -> Typed:
        """A form as a browser sent it; what comes more than once is lines of one value."""
        typed = cls()
        for name, values in arguments.items():
            if not _NAME.fullmatch(name):
                continue
            text = "\n".join(values).replace("\r\n", "\n").replace("\r", "\n")
            typed.values[name] = text.replace("\x00", "")
            row = _ROW.fullmatch(name)
            if row and int(row[2]) not in typed.rows[row[1]]:
                typed.rows[row[1]].append(int(row[2]))
        for numbers in typed.rows.values():
            numbers.sort()
        return typed

    def get(self, name: str, default: str = "") -> str:
        return self.values.get(name, default)

    def line(self, name: str) -> str:
        return self.get(name).strip()

    def add_row(self, part: str, values: Mapping[str, str] | None = None) -> int:
        """A new row at the end of a part; its number."""
        number = max(self.rows[part], default=-1) + 1
        self.rows[part].append(number)
        for name, value in (values or {}).items():
            self.values[f"{part}.{number}.{name}"] = value
        return number

    def remove_row(self, part: str, number: int) -> None:
        if number in self.rows[part]:
            self.rows[part].remove(number)
            start = f"{part}.{number}."
            self.values = {k: v for k, v in self.values.items() if not k.startswith(start)}

    def clear_rows(self, part: str) -> None:
        for number in list(self.rows[part]):
            self.remove_row(part, number)

    def row(self, part: str, number: int) -> dict[str, str]:
        """What is typed in one row."""
        start = f"{part}.{number}."
        return {k.removeprefix(start): v for k, v in self.values.items() if k.startswith(start)}

    @property
    def image(self) -> str:
        """The image that is chosen, from whichever of the three lists."""
        source = self.get("image.source") or "reference"
        return self.line(f"image.{source}" if source in {"built", "base"} else "image")


def blank(image: Proposal | None, language: str) -> Typed:
    """A new environment's form: a title, and it can be saved."""
    typed = Typed(
        {
            "icon": _ICON,
            "status": "draft",
            "image.source": "base" if image else "reference",
            "storage.choice": "dedicated",
            "resources.cpu_limit": "2",
            "resources.memory_bytes": write_bytes(4 * 10**9, language),
            "resources.shm_bytes": write_bytes(64 * 1024**2, language),
            "resources.pids_limit": "2048",
            "resources.compute_type": "default",
            "lifetime.idle_limit": write_duration(timedelta(hours=1), language),
            "sessions.open_before": write_duration(SessionRules().open_before, language),
            "audience.choice": "link",
        }
    )
    if image:
        typed.values["image.base"] = typed.values["proposed"] = image.reference
        propose(typed, None, image)
    else:
        typed.values["interfaces.kind"] = InterfaceKind.HUB
        typed.add_row("interfaces")
    return typed


def propose(typed: Typed, before: Proposal | None, image: Proposal | None) -> None:
    """Fill in what an image proposes, where nothing is, or what the image before it proposed."""
    old = before.typed() if before else _NOTHING
    new = image.typed() if image else _NOTHING
    if typed.line("command") in {"", old["command"]} and (image or before):
        typed.values["command"] = new["command"]
    home = "storage.global" if typed.get("storage.choice") == "global" else "storage.dedicated"
    if new["home"] and typed.line(home) in {"", old["home"]}:
        typed.values[home] = new["home"]
    present = [
        _filled(typed.row("interfaces", number))
        for number in typed.rows["interfaces"]
        if _filled(typed.row("interfaces", number))
    ]
    if new["interfaces"] and (not present or present == [_filled(i) for i in old["interfaces"]]):
        typed.clear_rows("interfaces")
        typed.values["interfaces.kind"] = new["kind"]
        for interface in new["interfaces"]:
            typed.add_row("interfaces", interface)


def _filled(row: Mapping[str, str]) -> dict[str, str]:
    defaults = {"port": "8888", "path": "/", "prefix": "", "sign_in": ""}
    filled = {k: v.strip() for k, v in row.items() if v.strip() and v.strip() != defaults.get(k)}
    return filled if {"name", "title.fr", "title.en"} & set(filled) else {}


def _typed_interface(interface: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": interface["name"],
        "title.fr": interface["title"]["fr"],
        "title.en": interface["title"]["en"],
        "port": str(interface["port"]),
        "path": interface["path"],
        "prefix": interface["prefix"] or "",
        "sign_in": interface["sign_in"] or "",
    }


def typed_of(
    definition: Mapping[str, Any], built: Iterable[Proposal], bases: Iterable[Proposal], lang: str
) -> Typed:
    """A definition (`Environment.model_dump(mode="json", by_alias=True)`) as it is typed."""
    typed = Typed()
    put = typed.values.__setitem__
    for name in ("slug", "icon", "status"):
        put(name, definition[name])
    put("public", "1" if definition["public"] else "")
    put("tags", ", ".join(definition["tags"]))
    sheet = definition["sheet"]
    for language in ("fr", "en"):
        put(f"title.{language}", definition["title"][language])
        put(f"sheet.description.{language}", sheet["description"][language])
        put(f"sheet.notice.{language}", (sheet["notice"] or {}).get(language, ""))
    put("sheet.software", write_lines(sheet["software"]))
    put("sheet.courses", write_lines(sheet["courses"]))
    put("sheet.maintainers", write_lines(map(_typed_maintainer, sheet["maintainers"])))
    for link in sheet["links"]:
        title = link["title"]
        typed.add_row(
            "sheet.links", {"title.fr": title["fr"], "title.en": title["en"], "url": link["url"]}
        )
    _type_image(typed, definition["image"], built, bases)
    put("command", definition["command"] or "")
    put("interfaces.kind", definition["interfaces"][0]["kind"])
    for interface in definition["interfaces"]:
        typed.add_row("interfaces", _typed_interface(interface))
    _type_limits(typed, definition, lang)
    _type_storage(typed, definition["storage"])
    put("variables", write_variables(definition["variables"]))
    for name, value in (definition["content"] or {}).items():
        put(f"content.{name}", value or "")
    audience = definition["audience"]
    put("audience.choice", "named" if any(audience.values()) else "link")
    for name in ("people", "courses", "institutions"):
        put(f"audience.{name}", write_lines(audience[name]))
    put("audience.teachers", "1" if audience["teachers"] else "")
    return typed


def _typed_maintainer(one: Mapping[str, Any]) -> str:
    return f"{one['name']} <{one['email']}>" if one["email"] else str(one["name"])


def _type_image(
    typed: Typed, reference: str, built: Iterable[Proposal], bases: Iterable[Proposal]
) -> None:
    typed.values["image"] = typed.values["proposed"] = reference
    if any(one.reference == reference for one in built):
        typed.values |= {"image.source": "built", "image.built": reference}
    elif any(one.reference == reference for one in bases):
        typed.values |= {"image.source": "base", "image.base": reference}
    else:
        typed.values["image.source"] = "reference"


def _type_limits(typed: Typed, definition: Mapping[str, Any], lang: str) -> None:
    resources, lifetime = definition["resources"], definition["lifetime"]
    point = "," if lang == "fr" else "."
    for name in _NUMBERS:
        value = resources[name]
        text = "" if value is None else f"{value:.6f}".rstrip("0").rstrip(".").replace(".", point)
        typed.values[f"resources.{name}"] = text
    for name in _SIZES:
        value = resources[name]
        typed.values[f"resources.{name}"] = "" if value is None else write_bytes(value, lang)
    typed.values["resources.pids_limit"] = str(resources["pids_limit"])
    typed.values["resources.compute_type"] = resources["compute_type"]
    typed.values["resources.ptrace"] = "1" if resources["ptrace"] else ""
    for name in _LIFETIME:
        typed.values[f"lifetime.{name}"] = _typed_duration(lifetime[name], lang)
    sessions = definition["sessions"]
    typed.values["sessions.effect"] = sessions["effect"] or ""
    typed.values["sessions.open_before"] = _typed_duration(sessions["open_before"], lang)
    typed.values["sessions.stop_at_end"] = "1" if sessions["stop_at_end"] else ""


def _typed_duration(value: str | None, lang: str) -> str:
    return "" if value is None else write_duration(_DURATION.validate_python(value), lang)


def _type_storage(typed: Typed, storage: Mapping[str, Any]) -> None:
    has = [name for name in ("dedicated", "global") if storage[name]]
    typed.values["storage.choice"] = "both" if len(has) == 2 else has[0] if has else "none"
    for name in has:
        typed.values[f"storage.{name}"] = storage[name]


# --- what it means -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """Something that cannot be: the field's name in the form, and what to write instead."""

    field: str
    message: str


@dataclass
class Read:
    """A definition as it was read from the form; `lines` leads from the model's rows to these."""

    definition: dict[str, Any]
    faults: list[Fault] = field(default_factory=list)
    numbers: dict[str, list[int]] = field(default_factory=dict)


def proposed_slug(title: str, taken: Iterable[str] = ()) -> str:
    """A short name made from a title: “Algèbre linéaire” is `algebre-lineaire`; "" for none.

    A number goes behind it where it is taken.
    """
    folded = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", folded).strip("-")
    words = re.sub(r"^[0-9-]+", "", words) or (f"e-{words}" if words else "")
    slug = words[:SLUG_MAX_LENGTH].strip("-")
    if not is_slug(slug):
        return ""
    unavailable = set(taken) | RESERVED_SLUGS
    number, wanted = 2, slug
    while slug in unavailable:
        ending = f"-{number}"
        slug = wanted[: SLUG_MAX_LENGTH - len(ending)].rstrip("-") + ending
        number += 1
    return slug


def read(typed: Typed, base: Mapping[str, Any] | None, translator: Translator) -> Read:
    """The definition that the form means; what the form does not hold stays as in `base`."""
    done = Read(copy.deepcopy(dict(base)) if base else {"slug": typed.line("slug")})
    d = done.definition
    d["title"] = _both(typed, "title")
    d["icon"] = typed.line("icon") or _ICON
    d["tags"] = [tag.lower() for tag in read_words(typed.get("tags"))]
    d["status"] = typed.get("status")
    d["image"] = typed.image
    d["command"] = typed.line("command") or None
    d["sheet"] = _sheet(typed, done)
    d["interfaces"] = _interfaces(typed, done)
    d["resources"] = _resources(typed, done, translator)
    d["storage"] = _storage(typed)
    d["lifetime"] = {
        name: _quantity(typed, f"lifetime.{name}", read_duration, done, translator)
        for name in _LIFETIME
    }
    d["sessions"] = _sessions(typed, done, translator)
    d["variables"], wrong = read_variables(typed.get("variables"))
    for number in wrong:
        text = translator.gettext(
            "line %(number)s: write NAME=value, each name once", number=number
        )
        done.faults.append(Fault("variables", text))
    d["content"] = _content(typed)
    d["audience"] = _audience(typed)
    return done


def _both(typed: Typed, name: str) -> dict[str, str]:
    """A title; what is written in one language only serves for both."""
    texts = {language: typed.line(f"{name}.{language}") for language in ("fr", "en")}
    return {language: texts[language] or texts["fr"] or texts["en"] for language in texts}


def _text(typed: Typed, name: str) -> dict[str, str]:
    return {language: typed.line(f"{name}.{language}") for language in ("fr", "en")}


def _sheet(typed: Typed, done: Read) -> dict[str, Any]:
    notice = _text(typed, "sheet.notice")
    maintainers = []
    for line in read_lines(typed.get("sheet.maintainers")):
        match = re.fullmatch(r"(.*?)\s*<([^<>]*)>", line)
        maintainers.append(
            {"name": match[1] or match[2], "email": match[2].strip() or None}
            if match
            else {"name": line, "email": None}
        )
    links, done.numbers["sheet.links"] = [], []
    for number in typed.rows["sheet.links"]:
        name = f"sheet.links.{number}"
        title, url = _both(typed, f"{name}.title"), typed.line(f"{name}.url")
        if url or title["fr"]:
            links.append({"title": title, "url": url})
            done.numbers["sheet.links"].append(number)
    return {
        "description": _text(typed, "sheet.description"),
        "notice": notice if any(notice.values()) else None,
        "software": read_lines(typed.get("sheet.software")),
        "courses": read_lines(typed.get("sheet.courses")),
        "maintainers": maintainers,
        "links": links,
    }


def _interfaces(typed: Typed, done: Read) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    done.numbers["interfaces"] = []
    for number in typed.rows["interfaces"]:
        name = f"interfaces.{number}"
        if not _filled(typed.row("interfaces", number)):
            continue
        title = _both(typed, f"{name}.title")
        short = typed.line(f"{name}.name")
        if not short:
            short = proposed_slug(title["en"], [one["name"] for one in found]) or "interface"
        port = typed.line(f"{name}.port") or "8888"
        found.append(
            {
                "name": short,
                "title": title if title["fr"] else {"fr": short, "en": short},
                "kind": typed.get("interfaces.kind") or InterfaceKind.HUB.value,
                "port": int(port) if re.fullmatch("[0-9]{1,6}", port) else port,
                "path": typed.line(f"{name}.path") or "/",
                "prefix": typed.line(f"{name}.prefix") or None,
                "sign_in": typed.line(f"{name}.sign_in") or None,
            }
        )
        done.numbers["interfaces"].append(number)
    if not found:
        # A title and an image are enough: most images here are Jupyter's.
        found = [_jupyter(typed.get("interfaces.kind"))]
        done.numbers["interfaces"] = typed.rows["interfaces"][:1] or [0]
    return found


def _jupyter(kind: str) -> dict[str, Any]:
    hub = kind != InterfaceKind.WEB
    title = "Jupyter" if hub else "Web"
    return {
        "name": title.lower(),
        "title": {"fr": title, "en": title},
        "kind": (InterfaceKind.HUB if hub else InterfaceKind.WEB).value,
        "port": 8888,
        "path": "/",
        "prefix": None,
        "sign_in": None,
    }


def _resources(typed: Typed, done: Read, translator: Translator) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for names, how in ((_NUMBERS, read_number), (_SIZES, read_bytes)):
        for name in names:
            found[name] = _quantity(typed, f"resources.{name}", how, done, translator)
    if found["shm_bytes"] is None:
        del found["shm_bytes"]
    pids = typed.line("resources.pids_limit")
    if pids:
        found["pids_limit"] = int(pids) if re.fullmatch("[0-9]{1,9}", pids) else pids
    found["compute_type"] = typed.line("resources.compute_type") or "default"
    found["ptrace"] = bool(typed.line("resources.ptrace"))
    return found


def _quantity(typed: Typed, name: str, how: Any, done: Read, translator: Translator) -> Any:
    text = typed.line(name)
    if not text:
        return None
    try:
        value = how(text)
    except (ValueError, OverflowError) as error:
        done.faults.append(Fault(name, message_text(str(error), translator)))
        return None
    if isinstance(value, timedelta):
        try:
            return iso_duration(_DURATION.validate_python(value))
        except ValidationError as error:
            done.faults.append(Fault(name, fault_text(error.errors()[0], name, translator)))
            return None
    return value


def _sessions(typed: Typed, done: Read, translator: Translator) -> dict[str, Any]:
    name = "sessions.open_before"
    early = _quantity(typed, name, read_duration, done, translator)
    found = {
        "effect": typed.line("sessions.effect") or None,
        "stop_at_end": bool(typed.line("sessions.stop_at_end")),
    }
    return found if early is None else {**found, "open_before": early}


def _storage(typed: Typed) -> dict[str, Any]:
    choice = typed.get("storage.choice")
    found = dict[str, Any](dedicated=None, **{"global": None})
    if choice in {"dedicated", "both"}:
        found["dedicated"] = typed.line("storage.dedicated") or DEFAULT_HOME
    if choice == "global":
        found["global"] = typed.line("storage.global") or DEFAULT_HOME
    elif choice == "both":
        found["global"] = typed.line("storage.global") or f"{found['dedicated']}/shared"
    return found


def _content(typed: Typed) -> dict[str, Any] | None:
    found = {name: typed.line(f"content.{name}") for name in ("repository", "branch", "path")}
    if not any(found.values()):
        return None
    return {**found, "branch": found["branch"] or None}


def _audience(typed: Typed) -> dict[str, Any]:
    if typed.get("audience.choice") != "named":
        return {"people": [], "courses": [], "institutions": [], "teachers": False}
    courses = [
        int(word) if re.fullmatch("[0-9]{1,18}", word) else word
        for word in read_words(typed.get("audience.courses"))
    ]
    return {
        "people": read_lines(typed.get("audience.people")),
        "courses": courses,
        "institutions": [word.lower() for word in read_words(typed.get("audience.institutions"))],
        "teachers": bool(typed.line("audience.teachers")),
    }


@dataclass(frozen=True)
class Secrets:
    """What the form asks for the secret variables."""

    put: dict[str, str] = field(default_factory=dict, repr=False)
    delete: tuple[str, ...] = ()


def read_secrets(typed: Typed, translator: Translator) -> tuple[Secrets, list[Fault]]:
    """Secrets to set and to forget, and what is wrong with them; values are in no message."""
    put: dict[str, str] = {}
    faults = []
    for number in typed.rows["secrets"]:
        name = typed.line(f"secrets.{number}.name")
        value = typed.get(f"secrets.{number}.value")
        if not name and not value:
            continue
        at = f"secrets.{number}.name"
        try:
            _VARIABLE_NAME.validate_python(name)
        except ValidationError as error:
            faults.append(Fault(at, fault_text(error.errors()[0], at, translator)))
            continue
        if name in put:
            faults.append(Fault(at, translator.gettext("this name is there twice")))
        put[name] = value
        at = f"secrets.{number}.value"
        if not value:
            faults.append(Fault(at, translator.gettext("write something here")))
        try:
            _VARIABLE_VALUE.validate_python(value)
        except ValidationError as error:
            faults.append(Fault(at, fault_text(error.errors()[0], at, translator)))
    return Secrets(put, tuple(read_words(typed.get("secrets.delete")))), faults


# --- what pydantic found, at the form's fields ---------------------------------------------------

_LISTS = (
    *("sheet.software", "sheet.courses", "sheet.maintainers", "tags", "variables"),
    *("audience.people", "audience.courses", "audience.institutions"),
)
_GROUPS = {
    "resources": {
        "cpu_share": "resources.cpu_share",
        "cpu_reservation": "resources.cpu_reservation",
        "memory_reservation_bytes": "resources.memory_reservation_bytes",
        "shm_bytes": "resources.shm_bytes",
        "ask": "resources",  # an administrator, whatever of them was changed
    },
}


def faults_of(error: ValidationError, done: Read, translator: Translator) -> list[Fault]:
    """pydantic's findings at the fields of the form; several on one line are one each."""
    found = []
    for fault in error.errors(include_url=False, include_input=False):
        name, prefix = _place(fault, done)
        text = fault_text(fault, name, translator)
        if prefix:
            text = translator.gettext("%(where)s: %(what)s", where=prefix, what=text)
        one = Fault(name, text)
        if one not in found:
            found.append(one)
    return found


def faults_at(
    problems: Iterable[tuple[str, str]], done: Read, translator: Translator
) -> list[Fault]:
    """Findings of the API (`Invalid.problems`) at the fields of the form."""
    found = []
    for path, message in problems:
        location = tuple(int(part) if part.isdigit() else part for part in path.split("."))
        name, _ = _place({"loc": location, "msg": message}, done)
        found.append(Fault(name, message_text(message, translator)))
    return found


def _place(fault: Any, done: Read) -> tuple[str, str]:
    """The form's field of a finding, and which of its lines or names it is about."""
    location = [part for part in fault["loc"] if part != "[key]"]
    message = fault["msg"].removeprefix("Value error, ")
    if not location:
        return ("content.repository" if message.startswith("content") else "command"), ""
    path = ".".join(str(part) for part in location)
    for part in ("interfaces", "sheet.links"):
        depth = part.count(".") + 1
        if ".".join(map(str, location[:depth])) == part and len(location) > depth:
            return _in_row(part, location[depth], location[depth + 1 :], done, message), ""
    for part in _LISTS:
        if path.startswith(f"{part}."):
            return part, _named(part, location[part.count(".") + 1], done)
    if path == "title":
        return _faulty_title(done), ""
    if path in _GROUPS:
        word = message.split(" ")[0]
        return _GROUPS[path].get(word, f"{path}.memory_bytes"), ""
    return {"storage": "storage.global", "content": "content.repository"}.get(path, path), ""


def _named(part: str, which: int | str, done: Read) -> str:
    """What a finding is about: the entry of a list where it is short, or the name of a variable."""
    if isinstance(which, str):
        return which
    entries: Any = done.definition
    for key in part.split("."):
        entries = entries[key]
    entry = entries[which]
    return str(entry["name"] if isinstance(entry, dict) else entry)[:60]


def _in_row(part: str, index: Any, rest: list[Any], done: Read, message: str) -> str:
    numbers = done.numbers.get(part, [])
    if not isinstance(index, int) or index >= len(numbers):
        return part
    row = f"{part}.{numbers[index]}"
    inner = ".".join(str(one) for one in rest)
    if not inner:
        inner = "prefix" if "prefix" in message else "name"
    if inner == "title":
        inner = "title.fr"
    if part == "interfaces" and inner == "kind":
        return "interfaces.kind"
    return f"{row}.{inner}"


def _faulty_title(done: Read) -> str:
    french = str(done.definition.get("title", {}).get("fr", ""))
    fine = bool(french.strip()) and len(french) <= 120 and "\n" not in french
    return "title.en" if fine else "title.fr"


# --- the preview ---------------------------------------------------------------------------------


def as_previewed(definition: Mapping[str, Any], placeholder: str) -> Environment:
    """The environment as far as it is right: what is wrong, or not there yet, is left out."""
    left = {**definition, "slug": "preview", "status": "ready", "public": False}
    left["image"] = "preview"
    left["content"] = None
    left["command"] = None
    left["variables"] = {}
    if not any(str(text).strip() for text in left["title"].values()):
        left["title"] = placeholder
    for _ in range(4):
        try:
            return Environment.model_validate(left)
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_input=False):
                _leave_out(left, list(fault["loc"]), placeholder)
    return Environment.model_validate(
        {
            "slug": "preview",
            "title": placeholder,
            "image": "preview",
            "interfaces": [_jupyter("hub")],
        }
    )


def _leave_out(left: dict[str, Any], location: list[Any], placeholder: str) -> None:
    top = location[0] if location else ""
    if top == "title":
        left["title"] = placeholder
    elif top == "interfaces":
        left["interfaces"] = [_jupyter("hub")]
    elif top == "sheet" and len(location) > 1:
        left["sheet"] = {k: v for k, v in left["sheet"].items() if k != location[1]}
    elif top in left:
        del left[top]


def section_of(name: str) -> str:
    """The group of the form that a field stands in, for links from the summary."""
    top = name.split(".")[0]
    return {
        "title": "texts",
        "icon": "texts",
        "tags": "texts",
        "sheet": "texts",
        "slug": "texts",
        "command": "image",
        "secrets": "variables",
        "public": "audience",
    }.get(top, top)


_SECTIONS = (
    *("texts", "image", "interfaces", "storage", "resources", "lifetime", "sessions"),
    *("content", "variables", "audience", "status"),
)


def in_order(faults: Iterable[Fault]) -> list[Fault]:
    """As one meets them in the form."""
    places = {name: number for number, name in enumerate(_SECTIONS)}
    return sorted(faults, key=lambda one: places.get(section_of(one.field), len(places)))


STATUSES = {
    "draft": N_("Draft: only the people who work on it can start it"),
    "test": N_("In test: also who has a link or is named above"),
    "ready": N_("Ready: the same, and listed for everybody if it is public"),
    "archived": N_("Archived: nobody can start it"),
}
