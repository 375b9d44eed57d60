"""One door alone: people are led straight through it, and are never caught between the two."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import docker
import pytest
import yaml
from playwright.sync_api import expect

from ..conftest import free_ports, remove_all, start_hub
from ..hub import RunningHub
from ..peers import op
from .conftest import Window
from .people import expect_refusal

pytestmark = pytest.mark.peers

OpenWindow = Callable[..., Window]


@pytest.fixture(scope="module")
def started(
    engine: docker.DockerClient, bridge_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningHub, op.Peer]]:
    hub_id = f"test-{secrets.token_hex(4)}"
    folder = tmp_path_factory.mktemp("auto")
    (folder / "secret").write_text(op.CLIENT_SECRET)
    (folder / "secret").chmod(0o600)
    (port,) = free_ports(1)
    provider = {
        "name": "univ",
        "title": {"fr": "Compte du campus", "en": "Campus account"},
        "issuer": f"http://127.0.0.1:{port}",
        "client_id": op.CLIENT_ID,
        "client_secret_file": str(folder / "secret"),
    }
    settings = folder / "sign-in.yaml"
    settings.write_text(yaml.safe_dump({"openid": [provider]}, allow_unicode=True))
    starting = start_hub(
        folder, hub_id, bridge_address, install=f"sign_in=Path({str(settings)!r})", demo=False
    )
    url = f"http://localhost:{starting.ports[0]}"
    with ExitStack() as stack:
        peer = stack.enter_context(
            op.start_op(
                folder,
                port=port,
                redirect_uris=[f"{url}/hub/oidc/univ/callback"],
                logout_uris=[f"{url}/hub/logout"],
            )
        )
        yield stack.enter_context(starting), peer
    remove_all(engine, hub_id)


@pytest.fixture(scope="module")
def hub(started: tuple[RunningHub, op.Peer]) -> RunningHub:
    return started[0]


@pytest.fixture(scope="module")
def provider(started: tuple[RunningHub, op.Peer]) -> op.Peer:
    return started[1]


def test_straight_to_the_only_provider(window: OpenWindow, provider: op.Peer) -> None:
    visitor = window(lang="en")
    page = visitor.page
    visitor.open("/hub/token")
    page.wait_for_url(f"{provider.url}/**")
    page.locator("input[name=login]").fill("alice")
    page.locator("input[name=password]").fill("any")
    page.locator("button[type=submit]").click()
    page.locator("button[type=submit]").click()
    page.wait_for_url("**/hub/token")

    visitor.open("/hub/logout")  # and no further, or signing out would sign in again
    expect(page.locator("#logout-main")).to_contain_text("Campus account")
    assert visitor.path == "/hub/logout"
    page.get_by_role("link", name="Sign in again").click()
    page.wait_for_url("**/services/catalogue/**")  # the provider still knows who it is


def test_a_sign_in_that_was_broken_off(window: OpenWindow, provider: op.Peer) -> None:
    visitor = window(lang="en")
    page = visitor.page
    visitor.open("/hub/home")
    page.wait_for_url(f"{provider.url}/**")
    page.get_by_role("link", name="Cancel").click()
    said = expect_refusal(page, "sign-in-provider-refused", "en")
    assert "Campus account" in said
    page.get_by_role("link", name="Begin again").click()
    page.wait_for_url(f"{provider.url}/**")
