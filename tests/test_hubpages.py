"""What comes in through the hub's own surfaces: refused in words, or the same as the dashboard."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest
import requests

from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.web.i18n import translator

from .hub import RunningHub, Visitor, text_of

pytestmark = [pytest.mark.hub, pytest.mark.engine]

CROSS_SITE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}


def sentence(code: str, language: str = "fr", **params: Any) -> str:
    """An error in words, with plain spaces."""
    return " ".join(translator(language).error(MydockerError(code, **params)).split())


def message(answer: requests.Response) -> str:
    """What the REST API says."""
    return " ".join(answer.json()["message"].split())


@pytest.fixture
def alice(hub: RunningHub) -> Iterator[Visitor]:
    with hub.signed_in("alice") as alice:
        yield alice


@pytest.fixture
def carol(hub: RunningHub) -> Iterator[Visitor]:
    with hub.signed_in("carol") as carol:
        yield carol


@pytest.fixture(autouse=True)
def nothing_runs_afterwards(hub: RunningHub, engine: docker.DockerClient) -> Iterator[None]:
    yield
    with hub.signed_in("carol") as carol:
        for name in ("alice", "bob", "carol"):
            servers = carol.api("GET", f"/users/{name}").json().get("servers", {})
            for server in servers:
                carol.api("DELETE", f"/users/{name}/servers/{server}")
    label = {"label": f"mydocker.hub={hub.hub_id}"}
    deadline = time.monotonic() + 20
    while engine.services.list(filters=label) or engine.api.containers(all=True, filters=label):
        assert time.monotonic() < deadline, "a server is left"
        time.sleep(0.2)


def running(engine: docker.DockerClient, hub: RunningHub) -> list[tuple[str, str]]:
    """Whose servers there are on the engine."""
    services = engine.services.list(filters={"label": f"mydocker.hub={hub.hub_id}"})
    labels = [service.attrs["Spec"]["Labels"] for service in services]
    return sorted((label["mydocker.user"], label["mydocker.server"]) for label in labels)


# --- join links ----------------------------------------------------------------------------------

BAD_LINKS = [
    ("Unknownunknownunknow", 404, "join-link-unknown", {}),
    ("RevokedRevokedRevoke", 410, "join-link-revoked", {}),
    ("ArchivedArchivedArch", 403, "environment-archived", {"title": {"fr": "Archivé"}}),
    ("DraftDraftDraftDraft", 403, "environment-draft", {"title": {"fr": "Brouillon"}}),
    ("..%2f..%2fadmin", 404, "join-link-unknown", {}),
    ("%3Cscript%3E", 404, "join-link-unknown", {}),
    ("%00%0d%0aX-Header:1", 404, "join-link-unknown", {}),
    ("x" * 5000, 404, "join-link-unknown", {}),
]


@pytest.mark.parametrize(
    ("key", "status", "code", "params"), BAD_LINKS, ids=[case[0][:20] for case in BAD_LINKS]
)
@pytest.mark.parametrize("prefix", ["/join", "/shell/join"])
def test_a_join_link_that_leads_nowhere(
    alice: Visitor, prefix: str, key: str, status: int, code: str, params: dict[str, Any]
) -> None:
    page = alice.get(f"{prefix}/{key}")
    assert page.status_code == status
    assert sentence(code, **params) in text_of(page)
    assert "<script></" not in page.text


def test_an_expired_join_link_in_both_languages(alice: Visitor) -> None:
    for language, when in (("fr", "31 janvier 2025 à 12:00"), ("en", "31 January 2025 at 12:00")):
        page = alice.get("/join/ExpiredExpiredExpire", headers={"Accept-Language": language})
        assert page.status_code == 410
        assert sentence("join-link-expired", language, when=when) in text_of(page)


def test_the_sentence_follows_the_language(alice: Visitor) -> None:
    page = alice.get("/join/RevokedRevokedRevoke", headers={"Accept-Language": "en"})
    assert sentence("join-link-revoked", "en") in text_of(page)
    assert sentence("join-link-revoked", "fr") not in text_of(page)


def test_a_bad_link_starts_and_enrols_nothing(
    alice: Visitor, hub: RunningHub, engine: docker.DockerClient
) -> None:
    before = alice.dashboard()
    for key, *_ in BAD_LINKS:
        alice.get(f"/join/{key}")
    assert alice.dashboard() == before
    assert running(engine, hub) == []


def test_who_is_not_signed_in_is_sent_to_sign_in_and_comes_back(hub: RunningHub) -> None:
    path = "/shell/join/TinyTinyTinyTinyTiny/hub/user-redirect/git-pull?repo=x%26y"
    answer = requests.get(hub.url + path, timeout=20)
    assert "/hub/login?next=" in answer.url
    with requests.Session() as session:
        visitor = Visitor(hub, "alice", session)
        page = visitor.get(path)
        token = re.search(r'name="_xsrf" value="([^"]+)"', page.text)[1]
        form = {"username": "alice", "_xsrf": token}
        after = session.post(page.url, data=form, timeout=60, allow_redirects=False)
        assert after.headers["Location"] == f"/hub{path}"


def test_user_redirect_keeps_path_and_query(alice: Visitor) -> None:
    path = "/join/TinyTinyTinyTinyTiny/hub/user-redirect/git-pull"
    query = "repo=https%3A%2F%2Fexample.org%2Fa.git&urlpath=lab%2Ftree%2Fa%20b"
    first = alice.get(f"/hub{path}?{query}", allow_redirects=False)
    assert first.headers["Location"].startswith("/hub/spawn-pending/alice/tiny?next=")
    alice.wait_until_ready("tiny")
    # once it runs, the link leads straight there, and so does the waiting page
    target = f"/user/alice/tiny/git-pull?{query}"
    again = alice.get(f"/hub{path}?{query}", allow_redirects=False)
    assert again.headers["Location"] == target
    waited = alice.get(first.headers["Location"], allow_redirects=False)
    assert waited.headers["Location"] == target
    for address in (f"{path}?{query}", f"/shell{path}?{query}"):
        assert alice.get(address).url == alice.hub.url + target
    short = alice.get("/join/TinyTinyTinyTinyTiny/user-redirect/tree/a%20b")
    assert short.url == f"{alice.hub.url}/user/alice/tiny/tree/a%20b"


@pytest.mark.parametrize(
    "path",
    ["..%2f..%2fhub%2fadmin", "a/..%2f%2e%2e%2f..%2f..%2fbob/tiny", "..%2fother", "a/..%2fb"],
)
def test_user_redirect_does_not_climb(alice: Visitor, path: str) -> None:
    page = alice.get(f"/hub/join/TinyTinyTinyTinyTiny/hub/user-redirect/{path}")
    assert page.status_code == 404
    assert sentence("not-found") in text_of(page)
    assert alice.server("tiny") is None


def test_user_redirect_does_not_leave(alice: Visitor) -> None:
    alice.start_and_wait("tiny")
    for path in (
        "//evil.example/x",
        "https://evil.example/x",
        "%2f%2fevil.example",
        "%5c%5cevil.example",
        "a%0d%0aLocation:%20https://evil.example",
    ):
        answer = alice.get(
            f"/hub/join/TinyTinyTinyTinyTiny/hub/user-redirect/{path}", allow_redirects=False
        )
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/user/alice/tiny/")
        assert "\n" not in answer.headers["Location"]


def test_a_link_on_another_site_asks_once(
    alice: Visitor, hub: RunningHub, engine: docker.DockerClient
) -> None:
    link = "/hub/join/HostileHostileHostil"
    page = alice.get(link, headers=CROSS_SITE)
    assert page.status_code == 200
    question = translator("fr").gettext(
        "A link brought you to this environment, which is new to you. Do you want to start it?"
    )
    assert " ".join(question.split()) in text_of(page)
    assert "<script>alert" not in page.text
    assert "<img src=x" not in page.text
    assert running(engine, hub) == []
    assert "hostile" not in alice.get("/services/catalogue/").text

    # an answer without the page's own token is none
    forged = alice.session.post(hub.url + link, headers=CROSS_SITE, timeout=30)
    assert forged.status_code == 403
    assert running(engine, hub) == []

    token = re.search(r'name="_xsrf" value="([^"]+)"', page.text)[1]
    action = re.search(r'<form action="([^"]+)"', page.text)[1]
    accepted = alice.session.post(hub.url + action, data={"_xsrf": token}, timeout=60)
    assert "/alice/hostile" in accepted.url
    alice.wait_until_ready("hostile")
    alice.stop_and_wait("hostile")

    # a second time it starts at once, from wherever
    page = alice.get(link, headers=CROSS_SITE, allow_redirects=False)
    assert page.status_code == 302
    alice.wait_until_ready("hostile")


def test_a_sign_in_in_between_does_not_make_a_foreign_link_ones_own(hub: RunningHub) -> None:
    question = "A link brought you to this environment, which is new to you."
    for site, asked in (("none", False), ("cross-site", True), ("same-site", True)):
        with requests.Session() as session:
            bob = Visitor(hub, "bob", session)
            session.headers["Accept-Language"] = "en"
            headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
            login = bob.get("/join/ClosedClosedClosedCl", headers=headers)
            assert "/hub/login" in login.url
            token = re.search(r'name="_xsrf" value="([^"]+)"', login.text)[1]
            page = session.post(
                login.url,
                data={"username": "bob", "_xsrf": token},
                headers={"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"},
                timeout=60,
            )
            assert (question in page.text) == asked, (site, page.url)
            if not asked:
                bob.wait_until_ready("closed")
                bob.stop_and_wait("closed")
                assert bob.post_form("/services/catalogue/", "/services/catalogue/leave/closed").ok


def test_a_container_cannot_use_the_demonstration_sign_in(
    alice: Visitor, hub: RunningHub, engine: docker.DockerClient
) -> None:
    """It reaches the hub without the proxy, and may send what headers it likes."""
    alice.start_and_wait("tiny")
    (container,) = engine.containers.list(filters={"label": f"mydocker.hub={hub.hub_id}"})
    config = (hub.state / "jupyterhub_config.py").read_text()
    address = re.search(r"hub_bind_url = 'http://([^']+)'", config)[1]
    login = f"http://{address}/hub/login"

    def from_this_machine(host: str) -> requests.Response:
        """Straight to the hub, as this machine's proxy does."""
        with requests.Session() as session:
            session.headers["Host"] = host
            token = re.search(r'name="_xsrf" value="([^"]+)"', session.get(login, timeout=30).text)
            form = {"username": "carol", "_xsrf": token[1]}
            return session.post(login, data=form, allow_redirects=False, timeout=30)

    def from_the_container() -> bytes:
        headers = ["--header", "Host: localhost", "--header", "X-Forwarded-For: 127.0.0.1"]
        command = ["wget", "-S", "-O", "-", *headers]
        page = container.exec_run([*command, login]).output
        token = re.search(rb'name="_xsrf" value="([^"]+)"', page)[1].decode()
        cookie = re.search(rb"(?i)set-cookie: (_xsrf=[^;]+)", page)[1].decode()
        form = f"username=carol&_xsrf={token}"
        return container.exec_run(
            [*command, "--header", f"Cookie: {cookie}", "--post-data", form, login]
        ).output

    assert "jupyterhub-hub-login" in from_this_machine("localhost").headers["Set-Cookie"]
    refused = "demonstration sign-in refused"
    assert refused not in hub.log()
    assert b"jupyterhub-hub-login" not in from_the_container()
    assert hub.log().count(refused) == 1
    # a page out there whose name was made to point to this machine (DNS rebinding)
    forged = from_this_machine("evil.example")
    assert "jupyterhub-hub-login" not in forged.headers.get("Set-Cookie", "")
    assert hub.log().count(refused) == 2


