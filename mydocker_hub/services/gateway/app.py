"""The gateway as a tornado application: one door for all servers, one for the hub."""

from __future__ import annotations

from tornado.web import Application

from ...web.service import log_request
from .door import Door
from .handlers import NoticesHandler, RouteHandler, RoutesHandler
from .state import Gateway


def make_app(gateway: Gateway) -> Application:
    return Application(
        [
            (r"/-/notices", NoticesHandler),
            (r"/-/routes", RoutesHandler),
            (r"/-/routes/([^/]+)/([^/]+)", RouteHandler),
            (r".*", Door),
        ],
        log_function=log_request,
        gateway=gateway,
    )
