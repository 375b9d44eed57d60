"""The workshop's pages as teachers use them, without a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests
import segno
import zxingcpp

from mydocker_hub.hubapi import RunningServer
from mydocker_hub.services.catalogue.workshop_pages import (
    end_of,
    people_rows,
    qr_code,
    shown_end,
    suggested_name,
)
from mydocker_hub.store.workshop import Participant
from mydocker_hub.web.i18n import SITE_ZONE
from tests.hub import RunningHub, Visitor, text_of

from ..workshop_hub import PREFIX, WORKSHOP, api, hub, make  # noqa: F401

real = [pytest.mark.hub, pytest.mark.engine]
BELOW = ["", "/duplicate", "/history", "/history/1", "/sharing", "/links", "/people"]
BELOW += ["/people/log", "/delete", "/ask"]


# --- rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slug", "copy"),
    [
        ("python", "python-2"),
        ("python-2", "python-3"),
        ("python-9", "python-10"),
        ("python-2026", "python-2026-2"),
        ("a" * 30, "a" * 28 + "-2"),
        ("a" * 27 + "-bc", "a" * 27 + "-2"),
    ],
)
def test_the_name_of_a_copy(slug: str, copy: str) -> None:
    assert suggested_name(slug) == copy
    assert len(copy) <= 30


def test_a_link_lasts_until_the_end_of_its_day() -> None:
    assert end_of("") is None
    assert shown_end(None) is None
    end = end_of("2026-10-25")  # the day on which clocks go back: 25 hours long
    assert end == datetime(2026, 10, 26, tzinfo=SITE_ZONE)
    assert end - datetime(2026, 10, 25, tzinfo=SITE_ZONE).astimezone(UTC) == timedelta(hours=25)
    assert shown_end(end) == end - timedelta(minutes=1)
    evening = datetime(2026, 10, 25, 18, tzinfo=SITE_ZONE)
    assert shown_end(evening) == evening
    for wrong in ("tomorrow", "2026-02-30", "9999-12-31", "1999-12-31", "0001-01-01"):
        with pytest.raises(ValueError, match=r"isoformat|day is out|not between"):
            end_of(wrong)


ADDRESS = "https://mydocker.example.org/prefix/join/TinyTinyTinyTinyTiny"


def modules(svg: str) -> list[list[bool]]:
    """The dark modules of a drawing of `qr_code`, from its path of horizontal strokes."""
    size = int(re.search(r'viewBox="0 0 (\d+) (\d+)"', svg)[1])  # type: ignore[index]
    grid = [[False] * size for _ in range(size)]
    path = re.search(r'stroke="#000" d="([^"]+)"', svg)
    assert path, svg[:300]
    x = y = 0.0
    for command, arguments in re.findall(r"([Mmh])([-\d. ]+)", path[1]):
        numbers = [float(one) for one in re.findall(r"-?(?:\d*\.\d+|\d+)", arguments)]
        if command == "h":
            for column in range(int(x), int(x + numbers[0])):
                grid[int(y)][column] = True
            x += numbers[0]
        else:
            x, y = (numbers[0], numbers[1]) if command == "M" else (x + numbers[0], y + numbers[1])
    return grid


def test_the_qr_code_is_read_again() -> None:
    svg = qr_code(ADDRESS)
    assert svg.startswith("<svg ")
    assert "<script" not in svg
    grid = modules(svg)
    expected = segno.make(ADDRESS, error="q", micro=False)
    assert [list(map(bool, row)) for row in expected.matrix_iter(border=4)] == grid
    assert not any(grid[row][column] for row in range(4) for column in range(len(grid)))
    pixels = b"".join(
        bytes(0 if dark else 255 for dark in row for _ in range(4)) * 4 for row in grid
    )
    side = 4 * len(grid)
    image = memoryview(pixels).cast("B", (side, side))
    assert [one.text for one in zxingcpp.read_barcodes(image)] == [ADDRESS]


def test_who_runs_it_now_comes_first() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def participant(name: str, hours: int | None) -> Participant:
        last = None if hours is None else noon - timedelta(hours=hours)
        return Participant(name, name.title(), noon - timedelta(days=9), last, False)

    def server(user: str, *, trial: bool = False) -> RunningServer:
        return RunningServer(user, "lab", "running", noon, noon, 1, trial)

    rows = people_rows(
        [participant("zoe", None), participant("ann", 5), participant("ben", 1)],
        [server("zoe"), server("tom", trial=True)],
    )
    assert [row.name for row in rows] == ["tom", "zoe", "ben", "ann"]
    assert [len(row.servers) for row in rows] == [1, 1, 0, 0]
    assert rows[0].participant is None
    assert rows[1].display_name == "Zoe"


# --- a real hub -----------------------------------------------------------------------------------


def signed_in(hub: RunningHub, name: str) -> Iterator[Visitor]:  # noqa: F811
    with hub.signed_in(name) as visitor:
        visitor.session.headers["Accept-Language"] = "en"
        visitor.get(PREFIX)
        yield visitor


@pytest.fixture(scope="module")
def bob(hub: RunningHub) -> Iterator[Visitor]:  # noqa: F811
    yield from signed_in(hub, "bob")


@pytest.fixture(scope="module")
def dora(hub: RunningHub) -> Iterator[Visitor]:  # noqa: F811
    for visitor in signed_in(hub, "dora"):
        make(visitor)  # her account begins with something that she does
        yield visitor


@pytest.fixture(scope="module")
def carol(hub: RunningHub) -> Iterator[Visitor]:  # noqa: F811
    yield from signed_in(hub, "carol")


@pytest.fixture(scope="module")
def emil(hub: RunningHub) -> Iterator[Visitor]:  # noqa: F811
    yield from signed_in(hub, "emil")


def code_of(answer: requests.Response) -> str:
    match = re.search(r"<code>([a-z-]+)</code>", answer.text)
    assert match, answer.text[:3000]
    return match[1]


def version_of(visitor: Visitor, slug: str) -> str:
    return str(api(visitor, "GET", f"/environments/{slug}").headers["ETag"]).strip('"')


def post(visitor: Visitor, path: str, **fields: str) -> requests.Response:
    """Send a form of the workshop, with a token from a page that everybody has."""
    return visitor.post_form(f"{PREFIX}environments/tiny", path, **fields)


class TestPages:
    pytestmark = real

    @pytest.mark.parametrize("below", BELOW)
    def test_students_are_refused_before_anything_is_looked_up(
        self, emil: Visitor, bob: Visitor, below: str
    ) -> None:
        for slug in ("tiny", "there-is-none"):
            for answer in (
                emil.get(f"{WORKSHOP}/{slug}{below}"),
                post(emil, f"{WORKSHOP}/{slug}{below}", action="archive", version="1"),
            ):
                assert answer.status_code == 403
                assert code_of(answer) == "not-allowed"

    def test_students_see_no_way_in(self, emil: Visitor, bob: Visitor) -> None:
        for page in (WORKSHOP, f"{PREFIX}workshop/requests"):
            assert code_of(emil.get(page)) == "not-allowed"
        for page in (PREFIX, f"{PREFIX}environments/tiny", "/hub/home"):
            assert "/workshop/" not in emil.get(page).text
            assert 'href="/services/catalogue/workshop/environments"' in bob.get(page).text

    @pytest.mark.parametrize("below", BELOW)
    def test_what_a_teacher_may_not_see_is_not_there(
        self, bob: Visitor, dora: Visitor, below: str
    ) -> None:
        slug = make(bob)
        assert bob.get(f"{WORKSHOP}/{slug}{below}").status_code in {200, 404}  # no log of nobody
        for answer in (
            dora.get(f"{WORKSHOP}/{slug}{below}"),
            post(dora, f"{WORKSHOP}/{slug}{below}", action="archive", version="1", key="x"),
        ):
            if answer.request.method == "POST" and answer.status_code in {404, 405}:
                continue  # nothing is sent there, or not this
            assert answer.status_code == 404, answer.url
            assert code_of(answer) == "environment-unknown"

    def test_a_colleague_who_may_only_view(self, bob: Visitor, dora: Visitor) -> None:
        slug = make(bob)
        answer = post(bob, f"{WORKSHOP}/{slug}/sharing", action="give", name="dora", right="view")
        assert "The right was given." in text_of(answer)
        page = dora.get(f"{WORKSHOP}/{slug}")
        assert page.status_code == 200
        assert 'id="ask"' in page.text
        assert 'id="edit"' not in page.text
        for below in ("/history", "/links", "/people", "/delete", "/sharing"):
            assert code_of(dora.get(f"{WORKSHOP}/{slug}{below}")) == "not-allowed"
        for action in ("archive", "publish", "withdraw", "unarchive", "status"):
            answer = post(dora, f"{WORKSHOP}/{slug}", action=action, version="1", status="draft")
            assert answer.status_code == 403, action
        for action in ("give", "take", "transfer"):
            fields = {"action": action, "name": "bob", "right": "view"}
            answer = post(dora, f"{WORKSHOP}/{slug}/sharing", **fields)
            assert answer.status_code == 403, action
        assert version_of(bob, slug) == "1"

    def test_the_list(self, bob: Visitor) -> None:
        slug = make(bob, title={"fr": "Zèbre rayé", "en": "Striped zebra"})
        page = bob.get(f"{WORKSHOP}?q=zebre&show=mine")
        assert f'data-slug="{slug}"' in page.text
        assert "1 environment" in text_of(page)
        assert f'data-slug="{slug}"' not in bob.get(f"{WORKSHOP}?q=zebre&status=draft").text
        assert f'data-slug="{slug}"' not in bob.get(f"{WORKSHOP}?q=zebre&show=shared").text
        assert f'data-slug="{slug}"' not in bob.get(f"{WORKSHOP}?q=zebre&show=public").text
        assert f'data-slug="{slug}"' in bob.get(f"{WORKSHOP}?q=zebre&show=all&sort=title").text
        assert "No environment was found" in text_of(bob.get(f"{WORKSHOP}?q=xyzzy"))
        odd = bob.get(f"{WORKSHOP}?q=zebre&show=nonsense&status=x&sort=y&page=0")
        assert f'data-slug="{slug}"' in odd.text
        assert "There is no page 9" in text_of(bob.get(f"{WORKSHOP}?q=zebre&page=9"))

    def test_an_empty_list_says_what_to_do(self, carol: Visitor) -> None:
        page = text_of(carol.get(WORKSHOP))
        assert "Make your first environment" in page
        assert "Copy one of the catalogue" in page

    def test_archive_and_back(self, bob: Visitor) -> None:
        slug = make(bob, status="test")
        answer = post(bob, f"{WORKSHOP}/{slug}", action="archive", version="1")
        assert "is archived" in text_of(answer)
        answer = post(bob, f"{WORKSHOP}/{slug}", action="unarchive", version="1")
        assert (answer.status_code, code_of(answer)) == (412, "changed-meanwhile")
        post(bob, f"{WORKSHOP}/{slug}", action="unarchive", version="2")
        assert api(bob, "GET", f"/environments/{slug}").json()["definition"]["status"] == "test"
        answer = post(bob, f"{WORKSHOP}/{slug}", action="status", status="archived", version="3")
        assert answer.status_code == 422
        post(bob, f"{WORKSHOP}/{slug}", action="status", status="draft", version="3")
        assert api(bob, "GET", f"/environments/{slug}").json()["definition"]["status"] == "draft"
        assert post(bob, f"{WORKSHOP}/{slug}", action="burn", version="4").status_code == 404

    def test_only_administrators_publish(self, bob: Visitor, carol: Visitor) -> None:
        slug = make(bob)
        answer = post(bob, f"{WORKSHOP}/{slug}", action="publish", version="1")
        assert answer.status_code == 422
        post(carol, f"{WORKSHOP}/{slug}", action="publish", version="1")
        assert api(bob, "GET", f"/environments/{slug}").json()["public"] is True
        # who used it meanwhile goes on starting it: what runs then is not its owner's to change
        assert 'id="withdraw"' not in bob.get(f"{WORKSHOP}/{slug}").text
        answer = post(bob, f"{WORKSHOP}/{slug}", action="withdraw", version="2")
        assert answer.status_code == 422
        assert 'id="withdraw"' in carol.get(f"{WORKSHOP}/{slug}").text
        post(carol, f"{WORKSHOP}/{slug}", action="withdraw", version="2")
        assert api(bob, "GET", f"/environments/{slug}").json()["public"] is False

    def test_a_restored_version_does_not_slip_into_the_public_catalogue(
        self, bob: Visitor, carol: Visitor
    ) -> None:
        slug = make(bob, command="sh -c 'echo SECOND'", status="draft")
        first = api(bob, "GET", f"/environments/{slug}").json()["definition"]
        harmless = {**first, "command": "sleep 5", "public": True}
        answer = api(carol, "PUT", f"/environments/{slug}", harmless, etag='"1"')
        assert answer.status_code == 200, answer.text
        answer = post(bob, f"{WORKSHOP}/{slug}/history/1", version="2")
        assert answer.status_code == 422
        now = api(bob, "GET", f"/environments/{slug}").json()["definition"]
        assert now["command"] == "sleep 5"

    def test_copies(self, bob: Visitor, dora: Visitor) -> None:
        slug = make(bob)
        post(bob, f"{WORKSHOP}/{slug}/sharing", action="give", name="dora", right="view")
        form = dora.get(f"{WORKSHOP}/{slug}/duplicate")
        assert f'value="{suggested_name(slug)}"' in form.text
        kept = post(
            dora, f"{WORKSHOP}/{slug}/duplicate", title_fr="", title_en="  ", slug="Not a name"
        )
        assert kept.status_code == 422
        assert 'value="Not a name"' in kept.text
        assert re.search(r'aria-describedby="[^"]*problem-slug', kept.text)
        taken = post(dora, f"{WORKSHOP}/{slug}/duplicate", title_fr="Moi", title_en="", slug=slug)
        assert taken.status_code == 422
        assert "choose another" in text_of(taken)
        copy = f"{slug}-of-dora"[:30]
        done = post(dora, f"{WORKSHOP}/{slug}/duplicate", title_fr="Moi", title_en="", slug=copy)
        assert "The copy is yours" in text_of(done)
        assert f'href="{WORKSHOP}/{slug}"' in done.text
        made = api(dora, "GET", f"/environments/{copy}").json()
        assert made["title"] == {"fr": "Moi", "en": "Moi"}
        assert (made["status"], made["public"]) == ("draft", False)
        post(bob, f"{WORKSHOP}/{slug}/sharing", action="take", name="dora")
        again = dora.get(f"{WORKSHOP}/{copy}")
        assert "not open to you" in text_of(again)

    def test_history_in_words(self, bob: Visitor) -> None:
        slug = make(bob)
        before = api(bob, "GET", f"/environments/{slug}").json()["definition"]
        changed = {**before, "lifetime": {"idle_limit": "PT45M"}, "tags": ["a", "b"]}
        changed["resources"] = {**before["resources"], "memory_bytes": 2_000_000_000}
        assert api(bob, "PUT", f"/environments/{slug}", changed, etag='"1"').ok
        page = text_of(bob.get(f"{WORKSHOP}/{slug}/history"))
        for words in ("Version 2", "64 MB", "2 GB", "45 minutes", "a, b", "nothing", "bob"):
            assert words in page
        old = bob.get(f"{WORKSHOP}/{slug}/history/1")
        assert "Restore this version" in text_of(old)
        late = post(bob, f"{WORKSHOP}/{slug}/history/1", version="1")
        assert code_of(late) == "changed-meanwhile"
        done = post(bob, f"{WORKSHOP}/{slug}/history/1", version="2")
        assert "restored" in text_of(done)
        now = api(bob, "GET", f"/environments/{slug}").json()["definition"]
        assert now == before
        assert bob.get(f"{WORKSHOP}/{slug}/history/99").status_code == 404

    def test_sharing(self, bob: Visitor, dora: Visitor) -> None:
        slug = make(bob)
        sharing = f"{WORKSHOP}/{slug}/sharing"
        found = bob.get(f"{sharing}?q=dor")
        assert 'data-name="dora"' in found.text
        assert "at least three letters" in text_of(bob.get(f"{sharing}?q=do"))
        assert "Nobody was found for “xyzzy”" in text_of(bob.get(f"{sharing}?q=xyzzy"))
        last = post(bob, sharing, action="take", name="bob")
        assert last.status_code == 409
        assert "Somebody has to own this" in text_of(last)
        nobody = post(bob, sharing, action="give", name="nobody", right="edit")
        assert nobody.status_code == 404
        assert "There is no account “nobody”" in text_of(nobody)
        assert post(bob, sharing, action="give", name="dora", right="all").status_code == 422
        post(bob, sharing, action="give", name="dora", right="edit")
        assert 'id="edit"' in dora.get(f"{WORKSHOP}/{slug}").text
        gone = post(dora, sharing, action="take", name="dora")  # one may always go
        assert "The right was taken away." in text_of(gone)
        assert dora.get(f"{WORKSHOP}/{slug}").status_code == 404
        mine = post(bob, sharing, action="transfer", name="bob", keep="view")
        assert mine.status_code == 422
        assert "owns it already" in text_of(mine)
        over = post(bob, sharing, action="transfer", name="dora", keep="view")
        assert "handed over" in text_of(over)
        assert 'id="delete"' in dora.get(f"{WORKSHOP}/{slug}").text
        assert 'id="edit"' not in bob.get(f"{WORKSHOP}/{slug}").text

    def test_links(self, bob: Visitor, emil: Visitor) -> None:
        slug = make(bob)
        links = f"{WORKSHOP}/{slug}/links"
        assert "There is no link yet" in text_of(bob.get(links))
        for until, words in (("soon", "write a day"), ("2020-01-01", "a later day")):
            wrong = post(bob, links, action="add", label="Group <b>", until=until)
            assert wrong.status_code == 422
            assert words in text_of(wrong)
            assert 'value="Group &lt;b&gt;"' in wrong.text
        made = post(bob, links, action="add", label="Group A", until="2199-12-30")
        assert "The join link was made." in text_of(made)
        match = re.search(r'data-key="([A-Za-z0-9]{20})"', made.text)
        assert match
        key = match[1]
        assert f'value="{bob.hub.url}/join/{key}"' in made.text
        room = bob.get(f"{links}/{key}")
        assert f"{bob.hub.url}/join/{key}" in text_of(room)
        drawing = re.search(r"<svg .*</svg>", room.text, re.DOTALL)
        assert drawing
        expected = segno.make(f"{bob.hub.url}/join/{key}", error="q", micro=False)
        shown = [list(map(bool, row)) for row in expected.matrix_iter(border=4)]
        assert modules(drawing[0]) == shown
        assert key not in bob.hub.log()  # a key in a log lets in whoever reads it
        emil.get(f"/join/{key}")
        try:
            assert "1 person came in by it" in text_of(bob.get(links))
            gone = post(bob, links, action="revoke", key=key)
            assert "withdrawn" in text_of(gone)
            assert "This link lets nobody in any more" in text_of(bob.get(f"{links}/{key}"))
            assert code_of(bob.get(f"{links}/{'x' * 20}")) == "join-link-unknown"
            assert post(bob, links, action="revoke", key="x" * 20).status_code == 404
        finally:
            emil.wait_until_ready(slug)
            emil.stop_and_wait(slug)

    def test_people_who_run_it(self, bob: Visitor, dora: Visitor, emil: Visitor) -> None:
        slug = make(bob, command="sh -c 'echo hello from inside; exec httpd -f -p 8888 -h /tmp'")
        people = f"{WORKSHOP}/{slug}/people"
        assert "Nobody has come in yet" in text_of(bob.get(people))
        made = post(bob, f"{WORKSHOP}/{slug}/links", action="add", label="", until="")
        key = re.search(r'data-key="([A-Za-z0-9]{20})"', made.text)
        assert key
        emil.get(f"/join/{key[1]}")
        emil.wait_until_ready(slug)
        page = bob.get(people)
        assert 'data-name="emil"' in page.text
        assert "1 server runs now" in text_of(page)
        assert "hello from inside" in text_of(bob.get(f"{people}/log?user=emil"))
        assert code_of(bob.get(f"{WORKSHOP}/closed/people/log?user=emil")) == "environment-unknown"
        refused = post(bob, f"{WORKSHOP}/{slug}/delete", version="1", sure="1")
        assert refused.status_code == 409
        assert "emil" in text_of(refused)
        assert api(bob, "GET", f"/environments/{slug}").ok
        other = make(bob)
        post(bob, f"{WORKSHOP}/{other}/people", action="stop", user="emil")
        assert emil.server(slug) is not None  # it is of another environment
        stopped = post(bob, people, action="stop", user="emil")
        assert "is being stopped" in text_of(stopped)
        emil.wait_until_gone(slug)
        post(bob, people, action="stop", user="emil")  # by another click
        page = text_of(bob.get(f"{WORKSHOP}/{slug}/delete"))
        assert "1 person loses the card" in page
        assert "1 personal folder of this environment is kept" in page
        assert "1 join link ends" in page
        unsure = post(bob, f"{WORKSHOP}/{slug}/delete", version="1")
        assert unsure.status_code == 422
        gone = post(bob, f"{WORKSHOP}/{slug}/delete", version="1", sure="1")
        assert "The environment was deleted" in text_of(gone)
        assert bob.get(f"{WORKSHOP}/{slug}").status_code == 404

    def test_requests(self, bob: Visitor, dora: Visitor, carol: Visitor) -> None:
        slug = make(bob)
        api(carol, "GET", f"/environments/{slug}")
        post(carol, f"{WORKSHOP}/{slug}", action="publish", version="1")
        sheet = dora.get(f"{PREFIX}environments/{slug}").text
        assert f'href="{WORKSHOP}/{slug}/ask?kind=access"' in sheet
        assert f'href="{WORKSHOP}/{slug}/duplicate"' in sheet
        assert f'href="{WORKSHOP}/{slug}"' in bob.get(f"{PREFIX}environments/{slug}").text
        empty = post(dora, f"{WORKSHOP}/{slug}/ask", kind="access", message="   ")
        assert empty.status_code == 422
        long = post(dora, f"{WORKSHOP}/{slug}/ask", kind="access", message="x" * 2001)
        assert long.status_code == 422
        assert "x" * 2001 in long.text
        words = "For my course\nplease <b>"
        sent = post(dora, f"{WORKSHOP}/{slug}/ask", kind="access", message=words)
        assert "not answered yet" in text_of(sent)
        assert "please &lt;b&gt;" in sent.text
        requests_page = f"{PREFIX}workshop/requests"
        waiting = bob.get(requests_page)
        number = re.search(r'data-request="(\d+)"', waiting.text)
        assert number
        assert 'id="waiting"' in bob.get(WORKSHOP).text
        fields = {"id": number[1], "right": "edit"}
        foreign = post(dora, requests_page, decision="accept", text="", **fields)
        assert foreign.status_code == 404  # nobody answers their own
        mute = post(bob, requests_page, decision="decline", text="", **fields)
        assert mute.status_code == 422
        assert "say why not" in text_of(mute)
        done = post(bob, requests_page, decision="accept", text="Gladly", **fields)
        assert "The request was accepted." in text_of(done)
        again = post(bob, requests_page, decision="accept", text="", **fields)
        assert again.status_code in {404, 409}
        answered = text_of(dora.get(requests_page))
        assert "accepted" in answered
        assert "Gladly" in answered
        assert 'id="edit"' in dora.get(f"{WORKSHOP}/{slug}").text

    def test_a_proposal_for_the_catalogue(
        self, bob: Visitor, dora: Visitor, carol: Visitor
    ) -> None:
        slug = make(bob)
        post(bob, f"{WORKSHOP}/{slug}/sharing", action="give", name="dora", right="view")
        answer = post(dora, f"{WORKSHOP}/{slug}/ask", kind="publish", message="good")
        assert answer.status_code == 403  # it is for who works on it
        post(bob, f"{WORKSHOP}/{slug}/ask", kind="publish", message="Good for all")
        requests_page = f"{PREFIX}workshop/requests"
        assert "Good for all" not in text_of(dora.get(requests_page))
        page = carol.get(requests_page).text
        part = page[: page.index("Good for all")]
        number = re.findall(r'data-request="(\d+)"', part)[-1]
        part = carol.get(requests_page).text.split(f'data-request="{number}"')[1]
        seen = re.search(r'name="version" value="(\d+)"', part)
        assert seen
        assert seen[1] == "1"
        first = api(bob, "GET", f"/environments/{slug}").json()["definition"]
        api(bob, "PUT", f"/environments/{slug}", {**first, "command": "sleep 7"}, etag='"1"')
        fields = {"id": number, "decision": "accept", "text": "Welcome"}
        refused = post(carol, requests_page, version="1", **fields)
        assert refused.status_code == 412
        assert "Somebody changed this" in text_of(refused)
        assert ">Welcome</textarea>" in refused.text
        assert api(bob, "GET", f"/environments/{slug}").json()["public"] is False
        post(carol, requests_page, version="2", **fields)
        assert api(bob, "GET", f"/environments/{slug}").json()["public"] is True

    def test_forms_of_other_sites_do_nothing(self, bob: Visitor) -> None:
        slug = make(bob)
        for below, fields in {
            "": {"action": "archive"},
            "/delete": {"sure": "1"},
            "/sharing": {"action": "transfer", "name": "dora"},
        }.items():
            answer = bob.session.post(
                f"{bob.hub.url}{WORKSHOP}/{slug}{below}",
                data={"version": "1", **fields},
                headers={"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
                timeout=30,
            )
            assert answer.status_code == 403
        assert version_of(bob, slug) == "1"
