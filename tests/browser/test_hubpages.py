"""The hub's own pages start and stop exactly what the dashboard would."""

from __future__ import annotations

import re

import requests
from playwright.sync_api import expect


def test_spawn_form_is_a_choice_of_environments(window, anew, engine, hub) -> None:
    anew("alice")
    student = window("alice")
    page = student.page
    student.open("/hub/spawn/alice/foo")
    expect(page.get_by_role("heading", level=1)).to_have_text("Démarrer un environnement")
    expect(
        page.get_by_text("Aucun environnement ne correspond à un serveur nommé « foo »")
    ).to_be_visible()

    # A name that is an environment's: that one comes first; there is no word of caution.
    student.open("/hub/spawn/alice/tiny")
    expect(page.locator(".alert-info:not(#noscript)")).to_have_count(0)
    choices = page.locator("#choices > li")
    expect(choices.first).to_contain_text("Petit")
    for private in ("Sur invitation", "Brouillon", "Archivé"):
        expect(page.locator("#choices")).not_to_contain_text(private)

    field = page.get_by_label("Chercher", exact=True)
    field.fill("ARRETE")
    expect(choices.filter(visible=True)).to_have_count(1)
    expect(choices.filter(visible=True)).to_contain_text("S'arrête")
    field.fill("xyzzy")
    expect(page.get_by_role("status").filter(visible=True)).to_contain_text("Rien n’a été trouvé")
    field.press("Enter")
    assert student.path == "/hub/spawn/alice/tiny", "Enter in the search starts something"
    field.fill("petit")
    page.get_by_role("button", name="Démarrer Petit").click()
    student.wait_for_landing("/user/alice/tiny/")
    [service] = engine.services.list(filters={"label": f"mydocker.hub={hub.hub_id}"})
    assert service.attrs["Spec"]["Labels"]["mydocker.server"] == "tiny"
    limits = service.attrs["Spec"]["TaskTemplate"]["Resources"]["Limits"]
    assert limits["NanoCPUs"] == 500_000_000, "not what the dashboard would start"


def test_the_unnamed_server_is_refused(window) -> None:
    student = window("alice")
    page = student.page
    student.open("/hub/user/alice/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Choisissez un environnement")
    page.locator("main").get_by_role("link", name="Retour au tableau de bord").click()
    assert student.path == "/services/catalogue/"


def test_table_of_servers(window, anew, hub) -> None:
    anew("alice")
    student = window("alice")
    page = student.page
    student.open("/hub/home")
    expect(page.locator("main")).to_contain_text("Vous n’avez pas encore démarré d’environnement")
    student.open("/join/TinyTinyTinyTinyTiny")
    student.wait_for_landing("/user/alice/tiny/")

    student.open("/hub/home")
    row = page.get_by_role("row", name="Petit")
    expect(row).to_contain_text("en marche")
    expect(row.get_by_role("link", name="Ouvrir Petit")).to_be_visible()
    expect(row.get_by_role("button", name="Retirer Petit")).to_be_hidden()
    row.get_by_role("button", name="Éteindre Petit").click()
    start = row.get_by_role("button", name="Démarrer Petit")
    expect(start).to_be_visible(timeout=45_000)
    expect(row).to_contain_text("éteint")
    start.click()  # at once: no second question
    student.wait_for_landing("/user/alice/tiny/")

    student.open("/hub/home")
    row.get_by_role("button", name="Éteindre Petit").click()
    expect(row.get_by_role("button", name="Retirer Petit")).to_be_visible(timeout=45_000)
    questions: list[str] = []

    def answer(dialog) -> None:
        questions.append(dialog.message)
        dialog.dismiss() if len(questions) == 1 else dialog.accept()

    page.on("dialog", answer)
    row.get_by_role("button", name="Retirer Petit").click()
    expect(row).to_be_visible()  # the answer was no
    row.get_by_role("button", name="Retirer Petit").click()
    expect(row).to_have_count(0)
    assert "«\N{NO-BREAK SPACE}Petit\N{NO-BREAK SPACE}»" in questions[0]
    assert "personnel" in questions[0]
    page.reload()
    expect(page.locator("main")).to_contain_text("Vous n’avez pas encore démarré d’environnement")


def test_a_token_is_made_works_and_is_revoked(window, hub) -> None:
    student = window("alice")
    page = student.page
    student.open("/hub/token")
    page.get_by_label("Note").fill("<b>mon programme</b>")
    page.get_by_label("Durée de validité").select_option("3600")
    page.get_by_role("button", name="Créer un jeton").click()
    token = page.locator("#token-result")
    expect(token).to_be_visible()
    headers = {"Authorization": f"token {token.inner_text()}"}
    answer = requests.get(f"{hub.url}/hub/api/user", headers=headers, timeout=10)
    assert answer.json()["name"] == "alice"

    page.reload()
    row = page.locator("#api-tokens-table tr", has_text="<b>mon programme</b>").first
    expect(row).to_contain_text(re.compile("1 heure|59 minutes|60 minutes"))
    row.get_by_role("button", name="Révoquer").click()
    expect(page.locator("#api-tokens-table tr", has_text="<b>mon programme</b>")).to_have_count(0)
    answer = requests.get(f"{hub.url}/hub/api/user", headers=headers, timeout=10)
    assert answer.status_code == 403


def test_the_admin_panel_starts_enters_and_stops_somebody_s_server(window, anew, hub) -> None:
    anew("alice")
    student = window("alice")
    student.open("/join/TinyTinyTinyTinyTiny")
    student.wait_for_landing("/user/alice/tiny/")

    admin = window("carol")
    page = admin.page
    expect(page.get_by_role("link", name="Administration")).to_be_visible()
    admin.open("/hub/admin")
    row = page.get_by_test_id("user-row-alice-tiny")
    expect(row.get_by_role("cell", name="Petit")).to_be_visible()  # the column “Profile”
    row.get_by_role("button", name="Stop Server").click()
    expect(row.get_by_role("button", name="Start Server")).to_be_visible(timeout=45_000)
    row.get_by_role("button", name="Start Server").click()
    with hub.signed_in("alice") as alice:
        alice.wait_until_ready("tiny")
    page.reload()  # upstream's panel does not follow a start by itself
    row.get_by_role("link", name="Access Server").click()
    admin.wait_for_landing("/user/alice/tiny/")
    student.open("/services/catalogue/")
    expect(student.card("tiny").locator(".badge")).to_have_text(re.compile("en marche depuis"))

    # Nobody else sees the panel.
    expect(student.page.get_by_role("link", name="Administration")).to_have_count(0)
    answer = student.open("/hub/admin")
    assert answer is not None
    assert answer.status == 403
    expect(student.page.get_by_role("heading", level=1)).to_have_text(
        "Vous n’avez pas accès à cette page"
    )


def test_sign_out(window) -> None:
    student = window("alice")
    page = student.page
    student.open("/services/catalogue/environments")
    page.get_by_role("link", name="Se déconnecter").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Déconnexion réussie")
    page.get_by_role("link", name="Se reconnecter").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Se connecter à mydocker")
    for path in ("/services/catalogue/", "/hub/home", "/hub/token", "/join/LabLabLabLabLabLabLa"):
        student.open(path)
        assert student.path == "/hub/login", path