# --- the REST API --------------------------------------------------------------------------------

FORGED = [
    ({"image": "evil:1"}, 400),
    ({"environment": "tiny", "image": "evil:1"}, 400),
    ({"environment": ["tiny"]}, 400),
    ({"environment": {"slug": "tiny"}}, 400),
    ({"environment": None}, 400),
    ({"environment": ""}, 400),
    ({"environment": "../tiny"}, 400),
    ({"environment": "TINY"}, 400),
    ({"environment": 7}, 400),
    ({"environment": "tiny", "volumes": [{"/": "/host"}]}, 400),
    ({"environment": "x" * 1_000_000}, 400),
    ({"profile": "tiny", "extra": {}}, 400),
]


@pytest.mark.parametrize(
    ("options", "status"), FORGED, ids=[str(options)[:40] for options, _ in FORGED]
)
def test_forged_options(
    alice: Visitor,
    hub: RunningHub,
    engine: docker.DockerClient,
    options: dict[str, Any],
    status: int,
) -> None:
    answer = alice.start("tiny", json={"user_options": options})
    assert answer.status_code == status
    assert message(answer) == sentence("options-forged")
    assert running(engine, hub) == []


@pytest.mark.parametrize("body", [[1, 2], ["tiny"], "tiny", 7, {"user_options": ["tiny"]}])
def test_a_body_that_is_no_object(alice: Visitor, body: Any) -> None:
    assert alice.start("tiny", json=body).status_code == 400
    assert alice.server("tiny") is None


