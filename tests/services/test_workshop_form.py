"""The form of an environment through a running hub: what it saves, keeps, refuses and merges."""

from __future__ import annotations

import html
import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.hub import RunningHub, Visitor, text_of

from .conftest import Asker, definition
from .lti import PREFIX, code_of

pytestmark = [pytest.mark.hub, pytest.mark.engine]

HERE = f"{PREFIX}workshop/environments"
NEW = f"{HERE}/new"


def visitors(name: str) -> Any:
    @pytest.fixture(scope="module", name=f"{name}_here")
    def fixture(hub: RunningHub) -> Iterator[Visitor]:
        with hub.signed_in(name) as visitor:
            visitor.get(PREFIX)
            yield visitor

    return fixture


alice_here = visitors("alice")
bob_here = visitors("bob")
carol_here = visitors("carol")


def fields_of(page: str) -> dict[str, str]:
    """What a browser would send of the form on a page, as it was loaded."""
    form = page.partition('id="environment-form"')[2].partition("</form>")[0]
    form = re.sub(r"<template.*?</template>", "", form, flags=re.DOTALL)
    sent: dict[str, str] = {}
    for tag in re.findall(r"<input\b[^>]*>", form):
        name = re.search(r'\sname="([^"]*)"', tag)
        kind = re.search(r'type="(\w+)"', tag)
        value = re.search(r'\svalue="([^"]*)"', tag)
        chosen = (
            kind is None or kind[1] not in {"radio", "checkbox"} or re.search(r"\schecked\b", tag)
        )
        if name and chosen:
            sent[name[1]] = html.unescape(value[1] if value else "")
    for name, text in re.findall(
        r'<textarea\b[^>]*?\sname="([^"]*)"[^>]*>\n?(.*?)</textarea>', form, re.DOTALL
    ):
        sent[name] = html.unescape(text)
    for name, options in re.findall(
        r'<select\b[^>]*?\sname="([^"]*)"[^>]*>(.*?)</select>', form, re.DOTALL
    ):
        values = re.findall(r'<option value="([^"]*)"( selected)?', options)
        chosen_value = next((value for value, selected in values if selected), values[0][0])
        sent[name] = html.unescape(chosen_value)
    return sent


def send(visitor: Visitor, path: str, fields: dict[str, str], **changes: str) -> requests.Response:
    answer = visitor.session.post(
        f"{visitor.hub.url}{path}",
        data={"do": "save", **fields, **changes},
        headers={"Accept-Language": "en"},
        timeout=60,
        allow_redirects=False,
    )
    answer.encoding = "utf-8"
    return answer


def form(visitor: Visitor, path: str, language: str = "en") -> dict[str, str]:
    page = visitor.get(path, headers={"Accept-Language": language})
    assert page.status_code == 200, text_of(page)[:2000]
    return fields_of(page.text)


def title() -> str:
    return f"Étude {secrets.token_hex(4)}"


def problems_of(page: requests.Response) -> str:
    """The summary and what is beside the fields."""
    return " ".join(re.findall(r'class="field-problem" id="([^"]+)"', page.text))


@pytest.fixture
def made(bob: Asker) -> str:
    """An environment of bob's; its name."""
    sent = definition(
        sheet={
            "description": {"fr": "Bonjour", "en": "Hello"},
            "notice": "Beware",
            "software": ["NumPy", "SciPy"],
            "courses": ["Info 101"],
            "maintainers": [{"name": "Ada", "email": "ada@example.org"}, {"name": "Alan"}],
            "links": [{"title": {"fr": "Cours", "en": "Course"}, "url": "https://example.org/"}],
        },
        tags=["python", "r"],
        image="mydocker-test/busybox:1",
        command="jupyter lab --port=8888",
        variables={"A": "1", "B": "two\nlines", "C": '"'},
        interfaces=[
            {"name": "lab", "title": {"fr": "Labo", "en": "Lab"}, "kind": "web", "path": "/lab"},
            {"name": "app", "title": "App", "kind": "web", "port": 8080, "prefix": "strip",
             "sign_in": "basic"},
        ],
        resources={"cpu_limit": 1.5, "cpu_share": 0.25, "memory_bytes": "1 GB", "ptrace": True,
                   "cpu_reservation": 0.1, "memory_reservation_bytes": "100 MB",
                   "shm_bytes": "128 MiB", "pids_limit": 100},
        storage={"dedicated": "/home/user", "global": "/home/user/all"},
        lifetime={"idle_limit": "PT1H30M", "maximum": "P1DT1S", "extension": "PT2H",
                  "protection": "P2D"},
        sessions={"effect": "reserved", "open_before": "PT10M"},
        content={"repository": "https://git.example.org/x", "branch": "main", "path": "a.ipynb"},
    )  # fmt: skip
    answer = bob.post("/environments", sent)
    assert answer.status_code == 201, answer.text
    # bob is known from now on, so that he can be named
    sent["audience"] = {"people": ["bob"], "teachers": True}
    answer = bob.put(f"/environments/{sent['slug']}", sent, etag=answer.headers["ETag"])
    assert answer.status_code == 200, answer.text
    return str(sent["slug"])


