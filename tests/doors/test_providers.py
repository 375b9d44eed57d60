"""The doors of OpenID Connect and CAS providers in a whole hub, as browsers meet them."""

from __future__ import annotations

import html
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
import requests
import yaml

from ..conftest import start_hub
from ..hub import RunningHub
from ..peers import llng, op
from .forging_op import CLIENT_ID, CLIENT_SECRET, ForgingOp

pytestmark = [pytest.mark.peers, pytest.mark.hub]

TITLES = {"univ": "University", "liar": "The liar", "lemon": "Lemon", "ent": "My campus"}


@dataclass
class World:
    hub: RunningHub
    univ: op.Peer
    lemon: llng.Peer
    liar: ForgingOp

    def url(self, path: str) -> str:
        return f"{self.hub.url}{path}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("providers")
    settings = folder / "sign-in.yaml"
    starting = start_hub(
        folder,
        f"test-{secrets.token_hex(4)}",
        "127.0.0.1",
        install=f"sign_in=Path({str(settings)!r})",
    )
    hub = f"http://localhost:{starting.ports[0]}/hub"
    with (
        op.start_op(
            folder,
            redirect_uris=[f"{hub}/oidc/univ/callback"],
            logout_uris=[f"{hub}/logout"],
        ) as univ,
        llng.start_llng(
            folder,
            redirect_uris=[f"{hub}/oidc/lemon/callback"],
            cas_service=f"{hub}/cas/ent/callback",
        ) as lemon,
        ForgingOp() as liar,
    ):
        issuers = {
            "univ": (univ.url, op.CLIENT_ID, op.CLIENT_SECRET),
            "lemon": (lemon.url, op.CLIENT_ID, op.CLIENT_SECRET),
            "liar": (liar.url, CLIENT_ID, CLIENT_SECRET),
        }
        for name, (_, _, secret) in issuers.items():
            (folder / name).write_text(secret)
        settings.write_text(
            yaml.safe_dump(
                {
                    "openid": [
                        {
                            "name": name,
                            "title": {"fr": TITLES[name], "en": TITLES[name]},
                            "issuer": url,
                            "client_id": client_id,
                            "client_secret_file": str(folder / name),
                            "scopes": ["openid", "profile", "email", "eduperson"],
                        }
                        for name, (url, client_id, _) in issuers.items()
                    ],
                    "cas": [
                        {
                            "name": "ent",
                            "title": {"fr": TITLES["ent"], "en": TITLES["ent"]},
                            "url": lemon.cas_url,
                            "claims": {"affiliations": "eduPersonAffiliation"},
                        },
                        {
                            "name": "liarcas",
                            "title": {"fr": "Menteur", "en": "A liar's CAS"},
                            "url": f"{liar.url}/cas",
                        },
                    ],
                }
            )
        )
        with starting as running:
            yield World(running, univ, lemon, liar)


@pytest.fixture(autouse=True)
def an_honest_liar(world: World) -> Iterator[None]:
    yield
    world.liar.forgets = False
    for lies in (world.liar.claims, world.liar.callback, world.liar.answers):
        lies.clear()


class Browser(requests.Session):
    """Cookies, and nothing that follows redirects by itself."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.headers["Accept-Language"] = "en"

    def open(self, url: str) -> requests.Response:
        return self.get(url, allow_redirects=False, timeout=60)

    def begin(self, way: str, next_url: str = "/hub/token") -> str:
        """Where the hub sends this browser."""
        answer = self.open(self.world.url(f"/hub/{way}/login?{urlencode({'next': next_url})}"))
        assert answer.status_code == 303, answer.text
        return answer.headers["Location"]

    def back_from(self, way: str, user: str = "bob", next_url: str = "/hub/token") -> str:
        """Sign in at the provider: the address that it sends this browser back to."""
        url = self.begin(way, next_url)
        if way == "oidc/univ":
            return op.log_in(self, url, user)
        if way == "oidc/liar":
            return self.open(url).headers["Location"]
        return llng.log_in(self, url, user).headers["Location"]

    def name(self) -> str | None:
        """Who is signed in here."""
        page = self.open(self.world.url("/hub/token"))
        found = re.search(r'data-user="([^"]+)"|user: "([^"]+)"', page.text)
        if page.status_code != 200:
            return None
        assert found, page.text
        return found[1] or found[2]


@pytest.fixture
def browser(world: World) -> Iterator[Browser]:
    with Browser(world) as session:
        yield session


def code_of(page: requests.Response) -> str:
    """The code of a refusal, of a page that is whole."""
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"
    found = re.search(r"help desk:\s*<code>([a-z-]+)</code>", page.text)
    assert found, page.text
    return found[1]


def sentence_of(page: requests.Response) -> str:
    found = re.search(r'<p class="lead">(.*?)</p>', page.text, re.DOTALL)
    assert found, page.text
    return html.unescape(found[1])


def changed(url: str, **arguments: str) -> str:
    """An address with other arguments; empty ones are left out."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | arguments
    return parts._replace(query=urlencode({k: v for k, v in query.items() if v})).geturl()


