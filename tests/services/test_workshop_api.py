"""The workshop's part of the REST API, in a real hub: sharing, history, secrets, servers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from mydocker_hub.domain.images import BuildState
from mydocker_hub.store import builds
from tests.hub import RunningHub, Visitor, in_database

from .conftest import Asker, definition, person, problem

pytestmark = [pytest.mark.hub, pytest.mark.engine]

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module", autouse=True)
def known(bob: Asker) -> None:
    """Whoever made something has an account, as everybody has who came in by a door."""
    assert bob.post("/environments", definition()).status_code == 201


@pytest.fixture
def shared(carol: Asker) -> str:
    """An environment of carol's, private, which bob knows nothing of."""
    sent = definition(title="Shared", command="sh -c 'echo COMMAND'")
    assert carol.post("/environments", sent).status_code == 201
    return f"/environments/{sent['slug']}"


@pytest.fixture
def public(carol: Asker) -> str:
    sent = definition(title="Public", public=True)
    assert carol.post("/environments", sent).status_code == 201
    return f"/environments/{sent['slug']}"


def fields(details: dict) -> list[str]:
    return [error["field"] for error in details["errors"]]


# --- who may -------------------------------------------------------------------------------------

TRIED = [
    ("GET", "/versions", None),
    ("GET", "/versions/1", None),
    ("POST", "/versions/1/restore", {"expected_version": 1}),
    ("POST", "/duplicate", {"slug": "copy-of-it", "title": "Copy"}),
    ("POST", "/transfer", {"to": "bob"}),
    ("GET", "/rights", None),
    ("PUT", "/rights/bob", {"right": "own"}),
    ("DELETE", "/rights/carol", None),
    ("GET", "/secrets", None),
    ("PUT", "/secrets/A", {"value": "x"}),
    ("DELETE", "/secrets/A", None),
    ("GET", "/people", None),
    ("GET", "/servers", None),
    ("DELETE", "/servers/carol", None),
    ("GET", "/servers/carol/log", None),
    ("POST", "/requests", {"kind": "publish"}),
    ("POST", "/requests", {"kind": "access"}),
]


@pytest.mark.parametrize(("method", "path", "body"), TRIED)
def test_strangers(
    alice: Asker, bob: Asker, shared: str, public: str, method: str, path: str, body
) -> None:
    for environment in (shared, public, "/environments/no-such-thing"):
        problem(alice(method, environment + path, json=body), 403, "not-allowed")
        problem(alice(method, environment + path, json=["?"]), 403, "not-allowed")
    problem(bob(method, shared + path, json=body), 404, "environment-unknown")
    problem(
        bob(method, "/environments/no-such-thing" + path, json=body), 404, "environment-unknown"
    )
    if path not in {"/duplicate", "/requests"}:
        problem(bob(method, public + path, json=body), 403, "not-allowed")


def test_students_find_nobody(alice: Asker) -> None:
    for path in ("/requests", "/colleagues?q=bob", "/compute-types"):
        problem(alice.get(path), 403, "not-allowed")
    problem(alice.post("/requests/1", {"accepted": True}), 403, "not-allowed")
    problem(alice.put("/compute-types/x", {"slug": "x", "title": "X"}), 403, "not-allowed")


def test_who_may_view_reads_and_changes_nothing(bob: Asker, carol: Asker, shared: str) -> None:
    assert carol.put(f"{shared}/rights/bob", {"right": "view"}).status_code == 204
    assert bob.get(shared).json()["definition"]["command"] == "sh -c 'echo COMMAND'"
    for path in ("/versions", "/versions/1", "/rights"):
        assert bob.get(shared + path).status_code == 200
    for method, path, body in TRIED:
        answer = bob(method, shared + path, json=body)
        reads = method == "GET" and path in {"/versions", "/versions/1", "/rights"}
        if not reads and path != "/duplicate" and (body or {}).get("kind") != "access":
            problem(answer, 403, "not-allowed")
    # but may go
    assert bob.delete(f"{shared}/rights/bob").status_code == 204
    problem(bob.get(shared), 404, "environment-unknown")


# --- lists ---------------------------------------------------------------------------------------


