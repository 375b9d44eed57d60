"""Images over the REST API, on the real hub: rights, files, builds, attacks."""

from __future__ import annotations

import io
import secrets
import socket
import stat
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from mydocker_hub.domain.images import BuildState
from mydocker_hub.store import builds
from tests import workshop_hub
from tests.hub import RunningHub, in_database

from .conftest import API, Asker, _person, definition, problem

pytestmark = [pytest.mark.hub, pytest.mark.engine]

RECIPE = {"title": "Statistics", "base": "example.org/base:1", "pip": ["numpy"]}
MB = 1000**2

hub = workshop_hub.hub  # with a second teacher


@pytest.fixture(scope="module")
def dora(hub: RunningHub) -> Asker:
    """Another teacher."""
    return _person(hub, "dora")


@pytest.fixture
def image(bob: Asker) -> str:
    """A new image of bob's: its name."""
    slug = f"i-{secrets.token_hex(4)}"
    answer = bob.post("/images", {"slug": slug, "recipe": RECIPE})
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"images/{slug}"
    return slug


def put_file(asker: Asker, slug: str, path: str, content: Any, **query: Any) -> requests.Response:
    return asker("PUT", f"/images/{slug}/files", params={"path": path, **query}, data=content)


def put_zip(asker: Asker, slug: str, content: bytes) -> requests.Response:
    return asker("POST", f"/images/{slug}/files/zip", data=content)


