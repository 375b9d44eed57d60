"""The culler on a real hub, with many servers that are none (`tests/simulated.py`)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from sqlalchemy import func, select

from mydocker_hub.domain.calendar import Session as Booking
from mydocker_hub.domain.culling import Action
from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.domain.people import Person, Role
from mydocker_hub.services.culler.cycle import Culler, Judged
from mydocker_hub.services.culler.state import Settings
from mydocker_hub.store import sessions
from mydocker_hub.store.database import Session
from mydocker_hub.store.tables import LaunchRow
from tests.simulated import READER, TOKEN, SimulatedHub, simulated_hub

pytestmark = pytest.mark.hub

MINUTE = timedelta(minutes=1)
LIFETIME = {"idle_limit": "PT20M", "maximum": "PT10H"}


class Time:
    """Two clocks: time passes on both, and the clock of the day can be set."""

    def __init__(self) -> None:
        self.passed = timedelta()
        self.set_by = timedelta()

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.passed + self.set_by

    def steady(self) -> float:
        return time.monotonic() + self.passed.total_seconds()


@contextmanager
def a_hub(tmp_path: Path, count: int, idle: float, **options) -> Iterator[SimulatedHub]:
    with simulated_hub(
        tmp_path,
        count,
        lifetime=LIFETIME,
        started=60 * MINUTE,
        last_activity=idle * MINUTE,
        **options,
    ) as hub:
        yield hub


def settings_of(hub: SimulatedHub) -> Settings:
    return Settings(database_url=str(hub.database.url), hub_api_url=hub.api, token=TOKEN)


def culler(hub: SimulatedHub, times: Time) -> Culler:
    return Culler(settings_of(hub), hub.database, clock=times.clock, steady=times.steady)


def actions(judged: list[Judged]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in judged:
        found[one.decision.action.value] = found.get(one.decision.action.value, 0) + 1
    return found


def warned(hub: SimulatedHub) -> int:
    def count(session: Session) -> int:
        query = select(func.count(LaunchRow.id)).where(LaunchRow.warned_code != "")
        return session.scalar(query) or 0

    return hub.database.read_now(count)


def test_warned_then_stopped_at_once_and_nobody_waits_for_the_slow_one(tmp_path: Path) -> None:
    """Twenty servers whose stop takes half a second, and one that takes as long as it likes."""
    seconds = [0.5] * 20 + [60.0]
    with a_hub(tmp_path, 21, idle=12, stop_seconds=seconds) as hub:
        times = Time()

        async def work() -> float:
            one = culler(hub, times)
            assert actions(await one.cycle()) == {"warn": 21}
            assert warned(hub) == 21
            times.passed = 7 * MINUTE
            assert actions(await one.cycle()) == {"warn": 21}
            times.passed = 9 * MINUTE
            began = time.monotonic()
            assert actions(await one.cycle()) == {"stop": 21}
            await asyncio.to_thread(hub.wait_for_stops, 20)
            took = time.monotonic() - began
            assert hub.ready() == 0
            # what is being stopped is left alone, and the next cycle does not wait for it
            began = time.monotonic()
            assert await one.cycle() == []
            assert time.monotonic() - began < 5
            await one.close()
            return took

        took = asyncio.run(work())
        assert took < 5, "one after the other it would be ten seconds"
        assert "for idle" in hub.log()


def test_an_exam_ends_for_everybody_on_time(tmp_path: Path) -> None:
    """Whoever was active a moment ago, and although the hub has just started."""
    with a_hub(tmp_path, 4, idle=1, sessions={"effect": "exam"}) as hub:
        times = Time()
        begins = datetime.now(UTC) - MINUTE
        booking = Booking(
            starts=begins.replace(tzinfo=None, second=0, microsecond=0),
            duration=16 * MINUTE,
            zone="UTC",
            expected=4,
        )
        carol = Person(name="carol", roles=frozenset({Role.ADMIN}))
        hub.database.write_now(sessions.book, "lab", booking, carol, datetime.now(UTC))
        ends = booking.starts.replace(tzinfo=UTC) + booking.duration

        async def work() -> None:
            one = culler(hub, times)
            assert actions(await one.cycle()) == {"keep": 4}
            times.passed = 8 * MINUTE
            judged = await one.cycle()
            assert actions(judged) == {"warn": 4}
            assert {(item.decision.code, item.decision.at) for item in judged} == {
                ("exam-over", ends)
            }
            times.passed = 16 * MINUTE
            assert actions(await one.cycle()) == {"stop": 4}
            await one.stopped()
            assert hub.ready() == 0
            assert hub.log().count("for exam-over") == 4

        asyncio.run(work())


def test_what_people_do_meanwhile_counts(tmp_path: Path) -> None:
    with a_hub(tmp_path, 3, idle=12) as hub:
        times = Time()

        async def work() -> None:
            one = culler(hub, times)
            await one.cycle()
            times.passed = 9 * MINUTE
            judged = {item.one.user: item for item in await one.look()}
            assert {item.decision.action for item in judged.values()} == {Action.STOP}
            seen = judged["person-0"].one
            # somebody did something after we looked; it is another server by now; nobody's at all
            for changed in (
                replace(seen, last_activity=seen.started),
                replace(seen, launch_id=seen.launch_id + 1000),
                replace(seen, server="other"),
                replace(seen, user="nobody"),
            ):
                with pytest.raises(MydockerError) as caught:
                    await one._hub.cull(changed, "idle", {})
                assert caught.value.code == "changed-meanwhile"
            assert hub.ready() == 3

        asyncio.run(work())


def test_clocks_that_jump_stop_nobody(tmp_path: Path) -> None:
    with a_hub(tmp_path, 5, idle=1) as hub:
        times = Time()

        async def work() -> None:
            one = culler(hub, times)
            assert actions(await one.cycle()) == {"keep": 5}
            for jump in (timedelta(days=1), timedelta(hours=-5), timedelta(days=30)):
                times.set_by += jump
                judged = await one.cycle()
                assert set(actions(judged)) <= {"keep", "wait"}
            for _ in range(5):
                times.passed += 2 * MINUTE
                assert set(actions(await one.cycle())) <= {"keep", "wait"}
            assert warned(hub) == 0
            await one.stopped()
            assert hub.ready() == 5

        asyncio.run(work())


def test_a_hub_that_is_away_stops_nobody(tmp_path: Path) -> None:
    with a_hub(tmp_path, 2, idle=12) as hub:
        settings = replace(settings_of(hub), hub_api_url="http://127.0.0.1:1/hub/api")
        one = Culler(settings, hub.database)
        with pytest.raises(MydockerError) as caught:
            asyncio.run(one.cycle())
        assert caught.value.code == "hub-unavailable"
        assert warned(hub) == 0
        assert hub.ready() == 2


def test_only_with_the_scopes(tmp_path: Path) -> None:
    with a_hub(tmp_path, 1, idle=1) as hub:

        def ask(method: str, path: str, token: str = "", body: object = None) -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = requests.request(
                method, f"{hub.api}/mydocker/{path}", headers=headers, json=body, timeout=30
            )
            return answer.status_code

        seen = {"user": "person-0", "server": "lab", "launch_id": 1, "code": "idle", "params": {}}
        assert ask("GET", "servers") == 401
        assert ask("GET", "servers", "wrong") == 401
        assert ask("GET", "servers", READER) == 200
        assert ask("POST", "servers/cull", "", seen) == 401
        assert ask("POST", "servers/cull", READER, seen) == 403
        assert ask("POST", "servers/cull", TOKEN, {"user": "person-0"}) == 400
        assert ask("POST", "servers/cull", TOKEN, [1]) == 400
        assert ask("PUT", "notices", "", {"items": []}) == 401
        assert ask("PUT", "notices", READER, {"items": []}) == 204
        assert hub.ready() == 1


def test_a_dry_run_explains_and_does_nothing(tmp_path: Path) -> None:
    with a_hub(tmp_path, 2, idle=12) as hub:
        environ = {
            **os.environ,
            "MYDOCKER_DATABASE_URL": str(hub.database.url),
            "JUPYTERHUB_API_URL": hub.api,
            "JUPYTERHUB_API_TOKEN": READER,
        }
        done = subprocess.run(
            [sys.executable, "-m", "mydocker_hub.services.culler", "--dry-run"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        lines = done.stdout.splitlines()
        assert len(lines) == 2
        assert lines[0].startswith("person-0/lab: warn: idle, ")
        assert warned(hub) == 0
