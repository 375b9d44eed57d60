"""The pages of images without a browser: forms as they are sent, rights, the stream of a log."""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from mydocker_hub.domain.images import BuildState
from mydocker_hub.domain.people import Person
from mydocker_hub.store import builds, editing
from tests import workshop_hub
from tests.hub import RunningHub, Visitor, in_database, text_of

pytestmark = [pytest.mark.hub, pytest.mark.engine]

hub = workshop_hub.hub  # with a second teacher; nothing is built there

PREFIX = "/services/catalogue/"
IMAGES = f"{PREFIX}workshop/images"
TOKEN = f"{PREFIX}environments/tiny"  # a page with a form, for everybody
DOCKERFILE = {"source": "dockerfile", "dockerfile": "FROM mydocker-test/busybox:1\n"}
RECIPE = {"title": "Statistics", **DOCKERFILE}


@contextmanager
def english(hub: RunningHub, name: str) -> Iterator[Visitor]:
    with hub.signed_in(name) as visitor:
        visitor.session.headers["Accept-Language"] = "en"
        visitor.get(PREFIX)
        yield visitor


@pytest.fixture
def bob(hub: RunningHub) -> Iterator[Visitor]:
    with english(hub, "bob") as visitor:
        yield visitor


@pytest.fixture
def dora(hub: RunningHub) -> Iterator[Visitor]:
    known = Person(name="dora", display_name="Dora")
    in_database(hub, editing.person_row, known, datetime.now(UTC))
    with english(hub, "dora") as visitor:
        yield visitor


@pytest.fixture
def image(bob: Visitor) -> str:
    """A new image of bob's: its name."""
    slug = f"i-{secrets.token_hex(4)}"
    answer = workshop_hub.api(bob, "POST", "/images", {"slug": slug, "recipe": RECIPE})
    assert answer.status_code == 201, answer.text
    return slug


def send(visitor: Visitor, below: str, /, **fields: str) -> requests.Response:
    return visitor.post_form(TOKEN, f"{IMAGES}{below}", **fields)


def value(page: requests.Response, field: str) -> str:
    found = re.search(rf'name="{field}"[^>]*? value="([^"]*)"', page.text)
    found = found or re.search(rf'name="{field}"[^>]*>\n?([^<]*)</textarea>', page.text)
    assert found, field
    return found[1]


# --- who may --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["", "/new", "/x", "/x/edit", "/x/files", "/x/builds/1", "/x/sharing", "/x/delete"]
)
def test_students_see_nothing(hub: RunningHub, path: str) -> None:
    with english(hub, "alice") as alice:
        assert alice.get(IMAGES + path).status_code == 403
        assert alice.get(f"{IMAGES}/x/builds/1/log").status_code == 403
        assert alice.get(f"{PREFIX}workshop/packages/tiny").status_code == 403
        assert alice.post_form(TOKEN, IMAGES + path, action="build").status_code == 403


def test_rights(dora: Visitor, bob: Visitor, image: str) -> None:
    """What is not shared does not exist; who may see may not change; who may change not delete."""
    pages = ("", "/edit", "/files", "/sharing", "/delete", "/builds/1", "/builds/1/log")
    send(bob, f"/{image}", action="build")

    def statuses() -> list[int]:
        return [dora.get(f"{IMAGES}/{image}{page}", stream=True).status_code for page in pages]

    assert statuses() == [404] * 7
    send(bob, f"/{image}/sharing", action="give", name="dora", right="view")
    assert statuses() == [200, 403, 200, 403, 403, 200, 200]
    for action in ("build", "public"):
        assert send(dora, f"/{image}", action=action).status_code == 403
    assert send(dora, f"/{image}/files", action="remove", file="x").status_code == 403
    assert send(dora, f"/{image}/builds/1", action="cancel").status_code == 403
    send(bob, f"/{image}/sharing", action="give", name="dora", right="edit")
    assert statuses() == [200, 200, 200, 403, 403, 200, 200]
    assert send(dora, f"/{image}", action="public").status_code == 403
    send(bob, f"/{image}/sharing", action="give", name="dora", right="own")
    assert statuses() == [200] * 7
    send(bob, f"/{image}/builds/1", action="cancel")
    send(dora, f"/{image}/sharing", action="take", name="bob")
    assert bob.get(f"{IMAGES}/{image}").status_code == 404


