"""An environment as the catalogue knows it: fields, defaults, validation.

The same models validate the YAML files, the REST API and (later) the forms, and give the published
JSON schema. Validation messages say what to write instead.
"""

from __future__ import annotations

import posixpath
import re
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    Strict,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from .command import (
    COMMAND_MAX_LENGTH,
    check_command,
    check_image,
    jupyter_command,
    port_of,
    split,
    variables,
)
from .names import SLUG_MAX_LENGTH, SLUG_PATTERN, is_trial

Language = Literal["fr", "en"]
LANGUAGES: tuple[Language, ...] = ("fr", "en")


class Model(BaseModel):
    """What all models here share: nothing unknown is accepted, nothing changes after the fact."""

    # What was sent may hold secrets, and errors go to logs: they do not repeat it.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


# --- texts ---------------------------------------------------------------------------------------


def no_control_characters(text: str) -> str:
    if any((ord(char) < 32 and char not in "\n\t") or ord(char) == 127 for char in text):
        raise ValueError("remove the control characters")
    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        raise ValueError("this is not valid Unicode text")
    return text


def _one_line(text: str) -> str:
    if "\n" in text or "\t" in text:
        raise ValueError("write this on one line")
    return text


PlainText = Annotated[str, AfterValidator(no_control_characters)]
Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(no_control_characters),
    AfterValidator(_one_line),
]
YesNo = Annotated[bool, Strict()]  # not "yes", "on", 1
Slug = Annotated[str, StringConstraints(pattern=SLUG_PATTERN, max_length=SLUG_MAX_LENGTH)]


class Text(Model):
    """A text in both languages. In YAML one string may stand for both."""

    fr: PlainText = Field(max_length=4000)
    en: PlainText = Field(max_length=4000)

    @model_validator(mode="before")
    @classmethod
    def _one_for_both(cls, value: Any) -> Any:
        return {"fr": value, "en": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        if handler.mode == "serialization":
            return schema
        return {"anyOf": [{"type": "string", "maxLength": 4000}, schema]}

    def in_(self, language: str) -> str:
        return self.en if language == "en" else self.fr


def _title(text: Text) -> Text:
    for language in LANGUAGES:
        title = text.in_(language)
        if not title.strip() or len(title) > 120 or "\n" in title:
            raise ValueError("write a title: one line, 120 characters at most")
    return text


Title = Annotated[Text, AfterValidator(_title)]


# --- quantities ----------------------------------------------------------------------------------

_BYTE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BYTE_UNITS |= {f"{letter}i": 1024**power for power, letter in enumerate("kmgt", start=1)}
_BYTES = re.compile(
    r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([kmgt]?i?)[bo]?\s*", re.IGNORECASE | re.ASCII
)


def parse_bytes(value: Any) -> Any:
    """Turn “4 GB”, “4 Go” or “512 MiB” into a number of bytes; leave numbers alone."""
    if not isinstance(value, str):
        return value
    match = _BYTES.fullmatch(value)
    if not match or match[2].lower() not in _BYTE_UNITS:
        raise ValueError("write a size such as 4 GB, 512 MB or 2 GiB")
    return int(Decimal(match[1]) * _BYTE_UNITS[match[2].lower()])


_ISO_DURATION = re.compile(
    r"P(?=.)(?:([0-9]{1,4})D)?(?:T(?=.)(?:([0-9]{1,4})H)?(?:([0-9]{1,5})M)?(?:([0-9]{1,6})S)?)?"
)


def _parse_duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    match = _ISO_DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("write a duration such as PT20M (20 minutes) or P1D (one day), ISO 8601")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _positive_duration(value: timedelta) -> timedelta:
    if not timedelta(minutes=1) <= value <= timedelta(days=366):
        raise ValueError("a duration is between one minute and a year")
    if value.microseconds:
        raise ValueError("a duration has whole seconds")
    return value


def iso_duration(value: timedelta) -> str:
    """A duration as `_parse_duration` reads it: “PT20M”, “P1DT2H”.

    (pydantic writes 366 days as one year and one day.)
    """
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    time = "".join(f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if n)
    return "P" + (f"{value.days}D" if value.days else "") + (f"T{time}" if time else "")


MEMORY_MIN_BYTES = 6 * 1024 * 1024  # Docker refuses less
MEMORY_MAX_BYTES = 16 * 10**12

Bytes = Annotated[
    int,
    Field(ge=MEMORY_MIN_BYTES, le=MEMORY_MAX_BYTES, strict=True),
    BeforeValidator(parse_bytes),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": MEMORY_MIN_BYTES, "maximum": MEMORY_MAX_BYTES},
                {"type": "string", "examples": ["4 GB", "512 MiB"]},
            ]
        },
        mode="validation",
    ),
]
Duration = Annotated[
    timedelta,
    AfterValidator(_positive_duration),
    BeforeValidator(_parse_duration),
    PlainSerializer(iso_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "duration", "examples": ["PT20M"]}),
]
Cpus = Annotated[float, Field(ge=0.05, le=1024, allow_inf_nan=False, strict=True)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]


