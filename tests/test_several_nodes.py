"""A Swarm of two machines: where servers run, where folders are, and what a lost machine means."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import requests

from .conftest import ROOT, start_hub
from .hub import RunningHub, Visitor
from .lab import Lab

pytestmark = [pytest.mark.hub, pytest.mark.engine]


@pytest.fixture(scope="module")
def lab(engine: docker.DockerClient, tiny_image: str) -> Iterator[Lab]:
    image = b"".join(engine.images.get(tiny_image).save(named=True))
    with Lab(2) as lab:
        lab.load(image)
        yield lab


@pytest.fixture(scope="module")
def lab_hub(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A hub on this machine whose servers run on the lab's nodes."""
    state = tmp_path_factory.mktemp("lab-hub")
    config = f"c.SwarmEnvironmentSpawner.client_kwargs = {{'base_url': {lab.nodes[0].host!r}}}\n"
    hub_id = f"test-{secrets.token_hex(4)}"
    catalogue = state / "catalogue.yaml"
    _, behind = (ROOT / "tests" / "gateway.yaml").read_text().split("environments:\n")
    catalogue.write_text((ROOT / "tests" / "catalogue.yaml").read_text() + behind)
    with start_hub(state, hub_id, lab.gateway, config=config, catalogue=str(catalogue)) as hub:
        yield hub


def only_task(lab: Lab, hub: RunningHub, user: str) -> dict[str, object]:
    """The running task of a person's server."""
    api = lab.nodes[0].client.api
    tasks = api.tasks(filters={"label": f"mydocker.user={user}", "desired-state": "running"})
    assert len(tasks) == 1, tasks
    task: dict[str, object] = tasks[0]
    return task


def drain(lab: Lab, number: int, availability: str) -> None:
    node = lab.nodes[0].client.nodes.get(lab.nodes[number - 1].id)
    node.update({**node.attrs["Spec"], "Availability": availability})


def start(person: Visitor, server: str) -> None:
    answer = person.api("POST", f"/users/{person.name}/servers/{server}", json={})
    assert answer.ok, answer.text
    person.wait_until_ready(server)


def stop(person: Visitor, server: str) -> None:
    assert person.api("DELETE", f"/users/{person.name}/servers/{server}").ok
    person.wait_until_gone(server)


def test_a_server_on_another_machine_is_reached_and_finds_its_folder_again(
    lab: Lab, lab_hub: RunningHub
) -> None:
    worker = lab.nodes[1]
    with lab_hub.signed_in("alice") as alice:
        drain(lab, 1, "drain")
        start(alice, "tiny")
        assert only_task(lab, lab_hub, "alice")["NodeID"] == worker.id
        # Through the proxy to the port that the worker publishes.
        page = requests.get(f"{lab_hub.url}/user/alice/tiny/", timeout=10)
        assert page.status_code == 404, "busybox' own page: there is no such file in it"
        container = worker.client.containers.list(
            filters={"label": f"mydocker.hub={lab_hub.hub_id}"}
        )[0]
        assert container.exec_run(["touch", "/home/user/kept"]).exit_code == 0
        stop(alice, "tiny")

        # Now the manager is free as well, but the folder is on the worker's disk.
        drain(lab, 1, "active")
        start(alice, "tiny")
        assert only_task(lab, lab_hub, "alice")["NodeID"] == worker.id
        container = worker.client.containers.list(
            filters={"label": f"mydocker.hub={lab_hub.hub_id}"}
        )[0]
        assert container.exec_run(["ls", "/home/user"]).output.split() == [b"kept"]
        stop(alice, "tiny")


def test_the_gateway_leads_to_another_machine(lab: Lab, lab_hub: RunningHub) -> None:
    with lab_hub.signed_in("alice") as alice:
        drain(lab, 1, "drain")
        start(alice, "web")
        assert only_task(lab, lab_hub, "alice")["NodeID"] == lab.nodes[1].id
        assert "bonjour" in alice.get("/user/alice/web/").text
        # Of a container on another machine only the ports of its interfaces are reached.
        page = alice.get("/user/alice/web/proxy/8888/index.html")
        assert "bonjour" in page.text
        page = alice.get("/user/alice/web/proxy/8000/", headers={"Accept": "text/html"})
        assert page.status_code == 501
        assert "port-out-of-reach" in page.text
        stop(alice, "web")
        drain(lab, 1, "active")


def test_a_machine_that_dies_ends_its_servers_with_a_sentence(
    lab: Lab, lab_hub: RunningHub
) -> None:
    """Last in this module: it kills a node. Its tasks go on saying that they run."""
    with lab_hub.signed_in("bob") as bob:
        drain(lab, 1, "drain")
        start(bob, "tiny")
        drain(lab, 1, "active")
        lab.nodes[1].kill()
        bob.wait_until_gone("tiny", seconds=90)
        deadline = time.monotonic() + 20
        sentence = "The machine that ran the environment is gone. Your files are kept"
        while sentence not in (page := dashboard(bob)) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert sentence in page


def dashboard(person: Visitor) -> str:
    return person.get("/services/catalogue/", headers={"Accept-Language": "en"}).text


def test_the_lab_leaves_nothing_behind(tmp_path: Path) -> None:
    with Lab(1) as lab:
        folder, bridge = lab.folder, lab.bridge
        assert lab.nodes[0].client.ping()
    assert not folder.exists()
    assert not Path(f"/sys/class/net/{bridge}").exists()
    assert bridge not in Path("/proc/mounts").read_text()
