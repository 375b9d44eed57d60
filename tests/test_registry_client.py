"""What registries say of images: a real one, and servers that lie, delay and lead astray."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from mydocker_hub import registry
from mydocker_hub.domain.errors import Invalid, MydockerError, NotFound, Unavailable
from mydocker_hub.domain.reference import DOCKER_HUB, Reference, parse
from mydocker_hub.registry import Credentials, challenge, facts

from .conftest import free_ports
from .registry import push_only, run_registry

DIGEST = "sha256:" + "a" * 64


# --- references ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("python", Reference(DOCKER_HUB, "library/python")),
        ("python:3.12", Reference(DOCKER_HUB, "library/python", "3.12")),
        ("jupyter/scipy-notebook", Reference(DOCKER_HUB, "jupyter/scipy-notebook")),
        ("docker.io/python", Reference(DOCKER_HUB, "library/python")),
        ("index.docker.io/a/b:1", Reference(DOCKER_HUB, "a/b", "1")),
        ("quay.io/jupyter/x:1", Reference("quay.io", "jupyter/x", "1")),
        ("localhost/x", Reference("localhost", "x")),
        ("Registry/x", Reference("registry", "x")),
        ("r.example:5000/a/b/c:t", Reference("r.example:5000", "a/b/c", "t")),
        (f"quay.io/a:1@{DIGEST}", Reference("quay.io", "a", "1", DIGEST)),
    ],
)
def test_references(text: str, found: Reference) -> None:
    assert parse(text) == found


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_any_text_is_a_reference_or_refused_in_words(text: str) -> None:
    try:
        found = parse(text)
    except ValueError:
        return
    assert found.registry
    assert found.repository
    assert found.wanted


def test_what_is_asked_for() -> None:
    assert parse("a:1").wanted == "1"
    assert parse(f"a:1@{DIGEST}").wanted == DIGEST


# --- credentials ---------------------------------------------------------------------------------


def test_credentials_of_docker_login(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    encoded = base64.b64encode(b"robot:a:b").decode()
    file.write_text(
        json.dumps(
            {
                "auths": {
                    "https://index.docker.io/v1/": {"auth": encoded},
                    "registry.example:5000": {"username": "u", "password": "p"},
                    "https://Gitlab.Example/v2/": {"auth": encoded},
                }
            }
        )
    )
    found = Credentials.load(file)
    assert found.of(DOCKER_HUB) == ("robot", "a:b")
    assert found.of("registry.example:5000") == ("u", "p")
    assert found.of("gitlab.example") == ("robot", "a:b")
    assert found.of("registry.example") is None
    assert found.names("gitlab.example")
    assert "a:b" not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"auths": []}',
        '{"auths": {"a.example": {}}}',
        '{"auths": {"a.example": {"auth": "SECRET"}}}',
        '{"auths": {"a.example": {"auth": "U0VDUkVU"}}}',
        '{"auths": {"a.example": {}}, "credsStore": "pass"}',
    ],
)
def test_a_file_without_passwords_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="docker login") as caught:
        Credentials.load(file)
    assert "SECRET" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        Credentials.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (
            'Bearer realm="https://a.example/t",service="r",scope="repository:x:pull"',
            (
                "bearer",
                {"realm": "https://a.example/t", "service": "r", "scope": "repository:x:pull"},
            ),
        ),
        ("Basic realm=x", ("basic", {"realm": "x"})),
        ("BEARER Realm = x", ("bearer", {"realm": "x"})),
        ("", ("", {})),
    ],
)
def test_challenges(header: str, found: tuple[str, dict[str, str]]) -> None:
    assert challenge(header) == found


@settings(max_examples=50)
@given(st.text(alphabet=' ,="\\Bbearlm:/.', max_size=200))
def test_any_header_is_read(header: str) -> None:
    challenge(header)


# --- a registry of this test ---------------------------------------------------------------------


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


OCI = "application/vnd.oci.image"
INDEX = f"{OCI}.index.v1+json"
MANIFEST = f"{OCI}.manifest.v1+json"
CONFIGURATION = f"{OCI}.config.v1+json"


class Fake:
    """Pages by path: (status, headers, body). What was asked is in `asked`, with its password."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.place = f"127.0.0.1:{port}"
        self.url = f"http://{self.place}"
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, str]] = []
        self.seconds = 0.0
        self.token = ""  # where there is one, /v2/ asks for it

    def image(self, config: Any = None, /, **changes: Any) -> str:
        """An image x:1 for amd64 and arm64, each with its own; the digest of the list."""
        listed = []
        for architecture in ("amd64", "arm64"):
            described = {"architecture": architecture, "config": config or {}}
            blob = json.dumps(described).encode()
            self.pages[f"/v2/x/blobs/{digest_of(blob)}"] = (200, {}, blob)
            manifest = {
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIGURATION, "digest": digest_of(blob)},
                "layers": [{"size": 1000}, {"size": 234}],
                **changes,
            }
            body = json.dumps(manifest).encode()
            self.pages[f"/v2/x/manifests/{digest_of(body)}"] = (200, {}, body)
            listed.append(
                {
                    "digest": digest_of(body),
                    "platform": {"os": "linux", "architecture": architecture},
                }
            )
        body = json.dumps({"mediaType": INDEX, "manifests": listed}).encode()
        self.pages["/v2/x/manifests/1"] = (200, {}, body)
        self.pages[f"/v2/x/manifests/{digest_of(body)}"] = (200, {}, body)
        return digest_of(body)

    async def facts(self, reference: str = "x:1", **options: Any) -> Any:
        options.setdefault("private_allowed", {self.place}.__contains__)
        return await facts(f"{self.place}/{reference}", **options)

    async def fails(self, detail: str, **options: Any) -> None:
        with pytest.raises(Unavailable) as caught:
            await self.facts(**options)
        assert caught.value.code == "registry-unavailable"
        assert detail in caught.value.params["detail"]
        assert caught.value.params["registry"] == self.place


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    (port,) = free_ports(1)
    one = Fake(port)

    class Page(RequestHandler):
        async def get(self) -> None:
            sent = self.request.headers.get("Authorization", "")
            one.asked.append((self.request.uri or "", sent))
            await asyncio.sleep(one.seconds)
            path = self.request.path
            if one.token and path.startswith("/v2/") and sent != one.token:
                self.set_status(401)
                realm = one.pages.get("realm", (0, {}, f"{one.url}/token".encode()))[2].decode()
                scheme = "Basic" if one.token.startswith("Basic") else "Bearer"
                self.set_header("WWW-Authenticate", f'{scheme} realm="{realm}",service="s"')
                return
            status, headers, body = one.pages.get(path, (404, {}, b"{}"))
            self.set_status(status)
            for name, value in headers.items():
                self.set_header(name, value)
            self.write(body)

    server = HTTPServer(Application(default_handler_class=Page))
    server.listen(port, "127.0.0.1")
    yield one
    server.stop()
    await server.close_all_connections()


