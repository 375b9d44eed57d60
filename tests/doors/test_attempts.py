"""What binds a sign-in to the browser that began it, and lets each be used once."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from mydocker_hub.domain.errors import Refused
from mydocker_hub.doors import attempts
from mydocker_hub.doors.attempts import Attempt, Attempts, Tickets, spent
from mydocker_hub.identity.claims import Door


class Browser:
    """Holds cookies between the handlers of one browser."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}
        self.attributes: dict[str, dict[str, Any]] = {}

    def handler(self, protocol: str = "https") -> Any:
        browser = self

        class Handler:
            hub = SimpleNamespace(base_url="/hub/")
            framed = False
            request = SimpleNamespace(protocol=protocol, cookies=dict(browser.cookies))

            def get_cookie(self, name: str) -> str | None:
                return browser.cookies.get(name)

            def set_cookie(self, name: str, value: str, **attributes: Any) -> None:
                browser.cookies[name] = value
                browser.attributes[name] = attributes

            def clear_cookie(self, name: str, **attributes: Any) -> None:
                browser.cookies.pop(name, None)

        return Handler()


@pytest.fixture
def kept() -> Attempts:
    return Attempts("a secret of the tests")


def begun(kept: Attempts, browser: Browser, **values: Any) -> Attempt:
    attempt = Attempt(door=Door.OIDC, provider="univ", **values)
    kept.begin(browser.handler(), attempt)
    return attempt


def refusal(kept: Attempts, browser: Browser, attempt_id: str, door: Door = Door.OIDC) -> str:
    with pytest.raises(Refused) as raised:
        kept.take(browser.handler(), attempt_id, door)
    return raised.value.code


def test_what_was_begun_comes_back_once(kept: Attempts) -> None:
    browser = Browser()
    attempt = begun(kept, browser, next="/hub/home", extra={"idp": "https://idp.example"})
    assert kept.has(browser.handler(), attempt.id)
    assert kept.take(browser.handler(), attempt.id, Door.OIDC) == attempt
    assert refusal(kept, browser, attempt.id) == "sign-in-other-browser"


def test_another_browser_holds_nothing(kept: Attempts) -> None:
    begun_here = begun(kept, Browser())
    assert refusal(kept, Browser(), begun_here.id) == "sign-in-other-browser"


def test_another_door_is_not_this_one(kept: Attempts) -> None:
    browser = Browser()
    attempt = begun(kept, browser)
    assert refusal(kept, browser, attempt.id, Door.SAML) == "sign-in-other-browser"
    assert kept.take(browser.handler(), attempt.id, Door.OIDC) == attempt


def test_two_tabs_do_not_disturb_each_other(kept: Attempts) -> None:
    browser = Browser()
    first, second = begun(kept, browser, next="/1"), begun(kept, browser, next="/2")
    assert kept.take(browser.handler(), second.id, Door.OIDC).next == "/2"
    assert kept.take(browser.handler(), first.id, Door.OIDC).next == "/1"


def test_a_cookie_under_another_name_is_not_that_attempt(kept: Attempts) -> None:
    browser = Browser()
    first, second = begun(kept, browser), begun(kept, browser)
    cookies = browser.cookies
    cookies[f"mydocker-sign-in-{first.id}"] = cookies[f"mydocker-sign-in-{second.id}"]
    assert refusal(kept, browser, first.id) == "sign-in-other-browser"


def test_sealed_by_another_hub(kept: Attempts) -> None:
    browser = Browser()
    attempt = begun(Attempts("another secret"), browser)
    assert refusal(kept, browser, attempt.id) == "sign-in-other-browser"


