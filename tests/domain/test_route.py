"""Where a path below a server leads, and what a route tells to whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from mydocker_hub.domain.launch import Endpoint
from mydocker_hub.domain.route import (
    Choose,
    Redirect,
    Route,
    ToEndpoint,
    ToPort,
    at_origin,
    resolve,
    server_of,
)

BASE = "/user/alice/lab/"


def endpoint(name, port, prefix, *, keeps=False):
    return Endpoint(
        name=name,
        port=port,
        prefix=prefix,
        base_path=BASE + prefix if keeps else "/",
        sign_in="none",
    )


def route(*endpoints):
    return Route(
        user="alice",
        server="lab",
        launch_id=1,
        base_url=BASE,
        label="abc",
        client_id="jupyterhub-user-alice-lab",
        access_scopes=("access:servers!server=alice/lab",),
        token="the token",
        secret="the secret",
        endpoints=endpoints,
        entrances=[{"name": one.name, "title": one.name, "path": one.prefix} for one in endpoints],
        addresses={one.port: f"http://127.0.0.1:{one.port}" for one in endpoints},
    )


ONE = endpoint("lab", 8888, "", keeps=True)
STRIPPED = endpoint("code", 8080, "")
LAB, CODE = endpoint("lab", 8888, "lab/", keeps=True), endpoint("code", 8080, "code/")


@pytest.mark.parametrize(
    ("endpoints", "rest", "target"),
    [
        ([ONE], "", ToEndpoint(ONE, "/user/alice/lab/", BASE)),
        ([ONE], "lab/tree", ToEndpoint(ONE, "/user/alice/lab/lab/tree", BASE)),
        ([ONE], "/x", ToEndpoint(ONE, "/user/alice/lab//x", BASE)),
        ([STRIPPED], "", ToEndpoint(STRIPPED, "/", BASE)),
        ([STRIPPED], "a/%2e%2e/é", ToEndpoint(STRIPPED, "/a/%2e%2e/é", BASE)),
        ([STRIPPED], "../../hub", ToEndpoint(STRIPPED, "/../../hub", BASE)),
        ([STRIPPED], "@evil.example/", ToEndpoint(STRIPPED, "/@evil.example/", BASE)),
        # several
        ([LAB, CODE], "lab/", ToEndpoint(LAB, f"{BASE}lab/", f"{BASE}lab/")),
        ([LAB, CODE], "lab/lab/tree", ToEndpoint(LAB, f"{BASE}lab/lab/tree", f"{BASE}lab/")),
        ([LAB, CODE], "code/", ToEndpoint(CODE, "/", f"{BASE}code/")),
        ([LAB, CODE], "code/../lab/", ToEndpoint(CODE, "/../lab/", f"{BASE}code/")),
        ([LAB, CODE], "lab", Redirect(f"{BASE}lab/")),
        ([LAB, CODE], "code", Redirect(f"{BASE}code/")),
        ([LAB, CODE], "", Choose()),
        ([LAB, CODE], "other/", None),
        ([LAB, CODE], "labs/", None),
        ([LAB, CODE], "Lab/", None),
        ([LAB, CODE], "/lab/", None),
        # any port
        ([ONE], "proxy/3000", Redirect(f"{BASE}proxy/3000/")),
        ([ONE], "proxy/3000/", ToPort(3000, "/", f"{BASE}proxy/3000/")),
        ([ONE], "proxy/3000/a/b", ToPort(3000, "/a/b", f"{BASE}proxy/3000/")),
        ([ONE], "proxy/3000/a\nb", ToPort(3000, "/a\nb", f"{BASE}proxy/3000/")),
        ([ONE], "proxy/3000//evil.example", ToPort(3000, "//evil.example", f"{BASE}proxy/3000/")),
        ([LAB, CODE], "proxy/8080/", ToPort(8080, "/", f"{BASE}proxy/8080/")),
        ([LAB, CODE], "proxy/65535/", ToPort(65535, "/", f"{BASE}proxy/65535/")),
        ([LAB, CODE], "proxy/65536/", None),
        ([LAB, CODE], "proxy/0/", None),
        ([LAB, CODE], "proxy/080/", None),
        ([LAB, CODE], "proxy/３０００/", None),
        ([LAB, CODE], "proxy/123456/", None),
        ([LAB, CODE], "proxy/3000@evil.example/", None),
        ([LAB, CODE], "proxy/evil.example:80/", None),
        ([LAB, CODE], "proxy/", None),
        ([ONE], "proxy/65536/", ToEndpoint(ONE, f"{BASE}proxy/65536/", BASE)),
    ],
)
def test_resolve(endpoints, rest, target):
    assert resolve(route(*endpoints), rest) == target


parts = st.sampled_from(
    [
        *[
            "lab",
            "code",
            "proxy",
            "8080",
            "3000",
            "99999",
            "/",
            "//",
            "..",
            "%2e%2e",
            "@",
            ":",
            "é",
            "\\",
            "?",
            "#",
            "evil.example",
        ],
        "\n",
    ]
)
rests = st.lists(parts, max_size=8).map("".join) | st.text(max_size=40)
ROUTES = [route(ONE), route(STRIPPED), route(LAB, CODE), route(CODE, LAB)]


def stays_inside(target, of):
    """Whether a target is asked of the container, and of nothing else."""
    if isinstance(target, ToEndpoint):
        assert target.endpoint in of.endpoints
        assert target.path.startswith(target.endpoint.base_path)
        port = target.endpoint.port
    else:
        port = target.port
    assert 0 < port < 65536
    assert target.path.startswith("/")
    # as the gateway asks for it
    asked = URL(f"http://127.0.0.1:{port}{target.path}", encoded=True)
    assert (asked.host, asked.port, asked.user) == ("127.0.0.1", port, None)


@given(st.sampled_from(ROUTES), rests)
def test_a_path_leads_into_the_server_or_nowhere(of, rest):
    target = resolve(of, rest)
    if target is None or isinstance(target, Choose):
        assert len(of.endpoints) > 1
        return
    if isinstance(target, Redirect):
        assert target.path == f"{BASE}{rest}/"
        assert isinstance(resolve(of, f"{rest}/"), ToEndpoint | ToPort)
        return
    stays_inside(target, of)
    assert target.prefix.startswith(BASE)
    assert f"{BASE}{rest}".startswith(target.prefix)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("//a", "//a"),
        # what is no path would be read as part of the container's address
        ("*", "/*"),
        ("@evil.example/", "/@evil.example/"),
        (":80@evil.example/", "/:80@evil.example/"),
        ("http://evil.example/", "/http://evil.example/"),
        ("", "/"),
    ],
)
def test_at_an_origin_of_its_own(path, asked):
    of = route(LAB, CODE)
    assert at_origin(of, 8888, path) == ToEndpoint(LAB, asked, "/")
    assert at_origin(of, 8080, path) == ToEndpoint(CODE, asked, "/")
    assert at_origin(of, 3000, path) == ToPort(3000, asked, "/")


@given(st.sampled_from(ROUTES), st.integers(1, 65535), rests)
def test_an_origin_leads_into_the_server(of, port, path):
    target = at_origin(of, port, path)
    assert target.path.startswith("/")
    asked = URL(f"http://127.0.0.1:{port}{target.path}", encoded=True)
    assert (asked.host, asked.port, asked.user) == ("127.0.0.1", port, None)


@pytest.mark.parametrize(
    ("path", "base_url", "found"),
    [
        ("/user/alice/lab/", "/", ("alice", "lab", "")),
        ("/user/alice/lab/a/b", "/", ("alice", "lab", "a/b")),
        ("/user/alice/lab//a", "/", ("alice", "lab", "/a")),
        ("/hub/user/alice/lab/x", "/hub/", ("alice", "lab", "x")),
        # escaped names stay so: a / in a name is none between names
        ("/user/a%2Fb/lab/x", "/", ("a%2Fb", "lab", "x")),
        ("/user/alice%40example.org/lab/", "/", ("alice%40example.org", "lab", "")),
        ("/user/%e6%9d%8e/lab/%2e%2e", "/", ("%e6%9d%8e", "lab", "%2e%2e")),
        # elsewhere
        ("/user/alice/lab", "/", None),
        ("/user/alice/", "/", None),
        ("/user/alice//x", "/", None),
        ("/user//lab/", "/", None),
        ("/user/", "/", None),
        ("/users/alice/lab/", "/", None),
        ("/User/alice/lab/", "/", None),
        ("/user/alice/lab/", "/hub/", None),
        ("//user/alice/lab/", "/", None),
        ("http://hub/user/alice/lab/", "/", None),
        ("*", "/", None),
        ("", "/", None),
    ],
)
def test_server_of(path, base_url, found):
    assert server_of(path, base_url) == found


@given(st.text("ab%2F./é", max_size=30), st.sampled_from(["/", "/hub/"]))
def test_server_of_says_all_of_the_path(path, base_url):
    path = f"{base_url}user/{path}"
    found = server_of(path, base_url)
    if found is None:
        return
    user, server, rest = found
    assert f"{base_url}user/{user}/{server}/{rest}" == path
    assert "/" not in user + server


def test_a_route_tells_its_secrets_to_the_gateway_alone():
    made = route(ONE)
    for text in (repr(made), str(made), f"{[made]}", str(made.model_dump())):
        assert "the token" not in text
        assert "the secret" not in text
    assert Route.model_validate_json(made.model_dump_json()) == made
    assert "the token" in made.model_dump_json()


def test_endpoints_are_found_by_port():
    made = route(LAB, CODE)
    assert (made.endpoint(8888), made.endpoint(8080), made.endpoint(1)) == (LAB, CODE, None)
