"""Run a service and start it again when it dies: `python -m mydocker_hub.services catalogue`.

The hub looks after its services only every 30 seconds (`jupyterhub/services/service.py`, whose
poll interval cannot be configured), which is too long for a class that waits. This process does
nothing else, so that nothing else can end it.

It ends with the hub, however that ends: a service that outlived a crash of the hub would hold the
port of the next one, with tokens that the hub no longer knows.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from types import FrameType

from ..processes import end_with_parent

_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0
_HEALTHY_SECONDS = 30.0
_END_SECONDS = 10.0


class Stopped(Exception):
    """The hub asked us to end."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


def keep(command: list[str]) -> None:
    """Run `command` again and again, with longer pauses while it dies quickly; until `Stopped`."""
    pause = _PAUSE_SECONDS
    me = os.getpid()
    while True:
        started = time.monotonic()
        process = subprocess.Popen(command, preexec_fn=lambda: end_with_parent(me))
        try:
            code = process.wait()
        except Stopped:
            process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
        lived = time.monotonic() - started
        pause = (
            _PAUSE_SECONDS if lived > _HEALTHY_SECONDS else min(pause * 2, _LONGEST_PAUSE_SECONDS)
        )
        print(f"{command[-1]} ended with status {code}; again in {pause} s", file=sys.stderr)
        time.sleep(pause)


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    with contextlib.suppress(Stopped):
        end_with_parent(os.getppid())
        keep([sys.executable, "-m", f"mydocker_hub.services.{sys.argv[1]}"])


if __name__ == "__main__":
    main()
