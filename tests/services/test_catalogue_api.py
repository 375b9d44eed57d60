"""The catalogue's REST API, in a real hub, behind the real proxy."""

from __future__ import annotations

import json
import socket
import time
from urllib.parse import urlsplit

import pytest

from tests.hub import RunningHub

from .conftest import API, Asker, definition, person, problem

pytestmark = [pytest.mark.hub, pytest.mark.engine]


# --- environments --------------------------------------------------------------------------------


def test_reading(alice: Asker) -> None:
    answer = alice.get("/environments/tiny")
    assert answer.status_code == 200
    assert answer.headers["ETag"] == '"1"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "application/json"
    environment = answer.json()
    assert environment["title"] == {"fr": "Petit", "en": "Tiny"}
    assert environment["storage"] == {"dedicated": "/data/mine", "global": "/home/user"}
    assert environment["definition"] is None
    assert (environment["may_start"], environment["may_edit"]) == (True, False)


def test_the_list_holds_what_one_may_see(alice: Asker, carol: Asker) -> None:
    seen = alice.get("/environments", params={"limit": 200}).json()
    slugs = {item["slug"] for item in seen["items"]}
    assert {"lab", "tiny"} <= slugs
    assert not {"closed", "draft", "archived"} & slugs
    everything = carol.get("/environments", params={"limit": 200}).json()
    assert {"closed", "draft", "archived"} <= {item["slug"] for item in everything["items"]}
    assert "definition" not in seen["items"][0]


def test_search_and_pages(alice: Asker) -> None:
    found = alice.get("/environments", params={"q": "jupyterlab PYTHON"}).json()
    assert [item["slug"] for item in found["items"]] == ["lab"]
    assert alice.get("/environments", params={"q": "jupyter%python"}).json()["total"] == 0
    first = alice.get("/environments", params={"limit": 1}).json()
    second = alice.get("/environments", params={"limit": 1, "offset": 1}).json()
    assert first["total"] == second["total"] > 1
    assert first["items"][0]["slug"] < second["items"][0]["slug"]


def test_a_student_makes_nothing(alice: Asker, carol: Asker) -> None:
    sent = definition()
    problem(alice.post("/environments", sent), 403, "not-allowed")
    problem(carol.get(f"/environments/{sent['slug']}"), 404, "environment-unknown")


def test_a_teacher_makes_and_owns_what_is_private(bob: Asker, alice: Asker) -> None:
    sent = definition(variables={"A": "1"})
    answer = bob.post("/environments", sent)
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"environments/{sent['slug']}"
    assert answer.json()["definition"]["variables"] == {"A": "1"}
    assert answer.json()["may_edit"]
    problem(bob.post("/environments", sent), 409, "exists-already")
    problem(alice.get(f"/environments/{sent['slug']}"), 404, "environment-unknown")


def test_only_an_administrator_publishes(bob: Asker, carol: Asker, private) -> None:
    slug, etag = private
    details = problem(bob.post("/environments", definition(public=True)), 422, "invalid")
    assert details["errors"][0]["field"] == "public"
    problem(bob.put(f"/environments/{slug}", definition(slug, public=True), etag), 422, "invalid")
    answer = carol.put(f"/environments/{slug}", definition(slug, public=True), etag)
    assert answer.status_code == 200
    # its owner goes on editing what people read, but not what everybody starts
    etag = answer.headers["ETag"]
    for field, value in (
        ("image", "other:1"),
        ("command", "x"),
        ("storage", {"global": "/home/a"}),
    ):
        changed = definition(slug, public=True, **{field: value})
        details = problem(bob.put(f"/environments/{slug}", changed, etag), 422, "invalid")
        assert details["errors"][0]["field"] == field
        assert carol.get(f"/environments/{slug}").headers["ETag"] == etag
    changed = definition(slug, public=True, title="Better")
    assert bob.put(f"/environments/{slug}", changed, etag).status_code == 200