def kept(asker: Asker, slug: str) -> dict[str, Any]:
    found: dict[str, Any] = asker.get(f"/environments/{slug}").json()["definition"]
    return found


# --- who --------------------------------------------------------------------------------------


def test_students_are_refused_before_anything_else(alice_here: Visitor, made: str) -> None:
    fields = {"_xsrf": ""}
    fields["_xsrf"] = form_token(alice_here)
    for path in (NEW, f"{HERE}/{made}/edit", f"{HERE}/nowhere/edit", f"{HERE}/preview"):
        page = alice_here.get(path, headers={"Accept-Language": "en"})
        assert (page.status_code, code_of(page)) == (403, "not-allowed"), path
        answer = send(alice_here, path, fields)
        assert (answer.status_code, code_of(answer)) == (403, "not-allowed"), path


def form_token(visitor: Visitor) -> str:
    match = re.search(r'name="_xsrf" value="([^"]+)"', visitor.get(f"{PREFIX}environments").text)
    assert match
    return match[1]


def test_what_a_teacher_may_not_see_is_not_there(
    bob_here: Visitor, carol_here: Visitor, carol: Asker
) -> None:
    hidden = definition()
    assert carol.post("/environments", hidden).status_code == 201
    page = bob_here.get(f"{HERE}/{hidden['slug']}/edit", headers={"Accept-Language": "en"})
    assert (page.status_code, code_of(page)) == (404, "environment-unknown")
    fields = form(carol_here, f"{HERE}/{hidden['slug']}/edit")
    fields["_xsrf"] = form_token(bob_here)
    answer = send(bob_here, f"{HERE}/{hidden['slug']}/edit", fields)
    assert (answer.status_code, code_of(answer)) == (404, "environment-unknown")


def test_a_form_without_its_token_does_nothing(bob_here: Visitor, made: str) -> None:
    fields = {**form(bob_here, f"{HERE}/{made}/edit"), "_xsrf": "x"}
    assert send(bob_here, f"{HERE}/{made}/edit", fields).status_code == 403


# --- saving -----------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["fr", "en"])
def test_saving_what_was_loaded_changes_nothing(
    bob_here: Visitor, bob: Asker, made: str, language: str
) -> None:
    """Every field comes back as it was, in both languages' wordings."""
    before = bob.get(f"/environments/{made}").json()
    fields = form(bob_here, f"{HERE}/{made}/edit", language)
    answer = send(bob_here, f"{HERE}/{made}/edit", fields)
    assert answer.status_code == 303, text_of(answer)[:3000]
    assert answer.headers["Location"].startswith(f"{HERE}/{made}")
    assert bob.get(f"/environments/{made}").json() == before


def test_a_title_and_an_image_are_enough(bob_here: Visitor, bob: Asker) -> None:
    fields = form(bob_here, NEW)
    name = title()
    answer = send(
        bob_here, NEW, {"_xsrf": fields["_xsrf"], "title.fr": name, "status": "draft",
                        "image": "mydocker-test/busybox:1"},
    )  # fmt: skip
    assert answer.status_code == 303, text_of(answer)[:3000]
    slug = re.sub("[^a-z0-9]+", "-", name.lower().replace("é", "e"))
    assert answer.headers["Location"].startswith(f"{HERE}/{slug}")
    found = kept(bob, slug)
    assert found["title"] == {"fr": name, "en": name}
    assert found["interfaces"][0]["kind"] == "hub"

    # The same title again: another name.
    again = send(bob_here, NEW, {**fields, "title.en": name})
    assert again.status_code == 303
    assert again.headers["Location"].startswith(f"{HERE}/{slug}-2")
    other = kept(bob, f"{slug}-2")
    assert other["storage"]["dedicated"]
    assert other["lifetime"]["idle_limit"] == "PT1H"
    assert other["resources"]["memory_bytes"] == 4 * 10**9
    taken = send(bob_here, NEW, {**fields, "title.en": name, "slug": slug})
    assert taken.status_code == 422
    assert problems_of(taken) == "f-slug-problem"


