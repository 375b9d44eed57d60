"""The message catalogues are complete, and no input makes a sentence fail."""

import datetime as dt
import re
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader
from jupyterhub._data import DATA_FILES_PATH
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import Application, RequestHandler

from mydocker_hub.domain.environment import Lifetime, Resources, Storage, Text
from mydocker_hub.domain.errors import CODES, Invalid, LaunchFailed, MydockerError
from mydocker_hub.share import share_path
from mydocker_hub.web.i18n import LANGUAGES, STEPS, Translator, choose_language, translator

ROOT = Path(__file__).parents[2]
LOCALE = ROOT / "mydocker_hub" / "locale"
PLACEHOLDER = re.compile(r"%(?:%|\((\w+)\)([a-z]))")

NBSP, NARROW = "\u00a0", "\u202f"


def plain(text):
    """The text with plain spaces: Babel puts its own kinds between a number and its unit."""
    return text.replace(NBSP, " ").replace(NARROW, " ")


def catalogue(lang):
    with (LOCALE / lang / "LC_MESSAGES" / "mydocker_hub.po").open("rb") as file:
        return read_po(file, locale=lang)


def messages(lang):
    return [message for message in catalogue(lang) if message.id]


def strings(message):
    """Pairs of English sentence and translation; plural forms each with the plural sentence."""
    if isinstance(message.id, str):
        return [(message.id, message.string)]
    return [(message.id[-1], string) for string in message.string]


# --- the catalogues ------------------------------------------------------------------------------


def test_catalogues_are_up_to_date():
    check = subprocess.run(
        [sys.executable, ROOT / "scripts" / "messages", "--check"], capture_output=True, text=True
    )
    assert check.returncode == 0, check.stdout + check.stderr


def test_french_is_complete():
    missing = [
        original for message in messages("fr") for original, text in strings(message) if not text
    ]
    assert not missing, "write these into locale/fr/LC_MESSAGES/mydocker_hub.po"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_nothing_is_fuzzy(lang):
    assert not [message.id for message in messages(lang) if message.fuzzy]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_placeholders_agree(lang):
    for message in messages(lang):
        for original, text in strings(message):
            if text:
                assert set(PLACEHOLDER.findall(text)) == set(PLACEHOLDER.findall(original)), text
                assert "%" not in PLACEHOLDER.sub("", text), text


def test_french_typography():
    wrong = []
    for message in messages("fr"):
        for _, text in strings(message):
            visible = re.sub(
                r"<[^>]*>|sh -c '[^']*'|:étiquette|\{\{[^}]*\}\}|FREQ=\S+", "", text
            )  # no prose
            if (
                re.search(rf"[^{NBSP}{NARROW}][;!?»]", visible)
                # an address, or the tag of an image
                or re.search(rf"[^{NBSP}{NARROW}]:(?!//|[0-9]{{4}}-)", visible)
                or re.search(rf"«[^{NBSP}]", visible)
                or "'" in visible
                or '"' in visible
            ):
                wrong.append(text)
    assert not wrong, "no-break spaces before : ; ! ? and inside « », and the apostrophe ’"


def test_every_error_has_a_french_sentence():
    french = translator("fr")
    for code, entry in CODES.items():
        assert french.known(entry.sentence) != entry.sentence, code


def test_catalogues_are_found_from_the_package():
    assert translator("fr").gettext("Sign in") == "Se connecter"
    assert translator("en").gettext("Sign in") == "Sign in"
    assert translator("fr") is translator("fr")
    with pytest.raises(ValueError, match="'de'"):
        Translator("de")


# --- which language ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cookie", "header", "language"),
    [
        (None, None, "fr"),
        (None, "", "fr"),
        (None, "en", "en"),
        (None, "EN-gb,fr;q=0.9", "en"),
        (None, "fr-CA;q=0.8, en;q=0.9", "en"),
        (None, "de, es;q=0.9", "fr"),
        (None, "de, en;q=0.1", "en"),
        (None, "en;q=0, fr;q=0.1", "fr"),
        (None, "*", "fr"),
        (None, "en, fr", "en"),
        (None, "en;q=nan, fr;q=0.2", "fr"),
        (None, "en;q=7", "fr"),
        (None, "english", "fr"),
        ("en", "fr", "en"),
        ("de", "en", "en"),
        ("EN; DROP", "fr", "fr"),
    ],
)
def test_choose_language(cookie, header, language):
    assert choose_language(cookie, header) == language


