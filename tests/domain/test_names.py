"""Names: valid for Docker and the hub, never shared by two people, the same for ever."""

import re
import unicodedata
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mydocker_hub.domain import names

VALID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")

HOSTILE = [
    "alice",
    "Alice",
    "ALICE",
    "alic",
    "alice1",
    "alice-",
    "alice.",
    "alice_",
    "ali.ce",
    "ali-ce",
    "ali--ce",
    " alice",
    "alice ",
    "alice\n",
    "alice\x00",
    "alice@universite-paris-saclay.fr",
    "alice@universite.paris-saclay.fr",
    "alice@universite-paris-saclay.fr.evil.example",
    unicodedata.normalize("NFC", "amélie"),
    unicodedata.normalize("NFD", "amélie"),
    "amelie",
    "АЛИСА",
    "аlice",  # the first letter is Cyrillic
    "ａｌｉｃｅ",  # full width
    "ﬁona",
    "fiona",
    "straße",
    "strasse",
    "李雷",
    "韩梅梅",
    "👩‍🔬",
    "👩🔬",
    "a" * 200,
    "a" * 201,
    "a" * 5000,
    "../../etc/passwd",
    "$(reboot)",
    "'; DROP TABLE users; --",
    "{{PASSWORD}}",
    "-",
    "",
    "\ud800",
]


def all_names(user: str, hub: str = "hub", slug: str = "jupyterlab-python") -> list[str]:
    return [
        names.service_name(hub, user, slug),
        names.dedicated_volume(hub, user, slug),
        names.global_volume(hub, user),
        names.preparation_name(names.global_volume(hub, user)),
        names.preparation_name(names.dedicated_volume(hub, user, slug)),
    ]


@pytest.mark.parametrize("user", HOSTILE)
def test_every_name_is_valid(user):
    for name in all_names(user):
        assert VALID.fullmatch(name), name


def test_no_two_people_share_a_name():
    assert len(set(HOSTILE)) == len(HOSTILE)
    for one, other in combinations(HOSTILE, 2):
        assert not set(all_names(one)) & set(all_names(other)), (one, other)


any_text = st.text(st.characters(), max_size=300)  # surrogates and all


@given(any_text, any_text, any_text)
def test_names_of_anybody_are_valid(hub, user, slug):
    made = all_names(user, hub, slug)
    assert len(set(made)) == len(made)
    for name in made:
        assert VALID.fullmatch(name), name


@given(st.tuples(any_text, any_text, any_text), st.tuples(any_text, any_text, any_text))
def test_different_people_hubs_or_environments_have_different_names(one, other):
    for function, arity in [
        (names.service_name, 3),
        (names.dedicated_volume, 3),
        (names.global_volume, 2),
    ]:
        same_input = one[:arity] == other[:arity]
        assert (function(*one[:arity]) == function(*other[:arity])) is same_input


@given(any_text.filter(bool), any_text.filter(bool))
def test_where_one_part_ends_matters(one, other):
    joined = one + other
    assert names.service_name(joined, "", "x") != names.service_name(one, other, "x")
    assert names.global_volume(joined, "") != names.global_volume(one, other)


def test_labels_of_servers_differ():
    labels = [
        names.origin_label(hub, user, server)
        for hub in ("hub", "hub2")
        for user in HOSTILE
        for server in ("lab", "code", "")
    ]
    assert len(set(labels)) == len(labels)


@given(any_text, any_text, any_text)
def test_a_label_is_part_of_a_host_name(hub, user, server):
    label = names.origin_label(hub, user, server)
    # RFC 1035 section 2.3.1, with the port before it: at most 63 letters, digits, hyphens
    assert re.fullmatch(r"[a-z2-7]{20}", label)
    assert VALID.fullmatch(f"p{65535}-{label}")
    assert len(f"65535-{label}") <= 63


