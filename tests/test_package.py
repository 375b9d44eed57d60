"""The wheel holds all that a hub needs: it is built, installed in a clean place, and run there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest
import requests

from .conftest import ROOT, free_ports

pytestmark = pytest.mark.hub  # not among the fast ones

SOURCES = ["mydocker_hub", "share", "docs", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"]
NOT_PACKAGED = {"mydocker_hub/locale/babel.cfg", "mydocker_hub/locale/mydocker_hub.pot"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout."""
    copy = tmp_path_factory.mktemp("sources")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, copy / name)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", copy / "out"],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (copy / "out").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; what it depends on comes from the tests' own."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore", "PIP_NO_INDEX": "1"},
    )
    # On the path, but no “site” folder: an editable installation in there does nothing.
    site = next((folder / "venv" / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(python: Path, *arguments: str | Path) -> str:
    done = subprocess.run(
        arguments,
        cwd=python.parents[2],  # neither the checkout nor the copy
        env=environ(python),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def environ(python: Path, **more: str) -> dict[str, str]:
    return {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", **more}


def files(folder: str) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_nothing_is_forgotten(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    missing = files("mydocker_hub") - names - NOT_PACKAGED
    assert not missing
    data = next(name for name in names if ".data/data/share/" in name).split("/")[0]
    shared = {
        name.removeprefix(f"{data}/data/share/mydocker_hub/")
        for name in names
        if name.startswith(f"{data}/data/share/")
    }
    helps = {f"help/{page.name}" for page in (ROOT / "docs" / "teachers").glob("*fields.*.md")}
    assert shared == {name.removeprefix("share/") for name in files("share")} | helps
    assert not [name for name in names if name.startswith(("tests/", "docs/", "scripts/"))]


def test_libraries_are_what_was_fetched() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "vendor", "--check"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr


def test_it_is_the_wheel_that_runs(python: Path) -> None:
    where = run(python, python, "-c", "import mydocker_hub; print(mydocker_hub.__file__)")
    assert where.startswith(str(python.parents[1]))
    shared = run(
        python, python, "-c", "from mydocker_hub.share import share_path; print(share_path())"
    )
    assert shared == str(python.parents[1] / "share" / "mydocker_hub")


def test_the_sample_catalogue(python: Path) -> None:
    sample = python.parents[1] / "share" / "mydocker_hub" / "catalogue" / "paris-saclay.yaml"
    program = python.parent / "mydocker-hub"
    assert "nothing to complain about" in run(python, program, "catalogue", "check", sample)
    schema = sample.with_name("schema.json").read_text().strip()
    assert run(python, program, "catalogue", "schema") == schema


def test_french_is_there(python: Path) -> None:
    code = (
        "from mydocker_hub.web.i18n import translator as t; print(t('fr').known('Sign in first.'))"
    )
    assert run(python, python, "-c", code) == "Connectez-vous d’abord."


def test_the_help_for_fields_is_there(python: Path) -> None:
    code = "from mydocker_hub.web.help import helps; print(helps('fr')['title'].label)"
    assert run(python, python, "-c", code) == "Titre"


def test_the_hub_finds_spawner_and_authenticator(python: Path) -> None:
    code = (
        "from importlib.metadata import entry_points\n"
        "for group in ('jupyterhub.spawners', 'jupyterhub.authenticators'):\n"
        "    found = {entry for entry in entry_points(group=group, name='mydocker')}\n"
        "    print(found.pop().load().__name__)"
    )
    assert run(python, python, "-c", code).split() == [
        "SwarmEnvironmentSpawner",
        "MyDockerAuthenticator",
    ]


def test_the_configuration_finds_its_files(python: Path) -> None:
    code = (
        "from pathlib import Path; from traitlets.config import Config\n"
        "from mydocker_hub import hubconfig\n"
        "c = Config(); hubconfig.install(c, state=Path('state'), demo=True)\n"
        "assert (Path(c.JupyterHub.template_paths[0]) / 'page.html').is_file()\n"
        "assert Path(c.JupyterHub.logo_file).is_file()"
    )
    run(python, python, "-c", code)


def test_the_catalogue_runs(python: Path, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}/services/catalogue/"
    log = tmp_path / "log"
    with log.open("wb") as output:
        service = subprocess.Popen(
            [python, "-m", "mydocker_hub.services.catalogue"],
            cwd=tmp_path,
            env=environ(
                python,
                MYDOCKER_DATABASE_URL=f"sqlite:///{tmp_path / 'catalogue.sqlite'}",
                MYDOCKER_HUB_ID="test",
                MYDOCKER_CATALOGUE_SECRET="secret",
                JUPYTERHUB_API_URL="http://127.0.0.1:1/hub/api",
                JUPYTERHUB_API_TOKEN="token",
                JUPYTERHUB_SERVICE_PREFIX="/services/catalogue/",
                JUPYTERHUB_SERVICE_URL=f"http://127.0.0.1:{port}",
                JUPYTERHUB_CLIENT_ID="service-catalogue",
            ),
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                document = requests.get(f"{url}api/openapi.json", timeout=5).json()
                break
            except requests.ConnectionError:
                assert service.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        assert document["openapi"] == "3.1.0"
        for name in ("mydocker.css", "catalogue.css", "states.js"):
            assert requests.get(f"{url}static/{name}", timeout=5).status_code == 200
        person = {"name": "alice", "roles": ["student"]}
        secret = {"Authorization": "Bearer secret"}
        answer = requests.post(
            f"{url}api/choices", json={"person": person}, headers=secret, timeout=5
        )
        assert answer.json() == {"items": []}  # from a database that the migrations made
        page = requests.post(f"{url}start/tiny", timeout=5)  # refused, in words, on a page
        assert page.status_code == 401
        assert "Connectez-vous d’abord." in page.content.decode()
    finally:
        service.terminate()
        assert service.wait(20) == 0
