"""Recipes as Dockerfiles, and what the log of a build says of its failure.

What a recipe names goes into a Dockerfile as single words for a shell or as JSON, each on one line:
nothing of it can begin an instruction of its own.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from .images import BaseImage, ContextFile, ImageFacts, Recipe, Source

FILES_FOLDER = "/opt/files"
"""Where files go in an image whose home folder is not known."""

START_FOLDER = "/usr/local/share/mydocker"

SETTINGS = {
    "pip.conf": "/etc/pip.conf",
    "ca.pem": "/run/secrets/ca.pem",
    "condarc": "/etc/conda/.condarc",
    "apt.conf": "/etc/apt/apt.conf.d/99-build",
    "npmrc": "/root/.npmrc",
}
"""The operators' settings that a build may be shown as BuildKit secrets, and where each is mounted.

They are there during one step, and in no layer.
"""

CONVENTIONS = (
    "Dockerfile",
    "apt.txt",
    "environment.yml",
    "requirements.txt",
    "install.R",
    "postBuild",
    "start",
)
"""The files of a Git repository that repo2docker knows and that are understood here."""

_ENTRY = [
    "#!/bin/sh",
    "# Runs the start script, then what the container is for.",
    "set -e",
    f"{START_FOLDER}/start",
    'exec "$@"',
]
_LEFT_TO_THE_BUILD = "# The base image's own user and command are put here when the image is built."


_SYNTAX = re.compile(r"^[\s\ufeff]*(?:#|//)\s*syntax\s*=\s*(\S+)", re.IGNORECASE | re.MULTILINE)
_OWN_FRONTEND = re.compile(
    r"(?:docker\.io/)?docker/dockerfile(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?", re.ASCII
)
_IN_JSON = re.compile(r"[\s\ufeff]*(?:#!.*\n\s*)?\{")

# --- Dockerfiles ---------------------------------------------------------------------------------


def dockerfile(
    recipe: Recipe,
    base: BaseImage | None,
    files: Sequence[ContextFile],
    *,
    facts: ImageFacts | None = None,
) -> str:
    """The Dockerfile of a recipe, as it is shown and built.

    `base` is what is known by name of the image that the recipe is based on, `facts` what its
    configuration says. Without facts, a comment stands for what only they tell. For a Git source
    nothing is known before it is fetched (`repository_dockerfile`): the text is empty.
    """
    if recipe.source is Source.DOCKERFILE:
        return recipe.dockerfile
    if recipe.source is Source.GIT or recipe.base is None:
        return ""
    parts = [f"FROM {recipe.base}", "USER root"]
    if recipe.apt:
        parts.append(_apt(_words(recipe.apt)))
    if recipe.conda:
        parts.append(_conda(_words(recipe.conda)))
    if recipe.pip:
        parts.append(_pip(_words(recipe.pip)))
    if recipe.r:
        parts.append(_r(recipe.r))
    user = _user(base, facts)
    if files:
        parts.append(_copy(user, "./", f"{_home(recipe, base)}/"))
    if recipe.start.strip():
        parts += [_start(recipe.start), _script(_ENTRY, f"{START_FOLDER}/entry")]
    parts += _back(user, facts, f"{START_FOLDER}/entry" if recipe.start.strip() else "")
    return _joined(parts)


def repository_dockerfile(
    recipe: Recipe,
    base: BaseImage | None,
    folder: str,
    found: Collection[str],
    *,
    facts: ImageFacts | None = None,
) -> str:
    """The Dockerfile of a Git repository that has none, by repo2docker's conventions.

    `folder` is where they are in the repository (`binder/`, `.binder/` or empty), `found` those of
    `CONVENTIONS` that are there. Raises ValueError where the recipe names no base image.
    """
    if recipe.base is None:
        raise ValueError("the repository has no Dockerfile: choose the image to build on")
    home = _home(recipe, base)
    user = _user(base, facts)
    parts = [f"FROM {recipe.base}", "USER root", _copy(user, "./", f"{home}/"), f"WORKDIR {home}"]
    if "apt.txt" in found:
        parts.append(_apt([f"$(sed 's/#.*//' {folder}apt.txt)"]))
    if "environment.yml" in found:
        parts.append(_conda([], file=f"{folder}environment.yml"))
    if "requirements.txt" in found:
        parts.append(_pip(["--requirement", f"{folder}requirements.txt"]))
    if "install.R" in found:
        parts.append(_run([f"Rscript {folder}install.R"], ["ca.pem"]))
    entry = f"{START_FOLDER}/start" if "start" in found else ""
    if entry:
        # A personal folder may be mounted over the one that holds the repository.
        parts.append(
            _run([f"mkdir -p {START_FOLDER}", f"cp {folder}start {entry}", f"chmod 0755 {entry}"])
        )
    if "postBuild" in found:
        if user and user != "root":
            parts.append(f"USER {user}")
        parts.append(
            _run([f"chmod +x {folder}postBuild", f"./{folder}postBuild"], ["pip.conf", "ca.pem"])
        )
    parts += _back(user, facts, entry)
    return _joined(parts)


def foreign_frontend(text: str) -> str:
    """The program that a Dockerfile has itself read by (`# syntax=`), if it is not Docker's own.

    Such an image speaks with BuildKit in the client's name: it could have other people's builds
    find a layer in the cache that it made up. Empty where there is none.
    """
    if _IN_JSON.match(text):  # {"syntax": …}, which no Dockerfile begins with otherwise
        return "{"
    named = (match[1] for match in _SYNTAX.finditer(text))
    return next((name for name in named if not _OWN_FRONTEND.fullmatch(name)), "")


def _apt(packages: list[str]) -> str:
    return _run(
        [
            "apt-get update",
            _continued(
                "DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends",
                packages,
            ),
            "rm -rf /var/lib/apt/lists/*",
        ],
        ["apt.conf", "ca.pem"],
    )


def _conda(packages: list[str], file: str = "") -> str:
    # The home folder is the person's: root's own files stay out of it.
    tool = 'HOME=/root "$tool"'
    return _run(
        [
            'tool="$(command -v mamba || command -v conda || command -v micromamba)"',
            f"{tool} env update --name base --file {file}"
            if file
            else _continued(f"{tool} install --yes --name base", packages),
            f"{tool} clean --all --yes",
        ],
        ["condarc", "pip.conf", "ca.pem"],
    )


def _pip(arguments: list[str]) -> str:
    # For a Debian or Ubuntu whose own Python would refuse, and without a word on root.
    settings = "HOME=/root PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore"
    return _run(
        [_continued(f"{settings} python3 -m pip install --no-cache-dir", arguments)],
        ["pip.conf", "ca.pem"],
    )


def _r(packages: Iterable[str]) -> str:
    names = ", ".join(f'"{name}"' for name in packages)
    script = [
        f"packages <- c({names})",
        'repositories <- getOption("repos")',
        'if (repositories["CRAN"] == "@CRAN@") repositories["CRAN"] <- "https://cloud.r-project.org"',
        "install.packages(packages, repos = repositories)",
        "missing <- setdiff(packages, rownames(installed.packages()))",
        'if (length(missing)) stop("not installed: ", paste(missing, collapse = " "))',
    ]
    options = [f"-e {shlex.quote(line)}" for line in script]
    return _run([_continued("Rscript", options)], ["ca.pem"])


def _copy(user: str | None, source: str, target: str) -> str:
    owner = f"--chown={user} " if user else ""
    # $ would name a variable of the Dockerfile
    return f"COPY {owner}{json.dumps([source, target.replace('$', chr(92) + '$')])}"


def _start(text: str) -> str:
    lines = text.split("\n")
    if not lines[0].startswith("#!"):
        lines.insert(0, "#!/bin/sh")
    return _script(lines, f"{START_FOLDER}/start")


def _script(lines: Iterable[str], path: str) -> str:
    """A RUN that writes an executable file."""
    return _run(
        [
            f"mkdir -p {START_FOLDER}",
            _continued("printf '%s\\n'", [_quoted(line) for line in lines]) + f" >{path}",
            f"chmod 0755 {path}",
        ]
    )


def _back(user: str | None, facts: ImageFacts | None, entry: str) -> list[str]:
    """The instructions that give back what the base image had."""
    parts = []
    if user is None or (entry and facts is None):
        parts.append(_LEFT_TO_THE_BUILD)
    if user is not None:
        parts.append(f"USER {user}")
    if entry and facts is not None:
        parts.append(f"ENTRYPOINT {json.dumps([entry, *facts.entrypoint])}")
        if facts.command:  # an ENTRYPOINT takes away the one of the base
            parts.append(f"CMD {json.dumps(list(facts.command))}")
    return parts


def _user(base: BaseImage | None, facts: ImageFacts | None) -> str | None:
    if base is not None:
        return base.user
    if facts is None:
        return None
    # What an image's configuration holds was not checked by anybody.
    return facts.user if re.fullmatch(r"[A-Za-z0-9_.:-]{1,60}", facts.user, re.ASCII) else "root"


def _home(recipe: Recipe, base: BaseImage | None) -> str:
    home = base.home if base else None
    return home or recipe.home or FILES_FOLDER


def _run(commands: Sequence[str], settings: Iterable[str] = ()) -> str:
    mounts = [
        f"--mount=type=secret,id={name},target={SETTINGS[name]},required=false" for name in settings
    ]
    return "RUN " + " \\\n    ".join([*mounts, " \\\n && ".join(commands)])


def _continued(start: str, words: Iterable[str]) -> str:
    return " \\\n    ".join([start, *words])


def _words(values: Iterable[str]) -> list[str]:
    return [_quoted(" ".join(value.split())) for value in values]


def _quoted(word: str) -> str:
    """A word for a shell, always between quotes: no line ever begins as a Dockerfile's could."""
    inner = word.replace("'", "'\"'\"'")
    return f"'{inner}'"


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(parts) + "\n"


