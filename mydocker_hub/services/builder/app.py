"""The builder's addresses, for the catalogue alone."""

from __future__ import annotations

from typing import Any

from tornado.web import Application, RequestHandler

from ... import registry
from ...domain.command import check_image
from ...domain.errors import Invalid, NotFound, Refused
from ...httpclient import bears
from ...web import i18n
from ...web.problems import CONTENT_TYPE, as_error, problem
from ...web.service import log_error, log_request
from .preparation import Preparation
from .state import Settings
from .worker import Worker


class BuilderHandler(RequestHandler):
    """Who asks knows the secret; errors are problem details."""

    def prepare(self) -> None:
        if not bears(self.request.headers.get("Authorization", ""), self.own_settings.secret):
            raise Refused("sign-in-needed")

    @property
    def own_settings(self) -> Settings:
        settings: Settings = self.settings["builder_settings"]
        return settings

    @property
    def worker(self) -> Worker:
        worker: Worker = self.settings["worker"]
        return worker

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        log_error(self.request, kind, error, trace)

    def compute_etag(self) -> str | None:
        return None

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = as_error(kwargs["exc_info"][1]) if "exc_info" in kwargs else NotFound()
        self.set_status(error.status)
        self.set_header("Content-Type", CONTENT_TYPE)
        self.finish(problem(error, i18n.translator("en")).model_dump_json())


class Wake(BuilderHandler):
    """`POST /wake`: there is something in the queue."""

    def post(self) -> None:
        self.worker.wake()
        self.set_status(204)


class Facts(BuilderHandler):
    """`GET /facts?reference=…`: what is known of an image."""

    async def get(self) -> None:
        reference = self.get_query_argument("reference", "")
        try:
            check_image(reference)
        except ValueError as error:
            raise Invalid(problems=[("reference", str(error))]) from None
        facts = await self.worker.engine.facts(reference)
        if facts is None:
            facts = await registry.facts(
                reference,
                credentials=self.own_settings.credentials(),
                private_allowed=self.own_settings.may_be_private,
            )
        self.set_header("Content-Type", "application/json")
        self.write(facts.model_dump_json())


class Machines(BuilderHandler):
    """`GET /machines`: the machines of the Swarm, with what they have."""

    async def get(self) -> None:
        preparation: Preparation = self.settings["preparation"]
        machines = await preparation.machines()
        self.write({"machines": [machine.model_dump(mode="json") for machine in machines]})


class NoSuchAddress(BuilderHandler):
    def prepare(self) -> None:
        super().prepare()
        raise NotFound()


def make_app(settings: Settings, worker: Worker, preparation: Preparation) -> Application:
    return Application(
        [(r"/wake", Wake), (r"/facts", Facts), (r"/machines", Machines)],
        default_handler_class=NoSuchAddress,
        log_function=log_request,
        builder_settings=settings,
        worker=worker,
        preparation=preparation,
    )
