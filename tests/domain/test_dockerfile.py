"""Recipes as Dockerfiles, and failures in the logs of builds."""

from __future__ import annotations

import json
import re
import shlex
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mydocker_hub.domain.dockerfile import (
    START_FOLDER,
    dockerfile,
    failing_line,
    foreign_frontend,
    repository_dockerfile,
)
from mydocker_hub.domain.images import (
    BaseImage,
    ContextFile,
    ImageFacts,
    PipPackage,
    Recipe,
    Tool,
)

BASE = BaseImage(
    slug="scipy",
    reference="quay.io/jupyter/scipy-notebook:1",
    title={"fr": "SciPy", "en": "SciPy"},
    description={"fr": "", "en": ""},
    tools=frozenset(Tool),
    user="jovyan",
    home="/home/jovyan",
    interfaces=[{"name": "lab", "title": "Lab"}],
)
FACTS = ImageFacts(
    reference="a/b:1", found="engine", user="1000", entrypoint=("tini", "--"), command=("lab", "-x")
)
FILE = ContextFile(path="data/a b.csv", sha256="0" * 64, size_bytes=3)


def recipe(**values) -> Recipe:
    return Recipe.model_validate({"title": "Test", "base": "a/b:1", **values})


def instructions(text: str) -> list[tuple[str, str]]:
    """A Dockerfile as BuildKit reads it (dockerfile/parser/parser.go), without comments."""
    found: list[tuple[str, str]] = []
    joined = ""
    for line in text.split("\n"):
        if re.match(r"\s*#", line) or (joined and not line.strip()):
            continue
        if match := re.fullmatch(r"(.*?)\\[ \t]*", line):
            joined += match[1]
            continue
        joined += line
        if joined.strip():
            name, _, rest = joined.strip().partition(" ")
            found.append((name, rest))
        joined = ""
    assert not joined
    return found


def names(text: str) -> list[str]:
    return [name for name, _ in instructions(text)]


def words(text: str, tool: str) -> list[str]:
    """The words of the RUN that has this tool."""
    return next(shlex.split(rest) for name, rest in instructions(text) if tool in rest)


def test_nothing_but_a_base() -> None:
    assert dockerfile(recipe(), BASE, ()) == "FROM a/b:1\n\nUSER root\n\nUSER jovyan\n"


def test_everything() -> None:
    full = recipe(
        apt=["graphviz", "libfoo=1:2.3"],
        conda=["conda-forge::gdal>=3.8"],
        pip=["numpy==2.1", "pandas[excel]>=2; python_version > '3.8'"],
        r=["dplyr"],
        start="echo 'hello'\nexport A=\"$B\" \\\n  C=d",
    )
    text = dockerfile(full, BASE, [FILE], facts=FACTS)
    assert " ".join(names(text)) == ("FROM USER RUN RUN RUN RUN COPY RUN RUN USER ENTRYPOINT CMD")
    assert {"graphviz", "libfoo=1:2.3", "--no-install-recommends"} <= set(words(text, "apt-get"))
    assert "conda-forge::gdal>=3.8" in words(text, "mamba")
    assert words(text, "pip install")[-2:] == [
        "numpy==2.1",
        "pandas[excel]>=2; python_version > '3.8'",
    ]
    assert 'c("dplyr")' in text
    found = instructions(text)
    assert ("COPY", '--chown=jovyan ["./", "/home/jovyan/"]') in found
    assert found[-3:] == [
        ("USER", "jovyan"),
        ("ENTRYPOINT", json.dumps([f"{START_FOLDER}/entry", "tini", "--"])),
        ("CMD", '["lab", "-x"]'),
    ]
    start = words(text, f">{START_FOLDER}/start")
    assert start[start.index("printf") + 2 :][:4] == [
        "#!/bin/sh",
        "echo 'hello'",
        'export A="$B" \\',
        "  C=d",
    ]


def test_operators_settings_are_mounted_where_packages_are_installed() -> None:
    text = dockerfile(recipe(apt=["a1"], pip=["b"], conda=["c"], r=["d"]), BASE, ())
    for line, settings_ in (
        ("apt-get", {"apt.conf", "ca.pem"}),
        ("pip install", {"pip.conf", "ca.pem"}),
        ("mamba", {"condarc", "pip.conf", "ca.pem"}),
        ("Rscript", {"ca.pem"}),
    ):
        mounts = [word for word in words(text, line) if word.startswith("--mount")]
        assert {re.search(r"id=([^,]+)", mount)[1] for mount in mounts} == settings_  # type: ignore[index]
        assert all(mount.endswith("required=false") for mount in mounts)


