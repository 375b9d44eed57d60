"""Images made in the browser, against the real builder and engine: from a list to a built image."""

from __future__ import annotations

import re
import secrets
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from playwright.sync_api import Page, expect

from tests.hub import RunningHub
from tests.workshop_hub import make

from ..conftest import TINY_IMAGE, remove_all, start_hub
from .conftest import DESKTOP, PHONE, Window
from .test_accessibility import check

IMAGES = "/services/catalogue/workshop/images"
BUILT = 60_000
_BASE = """\
version: 1
images:
  - slug: tiny
    reference: mydocker-test/busybox:1
    title: {fr: Tout petit, en: Tiny}
    description: {fr: "Presque rien, et un serveur web.", en: "Next to nothing, and a web server."}
    tools: [apt, pip]
    user: "1234"
    interfaces: [{name: web, title: Web, kind: web}]
    home: /home/user
  - slug: conda
    reference: example.org/conda:1
    title: {fr: Conda, en: Conda}
    description: {fr: "Avec conda.", en: "With conda."}
    tools: [conda]
    interfaces: [{name: web, title: Web, kind: web}]
"""


@pytest.fixture(scope="module")
def hub(
    engine: docker.DockerClient,
    bridge_address: str,
    tiny_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningHub]:
    """A hub that builds, with two base images: the tiny one, and one that is not there."""
    hub_id = f"test-{secrets.token_hex(4)}"
    folder = tmp_path_factory.mktemp("hub")
    bases = folder / "bases.yaml"
    bases.write_text(_BASE)
    install = f"builder=True, base_images=Path({str(bases)!r})"
    with start_hub(folder, hub_id, bridge_address, install=install) as running:
        yield running
    remove_all(engine, hub_id)
    for image in engine.images.list(filters={"label": f"mydocker.hub={hub_id}"}):
        engine.images.remove(image.id, force=True)


def new(opened: Window, title: str, dockerfile: str = "", **fields: str) -> Page:
    """The form of a new image, filled in."""
    opened.open(f"{IMAGES}/new")
    page = opened.page
    page.locator("#field-title_en").fill(title)
    if dockerfile:
        page.locator("#source-dockerfile").check()
        page.locator("#field-dockerfile").fill(dockerfile)
    for name, value in fields.items():
        page.locator(f"#field-{name}").fill(value)
    return page


def title() -> str:
    return f"Test {secrets.token_hex(3)}"


def wait_for_state(page: Page, state: str) -> None:
    expect(page.locator("#build-state")).to_have_attribute("data-state", state, timeout=BUILT)


def test_from_a_list_to_an_environment(hub: RunningHub, window) -> None:
    """The Dockerfile follows what is typed; the log comes live; the build is used."""
    with hub.signed_in("bob") as visitor:
        environment = make(visitor)
    opened = window("bob", lang="en")
    page = new(opened, title())
    page.locator("#base-conda").check()
    expect(page.locator("#field-conda")).to_be_visible()
    expect(page.locator("#field-pip")).to_be_hidden()
    page.get_by_label("Tiny", exact=True).check()
    expect(page.locator("#field-conda")).to_be_hidden()
    page.locator("#field-pip").fill("nltk")
    expect(page.locator("#generated")).to_contain_text("pip install")
    page.locator("#field-pip").fill("--no")
    expect(page.locator("#problem-pip")).to_contain_text("options are not taken")
    page.locator("#field-pip").fill("")
    expect(page.locator("#problem-pip")).to_be_hidden()
    page.locator("summary:text-is('Start script')").click()
    page.locator("#field-start").fill("sleep 0\necho started")
    expect(page.locator("#generated")).to_contain_text("echo started")
    page.locator("#save-and-build").click()
    page.wait_for_url("**/builds/1")
    wait_for_state(page, "done")
    expect(page.locator("#log")).to_contain_text("naming to")
    expect(page.locator("#build-said")).to_have_text("built")
    expect(page.locator("#build-facts")).to_contain_text("sha256:")
    page.locator("#use-in").select_option(environment)
    page.get_by_role("button", name="Use it there").click()
    expect(page.locator("#done")).to_contain_text("starts this build from now on")
    expect(page.locator("#build-facts")).to_contain_text("Used by")


