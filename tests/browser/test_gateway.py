"""Environments that know nothing of the hub, in a real browser: through the gateway."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from ..conftest import ROOT, RunHub
from ..hub import RunningHub, Visitor, processes


@pytest.fixture(scope="module")
def hub(run_hub: RunHub, sample_image: str) -> Iterator[RunningHub]:
    with run_hub(catalogue=str(ROOT / "tests" / "gateway.yaml")) as running:
        yield running


def test_the_page_s_own_command(window, anew) -> None:
    """JupyterLab of an unmodified image: no password typed; kernels and terminals work."""
    anew("alice")
    student = window("alice")
    student.open("/join/PagePagePagePagePage")
    student.wait_for_landing("/user/alice/page/lab")
    lab = student.page
    expect(lab.get_by_role("menuitem", name="Fichier")).to_be_visible(timeout=60_000)

    # A terminal, and in it a web server.
    lab.locator(".jp-LauncherCard", has_text="Terminal").click()
    # its shell has set the tab's title: it is there
    expect(lab.get_by_role("tab", name="jovyan@")).to_be_visible(timeout=30_000)
    lab.locator(".jp-Terminal").click()
    lab.keyboard.type("python3 -m http.server 8000 --directory /etc\n")

    # A notebook with a kernel.
    student.open("/user/alice/page/lab?reset")
    lab.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    expect(lab.locator("#jp-bottom-panel")).to_contain_text("Inactif", timeout=60_000)  # the kernel
    lab.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    lab.keyboard.type("print(6*7)")
    lab.keyboard.press("Shift+Enter")
    expect(lab.locator(".jp-OutputArea-output pre").first).to_have_text("42\n", timeout=60_000)

    # A web server that the person starts inside.
    student.page = other = student.context.new_page()
    student.open("/user/alice/page/proxy/8000/")
    other.get_by_role("link", name="alternatives/").click()
    other.wait_for_url("**/user/alice/page/proxy/8000/alternatives/")
    student.open("/user/alice/page/proxy/8001/")
    expect(other.get_by_role("heading", level=1)).to_have_text("Cela n’a pas fonctionné")
    expect(other.locator("main")).to_contain_text("port 8001")


def test_two_interfaces(window, anew, vscode_image) -> None:
    """JupyterLab and VS Code in one container: a page to choose, as long as it runs."""
    anew("alice")
    student = window("alice")
    page = student.page
    student.open("/join/StudioStudioStudioSt")
    student.wait_for_landing("/services/catalogue/open/studio")
    choice = page.url

    page.get_by_role("link", name="VS Code").click()
    student.wait_for_landing("/user/alice/studio/vscode/")
    expect(page.get_by_role("treeitem", name=".bashrc")).to_be_visible(timeout=60_000)
    for _ in range(5):  # while it starts, VS Code takes the focus away, and its palette closes
        page.wait_for_timeout(2000)
        page.keyboard.press("F1")
        page.keyboard.type("Terminal: Create New Terminal")
        page.wait_for_timeout(1000)
        page.keyboard.press("Enter")
        with suppress(AssertionError):
            expect(page.locator(".xterm-screen")).to_be_visible(timeout=8000)
            break
    expect(page.locator(".xterm-screen")).to_be_visible(timeout=30_000)
    made = page.get_by_role("treeitem", name="de-vscode.txt")
    for _ in range(5):  # until its shell is there, which nothing on the page shows
        page.locator(".xterm-screen").click()
        page.wait_for_timeout(2000)
        page.keyboard.type("touch de-vscode.txt\n")
        with suppress(AssertionError):
            expect(made).to_be_visible(timeout=12_000)
            break
    expect(made).to_be_visible(timeout=30_000)

    page.goto(choice)
    page.get_by_role("link", name="JupyterLab").click()
    student.wait_for_landing("/user/alice/studio/jupyterlab/lab")
    expect(page.locator(".jp-DirListing-item", has_text="de-vscode.txt")).to_be_visible(
        timeout=60_000
    )

    # The server's own address leads to the choice.
    student.open("/user/alice/studio/")
    assert page.url == choice


def test_another_student_and_nobody(window, anew) -> None:
    anew("alice", "bob")
    owner = window("alice")
    owner.open("/join/WebWebWebWebWebWebWe")
    owner.wait_for_landing("/user/alice/web/")
    expect(owner.page.get_by_role("heading", name="bonjour")).to_be_visible()

    other = window("bob")
    answer = other.open("/user/alice/web/")
    assert answer is not None
    assert answer.status == 403
    expect(other.page.locator("main")).not_to_contain_text("bonjour")

    nobody = window()
    nobody.open("/user/alice/web/index.html?a=1")
    assert nobody.path == "/hub/login"
    nobody.page.get_by_role("button", name="Alice").click()
    nobody.wait_for_landing("/user/alice/web/index.html?a=1")
    expect(nobody.page.get_by_role("heading", name="bonjour")).to_be_visible()
    assert re.search(r"/user/alice/web/index.html\?a=1$", nobody.page.url)


def test_an_open_tab_is_nobody_at_work(window, anew, hub) -> None:
    """Activity is what a person does; and a gateway that is restarted drops nobody's sign-in."""
    anew("alice")
    student = window("alice")
    lab = student.page
    student.open("/join/PagePagePagePagePage")
    student.wait_for_landing("/user/alice/page/lab")
    student.open("/user/alice/page/lab?reset")  # not what an earlier test had open
    lab.locator(".jp-LauncherCard", has_text="Terminal").click(timeout=60_000)
    expect(lab.get_by_role("tab", name="jovyan@")).to_be_visible(timeout=30_000)

    # JupyterLab asks for its kernels, folders and terminals meanwhile, and keeps its layout.
    lab.wait_for_timeout(3_000)
    left = datetime.now(UTC)
    lab.wait_for_timeout(25_000)
    end_gateway(hub)  # which reports what it has seen before it ends
    with hub.signed_in("alice") as visitor:
        assert last_activity(visitor) <= left

        # It is back, without a sign-in; and a key in the terminal is somebody at work.
        student.open("/user/alice/page/lab")
        expect(lab.get_by_role("tab", name="jovyan@")).to_be_visible(timeout=60_000)
        lab.locator(".jp-Terminal").click()
        lab.wait_for_timeout(3_000)
        back = datetime.now(UTC)
        lab.keyboard.type("l")
        lab.wait_for_timeout(500)
        end_gateway(hub)
        assert last_activity(visitor) >= back


def last_activity(visitor: Visitor) -> datetime:
    server = visitor.server("page")
    assert server is not None
    return datetime.fromisoformat(server["last_activity"])


def end_gateway(hub: RunningHub) -> None:
    """End the gateway as an operator would, and wait until its keeper has started another."""
    begun = hub.log().count("gateway listens on")
    (pid,) = [pid for pid, command in processes(hub).items() if "services.gateway" in command]
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 30
    while hub.log().count("gateway listens on") == begun:
        assert time.monotonic() < deadline, "no gateway came back"
        time.sleep(0.1)
