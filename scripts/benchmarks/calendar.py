"""How long the calendar takes to answer an administrator who sees 5,000 sessions of a month.

With 1,000 environments whose 5,000 sessions all take place in the month that is looked at (nine of
ten each week for half a year), on SQLite and on a throw-away PostgreSQL, in milliseconds:

  month, week   the pages that draw them
  list          the page of a hundred times, of the list's first pages
  events        the same month and week as JSON, for the calendar's script
  mine          a teacher's own month

and, for each request on average, how long the catalogue's process computed (CPU) and waited for a
CPU that others had (waited); then how long the first month takes after a start. The catalogue runs
in a process of its own; the hub is a fake that answers at once (`scripts/bench catalogue`).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from sqlalchemy import insert, select

from mydocker_hub.domain import calendar
from mydocker_hub.domain.calendar import SessionState
from mydocker_hub.store.database import Database, Session
from mydocker_hub.store.tables import EnvironmentRow, SessionRow
from scripts.benchmarks import catalogue
from scripts.benchmarks.catalogue import PREFIX, Request
from tests.conftest import free_ports
from tests.postgresql import new_database, throw_away_server

ADMIN = "admin"
STATES = {SessionState.APPROVED: 90, SessionState.REQUESTED: 5, SessionState.CANCELLED: 5}
WEEKLY = 0.9
MONTH = date(2027, 3, 1)
HOURS = ((8, 30), (10, 15), (13, 30), (15, 15))


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sessions", type=int, default=5_000)
    parser.add_argument("--environments", type=int, default=1_000)
    parser.add_argument("--requests", type=int, default=60, help="of each kind")
    parser.add_argument("--databases", default="sqlite,postgresql")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Figures by database, then by kind of request."""
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


def fill(session: Session, count: int, rng: random.Random) -> None:
    """Book sessions of random environments, of which each takes place in `MONTH`."""
    ids = list(session.scalars(select(EnvironmentRow.id)))
    now = datetime.now(UTC)
    rows = []
    for number in range(count):
        weekly = rng.random() < WEEKLY
        day = MONTH + timedelta(days=rng.randrange(31))
        day -= timedelta(days=max(0, day.weekday() - 4))  # nobody teaches on Saturdays
        first = day - timedelta(weeks=rng.randrange(12)) if weekly else max(day, MONTH)
        until = first + timedelta(weeks=26)
        wanted = calendar.Session.model_validate(
            {
                "title": f"Group {number}",
                "starts": datetime.combine(first, time(*rng.choice(HOURS))),
                "duration": timedelta(minutes=rng.choice((90, 120, 240))),
                "rule": calendar.weekly_rule([first.weekday()], until) if weekly else None,
                "left_out": [first + timedelta(weeks=rng.randrange(1, 20))] if weekly else [],
                "expected": rng.randrange(10, 300),
                "note": "Room 5; bring your own computer." if number % 3 else "",
            }
        )
        first_at, last_at = calendar.bounds(wanted)
        rows.append(
            {
                "uid": f"{number}@bench",
                "environment_id": rng.choice(ids),
                "definition": wanted.model_dump(mode="json"),
                "state": rng.choices(list(STATES), list(STATES.values()))[0],
                "first_at": first_at,
                "last_at": last_at,
                "sequence": 0,
                "made_by": "person-00001",
                "made_at": now,
                "changed_at": now,
            }
        )
    session.execute(insert(SessionRow.__table__), rows)


def kinds(teachers: list[str], rng: random.Random) -> dict[str, Callable[[], Request]]:
    """What is measured: by its name, what makes one request."""
    base, day = "calendar?show=all", f"&day={MONTH}"
    week = [MONTH + timedelta(weeks=number) for number in range(4)]
    events = "calendar/events?show=all"
    return {
        "month": lambda: Request(f"{base}{day}", ADMIN),
        "week": lambda: Request(f"{base}&view=week&day={rng.choice(week)}", ADMIN),
        "list": lambda: Request(f"{base}{day}&view=list&page={rng.randrange(1, 6)}", ADMIN),
        "events, month": lambda: Request(f"{events}{day}&view=month", ADMIN),
        "events, week": lambda: Request(f"{events}&view=week&day={rng.choice(week)}", ADMIN),
        "mine": lambda: Request(f"calendar?day={MONTH}", rng.choice(teachers)),
    }


def measure(name: str, url: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    rng = random.Random(1)
    database = Database(url)
    database.upgrade()
    world = database.write_now(
        partial(catalogue.fill, rng=rng),
        environments=options.environments,
        people=300,
        enrolments=5_000,
    )
    database.write_now(fill, options.sessions, rng)
    database.close()
    print(f"{name}: {options.environments} environments, {options.sessions} sessions")
    print(f"  {'milliseconds':20}  median     p95     p99     CPU  waited", flush=True)
    port, hub_port = free_ports(2)
    address = f"http://127.0.0.1:{port}{PREFIX}"
    figures: dict[str, Any] = {}

    async def ask_all(process_id: int) -> None:
        hub = catalogue.fake_hub(set(world.teachers), admins={ADMIN})
        async with catalogue.running(hub, hub_port):
            asked = kinds(world.teachers, rng)
            await catalogue.ask(address, lambda: Request("account", ADMIN), 5, 1)  # templates
            started = perf_counter()
            await catalogue.ask(address, asked["month"], 2, 2)
            figures["first_month_ms"] = 1000 * (perf_counter() - started)
            for kind, make in asked.items():
                await catalogue.ask(address, make, 5, 1)
                before = catalogue.scheduled(process_id)
                figures[kind] = found = await catalogue.ask(address, make, options.requests, 1)
                after = catalogue.scheduled(process_id)
                found["cpu_ms"] = (after[0] - before[0]) / found["requests"]
                found["waited_ms"] = (after[1] - before[1]) / found["requests"]
                shown = "".join(f"{value:8.0f}" for name, value in found.items() if "_ms" in name)
                print(f"  {kind:20}{shown}", flush=True)
            print(f"  the first month after a start {figures['first_month_ms']:8.0f}", flush=True)

    secret = secrets.token_hex(16)
    with catalogue.catalogue(url, secret, port, hub_port, folder / f"{name}.log") as process_id:
        asyncio.run(ask_all(process_id))
    return figures