def test_too_late(kept: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser()
    attempt = begun(kept, browser)
    later = time.time() + attempts.ATTEMPT_SECONDS + 2
    monkeypatch.setattr(time, "time", lambda: later)
    assert refusal(kept, browser, attempt.id) == "sign-in-other-browser"


@pytest.mark.parametrize("attempt_id", ["", "..", "é", "a b", "x" * 5000, "abc;path=/"])
def test_any_id_is_answered(kept: Attempts, attempt_id: str) -> None:
    assert refusal(kept, Browser(), attempt_id) == "sign-in-other-browser"


def test_the_cookie_lasts_by_our_clock_and_stays_with_the_hub(kept: Attempts) -> None:
    browser = Browser()
    attempt = begun(kept, browser)
    attributes = browser.attributes[f"mydocker-sign-in-{attempt.id}"]
    assert attributes == {
        "path": "/hub/",
        "max_age": attempts.ATTEMPT_SECONDS,
        "httponly": True,
        "samesite": "Lax",
        "secure": True,
    }
    framed = Attempt(door=Door.LTI13, provider="lti-1")
    kept.begin(browser.handler(), framed, framed=True)
    attributes = browser.attributes[f"mydocker-sign-in-{framed.id}"]
    assert (attributes["samesite"], attributes["secure"], attributes["partitioned"]) == (
        "None",
        True,
        True,
    )


def test_attempts_do_not_pile_up(kept: Attempts) -> None:
    browser = Browser()
    for _ in range(30):
        newest = begun(kept, browser)
    assert len(browser.cookies) <= 8
    assert kept.has(browser.handler(), newest.id)


def test_the_digest_of_what_is_spent_tells_nothing(kept: Attempts) -> None:
    attempt = begun(kept, Browser())
    assert attempt.id not in attempt.spent.key
    assert attempt.spent.key == spent("attempt", attempt.id, attempts.timedelta(0)).key


def test_a_ticket_is_taken_once() -> None:
    tickets = Tickets()
    name = tickets.keep("value")
    assert tickets.look(name) == "value"
    assert tickets.take(name) == "value"
    with pytest.raises(Refused) as raised:
        tickets.take(name)
    assert raised.value.code == "sign-in-expired"


def test_tickets_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    tickets = Tickets()
    name = tickets.keep("value")
    later = time.monotonic() + attempts.TICKET_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert tickets.look(name) is None


def test_tickets_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_MOST_TICKETS", 3)
    tickets = Tickets()
    names = [tickets.keep(number) for number in range(10)]
    assert tickets.look(names[0]) is None
    assert tickets.look(names[-1]) == 9
    assert len(tickets._kept) <= 4


def test_what_is_sent_again_has_one_ticket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_MOST_TICKETS", 3)
    tickets = Tickets()
    other = tickets.keep("another person's")
    names = {tickets.keep(number, once="the same") for number in range(50)}
    assert len(names) == 1
    assert tickets.look(other) == "another person's"
    assert tickets.take(*names) == 49
    again = tickets.keep(50, once="the same")
    assert again not in names
    assert tickets.look(again) == 50


def test_what_is_sent_again_later_has_a_new_ticket(monkeypatch: pytest.MonkeyPatch) -> None:
    tickets = Tickets()
    start = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: start)
    first, other = tickets.keep(1, once="the same"), tickets.keep(2)
    monkeypatch.setattr(time, "monotonic", lambda: start + attempts.TICKET_SECONDS - 1)
    assert tickets.keep(3, once="the same") == first
    monkeypatch.setattr(time, "monotonic", lambda: start + attempts.TICKET_SECONDS + 1)
    assert tickets.look(other) is None
    assert tickets.look(first) == 3  # it lives from when it was sent last
    monkeypatch.setattr(time, "monotonic", lambda: start + 2 * attempts.TICKET_SECONDS)
    assert tickets.keep(4, once="the same") != first
    assert len(tickets._kept) == len(tickets._names) == 1


def test_what_was_pushed_out_has_no_ticket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_MOST_TICKETS", 3)
    tickets = Tickets()
    names = [tickets.keep(number, once=str(number)) for number in range(10)]
    assert len(tickets._names) <= 4
    again = tickets.keep(0, once="0")
    assert again != names[0]
    assert tickets.take(again) == 0
