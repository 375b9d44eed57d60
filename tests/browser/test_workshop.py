"""The workshop in a browser: list, copies, colleagues, history, links, people, requests."""

from __future__ import annotations

import re
import struct
import zlib
from typing import Any

import pytest
import zxingcpp
from playwright.sync_api import Page, expect

from ..hub import RunningHub
from ..workshop_hub import PREFIX, WORKSHOP, api, hub, make  # noqa: F401
from .conftest import DESKTOP, PHONE, Window
from .test_accessibility import check

REQUESTS = f"{PREFIX}workshop/requests"


@pytest.fixture
def made(hub: RunningHub) -> Any:  # noqa: F811
    """Make an environment of bob's, of which nothing is left afterwards."""
    slugs = []
    with hub.signed_in("bob") as bob, hub.signed_in("carol") as carol:
        for visitor in (bob, carol):
            visitor.get(PREFIX)

        def make_one(**changes: Any) -> str:
            slugs.append(make(bob, **changes))
            return slugs[-1]

        yield make_one
        for slug in slugs:
            found = api(carol, "GET", f"/environments/{slug}")
            if found.ok:
                api(carol, "DELETE", f"/environments/{slug}", etag=found.headers["ETag"])


@pytest.fixture(scope="module", autouse=True)
def colleague(hub: RunningHub) -> None:  # noqa: F811
    """Dora is found once she has done something here."""
    with hub.signed_in("dora") as dora:
        dora.get(PREFIX)
        make(dora)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_from_the_list_to_a_copy(window, made) -> None:
    slug = made(title={"fr": "Signaux et systèmes", "en": "Signals and systems"})
    opened = window("bob", lang="en")
    page = opened.page
    page.locator("#thenavbar").get_by_role("link", name="Workshop").click()
    expect(page.locator("h1")).to_have_text("Workshop")
    page.get_by_label("Words of the title or description").fill("signaux")
    page.get_by_label("Order").select_option("title")
    press(page, "Show")
    expect(page.locator("#count")).to_contain_text("1 environment")
    page.get_by_role("link", name="Copy and adapt Signals and systems").click()
    page.get_by_label("Title in English").fill("Signals for my class")
    page.get_by_label("Name in addresses").fill("tiny")  # which is taken
    press(page, "Make the copy")
    field = page.get_by_label("Name in addresses")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Title in English")).to_have_value("Signals for my class")
    copy = f"{slug}-copy"
    field.fill(copy)
    press(page, "Make the copy")
    expect(page.locator("#done")).to_contain_text("The copy is yours")
    expect(page.locator("#origin a")).to_have_text("Signals and systems")
    page.get_by_role("link", name="Delete…").click()
    page.get_by_label("I want to delete “Signals for my class”.").check()
    press(page, "Delete for ever")
    expect(page.locator("#done")).to_contain_text("was deleted")
    page.goto(f"{opened.hub.url}{WORKSHOP}?q=signals")
    expect(page.locator(f'[data-slug="{copy}"]')).to_have_count(0)


def test_a_colleague_edits_and_the_owner_restores(window, made) -> None:
    slug = made()
    opened = window("bob", lang="en")
    page = opened.page
    opened.open(f"{WORKSHOP}/{slug}/sharing")
    page.get_by_label("Name of a colleague, or the whole mail address").fill("dor")
    press(page, "Find")
    page.locator('#found [data-name="dora"]').get_by_role("combobox").select_option("edit")
    press(page, "Share with dora")
    expect(page.locator("#done")).to_be_visible()
    expect(page.locator('#holders [data-name="dora"]')).to_contain_text("may edit")

    other = window("dora", lang="en")
    other.open(f"{WORKSHOP}?show=shared")
    other.page.locator(f'[data-slug="{slug}"] h3 a').click()
    other.page.get_by_label("Draft: only the people who work on it can start it.").check()
    press(other.page, "Change the state")
    expect(other.page.locator("#done")).to_be_visible()

    page.goto(f"{opened.hub.url}{WORKSHOP}/{slug}/history")
    newest = page.locator('[data-version="2"]')
    expect(newest).to_contain_text("dora")
    expect(newest.locator("del")).to_have_text("ready")
    expect(newest.locator("ins")).to_have_text("draft")
    page.get_by_role("link", name="Version 1").click()
    press(page, "Restore this version")
    expect(page.locator("#done")).to_contain_text("restored")
    expect(page.locator('[data-version="3"] ins')).to_have_text("ready")

    opened.open(f"{WORKSHOP}/{slug}/sharing")
    press(page, "Take away the right of dora")
    expect(page.locator("#done")).to_be_visible()
    answer = other.open(f"{WORKSHOP}/{slug}")
    assert answer is not None
    assert answer.status == 404