def test_lists_of_the_workshop(bob: Asker, carol: Asker, shared: str) -> None:
    slug = shared.rsplit("/", 1)[1]
    carol.put(f"{shared}/rights/bob", {"right": "edit"})

    def slugs(asker: Asker, **asked) -> list[str]:
        answer = asker.get("/environments", params={"limit": 200, **asked})
        assert answer.status_code == 200, answer.text
        return [item["slug"] for item in answer.json()["items"]]

    assert slug in slugs(bob, show="shared")
    assert slug not in slugs(bob, show="mine")
    assert slug in slugs(carol, show="mine")
    assert slug not in slugs(bob, show="public")
    assert slugs(bob, show="all", sort="changed")[0] == slug
    titles = bob.get("/environments", params={"sort": "title", "limit": 200}).json()["items"]
    shown = [item["title"]["fr"] for item in titles]
    assert shown.index("JupyterLab et Python") < shown.index("Petit") < shown.index("Shared")
    for wrong in ({"show": "theirs"}, {"sort": "size"}):
        problem(bob.get("/environments", params=wrong), 422, "invalid")


# --- copies and history --------------------------------------------------------------------------


def test_copy_and_adapt(bob: Asker, public: str) -> None:
    name = definition()["slug"]
    title = {"fr": "Le mien", "en": "Mine"}
    answer = bob.post(f"{public}/duplicate", {"slug": name, "title": title})
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"../{name}"
    copy = answer.json()
    assert (copy["title"], copy["status"], copy["public"]) == (title, "draft", False)
    assert copy["origin"] == public.rsplit("/", 1)[1]
    assert copy["may_edit"]
    problem(bob.post(f"{public}/duplicate", {"slug": name, "title": title}), 409, "exists-already")
    details = problem(bob.post(f"{public}/duplicate", {"slug": "A B", "title": ""}), 422, "invalid")
    assert fields(details) == ["slug", "title"]


def test_history_and_restore(bob: Asker, private) -> None:
    slug, etag = private
    path = f"/environments/{slug}"
    first = bob.get(path).json()["definition"]
    bob.put(path, definition(slug, title="Second"), etag)
    versions = bob.get(f"{path}/versions").json()["items"]
    assert [(one["version"], one["changed_by"]) for one in versions] == [(2, "bob"), (1, "bob")]
    assert bob.get(f"{path}/versions/1").json() == {**versions[1], "definition": first}
    problem(bob.get(f"{path}/versions/3"), 404, "not-found")
    again = f"{path}/versions/1/restore"
    problem(bob.post(again, {"expected_version": 1}), 412, "changed-meanwhile")
    answer = bob.post(again, {"expected_version": 2})
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"3"')
    assert answer.json()["definition"] == first
    problem(bob.post(f"{path}/versions/9/restore", {"expected_version": 3}), 404, "not-found")


def test_an_old_version_is_no_way_around_administrators(bob: Asker, carol: Asker, private) -> None:
    slug, etag = private
    path = f"/environments/{slug}"
    harmless = definition(slug, title="Harmless", public=True)
    assert carol.put(path, harmless, etag).status_code == 200
    details = problem(
        bob.post(f"{path}/versions/1/restore", {"expected_version": 2}), 422, "invalid"
    )
    assert fields(details) == ["command"]
    answer = carol.post(f"{path}/versions/1/restore", {"expected_version": 2})
    assert answer.json()["public"]


# --- what a definition may say -------------------------------------------------------------------


def test_content_of_a_public_environment(bob: Asker, carol: Asker, public: str) -> None:
    carol.put(f"{public}/rights/bob", {"right": "edit"})
    slug = public.rsplit("/", 1)[1]
    repository = "https://git.example.org/course"
    for change in (
        {"content": {"repository": repository}},
        {"audience": {"teachers": True}},
    ):
        sent = definition(slug, title="Public", public=True, **change)
        details = problem(bob.put(public, sent, '"1"'), 422, "invalid")
        assert fields(details) == list(change)
    sent = definition(slug, title="Public", public=True, content={"repository": repository})
    assert carol.put(public, sent, '"1"').status_code == 200


