"""Who comes back to a server that stops soon reads of it first."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from .world import SECRET, Server, ask

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
