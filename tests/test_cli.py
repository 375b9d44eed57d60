"""`mydocker-hub` as an operator calls it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from mydocker_hub import __version__, cli
from mydocker_hub.share import share_path

from .conftest import free_ports

SAMPLE = share_path("catalogue", "paris-saclay.yaml")
ENVIRONMENTS = SAMPLE.read_text().count("\n  - slug: ")
SMALL = """\
version: 1
environments:
  - slug: lab
    title: {fr: Labo, en: Lab}
    image: example.org/lab:1
    interfaces: [{name: web, title: Web}]
    join_links: [{key: LabLabLabLab}]
"""


@dataclass
class Done:
    status: int
    out: str
    err: str


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the command in an empty folder, with a database of its own; in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MYDOCKER_HUB_STATE", str(tmp_path))
    monkeypatch.delenv("MYDOCKER_DATABASE_URL", raising=False)

    def call(*arguments: str | Path, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        message = ""
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:  # as Python itself does
            status = end.code if isinstance(end.code, int) else 1
            message = "" if isinstance(end.code, int | None) else f"{end.code}\n"
        out, err = capsys.readouterr()
        return Done(status, out, err + message)

    return call


@pytest.fixture
def file(tmp_path: Path):
    def file(content: str | bytes, name: str = "catalogue.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return file


def said(done: Done, status: int = 0) -> str:
    """What a command said on its standard output (standard error, if it failed)."""
    assert done.status == status, done
    if status == 0:
        assert done.err == ""
        return done.out
    return done.err


def test_as_a_program(tmp_path: Path) -> None:
    """The installed command: its status, and nothing on the wrong stream."""
    program = Path(sys.executable).parent / "mydocker-hub"
    for name, status in ((SAMPLE, 0), ("nothing.yaml", 1)):
        done = subprocess.run(
            [program, "catalogue", "check", name], capture_output=True, cwd=tmp_path, timeout=60
        )
        assert done.returncode == status
        assert bool(done.stdout) == (status == 0)
        assert bool(done.stderr) == (status != 0)
        assert b"Traceback" not in done.stderr


# --- check ---------------------------------------------------------------------------------------


def test_check(call) -> None:
    text = said(call("catalogue", "check", SAMPLE))
    assert f"{ENVIRONMENTS} environments" in text


def test_check_says_file_line_and_field(call, file) -> None:
    path = file(SMALL.replace("example.org/lab:1", "a b").replace("web, title", "WEB, title"))
    lines = said(call("catalogue", "check", path), 1).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [f"{path}:5", "environments[0].image"],
        [f"{path}:6", "environments[0].interfaces[0].name"],
    ]


def test_check_reads_standard_input(call) -> None:
    assert "1 environments" in said(call("catalogue", "check", "-", stdin=SMALL.encode()))
    wrong = SMALL.replace("image:", "imag:").encode()
    assert said(call("catalogue", "check", "-", stdin=wrong), 1).startswith("-:3: environments[0]")


@pytest.mark.parametrize(("name", "reason"), [("nothing.yaml", "No such file"), (".", "directory")])
def test_check_of_no_file(call, name, reason) -> None:
    text = said(call("catalogue", "check", name), 1)
    assert text.startswith(f"{name}: ")
    assert reason in text


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_a_file_of_50_megabytes_is_refused_at_once(call, file, way) -> None:
    data = SMALL.encode() + b"# " + b"x" * 50_000_000
    started = time.monotonic()
    done = (
        call("catalogue", "check", file(data))
        if way == "file"
        else call("catalogue", "check", "-", stdin=data)
    )
    assert time.monotonic() - started < 10
    assert "at most 5 MB" in said(done, 1)


@pytest.mark.parametrize("arguments", [(), ("catalogue",), ("catalogue", "eat"), ("db", "drop")])
def test_wrong_calls(call, arguments) -> None:
    assert "usage:" in said(call(*arguments), 2)


def test_version_and_help(call) -> None:
    assert said(call("--version")) == f"{__version__}\n"
    assert "catalogue" in said(call("--help"))


# --- import and export ---------------------------------------------------------------------------


def test_import_twice_then_export_then_import_changes_nothing(call, tmp_path) -> None:
    first = said(call("catalogue", "import", SAMPLE))
    assert f"{ENVIRONMENTS} environments imported" in first
    assert first.count("\n+ ") + first.startswith("+ ") >= ENVIRONMENTS
    again = said(call("catalogue", "import", SAMPLE))
    assert again == "nothing changes: the catalogue says all of this already\n"
    said(call("catalogue", "export", "out.yaml"))
    assert said(call("catalogue", "import", "out.yaml")) == again
    assert said(call("catalogue", "import", "out.yaml", "--dry-run")) == again
    exported = (tmp_path / "out.yaml").read_text()
    assert said(call("catalogue", "export")) == exported
    assert said(call("catalogue", "export", "-")) == exported
    other = f"sqlite:///{tmp_path / 'other.sqlite'}"
    said(call("catalogue", "import", "-", "--database", other, stdin=exported.encode()))
    assert said(call("catalogue", "export", "--database", other)) == exported


def test_dry_run_says_what_would_change_and_changes_nothing(call, file) -> None:
    path = file(SMALL)
    text = said(call("catalogue", "import", path, "--dry-run"))
    assert text == "+ lab: Lab\nnothing was written (--dry-run)\n"
    assert "lab" not in said(call("catalogue", "export"))
    said(call("catalogue", "import", path))
    file(SMALL.replace("lab:1", "lab:2"))
    text = said(call("catalogue", "import", path, "--dry-run"))
    assert text.splitlines()[0] == "~ lab image: example.org/lab:1 → example.org/lab:2"
    assert "lab:2" not in said(call("catalogue", "export"))
    said(call("catalogue", "import", path))
    assert "lab:2" in said(call("catalogue", "export"))


def test_dry_run_finds_what_an_import_would_find(call, file) -> None:
    said(call("catalogue", "import", file(SMALL)))
    other = SMALL.replace("slug: lab", "slug: other")
    for option in (["--dry-run"], []):
        text = said(call("catalogue", "import", file(other, "other.yaml"), *option), 1)
        assert "LabLabLabLab" in text
        assert "exists already" in text
    assert "slug: other" not in said(call("catalogue", "export"))


def test_import_into_an_empty_catalogue_only(call, file) -> None:
    said(call("catalogue", "import", file(SMALL), "--if-empty"))
    file(SMALL.replace("Labo", "Autre"))
    text = said(call("catalogue", "import", "catalogue.yaml", "--if-empty"))
    assert "--if-empty" in text
    assert "Labo" in said(call("catalogue", "export"))


def test_a_faulty_file_touches_nothing(call, file, tmp_path) -> None:
    said(call("catalogue", "import", file(SMALL + "    colour: red\n")), 1)
    assert not (tmp_path / "catalogue.sqlite").exists()


def test_export_to_where_nothing_can_be_written(call) -> None:
    text = said(call("catalogue", "export", "no/such/folder.yaml"), 1)
    assert text.startswith("no/such/folder.yaml: ")


def test_schema(call) -> None:
    printed = json.loads(said(call("catalogue", "schema")))
    assert printed == json.loads(share_path("catalogue", "schema.json").read_text())


# --- database ------------------------------------------------------------------------------------


def test_upgrade(call, tmp_path) -> None:
    for _ in range(2):
        said(call("db", "upgrade"))
    assert (tmp_path / "catalogue.sqlite").exists()


def test_which_database(call, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MYDOCKER_DATABASE_URL", f"sqlite:///{tmp_path / 'named.sqlite'}")
    said(call("db", "upgrade"))
    assert (tmp_path / "named.sqlite").exists()
    assert not (tmp_path / "catalogue.sqlite").exists()
    said(call("db", "upgrade", "--database", f"sqlite:///{tmp_path / 'told.sqlite'}"))
    assert (tmp_path / "told.sqlite").exists()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nonsense", "database: write a URL such as"),
        ("mysql://u:SECRET@h/d", "database: write a URL such as"),
        ("sqlite:////no/such/folder/x.sqlite", "unable to open database file"),
        ("postgresql://u:SECRET@127.0.0.1:1/x", "does not answer"),
    ],
)
def test_databases_that_are_none(call, url, expected) -> None:
    text = said(call("db", "upgrade", "--database", url), 1)
    assert expected in text
    assert "SECRET" not in text


def test_something_else_than_a_database(call, file) -> None:
    path = file("this is text\n" * 100, "text.sqlite")
    text = said(call("db", "upgrade", "--database", f"sqlite:///{path}"), 1)
    assert "not a database" in text


@pytest.mark.peers
def test_our_metadata_and_a_change_of_keys(call, tmp_path: Path) -> None:
    fingerprint = ":".join(["AB"] * 32)
    (tmp_path / "sign-in.yaml").write_text(
        "federation:\n  metadata:\n    url: http://127.0.0.1:9/idps.xml\n"
        f"    fingerprints: ['{fingerprint}']\n"
    )

    def certificates() -> set[str]:
        done = subprocess.run(
            [sys.executable, "-m", "mydocker_hub.cli", "saml", "metadata",
             "--public-url", "https://hub.example.org"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert 'entityID="https://hub.example.org/hub/saml/metadata"' in done.stdout
        return set(re.findall("<ds:X509Certificate>([^<]+)", done.stdout))

    first = certificates()
    assert call("saml", "next-key").status == 0
    both = certificates()
    assert first < both
    assert call("saml", "next-key").status == 1, "a change is under way"
    assert call("saml", "use-next-key").status == 0
    assert call("saml", "forget-old-key").status == 0
    assert certificates() == both - first


def test_check_says_what_to_do(call, tmp_path: Path) -> None:
    (port,) = free_ports(1)  # where nobody answers
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o644)
    (tmp_path / "sign-in.yaml").write_text(
        f"openid: [{{name: campus, title: Campus, issuer: 'http://127.0.0.1:{port}',"
        f" client_id: hub, client_secret_file: {secret}}}]\n"
    )
    done = call("check")
    assert done.status == 1
    assert f"!!  campus: others can read {secret}: chmod 600 {secret}" in done.out
    assert f"!!  campus: http://127.0.0.1:{port}" in done.out
    secret.chmod(0o600)
    assert f"ok  campus: {secret} is for its owner alone" in call("check").out


def test_check_without_a_file_names_it(call, tmp_path: Path) -> None:
    done = call("check")
    assert done.status == 1
    assert f"{tmp_path / 'sign-in.yaml'}" in done.err