def test_updates(bob: Asker, private) -> None:
    slug, etag = private
    path = f"/environments/{slug}"
    problem(bob.put(path, definition(slug, title="No tag")), 428, "precondition-needed")
    problem(bob.put(path, definition(slug, title="Old"), '"99"'), 412, "changed-meanwhile")
    problem(bob.put(path, definition(slug, title="Any"), "*"), 412, "changed-meanwhile")
    problem(bob.put(path, definition(slug, title="Odd"), "1"), 412, "changed-meanwhile")
    answer = bob.put(path, definition(slug, title="New"), etag)
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')
    problem(bob.put(path, definition(slug, title="Late"), etag), 412, "changed-meanwhile")
    assert bob.get(path).json()["title"]["en"] == "New"
    weak = bob.put(path, definition(slug, title="Newer"), 'W/"2"')
    assert weak.headers["ETag"] == '"3"'


def test_a_name_never_changes(bob: Asker, private) -> None:
    slug, etag = private
    details = problem(bob.put(f"/environments/{slug}", definition("other"), etag), 422, "invalid")
    assert [error["field"] for error in details["errors"]] == ["slug"]


def test_deleting(bob: Asker, alice: Asker, carol: Asker, private) -> None:
    slug, etag = private
    path = f"/environments/{slug}"
    problem(alice.delete(path, etag), 403, "not-allowed")
    problem(alice.delete("/environments/tiny", '"1"'), 403, "not-allowed")
    problem(bob.delete(path), 428, "precondition-needed")
    problem(bob.delete(path, '"7"'), 412, "changed-meanwhile")
    answer = bob.delete(path, etag)
    assert (answer.status_code, answer.content) == (204, b"")
    problem(carol.get(path), 404, "environment-unknown")


def test_what_is_not_ones_own_does_not_exist(alice: Asker, bob: Asker, carol: Asker) -> None:
    """Whatever is tried: the same answer as for a name that nobody has."""
    sent = definition()
    etag = carol.post("/environments", sent).headers["ETag"]

    def answers(asker: Asker, slug: str) -> list[tuple[int, str]]:
        path = f"/environments/{slug}"
        tried = [
            asker.get(path),
            asker.delete(f"/me{path}"),
            asker.put(path, {**sent, "slug": slug}, etag),
            asker.delete(path, etag),
            asker.get(f"{path}/join-links"),
            asker.post(f"{path}/join-links", {}),
            asker.delete(f"{path}/join-links/KeyKeyKeyKeyKeyKeyKe"),
        ]
        return [(answer.status_code, answer.text.replace(slug, "…")) for answer in tried]

    for asker, refused in ((bob, 404), (alice, 403)):  # what is for teachers is no student's
        found = answers(asker, sent["slug"])
        assert found == answers(asker, "no-such-thing")
        assert [status for status, _ in found] == [404, 404, *[refused] * 5]


def test_how_it_is_made_is_for_its_makers(bob: Asker, carol: Asker, alice: Asker, the_hub) -> None:
    sent = definition(command="sh -c 'echo TOPSECRET'", variables={"LICENCE": "TOPSECRET"})
    answer = bob.post("/environments", sent)
    path = f"/environments/{sent['slug']}"
    for maker in (bob, carol):
        assert maker.get(path).json()["definition"]["variables"] == {"LICENCE": "TOPSECRET"}
    key = bob.post(f"{path}/join-links", {}).json()["key"]
    joined = the_hub.post(f"/join-links/{key}/join", {"person": person("alice")})
    assert joined.json()["new"] is True
    for answer in (
        alice.get(path),
        alice.get("/environments", params={"limit": 200}),
        alice.get("/me/environments"),
        the_hub.post("/choices", {"person": person("alice")}),
        joined,
    ):
        assert sent["slug"] in answer.text
        assert "TOPSECRET" not in answer.text
        assert "mydocker-test/busybox" not in answer.text
        assert key not in answer.text
    # alice now sees it, and may do nothing but use it
    problem(alice.put(path, sent, '"1"'), 403, "not-allowed")
    problem(alice.delete(path, '"1"'), 403, "not-allowed")
    problem(alice.get(f"{path}/join-links"), 403, "not-allowed")
    # she leaves, and it is gone for her
    assert alice.delete(f"/me{path}").status_code == 204
    problem(alice.get(path), 404, "environment-unknown")


