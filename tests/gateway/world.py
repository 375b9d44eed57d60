"""The gateway as a process, and around it what the tests play: hub, containers, browsers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import http.client
import itertools
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from aiohttp import web

from tests.conftest import free_ports

SECRET = "the-secret-of-hub-and-gateway"
WILDCARD = "env.test"  # the domain of origins of their own; nothing asks a name server
_numbers = itertools.count(1)


class Loop:
    """An event loop in a thread of its own, for the servers that the tests play."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


class _Server:
    """An aiohttp server on a port that stays its own while it does not listen."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        async def start() -> None:
            app = web.Application(client_max_size=1 << 40)
            app.router.add_route("*", "/{path:.*}", self.answer)
            self._runner = web.AppRunner(
                app, auto_decompress=False, access_log=None, handler_cancellation=True,
                max_field_size=1 << 16, max_line_size=1 << 16, shutdown_timeout=0.1,
            )  # fmt: skip
            await self._runner.setup()
            site = web.TCPSite(self._runner, "127.0.0.1", self.port)
            await site.start()
            self.port = self._runner.addresses[0][1]

        self._loop.run(start())

    def stop(self) -> None:
        if self._runner is not None:
            self._loop.run(self._runner.cleanup())
            self._runner = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        raise NotImplementedError


@dataclass
class Asked:
    """What reached a server: as it was sent, bytes as latin-1."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) < 2, (name, values)
        return values[0] if values else None

    @property
    def cookies(self) -> dict[str, str]:
        pairs = (pair.partition("=") for line in self.all("Cookie") for pair in line.split("; "))
        return {name: value for name, _, value in pairs}

    def __str__(self) -> str:
        return "\n".join([self.method, self.target, *(f"{n}: {v}" for n, v in self.headers)])


def _asked(request: web.Request) -> Asked:
    return Asked(
        request.method,
        request.raw_path,
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers],
    )


class FakeHub(_Server):
    """What the gateway asks of the hub: routes, ports, tokens, activity."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.asked: list[Asked] = []
        self.routes: dict[tuple[str, str], dict[str, Any]] = {}
        self.ports: dict[tuple[str, str, int], Any] = {}  # address, or problem details
        self.people: dict[str, dict[str, Any]] = {}  # token -> model
        self.codes: dict[str, dict[str, str]] = {}
        self.activity: list[tuple[str, dict[str, Any], str]] = []
        self.routes_asked_at = 0.0
        self.broken = False  # answers 502, as a proxy does before a hub that is down
        self.before_routes: Callable[[], Coroutine[Any, Any, None]] | None = None

    @property
    def api(self) -> str:
        return f"{self.url}/hub/api"

    def asked_for(self, path: str) -> int:
        return sum(urlsplit(one.target).path == path for one in self.asked)

    def token(self, person: str, *servers: str, kind: str = "user") -> str:
        """A token of a person, that opens these servers (`alice/lab`)."""
        token = secrets.token_hex(16)
        scopes = [f"access:servers!server={server}" for server in servers]
        self.people[token] = {"name": person, "kind": kind, "scopes": scopes, "groups": []}
        return token

    def authorize(self, address: str, person: str, *servers: str) -> str:
        """The person says yes on the hub's page: where the browser is sent back to."""
        asked = dict(parse_qsl(urlsplit(address).query))
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_hex(16)
        self.codes[code] = {**asked, "token": self.token(person, *servers)}
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = _asked(request)
        asked.body = await request.read()
        self.asked.append(asked)
        if self.broken:
            return web.Response(status=502, text="Bad Gateway")
        path = request.path.removeprefix("/hub/api")
        if path == "/user":
            scheme, _, token = (asked.one("Authorization") or "").partition(" ")
            model = self.people.get(token) if scheme == "token" else None
            return web.json_response(model, status=200 if model else 403)
        if path == "/oauth2/token":
            return self._token_for_code(asked)
        if path.startswith("/users/"):
            name = request.match_info["path"].split("/")[3]
            self.activity.append((name, await request.json(), asked.one("Authorization") or ""))
            return web.json_response({})
        assert path.startswith("/mydocker/"), path
        if asked.one("Authorization") != f"Bearer {SECRET}":
            return web.json_response({"code": "sign-in-needed", "params": {}}, status=401)
        if path == "/mydocker/routes":
            self.routes_asked_at = time.monotonic()
            items = list(self.routes.values())
            if self.before_routes is not None:
                await self.before_routes()
            return web.json_response({"items": items})
        _, _, _, user, server, _, port = path.split("/")
        found = self.ports.get((user, server, int(port)))
        if isinstance(found, str):
            return web.json_response({"address": found})
        code = found or {"code": "port-out-of-reach", "params": {"port": port}}
        return web.json_response(code, status=501)

    def _token_for_code(self, asked: Asked) -> web.Response:
        form = dict(parse_qsl(asked.body.decode()))
        note = self.codes.pop(form.get("code", ""), {})
        verifier = form.get("code_verifier", "")
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        client = next((r for r in self.routes.values() if r["client_id"] == form["client_id"]), {})
        if (
            note
            and form["grant_type"] == "authorization_code"
            and form["client_id"] == note["client_id"]
            and form["client_secret"] == client.get("token")
            and form["redirect_uri"] == note["redirect_uri"]
            and challenge == note["code_challenge"]
        ):
            return web.json_response({"access_token": note["token"], "token_type": "Bearer"})
        return web.json_response({"error": "invalid_grant"}, status=400)