def test_default_language_is_an_argument():
    assert choose_language(None, "de", default="en") == "en"
    assert choose_language(None, "*;q=0.5", default="en") == "en"


header_like = st.lists(
    st.sampled_from([*"fren*-;=,q.019 \t", "fr", "en", ";q=", "\x00", "é", ","]), max_size=400
).map("".join)


@given(st.none() | st.text() | header_like, st.none() | st.text() | header_like)
def test_choose_language_bears_anything(cookie, header):
    assert choose_language(cookie, header) in LANGUAGES


# --- sentences -----------------------------------------------------------------------------------

TITLE = Text(fr="Python et Jupyter", en="Python and Jupyter")


def test_error_in_both_languages():
    error = MydockerError("environment-archived", title=TITLE)
    assert (
        translator("fr")
        .error(error)
        .startswith(f"L’environnement «{NBSP}Python et Jupyter{NBSP}» est archivé")
    )
    assert (
        translator("en").error(error).startswith("The environment “Python and Jupyter” is archived")
    )


def test_text_that_came_as_json():
    error = MydockerError("environment-archived", title=TITLE.model_dump())
    assert "Python et Jupyter" in translator("fr").error(error)


def test_quantities_in_errors():
    memory = MydockerError("out-of-memory", memory=4_000_000_000)
    assert f"4{NARROW}Go de mémoire" in translator("fr").error(memory)
    assert "4 GB of memory" in translator("en").error(memory)
    ended = MydockerError("join-link-expired", when=dt.datetime(2026, 1, 5, 22, 30, tzinfo=dt.UTC))
    assert "le 5 janvier 2026 à 23:30." in translator("fr").error(ended)
    closed = MydockerError("session-closed", when=dt.datetime(2026, 11, 23, 7, 30, tzinfo=dt.UTC))
    assert "Il ouvre le lundi 23 novembre 2026 à 08:30." in translator("fr").error(closed)
    assert "It opens on Monday 23 November 2026 at 08:30." in translator("en").error(closed)
    late = LaunchFailed("start-timeout", seconds=300, step="image")
    assert STEPS["image"] in translator("en").error(late)
    assert "Téléchargement des logiciels" in translator("fr").error(late)


def test_problems_of_invalid():
    error = Invalid(problems=[("image", "write this on one line"), ("", "Sign in first.")])
    french = f"image{NBSP}: écrivez ceci sur une seule ligne{NARROW}; Connectez-vous d’abord."
    assert french in translator("fr").error(error)
    assert "image: write this on one line; Sign in first." in translator("en").error(error)


def test_missing_parameters_show_as_ellipsis():
    assert "“…”" in translator("en").error(MydockerError("environment-archived"))


def test_text_falls_back_to_the_other_language():
    assert translator("en").text(Text(fr="Bonjour", en=" ")) == "Bonjour"
    assert translator("en").text({"fr": "Bonjour"}) == "Bonjour"
    assert translator("en").text(None) == ""


names = {
    name for entry in CODES.values() for name, _ in PLACEHOLDER.findall(entry.sentence) if name
}
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.builds(Text, fr=st.just("f"), en=st.just("e")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(LANGUAGES), inner),
    max_leaves=5,
)


@given(
    st.sampled_from(sorted(CODES)),
    st.dictionaries(st.sampled_from(sorted(names)), values),
    st.sampled_from(LANGUAGES),
)
def test_error_bears_any_parameters(code, params, lang):
    sentence = translator(lang).error(MydockerError(code, **params))
    assert sentence
    assert "%(" not in sentence or any("%(" in str(value) for value in params.values())


@given(st.text(), st.text())
def test_gettext_bears_any_text(message, value):
    assert isinstance(translator("fr").gettext(message, name=value), str)


# --- quantities ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "french", "english"),
    [
        (0, "0 o", "0 B"),
        (512, "512 o", "512 B"),
        (512_000_000, "512 Mo", "512 MB"),
        (4_000_000_000, "4 Go", "4 GB"),
        (4 * 1024**3, "4,3 Go", "4.3 GB"),
        (999_999_999, "1 Go", "1 GB"),
        (10**13, "10 To", "10 TB"),
    ],
)
def test_bytes(size, french, english):
    assert plain(translator("fr").bytes(size)) == french
    assert translator("en").bytes(size) == english


