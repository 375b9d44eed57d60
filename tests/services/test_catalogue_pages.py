"""The catalogue's pages as a browser asks for them: sign-in, forms, escaping, headers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import requests

from mydocker_hub.domain.people import Person, Role
from mydocker_hub.store import editing
from tests.hub import RunningHub, Visitor, in_database

from .conftest import Asker, definition

pytestmark = [pytest.mark.hub, pytest.mark.engine]

PREFIX = "/services/catalogue/"
PAGES = [
    *("", "environments", "environments/tiny", "environments/nothing", "open/tiny", "open/nothing"),
    *("nothing", "states"),
]


@pytest.fixture
def student(hub: RunningHub):
    """Alice, signed in at the hub and at the service."""
    with hub.signed_in("alice") as visitor:
        visitor.get(PREFIX)
        yield visitor


def code_of(answer: requests.Response) -> str:
    """The code for the help desk, on an error page."""
    match = re.search(r"<code>([a-z-]+)</code>", answer.text)
    assert match, answer.text[:3000]
    return match[1]


def post(visitor: Visitor, path: str, **options) -> requests.Response:
    return visitor.session.post(
        f"{visitor.hub.url}{PREFIX}{path}", timeout=30, allow_redirects=False, **options
    )


# --- signing in ----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES[:-2])
def test_who_is_signed_out_is_sent_to_sign_in(hub: RunningHub, page: str) -> None:
    answer = requests.get(f"{hub.url}{PREFIX}{page}", allow_redirects=False, timeout=30)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/hub/api/oauth2/authorize?")
    landed = requests.get(f"{hub.url}{PREFIX}{page}", timeout=30)
    assert urlsplit(landed.url).path == "/hub/login"


def test_after_signing_in_one_is_where_one_wanted_to_be(hub: RunningHub) -> None:
    with hub.signed_in("alice") as alice:
        answer = alice.get(f"{PREFIX}environments?q=tiny&page=1")
        assert answer.url == f"{hub.url}{PREFIX}environments?q=tiny&page=1"
        assert "Petit" in answer.text


@pytest.mark.parametrize("where", ["https://evil.example/", "//evil.example/", "/\\evil.example"])
def test_the_way_back_leads_nowhere_else(hub: RunningHub, where: str) -> None:
    """An address of the service that looks like another site's is not where one lands."""
    with requests.Session() as session:
        url = f"{hub.url}{PREFIX}{where}?next={where}"
        visitor = Visitor(hub, "alice", session)
        visitor.sign_in()
        answer = session.get(url, timeout=30)
        hosts = {urlsplit(step.url).netloc for step in [*answer.history, answer]}
        assert hosts == {urlsplit(hub.url).netloc}


def test_a_service_account_gets_no_page(hub: RunningHub, the_hub: Asker) -> None:
    answer = requests.get(
        f"{hub.url}{PREFIX}",
        headers={"Authorization": f"Bearer {the_hub.token}"},
        allow_redirects=False,
        timeout=30,
    )
    assert answer.status_code == 302  # the secret is nobody's


def test_a_token_that_may_not_enter(hub: RunningHub) -> None:
    with hub.signed_in("alice") as alice:
        answer = alice.api("POST", "/users/alice/tokens", json={"scopes": ["read:users!user"]})
        answer = requests.get(
            f"{hub.url}{PREFIX}",
            headers={"Authorization": f"Bearer {answer.json()['token']}"},
            timeout=30,
        )
        assert answer.status_code == 403
        assert code_of(answer) == "not-allowed"


# --- headers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_headers(student: Visitor, page: str) -> None:
    answer = student.get(f"{PREFIX}{page}")
    policy = answer.headers["Content-Security-Policy"]
    for rule in ("default-src 'self'", "frame-ancestors 'none'", "form-action 'self'"):
        assert rule in policy
    assert "script-src" not in policy  # as default-src: no inline scripts
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"
    if page != "states":
        assert "Cookie" in answer.headers["Vary"]
        inline = r"<script(?![^>]*\bsrc=)|<\w[^<>]*\s(?:on\w+|style)="
        assert not re.search(inline, answer.text)


