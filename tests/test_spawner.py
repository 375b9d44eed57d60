"""What people and operators can count on, with a real hub and a real engine."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from docker.types import ContainerSpec, Resources, RestartPolicy, TaskTemplate
from traitlets.config import Config

from mydocker_hub.domain import names
from mydocker_hub.domain.launch import THREAD_VARIABLES
from mydocker_hub.spawner import SwarmEnvironmentSpawner
from mydocker_hub.web.i18n import translator

from .conftest import TINY_IMAGE as TINY
from .conftest import build_tiny_image
from .hub import RunningHub, processes, text_of
from .relay import Relay
from .spawning import Lab, Starter, environment, kill, run, sentence, sh, wait_for

pytestmark = [pytest.mark.hub, pytest.mark.engine]

OTHER_UID = "mydocker-test/other-uid:1"
HEALTH_CHECK = "mydocker-test/health-check:1"
NO_SHELL = "mydocker-test/no-shell:1"

DOCKERFILES = {
    OTHER_UID: f"FROM {TINY}\nUSER 4321\n",
    # The shape of docker-stacks' own check: a program that needs some CPU, every five seconds.
    HEALTH_CHECK: f"""\
FROM {TINY}
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 \\
  CMD awk 'BEGIN {{ for (i = 0; i < 1000000; i++) s += i }}'
""",
    NO_SHELL: f"""\