@pytest.mark.parametrize(
    ("seconds", "french", "english"),
    [
        (1200, "20 minutes", "20 minutes"),
        (3600, "1 heure", "1 hour"),
        (5400, "1 heure et 30 minutes", "1 hour and 30 minutes"),
        (86400, "1 jour", "1 day"),
        (90061, "1 jour et 1 heure", "1 day and 1 hour"),
        (86460, "1 jour", "1 day"),
        (0, "0 seconde", "0 seconds"),
    ],
)
def test_duration(seconds, french, english):
    assert plain(translator("fr").duration(dt.timedelta(seconds=seconds))) == french
    assert translator("en").duration(seconds) == english


@pytest.mark.parametrize(
    ("seconds", "french", "english"),
    [
        (3, "à l’instant", "just now"),
        (-3, "dans un instant", "in a moment"),
        (59, "il y a 59 secondes", "59 seconds ago"),
        (119, "il y a 1 minute", "1 minute ago"),
        (3 * 3600 + 3599, "il y a 3 heures", "3 hours ago"),
        (-2 * 86400, "dans 2 jours", "in 2 days"),
    ],
)
def test_ago(seconds, french, english):
    now = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    instant = now - dt.timedelta(seconds=seconds)
    assert plain(translator("fr").ago(instant, now)) == french
    assert translator("en").ago(instant.replace(tzinfo=None), now) == english


@given(st.datetimes(), st.sampled_from(LANGUAGES))
def test_dates_bear_any_instant(instant, lang):
    tr = translator(lang)
    assert tr.ago(instant)
    assert tr.datetime(instant)
    assert tr.date(instant)
    assert re.fullmatch(r"\d\d:\d\d", tr.time(instant))


# --- an environment in words ---------------------------------------------------------------------


def words(lang, *, idle=None, maximum=None, storage=None, **resources):
    described = translator(lang).resources(
        Resources(**resources),
        Storage.model_validate(storage or {}),
        Lifetime(idle_limit=idle, maximum=maximum),
    )
    return [plain(phrase) for phrase in described]


def test_resources_as_on_the_service_page():
    arguments = {
        "cpu_limit": 2,
        "memory_bytes": "4 GB",
        "storage": {"global": "/home/jovyan"},
        "idle": dt.timedelta(minutes=20),
    }
    assert words("fr", **arguments) == [
        "dossier personnel global",
        "2 CPU au plus",
        "4 Go de mémoire",
        "extinction après 20 minutes sans interaction",
    ]
    assert words("en", **arguments) == [
        "global personal folder",
        "2 CPUs at most",
        "4 GB of memory",
        "stops after 20 minutes without interaction",
    ]


@pytest.mark.parametrize(
    ("resources", "french", "english"),
    [
        ({"cpu_limit": 0.5}, "0,5 CPU au plus", "0.5 CPU at most"),
        ({"cpu_limit": 1.5}, "1,5 CPU au plus", "1.5 CPUs at most"),
        (
            {"cpu_share": 1},
            "1 CPU, davantage quand la machine est peu occupée",
            "1 CPU, more while the machine is not busy",
        ),
        (
            {"cpu_share": 1, "cpu_limit": 4},
            "de 1 à 4 CPU, selon l’affluence",
            "1 to 4 CPUs, as the machine is more or less busy",
        ),
        ({"cpu_share": 2, "cpu_limit": 2}, "2 CPU au plus", "2 CPUs at most"),
        ({}, "CPU sans limite", "no limit on CPUs"),
    ],
)
def test_cpu_policy(resources, french, english):
    assert words("fr", **resources)[1] == french
    assert words("en", **resources)[1] == english


def test_folders():
    both = {"dedicated": "/home/jovyan", "global": "/home/jovyan/shared"}
    assert words("fr", storage=both)[:2] == [
        "dossier personnel dédié",
        "dossier personnel global dans /home/jovyan/shared",
    ]
    assert words("fr", storage={"dedicated": "/home/jovyan"})[0] == "dossier personnel dédié"
    assert words("en")[0] == "no personal folder: no file is kept"


def test_end_of_life():
    assert (
        words("fr", maximum=dt.timedelta(hours=4))[-1] == "extinction 4 heures après le démarrage"
    )


