"""A running hub, and the people who use it without a browser."""

from __future__ import annotations

import html
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from mydocker_hub.store.database import Database


@dataclass(frozen=True)
class RunningHub:
    url: str
    hub_id: str
    state: Path
    process: subprocess.Popen[bytes]

    def log(self) -> str:
        return (self.state / "hub.log").read_text(errors="replace")

    @contextmanager
    def signed_in(self, name: str) -> Iterator[Visitor]:
        """Somebody of the demonstration: alice (student), bob (teacher), carol (admin)."""
        with requests.Session() as session:
            visitor = Visitor(self, name, session)
            visitor.sign_in()
            yield visitor


@dataclass
class Visitor:
    """A browser's cookies without a browser: pages, forms, the hub's API as its pages use it."""

    hub: RunningHub
    name: str
    session: requests.Session

    def sign_in(self) -> None:
        page = self.get("/hub/login")
        form = {"username": self.name, "_xsrf": _xsrf(page.text)}
        answer = self.session.post(f"{self.hub.url}/hub/login", data=form, timeout=30)
        answer.raise_for_status()

    def get(self, path: str, **options: Any) -> requests.Response:
        """Navigate to a page, as a person who follows a link inside the site."""
        headers = {
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Site": "none",
            **options.pop("headers", {}),
        }
        page = self.session.get(f"{self.hub.url}{path}", headers=headers, timeout=60, **options)
        page.encoding = "utf-8"  # which the hub's pages say in themselves
        return page

    def post_form(self, page: str, path: str, **fields: str) -> requests.Response:
        """Send a form of `page` to `path`, with the page's own token."""
        token = _xsrf(self.get(page).text)
        answer = self.session.post(
            f"{self.hub.url}{path}", data={"_xsrf": token, **fields}, timeout=60
        )
        answer.encoding = "utf-8"
        return answer

    def api(self, method: str, path: str, **options: Any) -> requests.Response:
        """The hub's REST API, with the token that the hub's own pages send."""
        token = _xsrf(self.get("/hub/home").text)
        return self.session.request(
            method,
            f"{self.hub.url}/hub/api{path}",
            headers={"X-XSRFToken": token, "Sec-Fetch-Mode": "cors"},
            timeout=90,
            **options,
        )

    def server(self, name: str) -> dict[str, Any] | None:
        """The hub's model of this person's server, or None while there is none."""
        servers: dict[str, Any] = self.api("GET", f"/users/{self.name}").json()["servers"]
        return servers.get(name)

    def wait_until_ready(self, name: str, seconds: float = 60) -> dict[str, Any]:
        """Wait for a start; fails with the hub's log if it fails."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            server = self.server(name)
            if server and server["ready"]:
                return server
            if server is None:
                break
            time.sleep(0.2)
        raise AssertionError(f"{name} is not ready:\n{self.hub.log()[-6000:]}")

    def wait_until_gone(self, name: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.server(name) is None:
                return
            time.sleep(0.2)
        raise AssertionError(f"{name} does not stop:\n{self.hub.log()[-6000:]}")

    def start(self, name: str, **options: Any) -> requests.Response:
        """Ask for a start, as the pages do; answered in half a second, started or not."""
        return self.api("POST", f"/users/{self.name}/servers/{name}", **options)

    def start_and_wait(self, name: str) -> dict[str, Any]:
        answer = self.start(name)
        assert answer.status_code in {201, 202}, answer.text
        return self.wait_until_ready(name)

    def stop(self, name: str) -> requests.Response:
        return self.api("DELETE", f"/users/{self.name}/servers/{name}")

    def stop_and_wait(self, name: str) -> None:
        assert self.stop(name).status_code in {202, 204}
        self.wait_until_gone(name)

    def progress(self, name: str, seconds: float = 60) -> list[dict[str, Any]]:
        """What the waiting page is told, until the start has ended."""
        return list(self.listen(name, seconds))

    def listen(self, name: str, seconds: float = 60) -> Iterator[dict[str, Any]]:
        """The same, as it is told."""
        token = _xsrf(self.get("/hub/home").text)
        with self.session.get(
            f"{self.hub.url}/hub/api/users/{self.name}/servers/{name}/progress",
            params={"_xsrf": token},
            stream=True,
            timeout=seconds,
        ) as stream:
            assert stream.status_code == 200, stream.text
            for line in stream.iter_lines(chunk_size=1):
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

    def dashboard(self, language: str = "fr") -> str:
        """The text of the dashboard, with plain spaces and without its markup."""
        page = self.get("/services/catalogue/", headers={"Accept-Language": language})
        page.raise_for_status()
        return text_of(page)

    def token(self) -> str:
        """A new API token of this person, with all their rights."""
        answer = self.api("POST", f"/users/{self.name}/tokens", json={"expires_in": 600})
        answer.raise_for_status()
        return str(answer.json()["token"])


def in_database(hub: RunningHub, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a function of the store in the database of a running hub."""
    with closing(Database(f"sqlite:///{hub.state / 'catalogue.sqlite'}")) as database:
        return database.write_now(function, *args, **kwargs)


def text_of(page: requests.Response) -> str:
    """What a page says: no markup, one plain space between words."""
    text = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", page.text, flags=re.DOTALL)
    return " ".join(html.unescape(text).split())


def _xsrf(page: str) -> str:
    match = re.search(r'name="_xsrf" value="([^"]+)"|xsrf_token: "([^"]+)"', page)
    assert match, page[:2000]
    return match[1] or match[2]


def processes(hub: RunningHub) -> dict[int, str]:
    """The processes below a hub: id and command."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            found[int(folder.name)] = (parent, command)
    below = {hub.process.pid}
    for _ in range(5):
        below |= {pid for pid, (parent, _) in found.items() if parent in below}
    return {pid: found[pid][1] for pid in below if pid in found}
