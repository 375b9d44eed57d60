"""What of a request the gateway passes on to a container, and what of its answer it gives back.

Containers run what their people put into them. On the path of a server they answer at the hub's
own origin, so that what would speak for the whole origin (cookies, service workers, storage) is
cut back to the server's path. Header lists are (name, value) pairs, in the order sent.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from .environment import SignIn

Headers = list[tuple[str, str]]

# RFC 9110 section 7.6.1, and what concerns one connection only.
HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip

# The hub's cookies, those of its services, and ours.
_OUR_COOKIES = re.compile(
    r"(?:__Host-|__Secure-)?(?:jupyterhub-|mydocker|service-)|__Host-_xsrf\Z", re.IGNORECASE
)

# Answers that would have a front send files of its own machine (nginx, Apache).
_FOR_A_FRONT = frozenset({"x-accel-redirect", "x-lighttpd-send-file", "x-sendfile"})

# Answers that speak for the whole origin, which is the hub's.
_OF_THE_ORIGIN = frozenset(
    {
        "alt-svc", "clear-site-data", "nel", "origin-agent-cluster", "public-key-pins",
        "report-to", "reporting-endpoints", "set-login", "strict-transport-security",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Outside:
    """Where people see what is asked for: `https`, `hub.example.org`, `/user/alice/lab/`."""

    scheme: str
    host: str
    prefix: str
    strips: bool  # the container does not know of `prefix`
    own_origin: bool = False  # not shared with the hub
    frame_origins: tuple[str, ...] = ()  # other sites whose pages may show what is here


def is_ours(cookie_name: str) -> bool:
    """Whether a cookie is the hub's or ours: no container reads or sets it."""
    return _OUR_COOKIES.match(cookie_name.strip()) is not None


def to_container(
    headers: Iterable[tuple[str, str]],
    outside: Outside,
    *,
    client: str,
    keep_authorization: bool,
    sign_in: Headers,
) -> Headers:
    """The headers of a request as the container gets them.

    `client` is the person's address. `sign_in` is what `credentials` gave; it replaces what was
    sent under the same name, but cookies, which it joins.
    """
    headers = list(headers)
    replaced = {name.lower() for name, _ in sign_in} - {"cookie"}
    dropped = HOP_BY_HOP | _named_by_connection(headers) | replaced | {"expect"}
    if not keep_authorization:
        dropped |= {"authorization"}
    passed: Headers = []
    cookies: list[str] = []
    for name, value in headers:
        lower = name.lower()
        if lower == "cookie":
            cookies += [pair.strip() for pair in value.split(";")]
        elif lower not in dropped and not _says_where(lower):
            passed.append((name, value))
    added = [value for name, value in sign_in if name.lower() == "cookie"]
    own = {_name(pair) for pair in added}
    kept = [
        pair for pair in cookies if pair and not is_ours(_name(pair)) and _name(pair) not in own
    ]
    if kept or added:
        passed.append(("Cookie", "; ".join([*kept, *added])))
    passed += [(name, value) for name, value in sign_in if name.lower() != "cookie"]
    prefix = outside.prefix.rstrip("/")
    passed += [
        ("X-Forwarded-For", client),
        ("X-Forwarded-Proto", outside.scheme),
        ("X-Forwarded-Host", outside.host),
        ("X-Forwarded-Port", str(_port(outside))),
    ]
    if outside.strips and prefix:
        # The second is RStudio's (Posit, "Running with a proxy").
        passed += [("X-Forwarded-Prefix", prefix), ("X-RStudio-Root-Path", prefix)]
    return passed


_WHERE = frozenset(
    {
        "forwarded", "x-client-ip", "x-original-host", "x-original-uri", "x-original-url",
        "x-real-ip", "x-rewrite-url", "x-rstudio-request", "x-rstudio-root-path", "x-scheme",
        "x-script-name",
    }
)  # fmt: skip


def _says_where(lower_name: str) -> bool:
    """Whether a header tells a server behind a proxy who asks, and for which address.

    Only the gateway says that. With `_` too, which many web servers take for `-`.
    """
    name = lower_name.replace("_", "-")
    return name in _WHERE or name.startswith("x-forwarded-")


def credentials(sign_in: SignIn, *, user: str, secret: str | None) -> Headers:
    """The headers that show the container its secret."""
    if secret is None or sign_in is SignIn.NONE:
        return []
    if sign_in is SignIn.JUPYTER:
        return [("Authorization", f"token {secret}")]
    if sign_in is SignIn.CODE_SERVER:
        return [("Cookie", f"code-server-session={secret}")]
    pair = base64.b64encode(f"{user}:{secret}".encode()).decode("ascii")
    return [("Authorization", f"Basic {pair}")]


def from_container(
    headers: Iterable[tuple[str, str]], outside: Outside, *, address: str
) -> Headers:
    """The headers of an answer as the browser gets them.

    `address` is the container's, such as `http://127.0.0.1:32768`: where an answer names it, it
    means the place where people see it.
    """
    headers = list(headers)
    dropped = HOP_BY_HOP | _FOR_A_FRONT | _named_by_connection(headers)
    if not outside.own_origin:
        dropped |= _OF_THE_ORIGIN
    frames = outside.frame_origins or not outside.own_origin
    if frames:
        dropped |= {"x-frame-options"}
    passed: Headers = []
    for name, value in headers:
        lower = name.lower()
        if lower in dropped:
            continue
        if lower == "set-cookie":
            cookie = _cookie(value, outside)
            if cookie is not None:
                passed.append((name, cookie))
        elif lower in {"location", "content-location"}:
            passed.append((name, location(value, outside, address=address)))
        elif lower == "content-security-policy" and frames:
            passed += [(name, policy) for policy in _policies_without_ancestors(value)]
        elif lower == "service-worker-allowed":
            passed.append((name, value if outside.own_origin else outside.prefix))
        else:
            passed.append((name, value))
    if frames:
        # Who may show a server inside their page is the operators' to say (CSP 3, section 6.4.2):
        # at the hub's origin any page there could lead clicks into it, a container's too.
        ancestors = " ".join(["'self'", *outside.frame_origins])
        passed.append(("Content-Security-Policy", f"frame-ancestors {ancestors}"))
    return passed