def test_colleagues_are_found(bob: Visitor, dora: Visitor, image: str) -> None:
    assert "Nobody else was found" in text_of(bob.get(f"{IMAGES}/{image}/sharing?q=nobody"))
    found = bob.get(f"{IMAGES}/{image}/sharing?q=dora")
    assert 'name="name" value="dora"' in found.text
    shared = send(bob, f"/{image}/sharing", action="give", name="dora", right="view")
    assert "The right was given." in text_of(shared)
    last = send(bob, f"/{image}/sharing", action="take", name="bob")
    assert last.status_code == 409


def test_public(bob: Visitor, dora: Visitor, image: str) -> None:
    assert image not in dora.get(f"{IMAGES}?show=public").text
    assert "All teachers can see" in text_of(send(bob, f"/{image}", action="public"))
    assert image in dora.get(f"{IMAGES}?show=public&q=statist").text
    assert image not in dora.get(f"{IMAGES}?show=mine").text
    send(bob, f"/{image}", action="private")
    assert dora.get(f"{IMAGES}/{image}").status_code == 404


# --- the form -------------------------------------------------------------------------------------


def test_made_without_javascript(bob: Visitor) -> None:
    title = f"Test {secrets.token_hex(3)}"
    fields = {"source": "packages", "base": "other", "other_base": "mydocker-test/busybox:1"}
    refused = send(bob, "/new", action="save", **fields, pip="numpy\n-r x")
    assert refused.status_code == 422
    assert value(refused, "pip") == "numpy\n-r x"
    assert value(refused, "other_base") == "mydocker-test/busybox:1"
    assert 'aria-invalid="true"' in refused.text
    assert "options are not taken" in text_of(refused)
    shown = send(bob, "/new", action="preview", **fields, pip="numpy")
    assert "FROM mydocker-test/busybox:1" in shown.text
    by_hand = send(bob, "/new", action="by-hand", title_en=title, **fields, pip="numpy")
    assert "numpy" in value(by_hand, "dockerfile")
    made = send(bob, "/new", action="save", title_en=title, **fields, start="echo a\r\necho b")
    assert made.url.endswith("?done=saved")
    assert title in text_of(made)
    slug = made.url.split("/")[-1].split("?")[0]
    recipe = workshop_hub.api(bob, "GET", f"/images/{slug}").json()["recipe"]
    assert recipe["start"] == "echo a\necho b"
    again = send(bob, "/new", action="save", title_en=title, **fields)
    assert again.url.endswith(f"/{slug}-2?done=saved")
    taken = send(bob, "/new", action="save", title_en=title, slug=slug, **fields)
    assert taken.status_code == 422
    assert "this short name is taken" in text_of(taken)
    for bad in ("new", "Ä", "-x"):
        answer = send(bob, "/new", action="save", title_en=title, slug=bad, **fields)
        assert answer.status_code == 422


def test_two_who_edit_at_once(bob: Visitor, dora: Visitor, image: str) -> None:
    send(bob, f"/{image}/sharing", action="give", name="dora", right="edit")
    edit = f"/{image}/edit"
    version = value(bob.get(IMAGES + edit), "version")
    hers = {**DOCKERFILE, "title_en": "Hers", "title_fr": "Hers"}
    his = {"title_en": "His", "source": "dockerfile", "dockerfile": "FROM his:1"}
    send(dora, edit, action="save", version=version, **hers)
    told = send(bob, edit, action="save", version=version, **his)
    assert told.status_code == 409
    assert "Nothing of yours is lost" in text_of(told)
    assert "Hers" in text_of(told)  # what she saved
    assert value(told, "title_en") == "His"
    assert value(told, "dockerfile") == "FROM his:1"
    saved = send(bob, edit, action="save", version=value(told, "version"), **his)
    assert saved.url.endswith("?done=saved")
    recipe = workshop_hub.api(bob, "GET", f"/images/{image}").json()["recipe"]
    assert recipe["title"] == {"fr": "His", "en": "His"}


def test_the_dockerfile_while_typing(bob: Visitor, image: str) -> None:
    fields = {"source": "packages", "base": "other", "other_base": "a.example/b:1"}
    answer = send(bob, "/new/dockerfile", **fields, apt="graphviz")
    assert "graphviz" in answer.json()["dockerfile"]
    answer = send(bob, f"/{image}/dockerfile", **fields, pip="--x")
    assert answer.json()["dockerfile"] == ""
    assert answer.json()["problems"]["pip"][0].startswith("--x: ")
    assert send(bob, "/no-such-image/dockerfile", **fields).status_code == 404


# --- files ----------------------------------------------------------------------------------------


