"""How long the catalogue takes to answer when it is full.

With 1,000 environments, 10,000 people, 100,000 enrolments and all their launches, on SQLite and on
a throw-away PostgreSQL, in milliseconds:

  dashboard   the page of a student's or a teacher's own environments
  catalogue   the public catalogue's page: the first, the tenth, and what a search finds
  mine        GET /api/me/environments
  launch      POST /api/launches, as the hub asks it at each start

and, for each request on average, how long the catalogue's own process computed (CPU) and waited
for a CPU that others had (waited): the second is the machine's fault, not ours.

The catalogue runs as the hub runs it, in a process of its own. The hub is a fake in this process:
it answers at once who a token belongs to and which servers they have, so what is measured is ours.
Nearly each request is another person's, so that no answer of the hub is remembered from before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from sqlalchemy import insert, select, text

from mydocker_hub import cataloguefile
from mydocker_hub.domain import names
from mydocker_hub.domain.access import Right
from mydocker_hub.domain.environment import Environment, Status, Text
from mydocker_hub.domain.people import GROUPS, Role
from mydocker_hub.share import share_path
from mydocker_hub.store import reading
from mydocker_hub.store.database import Database, Session
from mydocker_hub.store.tables import (
    AuditRow,
    Base,
    EnrolmentRow,
    EnvironmentRow,
    EnvironmentVersionRow,
    FolderRow,
    JoinLinkRow,
    LaunchRow,
    PersonRow,
    RightRow,
)
from scripts.benchmarks.start import wait_for
from tests.conftest import end, free_ports
from tests.postgresql import new_database, throw_away_server

HUB_ID = "bench"
PREFIX = "/services/catalogue/"
ACCESS = "access:services!service=catalogue"
STATUSES = {Status.READY: 85, Status.TEST: 5, Status.DRAFT: 5, Status.ARCHIVED: 5}  # in percent
PUBLIC = 0.6
TEACHERS = 0.03
JOINED_BY_LINK = 0.6
USED = 0.8
LEFT = 0.05
LAUNCHES_MEAN = 4  # of a person who has used an environment
WORDS = (
    "python",
    "algèbre",
    "statistics",
    "jupyterlab",
    "physique",
    "data",
    "M1",
    "nothing-at-all",
)


@dataclass(frozen=True)
class World:
    """Who and what is in the database, to ask for at random."""

    students: list[str]
    teachers: list[str]
    launches: list[tuple[str, str]]
    """(person, environment) of starts that are allowed."""


# --- filling the database ------------------------------------------------------------------------


def fill(
    session: Session, *, environments: int, people: int, enrolments: int, rng: random.Random
) -> World:
    """Put a university's three years into an empty database. The same `rng` gives the same."""
    now = datetime.now(UTC)

    def ago(days: float) -> datetime:
        return now - timedelta(days=days)

    definitions = _definitions(environments, rng)
    logins = [f"person-{number:05}" for number in range(people)]
    teachers = logins[: max(1, int(people * TEACHERS))]
    _insert(
        session,
        PersonRow,
        ({"name": name, "display_name": name.title(), "created_at": ago(1100)} for name in logins),
    )
    _insert(session, EnvironmentRow, (_environment(one, ago(1100)) for one in definitions))
    person_ids = dict(session.execute(select(PersonRow.name, PersonRow.id)).tuples().all())
    ids = dict(session.execute(select(EnvironmentRow.slug, EnvironmentRow.id)).tuples().all())
    _insert(
        session,
        EnvironmentVersionRow,
        (
            {
                "environment_id": ids[one.slug],
                "version": version,
                "definition": one.model_dump(mode="json", by_alias=True),
                "changed_by": rng.choice(teachers),
                "changed_at": ago(1100 - version),
            }
            for one in definitions
            for version in range(1, 4)
        ),
    )
    _insert(
        session,
        JoinLinkRow,
        (
            {
                "key": f"{number}{secrets.token_hex(8)}",
                "environment_id": ids[one.slug],
                "label": "Moodle",
                "created_at": ago(1100),
            }
            for one in definitions
            for number in range(2)
        ),
    )
    links = dict(session.execute(select(JoinLinkRow.environment_id, JoinLinkRow.id)).tuples().all())

    rights = {}
    for one in definitions:
        owner, *colleagues = rng.sample(teachers, min(len(teachers), rng.choice([1, 1, 2, 3])))
        rights[owner, one.slug] = Right.OWN
        rights.update({(name, one.slug): rng.choice(list(Right)) for name in colleagues})
    _insert(
        session,
        RightRow,
        (
            {"person_id": person_ids[name], "environment_id": ids[slug], "level": level}
            for (name, slug), level in rights.items()
        ),
    )

    # A few environments have most of the people, and a few people use many environments.
    slugs = [one.slug for one in definitions]
    popularity = [1 / (rank + 10) ** 0.7 for rank in range(environments)]
    activity = [rng.gammavariate(2, 1) for _ in logins]
    pairs: dict[tuple[str, str], None] = dict.fromkeys(rights)  # teachers try their own
    while len(pairs) < enrolments:
        count = enrolments - len(pairs)
        pairs.update(
            dict.fromkeys(
                zip(
                    rng.choices(logins, activity, k=count),
                    rng.choices(slugs, popularity, k=count),
                    strict=True,
                )
            )
        )
    used = [pair for pair in pairs if rng.random() < USED]
    started = {pair: ago(rng.uniform(0, 1000)) for pair in used}
    left = {pair for pair in pairs if rng.random() < LEFT}
    _insert(
        session,
        EnrolmentRow,
        (
            {
                "person_id": person_ids[name],
                "environment_id": ids[slug],
                "join_link_id": links[ids[slug]] if rng.random() < JOINED_BY_LINK else None,
                "created_at": ago(1050),
                "left_at": now if pair in left else None,
                "last_start_at": started.get(pair),
            }
            for pair in pairs
            for name, slug in [pair]
        ),
    )
    launches = [
        pair for pair in used for _ in range(1 + int(rng.expovariate(1 / (LAUNCHES_MEAN - 0.5))))
    ]
    rng.shuffle(launches)
    endings = [("", {}), ("", {}), ("", {}), ("idle", {}), ("out-of-memory", {"memory": 4 * 10**9})]
    _insert(
        session,
        LaunchRow,
        (
            {
                "person_id": person_ids[name],
                "environment_id": ids[slug],
                "version": 3,
                "asked_at": started[name, slug],
                "ready_at": started[name, slug],
                "ended_at": started[name, slug],
                "end_code": code,
                "end_params": params,
                "notice_code": "",
                "notice_at": None,
            }
            for name, slug in launches
            for code, params in [rng.choice(endings)]
        ),
    )
    volumes = {names.dedicated_volume(HUB_ID, name, slug): name for name, slug in used} | {
        names.global_volume(HUB_ID, name): name for name, _ in used
    }
    _insert(
        session,
        FolderRow,
        (
            {"volume": volume, "person_id": person_ids[name], "node": "", "prepared_at": ago(900)}
            for volume, name in volumes.items()
        ),
    )
    _insert(
        session,
        AuditRow,
        (
            {"at": ago(1050), "actor": name, "action": "joined", "subject": slug, "detail": {}}
            for name, slug in pairs
        ),
    )
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("ANALYZE"))  # as its autovacuum does by itself, a minute later
    by_slug = {one.slug: one for one in definitions}
    return World(
        students=logins[len(teachers) :],
        teachers=teachers,
        launches=[
            (name, slug)
            for name, slug in used
            if (name, slug) not in left and by_slug[slug].status in {Status.READY, Status.TEST}
        ],
    )


