"""Processes that do not outlive who started them."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from contextlib import suppress

_LIBC = ctypes.CDLL(None)  # not in a new process, which may find the loader's lock taken
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_END_SECONDS = 5


def end_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when `parent`, which started it, ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it has ended already
        os.kill(os.getpid(), signal.SIGTERM)


async def start(
    command: list[str], *, stdout: int, stderr: int, env: dict[str, str], cwd: str | None = None
) -> asyncio.subprocess.Process:
    """Start a command in a process group of its own, which ends with us, however we end."""
    me = os.getpid()
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=env,
        cwd=cwd,
        start_new_session=True,
        preexec_fn=lambda: end_with_parent(me),
    )


async def end(process: asyncio.subprocess.Process) -> None:
    """End the whole group of a command of `start`: kindly, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(process.wait()), _END_SECONDS)
