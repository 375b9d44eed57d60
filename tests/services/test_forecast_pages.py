"""The load forecast: what it draws, and for whom."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import docker
import pytest

from mydocker_hub.domain import calendar
from mydocker_hub.domain.forecast import CPUS, HOUR, MEMORY, Hour, Shortage
from mydocker_hub.domain.people import Person, Role
from mydocker_hub.services.catalogue.forecast_pages import (
    HEIGHT,
    WIDTH,
    Drawing,
    area,
    span,
    steps,
    table,
)
from mydocker_hub.store import pulls, sessions
from mydocker_hub.store.database import Database
from mydocker_hub.store.forecast import Forecast
from mydocker_hub.web.i18n import SITE_ZONE, translator
from tests.conftest import RunHub
from tests.hub import RunningHub, text_of

PAGE = "/services/catalogue/admin/forecast"
GB = 10**9
MONDAY = datetime(2026, 10, 4, 22, tzinfo=UTC)  # midnight in Paris
BOB = Person(name="bob", roles=frozenset({Role.STUDENT, Role.TEACHER}))


# --- what is drawn --------------------------------------------------------------------------------


def test_steps_and_gaps() -> None:
    assert steps([], 1) == ""
    assert steps([1, 0], 2) == f"M0.0 {HEIGHT / 2:.1f}H480.0L480.0 {HEIGHT:.1f}H960.0"
    gap = steps([1, None, 1], 1)
    assert gap.count("M") == 2
    assert gap.startswith("M0.0 0.0H320.0M640.0 0.0")
    assert steps([5], 2) == f"M0.0 0.0H{WIDTH:.1f}"  # never above the frame


def test_an_area_is_closed() -> None:
    assert area([], 1) == ""
    assert area([1, 0], 2).startswith(f"M0 {HEIGHT}L0.0 ")
    assert area([1, 0], 2).endswith(f"V{HEIGHT}Z")


def forecast(hours: list[Hour], **changes) -> Forecast:
    return Forecast(
        hours=hours, overfull=[], quiet=[], **{"there": None, "turnout": None} | changes
    )


def busy(number: int, **values) -> Hour:
    return Hour(MONDAY + number * HOUR, **values)


def test_charts() -> None:
    short = (Shortage("default", CPUS, 60, 48),)
    hours = [
        busy(0),
        busy(1, people=30, likely=20, needed={CPUS: 60, MEMORY: 64 * GB, "gpu": 2}, used=12),
        busy(2, people=10, likely=8, needed={CPUS: 20, MEMORY: 24 * GB}, shortages=short),
    ]
    found = forecast(hours, there={"": {CPUS: 48, MEMORY: 128 * GB, "gpu": 4}}, turnout=0.7)
    people, cpus, memory, gpu = Drawing(found, translator("en"), MONDAY + 1.5 * HOUR).charts()
    assert (people.title, people.capacity, people.over) == ("People at the same time", None, [])
    assert people.summary == "At most 30, on 5 October 2026 at 01:00."
    assert people.used.startswith("M320.0 ")
    assert people.likely
    assert cpus.summary == "At most 60 of 48, on 5 October 2026 at 01:00."
    assert cpus.over == [(640, 320)]
    assert cpus.capacity_label == "48"
    assert cpus.capacity == pytest.approx(HEIGHT - HEIGHT * 48 / 63)
    assert memory.capacity_label == "128 GB"
    assert (gpu.title, gpu.capacity_label) == ("gpu", "4")
    assert cpus.now == 480
    assert [tick.label for tick in cpus.days] == ["Mon 5"]


def test_nothing_to_draw() -> None:
    for chart in Drawing(forecast([busy(0)]), translator("en"), MONDAY - HOUR).charts():
        assert chart.summary == "No session asks for any."
        assert chart.now is None


def test_alike_hours_are_one_line() -> None:
    same = {"people": 30.0, "needed": {CPUS: 60.0}}
    hours = [busy(0), busy(7, **same), busy(8, **same), busy(9), busy(22, **same), busy(24, **same)]
    (first, lines), (second, _) = table(hours)
    assert (first, second) == (date(2026, 10, 5), date(2026, 10, 6))
    assert [(line.starts, line.ends) for line in lines] == [
        (MONDAY + 7 * HOUR, MONDAY + 9 * HOUR),
        (MONDAY + 22 * HOUR, MONDAY + 23 * HOUR),
    ]


@pytest.mark.parametrize(
    ("first", "hours"), [("2026-10-05", 168), ("2026-10-19", 169), ("2026-03-23", 167)]
)
def test_a_week_goes_by_the_clock_on_the_wall(first: str, hours: int) -> None:
    starts, ends = span(date.fromisoformat(first), 7)
    assert ends - starts == hours * HOUR
    assert starts.astimezone(SITE_ZONE).hour == ends.astimezone(SITE_ZONE).hour == 0


# --- the page -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def building(run_hub: RunHub) -> Iterator[RunningHub]:
    """A hub with a builder, which asks the Swarm."""
    with run_hub(install="builder=True") as running:
        yield running


def book(hub: RunningHub, expected: int, **changes: object) -> datetime:
    """A session of tomorrow, at ten; when that is."""
    tomorrow = datetime.now(SITE_ZONE) + timedelta(days=1)
    starts = tomorrow.replace(hour=10, minute=0, second=0, microsecond=0)
    wanted = calendar.Session(
        starts=starts.replace(tzinfo=None), duration=timedelta(hours=2), expected=expected
    )
    database = Database(f"sqlite:///{hub.state / 'catalogue.sqlite'}")
    database.write_now(sessions.book, "tiny", wanted, BOB, datetime.now(UTC))
    database.close()
    return starts


@pytest.mark.hub
@pytest.mark.engine
def test_for_administrators_alone(building: RunningHub) -> None:
    for name in ("alice", "bob"):
        with building.signed_in(name) as visitor:
            assert visitor.get(PAGE).status_code == 403


@pytest.mark.hub
@pytest.mark.engine
def test_what_will_not_fit_is_said(building: RunningHub) -> None:
    with building.signed_in("carol") as carol:
        empty = carol.get(PAGE, headers={"Accept-Language": "en"})
        assert empty.status_code == 200
        assert "No session is booked in these days" in text_of(empty)
        assert 'id="all-fits"' in empty.text
        book(building, 10_000)  # of half a CPU each
        tomorrow = (datetime.now(SITE_ZONE) + timedelta(days=1)).date()
        page = carol.get(f"{PAGE}?from={tomorrow}&days=7", headers={"Accept-Language": "en"})
        assert page.status_code == 200
        text = text_of(page)
        assert re.search(r"CPUs: 5,000 wanted, [0-9.]+ on the machines of", text)
        assert "10:00 – 12:00 10,000" in text
        assert page.text.count('class="chart" viewBox="0 -2') >= 3
        assert 'class="over" x=' in page.text
        assert 'id="quiet"' in page.text
        french = text_of(carol.get(PAGE, headers={"Accept-Language": "fr"}))
        assert "10 000" in french
        for odd in ("from=2026-02-30", "from=x", "days=9", "from=2099-12-31&days=28"):
            assert carol.get(f"{PAGE}?{odd}").status_code == 200


@pytest.mark.hub
@pytest.mark.engine
def test_without_a_builder_the_machines_are_not_known(hub: RunningHub) -> None:
    with hub.signed_in("carol") as carol:
        page = carol.get(PAGE, headers={"Accept-Language": "en"})
        assert page.status_code == 200
        assert 'id="no-machines"' in page.text
        assert "The builder, which asks the Swarm, is off." in text_of(page)


# --- the builder's own look at the calendar -------------------------------------------------------


@pytest.mark.hub
@pytest.mark.engine
def test_the_builder_prepares_what_is_near_by_itself(
    building: RunningHub, engine: docker.DockerClient
) -> None:
    label = {"label": f"mydocker.pull={building.hub_id}"}
    database = Database(f"sqlite:///{building.state / 'catalogue.sqlite'}")
    near = (datetime.now(SITE_ZONE) + timedelta(minutes=10)).replace(second=0, microsecond=0)
    wanted = calendar.Session(
        starts=near.replace(tzinfo=None), duration=timedelta(hours=1), expected=5
    )
    booked = database.write_now(sessions.book, "tiny", wanted, BOB, datetime.now(UTC))
    deadline = time.monotonic() + 90
    try:
        while not any(
            found.complete for found in database.read_now(pulls.readiness, [booked.id]).values()
        ):
            assert time.monotonic() < deadline, building.log()[-3000:]
            time.sleep(0.5)
        (found,) = database.read_now(pulls.readiness, [booked.id]).values()
        assert (found.ready, found.total, found.verified) == (1, 1, False)  # of no registry
        database.write_now(
            sessions.cancel, booked.id, BOB, datetime.now(UTC), expected_sequence=booked.sequence
        )
        while engine.services.list(filters=label):
            assert time.monotonic() < deadline + 60
            time.sleep(0.5)
    finally:
        for service in engine.services.list(filters=label):
            service.remove()
        database.close()
