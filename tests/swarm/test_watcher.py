"""The one view of all servers, against a small Swarm in memory."""

import asyncio
import itertools
import queue
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from mydocker_hub.domain.errors import Unavailable
from mydocker_hub.swarm import watcher as module
from mydocker_hub.swarm.tasks import Task
from mydocker_hub.swarm.watcher import Watcher


class Swarm:
    """Answers as the engine does; `fails` says how the next calls go."""

    def __init__(self):
        self.now = {}
        self.listed = []
        self.removed = []
        self.trial_volumes = {}
        self.calls = 0
        self.fails = None
        self.slow = 0.0
        self.events = queue.Queue()

    def put(self, service, state="running", desired="running", **fields):
        self.now[service] = Task(
            service_id=service, id=service, state=state, desired=desired, **fields
        )

    async def tasks(self, hub):
        self.calls += 1
        seen = list(self.now.values())
        await asyncio.sleep(self.slow)
        if self.fails:
            raise self.fails
        return seen

    async def services(self, hub):
        return self.listed

    async def remove_service(self, service):
        self.removed.append(service)

    async def old_trial_volumes(self, hub, before):
        return [name for name, made in self.trial_volumes.items() if made < before]

    async def remove_volumes(self, volumes):
        self.removed += volumes
        return []

    def container_events(self, hub):
        yield {"Action": "start", "Actor": {}}  # of no Swarm service
        while event := self.events.get():
            yield event

    def happens(self, action, service):
        attributes = {"com.docker.swarm.service.id": service}
        self.events.put({"Action": action, "Actor": {"Attributes": attributes}})

    def close(self):
        self.events.put(None)


@pytest.fixture
def quickly(monkeypatch):
    monkeypatch.setattr(module, "QUICKEST_SECONDS", 0.005)
    monkeypatch.setattr(module, "QUICK_SECONDS", 0.01)
    monkeypatch.setattr(module, "SLOW_SECONDS", 0.02)
    monkeypatch.setattr(module, "_GONE_AFTER_SECONDS", 0.1)


@asynccontextmanager
async def watching(swarm, **options):
    watcher = Watcher(swarm, "paris", **options)
    watcher.start()
    watcher.start()  # changes nothing
    try:
        yield watcher
    finally:
        await watcher.stop()
        swarm.close()


async def until(condition, seconds=3.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it may be about anything
            await asyncio.sleep(0.005)


async def ticks(watcher, count=2):
    seen = watcher.ticks
    await until(lambda: watcher.ticks >= seen + count)


# --- the view ------------------------------------------------------------------------------------


async def test_a_tick_is_one_call_for_a_thousand_servers(quickly):
    swarm = Swarm()
    for number in range(1000):
        swarm.put(f"s{number}")
    async with watching(swarm) as watcher:
        await ticks(watcher, 3)
        assert watcher.task("s0").running
        assert watcher.task("s999").running
        assert watcher.task("s1000") is None
        assert swarm.calls <= watcher.ticks + 1


async def test_without_a_start_it_is_slow_and_a_start_makes_it_quick(monkeypatch):
    monkeypatch.setattr(module, "SLOW_SECONDS", 60)
    swarm = Swarm()
    swarm.put("s", "pending")
    async with watching(swarm) as watcher:
        await until(lambda: swarm.calls == 1)
        await asyncio.sleep(0.3)
        assert swarm.calls == 1
        states = []
        async with asyncio.timeout(5):
            async for task in watcher.follow("s"):
                states.append(task.state)
                if task.running:
                    break
                swarm.put("s", "running")
        assert states[0] == "pending"
        assert states[-1] == "running"
        calls = swarm.calls
        await asyncio.sleep(0.7)
        assert swarm.calls <= calls + 1  # slow again


async def test_what_a_container_does_is_looked_at_at_once(monkeypatch):
    monkeypatch.setattr(module, "SLOW_SECONDS", 60)
    monkeypatch.setattr(module, "STIRRED_SECONDS", 0.3)
    swarm = Swarm()
    swarm.put("s")
    async with watching(swarm) as watcher:
        await until(lambda: watcher.task("s"))
        swarm.happens("die", "s")
        await until(lambda: swarm.calls >= 2)
        swarm.put("s", "failed")  # which Swarm says a little later
        await until(lambda: watcher.task("s").ended)
        await asyncio.sleep(0.4)
        calls = swarm.calls
        await asyncio.sleep(0.3)
        assert swarm.calls == calls  # slow again
        swarm.happens("oom", "s")
        await until(lambda: watcher.was_out_of_memory("s"))
        assert swarm.calls == calls  # that alone says nothing of the task


@pytest.mark.parametrize(
    ("busy", "call", "still", "expected"),
    [
        # somebody waits: at once after a change, the slower the longer nothing changes
        (True, 0.003, 0.0, (0.03, 0.03)),
        (True, 0.003, 0.4, (0.03, 0.05)),
        (True, 0.003, 1.0, (0.03, 0.125)),
        (True, 0.003, 600, (0.03, 0.25)),
        # an engine that takes its time gets it, but not for ever
        (True, 0.1, 0.0, (0.1, 0.1)),
        (True, 0.4, 600, (0.4, 0.4)),
        (True, 15.0, 0.0, (0.5, 0.5)),
        # nobody waits: slow, but ready for what comes
        (False, 0.003, 0.0, (0.03, 5.0)),
        (False, 0.2, 600, (0.2, 5.0)),
        (False, 15.0, 600, (0.5, 5.0)),
    ],
)
def test_the_pause_between_ticks(busy, call, still, expected):
    pause = module.pause(busy=busy, call_seconds=call, still_seconds=still)
    assert pause == pytest.approx(expected)


@pytest.mark.parametrize(
    "error", [Unavailable("engine-unavailable"), RuntimeError("unheard of")], ids=repr
)
async def test_an_engine_that_fails_keeps_the_last_view(quickly, error):
    swarm = Swarm()
    swarm.put("s")
    async with watching(swarm) as watcher:
        watcher.claim("s")
        await ticks(watcher)
        swarm.fails, swarm.now = error, {}
        calls = swarm.calls
        await until(lambda: swarm.calls > calls + 5)
        assert watcher.task("s").running
        assert not watcher.is_gone("s")  # unknown is alive
        swarm.fails = None
        await until(lambda: watcher.task("s") is None)
        await until(lambda: watcher.is_gone("s"))


async def test_an_engine_that_never_answered_says_nothing_of_a_server(quickly):
    swarm = Swarm()
    swarm.fails = Unavailable("engine-unavailable")
    async with watching(swarm) as watcher:
        watcher.claim("s")
        await until(lambda: swarm.calls > 20)
        assert not watcher.is_gone("s")


async def test_a_silent_engine_ends_the_wait(quickly, monkeypatch):
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.2)
    swarm = Swarm()
    async with watching(swarm) as watcher:
        await ticks(watcher)
        swarm.fails = Unavailable("engine-unavailable")
        with pytest.raises(Unavailable) as raised:
            async for _ in watcher.follow("s"):
                pass
        assert raised.value.code == "engine-unavailable"


