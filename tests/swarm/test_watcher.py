"""The one view of all servers, against a small Swarm in memory."""

import asyncio
import itertools
import threading
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
        self.calls = 0
        self.fails = None
        self.slow = 0.0
        self.out_of_memory = []
        self._closed = threading.Event()

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

    def out_of_memory_events(self, hub):
        for service in self.out_of_memory:
            yield {"Actor": {"Attributes": {"com.docker.swarm.service.id": service}}}
        yield {"Actor": {}}
        self._closed.wait()

    def close(self):
        self._closed.set()


@pytest.fixture
def quickly(monkeypatch):
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
    swarm.out_of_memory = ["s"]
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
