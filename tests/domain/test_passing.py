"""What passes between browsers and containers, and what does not, whatever is tried."""

import base64
from itertools import product
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mydocker_hub.domain.environment import SignIn
from mydocker_hub.domain.passing import (
    HOP_BY_HOP,
    Outside,
    credentials,
    from_container,
    is_ours,
    is_trusted,
    location,
    to_container,
)

HUB = "hub.example.org"
PREFIX = "/user/alice/lab/"
ADDRESS = "http://127.0.0.1:32768"
STRIPS = Outside("https", HUB, PREFIX, strips=True)
KEEPS = Outside("https", HUB, PREFIX, strips=False)
OWN = Outside("https", "8888-abc.env.example.org", "/", strips=False, own_origin=True)
OUTSIDES = [STRIPS, KEEPS, OWN]


def sent(headers, outside=STRIPS, *, keep_authorization=True, sign_in=()):
    return to_container(
        headers,
        outside,
        client="192.0.2.7",
        keep_authorization=keep_authorization,
        sign_in=list(sign_in),
    )


SELF_ONLY = ("Content-Security-Policy", "frame-ancestors 'self'")


def answered(headers, outside=STRIPS):
    """What a browser gets, without who may frame it, which has tests of its own."""
    passed = from_container(headers, outside, address=ADDRESS)
    return [header for header in passed if header != SELF_ONLY]


def values(headers, name):
    return [value for key, value in headers if key.lower() == name.lower()]


# --- cookies on their way in ---

OURS = [
    "jupyterhub-hub-login",
    "jupyterhub-session-id",
    "jupyterhub-user-alice-lab",
    "jupyterhub-user-alice-lab-oauth-state-abcdefgh",
    "service-catalogue",
    "service-catalogue-oauth-state",
    "mydocker-server",
    "mydocker-sign-in-abcdefgh",
    "mydocker-language",
    "__Host-mydocker-server",
    "__Host-jupyterhub-hub-login",
    "__Secure-jupyterhub-hub-login",
    "__Host-_xsrf",
]
THEIRS = ["_xsrf", "username-hub-8000", "code-server-session", "a", "my-jupyterhub-x", "__Host-x"]


@pytest.mark.parametrize("name", OURS)
def test_our_cookies(name):
    for spelled in (name, name.upper(), name.title(), f" {name} ", f"\t{name}", f"\xa0{name}"):
        assert is_ours(spelled)


@pytest.mark.parametrize("name", [*THEIRS, "", "xjupyterhub-", "__Host-_xsrf2"])
def test_the_containers_cookies(name):
    assert not is_ours(name)


@pytest.mark.parametrize(
    ("cookies", "passed"),
    [
        (["a=1; b=2"], ["a=1; b=2"]),
        (["a=1", "b=2"], ["a=1; b=2"]),
        (["a=1; jupyterhub-hub-login=S; b=2"], ["a=1; b=2"]),
        (["jupyterhub-hub-login=S"], []),
        (["__Host-_xsrf=S; _xsrf=theirs"], ["_xsrf=theirs"]),
        (["JUPYTERHUB-HUB-LOGIN=S"], []),
        (["a=1;jupyterhub-hub-login=S;b=2"], ["a=1; b=2"]),
        (["a=1 ;\t jupyterhub-hub-login =S ; b=2"], ["a=1; b=2"]),
        (["jupyterhub-hub-login=S; jupyterhub-hub-login=T; a=1"], ["a=1"]),
        (["jupyterhub-hub-login"], []),  # a name without =
        (["jupyterhub-hub-login=S=T=="], []),
        (["a==; b"], ["a==; b"]),
        # a quote that is left open hides nothing (“cookie sandwich”)
        (['a="x; jupyterhub-hub-login=S; b=y"'], ['a="x; b=y"']),
        (["$Version=1; jupyterhub-hub-login=S; $Path=/"], ["$Version=1; $Path=/"]),
        (["a=b=jupyterhub-hub-login"], ["a=b=jupyterhub-hub-login"]),
        (["; ;;"], []),
        ([""], []),
        ([], []),
    ],
)
def test_cookies_in(cookies, passed):
    for name in ("Cookie", "cookie", "COOKIE"):
        assert values(sent([(name, value) for value in cookies]), "cookie") == passed