@pytest.mark.parametrize(
    ("way", "user"),
    [
        ("oidc/univ", "bob"),
        ("oidc/univ", "eve"),
        ("oidc/lemon", "dwho"),
        ("cas/ent", "dwho"),
        ("oidc/liar", "bob"),
    ],
)
def test_signing_in(browser: Browser, way: str, user: str) -> None:
    back = browser.back_from(way, user)
    assert browser.name() is None
    answer = browser.open(back)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/hub/token"), answer.text
    assert browser.name()
    # the same answer once more, in the same browser
    again = browser.open(back)
    assert code_of(again) == "sign-in-other-browser"


@pytest.mark.parametrize("way", ["oidc/univ", "oidc/liar", "cas/ent"])
def test_the_answer_of_another_browser(world: World, browser: Browser, way: str) -> None:
    """Login CSRF: somebody else's answer signs nobody in."""
    back = browser.back_from(way, "dwho" if way == "cas/ent" else "bob")
    with Browser(world) as victim:
        victim.begin(way)
        assert code_of(victim.open(back)) == "sign-in-other-browser"
        assert victim.name() is None
    assert browser.open(back).status_code == 303
    assert browser.name()


@pytest.mark.parametrize("way", ["oidc/univ", "cas/ent"])
def test_a_state_that_was_begun_elsewhere(browser: Browser, way: str) -> None:
    """The attempt of one provider at the callback of another, of the same kind or not."""
    back = browser.back_from(way, "dwho" if way == "cas/ent" else "bob")
    other = back.replace("/oidc/univ/", "/oidc/liar/").replace("/cas/ent/", "/oidc/liar/")
    code = code_of(browser.open(changed(other, iss="")))
    assert code == ("sign-in-message-invalid" if way == "oidc/univ" else "sign-in-other-browser")
    assert browser.name() is None


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"state": ""}, "sign-in-other-browser"),
        ({"state": "0" * 32}, "sign-in-other-browser"),
        ({"state": "../x"}, "sign-in-other-browser"),
        ({"code": ""}, "sign-in-message-invalid"),
        ({"code": "x" * 5000}, "sign-in-message-invalid"),
        ({"code": "invented"}, "sign-in-provider-refused"),
        ({"iss": "https://evil.example"}, "sign-in-message-invalid"),
        ({"iss": ""}, "sign-in-message-invalid"),  # which this provider promises to send
        ({"error": "access_denied"}, "sign-in-provider-refused"),
    ],
)
def test_answers_that_were_changed(browser: Browser, arguments: dict[str, str], code: str) -> None:
    back = browser.back_from("oidc/univ")
    assert code_of(browser.open(changed(back, **arguments))) == code
    assert browser.name() is None


def test_arguments_that_come_twice(browser: Browser) -> None:
    for name in ("code", "state", "iss"):
        back = browser.back_from("oidc/univ")
        page = browser.open(f"{back}&{name}=another")
        assert code_of(page) == "sign-in-message-invalid"
        assert browser.name() is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("access_denied", "it was refused there, or cancelled"),
        ("interaction_timeout", "interaction_timeout"),
        ("Your account is locked: call 0800 1234", "it gave no reason"),
        ("<script>alert(1)</script>", "it gave no reason"),
    ],
)
def test_errors_in_words(browser: Browser, error: str, said: str) -> None:
    state = parse_qs(urlsplit(browser.begin("oidc/univ")).query)["state"][0]
    query = urlencode({"error": error, "state": state, "iss": browser.world.univ.url})
    page = browser.open(browser.world.url(f"/hub/oidc/univ/callback?{query}"))
    assert page.status_code == 403
    assert code_of(page) == "sign-in-provider-refused"
    assert said in sentence_of(page)
    assert "University" in sentence_of(page)
    assert "alert(1)" not in page.text


def test_a_clock_that_is_off_in_words(world: World, browser: Browser) -> None:
    world.liar.claims.update(iat=time.time() + 3600, exp=time.time() + 7200)
    page = browser.open(browser.back_from("oidc/liar"))
    assert code_of(page) == "sign-in-clock"
    assert re.search("differ by (59 minutes|1 hour)", sentence_of(page))
    assert "The liar" in sentence_of(page)


def test_a_provider_that_fails_in_words(world: World, browser: Browser) -> None:
    back = browser.back_from("oidc/liar")
    world.liar.answers["/token"] = (500, b"<html>")
    page = browser.open(back)
    assert (page.status_code, code_of(page)) == (503, "sign-in-provider-unavailable")


