"""The documentation says what the software does: names are all there, commands run, links lead."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from traitlets.config import Config

from mydocker_hub import cli, hubconfig
from mydocker_hub.authenticator import MyDockerAuthenticator
from mydocker_hub.cataloguefile import json_schema
from mydocker_hub.domain import command
from mydocker_hub.domain.errors import CODES
from mydocker_hub.spawner import _DECIDED_BY_THE_CATALOGUE, _HONOURED, SwarmEnvironmentSpawner

from .hub import RunningHub

ROOT = Path(__file__).parent.parent
OPERATORS = ROOT / "docs" / "operators"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("images/*.md")])


def in_first_columns(page: Path) -> set[str]:
    """What the tables of a page are about: the code in the first cell of each row."""
    rows = re.findall(r"^\| (.*?) \|", page.read_text(), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


# --- names ---------------------------------------------------------------------------------------


def test_error_codes() -> None:
    text = (OPERATORS / "errors.md").read_text()
    entries = re.split(r"^### `(.*)`\n", text, flags=re.MULTILINE)[1:]
    documented = dict(zip(entries[::2], entries[1::2], strict=True))
    assert list(documented) == list(CODES)
    for code, entry in CODES.items():
        said = documented[code]
        sentence = re.sub(r"%\(\w+\)s", "…", entry.sentence)
        assert sentence in " ".join(said.replace("\n> ", " ").split()), code
        assert f"Status {entry.status}. Again: {'no' if entry.permanent else 'yes'}." in said, code
        assert "\n- When: " in said, code
        assert "\n- Do: " in said, code


def test_traits() -> None:
    page = OPERATORS / "configuration.md"
    explained = in_first_columns(page)
    for cls in (SwarmEnvironmentSpawner, MyDockerAuthenticator):
        for name, trait in cls.class_own_traits(config=True).items():
            assert name in explained
            assert trait.help, name
    assert explained >= _HONOURED
    defaults = SwarmEnvironmentSpawner()
    for name in (
        "answer_timeout",
        "room_timeout",
        "start_timeout",
        "http_timeout",
        "poll_interval",
    ):
        value = f"{getattr(defaults, name):.0f}"
        assert re.search(rf"^\| `{name}` \| [^|]*\b{value}\b", page.read_text(), re.MULTILINE), name
    # every refused one is named in the list, and no honoured one is
    refused = page.read_text().partition("### What is refused")[2].partition("\n## ")[0]
    listed = set(re.findall(r"`(\w+)`", refused.partition("`options_form` may")[0]))
    for name in SwarmEnvironmentSpawner.class_traits(config=True):
        config = Config({"DockerSpawner": {name: None}})
        try:
            SwarmEnvironmentSpawner.check_config(config)
        except ValueError:
            assert name in listed
        else:
            assert name not in listed
    assert listed >= _DECIDED_BY_THE_CATALOGUE


def test_scopes(tmp_path: Path) -> None:
    config = Config()
    hubconfig.install(config, state=tmp_path)
    scopes = {
        scope
        for part in (*config.JupyterHub.services, *config.JupyterHub.load_roles)
        for scope in (*part.get("oauth_client_allowed_scopes", ()), *part.get("scopes", ()))
        if scope != "self"
    }
    page = OPERATORS / "security.md"
    assert {name for name in in_first_columns(page) if ":" in name or "!" in name} == scopes


def test_arguments_of_install() -> None:
    explained = in_first_columns(OPERATORS / "configuration.md")
    assert set(inspect.signature(hubconfig.install).parameters) <= explained


def test_environment_variables() -> None:
    code = [ROOT / "jupyterhub_config.py", ROOT / "mydocker_hub" / "cli.py"]
    used = {name for file in code for name in re.findall(r'"(MYDOCKER_\w+)"', file.read_text())}
    assert used <= in_first_columns(OPERATORS / "configuration.md")


def test_commands() -> None:
    text = "".join((OPERATORS / page).read_text() for page in ("catalogue.md", "sign-in.md"))
    documented = re.findall(r"^\| `(mydocker-hub [a-z -]+)", text, re.MULTILINE)
    assert sorted(name.strip() for name in documented) == sorted(commands(cli._parser()))
    assert all(option in text for option in options(cli._parser()))


def commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    children = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not children:
        yield parser.prog
    for name, child in ((n, c) for action in children for n, c in action.choices.items()):
        assert name
        yield from commands(child)


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from options(child)
        elif action.option_strings and action.dest not in {"help", "version"}:
            yield action.option_strings[-1]


def test_template_variables() -> None:
    page = in_first_columns(OPERATORS / "catalogue.md")
    documented = {name[2:-2] for name in page if name.startswith("{{")}
    assert all(command._KNOWN_VARIABLE.fullmatch(name) for name in documented)
    plain, of_a_port = command._KNOWN_VARIABLE.pattern.split("|(?:")
    names = {*plain.split("|")}
    names |= {f"{name}['8888']" for name in of_a_port.partition(")")[0].split("|")}
    assert documented == names


def test_fields_of_the_catalogue_file() -> None:
    text = (OPERATORS / "catalogue.md").read_text()
    definitions = json_schema()["$defs"]
    missing = {
        f"{model}.{field}"
        for model, definition in definitions.items()
        for field in definition.get("properties", {})
        if f"`{field}`" not in text and field not in {"fr", "en"}
    }
    assert not missing


def test_names_in_the_architecture() -> None:
    """What is called by its name there still bears it."""
    page = ROOT / "docs" / "developers" / "architecture.md"
    source = "".join(
        file.read_text() + " ".join(file.parts)
        for folder, pattern in (("mydocker_hub", "*.py"), ("share/templates", "*.html"))
        for file in (ROOT / folder).rglob(pattern)
    )
    for name in re.findall(r"`([\w.]+)`", page.read_text()):
        assert re.search(rf"\b{re.escape(name.split('.')[-1])}\b", source), name


# --- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and GitLab make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- commands ------------------------------------------------------------------------------------


@dataclass
class Block:
    """A block marked `console`: its script, and the lines that have to come out."""

    page: Path
    line: int
    how: str
    script: list[str]
    shown: list[str]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for found in re.finditer(r"^```console ?(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            block = Block(page, text.count("\n", 0, found.start()) + 1, found[1], [], [])
            here_document = False
            for line in found[2].splitlines():
                if line.startswith("$ "):
                    here_document = "<<'END'" in line
                    block.script.append(line[2:])
                elif here_document:
                    block.script.append(line)
                    here_document = line != "END"
                else:
                    block.shown.append(line)
            yield block


BLOCKS = list(blocks())


def of(*how: str) -> list[Block]:
    return [block for block in BLOCKS if block.how in how]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, for commands that write."""
    folder = tmp_path_factory.mktemp("copy") / "mydocker_hub"
    ours = shutil.ignore_patterns(".*", "var", "node_modules", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, folder, ignore=ours)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def run(script: list[str], shown: list[str], folder: Path, fails: bool = False, **env: str) -> None:
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(script)],
        cwd=folder,
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("MYDOCKER_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "MYDOCKER_HUB_STATE": str(folder / "state"),
            **env,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert (result.returncode != 0) == fails, result.stdout
    for line in shown:
        pattern = ".*".join(re.escape(part) for part in line.split("…"))
        assert re.search(pattern, result.stdout), f"{line}\n{result.stdout}"


@pytest.mark.parametrize("block", of("", "fails"), ids=str)
def test_console(block: Block, copy: Path) -> None:
    (copy / "state").mkdir(exist_ok=True)
    shutil.rmtree(copy / "state")
    (copy / "state").mkdir()
    run(block.script, block.shown, copy, fails=block.how == "fails")


@pytest.mark.engine
@pytest.mark.parametrize("block", of("engine"), ids=str)
def test_console_with_an_engine(block: Block, copy: Path, engine: object) -> None:
    run(block.script, block.shown, copy)


@pytest.mark.hub
@pytest.mark.engine
@pytest.mark.parametrize("page", sorted({block.page for block in of("hub")}), ids=lambda p: p.name)
def test_console_with_a_hub(page: Path, copy: Path, hub: RunningHub) -> None:
    """The blocks of a page, one after the other, as a teacher."""
    mine = [block for block in of("hub") if block.page == page]
    with hub.signed_in("bob") as bob:
        token = bob.token()
    script = [line for block in mine for line in block.script]
    run(script, [line for b in mine for line in b.shown], copy, HUB=hub.url, TOKEN=token)


@pytest.mark.parametrize("block", of("machine"), ids=str)
def test_console_that_changes_the_machine(block: Block) -> None:
    """Not run: but our scripts exist and know the options, and files that are named are there."""
    assert not block.shown
    for line in block.script:
        words = shlex.split(line)
        if words[0].startswith("scripts/"):
            helped = subprocess.run(
                [ROOT / words[0], "--help"], capture_output=True, text=True, check=True
            ).stdout
            assert all(word in helped for word in words[1:2]), line
        for word in words:
            if re.match(r"(scripts|images|share|tests)/", word):
                assert (ROOT / word).exists(), line


def test_every_shell_block_is_checked() -> None:
    for page in PAGES:
        languages = re.findall(r"^```(\w+)", page.read_text(), re.MULTILINE)
        assert not {"sh", "bash", "shell"} & set(languages), page
    known = {"", "fails", "engine", "hub", "machine"}
    assert {block.how for block in BLOCKS} <= known