Answerer = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


class Container(_Server):
    """A container's program: echoes, unless a test has said otherwise for a path."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.asked: list[Asked] = []
        self.answers: dict[str, Answerer] = {}
        self.open = 0  # requests that are being answered

    def on(self, answerer: Answerer) -> str:
        """A new path, below which `answerer` answers."""
        path = f"does-{next(_numbers)}"
        self.answers[path] = answerer
        return path

    def says(self, status: int = 200, headers: Any = (), body: bytes = b"", reason: Any = None):
        """A new path, at which this is answered."""

        async def say(request: web.Request) -> web.Response:
            answer = web.Response(status=status, body=body, reason=reason)
            for name, value in headers:
                answer.headers.add(name, value)
            return answer

        return self.on(say)

    @property
    def last(self) -> Asked:
        return self.asked[-1]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = _asked(request)
        self.asked.append(asked)
        self.open += 1
        try:
            for part in request.path.split("/"):
                if part in self.answers:
                    return await self.answers[part](request)
            asked.body = await request.read()
            return web.Response(body=asked.body, headers={"X-Echo": request.method})
        finally:
            self.open -= 1


class RawContainer:
    """A program that speaks HTTP as badly as the test wants: one thread for each connection."""

    def __init__(self, talk: Callable[[socket.socket, bytes], Any]) -> None:
        """`talk` gets the connection and the head of each connection's first request."""
        self._talk = talk
        self.heads: list[bytes] = []
        self.errors: list[Exception] = []
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=50)
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(20)
                head = read_head(connection)
                self.heads.append(head)
                self._talk(connection, head)
        except OSError as error:
            self.errors.append(error)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # ends accept()
        self._socket.close()
        for connection in self._open:
            connection.close()


def read_head(connection: socket.socket) -> bytes:
    """Up to the empty line, byte by byte: what follows stays in the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            break
        head += byte
    return head


class GatewayProcess:
    """The gateway as the hub runs it. `before` is Python that runs in it before it starts."""

    def __init__(self, hub: FakeHub, port: int, *, before: str = "", **settings: str) -> None:
        self.port = port
        self._environ = {
            "PATH": os.environ["PATH"],
            "JUPYTERHUB_API_URL": hub.api,
            "JUPYTERHUB_BASE_URL": "/",
            "MYDOCKER_GATEWAY_SECRET": SECRET,
            "MYDOCKER_GATEWAY_HOST": "127.0.0.1",
            "MYDOCKER_GATEWAY_PORT": str(port),
            "MYDOCKER_PUBLIC_URL": "",
            "MYDOCKER_WILDCARD_URL": "",
            **settings,
        }
        self._command = ["-m", "mydocker_hub.services.gateway"]
        if before:
            main = "from mydocker_hub.services.gateway.__main__ import main; main()"
            self._command = ["-c", f"{before}\n{main}"]
        handle, name = tempfile.mkstemp(prefix="gateway-", suffix=".log")
        os.close(handle)
        self._log = Path(name)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> GatewayProcess:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._command], env=self._environ, stdout=log, stderr=log
            )
        wait_for(self._answers, "the gateway does not answer", seconds=20)
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def log(self) -> str:
        return self._log.read_text()

    def rss(self) -> int:
        """Bytes of memory, now."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def stop(self, number: int = signal.SIGTERM) -> float:
        """End it by its id; how many seconds that took."""
        if self._process is None:
            return 0.0
        began = time.monotonic()
        self._process.send_signal(number)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._process = None
        return time.monotonic() - began

    def remove(self) -> None:
        self.stop()
        self._log.unlink()