# --- logs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """What failed in a build: `step` such as `3/5` or empty, its command, the words that matter."""

    step: str
    command: str
    words: str


# Whoever builds can write such lines: bounded, as a search from every place would take minutes.
_STEP = re.compile(r"#(\d+) (?:\[[^\]\n]{0,200}?(\d{1,4}/\d{1,4})\] |\[[^\]\n]+\] )(.+)")
_ERROR = re.compile(r"#(\d+) ERROR: (.+)")
_OUTPUT = re.compile(r"#(\d+) \d+\.\d+ (.*)")
_SOLVE = re.compile(r"(?:ERROR: )?failed to solve(?: with frontend \S+)?: (.+)")
_MATTERS = re.compile(
    r"^E: |\berror\b|\bfatal\b|not found|no such|cannot|could not|couldn't|unable to|no matching|"
    r"no space left|nothing provides|not installed|permission denied|conflict|Error:",
    re.IGNORECASE,
)
_MOUNT = re.compile(r"--mount=type=secret\S*\s")  # ours: they tell nobody what failed
_NOISE = re.compile(r"^\[notice\]|^WARNING: (?:Retrying|apt does not)|^\s*$")
_WORDS_LINES = 4
_WORDS_LENGTH = 800


def failing_line(log: str) -> Failure | None:
    """What failed, read from BuildKit's plain log (20.10 and later); None where nothing did."""
    steps: dict[str, tuple[str, str]] = {}
    output: dict[str, list[str]] = {}
    failed = reason = solve = ""
    for line in log.splitlines():
        line = line.rstrip()
        if match := _OUTPUT.fullmatch(line):
            output.setdefault(match[1], []).append(match[2])
        elif match := _ERROR.fullmatch(line):
            failed, reason = match[1], match[2]
        elif match := _STEP.fullmatch(line):
            steps.setdefault(match[1], (match[2] or "", match[3]))
        elif match := _SOLVE.fullmatch(line):
            solve = match[1]
    if not failed and not solve:
        return None
    step, command = steps.get(failed, ("", ""))
    words = _telling(output.get(failed, [])) or _without_frame(reason or solve)
    command = " ".join(_MOUNT.sub("", command).split())
    return Failure(step, command[:_WORDS_LENGTH], words[:_WORDS_LENGTH])


def _telling(lines: list[str]) -> str:
    """The last lines that name a fault; the very last one where none does."""
    lines = [line for line in lines if not _NOISE.search(line)]
    found = [line for line in lines if _MATTERS.search(line)][-_WORDS_LINES:] or lines[-1:]
    return "\n".join(dict.fromkeys(line.strip() for line in found))


def _without_frame(reason: str) -> str:
    """BuildKit's reason without the layers of its own that passed it on."""
    return re.sub(
        r"^(?:failed to create LLB definition|failed to compute cache key|"
        r"executor failed running \[.*\]|process \".*\" did not complete successfully): ",
        "",
        reason,
    )