def test_a_build_that_fails_is_mended(window) -> None:
    opened = window("bob", lang="en")
    dockerfile = f"FROM {TINY_IMAGE}\nRUN echo ready\nRUN echo 'no such licence' >&2; false\n"
    page = new(opened, title(), dockerfile)
    expect(page.locator(".line-numbers")).to_have_text(re.compile(r"^1\s+2\s+3\s+4$"))
    page.locator("#save-and-build").click()
    wait_for_state(page, "failed")
    failure = page.locator("#failure")
    expect(failure).to_contain_text("Step 3/3 failed:")
    expect(failure).to_contain_text("no such licence")
    page.locator("#mend").click()
    page.locator("#field-dockerfile").fill(dockerfile.replace("false", "true"))
    page.locator("#save-and-build").click()
    page.wait_for_url("**/builds/2")
    wait_for_state(page, "done")
    page.locator("#try").click()
    opened.wait_for_landing("/user/bob/try-")
    page.goto("about:blank")


def test_taken_over_by_hand(window) -> None:
    opened = window("bob", lang="en")
    page = new(opened, title(), apt="graphviz")
    page.locator("#by-hand").click()
    expect(page.locator("#note")).to_contain_text("nothing is saved yet")
    expect(page.locator("#source-dockerfile")).to_be_checked()
    expect(page.locator("#field-dockerfile")).to_have_value(re.compile("graphviz"))
    expect(page.locator("#field-home")).to_have_value("/home/user")
    page.locator("#save").click()
    expect(page.locator("#done")).to_be_visible()


def test_a_log_live_and_its_cancel(window) -> None:
    """Lines come while the build runs; who scrolls up is not pulled down; cancel ends it."""
    opened = window("bob", lang="en")
    lines = "for i in $(seq 300); do echo line $i; sleep 0.1; done"
    page = new(opened, title(), f"FROM {TINY_IMAGE}\nRUN {lines}\n")
    page.locator("#save-and-build").click()
    log = page.locator("#log")
    expect(log).to_contain_text("line 40", timeout=BUILT)
    wait_for_state(page, "building")
    at_the_end = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 24"
    assert log.evaluate(at_the_end)
    log.evaluate("log => { log.scrollTop = 0; }")
    expect(page.locator("#to-the-end")).to_be_visible()
    expect(log).to_contain_text("line 60", timeout=BUILT)
    assert log.evaluate("log => log.scrollTop") == 0
    page.locator("#to-the-end").click()
    expect(page.locator("#to-the-end")).to_be_hidden()
    late = opened.context.new_page()
    late.goto(page.url)
    expect(late.locator("#log")).to_contain_text("line 1\n")
    expect(late.locator("#log")).to_contain_text("line 80", timeout=BUILT)
    late.close()
    page.locator("#cancel").click()
    wait_for_state(page, "cancelled")
    expect(page.locator("#again")).to_be_visible()
    numbers = re.findall(r"line (\d+)$", log.inner_text(), re.MULTILINE)
    assert numbers == sorted(set(numbers), key=int)  # nothing twice, nothing out of order


def test_a_log_without_javascript(window) -> None:
    """The page shows what there is, and loads itself again."""
    opened = window("bob", lang="en", scripts=False)
    mark = secrets.token_hex(4)
    page = new(opened, title(), f"FROM {TINY_IMAGE}\nRUN sleep 6; echo so{mark} | cut -c2-\n")
    page.locator("#save-and-build").click()
    wait_for_state(page, "done")
    expect(page.locator("#log")).to_contain_text(f" o{mark}")