def test_static_files_are_named_by_their_content(student: Visitor) -> None:
    page = student.get(PREFIX).text
    found = re.findall(rf'(?:href|src)="({PREFIX}static/[^"]+)"', page)
    assert len(found) >= 3
    for address in found:
        assert re.search(r"\?v=[0-9a-f]{32,}$", address)
        answer = student.get(address)
        assert answer.status_code == 200
        assert "max-age=" in answer.headers["Cache-Control"]


@pytest.mark.parametrize(
    "path", ["../templates/catalogue/layout.html", "%2e%2e/catalogue/schema.json", "nothing.css"]
)
def test_nothing_but_static_files(direct: str, path: str) -> None:
    request = requests.Request("GET", f"{direct}{PREFIX}static/x").prepare()
    request.url = f"{direct}{PREFIX}static/{path}"  # as it is, not tidied
    with requests.Session() as session:
        assert session.send(request, timeout=30).status_code in {403, 404}


def test_head(student: Visitor) -> None:
    for page in ("", "environments", "environments/tiny", "open/tiny"):
        answer = student.session.head(f"{student.hub.url}{PREFIX}{page}", timeout=30)
        assert (answer.status_code, answer.content) == (200, b"")


# --- what is not there ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "code"),
    [
        ("nothing", "not-found"),
        ("environments/nothing", "environment-unknown"),
        ("environments/closed", "environment-unknown"),
        ("environments/draft", "environment-unknown"),
        ("open/nothing", "environment-unknown"),
        ("open/closed", "environment-unknown"),
        ("open/draft", "environment-unknown"),
        ("open/archived", "environment-unknown"),
        ("open/tiny", None),
        ("open/", "not-found"),
        ("open/tiny/web", "not-found"),
        ("environments/UPPER", "not-found"),
        ("environments/tiny/more", "not-found"),
        ("start/", "not-found"),
        ("environments?page=2&q=%zz", None),
        ("environments?page=-1", None),
        ("environments?page=99999999999", None),
        ("environments?q=" + "x" * 5000, None),
        ("environments?q=%00&tag=%00", None),
        ("environments?tag=%25", None),
        ("environments?q=a&q=b&unknown=1", None),
        ("environments?q=%ed%a0%80", "bad-request"),
    ],
)
def test_addresses(student: Visitor, page: str, code: str | None) -> None:
    answer = student.get(f"{PREFIX}{page}")
    if code is None:
        assert answer.status_code == 200
    else:
        assert answer.status_code == (400 if code == "bad-request" else 404)
        assert code_of(answer) == code


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST"])
def test_methods_that_are_not_there(student: Visitor, method: str) -> None:
    answer = student.session.request(method, f"{student.hub.url}{PREFIX}environments", timeout=30)
    assert answer.status_code == 403  # no form's token
    headers = {"Authorization": f"Bearer {student.token()}"}
    answer = requests.request(
        method, f"{student.hub.url}{PREFIX}environments", headers=headers, timeout=30
    )
    assert answer.status_code == 405
    assert code_of(answer) == "method-not-allowed"


@pytest.mark.parametrize("action", ["start", "stop", "leave"])
def test_actions_are_not_links(student: Visitor, action: str) -> None:
    answer = student.get(f"{PREFIX}{action}/tiny", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, PREFIX)
    assert student.server("tiny") is None


# --- forms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"_xsrf": ""}, {"_xsrf": "wrong"}, {"_xsrf": "é\ud800"}])
@pytest.mark.parametrize("action", ["start", "stop", "leave"])
def test_forms_without_the_pages_token_do_nothing(
    student: Visitor, alice: Asker, the_hub: Asker, action: str, fields: dict[str, str]
) -> None:
    person = {"name": "alice", "roles": ["student"]}
    joined = the_hub.post("/join-links/ClosedClosedClosedCl/join", {"person": person})
    assert joined.status_code == 200
    body = "&".join(f"{name}={_quoted(value)}" for name, value in fields.items())
    answer = post(
        student,
        f"{action}/closed",
        data=body,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 403
    assert code_of(answer) == "form-expired"
    # the switch of languages leads to the dashboard, not back to a form's address
    switch = re.findall(r'href="/hub/language/../?\?next=([^"]*)"', answer.text)
    assert {unquote(where) for where in switch} == {PREFIX}
    assert student.server("closed") is None
    mine = alice.get("/me/environments").json()["items"]
    assert "closed" in [item["slug"] for item in mine]


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))