# --- gone ----------------------------------------------------------------------------------------


async def test_is_gone(quickly):
    swarm = Swarm()
    swarm.put("other")
    async with watching(swarm) as watcher:
        await ticks(watcher)
        assert not watcher.is_gone("s")  # nobody claimed it: nothing is known of it
        watcher.claim("s")
        await ticks(watcher)
        assert not watcher.is_gone("s")  # a new one may have no task for a moment
        await until(lambda: watcher.is_gone("s"))
        watcher.claim("other")
        await asyncio.sleep(0.15)
        assert not watcher.is_gone("other")


async def test_an_answer_that_was_asked_before_the_claim_does_not_count(quickly, monkeypatch):
    monkeypatch.setattr(module, "_GONE_AFTER_SECONDS", 0.0)
    swarm = Swarm()
    swarm.slow = 0.2
    async with watching(swarm) as watcher:
        await until(lambda: swarm.calls == 1)
        watcher.claim("s")  # while an answer without it is on its way
        await until(lambda: watcher.ticks == 1)
        assert not watcher.is_gone("s")


@pytest.mark.parametrize("last", [("running", "shutdown"), ("starting", "remove")])
async def test_gone_waits_until_nothing_runs(quickly, last):
    swarm = Swarm()
    swarm.put("s")
    async with watching(swarm) as watcher:
        await ticks(watcher)
        waiting = asyncio.ensure_future(watcher.gone("s"))
        for state in (("running", "running"), last):
            swarm.put("s", *state)
            await ticks(watcher)
            assert not waiting.done()
        swarm.put("s", "shutdown", "remove")
        await asyncio.wait_for(waiting, 2)


# --- out of memory -------------------------------------------------------------------------------


async def test_out_of_memory_is_told_and_remembered(quickly):
    swarm, told = Swarm(), []
    swarm.happens("oom", "s")
    async with watching(swarm, on_out_of_memory=told.append) as watcher:
        watcher.claim("s")
        await until(lambda: told)
        assert told == ["s"]
        assert watcher.was_out_of_memory("s")
        assert not watcher.was_out_of_memory("ss")
        watcher.release("s")
        assert not watcher.was_out_of_memory("s")


# --- the sweep -----------------------------------------------------------------------------------


def service(id_, name, minutes):
    created = datetime.now(UTC) - timedelta(minutes=minutes)
    return {
        "ID": id_,
        "Spec": {"Name": name},
        "CreatedAt": created.strftime("%Y-%m-%dT%H:%M:%S.123456789Z"),
    }


async def test_the_sweep_removes_what_nobody_knows():
    swarm = Swarm()
    swarm.listed = [
        service("orphan", "a-orphan", 10),
        service("orphan-2", "a-orphan-2", 3),
        service("claimed", "b-claimed", 10),
        service("young", "c-young", 1),
        service("creating", "d-creating", 10),
    ]
    watcher = Watcher(swarm, "paris")
    watcher.claim("claimed")
    watcher.claim("orphan-3")
    with watcher.creating("d-creating"):
        assert await watcher.sweep() == ["a-orphan", "a-orphan-2"]
    assert swarm.removed == ["orphan", "orphan-2"]
    swarm.listed = swarm.listed[2:]
    watcher.release("claimed")
    assert await watcher.sweep() == ["b-claimed", "d-creating"]


async def test_the_sweep_removes_what_trials_left():
    swarm = Swarm()
    now = datetime.now(UTC)
    swarm.trial_volumes = {"old": now - timedelta(hours=2), "new": now - timedelta(minutes=11)}
    assert await Watcher(swarm, "paris").sweep() == []
    assert swarm.removed == ["old"]  # nothing holds a new one in the middle of a start


async def test_it_sweeps_by_itself_and_a_failure_does_not_end_the_watch(quickly, monkeypatch):
    monkeypatch.setattr(module, "SWEEP_AFTER", timedelta(seconds=0.1))
    monkeypatch.setattr(module, "SWEEP_EVERY_SECONDS", 0.05)
    swarm = Swarm()
    answers = itertools.chain([Unavailable("engine-unavailable")], itertools.repeat(None))

    async def services(hub):
        if error := next(answers):
            raise error
        return [service("orphan", "a-orphan", 10)]

    swarm.services = services
    async with watching(swarm) as watcher:
        await until(lambda: swarm.removed)
        await ticks(watcher)
    assert swarm.removed[0] == "orphan"
