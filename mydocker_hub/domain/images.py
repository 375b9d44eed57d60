"""Images that are made here: recipes, builds and their states, what is known of any image."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from .command import COMMAND_MAX_LENGTH, check_command, check_image
from .environment import (
    Environment,
    FreeVariableName,
    GitAddress,
    GitBranch,
    Interface,
    Model,
    MountPath,
    PlainText,
    Slug,
    Storage,
    Text,
    Title,
    YesNo,
)

# --- recipes -------------------------------------------------------------------------------------


class Source(StrEnum):
    """What an image is made from: lists of packages, a Dockerfile, or a Git repository."""

    PACKAGES = "packages"
    DOCKERFILE = "dockerfile"
    GIT = "git"


ImageReference = Annotated[str, StringConstraints(max_length=255), AfterValidator(check_image)]
AptPackage = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        pattern=r"^[a-z0-9][a-z0-9+.:-]*(=[A-Za-z0-9.+~:-]+)?$",
        max_length=200,
    ),
]
CondaPackage = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        pattern=(
            r"^([a-z0-9_.-]+::)?[A-Za-z0-9_][A-Za-z0-9_.-]*"
            r"([ ]?[<>=!~]=?[A-Za-z0-9.*,<>=!~|_ -]+)?$"
        ),
        max_length=200,
    ),
]
RPackage = Annotated[
    str,
    StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z][A-Za-z0-9.]*$", max_length=100),
]


def _pip_requirement(text: str) -> str:
    if text.startswith("-"):
        raise ValueError("write one package, such as numpy or numpy==2.1; options are not taken")
    if any(char in text for char in "'\"`$\\\n\t;&|") and "; " not in text:
        raise ValueError("write one package, such as numpy or numpy==2.1")
    return text


PipPackage = Annotated[
    PlainText,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=300),
    AfterValidator(_pip_requirement),
]


def _argument_name(name: str) -> str:
    # BuildKit keeps a proxy's address out of what it knows a layer by in its cache: whoever sets
    # one could leave a layer there that other people's builds then take for the same step's.
    if re.fullmatch(r"(https?|ftp|no|all)_proxy|buildkit_.*", name, re.IGNORECASE):
        raise ValueError("names of proxies, and those that start with BUILDKIT_, are not taken")
    return name


ArgumentName = Annotated[FreeVariableName, AfterValidator(_argument_name)]


class Recipe(Model):
    """How an image is made. Its context (files) is kept beside it.

    `command`, `interfaces` and `home` are what environments of this image are proposed; `start`
    is a shell script that runs in the container before its command.
    """

    title: Title
    description: Text = Text(fr="", en="")
    source: Source = Source.PACKAGES
    base: ImageReference | None = None
    apt: tuple[AptPackage, ...] = Field(default=(), max_length=300)
    pip: tuple[PipPackage, ...] = Field(default=(), max_length=300)
    conda: tuple[CondaPackage, ...] = Field(default=(), max_length=300)
    r: tuple[RPackage, ...] = Field(default=(), max_length=300)
    start: Annotated[PlainText, StringConstraints(max_length=20_000)] = ""
    dockerfile: Annotated[PlainText, StringConstraints(max_length=100_000)] = ""
    repository: GitAddress | None = None
    branch: GitBranch | None = None
    arguments: dict[ArgumentName, Annotated[PlainText, StringConstraints(max_length=2000)]] = Field(
        default_factory=dict, max_length=50
    )
    command: (
        Annotated[
            PlainText,
            StringConstraints(max_length=COMMAND_MAX_LENGTH),
            AfterValidator(check_command),
        ]
        | None
    ) = None
    interfaces: tuple[Interface, ...] = Field(default=(), max_length=10)
    home: MountPath | None = None

    @model_validator(mode="after")
    def _has_what_its_source_needs(self) -> Self:
        if self.source is Source.PACKAGES and self.base is None:
            raise ValueError("choose the image that this one is based on")
        if self.source is Source.DOCKERFILE and not self.dockerfile.strip():
            raise ValueError("write the Dockerfile")
        if self.source is Source.GIT and self.repository is None:
            raise ValueError("write the address of the Git repository")
        return self


def as_environment(recipe: Recipe, slug: str, reference: str) -> Environment:
    """The environment in which a build of an image is tried; `reference` is the build's image."""
    interfaces = recipe.interfaces or (Interface(name=slug, title=recipe.title),)
    return Environment(
        slug=slug,
        title=recipe.title,
        image=reference,
        command=recipe.command,
        interfaces=interfaces,
        storage=Storage(dedicated=recipe.home),
    )