# --- parts of an environment ---------------------------------------------------------------------


class Status(StrEnum):
    """Draft: its authors start it. Test: also who has a link. Ready: also listed when public."""

    DRAFT = "draft"
    TEST = "test"
    READY = "ready"
    ARCHIVED = "archived"


class InterfaceKind(StrEnum):
    """`hub`: the image runs jupyterhub-singleuser. `web`: any web server, through the gateway."""

    HUB = "hub"
    WEB = "web"


class Prefix(StrEnum):
    """What a `web` interface makes of the path at which people see it.

    `keep`: it was told its path (`{{BASE_URL}}`) and gets requests as they are, as Jupyter wants
    it. `strip`: it knows nothing of it and gets `/`, as most web servers want it.
    """

    KEEP = "keep"
    STRIP = "strip"


class SignIn(StrEnum):
    """How the gateway shows a `web` interface the server's secret, so that nobody types it.

    `jupyter`: as the token of `--IdentityProvider.token={{PASSWORD}}`. `code-server`: as the
    session of `HASHED_PASSWORD={{PASSWORD}}`. `basic`: user name and password of HTTP.
    """

    NONE = "none"
    JUPYTER = "jupyter"
    CODE_SERVER = "code-server"
    BASIC = "basic"


class Interface(Model):
    """One way into a running environment.

    `prefix` and `sign_in` are for kind `web`; left out, `launch` decides from the command.
    """

    name: Slug
    title: Title
    kind: InterfaceKind = InterfaceKind.HUB
    port: Port = 8888
    path: Annotated[PlainText, StringConstraints(pattern=r"^/[^\s?#\\]*$", max_length=200)] = "/"
    prefix: Prefix | None = None
    sign_in: SignIn | None = None

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if path.startswith("//") or ".." in path.split("/"):
            raise ValueError("a path starts with one / and has no ..")
        return path

    @model_validator(mode="after")
    def _only_for_web(self) -> Self:
        if self.kind is InterfaceKind.HUB and (self.prefix or self.sign_in):
            raise ValueError("prefix and sign_in are for kind web: leave them out")
        return self


class Resources(Model):
    """What a server may use.

    `cpu_limit` is a ceiling (CFS quota). `cpu_share` is a weight: that many CPUs when everybody
    wants some, more while others are idle. With both, the share is what one gets in a crowd and
    the limit what one never exceeds. Reservations are what placement counts with.
    """

    cpu_limit: Cpus | None = None
    cpu_share: Cpus | None = None
    cpu_reservation: Cpus | None = None
    memory_bytes: Bytes | None = None
    memory_reservation_bytes: Bytes | None = None
    shm_bytes: Bytes = 64 * 1024 * 1024
    pids_limit: int = Field(default=2048, ge=16, le=4_194_304, strict=True)
    compute_type: Slug = "default"
    ptrace: YesNo = False

    @model_validator(mode="after")
    def _within_limits(self) -> Self:
        if self.cpu_limit and (self.cpu_share or 0) > self.cpu_limit:
            raise ValueError("cpu_share is at most cpu_limit")
        if self.cpu_limit and (self.cpu_reservation or 0) > self.cpu_limit:
            raise ValueError("cpu_reservation is at most cpu_limit")
        if self.memory_bytes and (self.memory_reservation_bytes or 0) > self.memory_bytes:
            raise ValueError("memory_reservation_bytes is at most memory_bytes")
        if self.memory_bytes and self.shm_bytes > self.memory_bytes:
            raise ValueError("shm_bytes is at most memory_bytes: shared memory counts in it")
        return self