def zipped(files: dict[str, bytes], **modes: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = modes.get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
    return made.getvalue()


def kept(hub: RunningHub) -> set[str]:
    """The files on disk, those that are on their way too."""
    return {path.name for path in (hub.state / "images").rglob("*") if path.is_file()}


def test_recipe_read_and_replaced(bob: Asker, image: str) -> None:
    read = bob.get(f"/images/{image}")
    assert read.json()["recipe"]["pip"] == ["numpy"]
    assert (read.json()["right"], read.json()["may_own"]) == ("own", True)
    changed = bob.put(f"/images/{image}", {**RECIPE, "pip": ["scipy"]}, read.headers["ETag"])
    assert changed.json()["recipe"]["pip"] == ["scipy"]
    problem(bob.put(f"/images/{image}", RECIPE, read.headers["ETag"]), 412, "changed-meanwhile")
    problem(bob.put(f"/images/{image}", RECIPE), 428, "precondition-needed")
    made = bob.get(f"/images/{image}/dockerfile").json()["dockerfile"]
    assert made.startswith("FROM example.org/base:1\n")
    assert "'scipy'" in made
    bad = bob.put(f"/images/{image}", {**RECIPE, "pip": ["-r x"]}, changed.headers["ETag"])
    assert problem(bad, 422, "invalid")["errors"][0]["field"] == "pip.0"
    for taken, status, code in ((image, 409, "exists-already"), ("new", 422, "invalid")):
        problem(bob.post("/images", {"slug": taken, "recipe": RECIPE}), status, code)


def test_lists(bob: Asker, dora: Asker, carol: Asker, image: str) -> None:
    def slugs(asker: Asker, **query: str) -> list[str]:
        answer = asker.get("/images", params=query).json()
        return [item["slug"] for item in answer["items"]]

    assert slugs(bob)[0] == image
    assert image in slugs(carol)
    assert image not in slugs(dora)
    assert bob.put(f"/images/{image}/public", {"public": True}).json()["public"] is True
    assert image in slugs(dora, show="public", q="statistics numpy")
    assert image not in slugs(dora, show="mine")
    assert dora.get(f"/images/{image}").json()["may_edit"] is False


def test_another_teachers_image_does_not_exist(dora: Asker, image: str) -> None:
    for method, path, options in everything(image):
        answer = dora(method, path, **options)
        problem(answer, 404, "image-unknown")
        unknown = dora(method, path.replace(image, "no-such-image"), **options)
        sentence = answer.json()["detail"].replace(image, "no-such-image")
        assert unknown.json()["detail"] == sentence


def test_who_may_only_look_changes_nothing(bob: Asker, dora: Asker, image: str) -> None:
    assert put_file(bob, image, "a.txt", b"a").status_code == 200
    bob.put(f"/images/{image}/public", {"public": True})
    for method, path, options in everything(image):
        if method == "GET" and not path.endswith("/rights"):
            assert dora(method, path, **options).status_code in {200, 404}  # 404: no build yet
        elif not path.endswith("/use"):
            problem(dora(method, path, **options), 403, "not-allowed")
    assert [file["path"] for file in bob.get(f"/images/{image}/files").json()["items"]] == ["a.txt"]


def test_students_are_refused_before_anything_is_looked_up(alice: Asker, image: str) -> None:
    for slug in (image, "no-such-image"):
        for method, path, options in everything(slug):
            problem(alice(method, path, **options), 403, "not-allowed")
    problem(alice.get("/images"), 403, "not-allowed")
    problem(alice.post("/images", {"slug": "x", "recipe": RECIPE}), 403, "not-allowed")


def everything(slug: str) -> list[tuple[str, str, dict[str, Any]]]:
    """A good request for each operation on an image."""
    path, etag = {"path": "a.txt"}, {"If-Match": '"1"'}
    one = f"/images/{slug}"
    return [
        ("GET", one, {}),
        ("PUT", one, {"json": RECIPE, "headers": etag}),
        ("DELETE", one, {"headers": etag}),
        ("PUT", f"{one}/public", {"json": {"public": False}}),
        ("GET", f"{one}/uses", {}),
        ("GET", f"{one}/dockerfile", {}),
        ("GET", f"{one}/rights", {}),
        ("PUT", f"{one}/rights/dora", {"json": {"right": "own"}}),
        ("DELETE", f"{one}/rights/bob", {}),
        ("GET", f"{one}/files", {}),
        ("PUT", f"{one}/files", {"params": path, "data": b"evil"}),
        ("DELETE", f"{one}/files", {"params": path}),
        ("GET", f"{one}/files/content", {"params": path}),
        ("POST", f"{one}/files/zip", {"data": b"PK"}),
        ("GET", f"{one}/builds", {}),
        ("POST", f"{one}/builds", {}),
        ("GET", f"{one}/builds/1", {}),
        ("POST", f"{one}/builds/1/cancel", {}),
        ("GET", f"{one}/builds/1/log", {}),
        ("POST", f"{one}/builds/1/use", {"json": {"environment": "x", "expected_version": 1}}),
    ]


def test_colleagues(bob: Asker, dora: Asker, image: str) -> None:
    dora.get("/images")  # nobody but who was here is known
    dora.post("/environments", definition())
    given = bob.put(f"/images/{image}/rights/dora", {"right": "edit"})
    assert given.status_code == 204, given.text
    assert put_file(dora, image, "a.txt", b"a").status_code == 200
    problem(dora.put(f"/images/{image}/rights/dora", {"right": "own"}), 403, "not-allowed")
    problem(dora.delete(f"/images/{image}", '"1"'), 403, "not-allowed")
    problem(bob.delete(f"/images/{image}/rights/bob"), 409, "last-owner")
    problem(bob.put(f"/images/{image}/rights/nobody", {"right": "view"}), 404, "account-unknown")
    holders = bob.get(f"/images/{image}/rights").json()["items"]
    assert [(one["name"], one["right"]) for one in holders] == [("bob", "own"), ("dora", "edit")]
    assert dora.delete(f"/images/{image}/rights/dora").status_code == 204  # gives up their own
    problem(dora.get(f"/images/{image}"), 404, "image-unknown")


def test_files_go_in_and_come_out(bob: Asker, image: str) -> None:
    content = secrets.token_bytes(9 * MB)  # more than any other body may have
    put = put_file(bob, image, "data/é 1.bin", content, executable="true")
    assert put.status_code == 200, put.text
    assert put.json()["size_bytes"] == len(content)
    assert put.json()["executable"] is True
    got = bob.get(f"/images/{image}/files/content", params={"path": "data/é 1.bin"})
    assert got.content == content
    assert got.headers["Content-Type"] == "application/octet-stream"
    assert got.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%A9%201.bin"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    listed = bob.get(f"/images/{image}/files").json()
    assert ([file["path"] for file in listed["items"]], listed["total_bytes"]) == (
        ["data/é 1.bin"],
        len(content),
    )
    problem(put_file(bob, image, "data", b"x"), 422, "invalid")
    gone = bob("DELETE", f"/images/{image}/files", params={"path": "data"})
    assert gone.status_code == 204
    nothing = bob.get(f"/images/{image}/files/content", params={"path": "data/é 1.bin"})
    problem(nothing, 404, "not-found")


def test_a_page_of_another_site_uploads_nothing(hub: RunningHub, bob: Asker, image: str) -> None:
    """A cookie alone is not enough: what our own pages send with it is asked for."""
    address = f"{hub.url}{API}/images/{image}/files"
    with hub.signed_in("bob") as visitor:
        visitor.get("/services/catalogue/")
        token = visitor.session.cookies.get("_xsrf", path="/services/catalogue/")
        for headers, status in (({}, 401), ({"X-XSRFToken": "1"}, 401), (_token(token), 200)):
            answer = visitor.session.put(
                address, params={"path": "a"}, data=b"a", headers=headers, timeout=30
            )
            assert answer.status_code == status, answer.text
    assert [file["path"] for file in bob.get(f"/images/{image}/files").json()["items"]] == ["a"]


def _token(token: str) -> dict[str, str]:
    return {"X-XSRFToken": token, "Sec-Fetch-Site": "same-origin"}


def test_an_empty_file_and_one_in_chunks(bob: Asker, image: str) -> None:
    assert put_file(bob, image, "empty", b"").json()["size_bytes"] == 0
    pieces = put_file(bob, image, "pieces", iter([b"one", b"two"]))
    assert pieces.json()["size_bytes"] == 6


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a/../../x", "a\\b", "a\0b", "a\nb", "C:/x", "", ".", "x" * 300, "a/"],
)
def test_path_tricks(hub: RunningHub, bob: Asker, image: str, path: str) -> None:
    before = kept(hub)
    for answer in (
        put_file(bob, image, path, b"evil"),
        bob.get(f"/images/{image}/files/content", params={"path": path}),
        bob("DELETE", f"/images/{image}/files", params={"path": path}),
    ):
        assert problem(answer, 422, "invalid")["errors"][0]["field"] == "path"
    assert kept(hub) == before