FROM {TINY} AS busybox
FROM scratch
COPY --from=busybox /bin/busybox /bin/httpd
USER 1234
CMD ["/bin/httpd", "-f", "-p", "8888", "-h", "/"]
""",
}


SERVE = "httpd -p 8888 -h /tmp"  # in the background
LIMITS = {"cpu_limit": 0.5, "memory_bytes": "64 MB", "shm_bytes": "16 MB"}
BOTH_FOLDERS = {"dedicated": "/data/mine", "global": "/home/user"}
CATALOGUE = {
    "version": 1,
    "environments": [
        environment(
            "tiny",
            resources=LIMITS,
            storage=BOTH_FOLDERS,
            join_links=[{"key": "TinyTinyTinyTinyTiny"}],
        ),
        # names that begin as others do
        environment("tiny-2", resources=LIMITS, storage=BOTH_FOLDERS),
        environment("t", resources=LIMITS, storage=BOTH_FOLDERS),
        # another image, whose user has another uid, with the same global folder
        environment("other-uid", OTHER_UID, storage={"global": "/home/other"}),
        environment("no-shell", NO_SHELL, storage={"dedicated": "/data/mine"}),
        environment("checked", HEALTH_CHECK, resources={"cpu_limit": 0.5}),
        environment("share", resources={"cpu_share": 0.25}),
        environment("share-and-limit", resources={"cpu_share": 0.5, "cpu_limit": 1.5}),
        environment("traced", resources={"ptrace": True}),
        environment("guarded", resources={"pids_limit": 20, "shm_bytes": "8 MiB"}),
        environment(
            "eater",
            resources={"memory_bytes": "32 MB", "shm_bytes": "16 MB"},
            command=sh(f"{SERVE}; until [ -e /tmp/eat ]; do sleep 0.1; done; exec tail /dev/zero"),
        ),
        environment(
            "stubborn",
            command=sh(f'trap "sleep 4; exit 0" TERM; {SERVE}; while true; do sleep 0.2; done'),
            join_links=[{"key": "StubbornStubbornStub"}],
        ),
        environment(
            "slow",
            command=sh("sleep 4; exec httpd -f -p 8888 -h /tmp"),
            storage={"dedicated": "/data/mine"},
        ),
        environment("mute", command=sh('echo "waiting for a licence"; exec sleep 600')),
    ],
}

CONFIG = """
c.SwarmEnvironmentSpawner.answer_timeout = 6
c.SwarmEnvironmentSpawner.room_timeout = 1
c.Spawner.poll_interval = 1
"""


@pytest.fixture(scope="module")
def images(engine: docker.DockerClient) -> None:
    build_tiny_image(engine)
    for tag, dockerfile in DOCKERFILES.items():
        engine.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=tag, rm=True)


@pytest.fixture(scope="module")
def catalogue_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("catalogue") / "catalogue.yaml"
    file.write_text(json.dumps(CATALOGUE))  # which is YAML
    return file


@pytest.fixture(scope="module")
def starter(
    images: None, engine: docker.DockerClient, bridge_address: str, catalogue_file: Path
) -> Starter:
    return Starter(engine, bridge_address, catalogue_file, CONFIG)


@pytest.fixture(scope="module")
def lab(starter: Starter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with starter(tmp_path_factory.mktemp("hub")) as (_, lab):
        yield lab


# --- folders -------------------------------------------------------------------------------------


def test_files_are_there_after_a_stop_and_a_start(lab: Lab) -> None:
    with lab.signed_in("alice") as alice:
        alice.start_and_wait("tiny")
        inside = lab.container("alice", "tiny")
        assert run(inside, "id -u") == "1234"
        # the image has no /data/mine
        run(inside, "echo one > /data/mine/file; echo two > /home/user/file; mkdir /data/mine/sub")
        folders = {
            mount["Destination"]: mount["Name"]
            for mount in inside.attrs["Mounts"]
            if mount["Type"] == "volume"
        }
        hub_id = lab.hub.hub_id
        assert folders == {
            "/data/mine": names.dedicated_volume(hub_id, "alice", "tiny"),
            "/home/user": names.global_volume(hub_id, "alice"),
        }
        for volume in folders.values():
            assert lab.engine.volumes.get(volume).attrs["Labels"] == {
                "mydocker.hub": hub_id,
                "mydocker.user": "alice",
            }
        alice.stop_and_wait("tiny")
        lab.nothing_is_left(user="alice")
        assert {volume.name for volume in lab.volumes(user="alice")} == set(folders.values())

        began = time.monotonic()
        alice.start_and_wait("tiny")
        assert time.monotonic() - began < 8
        assert not lab.services(user="alice", kind="preparation")
        again = lab.container("alice", "tiny")
        assert again.id != inside.id
        assert run(again, "cat /data/mine/file /home/user/file") == "one\ntwo"
        run(again, "echo three >> /data/mine/file && rmdir /data/mine/sub")
        alice.stop_and_wait("tiny")


def test_the_global_folder_is_for_all_images_whatever_their_uid(lab: Lab) -> None:
    with lab.signed_in("alice") as alice:
        for server in ("tiny", "other-uid"):
            alice.start(server)
        for server in ("tiny", "other-uid"):
            alice.wait_until_ready(server)
        tiny, other = lab.container("alice", "tiny"), lab.container("alice", "other-uid")
        assert (run(tiny, "id -u"), run(other, "id -u")) == ("1234", "4321")
        run(tiny, "echo from tiny > /home/user/a")
        run(other, "echo from other > /home/other/b && mkdir /home/other/c")
        assert run(other, "cat /home/other/a") == "from tiny"
        assert run(tiny, "cat /home/user/b") == "from other"
        run(tiny, "rm /home/user/b && rmdir /home/user/c")
        assert run(other, "ls /home/other/mine 2>/dev/null || echo none") == "none"
        for server in ("tiny", "other-uid"):
            alice.stop(server)
        for server in ("tiny", "other-uid"):
            alice.wait_until_gone(server)


def test_an_image_without_a_shell_starts(lab: Lab) -> None:
    with lab.signed_in("alice") as alice:
        alice.start_and_wait("no-shell")
        mounts = lab.container("alice", "no-shell").attrs["Mounts"]
        assert "/data/mine" in [mount["Destination"] for mount in mounts]
        alice.stop_and_wait("no-shell")
    lab.nothing_is_left(user="alice")


def test_neighbours_with_similar_names_never_meet(lab: Lab) -> None:
    """tiny, tiny-2 and t of one person, and tiny of another: four folders, four servers."""
    with lab.signed_in("alice") as alice, lab.signed_in("bob") as bob:
        servers = [(alice, "tiny"), (alice, "tiny-2"), (alice, "t"), (bob, "tiny")]
        for person, server in servers:
            person.start(server)
        for person, server in servers:
            person.wait_until_ready(server)
        for person, server in servers:
            inside = lab.container(person.name, server)
            run(inside, f"echo {person.name} {server} > /data/mine/who")
            run(inside, f"echo {person.name} > /home/user/{server}")
        for person, server in servers:
            inside = lab.container(person.name, server)
            assert run(inside, "cat /data/mine/who") == f"{person.name} {server}"
        assert run(lab.container("bob", "tiny"), "ls /home/user") == "tiny"
        shared = run(lab.container("alice", "t"), "ls /home/user").split()
        assert {"t", "tiny", "tiny-2"} <= set(shared)

        bob.stop_and_wait("tiny")
        alice.stop_and_wait("t")
        assert {s.attrs["Spec"]["Labels"]["mydocker.server"] for s in lab.services()} == {
            "tiny",
            "tiny-2",
        }
        assert alice.server("tiny")["ready"]
        alice.stop_and_wait("tiny")
        alice.stop_and_wait("tiny-2")
    lab.nothing_is_left()


# --- limits --------------------------------------------------------------------------------------

BUSY = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do while :; do :; done & done; wait"


@contextmanager
def control(engine: docker.DockerClient) -> Iterator[Callable[[], dict[str, Any]]]:
    """The same image and limit as `checked`, as stock Swarm runs it; what its task says."""
    name = f"mydocker-test-control-{secrets.token_hex(4)}"
    service = engine.api.create_service(
        name=name,
        task_template=TaskTemplate(
            container_spec=ContainerSpec(HEALTH_CHECK, args=["sh", "-c", f"{SERVE}; {BUSY}"]),
            resources=Resources(cpu_limit=500_000_000),
            restart_policy=RestartPolicy(condition="none"),
        ),
    )["ID"]
    try:
        yield lambda: next(iter(engine.api.tasks(filters={"service": name})), {}).get("Status", {})
    finally:
        engine.api.remove_service(service)


@pytest.mark.timeout(150)
def test_computing_at_the_cpu_limit_slows_the_server_and_does_not_end_it(lab: Lab) -> None:
    with lab.signed_in("alice") as alice:
        alice.start_and_wait("checked")
        inside = lab.container("alice", "checked")
        inside.exec_run(["sh", "-c", BUSY], detach=True)
        began = time.monotonic()
        with control(lab.engine) as status:
            # Stock Swarm ends it: it cannot answer its health check in time.
            wait_for(lambda: status().get("State") == "failed", 100, lambda: str(status()))
            assert "unhealthy" in status()["Err"]
        time.sleep(max(5, 45 - (time.monotonic() - began)))
        # Ours has computed all that time, slowed down, and goes on.
        inside.reload()
        assert inside.status == "running"
        assert "Health" not in inside.attrs["State"]
        assert len(inside.top()["Processes"]) > 16
        stats = inside.stats(stream=False)["cpu_stats"]
        assert stats["throttling_data"]["throttled_periods"] > 100
        spent = stats["cpu_usage"]["total_usage"] / 1e9
        elapsed = time.monotonic() - began
        assert 0.3 * elapsed < spent < 0.6 * elapsed + 2
        assert alice.server("checked")["ready"]
        answer = alice.get("/user/alice/checked/")  # slow, but there
        assert answer.status_code == 404
        assert inside.attrs["HostConfig"]["NanoCpus"] == 500_000_000
        variables = dict(item.split("=", 1) for item in inside.attrs["Config"]["Env"])
        assert {variables[name] for name in THREAD_VARIABLES} == {"1"}
        alice.stop_and_wait("checked")
    lab.nothing_is_left()


@pytest.mark.parametrize(
    ("server", "shares", "quota", "threads"),
    [("share", 256, 0, None), ("share-and-limit", 512, 1_500_000_000, "2")],
)
def test_a_cpu_weight(lab: Lab, server: str, shares: int, quota: int, threads: str | None) -> None:
    with lab.signed_in("alice") as alice:
        alice.start_and_wait(server)
        attributes = lab.container("alice", server).attrs
        assert attributes["HostConfig"]["CpuShares"] == shares
        assert attributes["HostConfig"]["NanoCpus"] == quota
        variables = dict(item.split("=", 1) for item in attributes["Config"]["Env"])
        assert variables.get("OMP_NUM_THREADS") == threads
        alice.stop_and_wait(server)


def test_the_server_is_told_when_it_used_too_much_memory(lab: Lab) -> None:
    with lab.signed_in("alice") as alice:
        alice.start_and_wait("eater")
        run(lab.container("alice", "eater"), "touch /tmp/eat")
        alice.wait_until_gone("eater", 20)
        lab.nothing_is_left(user="alice")
        told = sentence("out-of-memory", memory=32_000_000)
        assert "32 Mo" in told
        page = wait_for(lambda: told in (text := alice.dashboard()) and text, 5, alice.dashboard)
        assert sentence("container-exited", exit_code=137)[:40] not in page
        assert sentence("out-of-memory", "en", memory=32_000_000) in alice.dashboard("en")
        # and it can be started again, which says no more of it
        alice.start_and_wait("eater")
        assert told not in alice.dashboard()
        alice.stop_and_wait("eater")
        assert told not in alice.dashboard()


def test_a_program_that_used_too_much_memory_is_told_while_the_server_goes_on(lab: Lab) -> None:
    with lab.signed_in("alice") as alice:
        alice.start_and_wait("tiny")
        inside = lab.container("alice", "tiny")
        status, _ = inside.exec_run(["tail", "/dev/zero"])
        assert status == 137
        told = sentence("memory-limit", memory=64_000_000)
        assert "64 Mo" in told
        wait_for(lambda: told in alice.dashboard(), 10, alice.dashboard)
        assert alice.server("tiny")["ready"]
        assert lab.container("alice", "tiny").id == inside.id
        alice.stop_and_wait("tiny")
        assert told not in alice.dashboard()


CAPABILITIES = {
    "SETPCAP": 8,
    "NET_RAW": 13,
    "SYS_CHROOT": 18,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "MKNOD": 27,
    "AUDIT_WRITE": 29,
    "SETFCAP": 31,
}


@pytest.mark.parametrize(("server", "kept"), [("guarded", set()), ("traced", {"SYS_PTRACE"})])
def test_capabilities_and_privileges(lab: Lab, server: str, kept: set[str]) -> None:
    with lab.signed_in("alice") as alice:
        alice.start_and_wait(server)
        inside = lab.container("alice", server)
        status = run(inside, "cat /proc/1/status")
        bounding = int(re.search(r"CapBnd:\s*(\w+)", status)[1], 16)
        assert {name for name, bit in CAPABILITIES.items() if bounding >> bit & 1} == kept
        assert bounding & 1, "CHOWN stays, as in Docker's default"
        assert re.search(r"NoNewPrivs:\s*1", status)
        assert re.search(r"Seccomp:\s*2", status)
        alice.stop_and_wait(server)


def test_processes_and_shared_memory_are_limited(lab: Lab) -> None:
    with lab.signed_in("alice") as alice:
        alice.start_and_wait("guarded")
        inside = lab.container("alice", "guarded")
        size = run(inside, "df -k /dev/shm | tail -1 | awk '{print $2}'")
        assert int(size) == 8 * 1024
        _, output = inside.exec_run(
            ["sh", "-c", "for i in $(seq 40); do sleep 3 & done; echo all of them"]
        )
        assert b"all of them" not in output
        assert b"fork" in output
        assert len(inside.top()["Processes"]) <= 20
        assert alice.get("/user/alice/guarded/").status_code == 404  # it answers
        alice.stop_and_wait("guarded")


# --- how a start goes ----------------------------------------------------------------------------


def test_the_steps_of_a_first_start(lab: Lab) -> None:
    with lab.signed_in("bob") as bob:
        bob.start("slow")
        # a page that opens late is told all of it
        time.sleep(1)
        events = bob.progress("slow")
        steps = [event["step"] for event in events if "step" in event]
        assert steps[:2] == ["node", "folder"]
        assert steps[-2:] == ["interface", "interface"]
        assert set(steps) <= {"node", "folder", "image", "container", "interface"}
        assert len(events) == len({(e.get("step"), e.get("message")) for e in events})
        progress = [event["progress"] for event in events]
        assert progress == sorted(progress)
        assert events[-1]["ready"]
        assert all(
            set(event["sentences"]) == {"fr", "en"} for event in events if "sentences" in event
        )
        bob.stop_and_wait("slow")


# --- starts and stops that meet ------------------------------------------------------------------


def test_a_double_click_starts_one_server(lab: Lab) -> None:
    with lab.signed_in("alice") as alice, ThreadPoolExecutor(6) as pool:
        # prepared, so that nothing takes time between the clicks
        headers = {"Authorization": f"Bearer {alice.token()}"}
        url = f"{lab.hub.url}/hub/api/users/alice/servers/tiny"
        answers = list(
            pool.map(lambda _: requests.post(url, headers=headers, timeout=60), range(6))
        )
        assert {answer.status_code for answer in answers} <= {201, 202, 400}
        assert any(answer.status_code in {201, 202} for answer in answers)
        alice.wait_until_ready("tiny")
        assert len(lab.services(user="alice")) == 1
        assert len(lab.containers(user="alice", kind="server")) == 1
        alice.stop_and_wait("tiny")
    lab.nothing_is_left()


def test_two_tabs_with_a_join_link_start_one_server(lab: Lab) -> None:
    with lab.signed_in("alice") as alice, ThreadPoolExecutor(4) as pool:
        pages = list(pool.map(lambda _: alice.get("/join/TinyTinyTinyTinyTiny"), range(4)))
        alice.wait_until_ready("tiny")
        # the sample image's own page: there is none at this address, which is enough
        assert {page.status_code for page in pages} <= {200, 404}
        assert all("/alice/tiny" in page.url for page in pages)
        assert len(lab.services(user="alice")) == 1
        alice.stop_and_wait("tiny")


@pytest.mark.parametrize("after", [0.0, 0.3, 1.0, 3.0])
def test_a_start_can_be_cancelled_at_any_moment(lab: Lab, after: float) -> None:
    with lab.signed_in("carol") as carol:
        assert carol.start("slow").status_code == 202
        time.sleep(after)
        began = time.monotonic()
        assert carol.stop("slow").status_code in {202, 204}
        carol.wait_until_gone("slow")
        lab.nothing_is_left(user="carol")
        assert time.monotonic() - began < 10
        wait_for(lambda: lab.last_end() == "start-cancelled", 5)
        assert sentence("start-cancelled") not in carol.dashboard()  # it was their wish


def test_a_cancelled_start_can_be_started_again(lab: Lab) -> None:
    with lab.signed_in("carol") as carol:
        carol.start("slow")
        carol.stop("slow")
        carol.start_and_wait("slow")
        assert len(lab.containers(user="carol", kind="server")) == 1
        carol.stop_and_wait("slow")
    lab.nothing_is_left(user="carol")


def test_a_start_during_a_stop(lab: Lab) -> None:
    """The API says no in words; a join link waits and starts it."""
    with lab.signed_in("alice") as alice:
        alice.start_and_wait("stubborn")
        first = lab.container("alice", "stubborn").id
        stopping = threading.Thread(target=alice.stop, args=["stubborn"])
        stopping.start()
        wait_for(lambda: (alice.server("stubborn") or {}).get("pending") == "stop")
        refused = alice.start("stubborn")
        assert refused.status_code == 400
        assert "pending stop" in refused.json()["message"]
        waiting = alice.get("/hub/spawn-pending/alice/stubborn")
        assert translator("fr").gettext(
            "The environment is stopping. You can start it again once it has stopped."
        ) in text_of(waiting)
        page = alice.get("/join/StubbornStubbornStub")
        assert "/alice/stubborn" in page.url
        alice.wait_until_ready("stubborn")
        stopping.join()
        assert lab.container("alice", "stubborn").id != first
        alice.stop_and_wait("stubborn")
    lab.nothing_is_left()


def test_a_server_that_ends_is_noticed_and_cleared_away(lab: Lab) -> None:
    """Its person ended it from inside, an operator removed it: not a crash, and not for ever."""
    with lab.signed_in("alice") as alice:
        alice.start_and_wait("eater")
        lab.container("alice", "eater").exec_run(["kill", "-TERM", "1"])
        alice.wait_until_gone("eater", 15)
        lab.nothing_is_left(user="alice")
        alice.start_and_wait("eater")
        (service,) = lab.services(user="alice", server="eater")
        service.remove()
        alice.wait_until_gone("eater", 30)
        wait_for(lambda: sentence("node-lost") in alice.dashboard(), 5, alice.dashboard)


# --- parts that fail -----------------------------------------------------------------------------


@contextmanager
def catalogue_is_down(hub: RunningHub) -> Iterator[None]:
    """The catalogue ended, and what would start it again is held."""
    ours = processes(hub).items()
    (keeper,) = [pid for pid, command in ours if "mydocker_hub.services catalogue" in command]
    (service,) = [pid for pid, command in ours if "mydocker_hub.services.catalogue" in command]
    os.kill(keeper, signal.SIGSTOP)
    os.kill(service, signal.SIGKILL)
    try:
        yield
    finally:
        os.kill(keeper, signal.SIGCONT)


def test_the_catalogue_is_down_and_comes_back(lab: Lab) -> None:
    with lab.signed_in("alice") as alice, lab.signed_in("bob") as bob:
        bob.start_and_wait("tiny")
        with catalogue_is_down(lab.hub):
            alice.start("tiny")
            events = alice.progress("tiny")
            told = next(event for event in events if event.get("state") == "failed")
            assert told["sentences"]["fr"] == sentence("catalogue-unavailable")
            page = alice.get("/hub/spawn-pending/alice/tiny")
            assert page.status_code == 503
            assert sentence("catalogue-unavailable") in text_of(page)
            lab.nothing_is_left(user="alice")
            assert bob.get("/user/bob/tiny/").status_code == 404  # the running server answers
        # a start that meets a catalogue which is just coming back waits for it
        answer = alice.start("tiny")
        assert answer.status_code in {201, 202}, answer.text
        alice.wait_until_ready("tiny")
        alice.stop_and_wait("tiny")
        bob.stop_and_wait("tiny")


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


def test_an_engine_that_does_not_answer(starter: Starter, relay: Relay, tmp_path: Path) -> None:
    config = f"""
