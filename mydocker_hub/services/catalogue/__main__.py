"""Run the catalogue: `python -m mydocker_hub.services.catalogue`, as the hub does."""

from __future__ import annotations

import asyncio
import os
import signal
from urllib.parse import urlsplit

from jupyterhub.services.auth import HubOAuth
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.log import app_log, enable_pretty_logging

from ...store.database import Database
from ...web.frames import COOKIE_OPTIONS, allow_partitioned_cookies
from ...web.service import READ_BYTES
from .app import Settings, make_app


async def serve() -> None:
    settings = Settings.from_environ()
    # Who is blocked or loses a role is so here half a minute after the hub knows (upstream: 5 min).
    hub_auth = HubOAuth.instance(cache_max_age=30)
    if settings.sign_in.lti and settings.sign_in.lti.frame_origins:
        allow_partitioned_cookies()
        hub_auth.cookie_options = COOKIE_OPTIONS
    database = Database(settings.database_url)
    await asyncio.to_thread(database.upgrade)
    address = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    server = HTTPServer(make_app(settings, database), xheaders=True, max_body_size=READ_BYTES)
    server.listen(address.port or 80, address.hostname or "127.0.0.1")
    app_log.info("catalogue listens on %s", address.netloc)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    server.stop()
    await server.close_all_connections()
    database.close()


def main() -> None:
    enable_pretty_logging()
    # What asks the hub: tornado's default of ten at once would queue a class that comes together.
    AsyncHTTPClient.configure(None, max_clients=200)
    asyncio.run(serve())


if __name__ == "__main__":
    main()
