"""An OpenID provider, and a CAS server, that lies as it is told to. It asks nobody for a password.

    with ForgingOp() as op:
        op.claims["aud"] = "another"            # in the ID tokens from now on
        op.answers["/token"] = (500, b"oops")   # instead of what it would have answered

Honest flows are tested with real providers (`tests/peers`).
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

LEFT_OUT = object()
"""As the value of a claim: the claim is not there."""

CLIENT_ID = "mydocker"
CLIENT_SECRET = "a secret: with+%&/ everything"


@cache
def rsa_key(number: int = 0) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_jwk(key: rsa.RSAPrivateKey, kid: str = "k1") -> dict[str, Any]:
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {"kty": "RSA", "n": jwk["n"], "e": jwk["e"], "use": "sig", "kid": kid}


@dataclass
class Asked:
    """A request that came in."""

    path: str
    arguments: dict[str, str]
    headers: dict[str, str]


@dataclass
class ForgingOp:
    """It runs in a thread; `url` is the issuer."""

    says: dict[str, Any] = field(default_factory=dict)  # in the discovery document
    claims: dict[str, Any] = field(default_factory=dict)  # in ID tokens
    userinfo: dict[str, Any] = field(default_factory=dict)
    callback: dict[str, str] = field(default_factory=dict)  # in the way back
    tokens: dict[str, Any] = field(default_factory=dict)  # in the token response
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    forgets: bool = False  # that a code was used
    silent: set[str] = field(default_factory=set)  # paths that are not answered before the end
    keys: list[dict[str, Any]] = field(default_factory=lambda: [public_jwk(rsa_key())])
    sign: Callable[[dict[str, Any]], str] = lambda claims: jwt.encode(
        claims, rsa_key(), "RS256", headers={"kid": "k1"}
    )
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> ForgingOp:
        self._nonces: dict[str, str] = {}
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def count(self, path: str) -> int:
        return sum(asked.path == path for asked in self.asked)

    def answer(self, asked: Asked) -> tuple[int, bytes, str]:
        """Status, body, Location."""
        if asked.path in self.silent:
            self._ended.wait()
        if asked.path in self.answers:  # a redirect leads to the honest answer
            return *self.answers[asked.path], f"{self.url}/moved{asked.path}"
        asked = replace(asked, path=asked.path.removeprefix("/moved"))
        if asked.path == "/auth":
            return 302, b"", self._sent_back(asked.arguments)
        if asked.path == "/token":
            return *self._token(asked), ""
        documents = {
            "/.well-known/openid-configuration": self._discovery(),
            "/jwks": {"keys": self.keys},
            "/me": said({"sub": "bob-sub", "name": "Bob"}, self.userinfo),
        }
        if asked.path not in documents:
            return 404, b"{}", ""
        return 200, json.dumps(documents[asked.path]).encode(), ""

    def _discovery(self) -> dict[str, Any]:
        return said(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/auth",
                "token_endpoint": f"{self.url}/token",
                "userinfo_endpoint": f"{self.url}/me",
                "jwks_uri": f"{self.url}/jwks",
            },
            self.says,
        )

    def _sent_back(self, arguments: dict[str, str]) -> str:
        code = secrets.token_urlsafe(12)
        self._nonces[code] = arguments["nonce"]
        back = said({"code": code, "state": arguments["state"]}, self.callback)
        return f"{arguments['redirect_uri']}?{urlencode(back)}"

    def _token(self, asked: Asked) -> tuple[int, bytes]:
        pair = b64decode(asked.headers["authorization"].removeprefix("Basic ")).decode()
        if [unquote_plus(part) for part in pair.split(":")] != [CLIENT_ID, CLIENT_SECRET]:
            return 401, b'{"error": "invalid_client"}'
        nonce = self._nonces.get(asked.arguments["code"])
        if nonce is None:
            return 400, b'{"error": "invalid_grant"}'
        if not self.forgets:
            del self._nonces[asked.arguments["code"]]
        now = time.time()
        claims = said(
            {
                "iss": self.url,
                "aud": CLIENT_ID,
                "sub": "bob-sub",
                "nonce": nonce,
                "iat": now,
                "exp": now + 300,
            },
            self.claims,
        )
        tokens = said(
            {
                "access_token": "an-access-token",
                "token_type": "Bearer",
                "id_token": self.sign(claims),
            },
            self.tokens,
        )
        return 200, json.dumps(tokens).encode()


def said(honest: dict[str, Any], lies: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in {**honest, **lies}.items() if v is not LEFT_OUT}


def _handler(op: ForgingOp) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self._reply(parts.path, parts.query)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            self._reply(urlsplit(self.path).path, self.rfile.read(length).decode())

        def _reply(self, path: str, query: str) -> None:
            arguments = {name: values[0] for name, values in parse_qs(query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(path, arguments, headers)
            op.asked.append(asked)
            status, body, location = op.answer(asked)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
