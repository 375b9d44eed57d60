"""The guide “my first environment”, walked through: docs/teachers/first-environment.en.md.

A teacher makes an image with a package of their choice, an environment of it, tries it, and makes a
link; a student opens the link and runs a notebook that uses the package. With the builder, the
engine and the registry as they are.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from playwright.sync_api import Page, expect

from ..conftest import ROOT, remove_all, start_hub
from ..hub import RunningHub
from ..registry import run_registry

GUIDE = ROOT / "docs" / "teachers" / "first-environment.en.md"
PACKAGE = "cowsay"  # pure Python, needs nothing else
TITLE = "Statistics with cows"
SLUG = "statistics-with-cows"


@pytest.fixture(scope="module")
def build_settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This machine's way to the package index, as operators give it to builds."""
    folder = tmp_path_factory.mktemp("settings")
    ca = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE", "")
    if ca:
        (folder / "ca.pem").write_bytes(Path(ca).read_bytes())
    settings = subprocess.run(
        [sys.executable, str(ROOT / "scripts/lib/machine.py"), "pip-settings"],
        env={**os.environ, "MYDOCKER_BUILD_CA": ca},
        check=True,
        capture_output=True,
    ).stdout
    (folder / "pip.conf").write_bytes(settings)
    return folder


@pytest.fixture(scope="module")
def hub(
    engine: docker.DockerClient,
    bridge_address: str,
    sample_image: str,
    build_settings: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningHub]:
    """A hub that builds, with a registry of its own."""
    hub_id = f"test-{secrets.token_hex(4)}"
    with run_registry(tmp_path_factory.mktemp("registry")) as port:
        install = (
            f"builder=True, registry='127.0.0.1:{port}/mydocker', build_network='host', "
            f"build_settings=Path({str(build_settings)!r})"
        )
        folder = tmp_path_factory.mktemp("hub")
        with start_hub(folder, hub_id, bridge_address, install=install) as running:
            yield running
        remove_all(engine, hub_id)
        for image in engine.images.list(filters={"label": f"mydocker.hub={hub_id}"}):
            engine.images.remove(image.id, force=True)