_SYSTEM_FOLDERS = (
    "/proc",
    "/sys",
    "/dev",
    "/etc",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/usr",
    "/boot",
)


def _mount_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("a folder's path starts with /, such as /home/jovyan")
    if path != "/" and path.endswith("/"):
        raise ValueError("write the path without a / at its end")
    if posixpath.normpath(path) != path or path.startswith("//"):
        raise ValueError("write the path without . , .. or //")
    if path == "/" or any(path == top or path.startswith(top + "/") for top in _SYSTEM_FOLDERS):
        raise ValueError(f"{path} belongs to the system: choose a folder such as /home/jovyan")
    if any(char.isspace() or char in ",:\"'\\{}" for char in path):
        raise ValueError("a folder's path has no spaces, commas, colons, quotes or braces")
    return path


MountPath = Annotated[
    PlainText, StringConstraints(min_length=1, max_length=200), AfterValidator(_mount_path)
]


class Storage(Model):
    """Where the personal folders are mounted; without a path there is no such folder.

    `dedicated` belongs to this environment alone, `global` is the same in all of a person's
    environments.
    """

    model_config = ConfigDict(populate_by_name=True)

    dedicated: MountPath | None = None
    global_: MountPath | None = Field(default=None, alias="global")

    @model_validator(mode="after")
    def _different_places(self) -> Self:
        if self.dedicated is not None and self.dedicated == self.global_:
            raise ValueError("the two folders need two different paths")
        return self


class Lifetime(Model):
    """When a server is stopped by itself; without a value, never for that reason.

    `extension` is how much longer than `maximum` its person may let it run, in all; `protection`
    how long ahead they may say “keep it running, though nobody is there” for a long computation.
    """

    idle_limit: Duration | None = None
    maximum: Duration | None = None
    extension: Duration | None = None
    protection: Duration | None = None


class Effect(StrEnum):
    """What the sessions of an environment decide.

    `indicative`: outside them it is on no student's dashboard; a link starts it. `reserved`: it
    starts during sessions only, and shortly before. `exam`: the same for those alone who are
    enrolled, and it ends with the session, whatever anybody clicks.
    """

    INDICATIVE = "indicative"
    RESERVED = "reserved"
    EXAM = "exam"


class SessionRules(Model):
    """How sessions bind an environment: without `effect`, as the site says.

    `open_before` is how early a start is allowed where sessions are needed for one; exams do not
    open early. With `stop_at_end`, what runs when sessions are over is stopped, as in exams always.
    """

    effect: Effect | None = None
    open_before: Duration = timedelta(minutes=15)
    stop_at_end: YesNo = False


class Maintainer(Model):
    name: Line
    email: (
        Annotated[
            PlainText, StringConstraints(pattern=r"^[^@\s<>\"]+@[^@\s<>\"]+$", max_length=254)
        ]
        | None
    ) = None


def _web_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        # .port raises ValueError where it is none
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or any(char.isspace() for char in url):
        raise ValueError("write a web address that starts with https://")
    if parts.username or parts.password:
        raise ValueError("leave the password out of the address")
    return url


WebAddress = Annotated[PlainText, StringConstraints(max_length=2000), AfterValidator(_web_address)]


class Link(Model):
    title: Title
    url: WebAddress


class Sheet(Model):
    """What people read before they choose: the sheet of the service page."""

    description: Text = Text(fr="", en="")
    notice: Text | None = None
    software: tuple[Line, ...] = Field(default=(), max_length=100)
    courses: tuple[Line, ...] = Field(default=(), max_length=100)
    maintainers: tuple[Maintainer, ...] = Field(default=(), max_length=20)
    links: tuple[Link, ...] = Field(default=(), max_length=50)


GIT_BRANCH_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)*$"


def _git_address(url: str) -> str:
    _web_address(url)
    if urlsplit(url).scheme != "https" or urlsplit(url).fragment or urlsplit(url).query:
        raise ValueError("write the address of a Git repository that starts with https://")
    return url


GitAddress = Annotated[PlainText, StringConstraints(max_length=500), AfterValidator(_git_address)]
GitBranch = Annotated[PlainText, StringConstraints(pattern=GIT_BRANCH_PATTERN, max_length=100)]