# --- the hub's templates -------------------------------------------------------------------------

HUB_TEMPLATES = ROOT / "share" / "templates" / "hub"


class FakeConnection:
    def set_close_callback(self, callback):
        pass


def hub_handler(uri="/hub/home", **headers):
    headers = HTTPHeaders({"Host": "hub", **headers})
    start_line = RequestStartLine("GET", uri, "HTTP/1.1")
    request = HTTPServerRequest(headers=headers, connection=FakeConnection(), start_line=start_line)
    return RequestHandler(Application(), request)


def hub_environment(templates, **options):
    return Environment(
        loader=templates if isinstance(templates, ChoiceLoader) else DictLoader(templates),
        autoescape=True,
        extensions=["mydocker_hub.web.hubi18n.HubTranslations"],
        **options,
    )


def render(source, uri="/hub/home", headers=None, **context):
    handler = hub_handler(uri, **(headers or {}))
    template = hub_environment({"page": source}).get_template("page")
    return template.render(static_url=handler.static_url, base_url="/hub/", **context)


def test_hub_template_speaks_the_language_of_its_request():
    source = "{{ language }} {{ _('Sign in') }} {{ tr.lang }}"
    assert render(source) == "fr Se connecter fr"
    english = {"Accept-Language": "en"}
    assert render(source, headers=english) == "en Sign in en"
    chosen = {"Accept-Language": "en", "Cookie": "mydocker_lang=fr"}
    assert render(source, headers=chosen) == "fr Se connecter fr"


async def test_hub_template_in_the_async_environment():
    handler = hub_handler(**{"Accept-Language": "fr"})
    environment = hub_environment(
        {
            "base": "{% block a %}{% endblock %}",
            "part": "{{ tr.lang }}",
            "page": "{% extends 'base' %}{% block a %}{% include 'part' %} "
            "{% trans n='<x>' %}For the account {{ n }}{% endtrans %}{% endblock %}",
        },
        enable_async=True,
    )
    page = environment.get_template("page")
    shown = await page.render_async(static_url=handler.static_url)
    assert shown == "fr For the account &lt;x&gt;"


def test_language_url_comes_back_without_tokens():
    uri = "/hub/spawn-pending/a/b?_xsrf=secret&next=%2Fx%3Fy%3D1"
    url = render("{{ language_url('en') }}", uri)
    assert url == "/hub/language/en?next=/hub/spawn-pending/a/b%3Fnext%3D%252Fx%253Fy%253D1"
    proxied = render("{{ language_url('en') }}", "/hub/error/503?url=%2Fuser%2Fa%2F")
    assert proxied == "/hub/language/en?next=/user/a/"


def test_problem_is_found_behind_an_exception():
    error = LaunchFailed("start-cancelled")
    wrapped = RuntimeError()
    wrapped.mydocker_error = error
    source = "{{ tr.error(problem) if problem else 'none' }}"
    assert render(source, exception=error) == "Le démarrage a été annulé."
    assert render(source, exception=wrapped) == "Le démarrage a été annulé."
    assert render(source, exception=RuntimeError("x")) == "none"
    assert render(source) == "none"


def test_template_without_a_request_is_french():
    template = hub_environment({"page": "{{ _('Sign in') }} {{ language }} {{ current_path }}"})
    assert template.get_template("page").render() == "Se connecter fr "


UPSTREAM_TEMPLATES = Path(DATA_FILES_PATH) / "templates"


@pytest.mark.parametrize("name", sorted(path.name for path in UPSTREAM_TEMPLATES.glob("*.html")))
def test_every_template_of_the_hub_is_ours(name):
    ours = hub_environment(
        ChoiceLoader([FileSystemLoader(HUB_TEMPLATES), FileSystemLoader(UPSTREAM_TEMPLATES)])
    ).get_template(name)
    assert Path(ours.filename).parent == HUB_TEMPLATES
    if name == "page.html":  # a copy: what other templates may fill has to be there
        theirs = re.findall(r"{% block (\w+)", (UPSTREAM_TEMPLATES / name).read_text())
        assert set(theirs) <= set(ours.blocks) | {"service"}


def test_share_path_finds_the_checkout():
    assert share_path("templates", "hub") == HUB_TEMPLATES
