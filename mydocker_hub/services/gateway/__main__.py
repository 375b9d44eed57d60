"""Run the gateway: `python -m mydocker_hub.services.gateway`, as the hub does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import aiohttp
from tornado.httpserver import HTTPServer
from tornado.log import app_log, enable_pretty_logging

from ...web.frames import allow_partitioned_cookies
from .app import make_app
from .forward import PIECE_BYTES
from .kernels import Kernels
from .state import Gateway, Settings

_HEAD_BYTES = 64 * 1024


async def serve() -> None:
    settings = Settings.from_environ()
    if settings.frame_origins:
        allow_partitioned_cookies()
    gateway = Gateway.make(settings)
    server = HTTPServer(
        make_app(gateway),
        xheaders=True,
        chunk_size=PIECE_BYTES,
        max_header_size=_HEAD_BYTES,
        max_buffer_size=16 * PIECE_BYTES,
        decompress_request=False,
    )
    host, port = os.environ["MYDOCKER_GATEWAY_HOST"], int(os.environ["MYDOCKER_GATEWAY_PORT"])
    server.listen(port, host)
    app_log.info("gateway listens on %s:%d", host, port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    kernels = Kernels(gateway.routes, gateway.presence, seconds=settings.kernels_seconds)
    async with aiohttp.ClientSession() as session:
        helpers = [
            asyncio.create_task(gateway.routes.keep_fresh()),
            asyncio.create_task(gateway.presence.keep_reporting(session)),
            asyncio.create_task(kernels.keep_asking(session)),
        ]
        await stop.wait()
        server.stop()
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.close_all_connections(), 5)
        await gateway.containers.close()


def main() -> None:
    enable_pretty_logging()
    asyncio.run(serve())


if __name__ == "__main__":
    main()