async def test_facts(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = fake.image(
        {
            "User": "1000",
            "ExposedPorts": {"8888/tcp": {}, "22/tcp": {}, "53/udp": {}, "x": {}, "99999/tcp": {}},
            "Entrypoint": ["tini", "-g", "--"],
            "Cmd": ["start-notebook.py"],
            "WorkingDir": "/home/jovyan",
            "Healthcheck": {"Test": ["CMD", "true"]},
        }
    )
    found = await fake.facts()
    assert found.model_dump() == {
        "reference": f"{fake.place}/x:1",
        "found": "registry",
        "digest": digest,
        "size_bytes": 1234,
        "user": "1000",
        "ports": (22, 8888),
        "entrypoint": ("tini", "-g", "--"),
        "command": ("start-notebook.py",),
        "working_dir": "/home/jovyan",
        "has_healthcheck": True,
    }
    assert await fake.facts(f"x@{digest}") == found.model_copy(
        update={"reference": f"{fake.place}/x@{digest}"}
    )
    # the machine's own kind of processor where the image is for it
    for machine, wanted in (("aarch64", 1), ("x86_64", 0), ("s390x", 0)):
        monkeypatch.setattr(registry.platform, "machine", lambda machine=machine: machine)
        fake.asked.clear()
        await fake.facts()
        listed = json.loads(fake.pages["/v2/x/manifests/1"][2])["manifests"]
        assert fake.asked[1][0].endswith(listed[wanted]["digest"])


@pytest.mark.parametrize(
    "config",
    [
        None,
        [],
        {"User": 7, "ExposedPorts": [], "Entrypoint": "x", "Cmd": {}, "WorkingDir": []},
        {"User": {}, "Healthcheck": 1},
        {"User": "\ud800", "Cmd": [1, None, "\ud800"], "Healthcheck": {"Test": []}},
        {"Healthcheck": {"Test": ["NONE"]}, "ExposedPorts": {"": {}, "0/tcp": {}}},
        {"User": "x" * 100_000, "Cmd": ["x"] * 10_000},
    ],
)
async def test_odd_configurations(fake: Fake, config: Any) -> None:
    fake.image(config)
    found = await fake.facts()
    assert not found.has_healthcheck
    assert not found.ports
    assert len(found.model_dump_json()) < 20_000


async def test_no_such_image(fake: Fake) -> None:
    with pytest.raises(NotFound) as caught:
        await fake.facts("nothing:1")
    assert caught.value.code == "image-unknown"
    assert caught.value.params == {"image": f"{fake.place}/nothing:1"}
    with pytest.raises(Invalid):
        await facts("Not an image")


async def test_what_is_no_container_image(fake: Fake) -> None:
    for changes in (
        {"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": DIGEST}},
        {"config": {"mediaType": CONFIGURATION, "digest": "../../../secrets"}},
        {"config": None},
        {"layers": [{"size": -1}]},
        {"layers": [{"size": "1"}]},
        {"layers": [{"size": True}]},
        {"layers": {}},
    ):
        fake.image(**changes)
        await fake.fails("not a container image")
    fake.pages["/v2/x/manifests/1"] = (200, {}, json.dumps({"schemaVersion": 1}).encode())
    await fake.fails("not a container image")