def wait_for(done: Callable[[], Any], otherwise: str, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


@dataclass
class Reply:
    """An answer, bytes of headers as latin-1."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) < 2, (name, values)
        return values[0] if values else None

    @property
    def code(self) -> str:
        """The code of the problem details."""
        assert self.one("Content-Type") == "application/problem+json", (self.status, self.body)
        return str(json.loads(self.body)["code"])


def ask(
    port: int,
    method: str,
    target: str,
    headers: Any = (),
    body: Any = None,
    *,
    host: str = "",
    connection: http.client.HTTPConnection | None = None,
) -> Reply:
    """One request, sent as it is given: nothing of its address is made tidy."""
    over = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    sent = list(headers.items()) if isinstance(headers, dict) else list(headers)
    names = {name.lower() for name, _ in sent}
    over.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    if "host" not in names:
        over.putheader("Host", host or f"127.0.0.1:{port}")
    for name, value in sent:
        over.putheader(name, value)
    if isinstance(body, bytes) and "content-length" not in names:
        over.putheader("Content-Length", str(len(body)))
    chunked = body is not None and not isinstance(body, bytes)
    if chunked:
        over.putheader("Transfer-Encoding", "chunked")
    over.endheaders(body, encode_chunked=chunked)
    answer = over.getresponse()
    reply = Reply(answer.status, answer.reason, answer.getheaders(), answer.read())
    if connection is None:
        over.close()
    return reply


def raw(port: int, data: bytes, *, seconds: float = 3.0) -> bytes:
    """Send these bytes; all that comes back until the connection ends or falls silent."""
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        connection.sendall(data)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(TimeoutError, ConnectionResetError):
        while piece := connection.recv(1 << 16):
            received += piece
    return received


@dataclass
class Cookie:
    host: str
    path: str
    name: str
    value: str


@dataclass
class Browser:
    """A browser as far as the sign-in needs one: cookies by host and path, redirects by hand."""

    port: int
    host: str
    language: str = "en"
    scheme: str = "http"
    cookies: list[Cookie] = field(default_factory=list)

    def get(self, address: str, headers: Any = (), method: str = "GET", body: Any = None) -> Reply:
        """Ask for a path, or for an address at another host of the same gateway."""
        parts = urlsplit(address)
        host = parts.netloc or self.host
        target = address.removeprefix(f"{parts.scheme}://{parts.netloc}") or "/"
        sent = [("Accept", "text/html"), ("Accept-Language", self.language)]
        if self.scheme == "https":
            sent.append(("X-Forwarded-Proto", "https"))
        if cookie := self.cookie_header(host, parts.path):
            sent.append(("Cookie", cookie))
        given = list(headers.items()) if isinstance(headers, dict) else list(headers)
        reply = ask(self.port, method, target, [*sent, *given], body, host=host)
        for line in reply.all("Set-Cookie"):
            self._keep(line, host)
        return reply

    def cookie_header(self, host: str, path: str) -> str:
        return "; ".join(
            f"{cookie.name}={cookie.value}"
            for cookie in self.cookies
            if cookie.host == host and path.startswith(cookie.path)
        )

    def _keep(self, line: str, host: str) -> None:
        first, *rest = line.split("; ")
        attributes = {name.lower(): value for name, _, value in (r.partition("=") for r in rest)}
        name, _, value = first.partition("=")
        value = value.strip('"')
        # What browsers refuse: RFC 6265bis, sections 5.6 and 4.1.3.2.
        if len(name) + len(value) > 4096:
            return
        if name.startswith("__Host-") and (attributes["path"] != "/" or "secure" not in attributes):
            return
        if "secure" in attributes and self.scheme != "https":
            return
        path = attributes.get("path", "/")
        self.cookies = [c for c in self.cookies if (c.host, c.path, c.name) != (host, path, name)]
        if value:
            self.cookies.append(Cookie(host, path, name, value))

    def follow(self, address: str, hub: FakeHub, person: str, *servers: str) -> tuple[str, Reply]:
        """Go there, through the hub's sign-in where asked; where it ended, and what was there."""
        for _ in range(12):
            reply = self.get(address)
            if reply.status != 302:
                return address, reply
            here = urlsplit(address)
            location = reply.one("Location") or ""
            if location.startswith("/hub/api/oauth2/authorize?"):
                location = hub.authorize(location, person, *servers)
            if location.startswith("/") and not location.startswith("//") and here.netloc:
                location = f"{here.scheme}://{here.netloc}{location}"
            address = location
        raise AssertionError(f"redirects without end, the last to {address}")


@dataclass
class Server:
    """A running server, of alice unless otherwise said."""

    world: World
    route: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.route['user']}/{self.route['server']}"

    @property
    def base(self) -> str:
        return str(self.route["base_url"])

    @property
    def secret(self) -> str:
        return str(self.route["secret"])

    def token(self, person: str = "") -> str:
        """A token that may enter."""
        return self.world.hub.token(person or self.route["user"], self.name)

    def signed_in(self, person: str = "", *, session: str = "") -> Browser:
        """A browser that went through the sign-in, and has asked the container for nothing."""
        browser = Browser(self.world.gateway.port, f"127.0.0.1:{self.world.gateway.port}")
        if session:
            browser.cookies.append(Cookie(browser.host, "/", "jupyterhub-session-id", session))
        asks = browser.get(f"{self.base}{self.route['endpoints'][0]['prefix']}")
        authorize = asks.one("Location") or ""
        person = person or self.route["user"]
        reply = browser.get(self.world.hub.authorize(authorize, person, self.name))
        assert reply.status == 302, reply
        return browser

    def cookie(self, person: str = "", *, session: str = "") -> str:
        """The gateway's cookie after a sign-in, in a browser with this session of the hub."""
        browser = self.signed_in(person, session=session)
        browser.cookies = [one for one in browser.cookies if "session-id" not in one.name]
        return browser.cookie_header(browser.host, self.base)

    def push(self, gateway: GatewayProcess) -> None:
        """Tell a gateway of it, as the hub does."""
        reply = ask(
            gateway.port,
            "PUT",
            "/-/routes",
            {"Authorization": f"Bearer {SECRET}"},
            json.dumps(self.route).encode(),
        )
        assert reply.status == 204, reply.body