def test_forged_options_are_not_remembered(alice: Visitor) -> None:
    """A start without options takes those of the last time: they must not stay."""
    assert alice.start("tiny", json={"user_options": {"image": "evil:1"}}).status_code == 400
    alice.start_and_wait("tiny")


def test_options_of_another_environment(
    alice: Visitor, hub: RunningHub, engine: docker.DockerClient
) -> None:
    answer = alice.start("tiny", json={"user_options": {"environment": "lab"}})
    assert answer.status_code == 409
    assert message(answer) == sentence("server-name", environment="lab", expected="lab")
    assert running(engine, hub) == []


def test_without_options_it_is_the_environment_of_that_name(alice: Visitor) -> None:
    alice.start_and_wait("tiny")
    assert alice.server("tiny")["user_options"] == {"environment": "tiny", "profile": "Petit"}


@pytest.mark.parametrize(
    ("server", "status", "code"),
    [("foo", 404, "environment-unknown"), ("archived", 403, None), ("draft", 403, None)],
)
def test_a_server_that_may_not_be_started(
    alice: Visitor,
    hub: RunningHub,
    engine: docker.DockerClient,
    server: str,
    status: int,
    code: str | None,
) -> None:
    answer = alice.start(server)
    # what is not open to a person is not told apart from what is not there
    assert answer.status_code in {status, 404}
    if code or answer.status_code == 404:
        assert message(answer) == sentence("environment-unknown", environment=server)
    assert running(engine, hub) == []