def spelled(name):
    """A name in any letter case."""
    flips = st.lists(st.booleans(), min_size=len(name), max_size=len(name))
    return flips.map(
        lambda up: "".join(
            char.upper() if flip else char.lower() for char, flip in zip(name, up, strict=True)
        )
    )


spaces = st.text(" \t", max_size=2)
pairs = st.builds(
    lambda before, name, between, equals, value: before + name + between + equals + value,
    spaces,
    st.sampled_from([*OURS, *THEIRS]).flatmap(spelled),
    spaces,
    st.sampled_from(["=", ""]),
    st.text("SECRET\"'\\,=$ ", max_size=6),
)
cookie_headers = st.tuples(
    spelled("cookie"),
    st.lists(pairs, max_size=6).flatmap(lambda some: spaces.map(";".join([*some, ""]).__add__)),
)
HEADERS = [
    "Host",
    "Accept",
    "Origin",
    "Authorization",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-User",
    "X_Forwarded_Proto",
    "Forwarded",
    "X-Real-IP",
    "X-RStudio-Root-Path",
    "X-Anything",
    "Expect",
]
named_headers = st.tuples(
    st.sampled_from([*HEADERS, *sorted(HOP_BY_HOP)]).flatmap(spelled),
    st.sampled_from(["evil", "cookie, x-forwarded-for", "authorization", "close, X-Anything", ""]),
)
requests = st.lists(cookie_headers | named_headers, max_size=10)


@given(requests, st.sampled_from(OUTSIDES), st.booleans(), st.sampled_from(SignIn))
def test_what_never_reaches_a_container(headers, outside, keep_authorization, sign_in):
    shown = credentials(sign_in, user="alice", secret="SHOWN")
    passed = sent(headers, outside, keep_authorization=keep_authorization, sign_in=shown)
    names = [name.lower() for name, _ in passed]
    assert not HOP_BY_HOP & set(names)
    assert "expect" not in names
    # one Cookie header, without ours
    cookies = values(passed, "cookie")
    assert len(cookies) <= 1
    for pair in "".join(cookies).split(";"):
        assert not is_ours(pair.partition("=")[0])
    # what the gateway says of the request is said by nobody else
    said = {
        "x-forwarded-for": "192.0.2.7",
        "x-forwarded-proto": "https",
        "x-forwarded-host": outside.host,
        "x-forwarded-port": "443",
    }
    if outside.strips:
        said |= {"x-forwarded-prefix": PREFIX[:-1], "x-rstudio-root-path": PREFIX[:-1]}
    told = [
        (name.lower(), value)
        for name, value in passed
        if "forwarded" in name.lower() or name.lower() in {"x-real-ip", "x-rstudio-root-path"}
    ]
    assert sorted(told) == sorted(said.items())
    # one secret, and it is ours
    if shown:
        [(name, value)] = shown
        if name == "Authorization":
            assert values(passed, name) == [value]
        else:
            assert cookies[0].split("; ")[-1] == value
            assert sum(p.startswith("code-server-session=") for p in cookies[0].split("; ")) == 1
    elif not keep_authorization:
        assert not values(passed, "authorization")


@given(requests)
def test_what_passes_is_what_was_sent(headers):
    """Nothing is made up, and the order is kept."""
    unchanged = [item for item in sent(headers) if item in headers]
    rest = iter(headers)
    assert all(item in rest for item in unchanged)


# --- other headers on their way in ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Accept-Encoding", "gzip, br"),
        ("Content-Length", "3"),
        ("Content-Type", "application/json"),
        ("Host", HUB),
        ("If-None-Match", '"x"'),
        ("Origin", f"https://{HUB}"),
        ("Range", "bytes=0-1"),
        ("Referer", f"https://{HUB}{PREFIX}"),
        ("Sec-WebSocket-Key", "abc"),
        ("Sec-WebSocket-Protocol", "v1.kernel.websocket.jupyter.org"),
        ("X-XSRFToken", "2|x"),
        ("Authorization", "Basic YTpi"),
        ("X-Anything", "\xe9"),
    ],
)
def test_what_passes(name, value):
    assert (name, value) in sent([(name, value)])