# --- join links ----------------------------------------------------------------------------------


def test_join_links(bob: Asker, alice: Asker, carol: Asker, the_hub: Asker, private) -> None:
    slug, _ = private
    path = f"/environments/{slug}/join-links"
    ends = "2030-01-31T12:00:00+01:00"
    made = bob.post(path, {"label": "Group 1", "expires_at": ends})
    assert made.status_code == 201
    key = made.json()["key"]
    assert carol.get(path).json()["items"] == [made.json()]
    for forbidden in (alice.get(path), alice.post(path, {}), alice.delete(f"{path}/{key}")):
        problem(forbidden, 403, "not-allowed")
    look = the_hub.post(f"/join-links/{key}/look", {"person": person("dave")})
    assert (look.json()["environment"], look.json()["new"]) == (slug, True)
    assert bob.delete(f"{path}/{key}").status_code == 204
    assert bob.delete(f"{path}/{key}").status_code == 204
    for verb in ("look", "join"):
        answer = the_hub.post(f"/join-links/{key}/{verb}", {"person": person("dave")})
        problem(answer, 410, "join-link-revoked")
    problem(bob.delete(f"{path}/NoSuchKeyNoSuchKeyNo"), 404, "join-link-unknown")
    problem(bob.delete(f"{path}/x"), 404, "not-found")


@pytest.mark.parametrize(
    "wrong",
    [
        {"label": "two\nlines"},
        {"label": "x" * 201},
        {"label": "nul\x00"},
        {"expires_at": "2030-01-31"},
        {"expires_at": "2030-01-31T12:00:00"},
        {"expires_at": 1},
        {"expires_at": "0001-01-01T00:00:00+14:00"},
        {"expires_at": "9999-12-31T23:59:59-12:00"},
        {"key": "ChosenByMyselfChosen"},
        {"revoked": True},
        [],
        None,
    ],
)
def test_join_links_that_cannot_be(bob: Asker, private, wrong) -> None:
    answer = bob.post(f"/environments/{private[0]}/join-links", data=json.dumps(wrong))
    problem(answer, 422, "invalid")
    assert bob.get(f"/environments/{private[0]}/join-links").json()["items"] == []


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        ("RevokedRevokedRevoke", 410, "join-link-revoked"),
        ("ExpiredExpiredExpire", 410, "join-link-expired"),
        ("DraftDraftDraftDraft", 403, "environment-draft"),
        ("ArchivedArchivedArch", 403, "environment-archived"),
        ("NoSuchKeyNoSuchKeyNo", 404, "join-link-unknown"),
        ("tinytinytinytinytiny", 404, "join-link-unknown"),
        ("..", 404, "not-found"),
        ("%00", 404, "not-found"),
        ("a%2Fb", 404, "not-found"),
    ],
)
def test_links_that_lead_nowhere(the_hub: Asker, key, status, code) -> None:
    answer = the_hub.post(f"/join-links/{key}/join", {"person": person("dave")})
    details = problem(answer, status, code)
    assert "_" not in details["detail"]  # a sentence, with its parameters filled in


# --- compute types -------------------------------------------------------------------------------


