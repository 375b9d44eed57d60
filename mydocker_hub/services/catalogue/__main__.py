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

from ...hubapi import HubServers
from ...store.database import Database
from ...web.frames import COOKIE_OPTIONS, allow_partitioned_cookies
from ...web.service import READ_BYTES
from .app import Settings, make_app
from .mailing import Sender
from .records import Records

_END_SECONDS = 5.0
"""How long a mail that is being sent may take to its end, less than the keeper gives us."""


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
    hub = HubServers(settings.hub_api_url, settings.hub_secret)
    records = asyncio.create_task(Records(database, hub, before=settings.records_before).run())
    sending = asyncio.create_task(_send_mails(settings, database, stop))
    await stop.wait()
    records.cancel()
    server.stop()
    await asyncio.wait([sending], timeout=_END_SECONDS)
    await server.close_all_connections()
    database.close()


async def _send_mails(settings: Settings, database: Database, stop: asyncio.Event) -> None:
    if settings.mail is None:
        return
    site = settings.public_url + settings.service_prefix
    await Sender(database, settings.mail, site=site, hub=settings.hub).run(stop)


def main() -> None:
    enable_pretty_logging()
    # What asks the hub: tornado's default of ten at once would queue a class that comes together.
    AsyncHTTPClient.configure(None, max_clients=200)
    asyncio.run(serve())


if __name__ == "__main__":
    main()