def _definitions(count: int, rng: random.Random) -> list[Environment]:
    """Environments as long as those of the example catalogue, which they are made from."""
    file = share_path("catalogue") / "paris-saclay.yaml"
    samples = [
        Environment.model_validate(entry.model_dump(by_alias=True, exclude={"join_links"}))
        for entry in cataloguefile.load(file.read_text(), str(file)).environments
    ]
    made = []
    for number in range(count):
        sample = rng.choice(samples)
        title = Text(fr=f"{sample.title.fr} {number}", en=f"{sample.title.en} {number}")
        (status,) = rng.choices(list(STATUSES), list(STATUSES.values()))
        changes = {
            "slug": f"environment-{number:04}",
            "title": title,
            "status": status,
            "public": rng.random() < PUBLIC,
        }
        made.append(sample.model_copy(update=changes))
    return made


def _environment(environment: Environment, at: datetime) -> dict[str, Any]:
    return {
        "slug": environment.slug,
        "version": 3,
        "definition": environment.model_dump(mode="json", by_alias=True),
        "status": environment.status,
        "public": environment.public,
        "compute_type": environment.resources.compute_type,
        "search_text": reading.search_text(environment),
        "created_at": at,
        "updated_at": at,
    }


def _insert(session: Session, table: type[Base], rows: Iterable[dict[str, Any]]) -> None:
    session.execute(insert(table.__table__), list(rows))