def test_compute_types(alice: Asker, bob: Asker, carol: Asker) -> None:
    gpu = {"slug": "test-gpu", "title": "GPU"}
    problem(alice.get("/compute-types"), 403, "not-allowed")
    assert "default" in [item["slug"] for item in bob.get("/compute-types").json()["items"]]
    for student_or_teacher in (alice, bob):
        problem(student_or_teacher.put("/compute-types/test-gpu", gpu), 403, "not-allowed")
        problem(student_or_teacher.delete("/compute-types/default"), 403, "not-allowed")
    assert carol.put("/compute-types/test-gpu", gpu).status_code == 200
    problem(carol.put("/compute-types/other", gpu), 422, "invalid")
    sent = definition(resources={"compute_type": "test-gpu"})
    assert bob.post("/environments", sent).status_code == 201
    problem(carol.delete("/compute-types/test-gpu"), 409, "still-used")
    assert bob.delete(f"/environments/{sent['slug']}", '"1"').status_code == 204
    assert carol.delete("/compute-types/test-gpu").status_code == 204
    problem(carol.delete("/compute-types/default"), 403, "not-allowed")
    wrong = definition(resources={"compute_type": "test-gpu"})
    details = problem(bob.post("/environments", wrong), 422, "invalid")
    assert details["errors"][0]["field"] == "resources.compute_type"


# --- who asks ------------------------------------------------------------------------------------

HUB_ONLY = [
    ("POST", "/launches", {"person": person("alice"), "environment": "tiny", "server": "tiny",
                           "base_url": "/user/alice/tiny/"}),
    ("POST", "/launches/1/ready", None),
    ("POST", "/launches/1/notice", {"code": "memory-limit"}),
    ("POST", "/launches/1/ended", {"code": "node-lost"}),
    ("POST", "/join-links/TinyTinyTinyTinyTiny/look", {"person": person("alice")}),
    ("POST", "/join-links/TinyTinyTinyTinyTiny/join", {"person": person("alice")}),
    ("POST", "/choices", {"person": person("alice")}),
    ("PUT", "/folders/mydocker-home-x", {"user": "alice"}),
    ("POST", "/sign-ins", {}),
    ("POST", "/sign-ins/look", {}),
    ("POST", "/people/join", {"keep": "alice", "close": "bob"}),
    ("POST", "/standings", {"after": ""}),
    ("POST", "/refusals", {"code": "sign-in-failed", "reference": "00000000"}),
    ("POST", "/platforms/find", {"version": "1.3", "issuer": "x", "client_id": ""}),
    ("POST", "/deep-links", {}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), HUB_ONLY)
def test_only_the_hub_asks_for_the_hub(hub, alice, carol, nobody, method, path, body) -> None:
    secret = (hub.state / "catalogue_secret").read_text()
    wrong = [secret[:-1], secret + "x", secret.swapcase(), "", " ", "é", "\xff"]
    askers = [alice, carol, nobody, *(Asker(hub.url, token) for token in wrong if token)]
    for asker in askers:
        problem(asker(method, path, json=body), 401, "sign-in-needed")
    for header in (f"Basic {secret}", secret, "Bearer", "Bearer ", f"token {secret}"):
        answer = nobody(method, path, json=body, headers={"Authorization": header})
        problem(answer, 401, "sign-in-needed")


def test_every_hub_only_operation_is_tested(nobody: Asker) -> None:
    document = nobody.get("/openapi.json").json()
    hub_only = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation["security"] == [{"hub": []}]
    }
    assert len(hub_only) == len(HUB_ONLY)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/environments"),
        ("POST", "/environments"),
        ("GET", "/environments/tiny"),
        ("PUT", "/environments/tiny"),
        ("DELETE", "/environments/tiny"),
        ("GET", "/environments/tiny/join-links"),
        ("GET", "/me/environments"),
        ("DELETE", "/me/environments/tiny"),
        ("GET", "/compute-types"),
        ("PUT", "/compute-types/x"),
    ],
)
def test_the_hubs_secret_is_nobodys_token(the_hub: Asker, nobody: Asker, method, path) -> None:
    for asker in (the_hub, nobody):
        problem(asker(method, path, json={}), 401, "sign-in-needed")


