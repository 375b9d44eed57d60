"""A catalogue with many environments: no request asks the database more, none gets too long.

Here the service runs in this process, and the hub is left out: it would only say who asks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from mydocker_hub.hubapi import HubApi
from mydocker_hub.services.catalogue.app import Settings, make_app
from mydocker_hub.services.catalogue.pages import EnvironmentsPage, nearby_pages
from mydocker_hub.store import activity, editing
from mydocker_hub.store.database import Database
from mydocker_hub.web.service import ServiceHandler
from tests.store.conftest import ALICE, BOB, NOW, make

PREFIX = "/services/catalogue/"
SECRET = "secret"
SIZE = 5


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EnvironmentsPage, "PAGE_SIZE", SIZE)


@pytest.fixture
def database(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path / 'catalogue.sqlite'}")
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def fill(database: Database) -> Callable[[int], None]:
    """Make environments up to this many, which alice has all joined, and bob owns."""
    made = 0

    def some(session: Session, numbers: range) -> None:
        for number in numbers:
            environment = make(f"e{number:03}", public=True, tags=["python"])
            editing.create_environment(session, environment, BOB, NOW)
            link = editing.add_join_link(session, environment.slug, BOB, NOW)
            activity.join(session, link.key, ALICE, NOW)

    def fill(count: int) -> None:
        nonlocal made
        database.write_now(some, range(made, count))
        made = count

    return fill


@pytest.fixture
async def ask(database: Database, monkeypatch: pytest.MonkeyPatch):
    """Send a request to the service as alice; the answer's text."""
    for name in ("CLIENT_ID", "API_TOKEN", "API_URL", "SERVICE_PREFIX"):
        monkeypatch.setenv(f"JUPYTERHUB_{name}", PREFIX)

    async def identify(handler: ServiceHandler) -> dict[str, Any]:
        handler._user_model = {"name": ALICE.name, "kind": "user"}
        return handler._user_model

    async def servers(hub_api: HubApi, user: str) -> dict[str, Any]:
        return {}

    monkeypatch.setattr(ServiceHandler, "identify", identify)
    monkeypatch.setattr(ServiceHandler, "own_token", "alice's")
    monkeypatch.setattr(HubApi, "servers", servers)
    settings = Settings(
        database_url="",
        hub="test",
        hub_secret=SECRET,
        hub_api_url="",
        base_url="/",
        service_prefix=PREFIX,
        demo=False,
    )
    server = HTTPServer(make_app(settings, database))
    listening, port = bind_unused_port()
    server.add_socket(listening)

    async def ask(path: str, body: Any = None, lang: str = "en") -> str:
        answer = await AsyncHTTPClient().fetch(
            f"http://127.0.0.1:{port}{PREFIX}{path}",
            method="GET" if body is None else "POST",
            headers={"Accept-Language": lang, "Authorization": f"Bearer {SECRET}"},
            body=None if body is None else json.dumps(body),
        )
        return answer.body.decode()

    yield ask
    server.stop()
    await server.close_all_connections()


LAUNCH = {
    "person": {"name": ALICE.name},
    "environment": "e001",
    "server": "e001",
    "base_url": "/user/alice/e001/",
}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", None),
        ("states", None),
        ("environments", None),
        ("environments?q=e00", None),
        ("environments/e001", None),
        ("api/environments", None),
        ("api/me/environments", None),
        ("api/launches", LAUNCH),
        ("api/choices", {"person": {"name": ALICE.name}}),
    ],
)
async def test_no_more_queries_with_more_environments(database, fill, ask, path, body) -> None:
    sent: list[str] = []
    event.listen(
        database.engine,
        "before_cursor_execute",
        lambda c, d, statement, *rest: sent.append(statement),
    )

    async def queries() -> list[str]:
        await ask(path, body)  # the first launch is not as the others
        sent.clear()
        await ask(path, body)
        return list(sent)

    fill(2)
    few = await queries()
    fill(2 * SIZE + 3)
    assert len(await queries()) == len(few), "\n".join(sent)
    assert len(few) <= 12


def slugs(page: str) -> list[str]:
    return re.findall(r'id="sheet-(e\d+)"', page)


async def test_the_public_catalogue_has_pages(fill, ask) -> None:
    fill(2 * SIZE + 3)
    pages = [await ask(f"environments?page={number}") for number in (1, 2, 3)]
    shown = [slugs(page) for page in pages]
    assert [len(page) for page in shown] == [SIZE, SIZE, 3]
    assert [slug for page in shown for slug in page] == [
        f"e{number:03}" for number in range(2 * SIZE + 3)
    ]


@pytest.mark.parametrize(
    ("lang", "label", "before", "after"),
    [
        ("en", "Page %d of 3", "Previous page", "Next page"),
        ("fr", "Page %d sur 3", "Page précédente", "Page suivante"),
    ],
)
async def test_the_way_through_the_pages(fill, ask, lang, label, before, after) -> None:
    """Links, so without any script; a search is kept on the way."""
    fill(2 * SIZE + 3)
    page = await ask("environments?q=e&tag=python&page=2", lang=lang)
    address = f"{PREFIX}environments?q=e&amp;tag=python"
    assert f'rel="prev" href="{address}">{before}<' in page
    assert f'rel="next" href="{address}&amp;page=3">{after}<' in page
    assert f'aria-current="page"><span class="page-link">{label % 2}<' in page
    assert f'aria-label="{label % 3}" href="{address}&amp;page=3">3<' in page
    assert "pagination" not in await ask("environments?q=e001", lang=lang)


@pytest.mark.parametrize(
    ("number", "pages", "expected"),
    [
        (1, 1, [1]),
        (1, 3, [1, 2, 3]),
        (1, 34, [1, 2, 3, None, 34]),
        (5, 34, [1, 2, 3, 4, 5, 6, 7, None, 34]),
        (6, 34, [1, None, 4, 5, 6, 7, 8, None, 34]),
        (34, 34, [1, None, 32, 33, 34]),
    ],
)
def test_nearby_pages(number: int, pages: int, expected: list[int | None]) -> None:
    assert nearby_pages(number, pages) == expected