@pytest.mark.parametrize("name", ["Tiny", "tiny!", "a" * 31, "tiny--x", "-tiny", "%3Cb%3E"])
def test_a_name_that_no_server_can_have(alice: Visitor, name: str) -> None:
    assert alice.start(name).status_code == 400


def test_the_default_server_is_refused_and_points_to_the_dashboard(
    alice: Visitor, hub: RunningHub, engine: docker.DockerClient
) -> None:
    answer = alice.api("POST", "/users/alice/server", json={})
    assert answer.status_code == 400
    assert message(answer) == sentence("no-default-server")
    page = alice.get("/hub/spawn/alice")
    assert 'value="tiny"' in page.text  # the choice, each with the address of its own server
    sent = alice.post_form("/hub/spawn/alice", "/hub/spawn/alice", environment="tiny")
    assert sentence("no-default-server") in text_of(sent)
    assert running(engine, hub) == []


def test_other_peoples_servers(
    alice: Visitor, hub: RunningHub, engine: docker.DockerClient
) -> None:
    with hub.signed_in("bob") as bob:
        bob.start_and_wait("tiny")
        assert alice.api("POST", "/users/bob/servers/lab").status_code == 404
        assert alice.api("DELETE", "/users/bob/servers/tiny").status_code == 404
        assert alice.api("GET", "/users/bob/servers/tiny/progress").status_code == 404
        assert alice.get("/hub/spawn/bob/lab").status_code == 404
        assert alice.get("/hub/spawn-pending/bob/tiny").status_code == 404
        assert running(engine, hub) == [("bob", "tiny")]
        assert bob.server("tiny")["ready"]


def test_by_invitation_only(alice: Visitor, hub: RunningHub, engine: docker.DockerClient) -> None:
    with hub.signed_in("bob") as bob:
        refused = bob.start("closed")
        assert refused.status_code == 404
        assert message(refused) == sentence("environment-unknown", environment="closed")
        form = bob.post_form("/hub/spawn/bob/tiny", "/hub/spawn/bob/closed", environment="closed")
        assert form.status_code == refused.status_code
        assert message(refused) in text_of(form)
        assert running(engine, hub) == []
        bob.get("/join/ClosedClosedClosedCl")
        bob.wait_until_ready("closed")
        bob.stop_and_wait("closed")
        bob.start_and_wait("closed")


def test_a_token_starts_what_its_person_may_start(alice: Visitor, hub: RunningHub) -> None:
    headers = {"Authorization": f"Bearer {alice.token()}"}
    url = f"{hub.url}/hub/api/users/alice/servers"
    refused = requests.post(
        f"{url}/tiny", headers=headers, json={"user_options": {"image": "x"}}, timeout=60
    )
    assert refused.status_code == 400
    answer = requests.post(f"{url}/tiny", headers=headers, timeout=60)
    assert answer.status_code in {201, 202}
    alice.wait_until_ready("tiny")


# --- the spawn form ------------------------------------------------------------------------------


def choices(page: requests.Response) -> list[str]:
    return re.findall(r'name="environment"\s+value="([^"]+)"', page.text)


def test_the_spawn_form(alice: Visitor) -> None:
    page = alice.get("/hub/spawn/alice/tiny")
    assert page.status_code == 200
    offered = choices(page)
    assert offered[0] == "tiny"  # the one of the address comes first
    assert {"tiny", "lab", "exits", "hostile"} <= set(offered)
    assert not {"draft", "archived"} & set(offered)
    assert len(offered) == len(set(offered))
    assert 'id="choice-search"' in page.text
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "onload=alert(4)>" not in page.text
    started = alice.post_form("/hub/spawn/alice/tiny", "/hub/spawn/alice/tiny", environment="tiny")
    assert "/alice/tiny" in started.url
    alice.wait_until_ready("tiny")


