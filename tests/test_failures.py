"""Every way in which a start fails, provoked on a real engine; and starts that are cancelled."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import pytest

from mydocker_hub.domain import names
from mydocker_hub.domain.errors import CODES
from mydocker_hub.web.i18n import STEPS, translator

from .conftest import TINY_IMAGE as TINY
from .conftest import build_tiny_image, end
from .hub import Visitor, text_of
from .registry import Door, push_only, run_registry
from .relay import Relay
from .spawning import Lab, Starter, environment, sentence, sh, wait_for

pytestmark = [pytest.mark.hub, pytest.mark.engine]

SLOW_FOLDER = "mydocker-test/slow-folder:1"
SLOW_FOLDER_DOCKERFILE = f"""\
FROM {TINY}
USER 0
RUN printf '#!/bin/sh\\nsleep 600\\n' > /bin/setfacl && chmod +x /bin/setfacl
USER 1234
"""
ANSWER_SECONDS = 3
MINE = {"dedicated": "/data/mine"}


def compute_type(slug: str, **fields: Any) -> dict[str, Any]:
    return {"slug": slug, "title": slug, **fields}


COMPUTE_TYPES = [
    compute_type("nowhere", constraints=["node.labels.kind == none-such"]),
    compute_type("gpu", generic_resources={"NVIDIA-GPU": 2}),
    compute_type(
        "no-folder",
        volumes={"options": {"type": "none", "o": "bind", "device": "/nope/{{VOLUME}}"}},
    ),
    compute_type("bad-option", volumes={"options": {"no-such-option": "1"}}),
]


def environments(image: Callable[[str], str]) -> list[dict[str, Any]]:
    """What fails; `image` names one behind the registry's door."""
    return [
        environment("no-image", image("none-such")),
        environment("no-image-for-folder", image("none-such"), storage=MINE),
        environment("from-registry", image("only-here")),
        environment("from-registry-2", image("only-here"), storage=MINE),
        environment(
            "exits",
            command=sh(
                'echo "token $JUPYTERHUB_API_TOKEN, password {{PASSWORD}}"; '
                'echo "<b>no licence found</b>" >&2; exit 3'
            ),
        ),
        environment("loops", command=sh('echo "once more"; exit 1')),
        environment("ends", command=sh('echo "nothing to do"; exit 0')),
        environment("no-command", command="/no/such/command"),
        environment("mute", command=sh('echo "waiting for a licence"; exec sleep 600')),
        environment("to-itself", command="httpd -f -p 127.0.0.1:8888 -h /tmp"),
        environment(
            "errors",
            command=sh(
                "echo out of order; "
                r'echo "echo HTTP/1.0 500 Oops; echo" > /tmp/oops; nc -ll -p 8888 -e sh /tmp/oops'
            ),
        ),
        environment("holds", command=sh("nc -ll -p 8888 -e sleep 600")),
        environment(
            "too-big",
            resources={"memory_bytes": "4 TB", "memory_reservation_bytes": "4 TB"},
        ),
        environment("too-many", resources={"cpu_reservation": 1000}),
        environment("gpu", resources={"compute_type": "gpu"}),
        environment("nowhere", resources={"compute_type": "nowhere"}),
        environment("no-folder", resources={"compute_type": "no-folder"}, storage=MINE),
        environment("bad-option", resources={"compute_type": "bad-option"}, storage=MINE),
        environment("slow-folder", SLOW_FOLDER, storage=MINE),
        # names that begin as others do
        environment("t", storage=MINE),
        environment("tiny", storage=MINE),
        # what may not be started
        environment("old", status="archived", join_links=[{"key": "ArchivedArchivedArch"}]),
        environment("unripe", status="draft", join_links=[{"key": "DraftDraftDraftDraft"}]),
    ]


def file_of(folder: Path, environments: list[dict[str, Any]]) -> Path:
    file = folder / "catalogue.yaml"
    file.write_text(
        json.dumps({"version": 1, "compute_types": COMPUTE_TYPES, "environments": environments})
    )
    return file