def test_the_image_of_a_colleague(
    hub: RunningHub, bob: Asker, carol: Asker, private, shared: str
) -> None:
    """It may hold what is nobody else's business: to name it is not enough."""
    slug, etag = private
    path, image = f"/environments/{slug}", f"i-{slug}"[:30]
    recipe = {"title": "Solutions", "base": "example.org/base:1"}
    assert carol.post("/images", {"slug": image, "recipe": recipe}).status_code == 201
    assert carol.post(f"/images/{image}/builds").status_code == 201
    reference = f"mydocker-built/hub/{image}:1"

    def finish(session) -> None:
        # before it those that wait since another test, which nobody builds here
        while (build := builds.claim(session, NOW)) and build.image_slug != image:
            builds.move(session, build.id, BuildState.FAILED, NOW)
        builds.move(session, build.id, BuildState.PUSHING, NOW)
        builds.move(session, build.id, BuildState.DONE, NOW, reference=reference)

    in_database(hub, finish)
    for sent in (
        definition(slug, image=reference),
        definition(slug, image=f"docker.io/{reference}"),
    ):
        assert fields(problem(bob.put(path, sent, etag), 422, "invalid")) == ["image"]
        assert fields(
            problem(bob.post("/environments", definition(image=reference)), 422, "invalid")
        )
    # what a colleague chose stays when somebody else changes the rest
    theirs = shared.rsplit("/", 1)[1]
    assert carol.put(shared, definition(theirs, image=reference), '"1"').status_code == 200
    carol.put(f"{shared}/rights/bob", {"right": "edit"})
    changed = definition(theirs, image=reference, title="Better")
    assert bob.put(shared, changed, '"2"').status_code == 200
    # and once it is shared
    carol.put(f"/images/{image}/rights/bob", {"right": "view"})
    assert bob.put(path, definition(slug, image=reference), etag).status_code == 200


def test_an_audience_of_strangers(bob: Asker, carol: Asker, the_hub: Asker, private) -> None:
    slug, etag = private
    path = f"/environments/{slug}"
    audience = {
        "people": ["bob", "nobody at all"],
        "courses": [999999],
        "institutions": ["univ-b.fr"],
    }
    details = problem(bob.put(path, definition(slug, audience=audience), etag), 422, "invalid")
    assert fields(details) == ["audience.people", "audience.courses", "audience.institutions"]
    problem(bob.post("/environments", definition(audience=audience)), 422, "invalid")
    details = problem(carol.put(path, definition(slug, audience=audience), etag), 422, "invalid")
    assert fields(details) == ["audience.people", "audience.courses"]
    # what an administrator named stays when a teacher changes something else
    audience = {"people": ["bob"], "institutions": ["univ-b.fr"], "teachers": True}
    answer = carol.put(path, definition(slug, audience=audience), etag)
    assert answer.status_code == 200
    sent = definition(slug, title="Changed", audience=audience)
    assert bob.put(path, sent, answer.headers["ETag"]).status_code == 200


# --- sharing -------------------------------------------------------------------------------------


def test_rights_and_transfer(bob: Asker, carol: Asker, shared: str) -> None:
    (owner,) = carol.get(f"{shared}/rights").json()["items"]
    assert (owner["name"], owner["right"]) == ("carol", "own")
    carol.put(f"{shared}/rights/bob", {"right": "edit"})
    problem(bob.put(f"{shared}/rights/bob", {"right": "own"}), 403, "not-allowed")
    problem(carol.put(f"{shared}/rights/nobody", {"right": "edit"}), 404, "account-unknown")
    problem(carol.put(f"{shared}/rights/no body", {"right": "edit"}), 404, "not-found")
    problem(carol.delete(f"{shared}/rights/carol"), 409, "last-owner")
    problem(carol.put(f"{shared}/rights/carol", {"right": "view"}), 409, "last-owner")
    assert carol.post(f"{shared}/transfer", {"to": "bob", "keep": "view"}).status_code == 204
    problem(carol.post(f"{shared}/transfer", {"to": "bob"}), 409, "exists-already")
    held = {one["name"]: one["right"] for one in bob.get(f"{shared}/rights").json()["items"]}
    assert held == {"bob": "own", "carol": "view"}


def test_colleagues(bob: Asker, carol: Asker, shared: str) -> None:
    found = bob.get("/colleagues", params={"q": "caro"}).json()["items"]
    assert [one["name"] for one in found] == ["carol"]
    assert bob.get("/colleagues", params={"q": "ca"}).json() == {"items": []}
    problem(bob.get("/colleagues"), 422, "invalid")


def test_asking_for_access(bob: Asker, carol: Asker, public: str) -> None:
    asked = bob.post(f"{public}/requests", {"kind": "access", "message": "For algebra"})
    assert asked.status_code == 201
    number = asked.json()["id"]
    assert bob.post(f"{public}/requests", {"kind": "access"}).json()["id"] == number
    problem(bob.post(f"/requests/{number}", {"accepted": True}), 404, "not-found")
    (request,) = [one for one in carol.get("/requests").json()["to_answer"] if one["id"] == number]
    assert (request["person"], request["kind"]) == ("bob", "access")
    said = {"accepted": True, "right": "edit", "text": "Welcome"}
    assert carol.post(f"/requests/{number}", said).status_code == 204
    problem(carol.post(f"/requests/{number}", said), 409, "request-answered")
    assert bob.get(public).json()["may_edit"]
    (request,) = [one for one in bob.get("/requests").json()["sent"] if one["id"] == number]
    assert (request["accepted"], request["answer"]) == (True, "Welcome")
    details = problem(bob.post(f"{public}/requests", {"kind": "access"}), 422, "invalid")
    assert fields(details) == ["kind"]
    problem(carol.post("/requests/999999", said), 404, "not-found")