class Pictures:
    """What each step looks like, beside the other files of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0

    def take(self, page: Page, name: str) -> None:
        self.number += 1
        page.screenshot(path=self.folder / f"{self.number:02}-{name}.png", full_page=True)


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    return Pictures(tmp_path)


@pytest.mark.timeout(600)
def test_my_first_environment(window, hub: RunningHub, pictures: Pictures) -> None:
    teacher = window("bob", lang="en")
    page = teacher.page

    # 1. The image
    page.get_by_role("link", name="Workshop", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    pictures.take(page, "workshop")
    page.get_by_role("link", name="Images", exact=True).click()
    pictures.take(page, "images")
    page.get_by_role("link", name="New image").first.click()
    page.get_by_label("Title in English").fill("Python with cows")
    page.get_by_label("A list of packages").check()
    page.get_by_label("JupyterLab and Python", exact=True).check()
    page.get_by_label("Python packages (pip)").fill(PACKAGE)
    expect(page.locator("#generated")).to_contain_text(PACKAGE)
    pictures.take(page, "recipe")
    page.get_by_role("button", name="Save and build").click()

    # 2. The build
    page.wait_for_url("**/workshop/images/*/builds/1")
    expect(page.locator("#log")).to_contain_text("FROM", timeout=60_000)
    pictures.take(page, "building")
    made = page.get_by_role("link", name="Make an environment of it")
    expect(made.or_(page.locator("#mend"))).to_be_visible(timeout=240_000)
    pictures.take(page, "built")
    expect(made).to_be_visible()
    expect(page.locator("#log")).to_contain_text(f"pip install --no-cache-dir '{PACKAGE}'")
    made.click()

    # 3. The environment
    expect(page.get_by_role("heading", level=1)).to_have_text("New environment")
    expect(page.get_by_role("radio", name="Built here")).to_be_checked()
    expect(page.locator("#image-facts")).to_contain_text("The image is there")
    page.locator("[id='f-title-en']").fill(TITLE)
    page.locator("[id='f-sheet-description-en']").fill("For the first weeks of the course.")
    expect(page.get_by_role("radio", name="Each person finds their files again")).to_be_checked()
    expect(page.locator("#f-storage-dedicated")).to_have_value("/home/jovyan")
    expect(page.locator("#preview")).to_contain_text(TITLE)
    pictures.take(page, "form")
    page.get_by_role("button", name="Make the environment").click()
    page.wait_for_url(f"**/workshop/environments/{SLUG}**")
    pictures.take(page, "made")

    # 4. Try it
    teacher.open(f"/services/catalogue/workshop/environments/{SLUG}")
    page.get_by_role("button", name="Try it").click()
    teacher.wait_for_landing("/user/bob/try-", 180)
    expect(page.get_by_role("menuitem", name="Fichier")).to_be_visible(timeout=90_000)
    pictures.take(page, "trial")
    page.goto("about:blank")
    teacher.open("/services/catalogue/")
    trial = page.locator("[data-passing]")
    expect(trial).to_contain_text(TITLE)
    pictures.take(page, "dashboard-with-trial")
    assert teacher.card(SLUG).count() == 0  # a trial is no card of the teacher's
    trial.get_by_role("button", name=re.compile("^Stop")).click()
    expect(trial.get_by_role("button", name=re.compile("^Stop"))).to_be_hidden(timeout=60_000)

    # 5. Let the class in
    teacher.open(f"/services/catalogue/workshop/environments/{SLUG}")
    page.locator("#status-test").check()
    page.get_by_role("button", name="Change the state").click()
    expect(page.locator("#done")).to_be_visible()
    page.get_by_role("link", name="Join links", exact=True).click()
    page.get_by_label("Name, for you alone").fill("Group A")
    page.get_by_role("button", name="Make the link").click()
    link = page.locator("#links .join-link").first
    expect(link).to_contain_text("Group A")
    pictures.take(page, "links")
    address = link.locator("input[readonly]").input_value()
    assert re.fullmatch(rf"{re.escape(hub.url)}/join/[A-Za-z0-9]{{12,64}}", address)
    link.get_by_role("link", name="Show the QR code").click()
    expect(page.locator("svg").last).to_be_visible()
    pictures.take(page, "qr")

    # A student
    student = window(lang="en")
    page = student.page
    page.goto(address)
    page.get_by_role("button", name="Alice").click()
    student.wait_for_landing(f"/user/alice/{SLUG}/lab", 180)
    expect(page.get_by_role("menuitem", name="Fichier")).to_be_visible(timeout=90_000)
    page.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    expect(page.locator("#jp-bottom-panel")).to_contain_text("Inactif", timeout=90_000)
    page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    page.keyboard.type(f"import {PACKAGE}; {PACKAGE}.cow('6 x 7 = ' + str(6*7))")
    page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-OutputArea-output pre").first
    expect(output).to_contain_text("6 x 7 = 42", timeout=90_000)
    pictures.take(page, "student")

    # The teacher sees who came.
    teacher.open(f"/services/catalogue/workshop/environments/{SLUG}/people")
    expect(teacher.page.get_by_role("main")).to_contain_text("alice")
    pictures.take(teacher.page, "people")


def test_the_guide_names_what_is_there() -> None:
    """What the guide prints in bold is written on pages, or is the name of a field."""
    text = re.sub(r"^- \*\*[^*]+\*\*", "", GUIDE.read_text(), flags=re.MULTILINE)
    bold = {name for part in re.findall(r"\*\*([^*]+)\*\*", text) for name in part.split(" › ")}
    assert len(bold) > 20
    written = "".join(
        file.read_text()
        for folder, pattern in (
            (ROOT / "share" / "templates", "*.html"),
            (ROOT / "mydocker_hub" / "services", "*.py"),
            (GUIDE.parent, "fields.en.md"),
        )
        for file in folder.rglob(pattern)
    )
    assert not {name for name in bold if name not in written}