c.SwarmSpawner.client_kwargs = {{"base_url": "tcp://127.0.0.1:{relay.port}"}}
from mydocker_hub.swarm import client, watcher
client.CALL_TIMEOUT_SECONDS = 3
watcher.SILENCE_SECONDS = 4
watcher.SLOW_SECONDS = 1
"""
    with starter(tmp_path, config) as (_, lab), lab.signed_in("alice") as alice:
        alice.start_and_wait("tiny")
        container = lab.container("alice", "tiny").id
        why = sentence("engine-unavailable")

        def start_fails(server: str, within: float) -> None:
            began = time.monotonic()
            alice.start(server)
            wait_for(lambda: alice.server(server) is None, within)
            page = alice.get(f"/hub/spawn-pending/alice/{server}")
            assert page.status_code == 503
            assert why in text_of(page)
            assert time.monotonic() - began < within

        # running servers stay, whatever the engine does
        for mode in ("cut", "silent"):
            relay.set(mode)
            start_fails("t", 20)
            time.sleep(4)  # several polls of the hub
            assert alice.server("tiny")["ready"]
            assert alice.get("/user/alice/tiny/").status_code == 404
        # an answer that is an error
        relay.set("error")
        start_fails("t", 10)
        # the engine is cut off in the middle of a start
        relay.set("pass")
        alice.start("slow")
        wait_for(lambda: lab.containers(server="slow", kind="server"))
        relay.set("cut")
        wait_for(lambda: alice.server("slow") is None, 20)
        assert alice.server("tiny")["ready"]
        # it answers again: what is left of that start goes with the next one
        relay.set("pass")
        alice.start_and_wait("slow")
        assert len(lab.services(server="slow")) == 1
        assert lab.container("alice", "tiny").id == container
        # a stop that the engine does not hear: the hub forgets the server, the sweep ends it
        relay.set("cut")
        alice.stop_and_wait("slow")
        assert lab.services(server="slow")
        relay.set("pass")
        alice.start_and_wait("slow")
        assert len(lab.services(server="slow")) == 1
        wait_for(lambda: len(lab.containers(server="slow")) == 1)
        assert "does not have a leader" in lab.hub.log()


def test_an_answer_that_comes_too_late(starter: Starter, relay: Relay, tmp_path: Path) -> None:
    """The engine makes the service after the hub has given up: the sweep finds it."""
    config = f"""