def test_the_spawn_form_of_a_name_that_is_no_environment(alice: Visitor) -> None:
    page = alice.get("/hub/spawn/alice/foo")
    told = translator("fr").gettext(
        "There is no environment for a server named “%(name)s”: each environment runs in the "
        "server that bears its name. Choose one.",
        name="foo",
    )
    assert " ".join(told.split()) in text_of(page)
    assert "tiny" in choices(page)


@pytest.mark.parametrize(
    ("fields", "code", "params"),
    [
        ({"environment": "lab"}, "server-name", {"environment": "lab", "expected": "lab"}),
        ({"environment": "tiny", "image": "evil:1"}, "options-forged", {}),
        ({"environment": "<b>x</b>"}, "options-forged", {}),
    ],
)
def test_a_forged_form(
    alice: Visitor,
    hub: RunningHub,
    engine: docker.DockerClient,
    fields: dict[str, str],
    code: str,
    params: dict[str, str],
) -> None:
    page = alice.post_form("/hub/spawn/alice/tiny", "/hub/spawn/alice/tiny", **fields)
    assert page.status_code == MydockerError(code).status
    assert sentence(code, **params) in text_of(page)
    assert "<b>x</b>" not in page.text
    assert running(engine, hub) == []


def test_a_form_without_its_token(alice: Visitor) -> None:
    answer = alice.session.post(
        f"{alice.hub.url}/hub/spawn/alice/tiny", data={"environment": "tiny"}, timeout=30
    )
    assert answer.status_code == 403
    assert alice.server("tiny") is None


def test_an_address_alone_starts_nothing(alice: Visitor) -> None:
    for query in ("opt-environment=tiny", "opt-environment=tiny&opt-image=evil:1", "profile=tiny"):
        page = alice.get(f"/hub/spawn/alice/tiny?{query}")
        assert page.status_code == 403
        assert sentence("start-by-address") in text_of(page)
        assert 'value="tiny"' in page.text  # the button that does start it
        assert alice.server("tiny") is None


# --- administrators ------------------------------------------------------------------------------


def test_an_administrator_starts_for_somebody_under_the_same_rules(
    carol: Visitor, alice: Visitor, hub: RunningHub, engine: docker.DockerClient
) -> None:
    refused = carol.api("POST", "/users/alice/servers/draft")
    assert refused.status_code in {403, 404}
    assert running(engine, hub) == []
    answer = carol.api("POST", "/users/alice/servers/tiny")
    assert answer.status_code in {201, 202}
    alice.wait_until_ready("tiny")
    assert running(engine, hub) == [("alice", "tiny")]  # alice's own, with her folders
    model = carol.api("GET", "/users/alice").json()["servers"]["tiny"]
    assert model["user_options"]["profile"] == "Petit"
    assert carol.api("DELETE", "/users/alice/servers/tiny").status_code in {202, 204}
    alice.wait_until_gone("tiny")


# --- languages -----------------------------------------------------------------------------------


def test_the_language_switch(alice: Visitor) -> None:
    answer = alice.get("/hub/language/en?next=/hub/home", allow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/hub/home"
    cookie = answer.headers["Set-Cookie"]
    assert "mydocker_lang=en" in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/;" in cookie
    page = alice.get("/join/RevokedRevokedRevoke", headers={"Accept-Language": "fr"})
    assert sentence("join-link-revoked", "en") in text_of(page)


def test_the_language_switch_before_signing_in(hub: RunningHub) -> None:
    with requests.Session() as session:
        page = Visitor(hub, "nobody", session).get("/hub/language/en?next=/hub/login")
        assert page.status_code == 200
        assert "Sign in" in text_of(page)


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "",
    ],
)
def test_the_language_switch_does_not_leave(alice: Visitor, address: str) -> None:
    answer = alice.get("/hub/language/fr", params={"next": address}, allow_redirects=False)
    assert answer.status_code == 302
    location = answer.headers["Location"]
    assert location.startswith("/")
    assert not location.startswith(("//", "/\\"))
    assert "javascript" not in location


def test_a_language_that_there_is_not(alice: Visitor) -> None:
    answer = alice.get("/hub/language/de?next=/hub/home", allow_redirects=False)
    assert answer.status_code == 404
    assert "mydocker_lang" not in answer.headers.get("Set-Cookie", "")