def test_a_token_that_may_do_less(hub: RunningHub) -> None:
    """A token of carol's without access to the service is not carol for the service."""
    with hub.signed_in("carol") as carol:
        answer = carol.api("POST", "/users/carol/tokens", json={"scopes": ["read:users!user"]})
        weak = Asker(hub.url, answer.json()["token"])
        problem(weak.get("/environments"), 403, "not-allowed")
        answer = carol.api(
            "POST",
            "/users/carol/tokens",
            json={"scopes": ["access:services!service=catalogue", "read:users:name!user"]},
        )
        assert Asker(hub.url, answer.json()["token"]).get("/environments").status_code == 200


def test_a_person_is_who_their_token_says(alice: Asker) -> None:
    for query in ("?user=carol", "?person=carol"):
        answer = alice.get(f"/environments{query}")
        problem(answer, 422, "invalid")


def test_a_cookie_is_enough_only_with_the_pages_token(hub: RunningHub) -> None:
    with hub.signed_in("bob") as bob:
        bob.get("/services/catalogue/")
        sent = definition()
        url = f"{hub.url}{API}/environments"
        for headers in ({}, {"X-XSRFToken": "x"}, {"Sec-Fetch-Mode": "cors"}):
            answer = bob.session.post(url, json=sent, headers=headers, timeout=30)
            problem(answer, 401, "sign-in-needed")
        assert sent["slug"] not in bob.get(f"{API}/environments?limit=200").text


# --- launches ------------------------------------------------------------------------------------


def launch(the_hub: Asker, name: str = "erin", **changes):
    body = {
        "person": person(name),
        "environment": "tiny",
        "server": "tiny",
        "base_url": f"/user/{name}/tiny/",
        **changes,
    }
    return the_hub.post("/launches", body)


def test_launch(the_hub: Asker, hub: RunningHub) -> None:
    plan = launch(the_hub).json()
    assert plan["resources"]["cpu_limit"] == 0.5
    assert plan["variables"]["OMP_NUM_THREADS"] == "1"
    assert {folder["path"] for folder in plan["folders"]} == {"/data/mine", "/home/user"}
    assert plan["secret"] is None  # the command does not ask for it
    launch_id = plan["launch_id"]
    for path, body in (
        ("ready", None),
        ("notice", {"code": "memory-limit"}),
        ("ended", {"code": "out-of-memory", "params": {"memory": 64_000_000}}),
    ):
        answer = the_hub.post(f"/launches/{launch_id}/{path}", body)
        assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"environment": "nothing"}, 404, "environment-unknown"),
        ({"environment": "closed", "server": "closed"}, 404, "environment-unknown"),
        ({"environment": "draft", "server": "draft"}, 404, "environment-unknown"),
        ({"server": "other"}, 409, "server-name"),
        ({"environment": "'; --"}, 404, "environment-unknown"),
        ({"environment": ""}, 422, "invalid"),
        ({"environment": "tiny\x00"}, 422, "invalid"),
        ({"environment": "\ud800"}, 422, "invalid"),
        ({"base_url": "http://elsewhere/"}, 422, "invalid"),
        ({"person": {"name": ""}}, 422, "invalid"),
        ({"person": {"name": "x" * 256}}, 422, "invalid"),
        ({"person": {"name": "nul\x00"}}, 422, "invalid"),
        ({"person": {"name": "\udfff"}}, 422, "invalid"),
        ({"person": {"name": "a", "display_name": "\ud800"}}, 422, "invalid"),
        ({"person": {"name": "a", "roles": ["root"]}}, 422, "invalid"),
        ({"person": {"name": "a", "admin": True}}, 422, "invalid"),
        ({"image": "evil"}, 422, "invalid"),
    ],
)
def test_launches_that_are_refused(the_hub: Asker, changes, status, code) -> None:
    problem(launch(the_hub, **changes), status, code)


