"""The gateway's wildcard domain: each interface at an origin of its own, in a real browser.

Chromium looks up any name under `localhost` as this machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import expect

from ..conftest import ROOT, RunHub
from ..hub import RunningHub

LOCAL = "http://*.localhost:{gateway}"


@pytest.fixture(scope="module")
def hub(run_hub: RunHub, sample_image: str) -> Iterator[RunningHub]:
    catalogue = str(ROOT / "tests" / "gateway.yaml")
    with run_hub(catalogue=catalogue, install=f"wildcard_url='{LOCAL}'") as running:
        yield running


def origin(url: str) -> str:
    return "/".join(url.split("/")[:3])


def test_jupyterlab_at_an_origin_of_its_own(window, anew) -> None:
    """The service page's command as it stands: its paths begin at /."""
    anew("alice")
    student = window("alice")
    page = student.page
    student.open("/join/PagePagePagePagePage")
    page.wait_for_url(re.compile(r"^http://8888-[a-z0-9]+\.localhost:\d+/lab"), timeout=90_000)
    expect(page.get_by_role("menuitem", name="Fichier")).to_be_visible(timeout=60_000)
    page.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    expect(page.locator("#jp-bottom-panel")).to_contain_text("Inactif", timeout=60_000)
    page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    page.keyboard.type("print(6*7)")
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".jp-OutputArea-output pre").first).to_have_text("42\n", timeout=60_000)


def test_what_the_container_is_told(window, anew) -> None:
    """`{{HOST['8888']}}` and `{{PORT['8888']}}` are those of the origin."""
    anew("alice")
    student = window("alice")
    page = student.page
    student.open("/join/HostHostHostHostHost")
    page.wait_for_url(re.compile(r"^http://8888-[a-z0-9]+\.localhost"), timeout=90_000)
    host, _, port = origin(page.url).removeprefix("http://").partition(":")
    expect(page.locator("body")).to_have_text(f"{host} {port} /")


def test_others_and_nobody(window, anew) -> None:
    anew("alice", "bob")
    owner = window("alice")
    owner.open("/join/WebWebWebWebWebWebWe")
    owner.page.wait_for_url(re.compile(r"^http://8888-[a-z0-9]+\.localhost"), timeout=90_000)
    expect(owner.page.get_by_role("heading", name="bonjour")).to_be_visible()
    place = owner.page.url

    other = window("bob")
    answer = other.page.goto(place)
    assert answer is not None
    assert answer.status == 403
    assert other.page.url.startswith(other.hub.url)  # no cookie of bob's at alice's origin
    assert "mydocker-server" not in {cookie["name"] for cookie in other.context.cookies(place)}

    # Signed out: one signs in at the hub, and comes back to the page.
    nobody = window()
    nobody.page.goto(f"{place}index.html?a=1")
    assert nobody.path == "/hub/login"
    nobody.page.get_by_role("button", name="Alice").click()
    nobody.page.wait_for_url(f"{place}index.html?a=1")
    expect(nobody.page.get_by_role("heading", name="bonjour")).to_be_visible()

    # The hub's own cookies are not this origin's, and what is served at the hub is not the
    # container's.
    assert {cookie["name"] for cookie in nobody.context.cookies(place)} == {"mydocker-server"}
    nobody.open("/user/alice/web/index.html")
    nobody.page.wait_for_url(f"{place}index.html")


def test_a_program_that_the_person_starts(window, anew) -> None:
    anew("alice")
    student = window("alice")
    page = student.page
    student.open("/join/HostHostHostHostHost")
    page.wait_for_url(re.compile(r"^http://8888-"), timeout=90_000)
    label = origin(page.url).removeprefix("http://8888-")

    student.open("/user/alice/host/proxy/8000/index.html")
    page.wait_for_url(f"http://8000-{label}/index.html")
    expect(page.locator("body")).to_have_text("port 8000")

    student.open("/user/alice/host/proxy/8001/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Cela n’a pas fonctionné")
    page.get_by_role("link", name="Aller au tableau de bord").click()
    page.wait_for_url(f"{student.hub.url}/services/catalogue/")


def test_a_sign_in_cannot_be_handed_to_somebody_else(window, anew) -> None:
    """The address that carries a sign-in over works once, and in the browser that asked."""
    anew("alice")
    owner = window("alice")
    carried: list[str] = []
    owner.page.on(
        "request",
        lambda request: carried.append(request.url) if "ticket=" in request.url else None,
    )
    owner.open("/join/WebWebWebWebWebWebWe")
    owner.page.wait_for_url(re.compile(r"^http://8888-[a-z0-9]+\.localhost"), timeout=90_000)
    place = owner.page.url
    assert len(carried) == 1

    # Used once already.
    again = owner.page.goto(carried[0])
    assert again is not None
    assert again.status == 400
    expect(owner.page.locator("main")).to_contain_text("connexion")

    # Not used yet, but made for another browser: alice wants to have bob sign in as her.
    with owner.hub.signed_in("alice") as attacker:
        made = requests.get(
            f"{owner.hub.url}/user/alice/web/oauth_origin",
            params={"port": "8888", "state": "0" * 64, "note": "12345678"},
            headers={"Authorization": f"token {attacker.token()}"},
            allow_redirects=False,
            timeout=30,
        )
    assert "ticket=" in made.headers["Location"]
    victim = window("bob")
    answer = victim.page.goto(made.headers["Location"])
    assert answer is not None
    assert answer.status == 400
    assert "mydocker-server" not in {cookie["name"] for cookie in victim.context.cookies(place)}