def test_proposing_for_the_public_catalogue(
    bob: Asker, carol: Asker, alice: Asker, private
) -> None:
    slug, _ = private
    path = f"/environments/{slug}"
    number = bob.post(f"{path}/requests", {"kind": "publish"}).json()["id"]
    # its owner, and not theirs to answer
    problem(bob.post(f"/requests/{number}", {"accepted": True}), 404, "not-found")
    problem(alice.get(path), 404, "environment-unknown")
    (seen,) = [one for one in carol.get("/requests").json()["to_answer"] if one["id"] == number]
    accepted = {"accepted": True, "expected_version": seen["version"]}
    # changed while it was looked at
    assert bob.put(path, definition(slug, image="evil.example/x"), '"1"').status_code == 200
    problem(carol.post(f"/requests/{number}", {"accepted": True}), 428, "precondition-needed")
    problem(carol.post(f"/requests/{number}", accepted), 412, "changed-meanwhile")
    problem(alice.get(path), 404, "environment-unknown")
    again = {**accepted, "expected_version": 2}
    assert carol.post(f"/requests/{number}", again).status_code == 204
    assert alice.get(path).json()["public"]


def test_what_everybody_used_is_not_given_another_image(
    bob: Asker, carol: Asker, alice: Asker, the_hub: Asker, private
) -> None:
    """Whoever used it goes on starting it: taking it out first is no way around."""
    slug, etag = private
    path = f"/environments/{slug}"
    etag = carol.put(path, definition(slug, public=True), etag).headers["ETag"]
    body = {
        "person": person("alice"),
        "environment": slug,
        "server": slug,
        "base_url": f"/user/alice/{slug}/",
    }
    assert the_hub.post("/launches", body).status_code == 200
    for sent in (definition(slug), definition(slug, image="evil.example/x")):
        details = problem(bob.put(path, sent, etag), 422, "invalid")
        assert fields(details) == ["public"]
    plan = the_hub.post("/launches", body).json()
    assert plan["image"] == definition()["image"]
    # its owner may close it, and an administrator take it out
    closed = definition(slug, public=True, status="archived")
    etag = bob.put(path, closed, etag).headers["ETag"]
    assert carol.put(path, definition(slug), etag).status_code == 200


def test_who_is_no_teacher_any_more_reads_no_definition(
    bob: Asker, alice: Asker, the_hub: Asker, private
) -> None:
    slug, _ = private
    path = f"/environments/{slug}"
    key = bob.post(f"{path}/join-links", {}).json()["key"]
    the_hub.post(f"/join-links/{key}/join", {"person": person("alice")})
    assert bob.put(f"{path}/rights/alice", {"right": "edit"}).status_code == 204
    seen = alice.get(path).json()
    assert (seen["definition"], seen["origin"], seen["may_edit"]) == (None, None, False)


def test_more_packages_are_for_who_may_copy(bob: Asker, carol: Asker, shared: str) -> None:
    """An invitation lets in; the recipe of the new image would tell what is started, and how."""
    slug = shared.rsplit("/", 1)[1]
    invited = definition(slug, command="sh -c 'echo COMMAND'", audience={"people": ["bob"]})
    assert carol.put(shared, invited, '"1"').status_code == 200
    assert bob.get(shared).json()["definition"] is None
    asked = {"slug": f"i-{slug}"[:30], "packages": ["numpy"]}
    problem(bob.post(f"{shared}/packages", asked), 403, "not-allowed")
    carol.put(f"{shared}/rights/bob", {"right": "view"})
    assert bob.post(f"{shared}/packages", asked).status_code == 201


def test_a_copy_has_an_address(bob: Asker, public: str) -> None:
    for slug in ("new", "preview"):
        sent = {"slug": slug, "title": "Unreachable"}
        details = problem(bob.post(f"{public}/duplicate", sent), 422, "invalid")
        assert fields(details) == ["slug"]


# --- secrets -------------------------------------------------------------------------------------


