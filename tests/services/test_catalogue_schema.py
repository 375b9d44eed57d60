"""The REST API does what its OpenAPI document says, whatever is sent (schemathesis)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from mydocker_hub.identity.platform import Platform
from mydocker_hub.services.catalogue.app import document
from mydocker_hub.store import platforms
from tests.hub import RunningHub, in_database

from .conftest import API, Asker, definition, federation_sign_in, person
from .lti import seal_of

pytestmark = [pytest.mark.hub, pytest.mark.engine]

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]
# Any bytes are right for these; what they are told is in test_images_api.py.
UPLOADS = {("PUT", "/images/{slug}/files"), ("POST", "/images/{slug}/files/zip")}
OPERATIONS = sorted(
    (path, method.upper(), operation["security"][0])
    for path, methods in document("/services/catalogue/")["paths"].items()
    for method, operation in methods.items()
)
CALLS = [
    pytest.param(path, method, who, id=f"{method}-{path}-{who}")
    for path, method, security in OPERATIONS
    for who in (["the_hub"] if "hub" in security else ["alice", "bob", "carol"])
    if (method, path) not in UPLOADS
]
EXAMPLES = 30
OF_THE_BUILDER = "/image-facts"
"""Answered with 503 here, as the document says: tests' hubs have no builder."""
RECIPE = {"title": "Of schemathesis", "base": "example.org/base:1"}
SESSION = {"starts": "2027-01-25T08:30:00", "duration": "PT4H", "expected": 20}
SERIES = {**SESSION, "starts": "2027-01-18T08:30:00", "rule": "FREQ=WEEKLY;COUNT=4"}
SENSIBLE: dict[str, dict[str, Any]] = {
    "/packages": {"slug": "schemathesis-3", "packages": ["numpy"]},
    "/images": {"slug": "schemathesis-4", "recipe": RECIPE},
    "/images/{slug}": RECIPE,
    "/public": {"public": True},
    "/use": {"environment": "schemathesis", "expected_version": 1},
    "/duplicate": {"slug": "schemathesis-2", "title": "Of schemathesis"},
    "/restore": {"expected_version": 1},
    "/transfer": {"to": "carol", "keep": "own"},
    "/rights/{user}": {"right": "view"},
    "/secrets/{variable}": {"value": "x"},
    "/environments/{slug}/requests": {"kind": "publish", "message": "Please"},
    "/requests/{request_id}": {"accepted": False, "text": "No"},
    "/environments/{slug}/sessions": SESSION,
    "/sessions/copy": {"sessions": [1], "first": "2028-01-17"},
    "/sessions/{session_id}": SERIES,
    "/occurrences/{instant}": SESSION,
    "/occurrences/{instant}/following": {**SESSION, "rule": "FREQ=WEEKLY;COUNT=3"},
    "/decision": {"approved": False, "reason": "No"},
    "/server/protection": {"minutes": 60},
}
NAMES_SOMETHING_NEW = {
    "/environments",
    "/environments/{slug}/duplicate",
    "/environments/{slug}/packages",
    "/images",
}
# Of servers and of builds that are done there are none here: test_workshop_api, test_lifetime_api,
# test_images_api.
NOT_DONE_HERE = (
    "/environments/{slug}/servers/{user}",
    "/me/environments/{slug}/server",
    "/images/{slug}/builds/{number}/use",
)


def test_every_schema_is_one(nobody: Asker) -> None:
    served = nobody.get("/openapi.json").json()
    assert served == document("/services/catalogue/")
    assert served["openapi"] == "3.1.0"
    for schema in served["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    operations = [item for methods in served["paths"].values() for item in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"].endswith(".")
        for status, response in operation["responses"].items():
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"]


@pytest.fixture(scope="module")
def schema(hub: RunningHub) -> schemathesis.schemas.BaseSchema:
    return schemathesis.openapi.from_url(f"{hub.url}{API}/openapi.json")


