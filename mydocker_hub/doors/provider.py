"""What the doors of OpenID Connect and CAS providers share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar
from urllib.parse import urlsplit

from ..domain.errors import NotFound, Refused
from ..identity.settings import CasProvider, OpenIdProvider
from ..web import i18n
from .base import DoorHandler
from .outside import is_loopback_host, is_safe

Provider = OpenIdProvider | CasProvider
P = TypeVar("P", OpenIdProvider, CasProvider)


class ProviderHandler(DoorHandler):
    """A page that leads to a provider, or that a provider sends people back to, with a secret."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")

    async def prepare(self) -> None:
        await super().prepare()
        # The query has been read: neither the hub's log nor a link of a page repeats it.
        self.request.uri = self.request.path

    def single(self, name: str, provider: Provider, most: int = 4096) -> str:
        """An argument of the address. Raises `Refused` where it comes twice (RFC 6749 §3.1)."""
        values = self.get_query_arguments(name)
        if len(values) > 1 or any(len(value) > most for value in values):
            raise Refused(
                "sign-in-message-invalid", provider=provider.title, log_detail=f"argument {name}"
            )
        return values[0] if values else ""


def named(providers: Iterable[P], name: str) -> P:
    """The provider of that name. Raises `NotFound`."""
    for provider in providers:
        if provider.name == name:
            return provider
    raise NotFound("sign-in-provider-unknown")


def refused(provider: Provider, reason: str, log_detail: str) -> Refused:
    """A provider did not let somebody in; `reason` is a sentence to be translated."""
    by_language = {language: i18n.translator(language).known(reason) for language in i18n.LANGUAGES}
    return Refused(
        "sign-in-provider-refused",
        provider=provider.title,
        reason=by_language,
        log_detail=log_detail,
    )


def check_address(url: str, provider: Provider) -> None:
    """Refuse, at start, an address to which no secret should be sent. Raises ValueError."""
    if not is_safe(url, loopback=True) or "?" in url:
        raise ValueError(
            f"the provider “{provider.name}” has to be reached with https, "
            f"by an address without a query: {url}"
        )


def is_on_loopback(url: str) -> bool:
    """Whether a provider runs on this very machine, where http is good enough."""
    return is_loopback_host(urlsplit(url).hostname or "")