def test_without_a_known_base_its_configuration_says_who_comes_back() -> None:
    assert instructions(dockerfile(recipe(), None, (), facts=FACTS))[-1] == ("USER", "1000")
    root = FACTS.model_copy(update={"user": ""})
    assert instructions(dockerfile(recipe(), None, (), facts=root))[-1] == ("USER", "root")
    strange = FACTS.model_copy(update={"user": "a\nRUN evil"})
    assert instructions(dockerfile(recipe(), None, (), facts=strange))[-1] == ("USER", "root")
    shown = dockerfile(recipe(start="true"), None, ())
    assert names(shown) == ["FROM", "USER", "RUN", "RUN"]
    assert shown.rstrip().splitlines()[-1].startswith("# ")


def test_files_go_home() -> None:
    def target(base: BaseImage | None, **values: str) -> str:
        text = dockerfile(recipe(**values), base, [FILE])
        return next(rest for name, rest in instructions(text) if name == "COPY").split('"')[3]

    assert target(BASE) == "/home/jovyan/"
    assert target(None, home="/home/rstudio") == "/home/rstudio/"
    assert target(None, home="/srv/$A") == "/srv/\\\\$A/"
    assert target(None) == "/opt/files/"


def test_a_dockerfile_is_taken_as_it_is() -> None:
    own = recipe(source="dockerfile", dockerfile="FROM x\nRUN y\n", pip=["ignored"])
    assert dockerfile(own, BASE, ()) == "FROM x\nRUN y\n"
    assert dockerfile(recipe(source="git", repository="https://git.example/x"), BASE, ()) == ""


def _packages(model: object, text: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    adapter = TypeAdapter(model)

    def valid(value: str) -> bool:
        try:
            adapter.validate_python(value)
        except ValidationError:
            return False
        return True

    return text.filter(valid)


HARD = st.sampled_from(
    [
        "'",
        '"',
        "\\",
        "\\\n",
        "\n",
        "# ",
        "RUN x",
        "<<EOF",
        "$(id)",
        "`id`",
        "; ",
        " ",
        "a",
        "é",
        "\t",
    ]
)
TEXT = st.lists(HARD, min_size=1, max_size=12).map("".join)


@settings(max_examples=50, deadline=None)
@given(
    pip=st.lists(_packages(PipPackage, TEXT.map(lambda text: f"a; {text}")), max_size=3),
    start=TEXT,
    entrypoint=st.lists(TEXT, max_size=2),
)
def test_no_recipe_breaks_out(pip: list[str], start: str, entrypoint: list[str]) -> None:
    made = recipe(pip=pip, start=start)
    facts = FACTS.model_copy(update={"entrypoint": tuple(entrypoint)})
    text = dockerfile(made, None, (), facts=facts)
    expected = ["FROM", "USER", *(["RUN"] if pip else [])]
    expected += ["RUN", "RUN"] if start.strip() else []
    expected += ["USER", *(["ENTRYPOINT", "CMD"] if start.strip() else [])]
    assert names(text) == expected
    if pip:
        named = words(text, "pip install")
        wanted = [" ".join(package.split()) for package in made.pip]
        assert named[named.index("--no-cache-dir") + 1 :] == wanted
    if start.strip():
        lines = words(text, f">{START_FOLDER}/start")
        lines = lines[lines.index("printf") + 2 : lines.index(f">{START_FOLDER}/start")]
        assert lines[-len(start.split("\n")) :] == start.split("\n")
        assert json.loads(instructions(text)[-2][1])[1:] == entrypoint


# --- repositories --------------------------------------------------------------------------------


def test_a_repository_by_convention() -> None:
    git = recipe(source="git", repository="https://git.example/x")
    everything = [
        "apt.txt",
        "environment.yml",
        "requirements.txt",
        "install.R",
        "postBuild",
        "start",
    ]
    text = repository_dockerfile(git, BASE, "binder/", everything, facts=FACTS)
    assert " ".join(names(text)) == (
        "FROM USER COPY WORKDIR RUN RUN RUN RUN RUN USER RUN USER ENTRYPOINT CMD"
    )
    assert "binder/requirements.txt" in words(text, "pip install")
    assert "./binder/postBuild" in text
    assert json.loads(instructions(text)[-2][1]) == [f"{START_FOLDER}/start", "tini", "--"]
    small = repository_dockerfile(git, BASE, "", ["requirements.txt"])
    assert names(small) == ["FROM", "USER", "COPY", "WORKDIR", "RUN", "USER"]


def test_a_repository_without_a_base() -> None:
    git = recipe(source="git", repository="https://git.example/x", base=None)
    with pytest.raises(ValueError, match="choose the image"):
        repository_dockerfile(git, None, "", ["requirements.txt"])


# --- what failed ---------------------------------------------------------------------------------

OLD = """\
#4 [1/3] FROM docker.io/library/debian:12
#4 CACHED

#5 [2/3] RUN apt-get update  && apt-get install nosuch
#5 0.512 Reading package lists...
#5 1.020 E: Unable to locate package nosuch
#5 ERROR: executor failed running [/bin/sh -c apt-get update]: exit code: 100
------
 > [2/3] RUN apt-get update  && apt-get install nosuch:
#5 1.020 E: Unable to locate package nosuch
------
executor failed running [/bin/sh -c apt-get update]: exit code: 100
"""
NEW = """\
#6 [3/5] RUN --mount=type=secret,id=a,target=/x     python3 -m pip install 'nosuch-package'
#6 2.1 ERROR: Could not find a version that satisfies the requirement nosuch-package
#6 2.1 ERROR: No matching distribution found for nosuch-package
#6 2.2 [notice] A new release of pip is available
#6 ERROR: process "/bin/sh -c python3 -m pip install" did not complete successfully: exit code: 1
------
 > [3/5] RUN python3 -m pip install 'nosuch-package':
------
Dockerfile:5
--------------------
   5 | >>> RUN python3
--------------------
ERROR: failed to solve: process "/bin/sh -c python3" did not complete successfully: exit code: 1
"""
PARSE = (
    "failed to solve with frontend dockerfile.v0: failed to create LLB definition: "
    "dockerfile parse error line 2: unknown instruction: FOO\n"
)
BASE_LOST = """\
#3 [internal] load metadata for docker.io/x/nosuch:1
#3 ERROR: failed to do request: Head "https://registry-1.docker.io/v2/": no such host
------
 > [internal] load metadata for docker.io/x/nosuch:1:
------
"""
COPY = """\
#6 [stage-1 2/2] COPY bar /x
#6 ERROR: "/bar" not found: not found
failed to compute cache key: "/bar" not found: not found
"""
SILENT = """\
#6 [2/2] RUN false
#6 ERROR: executor failed running [/bin/sh -c false]: exit code: 1
"""


@pytest.mark.parametrize(
    ("log", "step", "command", "telling"),
    [
        (
            OLD,
            "2/3",
            "RUN apt-get update && apt-get install nosuch",
            "E: Unable to locate package nosuch",
        ),
        (
            NEW,
            "3/5",
            "RUN python3 -m pip install 'nosuch-package'",
            "ERROR: Could not find a version that satisfies the requirement nosuch-package\n"
            "ERROR: No matching distribution found for nosuch-package",
        ),
        (PARSE, "", "", "dockerfile parse error line 2: unknown instruction: FOO"),
        (
            BASE_LOST,
            "",
            "load metadata for docker.io/x/nosuch:1",
            'failed to do request: Head "https://registry-1.docker.io/v2/": no such host',
        ),
        (COPY, "2/2", "COPY bar /x", '"/bar" not found: not found'),
        (SILENT, "2/2", "RUN false", "exit code: 1"),
    ],
)
def test_what_failed(log: str, step: str, command: str, telling: str) -> None:
    failure = failing_line(log)
    assert failure is not None
    assert (failure.step, failure.command, failure.words) == (step, command, telling)


def test_nothing_failed() -> None:
    assert failing_line("#4 [1/2] FROM x\n#4 DONE 0.1s\n") is None


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="#123 [/]ERROR:.\n\"'abc-", max_size=300))
def test_any_log_is_read(log: str) -> None:
    failing_line(log)