async def test_other_machines_only(fake: Fake) -> None:
    for listed in (
        [{"digest": DIGEST, "platform": {"os": "windows", "architecture": "amd64"}}],
        [{"digest": "../x", "platform": {"os": "linux", "architecture": "amd64"}}],
        [{}, 7, None],
        {},
    ):
        body = json.dumps({"mediaType": INDEX, "manifests": listed}).encode()
        fake.pages["/v2/x/manifests/1"] = (200, {}, body)
        await fake.fails("another kind of machine")


async def test_answers_that_make_no_sense(fake: Fake) -> None:
    for status, body, detail in (
        (200, b"<html>", "not JSON"),
        (200, b"[]", "not JSON"),
        (200, b"[" * 100_000, "not JSON"),
        (500, b"", "with an error"),
        (503, b"", "with an error"),
        (429, b"", "too often"),
        (204, b"", "with an error"),
    ):
        fake.pages["/v2/x/manifests/1"] = (status, {}, body)
        await fake.fails(detail)


async def test_what_is_not_what_its_digest_says(fake: Fake) -> None:
    fake.image()
    changed = [path for path in fake.pages if "sha256" in path]
    for path in changed:
        whole = fake.pages[path]
        fake.pages[path] = (200, {}, whole[2] + b" ")
    await fake.fails("something else")
    fake.pages[f"/v2/x/manifests/{DIGEST}"] = (200, {}, b"{}")
    with pytest.raises(Unavailable) as caught:
        await fake.facts(f"x@{DIGEST}")
    assert "something else" in caught.value.params["detail"]


async def test_a_huge_manifest_is_not_read(fake: Fake) -> None:
    fake.pages["/v2/x/manifests/1"] = (200, {}, b" " * (registry.MAX_BYTES + 1))
    await fake.fails("more than it should")


