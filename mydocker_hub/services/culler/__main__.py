"""Run the culler: `python -m mydocker_hub.services.culler`, as the hub does.

With `--dry-run` it looks once, prints what it would do with each server and why, and does nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

from tornado.log import app_log, enable_pretty_logging

from ...store.database import Database
from .cycle import Culler
from .state import Settings


async def explain(settings: Settings) -> None:
    database = Database(settings.database_url)
    try:
        for judged in await Culler(settings, database).look():
            print(judged)
    finally:
        database.close()


async def serve(settings: Settings) -> None:
    database = Database(settings.database_url)
    work = asyncio.create_task(Culler(settings, database).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    app_log.info("culler looks every %g seconds", settings.seconds)
    try:
        await work  # what it fails with ends this process: it is started again
    except asyncio.CancelledError:
        pass
    finally:
        database.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m mydocker_hub.services.culler")
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be done and why, and do nothing"
    )
    arguments = parser.parse_args()
    settings = Settings.from_environ()
    if arguments.dry_run:
        asyncio.run(explain(settings))
        return
    enable_pretty_logging()
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
