"""Run the builder: `python -m mydocker_hub.services.builder`, as the hub does."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.log import app_log, enable_pretty_logging

from ... import baseimages
from ...store.database import Database
from ...swarm.client import SwarmClient
from .app import make_app
from .preparation import Preparation
from .state import Settings
from .tidying import Tidying
from .worker import Worker


async def serve() -> None:
    file = os.environ.get("MYDOCKER_BASE_IMAGES_FILE", "")
    bases = await asyncio.to_thread(baseimages.load, Path(file) if file else None)
    settings = replace(Settings.from_environ(), base_images=bases)
    database = Database(settings.database_url)
    worker = Worker(settings, database)
    swarm = SwarmClient()  # where the hub's servers run, which need not be where images are built
    hub = settings.setup.hub
    preparation = Preparation(database, swarm, hub, before=settings.prepare_before)
    tidying = Tidying(database, swarm, hub, kept_for=settings.folders_kept)
    server = HTTPServer(make_app(settings, worker, preparation), max_body_size=1024)
    server.listen(settings.port, settings.host)
    app_log.info("builder listens on %s:%d", settings.host, settings.port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    work = {asyncio.create_task(one.run()) for one in (worker, preparation, tidying)}
    ended = asyncio.create_task(stop.wait())
    await asyncio.wait({*work, ended}, return_when=asyncio.FIRST_COMPLETED)
    server.stop()
    for task in work:
        task.cancel()
    # What the work failed with ends this process: it is started again.
    results = await asyncio.gather(*work, return_exceptions=True)
    await server.close_all_connections()
    swarm.close()
    database.close()
    if not ended.done():
        for result in results:
            if isinstance(result, Exception):
                raise result


def main() -> None:
    enable_pretty_logging()
    asyncio.run(serve())


if __name__ == "__main__":
    main()