def test_the_token_of_somebody_else_is_refused(hub: RunningHub, student: Visitor) -> None:
    with hub.signed_in("bob") as bob:
        page = bob.get(f"{PREFIX}environments").text
        match = re.search(r'name="_xsrf" value="([^"]+)"', page)
        assert match
        answer = post(student, "start/tiny", data={"_xsrf": match[1]})
        assert (answer.status_code, code_of(answer)) == (403, "form-expired")


def test_forms_of_somebody_signed_out(hub: RunningHub) -> None:
    answer = requests.post(f"{hub.url}{PREFIX}start/tiny", timeout=30, allow_redirects=False)
    assert (answer.status_code, code_of(answer)) == (401, "sign-in-needed")


def test_starting_what_is_not_open(student: Visitor) -> None:
    for slug, code in (("draft", "environment-unknown"), ("nothing", "environment-unknown")):
        answer = student.post_form(f"{PREFIX}environments", f"{PREFIX}start/{slug}")
        assert (answer.status_code, code_of(answer)) == (404, code)


def test_leaving_twice_is_leaving(student: Visitor, the_hub: Asker) -> None:
    person = {"name": "alice", "roles": ["student"]}
    the_hub.post("/join-links/ClosedClosedClosedCl/join", {"person": person})
    for _ in range(2):
        answer = student.post_form(f"{PREFIX}environments", f"{PREFIX}leave/closed")
        assert answer.url == f"{student.hub.url}{PREFIX}"
        assert "environments/closed" not in answer.text


def test_stopping_what_is_stopped(student: Visitor) -> None:
    answer = student.post_form(f"{PREFIX}environments", f"{PREFIX}stop/tiny")
    assert answer.url == f"{student.hub.url}{PREFIX}"


def test_a_large_form(student: Visitor) -> None:
    answer = post(student, "start/tiny", data={"x": "x" * 2_000_000})
    assert (answer.status_code, code_of(answer)) == (413, "too-large")


# --- what is shown -------------------------------------------------------------------------------


def test_texts_of_people_are_escaped(hub: RunningHub, carol: Asker) -> None:
    nasty = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"
    sent = definition(
        title={"fr": nasty, "en": nasty},
        public=True,
        sheet={
            "description": nasty + "\n\n" + nasty,
            "notice": nasty,
            "software": [nasty],
            "courses": [nasty],
            "maintainers": [{"name": nasty, "email": "a'&b@example.org"}],
            "links": [{"title": nasty, "url": "https://example.org/?a='%22&b=<script>"}],
        },
        interfaces=[{"name": "web", "title": nasty}],
    )
    assert carol.post("/environments", sent).status_code == 201
    slug = sent["slug"]
    with hub.signed_in("alice") as alice:
        for page in (f"environments/{slug}", "environments", f"environments?q={nasty}&tag={nasty}"):
            answer = alice.get(f"{PREFIX}{page}")
            assert answer.status_code == 200
            assert "<script>alert" not in answer.text
            assert "<img src=x" not in answer.text
            assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
            assert "{{7*7}}" in answer.text
    changed = {**sent, "public": False, "status": "archived"}
    assert carol.put(f"/environments/{slug}", changed, '"1"').status_code == 200


def test_languages(student: Visitor) -> None:
    french = student.get(f"{PREFIX}environments/tiny", headers={"Accept-Language": "fr"}).text
    english = student.get(f"{PREFIX}environments/tiny", headers={"Accept-Language": "en"}).text
    assert '<html lang="fr">' in french
    assert "Petit" in french
    assert '<html lang="en">' in english
    assert "Tiny" in english
    odd = student.get(PREFIX, headers={"Accept-Language": "\x80;q=,,*;q=9" * 50})
    assert odd.status_code == 200


def test_tags_count_the_public_catalogue(student: Visitor, carol: Asker) -> None:
    tag = "t-" + definition()["slug"]
    made = [definition(public=True, tags=[tag]) for _ in range(2)] + [definition(tags=[tag])]
    for sent in made:
        assert carol.post("/environments", sent).status_code == 201
    page = student.get(f"{PREFIX}environments").text
    chip = re.search(rf'href="{PREFIX}environments\?tag={tag}"[^>]*>(.*?)</a>', page, re.DOTALL)
    assert chip
    assert re.sub(r"<[^>]*>|\s+", " ", chip[1]).split() == [tag, "(2)"]
    filtered = student.get(f"{PREFIX}environments?tag={tag}").text
    shown = set(re.findall(rf'id="sheet-({"|".join(sent["slug"] for sent in made)})"', filtered))
    assert shown == {sent["slug"] for sent in made[:2]}
    for sent in made:
        assert carol.delete(f"/environments/{sent['slug']}", '"1"').status_code == 204