def sensible(path: str, method: str) -> dict[str, Any]:
    """A body that is accepted, of which examples change a part."""
    if path.startswith("/environments") and path.endswith("join-links"):
        return {"label": "Group"}
    for ending, body in SENSIBLE.items():
        if path.endswith(ending):
            return dict(body)
    if path.startswith("/environments"):
        return definition("schemathesis", title="Of schemathesis")
    if path.startswith("/compute-types"):
        return {"slug": "schemathesis", "title": "Of schemathesis"}
    if path == "/launches":
        return {
            "person": person("heidi"),
            "environment": "tiny",
            "server": "tiny",
            "base_url": "/user/heidi/tiny/",
        }
    if path.startswith("/folders"):
        return {"user": "heidi", "node": "abc"}
    if path.startswith("/launches"):
        return {"code": "node-lost"}
    if path.startswith("/sign-ins"):
        return federation_sign_in("schemathesis")
    if path == "/standings":
        return {"after": ""}
    if path == "/refusals":
        return {"code": "internal", "reference": "0123abcd"}
    return {"person": person("heidi")}


def choice_at_a_platform(hub: RunningHub) -> dict[str, Any]:
    """A deep linking request of an LTI platform, which is known then."""
    issuer = "https://schemathesis.example"
    known = {"version": "1.3", "issuer": issuer, "client_id": "c"}
    found = in_database(hub, platforms.find, **known, seal=seal_of(hub))
    if found:
        platform = found[0].platform
    else:
        urls = dict.fromkeys(("authorization_url", "jwks_url"), f"{issuer}/lti")
        new = Platform.model_validate({**known, **urls, "name": "Of schemathesis"})
        now = datetime.now(UTC)
        kept = in_database(hub, platforms.create, new, "carol", now, seal=seal_of(hub))
        platform = kept.platform
    request = {"platform": platform.id, "return_url": f"{issuer}/return"}
    return {"user": "bob", "request": request}


