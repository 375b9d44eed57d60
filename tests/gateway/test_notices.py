"""Who comes back to a server that stops soon reads of it first."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from .world import SECRET, Server, ask, wait_for

COMES = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}


@pytest.fixture
def server(world) -> Server:
    return world.server()


def announce(world, to: Server, code: str = "time-over", minutes: float = 8, **changes) -> int:
    stops_at = datetime.now(UTC) + timedelta(minutes=minutes)
    item = {
        "user": "alice",
        "server": to.route["server"],
        "code": code,
        "stops_at": stops_at.isoformat(),
        **changes,
    }
    return put(world, {"items": [item]})


def put(world, body: object, secret: str = SECRET) -> int:
    headers = {"Authorization": f"Bearer {secret}"}
    return ask(world.gateway.port, "PUT", "/-/notices", headers, json.dumps(body).encode()).status


def come(world, server: Server, cookies: str = "", path: str = "app/x?a=1", **headers):
    sent = {
        **COMES,
        "Accept-Language": "en",
        "Cookie": "; ".join(filter(None, [server.cookie(), cookies])),
        **headers,
    }
    return ask(world.gateway.port, "GET", f"{server.base}{path}", sent)


def is_notice(reply) -> bool:
    return b"This environment stops soon" in reply.body


def test_it_is_read_once_and_leads_on(world, server) -> None:
    assert not is_notice(come(world, server))
    assert announce(world, server) == 204
    world.container.asked.clear()
    page = come(world, server)
    assert page.status == 200
    assert is_notice(page)
    assert b"It has run for nearly as long as it may" in page.body
    assert f'href="{server.base}app/x?a=1"'.encode() in page.body
    assert page.one("Cache-Control") == "no-store"
    assert world.container.asked == []
    cookie = (page.one("Set-Cookie") or "").partition(";")[0]
    assert not is_notice(come(world, server, cookie))
    # another stop, another page
    announce(world, server, minutes=30)
    assert is_notice(come(world, server, cookie))


def activity(world, server) -> int:
    return len([one for one in world.hub.activity if server.route["server"] in one[1]["servers"]])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("idle", b"Nothing has been done in it for a while"),
        ("unanswered", b"Are you still using it?"),
    ],
)
def test_who_goes_on_keeps_it_running_and_the_hub_hears_of_it_at_once(
    world, server, code, words
) -> None:
    """Not after the minute that reports take, in which the server may be stopped."""
    announce(world, server, code)
    page = come(world, server)
    assert words in page.body
    assert b"It goes on running if you go on to it" in page.body
    cookie = (page.one("Set-Cookie") or "").partition(";")[0]
    time.sleep(0.5)
    assert activity(world, server) == 0, "a browser that opens its old tabs is nobody"
    began = time.monotonic()
    assert not is_notice(come(world, server, cookie))
    wait_for(lambda: activity(world, server), "the hub was not told")
    assert time.monotonic() - began < 5
    for _ in range(3):  # once: then as often as usual
        come(world, server, cookie)
    time.sleep(0.5)
    assert activity(world, server) == 1
    # asked again, it matters again
    announce(world, server, code, minutes=30)
    come(world, server, (come(world, server).one("Set-Cookie") or "").partition(";")[0])
    wait_for(lambda: activity(world, server) == 2, "the hub was not told again")


def test_what_nobody_puts_off_is_not_urgent(world, server) -> None:
    announce(world, server, "exam-over")
    page = come(world, server)
    assert b"It goes on running" not in page.body
    come(world, server, (page.one("Set-Cookie") or "").partition(";")[0])
    time.sleep(0.5)
    assert activity(world, server) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Mode": "", "Sec-Fetch-Dest": ""},
    ],
)
def test_what_a_page_fetches_is_not_disturbed(world, server, headers) -> None:
    announce(world, server)
    assert not is_notice(come(world, server, **headers))


@pytest.mark.parametrize(
    ("changes", "minutes"), [({"user": "bob"}, 8), ({"server": "other"}, 8), ({}, -1)]
)
def test_only_of_that_server_and_until_it_stops(world, server, changes, minutes) -> None:
    announce(world, server, minutes=minutes, **changes)
    assert not is_notice(come(world, server))


def test_what_is_no_longer_said_holds_no_more(world, server) -> None:
    announce(world, server)
    put(world, {"items": []})
    assert not is_notice(come(world, server))


def test_the_hub_alone_announces(world, server) -> None:
    assert put(world, {"items": []}, secret="wrong") == 401
    assert put(world, {"items": [{"user": "alice"}]}) == 422
    assert put(world, []) == 422
