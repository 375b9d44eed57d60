"""Sessions in the calendar: booked, changed, cancelled, decided upon; and what they let in."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from mydocker_hub.domain import calendar
from mydocker_hub.domain.access import Right
from mydocker_hub.domain.calendar import SessionState, Site
from mydocker_hub.domain.environment import ComputeType, Effect
from mydocker_hub.domain.errors import Conflict, Invalid, NotFound, Refused
from mydocker_hub.domain.launch import Place
from mydocker_hub.seal import Seal
from mydocker_hub.store import activity, editing, reading, sessions, workshop
from mydocker_hub.store.database import Database
from mydocker_hub.store.tables import AuditRow, EnvironmentRow

from .conftest import ALICE, BOB, CAROL, DAN, ZOE, make

PARIS = ZoneInfo("Europe/Paris")
NOW = datetime(2027, 1, 10, 12, tzinfo=UTC)
LARGE = Site(people_limit=100)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=PARIS).astimezone(UTC)


def mondays(**changes) -> calendar.Session:
    """Four Mondays from 18 January 2027, from half past eight to half past twelve."""
    return calendar.Session.model_validate(
        {
            "starts": "2027-01-18T08:30",
            "duration": "PT4H",
            "rule": "FREQ=WEEKLY;BYDAY=MO;COUNT=4",
            "expected": 30,
            **changes,
        }
    )


def once(starts: str = "2027-01-20T14:00", **changes) -> calendar.Session:
    return mondays(**{"starts": starts, "duration": "PT2H", "rule": None, **changes})


MONTH = (at("2027-01-01T00:00"), at("2027-03-01T00:00"))


@pytest.fixture
def book(database: Database, add):
    """Book a session of `lab`, which Bob owns."""
    add()

    def book(wanted: calendar.Session, actor=BOB, site=calendar.DEFAULT_SITE, slug="lab"):
        return database.write_now(sessions.book, slug, wanted, actor, NOW, site)

    return book


def days(found: list[sessions.Booked]) -> list[str]:
    """When something takes place, in order, with how it stands."""
    return [
        f"{starts.astimezone(PARIS):%m-%d %H:%M} {state}"
        for starts, state in sorted(
            (one.starts, booked.state) for booked in found for one in booked.occurrences(*MONTH)
        )
    ]


def seen(database: Database, **asked) -> list[str]:
    found = database.read_now(sessions.between, *MONTH, **asked)
    times = [(*slot, one.id) for one in found for slot in one.occurrences(*MONTH)]
    assert database.read_now(sessions.times, *MONTH, **asked) == sorted(times)
    assert database.read_now(sessions.some, [one.id for one in found]) == {
        one.id: one for one in found
    }
    return days(found)


def test_a_session_is_found_as_it_was_booked(database, book):
    booked = book(mondays(title="TD", note="Bring a pen."))
    assert database.read_now(sessions.get, booked.id) == booked
    assert (booked.slug, booked.title.fr, booked.made_by) == ("lab", "Lab", "bob")
    assert (booked.state, booked.sequence, booked.replaced) == ("approved", 0, frozenset())
    assert booked.session == mondays(title="TD", note="Bring a pen.")
    assert seen(database) == [
        f"{day} 08:30 approved" for day in ("01-18", "01-25", "02-01", "02-08")
    ]
    other = book(once())
    assert other.uid != booked.uid
    of_lab = database.read_now(sessions.of_environment, booked.environment_id)
    assert [one.id for one in of_lab] == [booked.id, other.id]
    with pytest.raises(NotFound, match="session-unknown"):
        database.read_now(sessions.get, 99)
    with pytest.raises(NotFound, match="environment-unknown"):
        book(once(), slug="nothing")


def test_windows(database, book):
    booked = book(mondays())
    for after, before, count in (
        (
            "2027-01-18T12:30",
            "2027-01-19T00:00",
            1,
        ),  # within its bounds, though nothing takes place
        ("2027-01-10T00:00", "2027-01-18T08:30", 0),
        ("2027-02-08T12:29", "2027-02-09T00:00", 1),
        ("2027-02-08T12:30", "2027-02-09T00:00", 0),
    ):
        found = database.read_now(sessions.between, at(after), at(before))
        assert len(found) == count
    soon = database.read_now(sessions.upcoming, at("2027-01-25T08:00"), timedelta(minutes=30))
    assert soon == []
    [(found, one)] = database.read_now(
        sessions.upcoming, at("2027-01-25T08:00"), timedelta(minutes=31)
    )
    assert (found, one.starts) == (booked, at("2027-01-25T08:30"))
    [(_, one)] = database.read_now(sessions.upcoming, at("2027-01-25T12:00"), timedelta(minutes=1))
    assert one.ends == at("2027-01-25T12:30")  # takes place now


# --- one, or the series --------------------------------------------------------------------------


def test_one_of_a_series_is_moved(database, book):
    series = book(mondays())
    moved = database.write_now(
        sessions.change,
        series.id,
        once("2027-01-26T14:00"),
        BOB,
        NOW,
        expected_sequence=0,
        at=at("2027-01-25T08:30"),
    )
    assert (moved.series_id, moved.uid) == (series.id, series.uid)
    assert moved.replaces_at == at("2027-01-25T08:30")
    assert database.read_now(sessions.get, series.id).replaced == {date(2027, 1, 25)}
    assert seen(database) == [
        "01-18 08:30 approved",
        "01-26 14:00 approved",
        "02-01 08:30 approved",
        "02-08 08:30 approved",
    ]
    # a window without the moved one knows that its place is empty
    found = database.read_now(sessions.between, at("2027-01-24T00:00"), at("2027-01-26T00:00"))
    assert days(found)[1:] == ["02-01 08:30 approved", "02-08 08:30 approved"]
    # again, through the series or by its own number
    again = database.write_now(
        sessions.change, series.id, once("2027-01-27T14:00"), BOB, NOW,
        expected_sequence=0, at=at("2027-01-25T08:30"),
    )  # fmt: skip
    assert (again.id, again.sequence) == (moved.id, moved.sequence + 1)
    with pytest.raises(Invalid):
        database.write_now(
            sessions.change, moved.id, mondays(), BOB, NOW, expected_sequence=again.sequence
        )


@pytest.mark.parametrize("when", ["2027-01-25T09:00", "2027-01-26T08:30", "2027-02-15T08:30"])
def test_what_does_not_take_place_cannot_be_changed(database, book, when):
    series = book(mondays())
    with pytest.raises(NotFound):
        database.write_now(sessions.cancel, series.id, BOB, NOW, expected_sequence=0, at=at(when))
    alone = book(once())
    with pytest.raises(NotFound):
        database.write_now(
            sessions.cancel, alone.id, BOB, NOW, expected_sequence=0, at=at("2027-01-20T14:00")
        )


def test_one_of_a_series_is_cancelled_and_takes_place_after_all(database, book):
    series = book(mondays())
    when = at("2027-02-01T08:30")
    cancelled = database.write_now(
        sessions.cancel, series.id, BOB, NOW, expected_sequence=0, reason="I am ill.", at=when
    )
    assert (cancelled.state, cancelled.reason) == ("cancelled", "I am ill.")
    assert seen(database) == [
        "01-18 08:30 approved",
        "01-25 08:30 approved",
        "02-01 08:30 cancelled",
        "02-08 08:30 approved",
    ]
    with pytest.raises(Conflict, match="session-cancelled"):
        database.write_now(
            sessions.change, cancelled.id, once(), BOB, NOW, expected_sequence=cancelled.sequence
        )
    database.write_now(
        sessions.change, series.id, once("2027-02-01T10:00"), BOB, NOW,
        expected_sequence=0, at=when,
    )  # fmt: skip
    assert "02-01 10:00 approved" in seen(database)


def test_a_series_takes_what_was_changed_with_it(database, book):
    series = book(mondays())
    for day, change in (("2027-01-25", "2027-01-26T14:00"), ("2027-02-08", "2027-02-09T14:00")):
        database.write_now(
            sessions.change, series.id, once(change), BOB, NOW,
            expected_sequence=0, at=at(f"{day}T08:30"),
        )  # fmt: skip
    changed = database.write_now(
        sessions.change,
        series.id,
        mondays(starts="2027-01-18T09:00", rule="FREQ=WEEKLY;BYDAY=MO;COUNT=3"),
        BOB,
        NOW,
        expected_sequence=0,
    )
    assert changed.sequence == 1
    assert seen(database) == [
        "01-18 09:00 approved",
        "01-26 14:00 approved",
        "02-01 09:00 approved",
    ]
    [_, one] = database.read_now(sessions.of_environment, series.environment_id)
    assert one.replaces_at == at("2027-01-25T09:00")
    with pytest.raises(Conflict, match="changed-meanwhile"):
        database.write_now(sessions.change, series.id, mondays(), BOB, NOW, expected_sequence=0)
    database.write_now(sessions.cancel, series.id, BOB, NOW, expected_sequence=1)
    assert seen(database, states=[SessionState.APPROVED]) == []
    assert len(seen(database)) == 3


def test_a_series_from_one_day_on(database, book):
    series = book(mondays())
    for day in ("2027-01-18", "2027-02-08"):
        database.write_now(
            sessions.change, series.id, once(f"{day}T14:00"), BOB, NOW,
            expected_sequence=0, at=at(f"{day}T08:30"),
        )  # fmt: skip
    new = database.write_now(
        sessions.change_following,
        series.id,
        mondays(starts="2027-01-25T10:00", rule="FREQ=WEEKLY;BYDAY=MO;COUNT=3", expected=40),
        DAN,
        NOW,
        expected_sequence=0,
        at=at("2027-01-25T08:30"),
    )
    assert (new.made_by, new.state, new.session.expected) == ("dan", "approved", 40)
    assert new.uid != series.uid
    left = database.read_now(sessions.get, series.id)
    assert (left.session.rule, left.sequence) == ("FREQ=WEEKLY;BYDAY=MO;UNTIL=20270124", 1)
    assert seen(database) == [
        "01-18 14:00 approved",
        "01-25 10:00 approved",
        "02-01 10:00 approved",
        "02-08 14:00 approved",
    ]
    one = next(
        one
        for one in database.read_now(sessions.of_environment, series.environment_id)
        if one.series_id == new.id
    )
    assert (one.uid, one.replaces_at) == (new.uid, at("2027-02-08T10:00"))
    with pytest.raises(Conflict, match="changed-meanwhile"):
        database.write_now(
            sessions.cancel_following, series.id, BOB, NOW, expected_sequence=0,
            at=at("2027-01-18T08:30"),
        )  # fmt: skip
    database.write_now(
        sessions.cancel_following, new.id, BOB, NOW, expected_sequence=0, reason="Over.",
        at=at("2027-02-01T10:00"),
    )  # fmt: skip
    assert seen(database) == [
        "01-18 14:00 approved",
        "01-25 10:00 approved",
        "02-01 10:00 cancelled",
        "02-08 14:00 cancelled",
    ]


def test_from_its_first_day_on_is_the_series(database, book):
    series = book(mondays())
    first = at("2027-01-18T08:30")
    wanted = mondays(expected=40)
    changed = database.write_now(
        sessions.change_following, series.id, wanted, BOB, NOW, expected_sequence=0, at=first
    )
    assert (changed.id, changed.session) == (series.id, wanted)
    with pytest.raises(NotFound):
        database.write_now(
            sessions.change_following, series.id, wanted, BOB, NOW, expected_sequence=1,
            at=at("2027-01-19T08:30"),
        )  # fmt: skip
    cancelled = database.write_now(
        sessions.cancel_following, series.id, BOB, NOW, expected_sequence=1, at=first
    )
    assert (cancelled.id, cancelled.state) == (series.id, "cancelled")


def test_what_was_agreed_to_of_a_series_holds_for_its_rest(database, book):
    large = book(mondays(expected=300), actor=CAROL, site=LARGE)
    for sequence, day, people, state in (
        (0, "2027-02-08", 300, "approved"),
        (1, "2027-02-01", 301, "requested"),
    ):
        new = database.write_now(
            sessions.change_following, large.id,
            mondays(starts=f"{day}T08:30", rule="FREQ=WEEKLY;BYDAY=MO;COUNT=1", expected=people),
            BOB, NOW, LARGE, expected_sequence=sequence, at=at(f"{day}T08:30"),
        )  # fmt: skip
        assert new.state == state
    assert database.read_now(sessions.get, large.id).state == "approved"


def test_overlaps_are_told(database, book):
    series = book(mondays())
    other = book(once("2027-01-25T12:00"))
    cancelled = book(once("2027-01-25T12:00"))
    database.write_now(sessions.cancel, cancelled.id, BOB, NOW, expected_sequence=0)
    ask = database.read_now
    env = series.environment_id
    wanted = once("2027-01-25T11:00")
    assert [(booked.id, one.starts) for booked, one in ask(sessions.overlapping, env, wanted)] == [
        (series.id, at("2027-01-25T08:30")),
        (other.id, at("2027-01-25T12:00")),
    ]
    assert [booked.id for booked, _ in ask(sessions.overlapping, env, wanted, but=other.id)] == [
        series.id
    ]
    assert ask(sessions.overlapping, env, once("2027-01-25T14:00")) == []


def test_a_series_of_which_every_day_was_moved_overlaps_nothing(database, book):
    series = book(mondays(rule="FREQ=WEEKLY;BYDAY=MO;COUNT=1"))
    book(once("2027-01-18T09:00"))
    database.write_now(
        sessions.cancel, series.id, BOB, NOW, expected_sequence=0, at=at("2027-01-18T08:30")
    )
    left = database.read_now(sessions.get, series.id)
    assert list(left.occurrences(*MONTH)) == []
    assert database.read_now(sessions.overlapping, left.environment_id, left.effective) == []


def test_last_years_are_copied(database, book):
    series = book(mondays(left_out=["2027-01-25"]))
    exam = book(once("2027-02-10T14:00", note="Exam"))
    copies = database.write_now(
        sessions.copy,
        [exam.id, series.id],
        BOB,
        NOW,
        first=date(2028, 1, 17),
        left_out=[date(2028, 1, 31)],
    )
    assert [str(one.session.starts) for one in copies] == [
        "2028-01-17 08:30:00",
        "2028-02-09 14:00:00",
    ]
    assert len({one.uid for one in (series, exam, *copies)}) == 4
    assert copies[0].session.left_out == (date(2028, 1, 31),)
    with pytest.raises(Invalid) as refused:
        database.write_now(
            sessions.copy, [series.id], BOB, NOW, first=date(2028, 1, 18), until=date(2028, 1, 19)
        )
    assert refused.value.problems[0][0] == "first"
    assert refused.value.problems[0][1].startswith("this rule leaves no day")


# --- approval ------------------------------------------------------------------------------------


def test_a_large_one_waits_and_opens_nothing_until_an_administrator_agrees(database, book):
    book(once(expected=100), site=LARGE)
    large = book(mondays(expected=101), site=LARGE)
    assert large.state == "requested"
    assert [one.id for one in database.read_now(sessions.waiting)] == [large.id]
    around = at("2027-01-25T09:00")
    upcoming = database.read_now(sessions.upcoming, around, timedelta(hours=1))
    assert upcoming == []
    approved = database.write_now(
        sessions.decide, large.id, CAROL, approved=True, now=NOW, expected_sequence=0
    )
    assert (approved.state, approved.decided_by, approved.sequence) == ("approved", "carol", 1)
    assert database.read_now(sessions.waiting) == []
    with pytest.raises(Conflict, match="session-decided"):
        database.write_now(
            sessions.decide, large.id, CAROL, approved=False, now=NOW, expected_sequence=1
        )
    # less of it stays agreed to, more of it waits again
    for sequence, people, state in (
        (1, 90, "approved"),
        (2, 95, "approved"),
        (3, 150, "requested"),
    ):
        changed = database.write_now(
            sessions.change, large.id, mondays(expected=people), BOB, NOW, LARGE,
            expected_sequence=sequence,
        )  # fmt: skip
        assert changed.state == state
    # an administrator who changes it agrees to it
    changed = database.write_now(
        sessions.change, large.id, mondays(expected=120), CAROL, NOW, LARGE, expected_sequence=4
    )
    assert (changed.state, changed.decided_by) == ("approved", "carol")


def test_a_change_that_waits_or_is_refused_leaves_what_was_agreed_to(database, book):
    series = book(mondays(), site=LARGE)
    when = at("2027-01-25T08:30")
    wanted = database.write_now(
        sessions.change, series.id, once("2027-01-26T08:30", expected=500), BOB, NOW, LARGE,
        expected_sequence=0, at=when,
    )  # fmt: skip
    both = ["01-25 08:30 approved", "01-26 08:30 requested"]
    assert [day for day in seen(database) if day in both] == both
    refused = database.write_now(
        sessions.decide, wanted.id, CAROL, approved=False, reason="Too many.", now=NOW,
        expected_sequence=wanted.sequence,
    )  # fmt: skip
    assert (refused.state, refused.reason) == ("refused", "Too many.")
    assert "01-25 08:30 approved" in seen(database)
    # no larger than the series' own: nobody needs to agree
    smaller = database.write_now(
        sessions.change, series.id, once("2027-01-26T08:30", expected=20), BOB, NOW, LARGE,
        expected_sequence=0, at=when,
    )  # fmt: skip
    assert (smaller.state, smaller.reason, smaller.decided_by) == ("approved", "", "")
    assert "01-25 08:30 approved" not in seen(database)


def test_what_needs_an_expensive_machine_waits(database, book, add):
    gpu = ComputeType(slug="gpu", title="GPU", needs_approval=True)
    database.write_now(editing.put_compute_type, gpu, CAROL, NOW)
    add("deep", resources={"compute_type": "gpu"})
    assert book(once(expected=1), slug="deep").state == "requested"
    assert book(once(expected=1), actor=CAROL, slug="deep").state == "approved"
    assert book(once(expected=1)).state == "approved"


def test_other_machines_are_agreed_to_again(database, book):
    gpu = ComputeType(slug="gpu", title="GPU", needs_approval=True)
    database.write_now(editing.put_compute_type, gpu, CAROL, NOW)
    past = book(once("2027-01-04T14:00"))
    series, cancelled = book(mondays()), book(once())
    database.write_now(sessions.cancel, cancelled.id, BOB, NOW, expected_sequence=0)

    def move(actor, compute_type):
        version = database.read_now(reading.find, "lab", actor).version
        definition = make(resources={"compute_type": compute_type})
        database.write_now(editing.update_environment, definition, actor, version, NOW)
        states = [database.read_now(sessions.get, one.id).state for one in (past, cancelled)]
        assert states == ["approved", "cancelled"]
        return database.read_now(sessions.get, series.id)

    assert move(CAROL, "gpu").state == "approved"  # she says so herself
    assert move(BOB, "default").state == "approved"
    again = move(BOB, "gpu")
    assert (again.state, again.sequence) == ("requested", series.sequence + 1)
    approved = database.write_now(
        sessions.decide, series.id, CAROL, approved=True, now=NOW, expected_sequence=again.sequence
    )
    assert move(BOB, "gpu") == approved


def test_a_request_that_is_made_small_needs_no_answer(database, book):
    large = book(mondays(expected=300), site=LARGE)
    small = database.write_now(
        sessions.change, large.id, mondays(expected=20), BOB, NOW, LARGE, expected_sequence=0
    )
    assert (small.state, small.decided_by) == ("approved", "")
    # what nobody agreed to when it was small is asked when it becomes large, at other times too
    for sequence, changes in ((1, {"expected": 101}), (2, {"starts": "2027-01-18T09:00"})):
        again = database.write_now(
            sessions.change, large.id, mondays(**{"expected": 101, **changes}), BOB, NOW, LARGE,
            expected_sequence=sequence,
        )  # fmt: skip
        assert again.state == "requested"


def test_what_was_agreed_to_waits_again_at_other_times(database, book):
    large = book(mondays(expected=300), actor=CAROL, site=LARGE)
    assert (large.state, large.decided_by) == ("approved", "carol")
    wanted = {"expected": 300}
    for sequence, changes, state in (
        (0, {"left_out": ["2027-01-25"]}, "approved"),
        (1, {"duration": "PT3H"}, "approved"),
        (2, {"starts": "2027-01-18T10:00"}, "requested"),
    ):
        wanted |= changes
        changed = database.write_now(
            sessions.change, large.id, mondays(**wanted), BOB, NOW, LARGE,
            expected_sequence=sequence,
        )  # fmt: skip
        assert changed.state == state


@pytest.mark.parametrize(
    ("first", "count"), [("2027-03-22", 2), ("2027-10-25", 2)], ids=["spring", "autumn"]
)
def test_one_day_in_each_odd_night_and_then_its_series(database, book, first, count):
    night = date.fromisoformat(first) + timedelta(days=6)  # the clocks change on this Sunday
    nights = mondays(
        starts=f"{night - timedelta(days=1)}T02:30", duration="PT1H", rule="FREQ=DAILY;COUNT=3"
    )
    series = book(nights)
    at_night = calendar.instant(datetime.fromisoformat(f"{night}T02:30"), "Europe/Paris")
    cancelled = database.write_now(
        sessions.cancel, series.id, BOB, NOW, expected_sequence=0, at=at_night
    )
    assert cancelled.replaces_at == at_night

    def left() -> list[str]:
        found = database.read_now(sessions.get, series.id)
        window = at_night - timedelta(days=5), at_night + timedelta(days=5)
        return [f"{one.starts.astimezone(PARIS):%m-%d %H:%M}" for one in found.occurrences(*window)]

    days = [night - timedelta(days=1), night + timedelta(days=1)]
    assert left() == [f"{day:%m-%d} 02:30" for day in days]
    later = nights.model_copy(update={"starts": nights.starts.replace(hour=8)})
    database.write_now(sessions.change, series.id, later, BOB, NOW, expected_sequence=0)
    assert left() == [f"{day:%m-%d} 08:30" for day in days]
    back = database.read_now(sessions.get, cancelled.id).replaces_at
    assert back == at(f"{night}T08:30")


def test_a_copy_takes_no_changes_of_single_days_with_it(database, book):
    series = book(mondays(left_out=["2027-02-01"]))
    when = at("2027-01-25T08:30")
    database.write_now(
        sessions.change, series.id, once("2027-01-26T14:00"), BOB, NOW, expected_sequence=0, at=when
    )
    [copy] = database.write_now(sessions.copy, [series.id], BOB, NOW, first=date(2028, 1, 17))
    assert (copy.replaced, copy.session.left_out) == (frozenset(), ())
    window = at("2028-01-01T00:00"), at("2028-04-01T00:00")
    assert [f"{one.starts:%m-%d}" for one in copy.occurrences(*window)] == [
        "01-17", "01-24", "01-31", "02-07",
    ]  # fmt: skip


# --- whose ---------------------------------------------------------------------------------------


def test_people_see_the_sessions_of_what_they_use_and_work_on(database, book, add):
    add("other", person=DAN)
    approved = book(once("2027-01-20T14:00"))
    requested = book(once("2027-01-21T14:00", expected=200), site=LARGE)
    cancelled = book(once("2027-01-22T14:00"))
    database.write_now(sessions.cancel, cancelled.id, BOB, NOW, expected_sequence=0)
    foreign = book(once("2027-01-23T14:00"), actor=DAN, slug="other")
    link = database.write_now(editing.add_join_link, "lab", BOB, NOW)
    database.write_now(activity.join, link.key, ALICE, NOW)
    database.write_now(workshop.give_right, "other", DAN, "bob", Right.VIEW, NOW)

    def mine(person, **asked):
        return [
            one.id for one in database.read_now(sessions.between, *MONTH, person=person, **asked)
        ]

    assert mine(ALICE) == [approved.id, cancelled.id]
    assert mine(BOB) == [approved.id, requested.id, cancelled.id, foreign.id]
    assert mine(BOB, environment_id=foreign.environment_id) == [foreign.id]
    assert mine(DAN) == [foreign.id]
    assert mine(ZOE) == []
    database.write_now(activity.leave, "lab", ALICE, NOW)
    assert mine(ALICE) == []
    assert len(database.read_now(sessions.between, *MONTH)) == 4


# --- what they let in ----------------------------------------------------------------------------


def start(database: Database, person, now: datetime, site=calendar.DEFAULT_SITE, slug="lab"):
    place = Place(
        base_url=f"/user/{person.name}/{slug}/", public_url="", wildcard_url="", label="x"
    )
    return database.write_now(
        activity.begin_launch,
        person=person,
        environment=slug,
        server=slug,
        place=place,
        hub="hub",
        secret=SecretStr("x" * 32),
        seal=Seal("secret", "environment-secrets"),
        now=now,
        site=site,
    )


@pytest.fixture
def enrolled(database: Database, book):
    link = database.write_now(editing.add_join_link, "lab", BOB, NOW)

    def enrol(effect: Effect | None) -> str:
        definition = make(sessions={"effect": effect}, public=True)
        found = database.read_now(reading.find, "lab", BOB)
        if found.environment != definition:
            database.write_now(editing.update_environment, definition, CAROL, found.version, NOW)
        database.write_now(activity.join, link.key, ALICE, NOW)
        return link.key

    return enrol


DURING, OUTSIDE = at("2027-01-25T09:00"), at("2027-01-26T09:00")


@pytest.mark.parametrize("by_site", [False, True])
def test_what_is_reserved_starts_during_its_sessions_only(database, book, enrolled, by_site):
    enrolled(None if by_site else Effect.RESERVED)
    site = Site(effect=Effect.RESERVED) if by_site else calendar.DEFAULT_SITE
    with pytest.raises(Refused, match="session-none"):
        start(database, ALICE, DURING, site)
    series = book(mondays())
    start(database, ALICE, DURING, site)
    start(database, ZOE, DURING, site)  # it is public
    with pytest.raises(Refused) as refused:
        start(database, ALICE, OUTSIDE, site)
    assert refused.value.code == "session-closed"
    assert refused.value.params["when"] == at("2027-02-01T08:15")
    start(database, BOB, OUTSIDE, site)
    start(database, CAROL, OUTSIDE, site)
    database.write_now(
        sessions.cancel, series.id, BOB, NOW, expected_sequence=0, at=at("2027-01-25T08:30")
    )
    with pytest.raises(Refused, match="session-closed"):
        start(database, ALICE, DURING, site)


def test_an_exam_is_for_those_who_were_given_its_link(database, book, enrolled):
    key = enrolled(Effect.EXAM)
    book(mondays())
    start(database, ALICE, DURING)
    with pytest.raises(Refused, match="exam-not-enrolled"):
        start(database, ZOE, DURING)
    with pytest.raises(Refused, match="session-closed"):
        start(database, ALICE, OUTSIDE)
    database.write_now(activity.join, key, ZOE, OUTSIDE)  # early; told when it opens
    with pytest.raises(Refused, match="session-closed"):
        start(database, ZOE, OUTSIDE)
    start(database, ZOE, DURING)


def test_what_is_indicative_is_on_no_dashboard_outside_and_its_link_works(database, book, enrolled):
    enrolled(None)

    def shown(now):
        found = database.read_now(reading.used_by, ALICE)
        [opened] = database.read_now(sessions.opened, found, now, calendar.DEFAULT_SITE)
        return opened.standing.opening.shown

    assert shown(OUTSIDE)  # nothing was ever booked
    book(mondays(expected=500), site=LARGE)
    assert shown(OUTSIDE)  # nor agreed to
    book(mondays())
    assert not shown(OUTSIDE)
    assert shown(DURING)
    start(database, ALICE, OUTSIDE)


def test_each_change_is_in_the_audit_log(database, book):
    series = book(mondays())
    database.write_now(sessions.change, series.id, mondays(), BOB, NOW, expected_sequence=0)
    database.write_now(sessions.cancel, series.id, BOB, NOW, expected_sequence=1)
    rows = database.read_now(
        lambda s: s.scalars(select(AuditRow).where(AuditRow.action.startswith("session"))).all()
    )
    assert [(row.actor, row.action, row.subject) for row in rows] == [
        ("bob", "session-booked", "lab"),
        ("bob", "session-changed", "lab"),
        ("bob", "session-cancelled", "lab"),
    ]


def test_sessions_go_with_their_environment(database, book):
    series = book(mondays())
    database.write_now(
        sessions.cancel, series.id, BOB, NOW, expected_sequence=0, at=at("2027-01-25T08:30")
    )
    version = database.read_now(lambda s: s.scalars(select(EnvironmentRow.version)).one())
    database.write_now(editing.delete_environment, "lab", BOB, version, NOW)
    assert database.read_now(sessions.between, *MONTH) == []