def test_a_running_server_is_shown_everywhere(student: Visitor) -> None:
    answer = student.post_form(f"{PREFIX}environments", f"{PREFIX}start/tiny")
    assert urlsplit(answer.url).path in {"/hub/spawn-pending/alice/tiny", "/user/alice/tiny/"}
    if "next" in (query := parse_qs(urlsplit(answer.url).query)):
        assert query["next"] == ["/user/alice/tiny/"]
    student.wait_until_ready("tiny")
    assert student.get(f"{PREFIX}states").json()["tiny"] == "running"
    for page, leads_to in (
        ("", "/user/alice/tiny/"),
        ("environments/tiny", "/user/alice/tiny/"),
        ("environments", f"{PREFIX}open/tiny"),  # which is not told what runs
    ):
        text = student.get(f"{PREFIX}{page}").text
        assert re.search(rf'id="open-tiny"[^>]*href="{leads_to}"', text)
        assert 'id="start-tiny"' not in text
    opened = student.get(f"{PREFIX}open/tiny", allow_redirects=False)
    assert (opened.status_code, opened.headers["Location"]) == (302, "/user/alice/tiny/")
    # starting it again leads to it and starts nothing
    again = student.post_form(f"{PREFIX}environments", f"{PREFIX}start/tiny")
    assert urlsplit(again.url).path == "/user/alice/tiny/"
    student.post_form(PREFIX, f"{PREFIX}leave/tiny")
    student.wait_until_gone("tiny")
    assert "tiny" not in student.get(f"{PREFIX}states").json()


# --- several interfaces --------------------------------------------------------------------------

TWO = {
    "public": True,
    "interfaces": [
        {"name": "one", "title": {"fr": "Une", "en": "One"}},
        {"name": "two", "title": {"fr": "Deux", "en": "<b>Two</b>"}, "path": "/été/"},
    ],
    "resources": {"memory_bytes": 64_000_000, "shm_bytes": 16_000_000},
}


@pytest.fixture
def two(student: Visitor, carol: Asker):
    """Alice's running server of an environment with two interfaces: what was sent for it."""
    sent = definition(**TWO)
    assert carol.post("/environments", sent).status_code == 201
    slug = sent["slug"]
    student.post_form(f"{PREFIX}environments", f"{PREFIX}start/{slug}")
    student.wait_until_ready(slug)
    yield sent
    student.stop_and_wait(slug)
    carol.put(f"/environments/{slug}", {**sent, "public": False, "status": "archived"}, '"1"')


def links(answer: requests.Response) -> list[tuple[str, str]]:
    """The interfaces on the page that opens them: address and title, as they are written."""
    assert answer.status_code == 200, answer.text
    found = re.search(r'<ul class="entrances".*?</ul>', answer.text, re.DOTALL)
    return re.findall(r'href="([^"]*)">([^\n]*)</a>', found[0]) if found else []


def test_each_interface_has_its_link(student: Visitor, two: dict[str, Any]) -> None:
    slug = two["slug"]
    page = f"{PREFIX}open/{slug}"
    for language, titles in (
        ("fr", ["Une", "Deux"]),
        ("en", ["One", "&lt;b&gt;Two&lt;/b&gt;"]),
    ):
        answer = student.get(page, headers={"Accept-Language": language})
        addresses = [f"/user/alice/{slug}/", f"/user/alice/{slug}/%C3%A9t%C3%A9/"]
        assert links(answer) == list(zip(addresses, titles, strict=True))
        assert "<b>" not in answer.text
    for other in ("", "environments", f"environments/{slug}"):
        text = student.get(f"{PREFIX}{other}").text
        assert re.search(rf'id="open-{slug}"[^>]*href="{page}"', text), other
    # a start of what runs leads here, and nobody else's server is shown
    again = student.post_form(f"{PREFIX}environments", f"{PREFIX}start/{slug}")
    assert urlsplit(again.url).path == page
    with student.hub.signed_in("bob") as bob:
        assert links(bob.get(page)) == []


