"""The dashboard, the public catalogue, the sheet and the waiting page."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from .conftest import PHONE

DASHBOARD = "/services/catalogue/"
CATALOGUE = "/services/catalogue/environments"


def test_empty_dashboard_says_how_to_begin(window, anew) -> None:
    anew("alice")
    page = window("alice").page
    expect(page.get_by_role("heading", level=1)).to_have_text("Bienvenue")
    expect(page.get_by_text("Votre enseignant")).not_to_have_count(0)
    page.get_by_role("link", name="Ouvrir le catalogue").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Catalogue")


def test_a_card_from_start_to_leave(window, anew) -> None:
    """Start, open, stop, leave; the folder is kept, which the question says."""
    anew("alice")
    student = window("alice")
    page = student.page
    student.open(CATALOGUE)
    page.get_by_role("button", name="Démarrer Petit").click()
    student.wait_for_landing("/user/alice/tiny/")
    student.open(CATALOGUE)
    entry = page.locator("article", has_text="Petit")
    expect(entry).to_contain_text(re.compile(r"en marche depuis \d\d:\d\d"))
    expect(entry.get_by_role("link", name="Ouvrir Petit")).to_be_visible()

    student.open(DASHBOARD)
    card = student.card("tiny")
    expect(card.locator(".badge")).to_have_text(re.compile(r"en marche depuis \d\d:\d\d"))
    expect(card).not_to_contain_text("Extinction dans")  # it has no limit
    expect(card.locator(".facts li")).to_have_text(
        [
            "dossier personnel dédié",
            "dossier personnel global dans /home/user",
            "0,5 CPU au plus",
            "64 Mo de mémoire",
        ]
    )
    expect(card.get_by_role("link", name="Ouvrir Petit")).to_have_attribute(
        "href", "/user/alice/tiny/"
    )

    # The question shows, and nothing happens until it is answered.
    question = card.get_by_text("Retirer « Petit » de votre tableau de bord ?")
    expect(question).to_be_hidden()
    card.locator("summary").click()
    expect(question).to_be_visible()
    expect(card).to_contain_text("Votre dossier personnel est conservé")
    expect(card).to_contain_text("Son serveur sera éteint")
    card.get_by_role("button", name="Quitter cet environnement").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Bienvenue", timeout=45_000)
    student.open("/hub/home")
    expect(page.get_by_role("link", name="Ouvrir Petit")).to_be_hidden()


# --- starts that fail or are cancelled -----------------------------------------------------------


@pytest.mark.parametrize(
    ("slug", "title", "sentence", "log"),
    [
        (
            "no-image",
            "Sans image",
            "L’image « 127.0.0.1:1/does-not-exist:1 » n’est pas sur la machine",
            "",
        ),
        ("exits", "S'arrête", "(code de sortie 3)", "no licence found"),
    ],
)
def test_failure_is_explained(window, anew, slug, title, sentence, log) -> None:
    anew("alice")
    student = window("alice")
    page = student.page
    student.open(f"{CATALOGUE}/{slug}")
    page.get_by_role("button", name=f"Démarrer {title}").click()

    # In place, with the step that failed; or already on the page that the hub shows afterwards.
    expect(page.get_by_text(sentence).first).to_be_visible(timeout=45_000)
    if page.locator("#start-page").count():
        expect(page.locator('.step[data-state="failed"]')).to_have_count(1)
        expect(page.locator("#failure")).to_contain_text(sentence)
        expect(page.get_by_role("button", name="Annuler le démarrage")).to_be_hidden()
        expect(page.get_by_role("button", name="Réessayer")).to_be_visible()
        if log:
            expect(page.locator("#failure-log")).to_have_text(re.compile(log))
    page.wait_for_timeout(1500)  # a page that moves on does it now
    expect(page.get_by_text(sentence).first).to_be_visible()

    # On a page of its own, for whoever comes later.
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"« {title} » n’a pas démarré")
    expect(page.locator("main")).to_contain_text(sentence)
    if log:
        expect(page.locator(".log")).to_have_text(re.compile(log))

    # On the card; and one press tries again.
    student.open(DASHBOARD)
    expect(student.card(slug).locator(".note")).to_contain_text("Échec du démarrage")
    expect(student.card(slug).locator(".note")).to_contain_text(sentence)
    student.open(f"/hub/spawn-pending/alice/{slug}")
    with page.expect_navigation():  # to the waiting page, or the answer where it failed at once
        page.get_by_role("button", name="Réessayer").click()
    expect(page.get_by_text(sentence).first).to_be_visible(timeout=45_000)


def test_a_start_can_be_cancelled(window, anew, hub) -> None:
    anew("alice")
    student = window("alice", lang="en")
    page = student.page
    student.open(f"{CATALOGUE}/mute")
    page.get_by_role("button", name="Start Mute").click()
    page.wait_for_url("**/hub/spawn-pending/alice/mute**")
    expect(page.locator('.step[data-step="interface"]')).to_have_attribute("data-state", "active")
    page.get_by_role("button", name="Cancel the start").click()
    page.wait_for_url(f"**{DASHBOARD}", timeout=45_000)
    expect(student.card("mute").locator(".badge").first).to_have_text("stopped", timeout=20_000)
    expect(student.card("mute")).not_to_contain_text("Did not start")
    with hub.signed_in("alice") as alice:
        assert alice.server("mute") is None

    # The same from the card, in another window, while the waiting page is open.
    student.card("mute").get_by_role("button", name="Start Mute").click()
    page.wait_for_url("**/hub/spawn-pending/alice/mute**")
    other = student.context.new_page()
    other.goto(f"{hub.url}{DASHBOARD}")
    other.get_by_role("link", name="See how it starts: Mute").wait_for()
    other.get_by_role("button", name="Cancel the start of Mute").click()
    again = page.get_by_role("button", name=re.compile("Try again|Start again"))
    expect(again).to_be_visible(timeout=45_000)
    expect(page.get_by_role("button", name="Cancel the start")).to_be_hidden()


# --- catalogue -----------------------------------------------------------------------------------


def test_search_in_the_public_catalogue(window) -> None:
    student = window("alice")
    page = student.page
    student.open(CATALOGUE)
    titles = page.locator(".environment-title")
    expect(titles.get_by_text("Petit", exact=True)).to_be_visible()
    for private in ("Sur invitation", "Brouillon", "Archivé"):
        expect(page.get_by_text(private)).to_have_count(0)

    field = page.get_by_role("searchbox", name="Chercher dans le catalogue")
    for words in ("s'arrête", "S'ARRETE", "arrêt", "arret"):
        field.fill(words)
        field.press("Enter")
        expect(titles).to_have_text(["S'arrête"])
        expect(field).to_have_value(words)
    expect(page.locator("#count")).to_contain_text("1 environnement pour « arret »")

    field.fill("<b>rien</b> & 100 %")
    field.press("Enter")
    expect(page.locator("#count")).to_contain_text("« <b>rien</b> & 100 % »")
    expect(titles).to_have_count(0)
    page.get_by_role("link", name="Tout afficher").click()
    expect(titles.get_by_text("Petit", exact=True)).to_be_visible()


def test_sheet(window) -> None:
    student = window("alice")
    page = student.page
    student.open(CATALOGUE)
    page.get_by_role("link", name="Détails de JupyterLab et Python").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("JupyterLab et Python")
    expect(page).to_have_title("JupyterLab et Python – mydocker")
    sheet = page.locator("dl.sheet")
    for fact in ("dossier personnel global", "2 CPU au plus", "1 Go de mémoire"):
        expect(sheet).to_contain_text(fact)
    expect(page.get_by_role("button", name="Démarrer JupyterLab et Python")).to_be_visible()
    answer = student.open(f"{CATALOGUE}/closed")
    assert answer is not None
    assert answer.status == 404  # as if there were none
    expect(page.get_by_role("heading", level=1)).to_have_text("Il n’y a rien ici")


# --- languages, sizes, colours, keyboard, no JavaScript ------------------------------------------


def test_language_is_the_browser_s_then_one_s_own(window) -> None:
    student = window("alice", lang="en")
    page = student.page
    expect(page.locator("html")).to_have_attribute("lang", "en")
    student.open(f"{CATALOGUE}?q=petit")
    expect(page.locator("#count")).to_contain_text("environment")
    page.locator("#languages").get_by_role("link", name="FR, Français").click()
    assert page.url.endswith(f"{CATALOGUE}?q=petit"), "the switch leaves the page"
    for path in (DASHBOARD, "/hub/home", "/hub/token", "/hub/spawn/alice/tiny"):
        student.open(path)
        expect(page.locator("html")).to_have_attribute("lang", "fr")
    page.get_by_role("link", name="Se déconnecter").click()
    student.open("/hub/login")
    expect(page.get_by_role("heading", level=1)).to_have_text("Se connecter à mydocker")
    page.locator("#languages").get_by_role("link", name="EN, English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to mydocker")


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_on_a_phone(window, anew, lang) -> None:
    anew("alice")
    student = window(lang=lang, size=PHONE)
    page = student.page
    for path in ("/hub/login", "/hub/logout"):
        student.open(path)
        assert student.is_as_wide_as_the_window(), path
    student.sign_in("alice")
    assert student.is_as_wide_as_the_window(), "empty dashboard"
    student.open("/join/TinyTinyTinyTinyTiny")
    assert student.is_as_wide_as_the_window(), "waiting page"
    student.wait_for_landing("/user/alice/tiny/")
    paths = [
        DASHBOARD,
        CATALOGUE,
        f"{CATALOGUE}?q=xyzzy",
        f"{CATALOGUE}/lab",
        f"{CATALOGUE}/hostile",
        "/hub/home",
        "/hub/token",
        "/hub/spawn/alice/lab",
        "/hub/spawn/alice/foo",
        "/hub/nowhere",
        "/join/RevokedRevokedRevoke",
    ]
    for path in paths:
        student.open(path)
        assert student.is_as_wide_as_the_window(), path

    # The menu opens, and leads somewhere.
    student.open(DASHBOARD)
    catalogue = page.locator("#thenavbar").get_by_role("link", name="Catalogue")
    expect(catalogue).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    expect(catalogue).to_be_visible()
    catalogue.click()
    assert student.path == CATALOGUE


def test_dark_colours(window) -> None:
    """By the system's setting, on both sides; the button changes them, and they stay so."""
    student = window("alice", colours="dark")
    page = student.page
    for path in (DASHBOARD, "/hub/token", CATALOGUE):
        student.open(path)
        assert brightness(page) < 0.2, path
    page.get_by_role("button", name="Couleurs claires ou sombres").click()
    for path in ("/hub/home", CATALOGUE):
        student.open(path)
        assert brightness(page) > 0.8, path