@pytest.mark.parametrize(
    "params",
    [
        '{"memory": NaN}',
        '{"memory": 1e999}',
        '{"memory": -Infinity}',
        '{"code": "x"}',
        '{"log_detail": "x"}',
        '{"text": "\\ud800"}',
        '{"text": "\\u0000"}',
        '{"text": {"fr": "a", "en": "\\ud800"}}',
        '{"text": [[]]}',
        '{"text": {"deep": {"er": 1}}}',
        '{"": 1}',
    ],
)
def test_ends_that_could_not_be_shown(the_hub: Asker, params) -> None:
    launch_id = launch(the_hub).json()["launch_id"]
    body = f'{{"code": "out-of-memory", "params": {params}}}'
    answer = the_hub.post(f"/launches/{launch_id}/ended", data=body)
    assert answer.status_code in {400, 422}, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_folders(the_hub: Asker) -> None:
    volume = next(
        folder["volume"]
        for folder in launch(the_hub, "frank").json()["folders"]
        if folder["kind"] == "global"
    )
    sent = {"user": "frank", "node": "abc123"}
    assert the_hub.put(f"/folders/{volume}", sent).status_code == 204
    assert the_hub.put(f"/folders/{volume}", {**sent, "node": "late"}).status_code == 204
    plan = launch(the_hub, "frank").json()
    assert plan["constraints"] == ["node.id==abc123"]
    problem(the_hub.put("/folders/UPPER", sent), 404, "not-found")
    problem(the_hub.put(f"/folders/{volume}", {"user": "frank", "node": "=="}), 422, "invalid")


# --- bad input -----------------------------------------------------------------------------------


def test_methods_that_are_not_there(carol: Asker, nobody: Asker) -> None:
    for asker in (carol, nobody):
        answer = asker("PATCH", "/environments/tiny")
        problem(answer, 405, "method-not-allowed")
        assert answer.headers["Allow"] == "DELETE, GET, PUT"
    assert carol("POST", "/me/environments").headers["Allow"] == "GET"


@pytest.mark.parametrize("path", ["/", "/nothing", "/environments/", "/environments/a/b/c", "//"])
def test_addresses_that_are_not_there(carol: Asker, path) -> None:
    problem(carol.get(path), 404, "not-found")


@pytest.mark.parametrize("slug", ["UPPER", "a_b", "-a", "a" * 31, "%00", "%ff", "..", "é", "a%0a"])
def test_names_that_cannot_be(carol: Asker, direct: str, slug) -> None:
    answer = Asker(direct, carol.token).get(f"/environments/{slug}")
    assert answer.status_code in {400, 404}, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("q=a&q=b", 422),
        ("q=%ff", 422),
        ("q=%00", 422),
        ("q=%ed%a0%80", 422),
        ("q=" + "x" * 201, 422),
        ("tag=UPPER", 422),
        ("tag=%25", 422),
        ("status=none", 422),
        ("limit=0", 422),
        ("limit=201", 422),
        ("limit=NaN", 422),
        ("limit=1e2", 422),
        ("offset=-1", 422),
        ("offset=99999999999999999999", 422),
        ("offset=1000000", 200),
        ("unknown=1", 422),
        ("q[]=1", 422),
        ("%ff=1", 422),
        ("q=", 200),
        ("&&", 200),
    ],
)
def test_queries(alice: Asker, query, status) -> None:
    answer = alice.get(f"/environments?{query}")
    assert answer.status_code == status, answer.text
    if status == 422:
        assert problem(answer, 422, "invalid")["errors"][0]["field"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "not-json"),
        (b"{", 400, "not-json"),
        (b"\xff\xfe", 400, "not-json"),
        (b'{"slug": "\xff"}', 400, "not-json"),
        (b'{"slug": NaN}', 400, "not-json"),
        (b"[" * 100_000, 400, "not-json"),
        (b"[" * 900 + b"]" * 900, 422, "invalid"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, "not-json"),
        (b"9" * 10_000, 400, "not-json"),
        (b"null", 422, "invalid"),
        (b"[]", 422, "invalid"),
        (b'"text"', 422, "invalid"),
        (b"{}", 422, "invalid"),
        (b'{"\\ud800": 1}', 422, "invalid"),
        (b'{"slug": "\\ud800"}', 422, "invalid"),
        (b'{"image": "\\ud800:1"}', 422, "invalid"),
        (b'{"variables": {"\\ud800": "x"}}', 422, "invalid"),
        (b'{"command": "\\ud800\\u0000"}', 422, "invalid"),
        (b'{"slug": "\\u0000"}', 422, "invalid"),
        (b'{"resources": {"cpu_limit": 1e999}}', 422, "invalid"),
        (b'{"resources": {"memory_bytes": 1e308}}', 422, "invalid"),
        (b'{"lifetime": {"idle_limit": 1}}', 422, "invalid"),
    ],
)
def test_bodies(bob: Asker, body, status, code) -> None:
    problem(bob.post("/environments", data=body), status, code)