def test_a_forged_log_takes_no_time() -> None:
    # A step's output may hold a carriage return, after which it writes what it likes.
    lines = ["#1 [" + "1" * 3990, "#1 [" + "1/" * 1990, "#1 [" + "x" * 3990] * 300
    started = time.process_time()
    failing_line("\n".join([*lines, "#1 ERROR: x"]))
    assert time.process_time() < started + 2


@pytest.mark.parametrize(
    ("text", "frontend"),
    [
        ("FROM x\n", ""),
        ("# syntax=docker/dockerfile:1\nFROM x\n", ""),
        ("#syntax = docker.io/docker/dockerfile:1.7-labs\r\nFROM x\n", ""),
        (f"# syntax=docker/dockerfile@sha256:{'0' * 64}\nFROM x\n", ""),
        ("# syntax=evil.example/frontend\nFROM x\n", "evil.example/frontend"),
        ("\ufeff#\tSYNTAX = evil/x:1 a b\nFROM x\n", "evil/x:1"),
        ("#!/bin/x\n# syntax=docker/dockerfile-evil\n", "docker/dockerfile-evil"),
        ("// syntax=evil/x\nFROM x\n", "evil/x"),
        ('{"syntax": "evil/x"}', "{"),
        (" \n#!x\n{}", "{"),
        ("FROM x\nRUN echo ' # syntax=x'\n", ""),
    ],
)
def test_frontends(text: str, frontend: str) -> None:
    assert foreign_frontend(text) == frontend


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy", "all_proxy", "BUILDKIT_SYNTAX"])
def test_arguments_that_are_not_taken(name: str) -> None:
    recipe = {"title": "x", "source": "dockerfile", "dockerfile": "FROM x"}
    Recipe.model_validate({**recipe, "arguments": {"PROXY": "1", "MY_HTTP_PROXY": "1"}})
    with pytest.raises(ValidationError, match="BUILDKIT_"):
        Recipe.model_validate({**recipe, "arguments": {name: "http://evil.example"}})
