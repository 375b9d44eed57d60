"""The catalogue as a tornado application."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import jinja2
from tornado.web import Application

from ... import baseimages
from ...builderapi import BuilderApi
from ...domain.calendar import DEFAULT_SITE, Site
from ...domain.culling import SiteLimits
from ...domain.environment import Effect
from ...domain.images import BaseImage
from ...filestore import FileStore
from ...identity import settings as sign_in_file
from ...identity.settings import SignInSettings
from ...mailserver import MailServer
from ...share import share_path
from ...store.database import Database
from ...web import operations
from ...web.service import ApiHandler, CallbackHandler, HubAddresses, NoSuchApi, log_request
from ..culler.state import limits_from
from . import (
    api,
    calendar_pages,
    facts_api,
    forecast_pages,
    images_api,
    images_pages,
    leftover_pages,
    lifetime_api,
    lifetime_pages,
    lti_api,
    lti_pages,
    pages,
    people_api,
    people_pages,
    sessions_api,
    trial_pages,
    workshop_api,
    workshop_form,
    workshop_pages,
)
from .uploads import UploadHandler

OPERATIONS = [
    *api.OPERATIONS,
    *workshop_api.OPERATIONS,
    *facts_api.OPERATIONS,
    *images_api.OPERATIONS,
    *people_api.OPERATIONS,
    *sessions_api.OPERATIONS,
    *lifetime_api.OPERATIONS,
    *lti_api.OPERATIONS,
]
ROUTES = [
    *pages.ROUTES,
    *lifetime_pages.ROUTES,
    *trial_pages.ROUTES,
    *people_pages.ROUTES,
    *forecast_pages.ROUTES,
    *calendar_pages.ROUTES,
    *leftover_pages.ROUTES,
    *lti_pages.ROUTES,
    *workshop_form.ROUTES,  # before pages that take any name
    *workshop_pages.ROUTES,
    *images_pages.ROUTES,
]


@dataclass(frozen=True)
class Settings:
    """What the catalogue needs to run; `hubconfig` hands it over in the environment."""

    database_url: str
    hub: str
    hub_secret: str = field(repr=False)
    hub_api_url: str
    base_url: str
    service_prefix: str
    demo: bool
    public_url: str = ""
    wildcard_url: str = ""
    sign_in: SignInSettings = field(default_factory=SignInSettings)
    base_images: tuple[BaseImage, ...] = ()
    files: Path | None = None
    limits: SiteLimits = field(default_factory=SiteLimits)
    builder_url: str = ""
    builder_secret: str = field(default="", repr=False)
    sessions: Site = DEFAULT_SITE
    mail: MailServer | None = None
    records_before: timedelta = timedelta(0)  # how long before a session; 0: none are made

    @classmethod
    def from_environ(cls) -> Settings:
        """Read what the hub and `hubconfig` set.

        Raises KeyError naming what lacks, `Invalid` where `sign-in.yaml` or the file of base images
        cannot be right, ValueError where the mail server's settings cannot be.
        """
        sign_in = os.environ.get("MYDOCKER_SIGN_IN_FILE", "")
        files = os.environ.get("MYDOCKER_FILES_DIR", "")
        base_images = os.environ.get("MYDOCKER_BASE_IMAGES_FILE", "")
        people_limit = os.environ.get("MYDOCKER_SESSION_PEOPLE_LIMIT", "")
        mail = _mail_server()
        return cls(
            database_url=os.environ["MYDOCKER_DATABASE_URL"],
            hub=os.environ["MYDOCKER_HUB_ID"],
            hub_secret=os.environ["MYDOCKER_CATALOGUE_SECRET"],
            hub_api_url=os.environ["JUPYTERHUB_API_URL"],
            base_url=os.environ.get("JUPYTERHUB_BASE_URL", "/"),
            service_prefix=os.environ["JUPYTERHUB_SERVICE_PREFIX"],
            demo=os.environ.get("MYDOCKER_DEMO") == "1",
            public_url=os.environ.get("MYDOCKER_PUBLIC_URL", ""),
            wildcard_url=os.environ.get("MYDOCKER_WILDCARD_URL", ""),
            sign_in=sign_in_file.load(Path(sign_in)) if sign_in else SignInSettings(),
            files=Path(files) if files else None,
            base_images=baseimages.load(Path(base_images) if base_images else None),
            limits=limits_from(os.environ),
            builder_url=os.environ.get("MYDOCKER_BUILDER_URL", ""),
            builder_secret=os.environ.get("MYDOCKER_BUILDER_SECRET", ""),
            records_before=timedelta(minutes=int(os.environ.get("MYDOCKER_RECORDS_MINUTES", "0"))),
            sessions=Site(
                effect=Effect(os.environ.get("MYDOCKER_SESSION_EFFECT", Effect.INDICATIVE)),
                people_limit=int(people_limit) if people_limit else None,
                mails=mail is not None,
            ),
            mail=mail,
        )


def _mail_server() -> MailServer | None:
    address = os.environ.get("MYDOCKER_SMTP", "")
    if not address:
        return None
    login, ca = (os.environ.get(f"MYDOCKER_SMTP_{name}_FILE", "") for name in ("LOGIN", "CA"))
    return MailServer.load(
        address,
        security=os.environ.get("MYDOCKER_SMTP_SECURITY", "starttls"),
        sender=os.environ.get("MYDOCKER_MAIL_FROM", ""),
        login=Path(login) if login else None,
        ca=Path(ca) if ca else None,
    )


def document(service_prefix: str) -> dict[str, object]:
    """The OpenAPI document of the REST API."""
    return operations.openapi(
        OPERATIONS,
        title="mydocker_hub catalogue",
        description="Environments, invitations, enrolments and launches; who people are.",
        server=f"{service_prefix}api",
    )


def make_app(settings: Settings, database: Database) -> Application:
    """The application; the database is at this release's schema already."""
    prefix = settings.service_prefix
    routes: dict[str, dict[str, operations.Operation]] = {}
    for operation in OPERATIONS:
        routes.setdefault(operation.pattern, {})[operation.method] = operation
    return Application(
        [
            (prefix + "oauth_callback", CallbackHandler),
            *((prefix + path, handler) for path, handler in ROUTES),
            (prefix + "api/openapi.json", pages.OpenApi),
            *(
                (prefix + "api" + pattern, _handler(by_method), {"operations": by_method})
                for pattern, by_method in routes.items()
            ),
            (prefix + "api/.*", NoSuchApi),
        ],
        default_handler_class=pages.NotFoundPage,
        log_function=log_request,
        static_path=str(share_path("static")),
        static_url_prefix=prefix + "static/",
        cookie_secret=hashlib.sha256(b"cookie" + settings.hub_secret.encode()).digest(),
        context=api.Context(
            database=database,
            hub=settings.hub,
            addresses=HubAddresses(settings.base_url, prefix),
            public_url=settings.public_url,
            wildcard_url=settings.wildcard_url,
            sign_in=settings.sign_in,
            hub_api_url=settings.hub_api_url,
            secret=settings.hub_secret,
            base_images=settings.base_images,
            limits=settings.limits,
            files=FileStore(settings.files) if settings.files else None,
            builder=BuilderApi(settings.builder_url, settings.builder_secret)
            if settings.builder_url
            else None,
            sessions=settings.sessions,
        ),
        hub_secret=settings.hub_secret,
        hub_api_url=settings.hub_api_url,
        addresses=HubAddresses(settings.base_url, prefix),
        demo=settings.demo,
        frame_origins=settings.sign_in.lti.frame_origins if settings.sign_in.lti else (),
        templates=_templates(),
        openapi=document(prefix),
    )


def _handler(by_method: dict[str, operations.Operation]) -> type[ApiHandler]:
    takes_files = any(operation.upload for operation in by_method.values())
    return UploadHandler if takes_files else ApiHandler


def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(share_path("templates")),
        extensions=["jinja2.ext.i18n"],
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