def test_an_image_proposes_what_belongs_to_it(bob_here: Visitor) -> None:
    """Without JavaScript: where nothing else was written, by the next press on any button."""
    fields = form(bob_here, NEW)
    page = bob_here.get(NEW).text
    options = re.findall(r'<option value="([^"]+)"[^>]*data-says', page)
    other = next(one for one in options if "vscode" in one)
    shown = fields_of(send(bob_here, NEW, fields, **{"image.base": other, "do": "preview"}).text)
    names = [shown[name] for name in shown if re.fullmatch(r"interfaces\.\d+\.name", name)]
    assert len(names) == 2
    assert shown["proposed"] == other
    # but not over what somebody wrote
    fields = form(bob_here, NEW)
    row = next(name for name in fields if name.endswith(".title.en") and "interfaces" in name)
    changed = {**fields, row: "Mine", "image.base": other, "do": "preview"}
    shown = fields_of(send(bob_here, NEW, changed).text)
    assert shown[row] == "Mine"


def test_rows_come_and_go_without_scripts(bob_here: Visitor, made: str) -> None:
    path = f"{HERE}/{made}/edit"
    fields = form(bob_here, path)
    more = fields_of(send(bob_here, path, fields, do="add:interfaces").text)
    assert "interfaces.2.port" in more
    assert more["interfaces.0.title.fr"] == "Labo"
    less = fields_of(send(bob_here, path, more, do="remove:interfaces:0").text)
    assert "interfaces.0.port" not in less
    assert less["interfaces.1.title.fr"] == "App"
    assert "sheet.links.1.url" in fields_of(send(bob_here, path, less, do="add:sheet.links").text)
    for odd in ("add:variables", "remove:interfaces:99", "remove:interfaces:x", "nonsense"):
        assert send(bob_here, path, {**fields, "title.fr": ""}, do=odd).status_code < 500


# --- what is wrong ----------------------------------------------------------------------------

WRONG = [
    ({"title.fr": "", "title.en": ""}, "f-title-fr", "write a title: one line"),
    ({"title.en": "x" * 121}, "f-title-en", "write a title: one line"),
    ({"icon": "<b>"}, "f-icon", "an icon is one emoji"),
    ({"tags": "Python, été"}, "f-tags", "été: write lower case letters"),
    ({"image": "No Image"}, "f-image", "this is not an image reference"),
    ({"command": "a | b"}, "f-command", "would need a shell"),
    ({"command": "x {{HOST['1']}}"}, "f-command", "is the port of no interface"),
    ({"interfaces.0.port": "99999"}, "f-interfaces-0-port", "write at most 65,535"),
    ({"interfaces.1.port": "web"}, "f-interfaces-1-port", "write a whole number"),
    ({"interfaces.1.name": "lab"}, "f-interfaces", "each interface needs a name of its own"),
    ({"interfaces.1.path": "x y"}, "f-interfaces-1-path", "a path starts with /"),
    ({"resources.cpu_limit": "many"}, "f-resources-cpu_limit", "write a number such as"),
    ({"resources.cpu_share": "3"}, "f-resources-cpu_share", "at most the ceiling"),
    ({"resources.memory_bytes": "1 MB"}, "f-resources-memory_bytes", "write at least 6.3 MB"),
    ({"resources.memory_bytes": "lots"}, "f-resources-memory_bytes", "write a size such as"),
    ({"resources.compute_type": "gpu"}, "f-resources-compute_type", "is not known here"),
    ({"storage.dedicated": "/etc"}, "f-storage-dedicated", "/etc belongs to the system"),
    ({"storage.global": "/home/user"}, "f-storage-global", "two different paths"),
    ({"lifetime.idle_limit": "20"}, "f-lifetime-idle_limit", "write a duration such as"),
    ({"lifetime.maximum": "400 days"}, "f-lifetime-maximum", "between one minute and a year"),
    ({"variables": "A=1\nB"}, "f-variables", "line 2: write NAME=value"),
    ({"variables": "JUPYTERHUB_X=1"}, "f-variables", "are set by the service"),
    ({"content.repository": "http://x"}, "f-content-repository", "starts with https://"),
    ({"content.repository": ""}, "f-content-repository", "starts with https://"),
    ({"sheet.maintainers": "Ada <ada>"}, "f-sheet-maintainers", "Ada: write a mail address"),
    ({"sheet.links.0.url": "example"}, "f-sheet-links-0-url", "starts with https://"),
    ({"audience.people": "bob\nnobody-such"}, "f-audience-people", "nobody is known as"),
    ({"audience.institutions": "x y.fr"}, "f-audience-institutions", "you are not of"),
    ({"secrets.0.name": "1X", "secrets.0.value": "v"}, "f-secrets-0-name", "begins with no digit"),
    ({"secrets.0.name": "X", "secrets.0.value": ""}, "f-secrets-0-value", "write something"),
    ({"status": "perfect"}, "f-status", "choose one of those offered"),
]