@pytest.mark.parametrize("path", ["oidc/nobody", "cas/nobody", "oidc/ent", "cas/univ"])
def test_providers_that_do_not_exist(browser: Browser, path: str) -> None:
    for end in ("login", "callback"):
        page = browser.open(browser.world.url(f"/hub/{path}/{end}"))
        assert (page.status_code, code_of(page)) == (404, "sign-in-provider-unknown")


@pytest.mark.parametrize(
    "next_url", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:x"]
)
@pytest.mark.parametrize("way", ["oidc/liar", "cas/ent"])
def test_nobody_is_sent_elsewhere(browser: Browser, way: str, next_url: str) -> None:
    answer = browser.open(browser.back_from(way, "dwho", next_url))
    assert answer.status_code == 303
    assert re.match(r"/[^/\\\s]", answer.headers["Location"]), answer.headers["Location"]


@pytest.mark.parametrize(
    ("ticket", "code"),
    [
        ("ST-invented", "sign-in-provider-refused"),
        ("PT-invented", "sign-in-message-invalid"),
        ("ST-1 2", "sign-in-message-invalid"),
        ("", "sign-in-message-invalid"),
    ],
)
def test_tickets_that_are_refused(browser: Browser, ticket: str, code: str) -> None:
    back = browser.back_from("cas/ent", "dwho")
    assert code_of(browser.open(changed(back, ticket=ticket))) == code
    assert browser.name() is None


def test_a_ticket_for_another_attempt(browser: Browser) -> None:
    """A ticket that somebody else got, at an attempt of one's own."""
    back = browser.back_from("cas/ent", "rtyler")
    ticket = parse_qs(urlsplit(back).query)["ticket"][0]
    mine = parse_qs(urlsplit(browser.begin("cas/ent")).query)["service"][0]
    page = browser.open(f"{mine}&ticket={quote(ticket)}")
    assert code_of(page) == "sign-in-not-for-us"
    assert browser.name() is None


def test_an_answer_that_the_provider_takes_twice(world: World, browser: Browser) -> None:
    """Who copied cookies and address from a browser, and a provider that honours a code twice."""
    world.liar.forgets = True
    back = browser.back_from("oidc/liar")
    with Browser(world) as thief:
        thief.cookies.update(browser.cookies)
        assert browser.open(back).status_code == 303
        assert code_of(thief.open(back)) == "sign-in-replayed"
        assert thief.name() is None


def test_a_ticket_that_the_server_takes_twice(world: World, browser: Browser) -> None:
    """And for every service: it is spent here all the same."""
    uri = "http://www.yale.edu/tp/cas"
    who = "<cas:authenticationSuccess><cas:user>bob</cas:user></cas:authenticationSuccess>"
    world.liar.answers["/cas/p3/serviceValidate"] = (
        200,
        f'<cas:serviceResponse xmlns:cas="{uri}">{who}</cas:serviceResponse>'.encode(),
    )
    ticket = f"ST-{secrets.token_hex(8)}"

    def come_back(browser: Browser) -> requests.Response:
        service = parse_qs(urlsplit(browser.begin("cas/liarcas")).query)["service"][0]
        return browser.open(f"{service}&ticket={ticket}")

    assert come_back(browser).status_code == 303
    with Browser(world) as thief:
        assert code_of(come_back(thief)) == "sign-in-replayed"
        assert thief.name() is None


@pytest.mark.parametrize("way", ["oidc/univ", "cas/ent"])
def test_where_somebody_goes_who_asked_for_nothing(browser: Browser, way: str) -> None:
    back = browser.back_from(way, "dwho" if way == "cas/ent" else "bob", next_url="")
    location = browser.open(back).headers["Location"]
    assert location == "/services/catalogue/"  # and no code, ticket or state behind it


def test_nothing_secret_is_logged(world: World, browser: Browser) -> None:
    said = []
    for way in ("oidc/univ", "cas/ent"):
        back = browser.back_from(way, "dwho" if way == "cas/ent" else "bob")
        query = parse_qs(urlsplit(back).query)
        said += [value for name in ("code", "ticket", "state") for value in query.get(name, [])]
        assert browser.open(back).status_code == 303
        refused = browser.back_from(way, "dwho" if way == "cas/ent" else "bob")
        browser.open(changed(refused, state="0" * 32))
    log = world.hub.log()
    assert "/hub/cas/ent/callback" in log
    assert len(said) == 4
    for secret in [*said, op.CLIENT_SECRET, CLIENT_SECRET]:
        assert secret not in log


def test_signing_out_of_the_provider_too(world: World, browser: Browser) -> None:
    browser.open(browser.back_from("oidc/univ"))
    page = browser.get(world.url("/hub/logout"), timeout=60)
    link = html.unescape(re.findall(r'href="([^"]*session/end[^"]*)"', page.text)[0])
    assert link.startswith(world.univ.url)
    assert browser.get(link, timeout=60).ok  # the provider knows client and address