def brightness(page: Page) -> float:
    """0 to 1, of the page's ground."""
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in re.findall(r"\d+", color)[:3]) / 3 / 255


def test_with_the_keyboard_alone(window, anew) -> None:
    anew("alice")
    student = window()
    page = student.page
    student.open("/hub/login")
    go_to(page, "#sign-in-alice")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{DASHBOARD}")

    # The first stop on each page leads past the menu.
    student.open(CATALOGUE)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Aller au contenu")).to_be_focused()
    page.keyboard.press("Enter")
    go_to(page, "#start-tiny")
    assert has_focus_ring(page)
    page.keyboard.press("Enter")
    student.wait_for_landing("/user/alice/tiny/")

    # Leave: the question opens with the keyboard, and what had the focus keeps it.
    student.open(DASHBOARD)
    go_to(page, "#leave-tiny-summary")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Quitter cet environnement")).to_be_visible()
    go_to(page, "#stop-tiny", backwards=True)
    page.keyboard.press("Enter")
    expect(student.card("tiny").locator(".badge")).to_have_text("éteint", timeout=45_000)


def go_to(page: Page, selector: str, *, backwards: bool = False) -> None:
    for _ in range(60):
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached with the Tab key")


def has_focus_ring(page: Page) -> bool:
    script = """
        () => { const style = getComputedStyle(document.activeElement);
                return style.outlineStyle !== "none" || style.boxShadow !== "none"; }
    """
    return bool(page.evaluate(script))


def test_without_scripts(window, anew) -> None:
    """Sign in, start, see how it goes, land, stop, leave."""
    anew("alice")
    student = window("alice", scripts=False)
    page = student.page
    student.open(CATALOGUE)
    page.get_by_role("button", name="Démarrer Petit").click()
    if student.path == "/hub/spawn-pending/alice/tiny":
        expect(page.locator(".step-label")).to_have_count(5)
    student.wait_for_landing("/user/alice/tiny/")
    student.open(DASHBOARD)
    page.get_by_role("button", name="Éteindre Petit").click()
    badge = student.card("tiny").locator(".badge")
    for _ in range(20):  # by hand: nothing changes by itself
        if badge.inner_text() == "éteint":
            break
        page.wait_for_timeout(500)
        student.open(DASHBOARD)
    expect(badge).to_have_text("éteint")
    student.card("tiny").locator("summary").click()
    page.get_by_role("button", name="Quitter cet environnement").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Bienvenue")

    # A failure is told without scripts as well.
    student.open(f"{CATALOGUE}/exits")
    page.get_by_role("button", name="Démarrer S'arrête").click()
    expect(page.locator("main")).to_contain_text("(code de sortie 3)", timeout=30_000)