def grey(png: bytes) -> memoryview:
    """The pixels of a picture that Chromium took (8 bits, RGB or RGBA, not interlaced)."""
    width, height, _, kind = struct.unpack(">IIBB", png[16:26])
    channels = {2: 3, 6: 4}[kind]
    data, position = b"", 8
    while position < len(png):
        (length,) = struct.unpack(">I", png[position : position + 4])
        if png[position + 4 : position + 8] == b"IDAT":
            data += png[position + 8 : position + 8 + length]
        position += 12 + length
    raw, stride = zlib.decompress(data), width * channels
    above, rows = bytearray(stride), bytearray()
    for number in range(height):
        start = number * (stride + 1)
        line = bytearray(raw[start + 1 : start + 1 + stride])
        _unfilter(raw[start], line, above, channels)
        rows += line[::channels]
        above = line
    return memoryview(bytes(rows)).cast("B", (height, width))


def _unfilter(kind: int, line: bytearray, above: bytearray, channels: int) -> None:
    for index in range(len(line)):
        left = line[index - channels] if index >= channels else 0
        corner = above[index - channels] if index >= channels else 0
        up = above[index]
        if kind == 4:
            guess = left + up - corner
            nearest = min((abs(guess - one), place) for place, one in enumerate((left, up, corner)))
            added = (left, up, corner)[nearest[1]]
        else:
            added = (0, left, up, (left + up) // 2)[kind]
        line[index] = (line[index] + added) & 255


@pytest.mark.parametrize(
    ("size", "colours"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["room", "phone"]
)
def test_a_link_for_the_lecture_room(window, made, size, colours) -> None:
    slug = made()
    opened = window("bob", lang="en", size=size, colours=colours)
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = opened.page
    opened.open(f"{WORKSHOP}/{slug}/links")
    page.get_by_label("Name, for you alone").fill("Room 2")
    press(page, "Make the link")
    address = page.get_by_role("textbox", name="Address of “Room 2”").input_value()
    assert re.fullmatch(re.escape(f"{opened.hub.url}/join/") + "[A-Za-z0-9]{20}", address)
    press(page, "Copy: Address of “Room 2”")
    expect(page.locator("[data-copy]")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == address
    page.get_by_role("link", name="Show the QR code of “Room 2”").click()
    expect(page.locator("#address")).to_have_text(address)
    assert opened.is_as_wide_as_the_window()
    box = page.locator("#code svg").bounding_box()
    assert box is not None
    assert box["width"] >= 0.6 * min(size)
    read = zxingcpp.read_barcodes(grey(page.locator("#code svg").screenshot()))
    assert [one.text for one in read] == [address]
    page.get_by_role("link", name="Back to the links").click()
    page.get_by_text("Withdraw", exact=True).click()
    press(page, "Withdraw the link")
    expect(page.locator(".join-link")).to_contain_text("withdrawn")


def test_who_runs_it_now(window, made, anew) -> None:
    slug = made(command="sh -c 'echo hello from inside; exec httpd -f -p 8888 -h /tmp'")
    opened = window("bob", lang="en")
    page = opened.page
    opened.open(f"{WORKSHOP}/{slug}/links")
    press(page, "Make the link")
    address = page.locator("[id^=link-]").input_value()
    student = window("emil", lang="en")
    student.page.goto(address)
    student.wait_for_landing(f"/user/emil/{slug}/")

    opened.open(f"{WORKSHOP}/{slug}/delete")
    expect(page.locator("#running")).to_contain_text("emil")
    expect(page.locator("#delete-form")).to_have_count(0)
    page.get_by_role("link", name="See them and stop them").click()
    row = page.locator('[data-name="emil"]')
    expect(row).to_contain_text("running")
    row.get_by_role("link", name="Log of the server of emil").click()
    expect(page.locator("#log")).to_contain_text("hello from inside")
    opened.open(f"{WORKSHOP}/{slug}/people")
    row.get_by_text("Stop", exact=True).click()
    press(page, "Stop the server")
    expect(page.locator("#done")).to_contain_text("being stopped")
    student.open(PREFIX)
    expect(student.page.get_by_text("by somebody who looks after it")).to_be_visible(timeout=30_000)

    opened.open(f"{WORKSHOP}/{slug}")
    press(page, "Archive")
    expect(page.locator("#done")).to_contain_text("is archived")
    press(page, "Restore from the archive")
    expect(page.locator("#done")).to_contain_text("back from the archive")
    anew("emil")


def test_asking_for_access_from_the_sheet(window, made, hub: RunningHub) -> None:  # noqa: F811
    slug = made(title={"fr": "Ouvert", "en": "Open to all"})
    admin = window("carol", lang="en")
    admin.open(f"{WORKSHOP}/{slug}")
    press(admin.page, "Put it into the public catalogue")
    expect(admin.page.locator("#done")).to_be_visible()

    asker = window("dora", lang="en")
    asker.open(f"{PREFIX}environments/{slug}")
    expect(asker.page.get_by_role("link", name="Copy and adapt")).to_be_visible()
    asker.page.get_by_role("link", name="Ask the maintainer for access").click()
    asker.page.get_by_label("Your message").fill("For my course on signals")
    press(asker.page, "Send the request")
    expect(asker.page.locator("#sent")).to_contain_text("not answered yet")

    owner = window("bob", lang="en")
    owner.open(WORKSHOP)
    expect(owner.page.locator("#waiting")).to_contain_text("1")
    owner.page.get_by_role("link", name="Requests").click()
    asked = owner.page.locator("#to-answer > li", has_text="Open to all")
    expect(asked).to_contain_text("For my course on signals")
    asked.get_by_role("button", name="Decline").click()
    expect(owner.page.locator("#refusal")).to_contain_text("say why not")
    asked.get_by_label("Your answer").fill("Welcome")
    asked.get_by_label("If you accept, the colleague").select_option("edit")
    asked.get_by_role("button", name="Accept").click()
    expect(owner.page.locator("#done")).to_contain_text("accepted")

    asker.page.reload()
    expect(asker.page.locator("#sent")).to_contain_text("Welcome")
    asker.page.get_by_role("link", name="Open the environment").first.click()
    expect(asker.page.locator("#edit")).to_be_visible()


@pytest.fixture(scope="module")
def furnished(hub: RunningHub) -> str:  # noqa: F811
    """An environment with all that its pages can show."""
    with hub.signed_in("bob") as bob, hub.signed_in("dora") as dora:
        for visitor in (bob, dora):
            visitor.get(PREFIX)
        slug = make(bob, variables={"LONG": "word " * 60})
        first = api(bob, "GET", f"/environments/{slug}").json()["definition"]
        second = {**first, "tags": ["a"], "variables": {"LONG": "other " * 60}, "public": False}
        assert api(bob, "PUT", f"/environments/{slug}", second, etag='"1"').ok
        for below, fields in (
            ("sharing", {"action": "give", "name": "dora", "right": "view"}),
            ("links", {"action": "add", "label": "A", "until": "2199-01-01"}),
        ):
            bob.post_form(f"{PREFIX}environments/tiny", f"{WORKSHOP}/{slug}/{below}", **fields)
        link = f"{WORKSHOP}/{slug}/ask"
        dora.post_form(link, link, kind="access", message="Please")
        tiny = f"{WORKSHOP}/tiny/ask"
        bob.post_form(tiny, tiny, kind="access", message="Please")
        bob.start_and_wait(slug)
        yield slug
        bob.stop_and_wait(slug)


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("lang", ["fr", "en"])
def test_every_page(window, axe, furnished, lang, colours) -> None:
    size = PHONE if colours == "dark" else DESKTOP
    slug, found = furnished, []
    own = f"{WORKSHOP}/{slug}"
    opened: Window = window("bob", lang=lang, colours=colours, size=size)
    opened.open(f"{own}/links")
    key = opened.page.locator(".join-link").first.get_attribute("data-key")
    pages = [WORKSHOP, f"{WORKSHOP}?q=xyzzy", f"{WORKSHOP}?show=shared", REQUESTS, own]
    pages += [f"{own}/{below}" for below in ("duplicate", "history", "history/1", "history/2")]
    pages += [f"{own}/sharing?q=dora", f"{own}/sharing?q=xyzzy", f"{own}/links"]
    pages += [f"{own}/links/{key}", f"{own}/people", f"{own}/people/log?user=bob"]
    pages += [f"{own}/people/log?user=nobody", f"{own}/delete", f"{own}/ask?kind=publish"]
    pages += [f"{PREFIX}environments/{slug}", f"{PREFIX}environments/tiny"]
    for path in pages:
        opened.open(path)
        found += check(opened, axe, lang, path)
        if not opened.is_as_wide_as_the_window():
            found.append(f"{path}: wider than the window")
    opened.open(f"{own}/duplicate")
    opened.page.locator("#field-slug").fill("Not a name")
    opened.page.locator("#duplicate-form button").click()
    expect(opened.page.locator("#problems")).to_be_visible()
    found += check(opened, axe, lang, "a copy that is refused")
    viewer: Window = window("dora", lang=lang, colours=colours, size=size)
    for path in (own, f"{own}/ask?kind=access", f"{own}/history", WORKSHOP):
        viewer.open(path)
        found += check(viewer, axe, lang, f"dora: {path}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("name", "width"), [("bob", 992), ("carol", 1200)])
@pytest.mark.parametrize("path", [WORKSHOP, "/hub/home"])
def test_the_menu_is_one_line(window, name, width, path) -> None:
    opened = window(name, lang="fr", size=(width, 700))
    opened.open(path)
    entries = opened.page.locator("#thenavbar a")
    places = {round(entries.nth(n).bounding_box()["y"] / 20) for n in range(entries.count())}
    heights = [entries.nth(n).bounding_box()["height"] for n in range(entries.count())]
    assert max(heights) < 50
    assert max(places) - min(places) <= 1


def test_without_scripts(window, made) -> None:
    slug = made()
    opened = window("bob", lang="en", scripts=False)
    page = opened.page
    opened.open(f"{WORKSHOP}/{slug}/sharing?q=dora")
    press(page, "Share with dora")
    expect(page.locator('#holders [data-name="dora"]')).to_contain_text("may edit")
    opened.open(f"{WORKSHOP}/{slug}/links")
    press(page, "Make the link")
    page.get_by_text("Withdraw", exact=True).click()
    press(page, "Withdraw the link")
    expect(page.locator(".join-link")).to_contain_text("withdrawn")
    opened.open(f"{WORKSHOP}/{slug}/delete")
    page.get_by_label("I want to delete").check()
    press(page, "Delete for ever")
    expect(page.locator("#done")).to_contain_text("was deleted")