# --- the two processes ---------------------------------------------------------------------------


def fake_hub(teachers: set[str], admins: Collection[str] = ()) -> web.Application:
    """The two calls that the catalogue makes for a page; a person's token is their name."""

    async def user(request: web.Request) -> web.Response:
        name = request.headers["Authorization"].split()[-1]
        role = Role.TEACHER if name in teachers else Role.STUDENT
        model = {
            "name": name,
            "kind": "user",
            "admin": name in admins,
            "groups": [GROUPS[Role.STUDENT], GROUPS[role]],
            "scopes": [ACCESS, f"servers!user={name}"],
        }
        return web.json_response(model)

    async def servers(request: web.Request) -> web.Response:
        return web.json_response({"name": request.match_info["name"], "servers": {}})

    application = web.Application()
    application.router.add_get("/hub/api/user", user)
    application.router.add_get("/hub/api/users/{name}", servers)
    return application


@asynccontextmanager
async def running(application: web.Application, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield
    await runner.cleanup()


@contextmanager
def catalogue(url: str, secret: str, port: int, hub_port: int, log: Path) -> Iterator[int]:
    """The catalogue on this database, as a process; its id."""
    address = f"http://127.0.0.1:{port}"
    environ = {
        **os.environ,
        "JUPYTERHUB_API_TOKEN": secret,
        "JUPYTERHUB_API_URL": f"http://127.0.0.1:{hub_port}/hub/api",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_CLIENT_ID": "service-catalogue",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": json.dumps([ACCESS]),
        "JUPYTERHUB_SERVICE_NAME": "catalogue",
        "JUPYTERHUB_SERVICE_PREFIX": PREFIX,
        "JUPYTERHUB_SERVICE_URL": address,
        "MYDOCKER_CATALOGUE_SECRET": secret,
        "MYDOCKER_DATABASE_URL": url,
        "MYDOCKER_HUB_ID": HUB_ID,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mydocker_hub.services.catalogue"],
            env=environ,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_for(f"{address}{PREFIX}api/openapi.json", log)
        yield process.pid
    except AssertionError:  # an answer that is not what was asked for
        print(log.read_text()[-3000:], file=sys.stderr)
        raise
    finally:
        end(process)


def scheduled(process_id: int) -> tuple[float, float]:
    """For how many milliseconds a process has computed, and waited for a CPU, in all threads."""
    computed = waited = 0
    for file in Path(f"/proc/{process_id}/task").glob("*/schedstat"):
        on_cpu, in_queue, _ = (int(number) for number in file.read_text().split())
        computed, waited = computed + on_cpu, waited + in_queue
    return computed / 1e6, waited / 1e6


# --- asking --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    path: str
    token: str
    body: dict[str, Any] | None = None


def kinds(world: World, secret: str, rng: random.Random) -> dict[str, Callable[[], Request]]:
    """What is measured: by its name, what makes one random request."""

    def student(path: str) -> Request:
        return Request(path, rng.choice(world.students))

    def launch() -> Request:
        name, slug = rng.choice(world.launches)
        body = {
            "person": {"name": name, "display_name": name.title(), "roles": ["student"]},
            "environment": slug,
            "server": names.server_name(slug),
            "base_url": f"/user/{name}/{slug}/",
        }
        return Request("api/launches", secret, body)

    return {
        "dashboard, student": lambda: student(""),
        "dashboard, teacher": lambda: Request("", rng.choice(world.teachers)),
        "catalogue, page 1": lambda: student("environments"),
        "catalogue, page 6": lambda: student("environments?page=6"),
        "catalogue, search": lambda: student(f"environments?q={rng.choice(WORDS)}"),
        "mine (API)": lambda: student("api/me/environments"),
        "launch (API)": launch,
    }


async def ask(
    address: str, make: Callable[[], Request], count: int, at_once: int
) -> dict[str, float]:
    """Milliseconds of `count` requests, `at_once` of them under way at any moment."""
    times: list[float] = []
    timeout = aiohttp.ClientTimeout(60)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def worker(share: int) -> None:
            for _ in range(share):
                request = make()
                started = time.perf_counter()
                async with session.request(
                    "GET" if request.body is None else "POST",
                    address + request.path,
                    headers={"Authorization": f"Bearer {request.token}", "Accept-Language": "fr"},
                    json=request.body,
                ) as answer:
                    content = await answer.text()
                times.append(1000 * (time.perf_counter() - started))
                assert answer.status == 200, (request, answer.status, content[:500])

        await asyncio.gather(*(worker(count // at_once) for _ in range(at_once)))
    percent = statistics.quantiles(times, n=100)
    return {
        "requests": len(times),
        "median_ms": statistics.median(times),
        "p95_ms": percent[94],
        "p99_ms": percent[98],
    }


# --- the benchmark -------------------------------------------------------------------------------


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--environments", type=int, default=1_000)
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--enrolments", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=500, help="of each kind")
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--only", default="", help="what to measure, such as launch; else all")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Figures by database, then by kind of request, then by how many at once."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mydocker-bench-") as folder:
        for name in options.databases.split(","):
            if name == "sqlite":
                url = f"sqlite:///{folder}/catalogue.sqlite"
                results[name] = measure(name, url, Path(folder), options)
            else:
                with throw_away_server() as server:
                    results[name] = measure(name, new_database(server), Path(folder), options)
    return results


def measure(name: str, url: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    rng = random.Random(1)
    database = Database(url)
    database.upgrade()
    started = time.monotonic()
    world = database.write_now(
        fill,
        environments=options.environments,
        people=options.people,
        enrolments=options.enrolments,
        rng=rng,
    )
    database.close()
    figures: dict[str, Any] = {"fill_seconds": time.monotonic() - started}
    print(
        f"{name}: {options.environments} environments, {options.people} people, "
        f"{options.enrolments} enrolments, filled in {figures['fill_seconds']:.0f} s"
    )
    print(f"  {'milliseconds':20} at once  median     p95     p99     CPU  waited", flush=True)
    secret = secrets.token_hex(16)
    port, hub_port = free_ports(2)
    address = f"http://127.0.0.1:{port}{PREFIX}"

    async def ask_for(process_id: int, kind: str, make: Callable[[], Request]) -> None:
        await ask(address, make, 20, 1)  # warm: templates, translations, connections
        figures[kind] = {}
        for at_once in (1, 10):
            before = scheduled(process_id)
            found = await ask(address, make, options.requests, at_once)
            after = scheduled(process_id)
            found["cpu_ms"] = (after[0] - before[0]) / found["requests"]
            found["waited_ms"] = (after[1] - before[1]) / found["requests"]
            figures[kind][at_once] = found
            print(
                f"  {kind:20} {at_once:7}"
                + "".join(f"{value:8.0f}" for name, value in found.items() if name != "requests"),
                flush=True,
            )

    async def ask_all(process_id: int) -> None:
        async with running(fake_hub(set(world.teachers)), hub_port):
            for kind, make in kinds(world, secret, rng).items():
                if kind.startswith(options.only):
                    await ask_for(process_id, kind, make)

    with catalogue(url, secret, port, hub_port, folder / f"{name}.log") as process_id:
        asyncio.run(ask_all(process_id))
    return figures