class Tool(StrEnum):
    """What installs packages in an image."""

    APT = "apt"
    PIP = "pip"
    CONDA = "conda"
    R = "r"


class BaseImage(Model):
    """An image that others are based on, with what its users need to know.

    `user` is the account to go back to after packages were installed as root; `command`,
    `interfaces` and `home` are proposed to environments of it.
    """

    slug: Slug
    reference: ImageReference
    title: Title
    description: Text
    tools: frozenset[Tool]
    user: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,60}$")] = "root"
    command: (
        Annotated[
            PlainText,
            StringConstraints(max_length=COMMAND_MAX_LENGTH),
            AfterValidator(check_command),
        ]
        | None
    ) = None
    interfaces: tuple[Interface, ...] = Field(min_length=1, max_length=10)
    home: MountPath | None = None
    has_nbgitpuller: YesNo = False


class ContextFile(Model):
    """A file of a context: `path` is relative, with /; what it holds is known by its SHA-256."""

    path: Annotated[PlainText, StringConstraints(min_length=1, max_length=500)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: int = Field(ge=0)
    executable: bool = False


# --- builds --------------------------------------------------------------------------------------


class BuildState(StrEnum):
    QUEUED = "queued"
    BUILDING = "building"
    PUSHING = "pushing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


TRANSITIONS: Mapping[BuildState, frozenset[BuildState]] = MappingProxyType(
    {
        BuildState.QUEUED: frozenset(
            {BuildState.BUILDING, BuildState.FAILED, BuildState.CANCELLED}
        ),
        BuildState.BUILDING: frozenset(
            {BuildState.PUSHING, BuildState.DONE, BuildState.FAILED, BuildState.CANCELLED}
        ),
        BuildState.PUSHING: frozenset({BuildState.DONE, BuildState.FAILED, BuildState.CANCELLED}),
        BuildState.DONE: frozenset(),
        BuildState.FAILED: frozenset(),
        BuildState.CANCELLED: frozenset(),
    }
)
"""Where a build may go from each state."""

UNFINISHED = frozenset({BuildState.QUEUED, BuildState.BUILDING, BuildState.PUSHING})


def in_turn(queued: Sequence[tuple[int, str]], building: Collection[str]) -> list[int]:
    """The order of a queue in which people take turns: whoever asks for ten waits for the others.

    `queued` are builds with who asked for each, the oldest first; `building` who has one under
    way, once for each of theirs.
    """
    turns = Counter(building)
    ranked = []
    for build_id, person in queued:
        ranked.append((turns[person], build_id))
        turns[person] += 1
    return [build_id for _, build_id in sorted(ranked)]


# --- any image -----------------------------------------------------------------------------------


class ImageFacts(Model):
    """What is known of an image: where it was found, and what its configuration says.

    `found` is `engine` (on the operators' Docker engine), or `registry`. `size_bytes` is what is
    pulled (compressed) from a registry, what it takes on disk on an engine.
    """

    reference: ImageReference
    found: Annotated[str, StringConstraints(pattern=r"^(engine|registry)$")]
    digest: str = ""
    size_bytes: int | None = None
    user: str = ""
    ports: tuple[int, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_dir: str = ""
    has_healthcheck: bool = False
