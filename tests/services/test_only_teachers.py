"""What students may use is a list: every other page and operation refuses them, route by route.

The routes come from the tables that the service itself is made of. Whoever adds one that is for
students too writes it down here; whoever forgets to guard one is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from tornado.web import RequestHandler

from mydocker_hub.services.catalogue.app import OPERATIONS, ROUTES
from mydocker_hub.web.operations import Operation
from tests.hub import RunningHub, Visitor, text_of

from .conftest import API, Asker, definition, problem

pytestmark = [pytest.mark.hub, pytest.mark.engine]

# Operations and pages (with their methods) that a student may ask for. What they see there is
# theirs, or public.
OPERATIONS_OF_STUDENTS = {
    "listEnvironments",
    "getEnvironment",
    "listMyEnvironments",
    "leaveEnvironment",
    # how long their own servers go on
    "getServerTime",
    "extendServer",
    "protectServer",
    "unprotectServer",
    # the calendar of what they use
    "listSessions",
    "getSession",
    "listSessionsOfEnvironment",
}
PAGES_OF_STUDENTS = {
    "",
    "states",
    "environments",
    "environments/SLUG",
    "open/SLUG",
    "start/SLUG",
    "stop/SLUG",
    "leave/SLUG",
    "extend/SLUG",
    "protect/SLUG",
    "warnings",
    "account",
    # the calendar of what they use, and its secret addresses
    "calendar",
    "calendar/events",
    "calendar/feeds",
    "calendar/sessions/NUMBER",
    "feeds/KEY.ics",
    # a course's page is for its own teachers, whatever their role is elsewhere
    "courses",
    "courses/NUMBER",
    # these go by a key in the address
    "lti/jwks.json",
    "lti/register/KEY",
    "lti/choose/KEY",
}
FORMS_ALONE = {"trial/SLUG", "trial/build/NUMBER"}
"""These take a form. To who opens them by their address they show nothing but the dashboard."""

SILENT = {"workshop/images/SLUG/builds/NUMBER/log"}
"""Streams of events, for scripts: their status says it all."""

PREFIX = "/services/catalogue/"

# --- the REST API --------------------------------------------------------------------------------

VALUES = {
    "key": "A" * 20,
    "launch_id": "1",
    "version": "1",
    "number": "1",
    "variable": "LICENCE",
    "request_id": "1",
    "user": "bob",
    "volume": "mydocker-home-x",
    "session_id": "1",
    "instant": "20270125T073000Z",
}
RECIPE = {"title": "Test", "base": "mydocker-test/busybox:1"}
SESSION = {"starts": "2027-01-18T08:30:00", "duration": "PT4H", "expected": 20}
BODIES: dict[str, Any] = {
    "createEnvironment": definition(),
    "replaceEnvironment": definition("nothing-here"),
    "addJoinLink": {},
    "putComputeType": {"slug": "nothing-here", "title": "Test"},
    **dict.fromkeys(("bookSession", "changeSession", "changeOccurrence"), SESSION),
}
"""What is sent to operations that ask for something: it is valid, and still refused."""


def of_people() -> list[Operation]:
    return [operation for operation in OPERATIONS if operation.caller == "person"]


def of_teachers() -> list[Any]:
    return [
        pytest.param(operation, id=f"{operation.method} {operation.path}")
        for operation in of_people()
        if operation.name not in OPERATIONS_OF_STUDENTS
    ]


def body_of(operation: Operation) -> Any:
    """Something valid to send."""
    if operation.body is None:
        return None
    return BODIES.get(operation.name) or example(operation.body.model_json_schema())


def example(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """The least that a JSON schema asks for; patterns are tried with a few words."""
    root = root or schema
    if "$ref" in schema:
        return example(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return example(schema[choice][0], root)
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    match schema.get("type"):
        case "object":
            needed = schema.get("required", [])
            return {name: example(schema["properties"][name], root) for name in needed}
        case "array":
            return [example(schema["items"], root)] * schema.get("minItems", 0)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
    pattern = schema.get("pattern", "")
    words = ("bob", "numpy", "view", "A" * 20, "Because it is needed for a class.")
    return next(word for word in words if re.search(pattern, word))


def path_of(operation: Operation, slug: str) -> str:
    return operation.path.format(**VALUES | {"slug": slug})


def ask(asker: Asker, operation: Operation, slug: str) -> requests.Response:
    query = operation.query.model_json_schema() if operation.query else {}
    needed = {name: example(query["properties"][name], query) for name in query.get("required", [])}
    return asker(
        operation.method,
        path_of(operation, slug),
        json=body_of(operation),
        params=needed,
        headers={"If-Match": '"1"'},
    )


@pytest.mark.parametrize("operation", of_teachers())
def test_operations_refuse_students(alice: Asker, operation: Operation, private: Any) -> None:
    """Before anything is looked up: what is not there is refused like what is."""
    for slug in ("tiny", "nothing-here", private[0]):
        problem(ask(alice, operation, slug), 403, "not-allowed")


@pytest.mark.parametrize("operation", of_people(), ids=lambda o: f"{o.method} {o.path}")
def test_operations_refuse_strangers(nobody: Asker, operation: Operation) -> None:
    problem(ask(nobody, operation, "tiny"), 401, "sign-in-needed")
    with_a_guess = Asker(nobody.url, "0" * 32)
    problem(ask(with_a_guess, operation, "tiny"), 401, "sign-in-needed")


@pytest.mark.parametrize(
    "operation",
    [operation for operation in OPERATIONS if operation.caller == "hub"],
    ids=lambda o: f"{o.method} {o.path}",
)
def test_operations_of_the_hub_refuse_people(carol: Asker, operation: Operation) -> None:
    answer = carol(operation.method, path_of(operation, "tiny"), json={})
    problem(answer, 401, "sign-in-needed")


def test_the_document_says_the_same(nobody: Asker) -> None:
    """Whoever reads the document sees the operations that were tried here."""
    served = nobody.get("/openapi.json").json()["paths"]
    listed = {item["operationId"] for methods in served.values() for item in methods.values()}
    assert {operation.name for operation in OPERATIONS} == listed
    assert listed >= OPERATIONS_OF_STUDENTS


# --- pages ---------------------------------------------------------------------------------------

EXAMPLES = (("SLUG", "nothing-here"), ("NUMBER", "1"), ("KEY", "a" * 24), ("KEY", "A" * 20))


def groups(pattern: str) -> Iterator[str]:
    """A pattern in its parts: what stands between groups, and each group whole."""
    depth, start, in_class, position = 0, 0, False, 0
    while position < len(pattern):
        char = pattern[position]
        if char == "\\":
            position += 1
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        elif char == "(":
            if depth == 0:
                yield pattern[start:position]
                start = position
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                yield pattern[start : position + 1]
                start = position + 1
        position += 1
    yield pattern[start:]


def readable(pattern: str) -> tuple[str, str]:
    """A route as it is named above, and an address that it takes."""
    name = address = ""
    for part in groups(pattern):
        if not part.startswith("("):
            name += part.replace("\\", "")
            address += part.replace("\\", "")
            continue
        found = [(word, value) for word, value in EXAMPLES if re.fullmatch(part, value)]
        assert found, f"no example for {part}: add one to EXAMPLES"
        name += found[0][0]
        address += found[0][1]
    assert re.fullmatch(pattern, address)
    return name, address


def methods(handler: type[RequestHandler]) -> list[str]:
    missing = RequestHandler._unimplemented_method  # type: ignore[attr-defined]
    return [name for name in ("get", "post", "put", "delete", "patch")
            if getattr(handler, name) is not missing]  # fmt: skip


def pages_of_teachers() -> list[Any]:
    return [
        pytest.param(method, address, name, id=f"{method.upper()} {name}")
        for pattern, handler in ROUTES
        for name, address in [readable(pattern)]
        if name not in PAGES_OF_STUDENTS
        for method in methods(handler)
    ]


@pytest.fixture(scope="module")
def student(hub: RunningHub) -> Iterator[tuple[Visitor, str]]:
    """Alice with her cookies, and the token of her forms."""
    with hub.signed_in("alice") as alice:
        page = alice.get(f"{PREFIX}environments")
        match = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
        assert match
        yield alice, match[1]


@pytest.mark.parametrize(("method", "address", "name"), pages_of_teachers())
def test_pages_refuse_students(
    hub: RunningHub,
    student: tuple[Visitor, str],
    method: str,
    address: str,
    name: str,
    private: Any,
) -> None:
    alice, token = student
    for slug in ("nothing-here", "tiny", private[0]):
        answer = alice.session.request(
            method,
            f"{hub.url}{PREFIX}{address.replace('nothing-here', slug)}",
            data=None if method == "get" else {"_xsrf": token},
            headers={"Accept-Language": "en"},
            timeout=30,
            allow_redirects=False,
        )
        if method == "get" and name in FORMS_ALONE:
            assert (answer.status_code, answer.headers["Location"]) == (303, PREFIX)
            continue
        assert answer.status_code == 403, answer.text
        if name in SILENT:
            assert not answer.text
            continue
        said = text_of(answer)
        assert "This is not open to you" in said
        assert "Code for the help desk: not-allowed" in said
        assert slug not in said


@pytest.mark.parametrize(("method", "address", "name"), pages_of_teachers())
def test_pages_ask_strangers_to_sign_in(
    hub: RunningHub, method: str, address: str, name: str
) -> None:
    answer = requests.request(
        method,
        f"{hub.url}{PREFIX}{address}",
        data=None if method == "get" else {},
        headers={"Accept-Language": "en"},
        timeout=30,
        allow_redirects=False,
    )
    if method == "get":
        assert answer.status_code == 302, answer.text
        assert "/hub/api/oauth2/authorize" in answer.headers["Location"]
    else:
        assert answer.status_code in {401, 403}, answer.text


def test_what_students_may_use_is_there() -> None:
    names = {readable(pattern)[0] for pattern, _ in ROUTES}
    assert names >= PAGES_OF_STUDENTS | FORMS_ALONE | SILENT
    assert {operation.name for operation in OPERATIONS} >= OPERATIONS_OF_STUDENTS


def test_teachers_are_let_in(hub: RunningHub, bob: Asker) -> None:
    """The refusals above are not for everybody."""
    for operation in of_people():
        if operation.method == "GET" and not operation.parameters and not operation.query:
            assert bob.get(operation.path).status_code == 200, operation.path
    with hub.signed_in("bob") as visitor:
        for pattern, handler in ROUTES:
            name, address = readable(pattern)
            if name.startswith("workshop/") and name == address and "get" in methods(handler):
                assert visitor.get(f"{PREFIX}{address}").status_code == 200, address


def test_the_api_is_where_this_looks(hub: RunningHub) -> None:
    assert f"{PREFIX}api" == API