c.SwarmSpawner.client_kwargs = {{"base_url": "tcp://127.0.0.1:{relay.port}"}}
from datetime import timedelta
from mydocker_hub.swarm import client, watcher
client.CALL_TIMEOUT_SECONDS = 2
watcher.SWEEP_AFTER = timedelta(seconds=2)
watcher.SWEEP_EVERY_SECONDS = 1
"""
    with starter(tmp_path, config) as (_, lab), lab.signed_in("alice") as alice:
        alice.start_and_wait("t")
        relay.delay = 4
        alice.start("checked")
        wait_for(lambda: alice.server("checked") is None)
        page = alice.get("/hub/spawn-pending/alice/checked")
        assert sentence("engine-unavailable") in text_of(page)
        assert not lab.services(server="checked")
        wait_for(lambda: lab.services(server="checked"))
        wait_for(lambda: not lab.services(server="checked"), 15)
        wait_for(lambda: not lab.containers(server="checked"))
        assert alice.server("t")["ready"]
        assert len(lab.services(server="t")) == 1


def test_a_hub_that_is_killed(starter: Starter, tmp_path: Path) -> None:
    """Running servers stay; a start that was under way is cleared away, and works again."""
    config = """
from datetime import timedelta
from mydocker_hub.swarm import watcher
watcher.SWEEP_AFTER = timedelta(seconds=8)
watcher.SWEEP_EVERY_SECONDS = 1
"""
    with starter(tmp_path, config) as (hub, lab):
        with lab.signed_in("alice") as alice:
            alice.start_and_wait("tiny")
            container = lab.container("alice", "tiny")
            run(container, "echo kept > /data/mine/file")
            alice.start("slow")
            alice.start("mute")
            for server in ("slow", "mute"):
                wait_for(lambda: lab.containers(server=server, kind="server"))  # noqa: B023
        kill(hub)
        lab = Lab(hub.__enter__(), lab.engine)
        with lab.signed_in("alice") as alice:
            # the server that ran goes on, and its page is reached through the hub
            assert alice.server("tiny")["ready"]
            assert alice.get("/user/alice/tiny/").status_code == 404
            assert lab.container("alice", "tiny").id == container.id
            # of the two starts that were under way, one is tried again at once
            assert alice.server("slow") is None
            alice.start_and_wait("slow")
            assert len(lab.services(server="slow")) == 1
            # and the other is swept
            wait_for(lambda: not lab.services(server="mute"), 20)
            assert sorted(
                service.attrs["Spec"]["Labels"]["mydocker.server"] for service in lab.services()
            ) == ["slow", "tiny"]
            # and a server that was adopted still is stopped, watched and told
            status, _ = lab.container("alice", "tiny").exec_run(["tail", "/dev/zero"])
            assert status == 137
            told = sentence("memory-limit", memory=64_000_000)
            wait_for(lambda: told in alice.dashboard(), 10, alice.dashboard)
            alice.stop_and_wait("tiny")
            alice.stop_and_wait("slow")
        lab.nothing_is_left()


# --- configuration -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        "c.SwarmSpawner.client_kwargs = {'timeout': 5}",
        "c.DockerSpawner.network_name = 'students'",
        "c.SwarmEnvironmentSpawner.extra_container_spec = {'hostname': 'lab'}",
        "c.SwarmEnvironmentSpawner.answer_timeout = 5",
        "c.Spawner.environment = {'LANG': 'fr'}",
        "c.Spawner.start_timeout = 300",
    ],
)
def test_settings_that_are_honoured(setting: str) -> None:
    SwarmEnvironmentSpawner.check_config(configuration(setting))


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("c.DockerSpawner.image = 'x'", "c.DockerSpawner.image"),
        ("c.DockerSpawner.volumes = {'a': 'b'}", "c.DockerSpawner.volumes"),
        ("c.SwarmSpawner.volume_driver = 'nfs'", "c.SwarmSpawner.volume_driver"),
        ("c.Spawner.mem_limit = '1G'", "c.Spawner.mem_limit"),
        ("c.Spawner.cpu_limit = 2", "c.Spawner.cpu_limit"),
        ("c.Spawner.cmd = ['x']", "c.Spawner.cmd"),
        ("c.Spawner.options_form = 'x'", "c.Spawner.options_form"),
        ("c.SwarmEnvironmentSpawner.mem_limit = '1G'", "c.SwarmEnvironmentSpawner.mem_limit"),
        ("c.DockerSpawner.allowed_images = ['x']", "c.DockerSpawner.allowed_images"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(setting: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"{re.escape(name)}$"):
        SwarmEnvironmentSpawner.check_config(configuration(setting))


def configuration(text: str) -> Config:
    c = Config()
    exec(text, {"c": c})
    return c
