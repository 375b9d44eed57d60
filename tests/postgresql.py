"""A throw-away PostgreSQL, for the tests of the store and for `scripts/bench catalogue`."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg


@contextmanager
def throw_away_server(*settings: str) -> Iterator[Path]:
    """Run a server on a socket in a folder of its own; gives the folder.

    `settings` are those of postgresql.conf, such as "fsync=off".
    """
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert binaries, "PostgreSQL is missing: apt-get install postgresql"
    # Short, since a socket's path has at most 107 characters; not in pytest's folder, which is
    # closed to the account that runs the server.
    folder = Path(tempfile.mkdtemp(prefix="mydocker-pg-"))
    account = []
    if os.geteuid() == 0:  # PostgreSQL refuses root
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        account = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    data = folder / "data"
    options = ["--username=test", "--auth=trust", "--encoding=UTF8", "--no-sync"]
    subprocess.run(
        [*account, binaries[-1] / "initdb", *options, "--locale=C.UTF-8", "-D", data],
        check=True,
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    settings = (*settings, "listen_addresses=", f"unix_socket_directories={folder}")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*account, binaries[-1] / "postgres", "-D", data]
            + [word for setting in settings for word in ("-c", setting)],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(f"host={folder} user=test dbname=postgres").close()
                break
            except psycopg.OperationalError:
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield folder
    finally:
        server.send_signal(signal.SIGINT)  # "fast shutdown": does not wait for connections
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def new_database(folder: Path) -> str:
    """Make an empty database on the server of this folder; its URL."""
    name = f"t{secrets.token_hex(8)}"
    with psycopg.connect(f"host={folder} user=test dbname=postgres", autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    return f"postgresql://test@/{name}?host={folder}"