@pytest.mark.parametrize(
    "name",
    [
        *("X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-FOR", "X_Forwarded_For"),
        *("X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Prefix"),
        *("X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Forwarded-User", "X-Forwarded-Path"),
        *("Forwarded", "X-Real-IP", "X-Scheme", "X-Script-Name", "X-Original-URL"),
        *("X-RStudio-Root-Path", "X-RStudio-Request", "X_RStudio_Request"),
        *("Proxy-Authorization", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Keep-Alive"),
        *("Expect", "expect"),
    ],
)
def test_what_does_not_pass(name):
    for outside in OUTSIDES:
        assert "evil" not in str(sent([(name, "evil")], outside))


def test_the_connections_own_headers():
    headers = [
        ("Connection", "keep-alive, X-Mine ,cookie, authorization, x-forwarded-for, host"),
        ("X-Mine", "1"),
        ("Other", "2"),
        ("Cookie", "a=1; jupyterhub-hub-login=S"),
        ("X-Forwarded-For", "evil"),
        ("connection", "Third"),
        ("third", "3"),
    ]
    sign_in = credentials(SignIn.JUPYTER, user="alice", secret="s")
    passed = sent(headers, sign_in=sign_in)
    # what we say ourselves cannot be named away
    assert values(passed, "x-forwarded-for") == ["192.0.2.7"]
    assert values(passed, "authorization") == ["token s"]
    assert values(passed, "cookie") == ["a=1"]
    assert {name.lower() for name, _ in passed} & {"x-mine", "third", "connection"} == set()
    assert values(passed, "other") == ["2"]


def test_headers_may_be_any_iterable():
    headers = [("Connection", "x-mine"), ("X-Mine", "1"), ("A", "b")]
    assert sent(iter(headers)) == sent(headers)
    assert answered(iter(headers)) == answered(headers) == [("A", "b")]


def test_a_hub_token_stays_outside():
    headers = [("authorization", "token HUB"), ("AUTHORIZATION", "Bearer HUB")]
    assert "HUB" not in str(sent(headers, keep_authorization=False))
    assert len(values(sent(headers), "authorization")) == 2


@pytest.mark.parametrize(
    ("host", "scheme", "port"),
    [
        ("hub.example.org", "https", "443"),
        ("hub.example.org", "http", "80"),
        ("hub.example.org:8000", "http", "8000"),
        ("[::1]:8000", "http", "8000"),
        ("[::1]", "https", "443"),
        ("hub:99999", "https", "443"),
        ("hub:", "https", "443"),
        ("[", "http", "80"),
    ],
)
def test_the_port_outside(host, scheme, port):
    passed = sent([], Outside(scheme, host, PREFIX, strips=False))
    assert passed == [
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Proto", scheme),
        ("X-Forwarded-Host", host),
        ("X-Forwarded-Port", port),
    ]


# --- the secret ---


@pytest.mark.parametrize(
    ("sign_in", "shown"),
    [
        (SignIn.NONE, []),
        (SignIn.JUPYTER, [("Authorization", "token s3cret")]),
        (SignIn.CODE_SERVER, [("Cookie", "code-server-session=s3cret")]),
        (
            SignIn.BASIC,
            [("Authorization", "Basic " + base64.b64encode("amélie:s3cret".encode()).decode())],
        ),
    ],
)
def test_credentials(sign_in, shown):
    assert credentials(sign_in, user="amélie", secret="s3cret") == shown
    assert credentials(sign_in, user="amélie", secret=None) == []


@pytest.mark.parametrize(
    "cookie",
    [
        "code-server-session=evil",
        "code-server-session=evil; a=1",
        "a=1;code-server-session = evil",
        "code-server-session",
        "\xa0code-server-session=evil",
    ],
)
def test_the_browsers_own_session_gives_way(cookie):
    shown = credentials(SignIn.CODE_SERVER, user="alice", secret="s3cret")
    [passed] = values(sent([("Cookie", cookie)], sign_in=shown), "cookie")
    assert "evil" not in passed
    assert passed.endswith("code-server-session=s3cret")
    assert passed.count("code-server-session") == 1


# --- cookies on their way out ---


@pytest.mark.parametrize(
    ("outside", "cookie", "passed"),
    [
        (STRIPS, "a=1", "a=1; Path=/user/alice/lab/"),
        (STRIPS, "a=1; Path=/", "a=1; Path=/user/alice/lab/"),
        (STRIPS, "a=1; path=/api", "a=1; Path=/user/alice/lab/api"),
        (STRIPS, "a=1; Path=//evil", "a=1; Path=/user/alice/lab/evil"),
        (STRIPS, "a=1; Path=/user/alice/lab/x", "a=1; Path=/user/alice/lab/x"),
        (STRIPS, "a=1; Path=/user/alice/lab", "a=1; Path=/user/alice/lab"),
        (STRIPS, "a=1; Path=/user/alice/lab2/", "a=1; Path=/user/alice/lab/user/alice/lab2/"),
        (KEEPS, "a=1; Path=/user/alice/lab/x", "a=1; Path=/user/alice/lab/x"),
        (KEEPS, "a=1; Path=/hub/", "a=1; Path=/user/alice/lab/"),
        (KEEPS, "a=1; Path=/user/alice/lab2/", "a=1; Path=/user/alice/lab/"),
        (KEEPS, "a=1; Path=/user/alice", "a=1; Path=/user/alice/lab/"),
        (KEEPS, 'a=1; Path="/"', "a=1; Path=/user/alice/lab/"),
        # the last one counts, so there is only one
        (KEEPS, "a=1; Path=/user/alice/lab/; PATH=/", "a=1; Path=/user/alice/lab/"),
        (KEEPS, "a=1; path; PaTh = / ", "a=1; Path=/user/alice/lab/"),
        (KEEPS, "a=1;\tPath\t=\t/hub", "a=1; Path=/user/alice/lab/"),
        # a domain would make it another server's, or the hub's
        (KEEPS, "a=1; Domain=example.org", "a=1; Path=/user/alice/lab/"),
        (KEEPS, "a=1; DOMAIN = .example.org;domain", "a=1; Path=/user/alice/lab/"),
        (
            KEEPS,
            "a=1; Secure; HttpOnly; SameSite=Lax; Max-Age=3; Odd=a=b;;",
            "a=1; Path=/user/alice/lab/; Secure; HttpOnly; SameSite=Lax; Max-Age=3; Odd=a=b",
        ),
        (KEEPS, "a", "a; Path=/user/alice/lab/"),
        (KEEPS, "a=", "a=; Path=/user/alice/lab/"),
        (KEEPS, 'a="b', 'a="b; Path=/user/alice/lab/'),
        # browsers send these back as “jupyterhub-…”
        (KEEPS, "=jupyterhub-session-id=evil", None),
        (KEEPS, "jupyterhub-session-id", None),
        (KEEPS, " =a", None),
        (KEEPS, "", None),
        (KEEPS, "; Path=/", None),
        # a name that only the whole origin may have
        (KEEPS, "__Host-a=1; Path=/; Secure", None),
        (KEEPS, "__Host-_xsrf=1; Path=/; Secure", None),
        # its own origin
        (OWN, "a=1; Path=/", "a=1; Path=/"),
        (OWN, "a=1; Path=/x", "a=1; Path=/x"),
        (OWN, "a=1; Domain=env.example.org; Path=/", "a=1; Path=/"),
        (OWN, "__Host-a=1; Secure; Path=/", "__Host-a=1; Path=/; Secure"),
        (OWN, "__Host-a=1; Secure; Path=/x", "__Host-a=1; Path=/; Secure"),
        (OWN, "a=1; Path=x", "a=1; Path=/"),
        (OWN, "__Host-mydocker-server=evil; Secure; Path=/", None),
    ],
)
def test_cookies_out(outside, cookie, passed):
    for name in ("Set-Cookie", "set-cookie", "SET-COOKIE"):
        expected = [] if passed is None else [(name, passed)]
        assert answered([(name, cookie)], outside) == expected


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("outside", OUTSIDES)
def test_no_container_sets_a_cookie_of_ours(name, outside):
    for cookie in (f"{name}=evil", f"{name.upper()}=evil", f" {name} = evil; Path=/", name):
        assert answered([("Set-Cookie", cookie)], outside) == []


def as_a_browser(header):
    """Name, path and domain of a Set-Cookie, as RFC 6265bis section 5.6 reads it."""
    first, *attributes = header.split(";")
    name, equals, value = first.partition("=")
    if not equals:
        name, value = "", name
    read = {"path": "", "domain": ""}
    for attribute in attributes:
        key, _, argument = attribute.partition("=")
        read[key.strip(" \t").lower()] = argument.strip(" \t")
    return name.strip(" \t"), value.strip(" \t"), read["path"], read["domain"]


attributes = st.builds(
    lambda before, key, between, rest: before + key + between + rest,
    spaces,
    st.sampled_from(["path", "domain", "secure", "httponly", "max-age", ""]).flatmap(spelled),
    spaces,
    st.sampled_from(
        ["", "=", "=/", "=/hub/", "=//x", f"={PREFIX}", f"={PREFIX}x", "=.example.org"]
    ),
)
set_cookies = st.lists(st.one_of(pairs, st.text(max_size=10), attributes), max_size=1).flatmap(
    lambda first: st.lists(attributes, max_size=5).map(lambda rest: ";".join([*first, *rest]))
)


@given(set_cookies, st.sampled_from(OUTSIDES))
def test_a_cookie_stays_below_the_prefix(header, outside):
    for _, passed in answered([("Set-Cookie", header)], outside):
        name, value, path, domain = as_a_browser(passed)
        assert not is_ours(name or value)
        assert not domain
        assert path.startswith(outside.prefix) or f"{path}/" == outside.prefix


# --- redirects ---


@pytest.mark.parametrize(
    ("value", "stripped", "kept"),
    [
        # relative: the browser resolves it
        ("", "", ""),
        ("./login", "./login", "./login"),
        ("../x", "../x", "../x"),
        ("?a=b", "?a=b", "?a=b"),
        ("#c", "#c", "#c"),
        # absolute paths
        ("/", PREFIX, "/"),
        ("/a?b=/c#d", f"{PREFIX}a?b=/c#d", "/a?b=/c#d"),
        (f"{PREFIX}a", f"{PREFIX}a", f"{PREFIX}a"),
        ("/user/alice/lab", "/user/alice/lab", "/user/alice/lab"),
        ("/a%2F%2e.b//c", f"{PREFIX}a%2F%2e.b//c", "/a%2F%2e.b//c"),
        # whole addresses: the container's own, and the outside
        (f"{ADDRESS}", PREFIX, "/"),
        (f"{ADDRESS}/a?b#c", f"{PREFIX}a?b#c", "/a?b#c"),
        (f"https://{HUB}/a", f"{PREFIX}a", "/a"),
        (f"http://{HUB.upper()}/a", f"{PREFIX}a", "/a"),
        (f"//{HUB}/a", f"{PREFIX}a", "/a"),
        # others are left alone
        (
            "https://login.example.org/?x",
            "https://login.example.org/?x",
            "https://login.example.org/?x",
        ),
        ("//evil.example/a", "//evil.example/a", "//evil.example/a"),
        (
            f"https://{HUB}@evil.example/",
            f"https://{HUB}@evil.example/",
            f"https://{HUB}@evil.example/",
        ),
        (f"https://{HUB}:8443/", f"https://{HUB}:8443/", f"https://{HUB}:8443/"),
        (
            f"https://{HUB}.evil.example/",
            f"https://{HUB}.evil.example/",
            f"https://{HUB}.evil.example/",
        ),
        ("https://[::1]:80/x", "https://[::1]:80/x", "https://[::1]:80/x"),
        ("http://[::1", "http://[::1", "http://[::1"),
        ("http:/x", "http:/x", "http:/x"),
        ("vscode://open/x", "vscode://open/x", "vscode://open/x"),
        (f"ftp://{HUB}/x", f"ftp://{HUB}/x", f"ftp://{HUB}/x"),
        # never another host that nobody named
        (f"{ADDRESS}//evil.example", f"{PREFIX}evil.example", "/evil.example"),
        (f"{ADDRESS}/\\evil.example", f"{PREFIX}evil.example", "/evil.example"),
        (f"{ADDRESS}\\\\evil.example", f"{ADDRESS}\\\\evil.example", f"{ADDRESS}\\\\evil.example"),
        (f"{ADDRESS}/.//evil.example", f"{PREFIX}evil.example", "/evil.example"),
        (f"{ADDRESS}/a/..//evil.example", f"{PREFIX}evil.example", "/evil.example"),
        ("///evil.example", f"{PREFIX}evil.example", "/evil.example"),
        ("/\\evil.example", f"{PREFIX}evil.example", "/evil.example"),
        # nor out of the prefix that the container knows nothing of
        ("/..", PREFIX, "/"),
        ("/../../hub/logout", f"{PREFIX}hub/logout", "/hub/logout"),
        ("/%2e%2E/.%2e/%2E/hub/logout", f"{PREFIX}hub/logout", "/hub/logout"),
        ("/a\\..\\..\\hub", f"{PREFIX}hub", "/hub"),
        (f"{PREFIX}../../../hub/logout", f"{PREFIX}hub/logout", "/hub/logout"),
        ("/a/b/..", f"{PREFIX}a/", "/a/"),
        ("/a/b/.", f"{PREFIX}a/b/", "/a/b/"),
    ],
)
def test_location(value, stripped, kept):
    assert location(value, STRIPS, address=ADDRESS) == stripped
    assert location(value, KEEPS, address=ADDRESS) == kept
    for name in ("Location", "location", "Content-Location"):
        assert answered([(name, value)]) == [(name, stripped)]


pieces = st.sampled_from(
    [
        *[
            "/",
            "//",
            "\\",
            "..",
            ".",
            "%2e%2E",
            "a",
            "hub",
            "?",
            "#",
            "@",
            ":",
            "http:",
            "https:",
            "evil.example",
            "[::1]",
            "[",
            "é",
        ],
        *[PREFIX, HUB, ADDRESS, f"https://{HUB}", "\t", "\n", " ", "\x01"],
    ]
)


@given(st.lists(pieces, max_size=8).map("".join), st.sampled_from(OUTSIDES))
@example(f"{ADDRESS}/\\evil.example", KEEPS)
def test_a_redirect_leads_nowhere_else(value, outside):
    passed = location(value, outside, address=ADDRESS)
    if passed == value:
        return  # as the container said
    # else it is a path at the place where people are, however a browser reads it
    assert passed.startswith("/")
    assert passed[1:2] not in {"/", "\\"}
    assert not set(passed) & set("\t\r\n")
    parts = urlsplit(passed)
    assert not parts.netloc
    assert "\\" not in parts.path
    assert not {"..", "."} & set(parts.path.lower().replace("%2e", ".").split("/"))
    if outside.strips:
        assert passed.startswith(outside.prefix) or f"{parts.path}/" == outside.prefix


# --- other headers on their way out ---


@pytest.mark.parametrize(
    "name",
    [
        *("Clear-Site-Data", "Strict-Transport-Security", "NEL", "Report-To", "Alt-Svc"),
        *("Reporting-Endpoints", "Origin-Agent-Cluster", "Public-Key-Pins", "Set-Login"),
    ],
)
def test_what_speaks_for_the_whole_origin(name):
    for header in (name, name.lower(), name.upper()):
        assert answered([(header, "x")], STRIPS) == []
        assert answered([(header, "x")], KEEPS) == []
        assert answered([(header, "x")], OWN) == [(header, "x")]


def test_service_workers_stay_below_the_prefix():
    header = [("service-worker-allowed", "/")]
    assert answered(header, STRIPS) == [("service-worker-allowed", PREFIX)]
    assert answered(header, KEEPS) == [("service-worker-allowed", PREFIX)]
    assert answered(header, OWN) == header


@pytest.mark.parametrize("outside", OUTSIDES)
def test_answers_lose_what_is_of_the_connection(outside):
    headers = [
        ("Connection", "keep-alive, X-Mine"),
        ("Keep-Alive", "timeout=5"),
        ("x-mine", "1"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
        ("Content-Type", "text/html"),
        ("Content-Length", "3"),
        ("Content-Security-Policy", "sandbox"),
        ("Sec-WebSocket-Accept", "x"),
        ("WWW-Authenticate", "Basic"),
    ]
    assert answered(headers, outside) == headers[5:]


ANSWERS = [
    "Set-Cookie",
    "Location",
    "Content-Location",
    "Clear-Site-Data",
    "Service-Worker-Allowed",
    "ETag",
    "Connection",
    "Upgrade",
]
responses = st.lists(
    st.tuples(
        st.sampled_from(ANSWERS).flatmap(spelled),
        st.one_of(set_cookies, st.lists(pieces, max_size=4).map("".join)),
    ),
    max_size=8,
)


@given(responses, st.sampled_from([STRIPS, KEEPS]))
def test_what_never_reaches_a_browser(headers, outside):
    for name, value in answered(headers, outside):
        assert name.lower() not in HOP_BY_HOP | {"clear-site-data"}
        if name.lower() == "service-worker-allowed":
            assert value == outside.prefix
        if name.lower() == "set-cookie":
            assert as_a_browser(value)[2].startswith(outside.prefix[:-1])


# --- who asks ---

SAME, OTHER = f"https://{HUB}", "https://evil.example"
ORIGINS = [
    None,
    SAME,
    f"https://{HUB.upper()}",
    OTHER,
    f"{SAME}:8443",
    f"{SAME}.evil.example",
    "null",
]
SITES = [None, "same-origin", "none", "same-site", "cross-site", "of-tomorrow"]
MODES = [None, "navigate", "cors", "no-cors", "websocket"]
METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "MKCOL", "get"]


def is_trusted_with(method, origin, site, mode, *, upgrade=None):
    named = {"Origin": origin, "Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Upgrade": upgrade}
    headers = [(name, value) for name, value in named.items() if value is not None]
    answers = {
        is_trusted(method, [(change(name), value) for name, value in order], HUB)
        for order in (headers, headers[::-1])
        for change in (str, str.lower, str.upper)
    }
    [answer] = answers
    return answer


def test_websockets_are_opened_by_pages_of_ours_alone():
    for method, origin, site, mode, upgrade in product(
        ["GET", "POST"], ORIGINS, SITES, MODES, ["websocket", "WebSocket"]
    ):
        ours = origin is not None and origin.lower() == SAME
        assert is_trusted_with(method, origin, site, mode, upgrade=upgrade) is ours


def test_a_page_of_ours_may_do_anything():
    for method, mode in product(METHODS, MODES):
        assert is_trusted_with(method, SAME, "same-origin", mode)
        assert is_trusted_with(method, None, "same-origin", mode)
        assert is_trusted_with(method, SAME, None, mode)  # Sec-Fetch-* is for https only


def test_what_is_no_browser_may_do_anything():
    for method in METHODS:
        assert is_trusted_with(method, None, None, None)


def test_another_site_may_lead_here_and_nothing_else():
    for method, origin, site, mode in product(METHODS, ORIGINS, SITES[3:], MODES):
        leads = method in {"GET", "HEAD"} and mode == "navigate"
        assert is_trusted_with(method, origin, site, mode) is leads, (method, origin, site, mode)


def test_another_origin_sends_nothing_whatever_else_it_says():
    for method, origin, site, mode in product(METHODS[2:], ORIGINS[3:], SITES, MODES):
        ours = origin == "null" and site == "same-origin"
        assert is_trusted_with(method, origin, site, mode) is ours, (method, origin, site, mode)


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://localhost:8000", "localhost:8000", True),
        ("http://localhost:8000", "localhost:8001", False),
        ("http://localhost", "localhost:8000", False),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("https://user@hub", "hub", False),
        ("https://hub/path", "hub", True),
        ("hub", "hub", False),
        ("https://[", "hub", False),
        ("https://[", "[", False),
        ("null", "null", False),
        ("file://", "hub", False),
        ("https://evil.example, https://hub", "hub", False),
        ("https://hub, https://evil.example", "hub", False),
    ],
)
def test_origins(origin, host, same):
    assert is_trusted("POST", [("Origin", origin)], host) is same
    assert is_trusted("GET", [("Origin", origin), ("Upgrade", "websocket")], host) is same