def test_a_zip(bob: Asker, image: str) -> None:
    put_file(bob, image, "top/a.txt", b"old")
    content = zipped(
        {"top/a.txt": b"new", "top/run.sh": b"#!", "__MACOSX/top/._a.txt": b"junk"},
        **{"top/run.sh": stat.S_IFREG | 0o755},
    )
    answer = put_zip(bob, image, content)
    assert answer.status_code == 200, answer.text
    files = {file["path"]: file["executable"] for file in answer.json()["items"]}
    assert files == {"top/a.txt": False, "top/run.sh": True}
    got = bob.get(f"/images/{image}/files/content", params={"path": "top/a.txt"})
    assert got.content == b"new"


def _lying() -> bytes:
    content = zipped({"bomb": b"\0" * 20 * MB})
    return content.replace(struct.pack("<L", 20 * MB), struct.pack("<L", 10))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (zipped({"../../../x": b"evil"}), ".."),
        (zipped({"/etc/cron.d/x": b"evil"}), "begins with"),
        (zipped({"link": b"/etc/passwd"}, link=stat.S_IFLNK | 0o777), "link"),
        (zipped({"a": b"1", "A": b"2"}), "another file"),
        (zipped({f"bomb{n}": b"\0" * 30 * MB for n in range(2)}), "very much more"),
        (_lying(), "not a zip"),
        (b"no zip at all", "not a zip"),
    ],
    ids=["slip", "absolute", "symlink", "twice", "bomb", "liar", "junk"],
)
def test_hostile_zips(hub: RunningHub, bob: Asker, image: str, content: bytes, says: str) -> None:
    before = kept(hub)
    answer = problem(put_zip(bob, image, content), 422, "invalid")
    assert any(says in error["message"] for error in answer["errors"])
    assert bob.get(f"/images/{image}/files").json()["items"] == []
    assert kept(hub) == before


