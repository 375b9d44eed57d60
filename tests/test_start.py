"""A start from end to end, without a browser."""

from __future__ import annotations

import pytest

from .hub import RunningHub

pytestmark = [pytest.mark.hub, pytest.mark.engine]


def test_a_join_link_starts_the_environment_and_stop_ends_it(hub: RunningHub, engine) -> None:
    with hub.signed_in("alice") as alice:
        page = alice.get("/join/TinyTinyTinyTinyTiny", allow_redirects=True)
        assert "/spawn-pending/alice/tiny" in page.url or "/user/alice/tiny" in page.url
        alice.wait_until_ready("tiny")
        services = engine.services.list(filters={"label": f"mydocker.hub={hub.hub_id}"})
        assert [s.attrs["Spec"]["Labels"]["mydocker.server"] for s in services] == ["tiny"]
        alice.post_form("/services/catalogue/", "/services/catalogue/stop/tiny")
        alice.wait_until_gone("tiny")
        assert engine.services.list(filters={"label": f"mydocker.hub={hub.hub_id}"}) == []
