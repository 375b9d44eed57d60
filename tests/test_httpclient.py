"""What one process of ours makes of another's answers, with a real server that says odd things."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from mydocker_hub.catalogueapi import CatalogueApi
from mydocker_hub.domain.environment import Text
from mydocker_hub.domain.errors import MydockerError, Unavailable
from mydocker_hub.httpclient import JsonClient

from .conftest import free_ports


class Says(RequestHandler):
    """Answers what the test has put into the application's settings."""

    async def prepare(self) -> None:
        self.settings["asked"].append((self.request.method, self.request.uri, self.request.body))
        status, body = self.settings["answer"]
        if status == 0:
            self.detach().close()
            return
        if status == -1:
            await asyncio.sleep(5)
            status = 200
        self.set_status(status)
        self.finish(body or None)


@pytest.fixture
async def server():
    """Starts a server on a port; calling it sets the answer."""
    port = free_ports(1)[0]
    application = Application(default_handler_class=Says, asked=[], answer=(200, b""))
    running = HTTPServer(application)

    class Server:
        url = f"http://127.0.0.1:{port}/api"
        asked = application.settings["asked"]

        def say(self, status: int, body: object = b"") -> None:
            text = body if isinstance(body, bytes) else json.dumps(body).encode()
            application.settings["answer"] = (status, text)

        def listen(self) -> None:
            running.listen(port, "127.0.0.1")

    yield Server()
    running.stop()
    await running.close_all_connections()


def client(server, **options) -> JsonClient:
    return JsonClient(server.url, "TOKEN", unavailable_code="engine-unavailable", **options)


async def test_answers(server) -> None:
    server.listen()
    server.say(200, {"a": 1})
    assert await client(server).request("GET", "/x") == {"a": 1}
    server.say(204)
    assert await client(server).request("POST", "/x", {"é": "\ud800"}) is None
    assert server.asked[-1] == ("POST", "/api/x", b'{"\\u00e9": "\\ud800"}')


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (
            404,
            {"code": "environment-unknown", "params": {"environment": "x"}},
            "environment-unknown",
        ),
        (410, {"code": "join-link-revoked", "params": {}}, "join-link-revoked"),
        (400, {"code": "of-the-next-release", "params": {}}, "internal"),
        (500, {"code": "internal", "params": {"code": "x"}}, "engine-unavailable"),
        (500, {"code": [], "params": {}}, "engine-unavailable"),
        (500, {"code": "internal", "params": []}, "engine-unavailable"),
        (500, {"code": "internal", "params": None}, "engine-unavailable"),
        (500, {"code": "internal"}, "engine-unavailable"),
        (500, [], "engine-unavailable"),
        (502, b"<html>", "engine-unavailable"),
        (503, b"", "engine-unavailable"),
        (302, b"", "engine-unavailable"),
        (200, b"<html>", "engine-unavailable"),
        (0, b"", "engine-unavailable"),
    ],
)
async def test_refusals(server, status, body, code) -> None:
    server.listen()
    server.say(status, body)
    with pytest.raises(MydockerError) as caught:
        await client(server).request("POST", "/x")
    assert caught.value.code == code
    assert "TOKEN" not in str(caught.value)
    assert len(server.asked) == 1  # it might have been done: not asked again


async def test_a_connection_that_is_refused_is_tried_again(server) -> None:
    server.say(200, {"a": 1})
    started = time.monotonic()
    asked = asyncio.create_task(client(server).request("POST", "/x"))
    await asyncio.sleep(1)
    server.listen()
    assert await asked == {"a": 1}
    assert len(server.asked) == 1
    assert time.monotonic() - started < 4


async def test_nobody_there(server) -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        await client(server).request("GET", "/x")
    assert time.monotonic() - started > 11.5  # a service has that long to come back
    assert "ConnectionRefusedError" in caught.value.log_detail


async def test_no_answer_in_time(server) -> None:
    server.listen()
    server.say(-1)
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await client(server, timeout=0.5).request("POST", "/x")
    assert time.monotonic() - started < 3
    assert len(server.asked) == 1


async def test_a_class_asks_at_once(server) -> None:
    server.listen()
    server.say(200, {})
    one = client(server)
    assert await asyncio.gather(*(one.request("GET", f"/{n}") for n in range(150))) == [{}] * 150


async def test_parameters_of_an_end_can_be_sent(server) -> None:
    server.listen()
    server.say(204)
    params = {"memory": 1, "title": Text(fr="a", en="b"), "path": RuntimeError("x"), "none": None}
    await CatalogueApi(server.url, "TOKEN").ended(7, "out-of-memory", params)
    sent = json.loads(server.asked[-1][2])["params"]
    assert sent == {"memory": 1, "title": {"fr": "a", "en": "b"}, "path": "x", "none": None}