@pytest.mark.parametrize(("path", "method", "who"), CALLS)
def test_operations(
    request: pytest.FixtureRequest,
    schema: schemathesis.schemas.BaseSchema,
    bob: Asker,
    carol: Asker,
    the_hub: Asker,
    path: str,
    method: str,
    who: str,
) -> None:
    operation = schema[path][method]
    asker: Asker = request.getfixturevalue(who)
    session = requests.Session()
    # schemathesis also leaves it out now and then, to see that it is asked for
    session.headers["Authorization"] = f"Bearer {asker.token}"
    bob.post("/environments", definition("schemathesis"))  # 409 from the second time on
    key = bob.post("/environments/schemathesis/join-links", {}).json()["key"]
    known = {
        "slug": "schemathesis",
        "key": key,
        "launch_id": "1",
        "volume": "mydocker-home-x",
        "version": "1",
        "variable": "TOKEN",
        "user": "carol",
        "request_id": "1",
        "number": "1",
        "session_id": "1",
        "instant": "20270125T073000Z",
    }
    seen: Counter[int] = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        mode = data.draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
        case = data.draw(operation.as_strategy(generation_mode=mode))
        if mode is GenerationMode.POSITIVE:
            near_the_truth(data, case)
        # A parameter with an empty list, or with nothing, is not sent: nobody can refuse it.
        assume(all(value not in (None, [], {}) for value in (case.query or {}).values()))
        answer = case.call(session=session, timeout=20)
        seen[answer.status_code] += 1
        left_out = [not_a_server_error] if path == OF_THE_BUILDER else []
        case.validate_response(answer, checks=[one for one in CHECKS if one not in left_out])

    def near_the_truth(data: st.DataObject, case: schemathesis.Case) -> None:
        """Half of the examples name what exists, and change at most one field of a good body.

        Hypothesis begins with the simplest choices, which are a good body as it is: that there
        is one does not depend on what is drawn.
        """
        if data.draw(st.booleans()):
            return
        if method == "DELETE" and path == "/environments/{slug}":
            made = definition()
            bob.post("/environments", made)
            known["slug"] = made["slug"]
        elif method == "DELETE" and path.startswith("/compute-types"):
            carol.put("/compute-types/schemathesis", sensible(path, method))
        elif path == "/people/join":
            names = [the_hub.post("/sign-ins", federation_sign_in()).json()["name"] for _ in "12"]
            case.body = dict(zip(("keep", "close"), names, strict=True))
            return
        elif path == "/deep-links":
            case.body = choice_at_a_platform(request.getfixturevalue("hub"))
            return
        elif path.startswith("/sessions/") or path.endswith("/sessions/copy"):
            make_session_ready()
        elif path.startswith(("/environments/{slug}/", "/requests")):
            make_ready()
        elif path.startswith("/images/{slug}"):
            make_image_ready()
            if case.query and "path" in case.query:
                case.query["path"] = "a.txt"
        elif method == "DELETE" and path.startswith("/me"):
            the_hub.post(f"/join-links/{key}/join", {"person": person(who)})
        for name in case.path_parameters or {}:
            case.path_parameters[name] = known[name]
        if isinstance(case.body, dict):
            body = sensible(path, method)
            if method == "POST" and path in NAMES_SOMETHING_NEW:
                body["slug"] = definition()["slug"]  # one that is free
            if path.endswith("/restore"):
                body["expected_version"] = int(etag().strip('"'))
            if path.endswith("/sessions/copy"):
                body["sessions"] = [int(known["session_id"])]
            changed = data.draw(st.none() | st.sampled_from(sorted(case.body) or [None]))
            if changed and (changed != "slug" or path not in NAMES_SOMETHING_NEW):
                body[changed] = case.body[changed]
            case.body = body
        if "If-Match" in (case.headers or {}):
            case.headers["If-Match"] = etag()

    def make_ready() -> None:
        """Take back what the example before may have done; there is something to answer."""
        at = "/environments/schemathesis"
        if path.endswith(("/transfer", "/rights/{user}")):
            carol.put(f"{at}/rights/bob", {"right": "own"})
            carol.delete(f"{at}/rights/carol")
            if method == "DELETE":
                carol.put(f"{at}/rights/carol", {"right": "view"})
        elif method == "DELETE" and "/secrets/" in path:
            carol.put(f"{at}/secrets/TOKEN", {"value": "x"})
        elif "/requests" in path:
            carol.put(at, definition("schemathesis"), etag())
            if path == "/requests/{request_id}":
                asked = bob.post(f"{at}/requests", {"kind": "publish"})
                known["request_id"] = str(asked.json()["id"])

    def make_session_ready() -> None:
        """A series of a term; one that waits, for who decides: what needs a GPU does so."""
        slug = "schemathesis"
        if path.endswith("/decision"):
            slug = "schemathesis-gpu"
            gpu = {"slug": "schemathesis-gpu", "title": "GPU", "needs_approval": True}
            carol.put("/compute-types/schemathesis-gpu", gpu)
            resources = {"compute_type": "schemathesis-gpu"}
            bob.post("/environments", definition(slug, resources=resources))
        booked = bob.post(f"/environments/{slug}/sessions", SERIES)
        known["session_id"] = str(booked.json()["id"])

    def make_image_ready() -> None:
        """An image with a file, a colleague and a build that waits."""
        known["slug"] = "schemathesis"
        if method == "DELETE" and path == "/images/{slug}":
            known["slug"] = definition()["slug"]
        at = f"/images/{known['slug']}"
        bob.post("/images", {"slug": known["slug"], "recipe": RECIPE})
        bob("PUT", f"{at}/files", params={"path": "a.txt"}, data=b"a")
        if path.endswith("/rights/{user}"):
            bob.put(f"{at}/rights/carol", {"right": "edit"})
        bob.post(f"{at}/builds")
        known["number"] = str(bob.get(f"{at}/builds").json()["items"][0]["number"])
        if method == "POST" and path.endswith("/builds"):
            bob.post(f"{at}/builds/{known['number']}/cancel")

    def etag() -> str:
        if path.startswith("/sessions/"):
            return bob.get(f"/sessions/{known['session_id']}").headers.get("ETag", '"1"')
        if path.startswith("/images"):
            return bob.get(f"/images/{known['slug']}").headers.get("ETag", '"1"')
        return bob.get(f"/environments/{known['slug']}").headers.get("ETag", '"1"')

    run()
    if path.startswith(NOT_DONE_HERE) or path == OF_THE_BUILDER:
        return
    if who in {"carol", "the_hub"}:  # who may do it: it was done at least once
        assert any(status < 300 for status in seen), seen