def test_too_large_is_said_before_it_is_sent(bob: Asker, image: str) -> None:
    """By the length that is announced; a little over, the whole answer arrives."""
    answer = put_file(bob, image, "big", bytes(102 * MB))
    assert problem(answer, 413, "too-large")["params"] == {"limit": 100 * MB}


def _send(
    direct: str, asker: Asker, path: str, head: str, body: Callable[[], Iterator[bytes]]
) -> tuple[bytes, int]:
    """What comes back, and how many bytes of the body the service let us send."""
    place = urlsplit(direct)
    sent = 0
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        connection.sendall(
            f"PUT {API}{path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {asker.token}\r\n"
            f"{head}\r\n\r\n".encode()
        )
        with suppress(OSError):
            for piece in body():
                connection.sendall(piece)
                sent += len(piece)
        received = b""
        with suppress(OSError):
            while b"\r\n\r\n" not in received and (piece := connection.recv(65536)):
                received += piece
    return received, sent


def test_an_endless_body_is_cut_off(hub: RunningHub, direct: str, bob: Asker, image: str) -> None:
    """Nothing announces its length: it is counted while it comes."""
    before = kept(hub)

    def endless() -> Iterator[bytes]:
        chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"
        for _ in range(400):
            yield chunk

    received, sent = _send(
        direct, bob, f"/images/{image}/files?path=big", "Transfer-Encoding: chunked", endless
    )
    assert sent < 200 * MB
    assert not received or b" 413 " in received.split(b"\r\n", 1)[0]
    assert_soon(lambda: kept(hub) == before)
    assert bob.get(f"/images/{image}/files").json()["items"] == []


def test_who_may_not_sends_nothing(direct: str, dora: Asker, alice: Asker, image: str) -> None:
    """The answer is there before the first byte of the body."""

    def nothing() -> Iterator[bytes]:
        return iter(())

    path = f"/images/{image}/files?path=big"
    for asker, status in ((dora, b" 404 "), (alice, b" 403 "), (Asker(""), b" 401 ")):
        received, _ = _send(direct, asker, path, f"Content-Length: {100 * MB}", nothing)
        assert status in received.split(b"\r\n", 1)[0]
    received, _ = _send(direct, dora, path, f"Content-Length: {900 * MB}", nothing)
    assert b" 404 " in received.split(b"\r\n", 1)[0]


def test_an_upload_that_breaks_off_leaves_nothing(
    hub: RunningHub, direct: str, bob: Asker, image: str
) -> None:
    before = kept(hub)
    place = urlsplit(direct)
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        connection.sendall(
            f"PUT {API}/images/{image}/files?path=a HTTP/1.1\r\nHost: hub\r\n"
            f"Authorization: Bearer {bob.token}\r\nContent-Length: 1000\r\n\r\nhalf".encode()
        )
        assert_soon(lambda: kept(hub) != before)
    assert_soon(lambda: kept(hub) == before)


