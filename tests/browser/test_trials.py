"""A teacher tries an environment; an environment that brings a Git repository along."""

from __future__ import annotations

import http.server
import secrets
import ssl
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest
from playwright.sync_api import expect

from mydocker_hub.domain import names

from ..hub import RunningHub
from ..services.conftest import Asker
from ..spawning import Lab, wait_for
from .conftest import PHONE, Window


@pytest.fixture
def environment(hub: RunningHub, sample_image: str) -> Any:
    """Make an environment of bob's with JupyterLab; its slug."""

    def make(**changes: Any) -> str:
        slug = f"e-{secrets.token_hex(4)}"
        with hub.signed_in("bob") as bob:
            answer = Asker(hub.url, bob.token()).post(
                "/environments",
                {
                    "slug": slug,
                    "title": {"fr": "Atelier : analyse", "en": "Workshop: analysis"},
                    "status": "draft",
                    "image": sample_image,
                    "command": "jupyterhub-singleuser",
                    "interfaces": [{"name": "lab", "title": "JupyterLab", "path": "/lab"}],
                    "resources": {"cpu_limit": 2, "memory_bytes": "1 GB"},
                    "storage": {"dedicated": "/home/jovyan"},
                    **changes,
                },
            )
            assert answer.status_code == 201, answer.text
        return slug

    return make


def test_try_it(window: Any, anew: Any, environment: Any, hub: RunningHub, engine: Any) -> None:
    """From the button to JupyterLab, the line on the dashboard, and the end."""
    anew("bob")
    slug = environment()
    trial = names.trial_name(f"environment/{slug}")
    teacher: Window = window("bob")
    page = teacher.page
    teacher.open(f"/services/catalogue/workshop/environments/{slug}")
    page.locator(f'form[action$="/trial/{slug}"] button').first.click()
    page.wait_for_url(f"**/hub/spawn-pending/bob/{trial}?**")
    expect(page.get_by_role("heading", level=1)).to_have_text("Essai : Atelier : analyse")
    teacher.wait_for_landing(f"/user/bob/{trial}/lab")
    expect(page.get_by_role("menuitem", name="Fichier")).to_be_visible(timeout=60_000)
    lab = Lab(hub, engine)
    assert len(lab.volumes(trial="true")) == 1

    # a line of the dashboard, which goes with the trial
    dashboard = teacher.context.new_page()
    dashboard.goto(f"{hub.url}/services/catalogue/")
    line = dashboard.locator(f'[data-environment="{trial}"]')
    expect(line).to_contain_text("Essai : Atelier : analyse")
    expect(line).to_contain_text("ses fichiers sont effacés")
    expect(dashboard.locator(".environment-card")).to_have_count(0)
    assert teacher.is_as_wide_as_the_window()
    dashboard.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    assert dashboard.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    with dashboard.expect_navigation():
        line.get_by_role("link", name="Ouvrir").click()
    assert f"/user/bob/{trial}/lab" in dashboard.url
    page.goto("about:blank")  # JupyterLab goes on asking its server
    dashboard.goto(f"{hub.url}/services/catalogue/")
    line.get_by_role("button", name="Éteindre").click()
    expect(line).to_have_count(0, timeout=60_000)
    wait_for(lambda: not lab.volumes(trial="true"), 30)

    # where the browser still is, it is said what became of it
    dashboard.goto(f"{hub.url}/hub/user/bob/{trial}/")
    expect(dashboard.get_by_text("Cet essai est terminé")).to_be_visible()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def repository(tmp_path: Path, bridge_address: str) -> Iterator[str]:
    """The https address of a Git repository with a notebook, as containers reach it."""

    def run(*command: str, cwd: Path = tmp_path) -> None:
        subprocess.run(command, check=True, cwd=cwd, capture_output=True)

    work = tmp_path / "work"
    (work / "semaine 1").mkdir(parents=True)
    (work / "semaine 1" / "leçon.md").write_text("# Bonjour\n")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    run("git", "init", "--initial-branch=main", cwd=work)
    run("git", "add", ".", cwd=work)
    run("git", *identity, "commit", "--message=first", cwd=work)
    served = tmp_path / "served"
    served.mkdir()
    run("git", "clone", "--bare", str(work), str(served / "cours.git"))
    run("git", "update-server-info", cwd=served / "cours.git")
    key = tmp_path / "key.pem"
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
        *("-subj", "/CN=test", "-keyout", str(key), "-out", str(tmp_path / "cert.pem")),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", key)
    server = http.server.ThreadingHTTPServer(
        (bridge_address, 0), partial(_Quiet, directory=str(served))
    )
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://{bridge_address}:{server.server_port}/cours.git"
    server.shutdown()
    server.server_close()


def test_content_is_fetched_when_people_arrive(
    window: Any,
    anew: Any,
    environment: Any,
    repository: str,
    hub: RunningHub,
    engine: docker.DockerClient,
) -> None:
    anew("bob")
    slug = environment(
        content={"repository": repository, "branch": "main", "path": "semaine 1/leçon.md"},
        # the certificate is our own, and the server a plain one
        variables={"GIT_SSL_NO_VERIFY": "1", "NBGITPULLER_DEPTH": "0"},
    )
    teacher: Window = window("bob")
    page = teacher.page
    teacher.open(f"/services/catalogue/environments/{slug}")
    page.get_by_role("button", name="Démarrer").click()
    teacher.wait_for_landing(f"/user/bob/{slug}/git-pull")
    teacher.wait_for_landing(f"/user/bob/{slug}/lab/tree/cours/semaine%201/le%C3%A7on.md")
    expect(page.get_by_role("tab", name="leçon.md")).to_be_visible(timeout=60_000)
    container = Lab(hub, engine).container("bob", slug)
    status, output = container.exec_run(["cat", "/home/jovyan/cours/semaine 1/leçon.md"])
    assert (status, output.decode()) == (0, "# Bonjour\n")
    page.goto("about:blank")
    anew("bob")