@given(
    st.sampled_from(METHODS),
    st.lists(
        st.tuples(
            st.sampled_from(["Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Upgrade"]), st.text()
        )
    ),
    st.text(),
)
def test_anybody_is_judged(method, headers, host):
    assert is_trusted(method, headers, host) in {True, False}


@pytest.mark.parametrize("name", ["X-Accel-Redirect", "x-sendfile", "X-Lighttpd-Send-File"])
@pytest.mark.parametrize("own_origin", [True, False])
def test_no_file_of_the_front_is_sent(name: str, own_origin: bool) -> None:
    outside = Outside("https", "hub.example.org", "/", strips=False, own_origin=own_origin)
    passed = from_container(
        [(name, "/etc/passwd"), ("X-Other", "1")], outside, address="http://127.0.0.1:1"
    )
    assert passed[0] == ("X-Other", "1")
    assert name.lower() not in {header.lower() for header, _ in passed}


MOODLE = "https://moodle.example.org"
FRAMED = Outside("https", HUB, PREFIX, strips=False, frame_origins=(MOODLE,))
OWN_FRAMED = Outside(
    "https", "8888-abc.env.example.org", "/", strips=False, own_origin=True, frame_origins=(MOODLE,)
)


@pytest.mark.parametrize(
    ("outside", "sent_policy", "policies"),
    [
        (KEEPS, None, ["frame-ancestors 'self'"]),
        (
            KEEPS,
            "frame-ancestors *; script-src 'self'",
            ["script-src 'self'", "frame-ancestors 'self'"],
        ),
        (KEEPS, "FRAME-ANCESTORS https://evil.example", ["frame-ancestors 'self'"]),
        (KEEPS, "sandbox, frame-ancestors *", ["sandbox", "frame-ancestors 'self'"]),
        (OWN, "frame-ancestors 'self'; img-src *", ["frame-ancestors 'self'; img-src *"]),
        (OWN, None, []),
        (FRAMED, "frame-ancestors 'self'", [f"frame-ancestors 'self' {MOODLE}"]),
        (
            OWN_FRAMED,
            "frame-ancestors 'self'; img-src *",
            ["img-src *", f"frame-ancestors 'self' {MOODLE}"],
        ),
    ],
)
def test_who_may_frame_a_server_is_for_operators_to_say(outside, sent_policy, policies) -> None:
    headers = [("Content-Security-Policy", sent_policy)] if sent_policy else []
    passed = from_container(headers, outside, address=ADDRESS)
    assert values(passed, "Content-Security-Policy") == policies


def test_the_old_header_says_nothing_where_ours_speaks() -> None:
    headers = [("X-Frame-Options", "ALLOW-FROM https://evil.example")]
    assert values(from_container(headers, KEEPS, address=ADDRESS), "X-Frame-Options") == []
    assert values(from_container(headers, OWN, address=ADDRESS), "X-Frame-Options") != []


def test_inside_a_frame_cookies_are_those_that_browsers_keep_there() -> None:
    headers = [("Set-Cookie", "_xsrf=1; Path=/user/alice/lab/; SameSite=Lax; HttpOnly")]
    assert values(from_container(headers, FRAMED, address=ADDRESS), "Set-Cookie") == [
        "_xsrf=1; Path=/user/alice/lab/; HttpOnly; SameSite=None; Secure; Partitioned"
    ]