def assert_soon(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_builds(hub: RunningHub, bob: Asker, dora: Asker, image: str) -> None:
    put_file(bob, image, "a.txt", b"a")
    asked = bob.post(f"/images/{image}/builds")
    assert asked.status_code == 201, asked.text
    assert asked.headers["Location"] == f"images/{image}/builds/1"
    build = asked.json()
    assert (build["state"], build["number"], build["recipe"]["pip"]) == ("queued", 1, ["numpy"])
    assert [file["path"] for file in build["files"]] == ["a.txt"]
    assert build["position"] >= 0
    problem(bob.post(f"/images/{image}/builds"), 409, "build-running")
    listed = bob.get("/images", params={"q": image}).json()["items"]
    assert listed[0]["last_build"]["state"] == "queued"
    cancelled = bob.post(f"/images/{image}/builds/1/cancel").json()
    assert (cancelled["state"], cancelled["position"]) == ("cancelled", None)
    problem(bob.post(f"/images/{image}/builds/1/cancel"), 409, "build-ended")
    problem(bob.get(f"/images/{image}/builds/2"), 404, "build-unknown")
    assert bob.get(f"/images/{image}/builds/1/log").json() == {
        "items": [],
        "state": "cancelled",
        "finished": True,
    }


def built(hub: RunningHub, bob: Asker, slug: str) -> str:
    """Have a build done, with a log, as the builder would; its reference."""
    assert bob.post(f"/images/{slug}/builds").status_code == 201
    number = bob.get(f"/images/{slug}/builds").json()["items"][0]["number"]
    reference = f"mydocker-built/test/{slug}:{number}"

    def finish(session: Any) -> None:
        from mydocker_hub.store.tables import BuildRow, ImageRow

        row = session.query(BuildRow).join(ImageRow, ImageRow.id == BuildRow.image_id)
        build = row.filter(ImageRow.slug == slug).order_by(BuildRow.id.desc()).first()
        builds.move(session, build.id, BuildState.BUILDING, build.asked_at)
        builds.append_log(session, build.id, "one\n")
        builds.append_log(session, build.id, "two\n")
        builds.move(session, build.id, BuildState.DONE, build.asked_at, reference=reference)

    in_database(hub, finish)
    return reference


def test_a_build_is_used_and_its_image_stays_then(
    hub: RunningHub, bob: Asker, dora: Asker, image: str
) -> None:
    reference = built(hub, bob, image)
    log = bob.get(f"/images/{image}/builds/1/log", params={"after": 0}).json()
    assert log["items"] == [{"position": 1, "text": "two\n"}]
    sent = definition()
    made = bob.post("/environments", sent)
    wanted = {"environment": sent["slug"], "expected_version": 1}
    bob.put(f"/images/{image}/public", {"public": True})
    problem(dora.post(f"/images/{image}/builds/1/use", wanted), 404, "environment-unknown")
    used = bob.post(f"/images/{image}/builds/1/use", wanted)
    assert used.status_code == 200, used.text
    assert used.json()["definition"]["image"] == reference
    assert used.headers["ETag"] == '"2"' != made.headers["ETag"]
    problem(bob.post(f"/images/{image}/builds/1/use", wanted), 412, "changed-meanwhile")
    uses = bob.get(f"/images/{image}/uses").json()["items"]
    assert [(use["environment"], use["reference"]) for use in uses] == [(sent["slug"], reference)]
    bob.put(f"/images/{image}/public", {"public": True})
    # dora may see the image, and not who uses it where she may not see that
    assert dora.get(f"/images/{image}/uses").json()["items"] == []

    refused = problem(bob.delete(f"/images/{image}", '"1"'), 409, "still-used")
    assert refused["params"]["environments"] == sent["slug"]
    assert bob.delete(f"/environments/{sent['slug']}", '"2"').status_code == 204
    assert bob.delete(f"/images/{image}", '"1"').status_code == 204
    problem(bob.get(f"/images/{image}"), 404, "image-unknown")


def test_a_build_without_an_image_is_not_used(bob: Asker, image: str) -> None:
    bob.post(f"/images/{image}/builds")
    bob.post(f"/images/{image}/builds/1/cancel")
    sent = definition()
    bob.post("/environments", sent)
    wanted = {"environment": sent["slug"], "expected_version": 1}
    problem(bob.post(f"/images/{image}/builds/1/use", wanted), 409, "build-without-image")


def test_packages_for_a_class(bob: Asker, dora: Asker, alice: Asker, private: Any) -> None:
    slug, _ = private
    new = f"i-{secrets.token_hex(4)}"
    wanted = {"slug": new, "packages": ["scipy", "sympy==1.13"]}
    problem(dora.post(f"/environments/{slug}/packages", wanted), 404, "environment-unknown")
    problem(alice.post(f"/environments/{slug}/packages", wanted), 403, "not-allowed")
    bad = {**wanted, "packages": ["-e git+https://example.org/x"]}
    problem(bob.post(f"/environments/{slug}/packages", bad), 422, "invalid")
    asked = bob.post(f"/environments/{slug}/packages", wanted)
    assert asked.status_code == 201, asked.text
    assert asked.headers["Location"] == f"images/{new}/builds/1"
    assert asked.json()["recipe"]["base"] == "mydocker-test/busybox:1"
    assert asked.json()["recipe"]["pip"] == ["scipy", "sympy==1.13"]
    assert bob.get(f"/images/{new}").json()["right"] == "own"
    problem(bob.post(f"/environments/{slug}/packages", wanted), 409, "exists-already")
    bob.post(f"/images/{new}/builds/1/cancel")