async def test_a_registry_that_takes_its_time(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.image()
    monkeypatch.setattr(registry, "SECONDS", 0.3)
    fake.seconds = 1
    await fake.fails("too long")
    # each answer in time, all of them together not
    monkeypatch.setattr(registry, "SECONDS", 5.0)
    monkeypatch.setattr(registry, "SECONDS_IN_ALL", 0.5)
    fake.seconds = 0.3
    started = time.monotonic()
    await fake.fails("too long")
    assert time.monotonic() - started < 2


async def test_nobody_there() -> None:
    (port,) = free_ports(1)
    with pytest.raises(Unavailable) as caught:
        await facts(f"127.0.0.1:{port}/x:1", private_allowed=lambda registry: True)
    assert "no connection" in caught.value.params["detail"]


# --- addresses that nobody should be asked at ----------------------------------------------------


async def test_this_machine_is_for_operators_to_name(fake: Fake) -> None:
    fake.image()
    await fake.fails("private network", private_allowed=lambda registry: False)
    with pytest.raises(Unavailable) as caught:
        await facts(f"localhost:{fake.port}/x:1")
    assert "private network" in caught.value.params["detail"]
    # Link-local addresses, where clouds keep keys, are nobody's registry.
    with pytest.raises(Unavailable):
        await facts("169.254.169.254/latest/meta-data", private_allowed=lambda registry: True)
    assert not fake.asked


@pytest.mark.parametrize(
    "location",
    [
        "http://localhost:{port}/v2/elsewhere",  # not the name that was allowed
        "http://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/",
        "http://example.org/",  # in the clear
        "file:///etc/passwd",
        "//user:password@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}x/",
        "http://[::1/",
        "http://127.0.0.1:{port}/\u00e9",
    ],
)
async def test_redirects_to_where_we_should_not_go(fake: Fake, location: str) -> None:
    there = location.format(port=fake.port)
    fake.pages["/v2/x/manifests/1"] = (307, {"Location": there}, b"")
    with pytest.raises(Unavailable) as caught:
        await fake.facts()
    assert caught.value.code == "registry-unavailable"
    assert [path for path, _ in fake.asked] == ["/v2/x/manifests/1"]


async def test_redirects_end(fake: Fake) -> None:
    fake.pages["/v2/x/manifests/1"] = (302, {"Location": "/v2/x/manifests/1"}, b"")
    await fake.fails("with an error")
    assert len(fake.asked) == 4


async def test_storage_behind_a_registry_sees_no_token(fake: Fake) -> None:
    fake.image()
    fake.token = "Bearer TOKEN"
    fake.pages["/token"] = (200, {}, b'{"token": "TOKEN"}')
    for path in [path for path in fake.pages if "/blobs/" in path]:
        fake.pages["/storage" + path] = fake.pages[path]
        other = f"http://localhost:{fake.port}/storage{path}"
        fake.pages[path] = (307, {"Location": other}, b"")
    allowed = {fake.place, f"localhost:{fake.port}"}
    assert (await fake.facts(private_allowed=allowed.__contains__)).size_bytes == 1234
    assert fake.asked[-1][0].startswith("/storage")
    assert fake.asked[-1][1] == ""
    assert fake.asked[-2][1] == "Bearer TOKEN"


async def test_tokens(fake: Fake) -> None:
    fake.image()
    fake.token = "Bearer TOKEN"
    for answer in (b'{"token": "TOKEN"}', b'{"access_token": "TOKEN"}'):
        fake.pages["/token"] = (200, {}, answer)
        fake.asked.clear()
        assert (await fake.facts()).size_bytes == 1234
        paths = [path for path, _ in fake.asked]
        assert paths[1] == "/token?scope=repository%3Ax%3Apull&service=s"
        assert len(paths) == 5  # the token is asked for once
    for status, body, detail in (
        (200, b"{}", "no token"),
        (200, b'{"token": "a\\r\\nX: y"}', "no token"),
        (200, b'{"token": ""}', "no token"),
        (200, json.dumps({"token": "x" * 20_000}).encode(), "no token"),
        (200, b'{"token": 7}', "no token"),
        (500, b"", "with an error"),
        (302, b"", "with an error"),
    ):
        fake.pages["/token"] = (status, {"Location": "/token"}, body)
        await fake.fails(detail)
    fake.pages["/token"] = (401, {}, b"")
    with pytest.raises(NotFound):
        await fake.facts()
    fake.pages["/token"] = (200, {}, b'{"token": "ANOTHER"}')
    with pytest.raises(NotFound):  # refused with a token: it is not asked for again
        await fake.facts()


@pytest.mark.parametrize(
    "realm",
    [
        "http://localhost:{port}/token",
        "http://169.254.169.254/token",
        "https://192.168.1.1/token",
        "http://example.org/token",
        "ftp://127.0.0.1/",
        "",
    ],
)
async def test_a_lying_realm(fake: Fake, realm: str) -> None:
    fake.image()
    fake.token = "Bearer TOKEN"
    fake.pages["realm"] = (0, {}, realm.format(port=fake.port).encode())
    with pytest.raises(Unavailable):
        await fake.facts(credentials=Credentials({fake.place: ("robot", "PASSWORD")}))
    assert [sent for _, sent in fake.asked] == [""]


async def test_passwords_go_to_the_registry_that_the_operators_named(fake: Fake) -> None:
    fake.image()
    encoded = base64.b64encode(b"robot:PASSWORD").decode()
    fake.token = f"Basic {encoded}"
    found = await fake.facts(credentials=Credentials({fake.place: ("robot", "PASSWORD")}))
    assert found.size_bytes == 1234
    fake.asked.clear()
    with pytest.raises(NotFound):
        await fake.facts(credentials=Credentials({"other.example": ("robot", "PASSWORD")}))
    assert not any(sent for _, sent in fake.asked)
    # a token is asked for with them
    fake.token = "Bearer TOKEN"
    fake.pages["/token"] = (200, {}, b'{"token": "TOKEN"}')
    fake.asked.clear()
    await fake.facts(credentials=Credentials({fake.place: ("robot", "PASSWORD")}))
    assert fake.asked[1][1] == f"Basic {encoded}"
    assert fake.asked[2][1] == "Bearer TOKEN"


async def test_errors_repeat_no_password(fake: Fake) -> None:
    fake.token = "Bearer TOKEN"
    fake.pages["/token"] = (500, {}, b"")
    with pytest.raises(MydockerError) as caught:
        await fake.facts(credentials=Credentials({fake.place: ("robot", "PASSWORD")}))
    assert "PASSWORD" not in f"{caught.value} {caught.value.log_detail} {caught.value.params}"


# --- a real one ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with run_registry(tmp_path_factory.mktemp("registry")) as port:
        yield port


@pytest.mark.engine
async def test_a_real_registry(real: int, engine: docker.DockerClient, tiny_image: str) -> None:
    name = f"facts-{secrets.token_hex(4)}"
    await asyncio.to_thread(push_only, engine, real, tiny_image, name)
    place = f"127.0.0.1:{real}"
    found = await facts(f"{place}/{name}:1", private_allowed={place}.__contains__)
    assert found.found == "registry"
    assert found.user == "1234"
    assert found.command == ("/bin/httpd", "-f", "-p", "8888", "-h", "/tmp")
    assert found.working_dir == "/home/user"
    assert found.size_bytes is not None
    assert 100_000 < found.size_bytes < 5_000_000
    pinned = f"{place}/{name}@{found.digest}"
    assert (await facts(pinned, private_allowed={place}.__contains__)).user == "1234"
    for unknown in (f"{name}:2", "nothing:1", f"{name}@{DIGEST}"):
        with pytest.raises(NotFound):
            await facts(f"{place}/{unknown}", private_allowed={place}.__contains__)