@pytest.fixture(scope="module")
def door(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    build_tiny_image(engine)
    with run_registry(tmp_path_factory.mktemp("registry")) as port:
        push_only(engine, port, TINY, "only-here")
        door = Door(port)
        yield door
        door.mode = "closed"
    for image in engine.images.list(name=door.image("only-here").removesuffix(":1")):
        engine.images.remove(image.id, force=True)


@pytest.fixture(scope="module")
def starter(
    door: Door,
    engine: docker.DockerClient,
    bridge_address: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Starter:
    engine.images.build(
        fileobj=io.BytesIO(SLOW_FOLDER_DOCKERFILE.encode()), tag=SLOW_FOLDER, rm=True
    )
    config = f"""
c.SwarmEnvironmentSpawner.answer_timeout = {ANSWER_SECONDS}
c.SwarmEnvironmentSpawner.room_timeout = 2
c.Spawner.poll_interval = 1
from mydocker_hub.swarm import client
client.REGISTRY_TIMEOUT_SECONDS = 2
client.REGISTRY_MEMORY_SECONDS = 0
"""
    catalogue = file_of(tmp_path_factory.mktemp("catalogue"), environments(door.image))
    return Starter(engine, bridge_address, catalogue, config)


@pytest.fixture(scope="module")
def lab(starter: Starter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with starter(tmp_path_factory.mktemp("hub")) as (_, lab):
        yield lab


# --- what every failure has to bring -------------------------------------------------------------

WHAT_TO_DO = {
    "fr": re.compile(r"Réessayez|ignale|[Dd]emandez|[Rr]edémarrez|relancer"),
    "en": re.compile(r"Try again|[Tt]ell |[Aa]sk |[Ss]tart it again"),
}


@contextmanager
def one_container_at_most(lab: Lab, **labels: str) -> Iterator[None]:
    """Nothing is started a second time, as Swarm does of itself."""
    since = time.time()
    yield
    filters = {"event": "create", "type": "container", **lab._labels(**labels)}
    events = lab.engine.events(since=since, until=time.time(), filters=filters, decode=True)
    assert len(list(events)) <= 1


def check_failure(
    lab: Lab,
    person: Visitor,
    server: str,
    code: str,
    params: dict[str, Any] | None = None,
    *,
    step: str = "",
    log: str = "",
    within: float = 15,
) -> None:
    """Start a server; all that a person is told of its end, and that nothing is left of it."""
    why = {language: sentence(code, language, **(params or {})) for language in ("fr", "en")}
    for language, wanted in WHAT_TO_DO.items():
        assert wanted.search(why[language]), why[language]
    pages = f"/hub/spawn-pending/{person.name}/{server}"
    with one_container_at_most(lab, user=person.name, server=server, kind="server"):
        start = time.monotonic()
        answer = person.start(server)
        if answer.status_code == 202:
            # what the waiting page is told
            events = person.progress(server)
            for told in [event for event in events if event.get("state") == "failed"]:
                for language, said in why.items():
                    assert " ".join(told["sentences"][language].split()) == said
                assert told["step"] == step or not step
                assert log in told["log"]
            assert events[-1].get("failed"), events
            progress = [event["progress"] for event in events]
            assert progress == sorted(progress)
        elif answer.status_code >= 400:  # it failed before the hub's answer
            assert answer.status_code == CODES[code].status
            assert why["fr"] in " ".join(answer.json()["message"].split())
        assert time.monotonic() - start < within
        lab.nothing_is_left(user=person.name, server=server)
        # the hub has no server any more, neither active nor pending
        wait_for(lambda: person.server(server) is None, 5)
        model = person.api("GET", f"/users/{person.name}?include_stopped_servers=1").json()
        stopped = model["servers"][server]
        assert (stopped["stopped"], stopped["pending"], stopped["ready"]) == (True, None, False)
        # the page, afterwards, in place of a crash
        for language, said in why.items():
            page = person.get(pages, headers={"Accept-Language": language})
            assert page.status_code == CODES[code].status
            assert said in text_of(page)
            assert code in text_of(page)
            assert log in text_of(page) or "<b>" in log
        # the dashboard, and what operators count
        wait_for(lambda: why["fr"] in person.dashboard(), 5, person.dashboard)
        assert why["en"] in person.dashboard("en")
        assert lab.last_end() == code


def stop_half_way(lab: Lab, door: Door) -> None:
    """From now on a pull of the registry's image begins and does not end."""
    door.mode = "slow"
    door.requests.clear()
    with suppress(docker.errors.ImageNotFound):
        lab.engine.images.remove(door.image("only-here"), force=True)


# --- starts that fail ----------------------------------------------------------------------------


def missing(french: str, english: str) -> dict[str, Any]:
    return {"missing": {"fr": french, "en": english}}


SECONDS = {"seconds": ANSWER_SECONDS}
SILENCE = {"port": "8888", **SECONDS}
NO_SUCH_MACHINE = missing("aucune machine du type voulu", "no machine of the wanted kind")
FAILURES = [
    # server, code, parameters of the sentence, step, in the log
    ("exits", "container-exited", {"exit_code": 3}, "", "<b>no licence found</b>"),
    ("loops", "container-exited", {"exit_code": 1}, "", "once more"),
    ("ends", "container-exited", {"exit_code": 0}, "", "nothing to do"),
    ("no-command", "container-exited", {"exit_code": 127}, "", "/no/such/command"),
    ("mute", "not-answering", SILENCE, "interface", "waiting for a licence"),
    ("to-itself", "not-answering", SILENCE, "interface", ""),
    ("holds", "not-answering", SILENCE, "interface", ""),
    ("errors", "interface-failing", {"status": "500", **SECONDS}, "interface", "out of order"),
    ("too-big", "no-node-fits", missing("mémoire : 4 To", "memory: 4 TB"), "node", ""),
    ("too-many", "no-node-fits", missing("processeurs : 1 000", "processors: 1,000"), "node", ""),
    ("gpu", "no-node-fits", missing("NVIDIA-GPU : 2", "NVIDIA-GPU: 2"), "node", ""),
    ("nowhere", "no-node-fits", NO_SUCH_MACHINE, "node", ""),
    ("no-folder", "folder-not-mounted", {}, "folder", ""),
    ("bad-option", "folder-not-mounted", {}, "folder", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("server", "code", "params", "step", "log"), FAILURES, ids=[case[0] for case in FAILURES]
)
def test_a_start_that_fails(
    lab: Lab, server: str, code: str, params: dict[str, Any], step: str, log: str
) -> None:
    with lab.signed_in("alice") as alice:
        check_failure(lab, alice, server, code, params, step=step, log=log)
        # a second try fails in the same way: nothing of the first is in its way
        if server in {"exits", "no-folder"}:
            check_failure(lab, alice, server, code, params, step=step, log=log)


def test_secrets_and_markup_of_a_log(lab: Lab) -> None:
    with lab.signed_in("bob") as bob:
        bob.start("exits")
        wait_for(lambda: bob.server("exits") is None)
        page = bob.get("/hub/spawn-pending/bob/exits")
        assert "token …, password …" in text_of(page)
        assert "<b>no licence" not in page.text
        assert "<b>no licence found</b>" in page.text.replace("&lt;", "<").replace("&gt;", ">")


# --- images and registries -----------------------------------------------------------------------


@pytest.mark.parametrize("server", ["no-image", "no-image-for-folder"])
@pytest.mark.parametrize("mode", ["open", "locked"])
def test_an_image_that_does_not_exist(lab: Lab, door: Door, server: str, mode: str) -> None:
    """The registry says so, or says nothing to strangers. With a new folder, that comes first."""
    door.mode = mode
    with lab.signed_in("alice") as alice:
        params = {"image": door.image("none-such")}
        check_failure(lab, alice, server, "image-not-found", params, step="image")


@pytest.mark.parametrize("mode", ["closed", "broken", "silent"])
def test_a_registry_that_cannot_be_reached(lab: Lab, door: Door, mode: str) -> None:
    """It is told from an image that does not exist; and when it is back, the start works."""
    server = "from-registry-2" if mode == "broken" else "from-registry"
    image = door.image("only-here")
    params = {"image": image, "registry": f"127.0.0.1:{door.port}"}
    door.mode = mode
    with lab.signed_in("alice") as alice:
        # the engine itself waits 25 seconds for a registry that says nothing
        within = 40 if mode == "silent" else 15
        check_failure(
            lab, alice, server, "registry-unreachable", params, step="image", within=within
        )
        door.mode = "open"
        alice.start_and_wait(server)
        assert len(lab.services(user="alice")) == 1
        assert len(lab.containers(user="alice", kind="server")) == 1
        alice.stop_and_wait(server)
        lab.nothing_is_left(user="alice")
    lab.engine.images.remove(image, force=True)


# --- starts that are refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "key", "code"),
    [
        ("old", "ArchivedArchivedArch", "environment-archived"),
        ("unripe", "DraftDraftDraftDraft", "environment-draft"),
    ],
)
def test_a_start_that_is_refused_says_why(lab: Lab, server: str, key: str, code: str) -> None:
    """By its join link and by the API alike; nothing is made for it."""
    with lab.signed_in("alice") as alice:
        for language in ("fr", "en"):
            why = sentence(code, language, title=server.capitalize())
            page = alice.get(f"/join/{key}", headers={"Accept-Language": language})
            assert page.status_code == 403
            assert why in text_of(page)
            assert code in text_of(page)
        answer = alice.start(server)
        assert answer.status_code in {403, 404}
        # who has no link is not told that there is such an environment
        unknown = sentence("environment-unknown", environment=server)
        message = " ".join(answer.json()["message"].split())
        assert sentence(code, title=server.capitalize()) in message or unknown in message
        assert alice.server(server) is None
        lab.nothing_is_left(user="alice")


# --- cancelled at each step ----------------------------------------------------------------------


class Listener:
    """What the waiting page is told, as it is told; from the moment when the start was asked."""

    def __init__(self, person: Visitor, server: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._listen, args=[person, server], daemon=True)
        self._thread.start()

    def _listen(self, person: Visitor, server: str) -> None:
        for event in person.listen(server):
            self.events.append(event)

    def steps(self) -> list[str]:
        return [event["step"] for event in self.events if "step" in event]


@pytest.mark.parametrize(
    ("step", "server", "kind"),
    [
        ("node", "too-big", ""),
        ("image", "from-registry", ""),
        ("folder", "slow-folder", "preparation"),
        ("interface", "mute", "server"),
    ],
)
def test_a_start_is_cancelled_at_each_step(
    lab: Lab, door: Door, step: str, server: str, kind: str
) -> None:
    """As the waiting page's button does it."""
    stop_half_way(lab, door)
    with lab.signed_in("carol") as carol:
        assert carol.start(server).status_code == 202
        heard = Listener(carol, server)
        wait_for(lambda: step in heard.steps(), 10, lambda: str(heard.events))
        if step == "image":  # the layers are on their way, and do not come
            wait_for(lambda: any("/blobs/" in request for request in door.requests))
        if kind:
            wait_for(lambda: lab.running(user="carol", kind=kind))
        began = time.monotonic()
        assert carol.stop(server).status_code in {202, 204}
        carol.wait_until_gone(server)
        lab.nothing_is_left(user="carol")
        assert time.monotonic() - began < 15
        wait_for(lambda: lab.last_end() == "start-cancelled", 5)
        assert sentence("start-cancelled") not in carol.dashboard()
    door.mode = "open"


def test_a_start_is_cancelled_about_when_its_container_starts(lab: Lab) -> None:
    """That step cannot be held, and lasts some tenths of a second: cancelled at its first sign."""
    with lab.signed_in("carol") as carol:
        for _ in range(5):
            carol.start("mute")
            heard = Listener(carol, "mute")
            wait_for(lambda: {"container", "interface"} & set(heard.steps()))  # noqa: B023
            assert carol.stop("mute").status_code in {202, 204}
            carol.wait_until_gone("mute")
            lab.nothing_is_left(user="carol")
            wait_for(lambda: lab.last_end() == "start-cancelled", 5)


# --- a hub whose starts end soon, with a way to the engine that can be cut ------------------------


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


def edges(relay: Relay, **more: Any) -> str:
    return f"""
c.SwarmSpawner.client_kwargs = {{"base_url": "tcp://127.0.0.1:{relay.port}"}}
c.Spawner.start_timeout = 16
c.SwarmEnvironmentSpawner.answer_timeout = 30
from datetime import timedelta
from mydocker_hub.swarm import client, watcher
client.CALL_TIMEOUT_SECONDS = 3
watcher.SILENCE_SECONDS = 3
watcher.SLOW_SECONDS = 1
watcher.SWEEP_AFTER = timedelta(seconds=2)
watcher.SWEEP_EVERY_SECONDS = 1
"""


def test_the_time_is_over_and_the_engine_goes(
    starter: Starter, door: Door, relay: Relay, tmp_path: Path
) -> None:
    with starter(tmp_path, edges(relay)) as (_, lab), lab.signed_in("alice") as alice:
        # The whole start has a time limit; the sentence names the step, in its language.
        assert translator("fr").known(STEPS["image"]) in sentence("start-timeout", step="image")
        stop_half_way(lab, door)
        for server, step in (("from-registry", "image"), ("mute", "interface")):
            params = {"seconds": 16, "step": step}
            check_failure(lab, alice, server, "start-timeout", params, step=step, within=20)

        # The engine goes in the middle of a start: the person is told; nothing stays for ever.
        alice.start("from-registry")
        wait_for(lambda: lab.services(user="alice"))
        began = time.monotonic()
        relay.set("cut")
        wait_for(lambda: alice.server("from-registry") is None)
        assert time.monotonic() - began < 15
        for language in ("fr", "en"):
            page = alice.get(
                "/hub/spawn-pending/alice/from-registry", headers={"Accept-Language": language}
            )
            assert page.status_code == 503
            assert sentence("engine-unavailable", language) in text_of(page)
        door.mode = "open"
        relay.set("pass")
        lab.nothing_is_left(15, user="alice")
        alice.start_and_wait("tiny")
        assert len(lab.services(user="alice")) == 1


def test_the_hub_restarts_in_the_middle_of_starts(
    starter: Starter, door: Door, relay: Relay, tmp_path: Path
) -> None:
    """Nothing is left of either start, both work again, and who worked goes on."""
    with starter(tmp_path, edges(relay)) as (process, lab):
        with lab.signed_in("alice") as alice:
            alice.start_and_wait("tiny")
            container = lab.container("alice", "tiny").id
            stop_half_way(lab, door)
            for server in ("mute", "from-registry"):
                alice.start(server)
            wait_for(lambda: lab.running(server="mute", kind="server"))
            wait_for(lambda: any("/blobs/" in request for request in door.requests))
        end(process.process)
        lab = Lab(process.__enter__(), lab.engine)
        with lab.signed_in("alice") as alice:
            assert alice.server("tiny")["ready"]
            assert lab.container("alice", "tiny").id == container
            for server in ("mute", "from-registry"):
                # the hub answers while it still looks at what it knew
                alice.wait_until_gone(server, 30)
                lab.nothing_is_left(20, user="alice", server=server)
            door.mode = "open"
            alice.start_and_wait("from-registry")
            assert len(lab.services(server="from-registry")) == 1
            assert len(lab.containers(server="from-registry", kind="server")) == 1
            alice.stop_and_wait("from-registry")
            alice.stop_and_wait("tiny")
        lab.nothing_is_left()
    lab.engine.images.remove(door.image("only-here"), force=True)


# --- and afterwards ------------------------------------------------------------------------------


def test_people_whose_names_begin_alike_never_meet(lab: Lab) -> None:
    """al, ali and alice; t and tiny."""
    people = ("al", "ali")
    with lab.signed_in("carol") as carol:
        for name in people:
            assert carol.api("POST", f"/users/{name}").status_code == 201
        starts = [(name, server) for name in people for server in ("t", "tiny")]
        for name, server in starts:
            answer = carol.api("POST", f"/users/{name}/servers/{server}")
            assert answer.status_code in {201, 202}, answer.text

        def ready(name: str, server: str) -> bool:
            return bool(
                carol.api("GET", f"/users/{name}").json()["servers"].get(server, {}).get("ready")
            )

        for name, server in starts:
            wait_for(lambda: ready(name, server))  # noqa: B023
        assert len(lab.services()) == len(starts)
        volumes = set()
        for name, server in starts:
            mounts = lab.container(name, server).attrs["Mounts"]
            volumes |= {mount["Name"] for mount in mounts if mount["Type"] == "volume"}
        assert len(volumes) == len(starts)
        assert carol.api("DELETE", "/users/al/servers/t").status_code in {202, 204}
        lab.nothing_is_left(15, user="al", server="t")
        assert len(lab.services()) == len(starts) - 1
        assert all(ready(name, server) for name, server in starts[1:])
        for name, server in starts[1:]:
            carol.api("DELETE", f"/users/{name}/servers/{server}")
        lab.nothing_is_left(20)


def test_what_failed_starts_once_it_is_mended(lab: Lab, door: Door, tmp_path: Path) -> None:
    """Nothing of a failed start is in the way of the next one: exactly one server."""
    servers = [case[0] for case in FAILURES]
    mended = [environment(server, storage=MINE) for server in servers]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "mydocker_hub.cli",
            "catalogue",
            "import",
            file_of(tmp_path, mended),
        ],
        check=True,
        env={**os.environ, "MYDOCKER_HUB_STATE": str(lab.hub.state)},
        stdout=subprocess.DEVNULL,
    )
    # Docker keeps the options that a volume was made with: docs/operators/errors.md
    for volume in lab.volumes(user="alice"):
        if volume.name == names.dedicated_volume(lab.hub.hub_id, "alice", "no-folder"):
            volume.remove()
    with lab.signed_in("alice") as alice, ThreadPoolExecutor(4) as pool:
        list(pool.map(alice.start, servers))
        for server in servers:
            alice.wait_until_ready(server)
            assert len(lab.services(user="alice", server=server)) == 1
            assert len(lab.containers(user="alice", server=server, kind="server")) == 1
        assert not lab.services(kind="preparation")
        list(pool.map(alice.stop, servers))
        for server in servers:
            alice.wait_until_gone(server)
        lab.nothing_is_left(20)
