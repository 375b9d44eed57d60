"""Metadata that change while the hub runs: fetched in a process of its own, or asked for (MDQ)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from mydocker_hub.domain.errors import MydockerError, NotFound, Refused, Unavailable
from mydocker_hub.federation import metadata, refresh, signedmetadata
from mydocker_hub.federation.refresh import Federation, folder_of, mdq_url, read_status

from .conftest import MakeSite
from .documents import WEEK, Served, Signer, aggregate, entity, moment, server, template

pytestmark = pytest.mark.peers

A = "https://idp.univ-a.example/idp"
B = "https://idp.univ-b.example/idp"
DAY = timedelta(days=1)


@pytest.fixture
def served() -> Iterator[Served]:
    with server() as running:
        yield running


async def refusal(work: Any) -> str:
    with pytest.raises(MydockerError) as error:
        await work
    return error.value.code


async def until(federation: Federation, *, success: bool) -> None:
    for _ in range(600):
        if bool(federation.status.last_success) == success and federation.status.last_try:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(federation.status)


# --- an aggregate --------------------------------------------------------------------------------


async def test_in_the_background(
    served: Served, make_site: MakeSite, federation_key: Signer
) -> None:
    served.pages["/all.xml"] = federation_key.sign(
        aggregate(entity("univ-a", fr="Université d'Été"), entity("univ-b"))
    )
    site = make_site({"url": f"{served.url}/all.xml"})
    federation = Federation(site)
    assert await refusal(federation.idp(A)) == "federation-unavailable"
    assert await refusal(federation.search()) == "federation-unavailable"
    await federation.start()
    try:
        await until(federation, success=True)
        assert (await federation.idp(A)).name.fr == "Université d'Été"
        found = await federation.search("ete", "fr", 10, 0)
        assert [one.entity_id for one in found.institutions] == [A]
        assert (await federation.search("nowhere")).total == 0
        assert await refusal(federation.idp("https://nobody.example")) == (
            "sign-in-institution-unknown"
        )
    finally:
        await federation.close()
    status = read_status(folder_of(site))
    assert status == federation.status
    assert status.count == 2
    assert status.error == ""
    assert datetime.fromisoformat(status.valid_until) > datetime.now(UTC) + 6 * DAY
    wait = datetime.fromisoformat(status.next_try) - datetime.fromisoformat(status.last_try)
    assert 0.9 * 3600 - 1 <= wait.total_seconds() <= 1.1 * 3600 + 1
    # the next process of the hub has them at once, and knows how they are
    again = Federation(site)
    assert (await again.idp(A)).entity_id == A
    served.pages.clear()
    await again.start()
    try:
        assert again.status.last_success == status.last_success
    finally:
        await again.close()


async def test_asked_for_again_only_what_changed(
    served: Served, make_site: MakeSite, federation_key: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    served.pages["/all.xml"] = federation_key.sign(aggregate(entity("univ-a")))
    federation = Federation(make_site({"url": f"{served.url}/all.xml"}))
    assert await federation.refresh()
    assert "1 institutions were read" in caplog.text
    assert await federation.refresh()
    assert served.asked == ["/all.xml", "/all.xml unchanged"]
    assert "unchanged: 1 institutions" in caplog.text
    served.pages["/all.xml"] = federation_key.sign(aggregate(entity("univ-a"), entity("univ-b")))
    assert await federation.refresh()
    assert federation.status.count == 2
    # where the copy is gone, a note of what was fetched is worth nothing
    (federation.folder / "institutions.sqlite").unlink()
    assert await federation.refresh()
    assert served.asked[-1] == "/all.xml"
    assert federation.store.count == 2


async def test_the_last_good_copy_stays(
    served: Served,
    make_site: MakeSite,
    federation_key: Signer,
    stranger: Signer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served.pages["/all.xml"] = federation_key.sign(aggregate(entity("univ-a")))
    federation = Federation(make_site({"url": f"{served.url}/all.xml"}))
    assert await federation.refresh()
    good = federation.status

    def truncated(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(b"<")

    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"1000\r\n<")
        handler.close_connection = True

    evil = aggregate(entity("univ-a", sso="https://evil.example/sso"))
    bad: list[tuple[Any, str]] = [
        (stranger.sign(evil), "another certificate"),
        (aggregate(entity("univ-a"), signature="").encode(), "not signed"),
        (500, "answers 500"),
        (truncated, "in part"),
        (chunked, "in part"),
        (b"", "not XML"),
    ]
    for page, because in bad:
        served.pages["/all.xml"] = page
        caplog.clear()
        assert not await federation.refresh(), because
        assert because in federation.status.error
        assert federation.status.last_success == good.last_success
        assert federation.status.count == 1
        assert "stays in use until" in caplog.text
        wait = datetime.fromisoformat(federation.status.next_try) - datetime.now(UTC)
        assert wait < timedelta(seconds=70)
        assert (await federation.idp(A)).sso_url == "https://idp.univ-a.example/sso"
    # nobody is left in the folder, and no document
    assert {file.name for file in federation.folder.iterdir()} == {
        "institutions.sqlite",
        "fetched.json",
        "status.json",
    }
    later = datetime.now(UTC) + WEEK + DAY
    monkeypatch.setattr(metadata, "_now", lambda: later)
    assert await refusal(federation.idp(A)) == "federation-unavailable"
    caplog.clear()
    assert not await federation.refresh()
    assert "Nobody can sign in through the federation" in caplog.text
    assert federation.status.count == 0


async def test_no_server_there(make_site: MakeSite) -> None:
    federation = Federation(make_site({"url": "http://127.0.0.1:1/all.xml"}))
    assert not await federation.refresh()
    assert "does not answer" in federation.status.error
    assert await refusal(federation.idp(A)) == "federation-unavailable"


def test_too_large(
    served: Served, make_site: MakeSite, federation_key: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = federation_key.sign(aggregate(entity("univ-a")))
    served.pages["/all.xml"] = document
    federation = Federation(make_site({"url": f"{served.url}/all.xml"}))
    monkeypatch.setattr(signedmetadata, "MOST_BYTES", len(document))
    refresh.load_aggregate(federation.folder, federation.rules)
    monkeypatch.setattr(signedmetadata, "MOST_BYTES", len(document) - 1)
    (federation.folder / "fetched.json").unlink()
    with pytest.raises(signedmetadata.MetadataInvalid, match="MB"):
        refresh.load_aggregate(federation.folder, federation.rules)
    assert federation.store.count == 1


async def test_a_file(tmp_path: Path, make_site: MakeSite, federation_key: Signer) -> None:
    file = tmp_path / "aggregate.xml"
    federation = Federation(make_site())
    assert not await federation.refresh()
    assert "aggregate.xml" in federation.status.error
    file.write_bytes(federation_key.sign(aggregate(entity("univ-a"))))
    assert await federation.refresh()
    loaded = federation.store.about()
    assert await federation.refresh()
    assert federation.store.about() == loaded  # it did not change: nothing was done
    file.write_bytes(federation_key.sign(aggregate(entity("univ-a"), entity("univ-b"))))
    assert await federation.refresh()
    assert federation.status.count == 2


async def test_institutions_that_may_not_enter(
    tmp_path: Path, make_site: MakeSite, federation_key: Signer
) -> None:
    (tmp_path / "aggregate.xml").write_bytes(
        federation_key.sign(aggregate(entity("univ-a"), entity("univ-b", fr="B", en="B")))
    )
    federation = Federation(make_site(institutions=[{"entity_id": A}], others_may_enter=False))
    assert await federation.refresh()
    assert (await federation.idp(A)).entity_id == A
    assert (await federation.search()).total == 1
    with pytest.raises(Refused) as error:
        await federation.idp(B)
    assert error.value.code == "sign-in-institution-refused"
    assert error.value.params["provider"].fr == "B"


@pytest.mark.parametrize("entity_id", ["", "x" * 1025, "https://a\nb", A + "\0"])
async def test_names_that_cannot_be(
    entity_id: str, tmp_path: Path, make_site: MakeSite, federation_key: Signer
) -> None:
    (tmp_path / "aggregate.xml").write_bytes(federation_key.sign(aggregate(entity("univ-a"))))
    federation = Federation(make_site())
    assert await federation.refresh()
    assert await refusal(federation.idp(entity_id)) == "sign-in-institution-unknown"


async def test_the_loop_is_ended(make_site: MakeSite, served: Served) -> None:
    waiting = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        loop.call_soon_threadsafe(waiting.set)
        handler.rfile.read(1)  # until the other side goes

    served.pages["/all.xml"] = hang
    federation = Federation(make_site({"url": f"{served.url}/all.xml"}))
    await federation.start()
    await asyncio.wait_for(waiting.wait(), 30)
    await asyncio.wait_for(federation.close(), 10)
    assert federation.status.last_try == ""


async def test_start_without_xmlsec1(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    signedmetadata.xmlsec1.cache_clear()
    try:
        with pytest.raises(ValueError, match="apt-get install xmlsec1"):
            await Federation(make_site()).start()
    finally:
        signedmetadata.xmlsec1.cache_clear()


def test_status_of_nothing(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    (tmp_path / "status.json").write_text('{"x": 1}')
    assert read_status(tmp_path) is None
    (tmp_path / "status.json").write_text("[1")
    assert read_status(tmp_path) is None


# --- one entity at a time (MDQ) ------------------------------------------------------------------


class Mdq:
    """A metadata query server, and a hub that asks it."""

    def __init__(self, served: Served, make_site: MakeSite, signer: Signer) -> None:
        self.served = served
        self.make_site = make_site
        self.signer = signer
        self.federation = self.again()

    def again(self, **federation: Any) -> Federation:
        return Federation(self.make_site({"mdq": f"{self.served.url}/fer"}, **federation))

    def path(self, entity_id: str) -> str:
        return mdq_url("/fer", entity_id)

    def document(
        self, name: str = "univ-a", *, valid: timedelta | None = WEEK, cache: str = "", **more: Any
    ) -> str:
        until = f' validUntil="{moment(valid)}"' if valid is not None else ""
        keep = f' cacheDuration="{cache}"' if cache else ""
        return entity(
            name, attributes=f' ID="all"{until}{keep}', **{"signature": template(), **more}
        )

    def serve(self, name: str = "univ-a", **more: Any) -> None:
        self.served.pages[self.path(f"https://idp.{name}.example/idp")] = self.signer.sign(
            self.document(name, **more), "EntityDescriptor"
        )


@pytest.fixture
def mdq(served: Served, make_site: MakeSite, federation_key: Signer) -> Mdq:
    return Mdq(served, make_site, federation_key)


async def test_asked_for_once(mdq: Mdq) -> None:
    mdq.serve(fr="Été")
    idp = await mdq.federation.idp(A)
    assert idp.name.fr == "Été"
    assert idp.scopes == {"univ-a.example"}
    assert (await mdq.federation.idp(A)).sso_url == idp.sso_url
    assert (await mdq.again().idp(A)).sso_url == idp.sso_url  # after a restart too
    assert mdq.served.asked == ["/fer/entities/https%3A%2F%2Fidp.univ-a.example%2Fidp"]
    assert (await mdq.federation.search("ete")).total == 1


async def test_many_at_once_ask_once(mdq: Mdq) -> None:
    mdq.serve()
    idps = await asyncio.gather(*(mdq.federation.idp(A) for _ in range(20)))
    assert {idp.entity_id for idp in idps} == {A}
    assert len(mdq.served.asked) == 1


async def test_unknown_ones_are_remembered(mdq: Mdq, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        with pytest.raises(NotFound) as error:
            await mdq.federation.idp(A)
        assert error.value.code == "sign-in-institution-unknown"
    assert len(mdq.served.asked) == 1
    monkeypatch.setattr(refresh, "_MOST_UNKNOWN", 2)
    for name in "bcd":
        await refusal(mdq.federation.idp(f"https://idp.univ-{name}.example/idp"))
    await refusal(mdq.federation.idp(A))  # forgotten meanwhile: memory is bounded
    assert len(mdq.served.asked) == 5


async def test_fresh_for_as_long_as_it_says(mdq: Mdq, monkeypatch: pytest.MonkeyPatch) -> None:
    mdq.serve(cache="PT10M")
    idp = await mdq.federation.idp(A)
    assert timedelta(minutes=9) < idp.fresh_until - datetime.now(UTC) <= timedelta(minutes=10)
    later = datetime.now(UTC) + timedelta(minutes=11)
    monkeypatch.setattr(refresh, "_now", lambda: later)
    mdq.serve(sso="https://idp.univ-a.example/new")
    assert (await mdq.federation.idp(A)).sso_url == "https://idp.univ-a.example/new"
    assert len(mdq.served.asked) == 2


async def test_kept_while_the_server_is_down(mdq: Mdq, monkeypatch: pytest.MonkeyPatch) -> None:
    mdq.serve(cache="PT10M", valid=DAY)
    await mdq.federation.idp(A)
    later = datetime.now(UTC) + timedelta(minutes=11)
    monkeypatch.setattr(refresh, "_now", lambda: later)
    mdq.served.pages[mdq.path(A)] = 503
    assert (await mdq.federation.idp(A)).entity_id == A
    much_later = datetime.now(UTC) + 2 * DAY
    monkeypatch.setattr(refresh, "_now", lambda: much_later)
    monkeypatch.setattr(metadata, "_now", lambda: much_later)
    with pytest.raises(Unavailable) as error:
        await mdq.federation.idp(A)
    assert error.value.code == "federation-unavailable"


async def test_gone_from_the_federation(mdq: Mdq, monkeypatch: pytest.MonkeyPatch) -> None:
    mdq.serve(cache="PT10M")
    await mdq.federation.idp(A)
    later = datetime.now(UTC) + timedelta(minutes=11)
    monkeypatch.setattr(refresh, "_now", lambda: later)
    mdq.served.pages.clear()
    assert await refusal(mdq.federation.idp(A)) == "sign-in-institution-unknown"
    assert (await mdq.federation.search()).total == 0


async def test_mdq_attacks(mdq: Mdq, stranger: Signer, federation_key: Signer) -> None:
    async def answer_to(document: bytes | str) -> str:
        federation = mdq.again()
        (federation.folder / "institutions.sqlite").unlink(missing_ok=True)
        body = document.encode() if isinstance(document, str) else document
        mdq.served.pages[mdq.path(A)] = body
        try:
            return (await federation.idp(A)).sso_url
        except Unavailable as error:
            return error.log_detail

    def signed(name: str = "univ-a", *, by: Signer = federation_key, **more: Any) -> bytes:
        return by.sign(mdq.document(name, **more), "EntityDescriptor")

    honest = signed()
    assert await answer_to(honest) == "https://idp.univ-a.example/sso"
    assert "not signed" in await answer_to(mdq.document(signature=""))
    assert "another certificate" in await answer_to(signed(by=stranger))
    edited = honest.replace(b"https://idp.univ-a.example/sso", b"https://evil.example/sso")
    assert "is wrong" in await answer_to(edited)
    assert "of another entity" in await answer_to(signed("univ-b"))
    assert "does not say until" in await answer_to(signed(valid=None))
    assert "it was valid until" in await answer_to(signed(valid=-DAY))
    assert "28 days ahead" in await answer_to(signed(valid=30 * DAY))
    whole = federation_key.sign(aggregate(entity("univ-a")))
    assert "not the document of one entity" in await answer_to(whole)
    bomb = honest.decode().split("?>\n", 1)[1]
    assert "document type" in await answer_to(f'<!DOCTYPE x [<!ENTITY a "a">]>{bomb}')
    assert "not XML" in await answer_to("")
    assert "too large" in await answer_to(b"x" * (refresh._LARGEST_ENTITY + 1))
    assert await answer_to(honest) == "https://idp.univ-a.example/sso"


async def test_older_than_ours_by_mdq(mdq: Mdq, monkeypatch: pytest.MonkeyPatch) -> None:
    mdq.serve(valid=3 * DAY, cache="PT1M")
    older = dict(mdq.served.pages)
    mdq.serve(valid=5 * DAY, cache="PT1M", sso="https://idp.univ-a.example/new")
    assert (await mdq.federation.idp(A)).sso_url == "https://idp.univ-a.example/new"
    later = datetime.now(UTC) + timedelta(minutes=2)
    monkeypatch.setattr(refresh, "_now", lambda: later)
    mdq.served.pages.update(older)
    assert (await mdq.federation.idp(A)).sso_url == "https://idp.univ-a.example/new"
    assert len(mdq.served.asked) == 2


async def test_the_named_ones_are_listed(mdq: Mdq) -> None:
    mdq.serve("univ-a", fr="A")
    mdq.serve("univ-b", fr="B")
    mdq.serve("univ-c", fr="C")
    refused = {"entity_id": "https://idp.univ-c.example/idp", "allow": False}
    federation = mdq.again(institutions=[{"entity_id": A}, {"entity_id": B}, refused])
    await federation.start()
    try:
        await until(federation, success=True)
    finally:
        await federation.close()
    found = await federation.search()
    assert [one.name.fr for one in found.institutions] == ["A", "B"]
    assert federation.status.count == 2
    assert await refusal(federation.idp(refused["entity_id"])) == "sign-in-institution-refused"
    assert len(mdq.served.asked) == 2  # who may not enter is not asked for


async def test_only_the_named_ones_are_asked_for(mdq: Mdq) -> None:
    mdq.serve()
    closed = mdq.again(institutions=[{"entity_id": B}], others_may_enter=False)
    assert await refusal(closed.idp(A)) == "sign-in-institution-refused"
    assert mdq.served.asked == []
    by_scope = mdq.again(institutions=[{"scope": "univ-a.example"}], others_may_enter=False)
    assert (await by_scope.idp(A)).entity_id == A
    by_other_scope = mdq.again(institutions=[{"scope": "univ-b.example"}], others_may_enter=False)
    assert await refusal(by_other_scope.idp(A)) == "sign-in-institution-refused"


async def test_a_named_one_that_is_not_known(mdq: Mdq) -> None:
    mdq.serve("univ-b")
    federation = mdq.again(institutions=[{"entity_id": A}, {"entity_id": B}])
    assert not await federation.refresh()
    assert f"{A} is not known" in federation.status.error
    assert federation.status.count == 1


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://mdq.example/fer", "https://mdq.example/fer/entities/urn%3Ax%2Fy%3F%C3%A9"),
        ("https://mdq.example/fer/", "https://mdq.example/fer/entities/urn%3Ax%2Fy%3F%C3%A9"),
        ("https://mdq.example/entities", "https://mdq.example/entities/urn%3Ax%2Fy%3F%C3%A9"),
        ("https://mdq.example/entities/", "https://mdq.example/entities/urn%3Ax%2Fy%3F%C3%A9"),
        ("https://md.example/{sha1}.xml", "https://md.example/SHA1.xml"),
    ],
)
def test_mdq_url(base: str, url: str) -> None:
    name = "urn:x/y?é"
    digest = hashlib.sha1(name.encode()).hexdigest()
    assert mdq_url(base, name) == url.replace("SHA1", digest)


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("PT1H", 3600),
        ("PT90M30.5S", 5430),
        ("P1DT1H", 86400),
        ("PT1S", 60),
        ("P", None),
        ("PT", None),
        ("", None),
        (None, None),
        ("-PT1H", None),
        ("P1Y", None),
        ("PT1H\n", None),
    ],
)
def test_cache_duration(duration: str | None, seconds: int | None) -> None:
    assert signedmetadata._seconds(duration) == seconds


def test_notes_of_another_source_are_not_read(tmp_path: Path) -> None:
    note = tmp_path / "fetched.json"
    for text in ('{"source": "b", "etag": "x"}', "[]", "{", '{"etag": "x"}', '"x"'):
        note.write_text(text)
        assert refresh._read_note(note, "a") == {}
    note.write_text(json.dumps({"source": "a", "etag": "x"}))
    assert refresh._read_note(note, "a") == {"etag": "x"}