def test_two_who_edit_at_once(window) -> None:
    opened = window("bob", lang="en")
    page = new(opened, title(), f"FROM {TINY_IMAGE}\n")
    page.locator("#save").click()
    page.locator("#edit").click()
    other = opened.context.new_page()
    other.goto(page.url)
    other.locator("#field-title_en").fill("What she saved")
    other.locator("#save").click()
    expect(other.locator("#done")).to_be_visible()
    other.close()
    page.locator("#field-title_en").fill("What he typed")
    page.locator("#save").click()
    expect(page.locator("#conflict")).to_contain_text("What she saved")
    expect(page.locator("#field-title_en")).to_have_value("What he typed")
    page.locator("#save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What he typed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "one.csv").write_text("1")
    (tmp_path / "data" / "two.csv").write_text("2" * 3000)
    (tmp_path / "notes.txt").write_text("notes")
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as archive:
        archive.writestr("unpacked/three.txt", "3")
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../four.txt", "4")
    return tmp_path


def test_files_are_dropped_and_built_in(window, folder: Path) -> None:
    opened = window("bob", lang="en")
    dockerfile = f"FROM {TINY_IMAGE}\nCOPY . /tmp/\nRUN cat /tmp/data/one.csv /tmp/dropped.txt\n"
    page = new(opened, title(), dockerfile)
    page.locator("#save").click()
    page.locator("#files").click()
    dropped = f"dropped {secrets.token_hex(4)}"  # nothing of it is in the layer cache
    drop(page, "dropped.txt", dropped)
    files = page.locator("#file-list")
    expect(files).to_contain_text("dropped.txt")
    page.locator("#choose-folder-field").set_input_files(folder / "data")
    expect(files).to_contain_text("two.csv")
    page.locator("#choose-files-field").set_input_files(folder / "notes.txt")
    expect(files).to_contain_text("notes.txt")
    page.locator("#choose-zip-field").set_input_files(folder / "good.zip")
    expect(files).to_contain_text("three.txt")
    expect(page.locator("#count")).to_contain_text("5 files")
    page.locator("#choose-zip-field").set_input_files(folder / "bad.zip")
    expect(page.locator("#upload-failures")).to_contain_text("../four.txt")
    with page.expect_download() as download:
        page.get_by_role("link", name="notes.txt").click()
    assert Path(download.value.path()).read_text() == "notes"
    page.get_by_label("The whole folder unpacked").check()
    page.get_by_label("notes.txt", exact=True).check()
    page.locator("#remove-files").click()
    expect(page.locator("#count")).to_contain_text("3 files")
    page.get_by_role("link", name="Back to the image").click()
    page.locator("#build").click()
    wait_for_state(page, "done")
    expect(page.locator("#log")).to_contain_text(f"1{dropped}")
    opened.errors[:] = [error for error in opened.errors if "422 POST" not in error]  # bad.zip


def drop(page: Page, name: str, text: str) -> None:
    """Drop a file from the desktop."""
    transfer = page.evaluate_handle(
        """([name, text]) => {
             const transfer = new DataTransfer();
             transfer.items.add(new File([text], name));
             return transfer;
           }""",
        [name, text],
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#drop-zone", event, {"dataTransfer": transfer})


def test_packages_for_a_class(hub: RunningHub, window) -> None:
    """From the sheet: a list and a click make a build, whose failure says why."""
    with hub.signed_in("bob") as visitor:
        environment = make(visitor)
    opened = window("bob", lang="en")
    opened.open(f"/services/catalogue/environments/{environment}")
    page = opened.page
    page.locator("#add-packages > summary").click()
    page.locator("#field-packages").fill("nltk")
    page.locator("#make-image").click()
    page.wait_for_url("**/builds/1?environment=*")
    wait_for_state(page, "failed")  # the tiny image has no Python
    expect(page.locator("#failure")).to_contain_text("python3 -m pip install")
    expect(page.locator("#failure")).to_contain_text("not found")


@pytest.mark.parametrize(("lang", "colours"), [("fr", "dark"), ("en", "light")])
def test_nobody_is_kept_out(
    hub: RunningHub, window: Callable[..., Window], axe: str, lang: str, colours: str
) -> None:
    opened: Any = window(
        "bob", lang=lang, colours=colours, size=PHONE if colours == "dark" else DESKTOP
    )
    page = opened.page
    found: list[str] = []

    def look(name: str, path: str = "") -> None:
        if path:
            opened.open(path)
        found.extend(check(opened, axe, lang, name))
        assert opened.is_as_wide_as_the_window(), name

    look("nothing found", f"{IMAGES}?q=xyzzy")
    look("nothing shared", f"{IMAGES}?show=shared")
    look("new", f"{IMAGES}/new")
    for source in ("git", "dockerfile", "packages"):
        page.locator(f"#source-{source}").check()
        look(f"new: {source}")
    page.locator("#field-pip").fill("--x")
    page.locator("#save").click()
    expect(page.locator("#problems")).to_be_visible()
    look("problems")
    new(opened, title(), f"FROM {TINY_IMAGE}\nRUN echo no >&2; false\n")
    page.locator("#save-and-build").click()
    page.wait_for_url("**/builds/1")
    look("a build")
    wait_for_state(page, "failed")
    look("a failure")
    image = page.url.removeprefix(hub.url).removesuffix("/builds/1")
    opened.open(f"{image}/files")
    drop(page, "one.txt", "1")
    expect(page.locator("#file-list")).to_contain_text("one.txt")
    look("files")
    for below in ("", "/edit", "/sharing", "/sharing?q=nobody", "/delete"):
        look(below or "image", f"{image}{below}")
    look("list", IMAGES)
    look("packages", "/services/catalogue/workshop/packages/tiny")
    opened.open("/services/catalogue/environments/tiny")
    page.locator("#add-packages > summary").click()
    look("sheet")
    opened.page.close()
    assert not found, "\n".join(found)