@pytest.mark.parametrize(("changes", "place", "words"), WRONG)
def test_what_is_wrong_is_said_beside_the_field_and_all_is_kept(
    bob_here: Visitor, bob: Asker, made: str, changes: dict[str, str], place: str, words: str
) -> None:
    path = f"{HERE}/{made}/edit"
    before = kept(bob, made)
    fields = {**form(bob_here, path), "icon": "🧪", **changes}
    answer = send(bob_here, path, fields)
    assert answer.status_code == 422, text_of(answer)[:500]
    if place != "f-resources-compute_type":  # one choice only here: nothing to write it beside
        assert place + "-problem" in problems_of(answer), problems_of(answer)
    assert words in text_of(answer)
    again = fields_of(answer.text)
    not_kept = {"_xsrf", "status", "proposed"}
    if place == "f-resources-compute_type":
        not_kept.add("resources.compute_type")  # a list offers what there is
    for name, value in fields.items():
        if name not in not_kept and not name.startswith("secrets."):
            assert again[name] == value.strip("\n"), name
    assert kept(bob, made) == before


def test_messages_are_in_french_for_the_french(bob_here: Visitor, made: str) -> None:
    path = f"{HERE}/{made}/edit"
    fields = {**form(bob_here, path), "command": "a | b", "lifetime.maximum": "20"}
    answer = bob_here.session.post(
        f"{bob_here.hub.url}{path}", data=fields, headers={"Accept-Language": "fr"}, timeout=60
    )
    assert "demanderait un shell" in html.unescape(answer.text)
    assert "indiquez une durée comme" in html.unescape(answer.text)


# --- secrets ----------------------------------------------------------------------------------


def test_secrets_are_written_and_never_read(bob_here: Visitor, bob: Asker, made: str) -> None:
    path = f"{HERE}/{made}/edit"
    fields = form(bob_here, path)
    value = f"v-{secrets.token_hex(8)}"
    fields |= {"secrets.0.name": "THE_KEY", "secrets.0.value": value}
    wrong = send(bob_here, path, fields, command="a | b")
    assert value not in wrong.text
    assert fields_of(wrong.text)["secrets.0.name"] == "THE_KEY"
    preview = send(bob_here, path, fields, do="preview")
    assert value not in preview.text

    assert send(bob_here, path, fields).status_code == 303
    page = bob_here.get(path)
    assert "THE_KEY" in page.text
    assert value not in page.text
    fields = {**fields_of(page.text), "secrets.delete": "THE_KEY"}
    assert send(bob_here, path, fields).status_code == 303
    assert "THE_KEY" not in bob_here.get(path).text


# --- the public catalogue ---------------------------------------------------------------------


def test_only_administrators_publish_and_teachers_propose(
    bob_here: Visitor, carol_here: Visitor, bob: Asker, made: str
) -> None:
    path = f"{HERE}/{made}/edit"
    sent = {**form(bob_here, path), "public": "1", "propose": "1", "propose.message": "Of use!"}
    sent["audience.choice"] = "link"
    assert send(bob_here, path, sent).status_code == 303
    assert kept(bob, made)["public"] is False
    assert "You have proposed it" in text_of(bob_here.get(path, headers={"Accept-Language": "en"}))
    waiting = carol_here.get(f"{PREFIX}workshop/requests").text
    assert "Of use!" in waiting

    assert send(carol_here, path, form(carol_here, path), public="1").status_code == 303
    assert kept(bob, made)["public"] is True
    mine = form(bob_here, path)
    assert send(bob_here, path, mine, **{"sheet.description.en": "New words"}).status_code == 303
    mine = form(bob_here, path)
    refused = send(bob_here, path, mine, image="mydocker-test/other:1")
    assert refused.status_code == 422
    assert "ask an administrator" in text_of(refused)