def _file_below(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/") or "\\" in path or "\n" in path:
        raise ValueError("write a path inside the repository, such as week-1/index.ipynb")
    return path


class Content(Model):
    """A Git repository that nbgitpuller brings into the personal folder when people arrive.

    `path` is what is opened then: a file or folder of the repository; left out, the repository.
    """

    repository: GitAddress
    branch: GitBranch | None = None
    path: Annotated[PlainText, StringConstraints(max_length=500), AfterValidator(_file_below)] = ""


PersonName = Annotated[
    PlainText, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)
]
Institution = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        to_lower=True,
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$",
        max_length=255,
    ),
]


class Audience(Model):
    """Who finds the environment without a link, beside everybody where it is `public`.

    `people` are user names, `courses` numbers of LTI courses as the catalogue knows them,
    `institutions` domains such as `univ-a.fr`; `teachers` stands for all teachers.
    """

    people: tuple[PersonName, ...] = Field(default=(), max_length=500)
    courses: tuple[Annotated[int, Field(ge=1, strict=True)], ...] = Field(default=(), max_length=50)
    institutions: tuple[Institution, ...] = Field(default=(), max_length=50)
    teachers: YesNo = False


_RESERVED_VARIABLES = ("JUPYTERHUB_", "MYDOCKER_")
VariableName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)
]


def _not_reserved(name: str) -> str:
    if name.upper().startswith(_RESERVED_VARIABLES):
        raise ValueError("names that start with JUPYTERHUB_ or MYDOCKER_ are set by the service")
    return name


FreeVariableName = Annotated[VariableName, AfterValidator(_not_reserved)]


def _no_template(value: str) -> str:
    # Swarm reads {{…}} in variables as a template of its own (swarmkit, template/expand.go).
    if "{{" in value:
        raise ValueError("{{…}} is replaced in the command only: write the value itself")
    return value


VariableValue = Annotated[
    PlainText, StringConstraints(max_length=8192), AfterValidator(_no_template)
]


def _icon(icon: str) -> str:
    if any(char.isspace() or char in "<>&\"'" for char in icon):
        raise ValueError("an icon is one emoji")
    return icon


class Environment(Model):
    """A catalogue entry. `slug` never changes: servers and folders bear its name."""

    slug: Slug
    title: Title
    sheet: Sheet = Sheet()
    icon: Annotated[
        PlainText, StringConstraints(min_length=1, max_length=16), AfterValidator(_icon)
    ] = "📦"
    tags: tuple[Slug, ...] = Field(default=(), max_length=20)
    status: Status = Status.DRAFT
    public: YesNo = False
    image: Annotated[str, StringConstraints(max_length=255), AfterValidator(check_image)]
    command: (
        Annotated[
            PlainText,
            StringConstraints(max_length=COMMAND_MAX_LENGTH),
            AfterValidator(check_command),
        ]
        | None
    ) = None
    variables: dict[FreeVariableName, VariableValue] = Field(default_factory=dict, max_length=100)
    interfaces: tuple[Interface, ...] = Field(min_length=1, max_length=10)
    resources: Resources = Resources()
    storage: Storage = Storage()
    lifetime: Lifetime = Lifetime()
    content: Content | None = None
    audience: Audience = Audience()
    sessions: SessionRules = SessionRules()

    @field_validator("slug")
    @classmethod
    def _is_no_trial(cls, slug: str) -> str:
        if is_trial(slug):
            raise ValueError("choose another name: this one is of the form that trials have")
        return slug

    @field_validator("tags")
    @classmethod
    def _tags_once(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(tags))

    @field_validator("interfaces")
    @classmethod
    def _interfaces_differ(cls, interfaces: tuple[Interface, ...]) -> tuple[Interface, ...]:
        names = [interface.name for interface in interfaces]
        if len(set(names)) != len(names):
            raise ValueError("each interface needs a name of its own")
        if len({interface.kind for interface in interfaces}) > 1:
            raise ValueError(
                "give all interfaces one kind: hub for jupyterhub-singleuser, else web"
            )
        ports = {interface.port for interface in interfaces}
        if len(ports) > 1 and interfaces[0].kind is InterfaceKind.HUB:
            raise ValueError("the interfaces of kind hub are one server: give them one port")
        if len(ports) > 1 and "proxy" in names:
            raise ValueError("proxy/… leads to any port already: choose another name")
        for port in ports:
            same = {(item.prefix, item.sign_in) for item in interfaces if item.port == port}
            if len(same) > 1:
                raise ValueError(f"give the interfaces of port {port} one prefix and one sign_in")
        return interfaces

    @model_validator(mode="after")
    def _variables_that_mean_something(self) -> Self:
        used = variables(self.command or "")
        of_ports = {name for name in used if "[" in name}
        if of_ports and self.kind is InterfaceKind.HUB:
            names = ", ".join(sorted(of_ports))
            raise ValueError(f"leave {names} out of the command: only kind web interfaces have it")
        for name in sorted(of_ports):
            if port_of(name) not in {interface.port for interface in self.interfaces}:
                raise ValueError(
                    f"{{{{{name}}}}} is the port of no interface: add one, or leave it"
                )
        return self

    @model_validator(mode="after")
    def _content_is_for_jupyter(self) -> Self:
        if self.content is not None and not self.is_jupyter:
            raise ValueError(
                "content is fetched by Jupyter: the first interface is of kind hub, or the "
                "command starts jupyter lab on its port"
            )
        return self

    @property
    def is_jupyter(self) -> bool:
        """Whether the first interface is known to be a Jupyter server."""
        if self.kind is InterfaceKind.HUB:
            return True
        jupyter = jupyter_command(split(self.command)) if self.command else None
        return jupyter is not None and jupyter.port == self.main_interface.port

    @property
    def kind(self) -> InterfaceKind:
        """The kind of all interfaces."""
        return self.interfaces[0].kind

    @property
    def main_interface(self) -> Interface:
        """The interface that a start leads to: the first."""
        return self.interfaces[0]


