"""How long the culler needs with 2,000 servers, and what it costs the hub.

On a real hub whose servers are none (`tests/simulated.py`), so that only the hub, the catalogue's
database and the culler work:

  look       a cycle in which nobody is told anything
  warn       a cycle in which everybody is warned
  stop       20 servers, each of whose stops takes 0.5 s: from the decision until the last one ended
  exam       the same for 300 servers, when an exam ends

In seconds: as it was waited for (wall), and what the hub's own process computed (hub). One stop
that takes a minute runs beside the others: it holds up nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mydocker_hub.domain.calendar import Session as Booking
from mydocker_hub.domain.people import Person, Role
from mydocker_hub.services.culler.cycle import Culler
from mydocker_hub.services.culler.state import Settings
from mydocker_hub.store import sessions
from tests.simulated import TOKEN, SimulatedHub, simulated_hub

MINUTE = timedelta(minutes=1)
STOPS, STOP_SECONDS = 20, 0.5
CANDIDATES = 300


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--servers", type=int, default=2000, help="how many (2000)")
    parser.add_argument("--cycles", type=int, default=5, help="looks that are measured (5)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "load": os.getloadavg()[0],
            **_cycles(Path(folder) / "cycles", options.servers, options.cycles),
            **_stops(Path(folder) / "stops"),
            **_exam(Path(folder) / "exam"),
        }
    for name, value in figures.items():
        print(f"{name:14} {value:8.2f}")
    return figures


class _Later:
    """A culler for whom time passes when it is told so."""

    def __init__(self, hub: SimulatedHub) -> None:
        self.passed = timedelta()
        settings = Settings(database_url=str(hub.database.url), hub_api_url=hub.api, token=TOKEN)
        self.culler = Culler(
            settings,
            hub.database,
            clock=lambda: datetime.now(UTC) + self.passed,
            steady=lambda: time.monotonic() + self.passed.total_seconds(),
        )


def _cycles(state: Path, servers: int, cycles: int) -> dict[str, float]:
    state.mkdir()
    with simulated_hub(
        state,
        servers,
        lifetime={"idle_limit": "PT1H", "maximum": "PT10H"},
        started=20 * MINUTE,
        last_activity=10 * MINUTE,
    ) as hub:
        return asyncio.run(_measure_cycles(hub, cycles))


async def _measure_cycles(hub: SimulatedHub, cycles: int) -> dict[str, float]:
    later = _Later(hub)
    await later.culler.cycle()  # the first one reads definitions
    looks = [await _timed(hub, later.culler) for _ in range(cycles)]
    later.passed = 42 * MINUTE
    warned = await _timed(hub, later.culler)
    return {
        "look wall": max(wall for wall, _ in looks),
        "look hub": max(cpu for _, cpu in looks),
        "warn wall": warned[0],
        "warn hub": warned[1],
    }


async def _timed(hub: SimulatedHub, culler: Culler) -> tuple[float, float]:
    began, computed = time.perf_counter(), hub.cpu_seconds()
    await culler.cycle()
    return time.perf_counter() - began, hub.cpu_seconds() - computed


def _stops(state: Path) -> dict[str, float]:
    state.mkdir()
    with simulated_hub(
        state,
        STOPS + 1,
        lifetime={"idle_limit": "PT1H"},
        started=60 * MINUTE,
        last_activity=55 * MINUTE,
        stop_seconds=[STOP_SECONDS] * STOPS + [60.0],
    ) as hub:
        return {"stop wall": asyncio.run(_measure_stops(hub))}


def _exam(state: Path) -> dict[str, float]:
    state.mkdir()
    with simulated_hub(
        state,
        CANDIDATES,
        lifetime={"idle_limit": "PT1H"},
        started=60 * MINUTE,
        last_activity=1 * MINUTE,
        stop_seconds=[STOP_SECONDS] * CANDIDATES,
        sessions={"effect": "exam"},
    ) as hub:
        now = datetime.now(UTC)
        starts = now.replace(tzinfo=None, second=0, microsecond=0) - 60 * MINUTE
        booking = Booking(starts=starts, duration=65 * MINUTE, zone="UTC", expected=CANDIDATES)
        teacher = Person(name="bob", roles=frozenset({Role.TEACHER}))
        hub.database.write_now(sessions.book, "lab", booking, teacher, now)
        return {"exam wall": asyncio.run(_measure_stops(hub, CANDIDATES))}


async def _measure_stops(hub: SimulatedHub, stops: int = STOPS) -> float:
    later = _Later(hub)
    await later.culler.cycle()
    later.passed = 6 * MINUTE
    began = time.perf_counter()
    await later.culler.cycle()
    await asyncio.to_thread(hub.wait_for_stops, stops)
    took = time.perf_counter() - began
    await later.culler.close()
    return took
