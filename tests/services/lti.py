"""What the tests of LTI's pages share: forms, platforms in the catalogue's database."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import requests

from mydocker_hub.identity.platform import Platform
from mydocker_hub.seal import Seal
from mydocker_hub.store import platforms
from tests.hub import RunningHub, Visitor, in_database

PREFIX = "/services/catalogue/"
ADMIN = f"{PREFIX}admin/platforms"


def seal_of(hub: RunningHub) -> Seal:
    return Seal((hub.state / "catalogue_secret").read_text(), "lti")


def known(hub: RunningHub, peer: Any, **changes: Any) -> Platform:
    """Have the hub know a platform of `tests.peers.lti_platforms`."""
    platform = Platform(
        name="Moodle & <b>Cie</b>",
        issuer=peer.url,
        client_id=peer.client_id,
        authorization_url=peer.authorization_url,
        token_url=peer.token_url,
        jwks_url=peer.jwks_url,
        deployments=(peer.deployment,),
    ).model_copy(update=changes)
    now = datetime.now(UTC)
    kept = in_database(hub, platforms.create, platform, "carol", now, seal=seal_of(hub))
    return kept.platform


def tool(hub: RunningHub) -> dict[str, str]:
    """Our addresses, as a platform of the peers is given them."""
    return {
        "login_url": f"{hub.url}/hub/lti/login",
        "launch_url": f"{hub.url}/hub/lti/launch",
        "tool_jwks_url": f"{hub.url}{PREFIX}lti/jwks.json",
    }


def send(
    visitor: Visitor, path: str, data: Any = (), *, page: str = f"{PREFIX}environments"
) -> requests.Response:
    """Send a form with the token of a page of this person's; what comes is not followed."""
    text = visitor.get(page).text
    match = re.search(r'name="_xsrf" value="([^"]+)"', text)
    assert match, text[:2000]
    fields = [*dict(data).items()] if isinstance(data, dict) else [*data]
    answer = visitor.session.post(
        f"{visitor.hub.url}{path}",
        data=[("_xsrf", match[1]), *fields],
        headers={"Accept-Language": "en"},
        timeout=60,
        allow_redirects=False,
    )
    answer.encoding = "utf-8"
    return answer


def code_of(answer: requests.Response) -> str:
    """The code for the help desk, on an error page."""
    match = re.search(r"<code>([a-z-]+)</code>", answer.text)
    assert match, answer.text[:3000]
    return match[1]


def value_of(answer: requests.Response, id_: str) -> str:
    """The value of a field of a page."""
    match = re.search(rf'<input[^>]* id="{id_}"[^>]* value="([^"]*)"', answer.text)
    assert match, answer.text
    return match[1]
