"""What the gateway adds to a server that is reached through the proxy.

One small web server, in two environments on the engine: of kind `hub`, which the proxy leads to
directly, and of kind `web`, which it leads to through the gateway. In one run, taking turns:

  request    a small answer: one at a time (latency), and 32 at once (throughput)
  download   200 MB, one at a time
  upload     200 MB, one at a time
  message    there and back over a WebSocket
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import docker

from tests.conftest import SAMPLE_IMAGE, remove_all, start_hub
from tests.hub import RunningHub

ROUNDS = 10
REQUESTS = 100  # in each round
AT_ONCE = 32
BYTES = 200_000_000
PIECE = bytes(64 * 1024)
WAYS = {"proxy": "direct", "gateway": "behind"}  # way -> environment

SERVER = """
import asyncio, tornado.web, tornado.websocket

class Hello(tornado.web.RequestHandler):
    def get(self): self.write("hello")

class Many(tornado.web.RequestHandler):
    async def get(self, count):
        for _ in range(int(count) // 65536):
            self.write(bytes(65536)); await self.flush()

@tornado.web.stream_request_body
class Take(tornado.web.RequestHandler):
    taken = 0
    def prepare(self): self.request.connection.set_max_body_size(1 << 40)
    def data_received(self, chunk): self.taken += len(chunk)
    def put(self): self.write(str(self.taken))

class Echo(tornado.websocket.WebSocketHandler):
    def check_origin(self, origin): return True
    def on_message(self, message): self.write_message(message)

async def main():
    tornado.web.Application([(".*/many/([0-9]+)", Many), (".*/take", Take), (".*/echo", Echo),
                             (".*", Hello)]).listen(8888)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def catalogue() -> str:
    code = base64.b64encode(SERVER.encode()).decode()
    command = f"python3 -c 'import base64; exec(base64.b64decode(\"{code}\"))'"
    common = {
        "status": "ready",
        "public": True,
        "image": SAMPLE_IMAGE,
        "command": command,
        "resources": {"memory_bytes": "512 MB"},
    }
    kinds = {"direct": "hub", "behind": "web"}
    return json.dumps(  # which YAML contains
        {
            "version": 1,
            "environments": [
                {
                    "slug": slug,
                    "title": slug,
                    **common,
                    "interfaces": [{"name": "web", "title": "Web", "kind": kind}],
                }
                for slug, kind in kinds.items()
            ],
        }
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often the ways take turns")


def run(options: argparse.Namespace) -> dict[str, Any]:
    client = docker.from_env(timeout=120)
    config = client.networks.get("bridge").attrs["IPAM"]["Config"][0]
    address = config.get("Gateway") or config["Subnet"].rsplit(".", 1)[0] + ".1"
    hub_id = f"bench-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        (state / "catalogue.yaml").write_text(catalogue())
        try:
            with start_hub(
                state, hub_id, address,
                config="c.JupyterHub.log_level = 'WARN'\n",
                catalogue=str(state / "catalogue.yaml"),
            ) as hub:  # fmt: skip
                figures = asyncio.run(measure(hub, cookies(hub), options.rounds))
        finally:
            remove_all(client, hub_id)
    show(figures)
    return figures


def cookies(hub: RunningHub) -> str:
    """Start both servers; the cookies by which alice enters the one behind the gateway."""
    with hub.signed_in("alice") as alice:
        for slug in WAYS.values():
            alice.start_and_wait(slug)
        alice.get("/user/alice/behind/")
        return "; ".join(
            f"{cookie.name}={cookie.value}"
            for cookie in alice.session.cookies
            if cookie.path.startswith("/user/alice/behind")
        )


async def measure(hub: RunningHub, cookie: str, rounds: int) -> dict[str, Any]:
    latencies: dict[str, list[float]] = {way: [] for way in WAYS}
    messages: dict[str, list[float]] = {way: [] for way in WAYS}
    per_second: dict[str, list[float]] = {way: [] for way in WAYS}
    down: dict[str, list[float]] = {way: [] for way in WAYS}
    up: dict[str, list[float]] = {way: [] for way in WAYS}
    headers = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin", "Origin": hub.url}
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        for turn in range(rounds + 1):
            for way, slug in WAYS.items():
                base = f"{hub.url}/user/alice/{slug}"
                found = [await timed(small, session, base) for _ in range(REQUESTS)]
                rate = await at_once(session, base)
                there_and_back = await echo(session, base)
                if turn:  # the first one warms up
                    latencies[way] += found
                    per_second[way].append(rate)
                    messages[way] += there_and_back
        for _ in range(3):
            for way, slug in WAYS.items():
                base = f"{hub.url}/user/alice/{slug}"
                down[way].append(BYTES / await timed(download, session, base) / 1e6)
                up[way].append(BYTES / await timed(upload, session, base) / 1e6)
    return {
        "request_ms": {way: spread(times) for way, times in latencies.items()},
        "requests_per_second": {way: statistics.median(x) for way, x in per_second.items()},
        "message_ms": {way: spread(times) for way, times in messages.items()},
        "download_mb_per_second": {way: statistics.median(x) for way, x in down.items()},
        "upload_mb_per_second": {way: statistics.median(x) for way, x in up.items()},
    }


def spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "median": 1000 * statistics.median(ordered),
        "p95": 1000 * ordered[int(0.95 * len(ordered))],
    }


async def timed(work: Callable[..., Awaitable[None]], *arguments: Any) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    await work(*arguments)
    return time.perf_counter() - started


async def small(session: aiohttp.ClientSession, base: str) -> None:
    async with session.get(f"{base}/hello") as answer:
        assert answer.status == 200
        assert await answer.read() == b"hello"


async def at_once(session: aiohttp.ClientSession, base: str) -> float:
    """Requests a second, with `AT_ONCE` under way."""

    each = REQUESTS // 5

    async def some() -> None:
        for _ in range(each):
            await small(session, base)

    async def all_of_them() -> None:
        await asyncio.gather(*(some() for _ in range(AT_ONCE)))

    return AT_ONCE * each / await timed(all_of_them)


async def echo(session: aiohttp.ClientSession, base: str) -> list[float]:
    async with session.ws_connect(f"{base}/echo") as socket:

        async def there_and_back() -> None:
            await socket.send_str("x" * 100)
            await socket.receive_str()

        return [await timed(there_and_back) for _ in range(REQUESTS)]


async def download(session: aiohttp.ClientSession, base: str) -> None:
    async with session.get(f"{base}/many/{BYTES}") as answer:
        assert answer.status == 200
        async for _ in answer.content.iter_any():
            pass


async def upload(session: aiohttp.ClientSession, base: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(BYTES // len(PIECE)):
            yield PIECE

    async with session.put(f"{base}/take", data=pieces()) as answer:
        assert answer.status == 200, await answer.text()
        assert int(await answer.text()) == BYTES // len(PIECE) * len(PIECE)


def show(figures: dict[str, Any]) -> None:
    print(f"{'':22}{'proxy':>10}{'gateway':>10}{'':>12}")
    for name, part in (("request", "request_ms"), ("message", "message_ms")):
        for which in ("median", "p95"):
            direct, behind = (figures[part][way][which] for way in WAYS)
            label = f"{name}, {which}, ms"
            print(f"{label:22}{direct:10.2f}{behind:10.2f}{behind - direct:+9.2f} ms")
    for label, part in (
        ("requests a second", "requests_per_second"),
        ("download, MB/s", "download_mb_per_second"),
        ("upload, MB/s", "upload_mb_per_second"),
    ):
        direct, behind = (figures[part][way] for way in WAYS)
        print(f"{label:22}{direct:10.0f}{behind:10.0f}{behind / direct:10.2f} x")