def test_files_without_javascript(bob: Visitor, image: str) -> None:
    page = bob.get(f"{IMAGES}/{image}/files")
    token = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
    assert token

    def add(*files: tuple[str, bytes]) -> requests.Response:
        return bob.session.post(
            f"{bob.hub.url}{IMAGES}/{image}/files",
            data={"_xsrf": token[1], "action": "add"},
            files=[("files", file) for file in files],
            timeout=30,
        )

    done = add(("a.csv", b"1,2"), ("b.txt", b"b"))
    assert "2 files" in text_of(done)
    refused = add((" .txt", b"x"))
    assert refused.status_code == 422
    content = f"{PREFIX}api/images/{image}/files/content?path=a.csv"
    assert bob.get(content).text == "1,2"
    left = send(bob, f"/{image}/files", action="remove", file="a.csv")
    assert "a.csv" not in left.text
    assert "1 file" in text_of(left)


# --- builds ---------------------------------------------------------------------------------------


def queued(bob: Visitor, image: str) -> int:
    """Ask for a build, which nobody works off; its id."""
    page = send(bob, f"/{image}", action="build")
    assert page.url.endswith("/builds/1")
    assert "waits for its turn" in text_of(page)
    return int(in_database(bob.hub, builds_of, image))


def builds_of(session: Any, slug: str) -> int:
    from sqlalchemy import select

    from mydocker_hub.store.tables import BuildRow, ImageRow

    return session.scalar(select(BuildRow.id).join(ImageRow).where(ImageRow.slug == slug))


class Reader(threading.Thread):
    """Somebody who follows the log of a build: what came, until the end."""

    def __init__(self, visitor: Visitor, image: str, **headers: str) -> None:
        super().__init__(daemon=True)
        self.events: list[tuple[str, str, Any]] = []
        token = re.search(r'data-xsrf="([^"]+)"', visitor.get(f"{IMAGES}/{image}/builds/1").text)
        assert token
        self.answer = visitor.session.get(
            f"{visitor.hub.url}{IMAGES}/{image}/builds/1/log",
            params={"_xsrf": token[1]},
            headers={"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin", **headers},
            stream=True,
            timeout=30,
        )
        assert self.answer.headers["Content-Type"].startswith("text/event-stream")
        self.start()

    def run(self) -> None:
        event: dict[str, str] = {}
        for line in self.answer.iter_lines(chunk_size=1, decode_unicode=True):
            if line:
                name, _, rest = line.partition(": ")
                event[name] = rest
            elif event:
                if "data" in event:
                    data = json.loads(event["data"])
                    self.events.append((event["event"], event.get("id", ""), data))
                event = {}

    def log(self) -> list[tuple[str, Any]]:
        return [(number, data) for name, number, data in self.events if name == "log"]

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 15
        while len(self.log()) < count:
            assert time.monotonic() < deadline, self.events
            time.sleep(0.05)


def test_a_log_is_followed(bob: Visitor, image: str) -> None:
    """Live, joined late, taken up again; the end is told."""
    build = queued(bob, image)
    reader = Reader(bob, image)
    now = datetime.now(UTC)
    in_database(bob.hub, builds.move, build, BuildState.BUILDING, now)
    in_database(bob.hub, builds.append_log, build, "#1 é\n<b>")
    reader.wait_for(1)
    in_database(bob.hub, builds.append_log, build, "#2 two\n")
    late = Reader(bob, image)
    late.wait_for(2)
    reader.wait_for(2)
    assert reader.log() == late.log() == [("0", "#1 é\n<b>"), ("1", "#2 two\n")]
    again = Reader(bob, image, **{"Last-Event-ID": "0"})
    again.wait_for(1)
    assert again.log() == [("1", "#2 two\n")]
    assert "#1 é\n&lt;b&gt;#2 two" in bob.get(f"{IMAGES}/{image}/builds/1").text
    params = {"command": "RUN false", "words": "no"}
    failed = {"end_code": "build-failed", "end_params": params}
    in_database(bob.hub, builds.move, build, BuildState.FAILED, now, **failed)
    for one in (reader, late, again):
        one.join(15)
        assert not one.is_alive()
        assert one.events[-1][0] == "end"
        assert one.events[-2][2]["state"] == "failed"
    states = [data["state"] for name, _, data in reader.events if name == "state"]
    assert states[-2:] == ["building", "failed"]
    page = text_of(bob.get(f"{IMAGES}/{image}/builds/1"))
    assert "The step “RUN false” failed. What it said: “no”." in page