class World:
    """The fake hub, the container and the gateways of a test run."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.hub = FakeHub(self.loop)
        self.hub.start()
        self.container = Container(self.loop)
        self.container.start()
        self._processes: list[GatewayProcess] = []
        self._raw: list[RawContainer] = []
        self.gateway = self.new_gateway().start()

    def new_gateway(self, **settings: str) -> GatewayProcess:
        process = GatewayProcess(self.hub, free_ports(1)[0], **settings)
        self._processes.append(process)
        return process

    def raw_container(self, talk: Callable[[socket.socket, bytes], Any]) -> RawContainer:
        container = RawContainer(talk)
        self._raw.append(container)
        return container

    def server(
        self,
        address: str = "",
        *,
        user: str = "alice",
        name: str = "",
        prefix: str = "app/",
        keeps: bool = False,
        sign_in: str = "none",
        known: bool = True,
        **changes: Any,
    ) -> Server:
        """A new running server; `known` says whether the gateway was told."""
        number = next(_numbers)
        name = name or f"s{number}"
        base = f"/user/{quote(user, safe='@')}/{name}/"  # as the hub writes it
        endpoint = {
            "name": "app",
            "port": 8888,
            "prefix": prefix,
            "base_path": base + prefix if keeps else "/",
            "sign_in": sign_in,
        }
        route = {
            "user": user,
            "server": name,
            "launch_id": number,
            "base_url": base,
            "label": f"label{number}",
            "client_id": f"jupyterhub-user-{user}-{name}",
            "access_scopes": [
                f"access:servers!server={user}/{name}",
                f"access:servers!user={user}",
            ],
            "token": secrets.token_hex(16),
            "secret": secrets.token_hex(16),
            "endpoints": [endpoint],
            "entrances": [{"name": "app", "title": {"en": "App", "fr": "App"}, "path": prefix}],
            "addresses": {"8888": address or self.container.url},
            **changes,
        }
        self.hub.routes[user, name] = route
        server = Server(self, route)
        if known:
            server.push(self.gateway)
        return server

    def close(self) -> None:
        for process in self._processes:
            process.remove()
        for container in self._raw:
            container.close()
        self.container.stop()
        self.hub.stop()
        self.loop.close()


@contextlib.contextmanager
def broken(hub: FakeHub) -> Iterator[None]:
    hub.broken = True
    try:
        yield
    finally:
        hub.broken = False
