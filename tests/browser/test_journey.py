"""What a student does with a link from a teacher, from the first click to the file found again."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

STEPS = [
    "Recherche d’une machine",
    "Téléchargement des logiciels (image)",
    "Lancement du conteneur",
    "Ouverture de votre dossier personnel",
    "Démarrage de l’interface",
]
FILE = "mon carnet.ipynb"


def test_from_the_link_to_the_file_found_again(window, anew) -> None:
    anew("alice")
    student = window()
    page = student.page

    # Not signed in yet: the link asks who one is, then goes on by itself.
    student.open("/join/LabLabLabLabLabLabLa")
    assert student.path == "/hub/login"
    expect(page.get_by_role("heading", level=1)).to_have_text("Se connecter à mydocker")
    watch_steps(page)
    page.get_by_role("button", name="Alice").click()

    # The five steps, in this order, as they happen.
    page.wait_for_url("**/hub/spawn-pending/alice/lab?**")
    expect(page.get_by_role("heading", level=1)).to_have_text("JupyterLab et Python")
    expect(page.locator(".step-label")).to_have_text(STEPS)
    expect(page.get_by_role("button", name="Annuler le démarrage")).to_be_visible()
    student.wait_for_landing("/user/alice/lab/lab")
    seen = page.evaluate("JSON.parse(sessionStorage.seenSteps)")
    assert [len(states) for states in seen] == [5] * len(seen)
    assert any("active" in states for states in seen), seen
    done = [states.count("done") for states in seen]
    assert done == sorted(done), f"a step was done, then not done: {seen}"
    assert seen[-1] == ["done"] * 5, seen

    # JupyterLab, in French.
    lab = page
    expect(lab.get_by_role("menuitem", name="Fichier")).to_be_visible(timeout=60_000)
    lab.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    expect(lab.locator("#jp-bottom-panel")).to_contain_text("Inactif", timeout=60_000)  # the kernel
    cell = lab.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    cell.click()
    lab.keyboard.type("print(6*7)")
    lab.keyboard.press("Shift+Enter")
    expect(lab.locator(".jp-OutputArea-output pre").first).to_have_text("42\n", timeout=60_000)
    lab.keyboard.press("Control+s")
    dialog = lab.locator(".jp-Dialog")
    dialog.locator("input[type=text]").fill(FILE)
    dialog.locator("button.jp-mod-accept").click()
    # JupyterLab looks for new files every ten seconds.
    expect(lab.locator(".jp-DirListing-item", has_text=FILE)).to_be_visible(timeout=30_000)
    expect(dialog).to_be_hidden()

    # Back on the dashboard, in another tab.
    student.page = page = student.context.new_page()
    student.open("/services/catalogue/")
    card = student.card("lab")
    expect(card.get_by_role("heading")).to_have_text("JupyterLab et Python")
    expect(card.locator(".badge")).to_have_text(re.compile(r"^\s*en marche depuis \d\d:\d\d$"))
    expect(card).to_contain_text(
        re.compile(r"Extinction dans environ (19|20) minutes sans action de votre part")
    )
    expect(card).to_contain_text("extinction après 20 minutes sans interaction")
    lab.close()
    card.get_by_role("button", name="Éteindre JupyterLab et Python").click()
    expect(student.card("lab").locator(".badge")).to_have_text("éteint", timeout=45_000)

    # Start from the card: the file is there.
    student.card("lab").get_by_role("button", name="Démarrer JupyterLab et Python").click()
    student.wait_for_landing("/user/alice/lab/lab")
    expect(page.locator(".jp-DirListing-item", has_text=FILE)).to_be_visible(timeout=60_000)


def test_links_into_an_environment_land_there(window, hub, anew) -> None:
    """The original's addresses, and nbgitpuller's links; in an environment that starts and runs."""
    anew("bob")
    teacher = window("bob")
    page = teacher.page

    teacher.open("/shell/join/LabLabLabLabLabLabLa")
    teacher.wait_for_landing("/user/bob/lab/lab")

    pull = "git-pull?repo=file%3A%2F%2F%2Fhome%2Fjovyan%2Fnowhere.git&urlpath=lab"
    teacher.open(f"/join/LabLabLabLabLabLabLa/hub/user-redirect/{pull}")
    teacher.wait_for_landing("/user/bob/lab/git-pull")
    assert page.url.endswith(pull), page.url
    expect(page.get_by_role("link", name="git repository")).to_be_visible()  # nbgitpuller's page

    teacher.open("/join/LabLabLabLabLabLabLa/hub/user-redirect/lab/tree/dossier%20%C3%A9t%C3%A9")
    teacher.wait_for_landing("/user/bob/lab/lab/tree/dossier%20%C3%A9t%C3%A9")

    # The same from scratch: the way leads over the waiting page.
    page.goto("about:blank")  # JupyterLab goes on asking its server
    anew("bob")
    teacher.open("/shell/join/LabLabLabLabLabLabLa/hub/user-redirect/" + pull)
    assert teacher.path == "/hub/spawn-pending/bob/lab"
    teacher.wait_for_landing("/user/bob/lab/git-pull")
    assert page.url.endswith(pull), page.url


def watch_steps(page: Page) -> None:
    """Let the page note each change of the steps' states, from its first paint to its last."""
    page.add_init_script(
        """
        document.addEventListener("DOMContentLoaded", () => {
          if (!document.querySelector(".step")) return;
          sessionStorage.seenSteps ??= "[]";
          const note = () => {
            const states = [...document.querySelectorAll(".step")].map((s) => s.dataset.state);
            const seen = JSON.parse(sessionStorage.seenSteps);
            if (JSON.stringify(seen.at(-1)) !== JSON.stringify(states)) seen.push(states);
            sessionStorage.seenSteps = JSON.stringify(seen);
          };
          note();
          const watched = { attributes: true, subtree: true, attributeFilter: ["data-state"] };
          new MutationObserver(note).observe(document.body, watched);
        });
        """
    )