def test_a_build_is_cancelled(bob: Visitor, image: str) -> None:
    queued(bob, image)
    reader = Reader(bob, image)
    page = send(bob, f"/{image}/builds/1", action="cancel")
    assert "cancelled" in text_of(page)
    reader.join(15)
    assert reader.events[-1][0] == "end"
    assert send(bob, f"/{image}/builds/1", action="cancel").status_code == 200  # it has ended
    assert send(bob, f"/{image}", action="build").url.endswith("/builds/2")
    assert bob.get(f"{IMAGES}/{image}/builds/3").status_code == 404
    send(bob, f"/{image}/builds/2", action="cancel")


def done(hub: RunningHub, build: int) -> str:
    """Say that a build succeeded; its reference."""
    reference = f"mydocker-built/test/{secrets.token_hex(4)}:1"
    now = datetime.now(UTC)
    in_database(hub, builds.move, build, BuildState.BUILDING, now)
    values = {"reference": reference, "digest": "sha256:" + "0" * 64, "size_bytes": 12_000_000}
    in_database(hub, builds.move, build, BuildState.DONE, now, **values)
    return reference


def test_a_build_is_used(bob: Visitor, image: str) -> None:
    environment = workshop_hub.make(bob)
    reference = done(bob.hub, queued(bob, image))
    page = bob.get(f"{IMAGES}/{image}/builds/1")
    assert f'<option value="{environment}">' in page.text
    assert "12 MB" in text_of(page)
    fields = {"action": "use", "environment": environment}
    used = send(bob, f"/{image}/builds/1", **fields)
    assert "starts this build from now on" in text_of(used)
    definition = workshop_hub.api(bob, "GET", f"/environments/{environment}").json()["definition"]
    assert definition["image"] == reference
    assert "Workshop test" in text_of(bob.get(f"{IMAGES}/{image}"))
    refused = bob.get(f"{IMAGES}/{image}/delete")
    assert "1 environment uses it" in text_of(refused)
    version = "1"
    still = send(bob, f"/{image}/delete", action="delete", version=version)
    assert still.url.endswith(f"/{image}/delete")
    etag = workshop_hub.api(bob, "GET", f"/environments/{environment}").headers["ETag"]
    gone = workshop_hub.api(bob, "DELETE", f"/environments/{environment}", etag=etag)
    assert gone.status_code == 204, gone.text
    deleted = send(bob, f"/{image}/delete", action="delete", version=version)
    assert "The image was deleted." in text_of(deleted)
    assert bob.get(f"{IMAGES}/{image}").status_code == 404


def test_packages_for_a_class(bob: Visitor) -> None:
    """An environment of one's own takes the new image; of a public one, a copy does."""
    for environment, label, action in (
        (workshop_hub.make(bob), "Use it in “Workshop test”", "use"),
        ("tiny", "Use it in a copy of “Tiny”", "copy"),
    ):
        sheet = bob.get(f"{PREFIX}environments/{environment}")
        packages = f"{PREFIX}workshop/packages/{environment}"
        assert f'action="{packages}"' in sheet.text
        opened = bob.get(f"{PREFIX}open/{environment}")
        assert f'action="{packages}"' in opened.text
        for text, said in (("", "at least one package"), ("--x", "options are not taken")):
            refused = bob.post_form(TOKEN, packages, packages=text)
            assert refused.status_code == 422
            assert said in text_of(refused)
        page = bob.post_form(TOKEN, packages, packages="nltk")
        assert page.url.endswith(f"/builds/1?environment={environment}")
        image = page.url.split("/")[-3]
        recipe = workshop_hub.api(bob, "GET", f"/images/{image}").json()["recipe"]
        assert (recipe["base"], recipe["pip"]) == ("mydocker-test/busybox:1", ["nltk"])
        reference = done(bob.hub, int(in_database(bob.hub, builds_of, image)))
        ready = bob.get(page.url.removeprefix(bob.hub.url))
        assert label in text_of(ready)
        fields = {"action": action, "environment": environment}
        used = send(bob, f"/{image}/builds/1", **fields)
        target = used.url.split("environment=")[1]
        assert (target == environment) == (action == "use")
        found = workshop_hub.api(bob, "GET", f"/environments/{target}").json()["definition"]
        assert found["image"] == reference
        assert not found["public"]


def test_packages_only_of_what_may_be_copied(bob: Visitor, dora: Visitor) -> None:
    hers = workshop_hub.make(dora, public=False)
    assert bob.get(f"{PREFIX}workshop/packages/{hers}").status_code == 404
    answer = bob.post_form(TOKEN, f"{PREFIX}workshop/packages/{hers}", packages="nltk")
    assert answer.status_code == 404