@given(st.tuples(any_text, any_text, any_text), st.tuples(any_text, any_text, any_text))
def test_no_two_servers_share_a_label(one, other):
    assert (names.origin_label(*one) == names.origin_label(*other)) is (one == other)


def test_a_label_tells_nothing_of_other_names():
    # It is in addresses that people pass on.
    label = names.origin_label("hub", "alice", "lab")
    assert not any(label in name for name in all_names("alice", "hub", "lab"))


# These names hold people's files. A change here loses them: never edit a line, only add.
STABLE_FOR_EVER = {
    (
        "service_name",
        "mydocker",
        "alice",
        "jupyterlab-python",
    ): "mydocker-alice-jupyterlab-python-o3syj3syib7kpyi7n2yo",
    (
        "dedicated_volume",
        "mydocker",
        "alice",
        "jupyterlab-python",
    ): "mydocker-env-alice-jupyterlab-python-lwswdinagt2e2ivg6geq",
    ("global_volume", "mydocker", "alice"): "mydocker-home-alice-cytqwjz3astkjhm7qiaa",
    ("global_volume", "mydocker", "Alice"): "mydocker-home-alice-h66jdojqnlzdzn4gp4f7",
    (
        "global_volume",
        "mydocker",
        "alice@universite-paris-saclay.fr",
    ): "mydocker-home-alice-universite-paris-s-zynjvkqbxujenh4ptkys",
    ("global_volume", "mydocker", "am\xe9lie"): "mydocker-home-amelie-dbz225ec7i732n5jgn75",
    ("global_volume", "mydocker", "ame\u0301lie"): "mydocker-home-amelie-g7zxtpprgoqvfrzck6cw",
    ("global_volume", "mydocker", "\u674e\u96f7"): "mydocker-home-hr3v2nj7ojennjup7ccy",
    (
        "global_volume",
        "mydocker",
        "a" * 200,
    ): "mydocker-home-aaaaaaaaaaaaaaaaaaaaaaaa-qelvzynlov72437b6lqs",
    ("dedicated_volume", "other-hub", "alice", "r"): "mydocker-env-alice-r-4mmqjfqcqxiqdmfthh4k",
    (
        "preparation_name",
        "mydocker-home-alice-cytqwjz3astkjhm7qiaa",
    ): "mydocker-prepare-2x7fpc5sgkytl6uida6s",
}


@pytest.mark.parametrize(("call", "name"), STABLE_FOR_EVER.items())
def test_names_are_stable_for_ever(call, name):
    function, *arguments = call
    assert getattr(names, function)(*arguments) == name


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a", True),
        ("jupyterlab-python", True),
        ("r2d2", True),
        ("a" * 30, True),
        ("a" * 31, False),
        ("", False),
        ("A", False),
        ("1a", False),
        ("-a", False),
        ("a-", False),
        ("a--b", False),
        ("a_b", False),
        ("a.b", False),
        ("a b", False),
        ("é", False),
        ("a\n", False),
        ("a\x00", False),
        ("٣a", False),
        ("a٣", False),
    ],
)
def test_slugs(text, good):
    assert names.is_slug(text) is good


@given(st.from_regex(names.SLUG_PATTERN, fullmatch=True).filter(names.is_slug))
def test_a_slug_is_a_hub_server_name(slug):
    # JupyterHub 6, jupyterhub/slugs.py: 1 to 30 of a-z 0-9 -, a letter first
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,29}", names.server_name(slug))


@given(any_text, any_text, any_text)
def test_whose_a_volume_may_be_is_never_missed(hub: str, user: str, slug: str) -> None:
    assert names.may_be_of(names.global_volume(hub, user), user)
    assert names.may_be_of(names.dedicated_volume(hub, user, slug), user)


def test_whose_a_volume_cannot_be() -> None:
    assert not names.may_be_of(names.global_volume("hub", "alice"), "bob")
    assert not names.may_be_of(names.dedicated_volume("hub", "alice", "lab"), "bob")