def test_a_server_keeps_the_interfaces_that_it_started_with(
    student: Visitor, two: dict[str, Any], carol: Asker
) -> None:
    slug = two["slug"]
    newer = "A newer version of this environment is there."

    def seen(page: str) -> str:
        return student.get(f"{PREFIX}{page}", headers={"Accept-Language": "en"}).text

    pages = ("", f"environments/{slug}", f"open/{slug}")
    words = {**two, "title": "Other words", "icon": "🧪", "tags": ["new"]}
    assert carol.put(f"/environments/{slug}", words, '"1"').status_code == 200
    for page in pages:
        assert newer not in seen(page)
    one = {**words, "interfaces": two["interfaces"][:1]}
    assert carol.put(f"/environments/{slug}", one, '"2"').status_code == 200
    for page in pages:
        assert newer in seen(page), page
    assert len(links(student.get(f"{PREFIX}open/{slug}"))) == 2
    for page in ("", f"environments/{slug}", "environments"):
        assert re.search(rf'id="open-{slug}"[^>]*href="{PREFIX}open/{slug}"', seen(page)), page
    # back to what runs
    assert carol.put(f"/environments/{slug}", words, '"3"').status_code == 200
    for page in pages:
        assert newer not in seen(page)


def test_what_runs_can_be_opened_whatever_became_of_the_environment(
    student: Visitor, two: dict[str, Any], carol: Asker
) -> None:
    slug = two["slug"]
    page = f"{PREFIX}open/{slug}"

    def leave() -> None:  # by the REST API, which stops nothing
        headers = {"Authorization": f"Bearer {student.token()}"}
        url = f"{student.hub.url}{PREFIX}api/me/environments/{slug}"
        assert requests.delete(url, headers=headers, timeout=30).status_code == 204

    changed = {**two, "public": False, "status": "archived", "interfaces": two["interfaces"][1:]}
    assert carol.put(f"/environments/{slug}", changed, '"1"').status_code == 200
    assert len(links(student.get(page))) == 2
    leave()
    assert len(links(student.get(page))) == 2
    assert code_of(student.get(f"{PREFIX}environments/{slug}")) == "environment-unknown"
    with student.hub.signed_in("bob") as bob:
        assert code_of(bob.get(page)) == "environment-unknown"

    assert carol.put(f"/environments/{slug}", two, '"2"').status_code == 200
    refused = carol.delete(f"/environments/{slug}", '"3"')
    assert (refused.status_code, refused.json()["code"]) == (409, "servers-running")
    # Whoever asked before it had started found none: the environment goes, the server stays.
    admin = Person(name="carol", roles=frozenset(Role))
    in_database(student.hub, editing.delete_environment, slug, admin, 3, datetime.now(UTC))
    answer = student.get(page, headers={"Accept-Language": "en"})
    assert len(links(answer)) == 2  # of the last definition
    assert "not open to you any more" in answer.text
    assert f"{PREFIX}environments/{slug}" not in answer.text
    assert f'id="start-{slug}"' not in answer.text
    with student.hub.signed_in("bob") as bob:
        assert code_of(bob.get(page)) == "environment-unknown"
    student.stop_and_wait(slug)
    assert code_of(student.get(page)) == "environment-unknown"


def test_names_with_slashes_and_other_surprises(hub: RunningHub) -> None:
    """Whatever a federation calls its people, their pages work, and are theirs."""
    with hub.signed_in("carol") as carol:
        for name in ("jean/paul", "zoé@université.fr", "a b", "50%", "x?y#z", "<script>"):
            quoted = requests.utils.quote(name, safe="")
            made = carol.api("POST", f"/users/{quoted}")
            if made.status_code == 400:  # the hub does not take such a name
                continue
            assert made.status_code == 201, made.text
            token = carol.api("POST", f"/users/{quoted}/tokens", json={}).json()["token"]
            for page in ("", "environments", "states"):
                answer = requests.get(
                    f"{hub.url}{PREFIX}{page}",
                    headers={"Authorization": f"Bearer {token}"},
                    timeout=30,
                )
                assert answer.status_code == 200, (name, page, answer.text)
                assert "<script>" not in answer.text
            assert carol.api("DELETE", f"/users/{quoted}").status_code == 204