def test_secrets_are_written_only(hub: RunningHub, bob: Asker, carol: Asker, private) -> None:
    slug, _ = private
    path = f"/environments/{slug}"
    assert bob.put(f"{path}/secrets/LICENCE_KEY", {"value": "TOPVALUE"}).status_code == 204
    (listed,) = bob.get(f"{path}/secrets").json()["items"]
    assert (listed["name"], listed["changed_by"]) == ("LICENCE_KEY", "bob")
    for answer in (
        bob.get(path),
        bob.get(f"{path}/secrets"),
        bob.get(f"{path}/versions/1"),
        carol.get(f"{path}/secrets"),
    ):
        assert "TOPVALUE" not in answer.text
    assert "TOPVALUE" not in hub.log()
    for file in hub.state.glob("*.sqlite*"):
        assert b"TOPVALUE" not in file.read_bytes()
    for name, value, field in (
        ("JUPYTERHUB_X", "x", "name"),
        ("LICENCE", "x", "secrets"),  # a variable that everybody reads has that name
        ("A", "{{X}}", "value"),
    ):
        details = problem(bob.put(f"{path}/secrets/{name}", {"value": value}), 422, "invalid")
        assert fields(details) == [field]
        assert value not in details["detail"] or value == "x"
    problem(bob.put(f"{path}/secrets/A-B", {"value": "x"}), 404, "not-found")
    assert bob.delete(f"{path}/secrets/LICENCE_KEY").status_code == 204
    problem(bob.delete(f"{path}/secrets/LICENCE_KEY"), 404, "not-found")


def test_secrets_of_a_public_environment(bob: Asker, carol: Asker, public: str) -> None:
    carol.put(f"{public}/rights/bob", {"right": "edit"})
    problem(bob.put(f"{public}/secrets/A", {"value": "x"}), 422, "invalid")
    assert carol.put(f"{public}/secrets/A", {"value": "x"}).status_code == 204
    problem(bob.delete(f"{public}/secrets/A"), 422, "invalid")
    assert carol.delete(f"{public}/secrets/A").status_code == 204


# --- running servers -----------------------------------------------------------------------------


@pytest.fixture
def used(hub: RunningHub, bob: Asker, the_hub: Asker) -> Iterator[tuple[str, Visitor]]:
    """An environment of bob's that alice runs."""
    sent = definition(
        title="Used",
        command="sh -c 'echo HELLO FROM INSIDE; exec httpd -f -p 8888 -h /tmp'",
        resources={"memory_bytes": "64 MB", "shm_bytes": "16 MB"},
        storage={"dedicated": "/home/user"},
    )
    assert bob.post("/environments", sent).status_code == 201
    slug = sent["slug"]
    key = bob.post(f"/environments/{slug}/join-links", {}).json()["key"]
    the_hub.post(f"/join-links/{key}/join", {"person": person("alice")})
    with hub.signed_in("alice") as alice:
        alice.start_and_wait(slug)
        yield slug, alice
        alice.stop(slug)
        alice.wait_until_gone(slug)


def test_who_uses_it_and_stopping(bob: Asker, carol: Asker, used, private) -> None:
    slug, alice = used
    path = f"/environments/{slug}"
    (participant,) = bob.get(f"{path}/people").json()["items"]
    assert (participant["name"], participant["left"]) == ("alice", False)
    assert participant["last_start_at"] > participant["since"]
    (server,) = bob.get(f"{path}/servers").json()["items"]
    assert (server["user"], server["server"], server["state"]) == ("alice", slug, "running")
    assert (server["version"], server["trial"]) == (1, False)
    # deleting is for when nobody is in it
    details = problem(bob.delete(path, '"1"'), 409, "servers-running")
    assert details["params"]["count"] == 1
    assert "1" in details["detail"]
    problem(bob.delete(path, '"7"'), 412, "changed-meanwhile")
    problem(bob.delete(path), 428, "precondition-needed")
    # the log, of this environment alone
    deadline = time.monotonic() + 20
    while "HELLO FROM INSIDE" not in (log := bob.get(f"{path}/servers/alice/log").json()["log"]):
        assert time.monotonic() < deadline, log
        time.sleep(0.5)
    other = f"/environments/{private[0]}"
    problem(bob.get(f"{other}/servers/alice/log"), 404, "server-not-running")
    problem(bob.delete(f"{other}/servers/alice"), 404, "server-not-running")
    assert bob.get(f"{other}/servers").json() == {"items": []}
    # and it stops
    assert bob.delete(f"{path}/servers/alice").status_code == 204
    alice.wait_until_gone(slug)
    problem(bob.delete(f"{path}/servers/alice"), 404, "server-not-running")
    assert bob.get(f"{path}/servers").json() == {"items": []}
    assert bob.delete(path, '"1"').status_code == 204
    problem(carol.get(path), 404, "environment-unknown")
