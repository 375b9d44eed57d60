"""What the gateway knows of a running server, and where a path below it leads."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import Field, SecretStr, field_serializer

from .environment import Model
from .launch import Endpoint, Entrance


class Route(Model):
    """A running server, as the hub tells the gateway.

    `base_url` is its path at the hub, from `/` to `/`. `token` is the server's own token at the
    hub, `secret` what the container was given as {{PASSWORD}}. `addresses` says where each
    endpoint's port is reached from here, such as `http://127.0.0.1:32768`. `label` names the
    server in the host names of a wildcard domain.
    """

    user: str
    server: str
    launch_id: int
    base_url: str
    label: str
    client_id: str
    access_scopes: tuple[str, ...]
    token: SecretStr
    secret: SecretStr | None = None
    endpoints: tuple[Endpoint, ...] = Field(min_length=1)
    entrances: tuple[Entrance, ...] = Field(min_length=1)
    addresses: dict[int, str]

    @field_serializer("token", "secret", when_used="json")
    def _reveal(self, secret: SecretStr | None) -> str | None:
        # It travels between hub and gateway only; anywhere else it prints as ***.
        return secret.get_secret_value() if secret else None

    def endpoint(self, port: int) -> Endpoint | None:
        return next((one for one in self.endpoints if one.port == port), None)


@dataclass(frozen=True)
class ToEndpoint:
    """An interface of the environment: ask it for `path`. People see it below `prefix`."""

    endpoint: Endpoint
    path: str
    prefix: str


@dataclass(frozen=True)
class ToPort:
    """A program that the person started inside: ask `port` for `path`."""

    port: int
    path: str
    prefix: str


@dataclass(frozen=True)
class Redirect:
    """The same with a / at its end."""

    path: str


@dataclass(frozen=True)
class Choose:
    """The server's own address, where several interfaces are."""


Target = ToEndpoint | ToPort | Redirect | Choose

_PROXY = re.compile(r"proxy/([1-9][0-9]{0,4})(/.*)?", re.DOTALL)


def resolve(route: Route, rest: str) -> Target | None:
    """Where a path leads; `rest` is what follows the server's `base_url`, as it was sent.

    None where there is nothing.
    """
    found = _PROXY.fullmatch(rest)
    if found and int(found[1]) <= 65535:
        prefix = f"{route.base_url}proxy/{found[1]}"
        if found[2] is None:
            return Redirect(f"{prefix}/")
        return ToPort(int(found[1]), path=found[2], prefix=f"{prefix}/")
    for endpoint in route.endpoints:
        if rest.startswith(endpoint.prefix):
            path = endpoint.base_path + rest.removeprefix(endpoint.prefix)
            return ToEndpoint(endpoint, path=path, prefix=route.base_url + endpoint.prefix)
        if f"{rest}/" == endpoint.prefix:
            return Redirect(route.base_url + endpoint.prefix)
    return Choose() if not rest else None


def at_origin(route: Route, port: int, path: str) -> ToEndpoint | ToPort:
    """Where a path leads at the origin that a port has of its own; it is nowhere stripped."""
    if not path.startswith("/"):
        path = f"/{path}"  # `GET @evil.example/ HTTP/1.1` would name another host after an address
    endpoint = route.endpoint(port)
    if endpoint is None:
        return ToPort(port, path=path, prefix="/")
    return ToEndpoint(endpoint, path=path, prefix="/")


def server_of(path: str, base_url: str) -> tuple[str, str, str] | None:
    """User and server, still escaped, and the rest of a path below the hub's `base_url`."""
    prefix = f"{base_url}user/"
    if not path.startswith(prefix):
        return None
    user, _, rest = path.removeprefix(prefix).partition("/")
    server, slash, rest = rest.partition("/")
    return (user, server, rest) if user and server and slash else None
