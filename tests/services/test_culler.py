"""The culler on a real hub, with many servers that are none (`tests/simulated.py`)."""

from __future__ import annotations

import asyncio
import os
import re
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
from mydocker_hub.domain.culling import Action, SiteLimits
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


def exam_in(hub: SimulatedHub, times: Time, seconds: float) -> datetime:
    """An exam that has begun and ends in so many seconds."""
    ends = (times.clock() + timedelta(seconds=seconds)).replace(microsecond=0)
    starts = ends.replace(second=0, microsecond=0) - 60 * MINUTE
    booking = Booking(
        starts=starts.replace(tzinfo=None), duration=ends - starts, zone="UTC", expected=4
    )
    carol = Person(name="carol", roles=frozenset({Role.ADMIN}))
    hub.database.write_now(sessions.book, "lab", booking, carol, datetime.now(UTC))
    return ends


def test_the_culler_looks_when_an_exam_ends(tmp_path: Path) -> None:
    """Not at its next minute; and who has a container that takes its time holds up nobody."""
    seconds = [30.0] * 45 + [0.2] * 45  # more slow ones than are stopped at once otherwise
    with a_hub(tmp_path, 90, idle=1, sessions={"effect": "exam"}, stop_seconds=seconds) as hub:

        async def work() -> float:
            one = culler(hub, Time())
            ends = exam_in(hub, Time(), 8)
            running = asyncio.create_task(one.run())
            await asyncio.sleep(5)
            assert await asyncio.to_thread(hub.ready) == 90
            assert warned(hub) == 90
            await asyncio.to_thread(hub.wait_for_stops, 45)
            took = (datetime.now(UTC) - ends).total_seconds()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            return took

        took = asyncio.run(work())
        assert 0 < took < 5, took
        assert hub.ready() == 0


def test_who_works_at_the_end_of_an_exam_is_stopped_all_the_same(tmp_path: Path) -> None:
    """What was done since the culler looked keeps other servers, but none of an exam."""
    with a_hub(tmp_path, 2, idle=1, sessions={"effect": "exam"}) as hub:
        times = Time()

        async def work() -> None:
            one = culler(hub, times)
            exam_in(hub, times, -1)
            judged = [item for item in await one.look() if item.one.user == "person-0"]
            (seen,) = [item.one for item in judged]
            assert [item.decision.firm for item in judged] == [True]
            other = replace(seen, last_activity=seen.started)
            with pytest.raises(MydockerError) as caught:
                await one._hub.cull(other, "exam-over", {})
            assert caught.value.code == "changed-meanwhile"
            await one._hub.cull(other, "exam-over", {"when": "2026-11-23T10:00:00Z"}, firm=True)
            await asyncio.to_thread(hub.wait_for_stops, 1)
            assert hub.ready() == 1

        asyncio.run(work())


@pytest.mark.parametrize("lost", ["gone", "ended", "anothers"])
def test_what_the_catalogue_does_not_know_has_the_limits_of_the_site(
    tmp_path: Path, lost: str
) -> None:
    """Its environment was deleted, or the database restored: then a launch of that number may be
    another person's."""
    with a_hub(tmp_path, 2, idle=21) as hub:
        times = Time()

        def lose(session: Session) -> None:
            first, second = session.scalars(select(LaunchRow).order_by(LaunchRow.id)).all()
            if lost == "gone":
                session.delete(first)
                session.delete(second)
            elif lost == "ended":
                first.ended_at = second.ended_at = datetime.now(UTC)
            else:
                first.person_id, second.person_id = second.person_id, first.person_id

        hub.database.write_now(lose)

        async def work() -> None:
            without = culler(hub, times)
            judged = await without.cycle()
            assert [str(one) for one in judged] == [
                "person-0/lab: keep (not in the catalogue)",
                "person-1/lab: keep (not in the catalogue)",
            ]
            settings = replace(settings_of(hub), limits=SiteLimits(idle_limit=30 * MINUTE))
            one = Culler(settings, hub.database, clock=times.clock, steady=times.steady)
            judged = await one.cycle()
            assert actions(judged) == {"warn": 2}
            assert re.fullmatch(
                r"person-0/lab: warn: idle, [-0-9]{10} [:0-9]{8} \(not in the catalogue\)",
                str(judged[0]),
            )
            assert warned(hub) == 0, "nothing is written to what is another one's"
            times.passed = 5 * MINUTE
            assert actions(await one.cycle()) == {"warn": 2}
            times.passed = 10 * MINUTE
            assert actions(await one.cycle()) == {"stop": 2}
            await one.stopped()
            assert hub.ready() == 0

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

        seen = {"user": "person-0", "server": "lab", "launch_id": 1, "code": "idle"}
        seen |= {"firm": False, "params": {}}
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