def test_every_fault_is_named(bob: Asker) -> None:
    wrong = definition(image="a b", interfaces=[], storage={"global": "/"}, colour="red")
    wrong["interfaces"] = [{"name": "web", "title": "Web", "port": 0}]
    details = problem(bob.post("/environments", wrong), 422, "invalid")
    fields = {error["field"] for error in details["errors"]}
    assert {"image", "interfaces.0.port", "storage.global", "colour"} <= fields
    assert all(error["message"] for error in details["errors"])


def test_hostile_texts_come_back_as_they_are(bob: Asker) -> None:
    title = "<script>alert(1)</script> '; DROP TABLE people; -- {{7*7}} ${x} \u202e"
    sent = definition(title=title)
    assert bob.post("/environments", sent).status_code == 201
    answer = bob.get(f"/environments/{sent['slug']}")
    assert answer.json()["title"] == {"fr": title, "en": title}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_large_bodies(bob: Asker, nobody: Asker) -> None:
    body = json.dumps(definition(title="x" * 2_000_000))
    details = problem(bob.post("/environments", data=body), 413, "too-large")
    assert "MB" in details["detail"]
    problem(nobody.post("/choices", data=body), 413, "too-large")


def test_very_large_bodies_are_not_read(direct: str, bob: Asker) -> None:
    """50 MB: the connection is cut; what is announced is not waited for."""
    where = urlsplit(direct)
    with socket.create_connection((where.hostname, where.port), timeout=20) as connection:
        connection.sendall(
            f"POST {API}/environments HTTP/1.1\r\nHost: {where.netloc}\r\n"
            f"Authorization: Bearer {bob.token}\r\nContent-Length: 50000000\r\n\r\n".encode()
        )
        started = time.monotonic()
        answer = connection.recv(1000)
        assert time.monotonic() - started < 10
    assert answer.split(b" ", 2)[1] in {b"400", b"413"}
    assert bob.get("/environments/tiny").status_code == 200


def test_sentences_come_in_the_language_that_is_asked_for(nobody: Asker) -> None:
    for language, word in (("fr", "Connectez"), ("en", "Sign in"), ("de,en;q=0.5", "Sign in")):
        answer = nobody.get("/environments", headers={"Accept-Language": language})
        assert word in answer.json()["detail"]
        assert answer.headers["Content-Language"] == ("fr" if language == "fr" else "en")


def test_the_log_holds_no_key_and_no_secret(hub: RunningHub, the_hub: Asker, bob: Asker) -> None:
    the_hub.post("/join-links/ClosedClosedClosedCl/join", {"person": person("gil")})
    bob.get("/environments", params={"q": "someone-looks-for-this"})
    log = hub.log()
    service = [line for line in log.splitlines() if "/services/catalogue/api" in line]
    assert any("join-links/…" in line for line in service)
    assert "ClosedClosedClosedCl" not in log
    assert (hub.state / "catalogue_secret").read_text() not in log
    assert bob.token not in log