# --- beside environments -------------------------------------------------------------------------

JOIN_KEY_PATTERN = r"^[A-Za-z0-9]{12,64}$"


def _moment(value: Any) -> Any:
    # A bare number would be taken for seconds since 1970, “20260701” too.
    if isinstance(value, datetime) or (isinstance(value, str) and "T" in value):
        return value
    raise ValueError("write a day, an hour and a time zone, such as 2026-07-01T18:00:00+02:00")


def _sensible_moment(value: datetime) -> datetime:
    if not 2000 <= value.year <= 2200:
        raise ValueError("write a year between 2000 and 2200")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_moment), AfterValidator(_sensible_moment)]


class JoinLink(Model):
    """An invitation: `/join/KEY` enrols a person and starts the environment."""

    key: Annotated[str, StringConstraints(pattern=JOIN_KEY_PATTERN)]
    label: Annotated[PlainText, StringConstraints(max_length=200), AfterValidator(_one_line)] = ""
    expires_at: Moment | None = None
    revoked: YesNo = False


class VolumeDriver(Model):
    """How personal folders are kept: a Docker volume driver and its options.

    `{{VOLUME}}` in an option stands for the volume's name. `shared` says whether every machine
    sees the same content; if not (the `local` driver on local disks), a person's server returns to
    the machine that holds the folder.
    """

    driver: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./:-]{0,199}$")] = (
        "local"
    )
    options: dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$")],
        Annotated[PlainText, StringConstraints(max_length=1000)],
    ] = Field(default_factory=dict, max_length=50)
    shared: YesNo = False

    @model_validator(mode="after")
    def _a_folder_for_each(self) -> Self:
        device = self.options.get("device", "")
        if device and self.options.get("type") != "tmpfs" and "{{VOLUME}}" not in device:
            raise ValueError(
                "write {{VOLUME}} into device: without it everybody would share one folder"
            )
        return self


PlacementConstraint = Annotated[
    PlainText, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+ ?(==|!=) ?\S+$", max_length=200)
]


class ComputeType(Model):
    """Where servers may run: placement, generic resources (GPUs), storage.

    Sessions of what `needs_approval` wait for an administrator. `ask_every` is how often people are
    asked whether they still use a server; who does not answer is stopped.
    """

    slug: Slug
    title: Title
    constraints: tuple[PlacementConstraint, ...] = Field(default=(), max_length=20)
    generic_resources: dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$")],
        Annotated[int, Field(ge=1, le=1024, strict=True)],
    ] = Field(default_factory=dict, max_length=20)
    volumes: VolumeDriver = VolumeDriver()
    needs_approval: YesNo = False
    ask_every: Duration | None = None