def _policies_without_ancestors(value: str) -> list[str]:
    """The policies of one header, without what they say of frames."""
    policies = []
    for policy in value.split(","):
        directives = [part.strip() for part in policy.split(";")]
        kept = [
            part for part in directives if part and part.split()[0].lower() != "frame-ancestors"
        ]
        if kept:
            policies.append("; ".join(kept))
    return policies


def location(value: str, outside: Outside, *, address: str) -> str:
    """A redirect of the container as the browser has to follow it."""
    try:
        parts = urlsplit(value)
        inside = urlsplit(address)
        here = not parts.netloc or parts.netloc.lower() in {
            outside.host.lower(),
            inside.netloc.lower(),
        }
    except ValueError:
        return value
    if not here or (parts.scheme and parts.scheme not in {"http", "https"}):
        return value
    if not parts.netloc and not value.startswith("/"):
        return value  # relative: the browser resolves it where it is
    path = _as_read(parts.path)
    if outside.strips and not _below(path, outside.prefix):
        path = outside.prefix + path.lstrip("/")
    query = f"?{parts.query}" if parts.query else ""
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    return path + query + fragment


def _as_read(path: str) -> str:
    """An absolute path as browsers read it (WHATWG URL): `\\` is `/`, and `..` goes up.

    It starts with one `/`: with two it would be read as another host.
    """
    read: list[str] = []
    segments = path.replace("\\", "/").split("/")
    for segment in segments:
        dots = _ESCAPED_DOT.sub(".", segment)
        if dots == "..":
            del read[-1:]
        elif dots != ".":
            read.append(segment)
    if dots in {".", ".."}:
        read.append("")
    return "/" + "/".join(read).lstrip("/")


_ESCAPED_DOT = re.compile("%2e", re.IGNORECASE)


_OF_A_SITE = frozenset({"samesite", "secure", "partitioned"})


def _cookie(value: str, outside: Outside) -> str | None:
    """A Set-Cookie for nothing but the server's path; None for a name that is ours.

    Attributes as in RFC 6265 section 5.2.
    """
    first, *attributes = value.split(";")
    name = _name(first)
    if not name or is_ours(name):
        return None
    path = ""
    kept = []
    for attribute in attributes:
        key, _, argument = attribute.partition("=")
        key = key.strip().lower()
        if key == "path":
            path = argument.strip()
        elif key == "domain" or (outside.frame_origins and key in _OF_A_SITE):
            continue
        else:
            kept.append(attribute.strip())
    if outside.frame_origins:  # inside another site's page no other cookie is kept
        kept += ["SameSite=None", "Secure", "Partitioned"]
    if name.startswith("__Host-"):
        path = "/"  # anything else would be refused by the browser
        if not outside.own_origin:
            return None
    elif not _below(path, outside.prefix):
        below = path.lstrip("/") if outside.strips else ""
        path = outside.prefix + below
    return "; ".join([first.strip(), f"Path={path}", *(item for item in kept if item)])


def _name(pair: str) -> str:
    """The name of a cookie; all of it where there is no `=`, as it may be sent back so."""
    return pair.partition("=")[0].strip()


def _below(path: str, prefix: str) -> bool:
    return path.startswith(prefix) or f"{path}/" == prefix


def _port(outside: Outside) -> int:
    try:
        port = urlsplit(f"//{outside.host}").port
    except ValueError:
        port = None
    return port or (443 if outside.scheme == "https" else 80)


def _named_by_connection(headers: Iterable[tuple[str, str]]) -> frozenset[str]:
    """The headers that a Connection header declares to be of this connection."""
    return frozenset(
        option.strip().lower()
        for name, value in headers
        if name.lower() == "connection"
        for option in value.split(",")
    )


def is_trusted(method: str, headers: Sequence[tuple[str, str]], host: str) -> bool:
    """Whether a request that bears our cookie was sent by a page of `host`, or by the person.

    A page of another site may lead its visitors here (a GET that navigates), nothing else: not
    send forms, not read answers, not open WebSockets. Browsers say who asks: Sec-Fetch-Site
    (W3C Fetch Metadata), Origin (RFC 6454) where they do not know it.
    """
    named = {name.lower(): value for name, value in headers}
    is_websocket = named.get("upgrade", "").lower() == "websocket"
    reads = method in {"GET", "HEAD"}
    origin = named.get("origin", "")
    site = named.get("sec-fetch-site", "")
    if is_websocket:
        return _host_of(origin) == host.lower()
    if origin and not reads and _host_of(origin) != host.lower():
        # Fetch 3.2: a form on a page that sends no Referer says "null" to its own site too.
        return origin == "null" and site == "same-origin"
    if site in {"", "same-origin", "none"}:
        return True
    return reads and named.get("sec-fetch-mode") == "navigate"


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
