"""Jinja extensions that bring the message catalogues into templates.

`HubTranslations` is for the hub's own templates; nothing but configuration is needed:

    c.JupyterHub.jinja_environment_options = {
        "extensions": ["mydocker_hub.web.hubi18n.HubTranslations"]
    }

The hub knows nothing of languages, so the language is found at each rendering: the template
variable `static_url` is a bound method of the handler, and the handler has the request. Beside
`_()`, `ngettext()` and `{% trans %}` a template then has

    language          "fr" or "en"
    tr                the Translator
    language_url(x)   where the switch to the language x leads, and back to this page
    current_path      the path of this page, without the query
    dashboard_url     `catalogue_url` of the configuration, else the hub's own home page
    may_create        whether the person in front is a teacher or an administrator
    problem           the MydockerError behind `exception`, if there is one

`Translations` is for templates that get `tr` from their own handler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from jinja2 import Environment, pass_context
from jinja2.ext import InternationalizationExtension
from jinja2.runtime import Context
from jinja2.utils import missing
from tornado.web import RequestHandler

from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.domain.people import Role, roles_of

from .i18n import COOKIE, LANGUAGES, Translator, choose_language, translator


@pass_context
def _gettext(context: Context, message: str) -> str:
    return _translator(context).catalogue.gettext(message)


@pass_context
def _ngettext(context: Context, singular: str, plural: str, n: int) -> str:
    return _translator(context).catalogue.ngettext(singular, plural, n)


def _translator(context: Context) -> Translator:
    tr = context.resolve("tr")
    return tr if isinstance(tr, Translator) else translator(LANGUAGES[0])


class Translations(InternationalizationExtension):
    """`_()`, `ngettext()` and `{% trans %}` in the language of the template variable `tr`."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.policies["ext.i18n.trimmed"] = True  # as in locale/babel.cfg
        install: Callable[..., None] = self._install_callables  # Jinja types them without context
        install(_gettext, _ngettext, newstyle=True)


class HubTranslations(Translations):
    """`Translations` for the hub, which passes no `tr`: see above for what its templates get."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.context_class = HubContext


class HubContext(Context):
    """A template context that finds what the hub does not pass; what it passes comes first."""

    def resolve_or_missing(self, key: str) -> Any:
        found = super().resolve_or_missing(key)
        if found is missing and key in _COMPUTED:
            return _COMPUTED[key](self)
        return found


def handler_language(handler: RequestHandler | None) -> str:
    """The language of a request; in the hub also for a spawner, as `spawner.handler`."""
    if handler is None:
        return LANGUAGES[0]
    return choose_language(
        handler.get_cookie(COOKIE), handler.request.headers.get("Accept-Language")
    )


def _handler(context: Context) -> RequestHandler | None:
    handler = getattr(context.get("static_url"), "__self__", None)
    return handler if isinstance(handler, RequestHandler) else None


def _language_url(context: Context) -> Callable[[str], str]:
    base_url, back = context.get("base_url", "/hub/"), quote(_back(context), safe="/")
    return lambda language: f"{base_url}language/{language}?next={back}"


def _back(context: Context) -> str:
    """This page's address; for an error page that the proxy asked for, the address it is about."""
    handler = _handler(context)
    if handler is None:
        return ""
    parts = urlsplit(handler.request.uri or "")
    query = parse_qsl(parts.query)
    if parts.path.startswith(f"{context.get('base_url', '/hub/')}error/"):
        return dict(query).get("url", "")
    kept = urlencode([(name, value) for name, value in query if name not in _NOT_KEPT])
    return f"{parts.path}?{kept}" if kept else parts.path


_NOT_KEPT = {"_xsrf", "redirects"}


def _current_path(context: Context) -> str:
    handler = _handler(context)
    return handler.request.path if handler else ""


def _problem(context: Context) -> MydockerError | None:
    exception = context.get("exception")
    if isinstance(exception, MydockerError):
        return exception
    attached = getattr(exception, "mydocker_error", None)
    return attached if isinstance(attached, MydockerError) else None


def _may_create(context: Context) -> bool:
    user = context.get("user")
    if not user:
        return False
    roles = roles_of((group.name for group in user.groups), bool(user.admin))
    return bool(roles & {Role.TEACHER, Role.ADMIN})


_COMPUTED: dict[str, Callable[[Context], Any]] = {
    "tr": lambda context: translator(handler_language(_handler(context))),
    "language": lambda context: _translator(context).lang,
    "language_url": _language_url,
    "current_path": _current_path,
    "dashboard_url": lambda context: (
        context.get("catalogue_url") or f"{context.get('base_url', '/hub/')}home"
    ),
    "may_create": _may_create,
    "problem": _problem,
}
