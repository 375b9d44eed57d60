"""People at the doors of the identity hub, as they come in through a browser."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Page, expect

from mydocker_hub.domain.errors import CODES
from mydocker_hub.web.i18n import translator

from ..identity_hub import IdentityHub
from ..peers import ssp
from .conftest import Window

DASHBOARD = "/services/catalogue/"


def sign_in_at_institution(page: Page, user: str) -> None:
    """SimpleSAMLphp's page, whichever language; without scripts its second page has a button."""
    page.locator("input[name=username]").fill(user)
    page.locator("input[name=password]").fill(user)
    page.locator("input[name=password]").press("Enter")


def come(
    world: IdentityHub,
    opened: Window,
    user: str,
    *,
    idp: ssp.Peer | None = None,
    to: str = DASHBOARD,
) -> Window:
    """Come in by the federation, up to wherever it leads."""
    opened.open(world.login_path(idp or world.univ_a, to))
    sign_in_at_institution(opened.page, user)
    opened.page.wait_for_url(lambda url: url.startswith(f"{world.hub.url}/"))
    return opened


def model_of(opened: Window) -> dict[str, Any]:
    """What the hub knows of who is signed in: name, groups, admin."""
    if not opened.page.url.startswith(f"{opened.hub.url}/hub/"):
        opened.open("/hub/home")
    model: dict[str, Any] = opened.page.evaluate(
        """async () => (await fetch("/hub/api/user", {
             headers: {"X-XSRFToken": window.jhdata.xsrf_token},
           })).json()"""
    )
    return model


def expect_refusal(page: Page, code: str, lang: str) -> str:
    """The page of a refusal says why in its language; the sentence."""
    expect(page.locator("#refused code").first).to_have_text(code)
    said = page.locator("#refused .lead").inner_text()
    own = translator(lang).known(CODES[code].sentence)
    pattern = re.sub(r"%\\\((\w+)\\\)s", ".+", re.escape(own))
    assert re.fullmatch(pattern, said), f"{said!r} is not {own!r}"
    if lang != "en":
        assert own != CODES[code].sentence, f"{code} has no sentence in {lang}"
    return said