# --- two editors ------------------------------------------------------------------------------


def test_two_editors_lose_nothing(
    bob_here: Visitor, carol_here: Visitor, bob: Asker, made: str
) -> None:
    """Different fields are both kept; where both changed one, mine is proposed, theirs offered."""
    path = f"{HERE}/{made}/edit"
    mine, theirs = form(bob_here, path), form(carol_here, path)
    theirs |= {"icon": "🎲", "title.en": "Theirs", "variables": 'A=2\nC="\\""'}
    assert send(carol_here, path, theirs).status_code == 303
    mine |= {
        "title.en": "Mine",
        "resources.memory_bytes": "3 GB",
        "variables": mine["variables"] + "\nD=4",
        "secrets.0.name": "LATER",
        "secrets.0.value": "x",
    }
    answer = send(bob_here, path, mine)
    assert answer.status_code == 409
    words = text_of(answer)
    assert "Somebody else saved this environment" in words
    assert "carol" in words
    both = fields_of(answer.text)
    assert both["icon"] == "🎲"
    assert both["title.en"] == "Mine"
    assert both["resources.memory_bytes"] == "3 GB"
    assert both["version"] == "3"
    assert "choice.title.en" in both
    assert "choice.icon" not in both
    assert both["secrets.0.name"] == "LATER"
    assert kept(bob, made)["title"]["en"] == "Theirs"  # nothing is saved yet

    both["secrets.0.value"] = "x"
    both["choice.title.en"] = "theirs"
    done = send(bob_here, path, both)
    assert done.status_code == 303, text_of(done)[:3000]
    found = kept(bob, made)
    assert found["title"]["en"] == "Theirs"
    assert found["icon"] == "🎲"
    assert found["resources"]["memory_bytes"] == 3 * 10**9
    assert found["variables"] == {"A": "2", "C": '"', "D": "4"}


def test_keeping_mine(bob_here: Visitor, carol_here: Visitor, bob: Asker, made: str) -> None:
    path = f"{HERE}/{made}/edit"
    mine, theirs = form(bob_here, path), form(carol_here, path)
    assert send(carol_here, path, theirs, **{"title.en": "Theirs"}).status_code == 303
    answer = send(bob_here, path, mine, **{"title.en": "Mine"})
    assert send(bob_here, path, fields_of(answer.text)).status_code == 303
    assert kept(bob, made)["title"]["en"] == "Mine"


# --- the preview ------------------------------------------------------------------------------


def test_preview(bob_here: Visitor, made: str) -> None:
    fields = form(bob_here, f"{HERE}/{made}/edit")
    answer = send(bob_here, f"{HERE}/preview", fields, **{"title.en": "<b>Seen</b>"})
    assert answer.status_code == 200
    assert "&lt;b&gt;Seen&lt;/b&gt;" in answer.text
    assert "Beware" in answer.text
    assert "href=" not in answer.text
    # as far as it is right, whatever is wrong
    broken = {name: "\x01<é" for name in fields if name not in {"_xsrf", "version"}}
    answer = send(bob_here, f"{HERE}/preview", {**broken, "_xsrf": fields["_xsrf"]})
    assert answer.status_code == 200
    assert send(bob_here, f"{HERE}/preview", {"_xsrf": fields["_xsrf"]}).status_code == 200
    path = f"{HERE}/{made}/edit"
    page = send(bob_here, path, fields, **{"title.en": "Not saved", "do": "preview"})
    assert page.status_code == 200
    assert "Not saved" in page.text.partition('id="preview"')[2]


# --- help -------------------------------------------------------------------------------------


def test_every_field_has_help(carol_here: Visitor, made: str) -> None:
    """In both languages; what the form sends beside fields needs none."""
    for language in ("fr", "en"):
        page = carol_here.get(f"{HERE}/{made}/edit", headers={"Accept-Language": language}).text
        names = set(fields_of(page)) | {"slug", "secrets.0.name", "secrets.0.value"}
        names -= {"_xsrf", "do", "version", "proposed", "image.base", "image.built", "public"}
        from mydocker_hub.web.help import help_for
        from mydocker_hub.web.i18n import translator

        assert len(names) > 40
        for name in names:
            found = help_for(name, translator(language))
            assert found is not None, name
            assert found.html, name
        assert page.count('class="field-help"') > 30
