"""A peer that runs as a process of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from ..conftest import end


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    answers_at: str,
    log: Path,
    environment: Mapping[str, str],
    clock_offset: timedelta | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process from when `answers_at` answers 200 to the end of the block."""
    environ = {**os.environ, **environment, **wrong_clock(clock_offset)}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, answers_at, log)
        yield process
    finally:
        end(process, seconds=10)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if requests.get(url, timeout=10).ok:
                return
        except requests.ConnectionError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"{url} does not answer:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.05)


def wrong_clock(offset: timedelta | None) -> dict[str, str]:
    """The environment of a process whose clock is off (Debian's libfaketime).

    Not the command `faketime`: that one is the process which we would end, and leaves its child.
    """
    if offset is None:
        return {}
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    assert libraries, "libfaketime is missing: apt-get install libfaketime"
    return {"LD_PRELOAD": str(libraries[0]), "FAKETIME": f"{int(offset.total_seconds()):+d}"}
