"""The catalogue as code: what is read, what is refused and how, what is written and compared."""

import json
import re
import shlex
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub import cataloguefile
from mydocker_hub.cataloguefile import CatalogueEntry, CatalogueFile, diff, dump, json_schema, load
from mydocker_hub.domain.environment import (
    MEMORY_MAX_BYTES,
    MEMORY_MIN_BYTES,
    ComputeType,
    Interface,
    InterfaceKind,
    JoinLink,
    Lifetime,
    Link,
    Maintainer,
    Prefix,
    Resources,
    Sheet,
    SignIn,
    Status,
    Storage,
    Text,
    VolumeDriver,
)
from mydocker_hub.domain.errors import Invalid

CATALOGUE = Path(__file__).parent.parent / "share" / "catalogue"

MINIMAL = """\
version: 1
environments:
  - slug: julia
    title: Julia
    image: julia:1
    interfaces:
      - name: lab
        title: JupyterLab
"""


def problems(text, name="f.yaml"):
    with pytest.raises(Invalid) as refused:
        load(text, name)
    assert refused.value.problems
    for place, sentence in refused.value.problems:
        assert place.startswith(name)
        assert sentence
        assert place in refused.value.params.get("detail", place)
    return refused.value.problems


def problem(text):
    [found] = problems(text)
    return found


# --- what is read --------------------------------------------------------------------------------


def test_the_least_file():
    [entry] = load(MINIMAL, "f.yaml").environments
    assert entry.title == Text(fr="Julia", en="Julia")
    assert entry.join_links == ()
    assert load("version: 1", "f.yaml") == CatalogueFile(version=1)
    assert load(b"\xef\xbb\xbfversion: 1\r\n", "f.yaml") == CatalogueFile(version=1)
    assert load('{"version": 1, "environments": []}', "f.json") == CatalogueFile(version=1)


def test_everything_is_read():
    text = """
version: 1
compute_types:
  - slug: gpu
    title: {fr: Processeur graphique, en: GPU}
    constraints: [node.labels.gpu == 1]
    generic_resources: {gpu: 1}
    volumes: {driver: local, options: {type: nfs}, shared: true}
environments:
  - slug: julia
    title: {fr: Un, en: "One"}
    sheet:
      notice: null
      maintainers: [{name: Alice, email: alice@example.org}]
    image: julia:1
    variables: {A: "1", B: "no"}
    interfaces: [{name: lab, title: Lab, port: 80, path: /lab, kind: web}]
    resources: {cpu_limit: 1.5, memory_bytes: 4 Go, pids_limit: 100, compute_type: gpu,
                ptrace: true}
    storage: {dedicated: /a, global: /a/b}
    lifetime: {idle_limit: PT20M}
    join_links:
      - {key: abcdefghijkl, label: Moodle, expires_at: "2026-07-01T18:00:00+02:00"}
      - {key: abcdefghijkm, revoked: true}
"""
    file = load(text, "f.yaml")
    assert file == load(dump(file), "f.yaml")
    [entry] = file.environments
    assert entry.resources == Resources(
        cpu_limit=1.5, memory_bytes=4 * 10**9, pids_limit=100, compute_type="gpu", ptrace=True
    )
    assert entry.storage.global_ == "/a/b"
    assert entry.variables == {"A": "1", "B": "no"}
    assert entry.interfaces[0].kind is InterfaceKind.WEB
    assert entry.lifetime.idle_limit == timedelta(minutes=20)
    assert [link.revoked for link in entry.join_links] == [False, True]
    assert file.compute_types[0].volumes.shared is True


# --- what is refused: files ----------------------------------------------------------------------


def nested(depth):
    return "version: 1\nenvironments: " + "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        ("", "f.yaml:1", "the file is empty: begin with version: 1"),
        ("# only a comment\n", "f.yaml:1", "the file is empty"),
        ("just text", "f.yaml:1", "write fields"),
        ("- a\n- b\n", "f.yaml:1", "write fields"),
        ("version: 1\nenvironments: [\n", "f.yaml:3: environments[0]", "this is not YAML"),
        ("version: 1\nx: 'abc\n", "f.yaml:3: x", "this is not YAML"),
        ("version: 1\n  x: 2\n", "f.yaml:2", "this is not YAML"),
        ("version: 1\nx: @y\n", "f.yaml:2: x", "this is not YAML"),
        ("version: 1\nx: {a: b}}\n", "f.yaml:2", "this is not YAML"),
        ("version: 1\nenvironments:\n\t- slug: a\n", "f.yaml:3: environments", "no tabs"),
        ("version: 1\nx:\t- a\n", "f.yaml:2: x", "this is not YAML"),
        ("version: 1\n---\nversion: 1\n", "f.yaml:2", "one document"),
        ("version: 1\n...\n---\nx: 1\n", "f.yaml:3", "one document"),
        ("version: 1\nversion: 1\n", "f.yaml:2: version", "on line 1 already: keep one"),
        (MINIMAL + "    image: b\n", "f.yaml:9: environments[0].image", "on line 5 already"),
        ("version: 1\nx: &a [*a]\n", "f.yaml:2: x", "anchors (&) and aliases (*)"),
        ("version: 1\nx: &a b\n", "f.yaml:2: x", "anchors"),
        ("version: 1\nx:\n  - *a\n", "f.yaml:3: x[0]", "aliases"),
        ("version: 1\n&a x: b\n", "f.yaml:2", "anchors"),
        ("version: 1\nx: {<<: {a: b}}\n", "f.yaml:2: x.“<<”", "word"),
        ("version: 1\nx: !!python/object:os.system a\n", "f.yaml:2: x", "tags (!)"),
        ("version: 1\nx: !!python/object/apply:os.system [reboot]\n", "f.yaml:2: x", "tags (!)"),
        ("version: !!int 1\n", "f.yaml:1: version", "tags (!)"),
        ("version: 1\nx: ! b\n", "f.yaml:2: x", "tags (!)"),
        ("version: 1\nx: !local {a: b}\n", "f.yaml:2: x", "tags (!)"),
        ("version: 1\n? [a, b]\n: c\n", "f.yaml:2", "a field's name is a word"),
        ("version: 1\n? {a: b}\n: c\n", "f.yaml:2", "a field's name is a word"),
        ("version: 1\n1: c\n", "f.yaml:2: 1", "a field's name is a word"),
        ("version: 1\non: c\n", "f.yaml:2: on", "a field's name is a word"),
        ("version: 1\nnull: c\n", "f.yaml:2: null", "a field's name is a word"),
        (nested(50), "f.yaml:2: environments" + "[0]" * 11, "nested deeper"),
        ("version: 1\nx: a\x00b\n", "f.yaml:2", "remove the control character U+0000"),
        ("version: 1\nx: a\x1bb\n", "f.yaml:2", "remove the control character U+001B"),
        ("version: 1\nx: a\u2028b\n", "f.yaml:2", "remove the control character U+2028"),
        ("version: 1\nx: \ud800\n", "f.yaml:2", "UTF-8"),
        ("version: 1\nx: é\n".encode("latin-1"), "f.yaml:2", "this is not UTF-8"),
        ("version: 1\n".encode("utf-16"), "f.yaml:1", "this is not UTF-8"),
        (b"\x00\xff\xfe", "f.yaml:1", "this is not UTF-8"),
    ],
)
def test_files_that_cannot_be_read(text, place, sentence):
    found, said = problem(text)
    assert found == place
    assert sentence in said


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("no", "is true or false for some YAML readers: write true or false"),
        ("on", "write true or false"),
        ("Yes", "write true or false"),
        ("OFF", "write true or false"),
        ("2025-11-03", "put “2025-11-03” between quotes"),
        ("2025-11-03T10:00:00Z", "put “2025-11-03T10:00:00Z” between quotes"),
        ("0777", "plain decimal digits"),
        ("0o17", "plain decimal digits"),
        ("0x1F", "plain decimal digits"),
        ("0b11", "plain decimal digits"),
        ("1_000", "plain decimal digits"),
        ("12:30:45", "plain decimal digits"),
        ("1e3", "plain decimal digits"),
        ("+1", "plain decimal digits"),
        (".5", "plain decimal digits"),
        ("1.", "plain decimal digits"),
        (".inf", "plain decimal digits"),
        ("-.INF", "plain decimal digits"),
        (".nan", "plain decimal digits"),
        ("9" * 5000, "plain decimal digits"),
        ("1" + "0" * 18, "plain decimal digits"),
        ("1e999999999", "plain decimal digits"),
        ("<<", "between quotes"),
        ("=", "between quotes"),
    ],
)
def test_what_yaml_readers_disagree_on(value, sentence):
    for field in ("public", "slug"):
        found, said = problem(f"version: 1\nenvironments:\n  - {field}: {value}\n")
        assert found == f"f.yaml:3: environments[0].{field}"
        assert sentence in said
        assert len(said) < 200


@pytest.mark.parametrize("value", ["no", "2025-11-03", "0777", "1e3", "null", "3.10", "~", "y"])
def test_between_quotes_everything_is_text(value):
    text = MINIMAL.replace("title: Julia", f'title: "{value}"')
    assert load(text, "f.yaml").environments[0].title.fr == value


def test_five_megabytes_are_refused_before_they_are_parsed(monkeypatch):
    monkeypatch.setattr(yaml, "parse", None)
    for text in ("# " + "x" * 5_000_000, b"\xff" * 50_000_000, "é" * 2_500_001):
        with pytest.raises(Invalid) as refused:
            load(text, "f.yaml")
        assert refused.value.code == "too-large"
        assert refused.value.status == 413
        assert refused.value.sentence % refused.value.params
        assert refused.value.problems == [
            ("f.yaml:1", "a catalogue file has at most 5 MB: split it")
        ]


@pytest.mark.parametrize(
    "text",
    [
        "x: " + "[" * 4_900_000,
        "x: " + "{a: " * 1_000_000,
        "- " * 2_000_000,
        "version: 1\nx: [" + "a," * 2_000_000 + "]",
        "version: 1\nenvironments:\n" + "- {}\n" * 60_000,
        "version: 1\n" + "".join(f"x{n}: 1\n" for n in range(20_000)),
        "version: 1\n" + "x: 1\n" * 20_000,
        "a: &a [x,x]\n" + "".join(f"b{n}: &b{n} [*a,*a]\n" for n in range(100)),
    ],
    ids=["lists", "fields", "dashes", "values", "entries", "unknown", "duplicates", "laughs"],
)
def test_hostile_files_are_refused_soon(text):
    start = time.monotonic()
    found = problems(text)
    assert len(found) <= cataloguefile.MAX_PROBLEMS + 1
    assert time.monotonic() - start < 5


def load_or_refuse(text):
    try:
        load(text, "f.yaml")
        found = [("f.yaml:1", "")]
    except Invalid as error:
        found = error.problems
    assert found
    assert all(re.match(r"f\.yaml:[0-9]+", place) for place, _ in found)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60)))
@settings(max_examples=300)
def test_nothing_but_invalid_is_raised(text):
    load_or_refuse(text)


@given(st.text("version: 1\n-[]{}&*!|>'\"%@`#,?~\t abc0", max_size=80))
@settings(max_examples=300)
def test_nothing_but_invalid_is_raised_for_what_looks_like_yaml(text):
    for attempt in (text, f"version: 1\nenvironments:\n  - {text}"):
        load_or_refuse(attempt)


# --- what is refused: fields ---------------------------------------------------------------------


def change(before, after):
    assert before in MINIMAL
    return MINIMAL.replace(before, after)


def add(text):
    return MINIMAL + text


HERE = "environments[0]"


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        ("environments: []", "1: version", "this field is needed"),
        ("version: 2", "1: version", "write 1, not “2”"),
        ("version: '1'", "1: version", "write 1"),
        ("version: true", "1: version", "write"),
        ("version: 1.0", "1: version", "write 1"),
        ("version: 1\nenvironments: julia", "2: environments", "write a list"),
        ("version: 1\nenvironments: {a: b}", "2: environments", "write a list"),
        ("version: 1\nenvironments:\n", "2: environments", "this is empty: write a value"),
        ("version: 1\nenvironments:\n  -\n", "3: environments[0]", "this is empty"),
        ("version: 1\nenvironment: []", "2: environment", "did you mean environments?"),
        (change("    image: julia:1\n", ""), f"3: {HERE}.image", "this field is needed"),
        (change("image:", "imge:"), f"5: {HERE}.imge", "did you mean image?"),
        (change("slug: julia", "slug: Julia"), f"3: {HERE}.slug", "lower-case letters"),
        (change("title: Julia", "title: 42"), f"4: {HERE}.title", "write fields"),
        (change("title: Julia", "title: {fr: a}"), f"4: {HERE}.title.en", "is needed"),
        (change("title: Julia", "title: {fr: 1, en: b}"), f"4: {HERE}.title.fr", "put “1” between"),
        (change("julia:1", "$(reboot)"), f"5: {HERE}.image", "this is not an image reference"),
        (change("julia:1", "42"), f"5: {HERE}.image", "write text: put “42” between quotes"),
        (change("julia:1", "[a]"), f"5: {HERE}.image", "write text, not a list"),
        (change("julia:1", "{a: b}"), f"5: {HERE}.image", "write text, not fields"),
        (add("        port: 0\n"), f"9: {HERE}.interfaces[0].port", "of at least 1"),
        (add("        port: 65536\n"), f"9: {HERE}.interfaces[0].port", "of at most 65535"),
        (add("        port: '80'\n"), f"9: {HERE}.interfaces[0].port", "a whole number, not “80”"),
        (
            add("        port: true\n"),
            f"9: {HERE}.interfaces[0].port",
            "a whole number, not “true”",
        ),
        (add("        prot: 1\n"), f"9: {HERE}.interfaces[0].prot", "did you mean port?"),
        (add("    public: 'yes'\n"), f"9: {HERE}.public", "write true or false, not “yes”"),
        (add("    status: redy\n"), f"9: {HERE}.status", "'draft', 'test', 'ready' or 'archived'"),
        (add("    tags: [a, B]\n"), f"9: {HERE}.tags[1]", "lower-case letters"),
        (add("    tags: julia\n"), f"9: {HERE}.tags", "write a list"),
        (add("    tags:\n      - a\n      - b c\n"), f"11: {HERE}.tags[1]", "lower-case letters"),
        (add("    command: a | b\n"), f"9: {HERE}.command", "would need a shell"),
        (add("    command: ''\n"), f"9: {HERE}.command", "leave the command out"),
        (add("    icon: abcdefghijklmnopq\n"), f"9: {HERE}.icon", "at most 16 characters"),
        (add("    variables: {A: 1}\n"), f"9: {HERE}.variables.A", "put “1” between quotes"),
        (
            add("    variables:\n      A: b\n      1A: b\n"),
            f"11: {HERE}.variables.1A",
            "matches ^[A-Za-z_]",
        ),
        (add("    variables: [A]\n"), f"9: {HERE}.variables", "write fields"),
        (
            add("    resources:\n      cpu_limit: 2\n      memory_byte: 4 GB\n"),
            f"11: {HERE}.resources.memory_byte",
            "did you mean memory_bytes?",
        ),
        (
            add("    resources:\n      memory_bytes: lots\n"),
            f"10: {HERE}.resources.memory_bytes",
            "write a size such as 4 GB",
        ),
        (
            add("    resources:\n      cpu_limit: 2\n      cpu_share: 3\n"),
            f"9: {HERE}.resources",
            "cpu_share is at most cpu_limit",
        ),
        (
            add("    resources: {compute_type: gpu}\n"),
            f"9: {HERE}.resources.compute_type",
            "“gpu” is not among the compute_types of this file: write one of default",
        ),
        (add("    storage: {global_: /a}\n"), f"9: {HERE}.storage.global_", "did you mean global?"),
        (add("    storage: {global: /}\n"), f"9: {HERE}.storage.global", "belongs to the system"),
        (add("    storage: {xyz: 1}\n"), f"9: {HERE}.storage.xyz", "one of dedicated, global"),
        (
            add("    sheet:\n      links:\n        - url: https://a.b\n          titel: x\n"),
            f"11: {HERE}.sheet.links[0].title",
            "this field is needed",
        ),
        (
            add("    lifetime: {idle_limit: 1200}\n"),
            f"9: {HERE}.lifetime.idle_limit",
            "write a duration such as PT20M",
        ),
        (
            add("    join_links:\n      - key: short\n"),
            f"10: {HERE}.join_links[0].key",
            "a key has 12 to 64 letters and digits",
        ),
        (
            add("    join_links:\n      - key: abcdefghijkl\n      - key: abcdefghijkl\n"),
            f"9: {HERE}.join_links",
            "each join link needs a key of its own",
        ),
        (
            add("    join_links: [{key: abcdefghijkl, expires_at: 20260701}]\n"),
            f"9: {HERE}.join_links[0].expires_at",
            "such as 2026-07-01T18:00:00+02:00",
        ),
        (add('    "a b\\nc": 1\n'), f"9: {HERE}.“a b c”", "no such field"),
        (MINIMAL + "  - slug: [\n", "10: environments[1].slug[0]", "not YAML"),
    ],
)
def test_fields(text, place, sentence):
    said = dict(problems(text)).get(f"f.yaml:{place}", "")
    assert sentence in said


def test_every_problem_is_listed():
    text = MINIMAL.replace("julia:1", "$x").replace("slug: julia", "slug: A") + "        port: 0\n"
    assert [place for place, _ in problems(text)] == [
        "f.yaml:3: environments[0].slug",
        "f.yaml:5: environments[0].image",
        "f.yaml:9: environments[0].interfaces[0].port",
    ]


ENTRY = """\
  - slug: {slug}
    title: A
    image: a
    interfaces: [{{name: lab, title: Lab}}]
    join_links: [{{key: {key}}}]
"""


def entries(*pairs):
    return "version: 1\nenvironments:\n" + "".join(ENTRY.format(slug=s, key=k) for s, k in pairs)


def test_slugs_and_keys_are_unique_in_the_file():
    one, two = "a" * 12, "b" * 12
    assert len(load(entries(("x", one), ("y", two)), "f.yaml").environments) == 2
    assert problems(entries(("x", one), ("x", one))) == [
        (
            "f.yaml:8: environments[1].slug",
            "there is an environment “x” above: choose another name",
        ),
        (
            "f.yaml:12: environments[1].join_links[0].key",
            "this key leads to “x” already: each link needs its own",
        ),
    ]
    file = load(entries(("x", one)), "f.yaml")
    with pytest.raises(ValueError, match="there is an environment “x” above"):
        CatalogueFile(version=1, environments=file.environments * 2)


def test_compute_types_are_known_and_unique():
    gpu = "compute_types:\n  - {slug: gpu, title: GPU}\n"
    text = MINIMAL + "    resources: {compute_type: gpux}\n" + gpu
    assert problem(text) == (
        "f.yaml:9: environments[0].resources.compute_type",
        "“gpux” is not among the compute_types of this file: did you mean gpu?",
    )
    assert load(text.replace("gpux", "gpu"), "f.yaml")
    assert load(text.replace("gpux", "default"), "f.yaml")
    assert problem(MINIMAL + gpu + "  - {slug: gpu, title: GPU}\n") == (
        "f.yaml:11: compute_types[1].slug",
        "there is a compute type “gpu” above: choose another name",
    )


# --- writing -------------------------------------------------------------------------------------

# every character that a text may hold, the awkward ones often
char = st.one_of(
    st.sampled_from("\n\t\x85\xa0\u2028\u2029\ufeff\ufffe :#-?!&*|>'\"%@`{}[],\\~=é🚧"),
    st.characters(
        exclude_categories=["Cs"], exclude_characters=[chr(n) for n in range(32)] + ["\x7f"]
    ),
)
# fmt: off
words = st.sampled_from([
    "no", "On", "~", "null", "true", "1e3", "0o7", "0777", "1_0", "12:30", "2025-11-03", "1.5",
    "+1", ".5", "9" * 30, "<<", "=", "- a", "a: b", "a #b", "...", "---", "|", ">", "'", '"', "%",
    "@", "é", "🚧 x", "&a", "*a", "!a", "[", "{", "?", ",", "#", "", " ", "\n", " a\n", "a\n\n b",
    "a\nb\n", "a \nb", "\ta", "a\u2028b",
])
# fmt: on
plain = st.one_of(words, st.text(char, max_size=12))
texts = st.one_of(plain.map(lambda t: Text(fr=t, en=t)), st.builds(Text, fr=plain, en=plain))
line = plain.map(lambda t: " ".join(t.split())).filter(bool)
titles = st.one_of(line.map(lambda t: Text(fr=t, en=t)), st.builds(Text, fr=line, en=line))
slugs = st.from_regex(r"[a-z](-?[a-z0-9]){0,8}", fullmatch=True)
cpus = st.one_of(st.integers(1, 64), st.floats(0.05, 1024)).map(float)
sizes = st.one_of(
    st.integers(MEMORY_MIN_BYTES, MEMORY_MAX_BYTES),
    st.integers(1, 16).map(lambda n: n * 10**9),
    st.integers(6, 4096).map(lambda n: n * 1024**2),
)
durations = st.integers(60, 366 * 86400).map(lambda seconds: timedelta(seconds=seconds))


def several(strategy, least=0, most=2, **options):
    return st.lists(strategy, min_size=least, max_size=most, **options).map(tuple)


def optional(strategy):
    return st.one_of(st.none(), strategy)


@st.composite
def resources(draw, compute_types):
    limit, memory = draw(optional(cpus)), draw(optional(sizes))
    return Resources(
        cpu_limit=limit,
        cpu_share=draw(optional(cpus.map(lambda n: min(n, limit or n)))),
        cpu_reservation=draw(optional(cpus.map(lambda n: min(n, limit or n)))),
        memory_bytes=memory,
        memory_reservation_bytes=draw(optional(sizes.map(lambda n: min(n, memory or n)))),
        shm_bytes=min(memory or MEMORY_MAX_BYTES, draw(sizes)),
        pids_limit=draw(st.integers(16, 9999)),
        compute_type=draw(st.sampled_from(["default", *compute_types])),
        ptrace=draw(st.booleans()),
    )


links = st.builds(
    JoinLink,
    key=st.from_regex(
        r"[A-Za-z0-9]{12,20}|[0-9]{12}|0x[0-9a-f]{12}|[1-9]e[0-9]{10}", fullmatch=True
    ),
    label=plain.map(lambda t: " ".join(t.split())),
    expires_at=optional(
        st.datetimes(
            min_value=datetime(2001, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
            max_value=datetime(2199, 1, 1),  # noqa: DTZ001
            timezones=st.timezones(),
            # PEP 495: in the hour that comes twice, a time is equal to none of another zone
        ).filter(lambda moment: moment == moment.astimezone(UTC))
    ),
    revoked=st.booleans(),
)
sheets = st.builds(
    Sheet,
    description=texts,
    notice=optional(texts),
    software=several(line),
    courses=several(line),
    maintainers=several(
        st.builds(Maintainer, name=line, email=st.sampled_from([None, "a@example.org"]))
    ),
    links=several(st.builds(Link, title=titles, url=st.just("https://example.org/a?b=c#d"))),
)


@st.composite
def interfaces(draw):
    kind = draw(st.sampled_from(InterfaceKind))  # all of an environment have one
    is_web = kind is InterfaceKind.WEB
    one = st.builds(
        Interface,
        name=slugs,
        title=titles,
        kind=st.just(kind),
        port=st.just(8888),
        path=st.sampled_from(["/", "/lab", "/é"]),
        prefix=st.just(draw(optional(st.sampled_from(Prefix))) if is_web else None),
        sign_in=st.just(draw(optional(st.sampled_from(SignIn))) if is_web else None),
    )
    return draw(several(one, least=1, unique_by=lambda interface: interface.name))


compute_types = st.builds(
    ComputeType,
    slug=slugs,
    title=titles,
    constraints=several(st.sampled_from(["node.labels.gpu==1", "node.role != manager"])),
    generic_resources=st.dictionaries(st.sampled_from(["gpu", "1", "no"]), st.integers(1, 9)),
    volumes=st.builds(
        VolumeDriver,
        driver=st.sampled_from(["local", "vieux/sshfs:latest"]),
        options=st.dictionaries(st.sampled_from(["o", "type", "1"]), plain, max_size=2),
        shared=st.booleans(),
    ),
)


@st.composite
def catalogues(draw):
    types = draw(several(compute_types, unique_by=lambda item: item.slug))
    keys = draw(several(links, most=4, unique_by=lambda link: link.key))
    names = draw(several(slugs, unique=True))
    made = []
    for index, slug in enumerate(names):
        made.append(
            CatalogueEntry(
                slug=slug,
                title=draw(titles),
                sheet=draw(sheets),
                icon=draw(st.sampled_from(["📦", "🚧", "~", "1", "=", "⚙️"])),
                tags=draw(several(slugs, unique=True)),
                status=draw(st.sampled_from(Status)),
                public=draw(st.booleans()),
                image=draw(st.sampled_from(["a", "1.5", "null", "quay.io/a/b:2026-04-20"])),
                command=draw(st.sampled_from([None, "run 'a  b' \"\"", "x: {{BASE_URL}} #y"])),
                variables=draw(
                    st.dictionaries(
                        st.sampled_from(["A", "no", "Y", "_"]),
                        plain.filter(lambda t: "{{" not in t),
                        max_size=2,
                    )
                ),
                interfaces=draw(interfaces()),
                resources=draw(resources([item.slug for item in types])),
                storage=Storage(
                    dedicated=draw(st.sampled_from([None, "/home/jovyan"])),
                    global_=draw(st.sampled_from([None, "/home/jovyan/shared"])),
                ),
                lifetime=Lifetime(
                    idle_limit=draw(optional(durations)), maximum=draw(optional(durations))
                ),
                join_links=keys[index::2],
            )
        )
    return CatalogueFile(version=1, compute_types=types, environments=made)


@given(catalogues())
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read_again(catalogue):
    text = dump(catalogue)
    again = load(text, "f.yaml")
    assert again == catalogue
    assert dump(again) == text  # and stays the same
    assert diff(catalogue, again) == []
    schema_check(text)


@given(catalogues())
@settings(max_examples=30, deadline=None)
def test_other_yaml_readers_read_the_same(catalogue):
    # What we write must mean the same to one who has only PyYAML.
    assert CatalogueFile.model_validate(yaml.safe_load(dump(catalogue))) == catalogue


def test_the_text_is_readable():
    text = MINIMAL.replace("title: Julia", "title: {fr: Un, en: One}") + (
        "    sheet: {description: \"Un.\\n\\nDeux.\", notice: 'no'}\n"
        "    resources: {cpu_limit: 2, memory_bytes: 4000000000, shm_bytes: 128 MiB}\n"
        "    storage: {global: /home/jovyan}\n"
        "    lifetime: {idle_limit: PT1200S}\n"
        "    join_links: [{key: '123456789012', expires_at: '2026-07-01T18:00:00+02:00'}]\n"
    )
    assert (
        dump(load(text, "f.yaml"))
        == """\
version: 1
environments:
  - slug: julia
    title:
      fr: Un
      en: One
    sheet:
      description: |-
        Un.

        Deux.
      notice: "no"
    image: julia:1
    interfaces:
      - name: lab
        title: JupyterLab
    resources:
      cpu_limit: 2
      memory_bytes: 4 GB
      shm_bytes: 128 MiB
    storage:
      global: /home/jovyan
    lifetime:
      idle_limit: PT20M
    join_links:
      - key: "123456789012"
        expires_at: "2026-07-01T16:00:00Z"
"""
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (4 * 10**9, "4 GB"),
        (1_500_000_000, "1500 MB"),
        (64 * 1024**2, "64 MiB"),
        (2 * 1024**3, "2 GiB"),
        (10**12, "1 TB"),
        (6_291_457, 6_291_457),
    ],
)
def test_sizes(size, text):
    entry = CatalogueEntry.model_validate(
        {
            "slug": "a",
            "title": "A",
            "image": "a",
            "interfaces": [{"name": "a", "title": "A"}],
            "resources": {"memory_bytes": size, "shm_bytes": MEMORY_MIN_BYTES},
        }
    )
    written = yaml.safe_load(dump(CatalogueFile(version=1, environments=[entry])))
    assert written["environments"][0]["resources"]["memory_bytes"] == text


# --- comparing -----------------------------------------------------------------------------------


def changes(before, after):
    return [str(change) for change in diff(load(before, "before"), load(after, "after"))]


@pytest.mark.parametrize(
    ("extra_before", "extra_after", "lines"),
    [
        ("", "", []),
        (
            "    resources: {memory_bytes: 4 GB}\n",
            "    resources: {memory_bytes: 8 GB}\n",
            ["~ julia resources.memory_bytes: 4 GB → 8 GB"],
        ),
        (
            "",
            "    resources: {cpu_limit: 2, ptrace: true}\n",
            [
                "~ julia resources.cpu_limit: none → 2",
                "~ julia resources.ptrace: false → true",
            ],
        ),
        (
            "    sheet: {description: {fr: a, en: b}}\n",
            "    sheet: {description: {fr: a, en: c}}\n",
            ["~ julia sheet.description.en: b → c"],
        ),
        (
            "    sheet: {software: [a]}\n",
            "    sheet: {software: [a, b]}\n",
            ["~ julia sheet.software: a → a, b"],
        ),
        (
            "    lifetime: {idle_limit: PT20M}\n",
            "    lifetime: {maximum: P1D}\n",
            [
                "~ julia lifetime.idle_limit: PT20M → none",
                "~ julia lifetime.maximum: none → P1D",
            ],
        ),
        (
            "    storage: {dedicated: /home/jovyan}\n",
            "    storage: {global: /home/jovyan}\n",
            [
                "~ julia storage.dedicated: /home/jovyan → none",
                "~ julia storage.global: none → /home/jovyan",
            ],
        ),
        (
            "    variables: {A: b, C: d}\n",
            "    variables: {A: b, C: e}\n",
            ["~ julia variables.C: d → e"],
        ),
        (
            "    variables: {A: b, C: d}\n",
            "    variables: {C: d, A: b}\n",
            [],
        ),
        (
            "        port: 8888\n      - {name: vscode, title: VS Code, path: /vscode}\n",
            "        path: /lab\n",
            [
                "~ julia interfaces: lab, vscode → lab",
                "~ julia interfaces[lab].path: / → /lab",
                "~ julia interfaces[vscode]: name=vscode title=fr=VS Code en=VS Code kind=hub "
                "port=8888 path=/vscode → none",
            ],
        ),
        (
            "    join_links: [{key: abcdefghijkl}]\n",
            "    join_links: [{key: bbcdefghijkl}]\n",
            ["~ julia join_links[bbcdefghijkl]: none → key=bbcdefghijkl"],
        ),
        (
            "    join_links: [{key: abcdefghijkl}]\n",
            "    join_links: [{key: abcdefghijkl, revoked: true}]\n",
            ["~ julia join_links[abcdefghijkl].revoked: false → true"],
        ),
    ],
)
def test_changes(extra_before, extra_after, lines):
    assert changes(MINIMAL + extra_before, MINIMAL + extra_after) == lines


def test_the_order_of_interfaces_matters():
    first, second = "      - {name: a, title: A}\n", "      - {name: b, title: B}\n"
    start = MINIMAL.partition("      - name")[0]
    assert changes(start + first + second, start + second + first) == [
        "~ julia interfaces: a, b → b, a"
    ]


def test_additions_and_what_is_left_alone():
    before = entries(("x", "a" * 12), ("y", "b" * 12))
    after = "compute_types: [{slug: gpu, title: GPU}]\n" + entries(("y", "b" * 12), ("z", "c" * 12))
    assert changes(before, after) == ["+ compute_types.gpu: GPU", "+ z: A"]
    more = after.replace("title: GPU", "title: GPU, generic_resources: {gpu: 2}")
    assert changes(after, more) == ["~ compute_types.gpu generic_resources.gpu: none → 2"]


def test_long_texts_are_cut():
    [line] = changes(MINIMAL, MINIMAL + f"    sheet: {{description: {'long ' * 200}}}\n")[:1]
    assert len(line) < 200
    assert line.endswith("…")


@given(catalogues(), catalogues())
@settings(max_examples=40, deadline=None)
def test_something_changes_exactly_if_something_differs(before, after):
    kept = {entry.slug: entry for entry in before.environments}
    imported = {
        entry.slug: entry
        for entry in after.environments
        # an import keeps the links that it does not name
        if entry.slug not in kept or _without_links(entry) != _without_links(kept[entry.slug])
    }
    subjects = {
        change.subject
        for change in diff(before, after)
        if "." not in change.subject and not change.field.startswith("join_links")
    }
    assert subjects == set(imported)


def _without_links(entry):
    # the order of variables is no difference, nor is one language written twice
    return entry.model_copy(update={"join_links": ()})


# --- the schema and the catalogue of the service page --------------------------------------------


def schema_check(text):
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(text))


def test_the_schema_is_published():
    published = json.loads((CATALOGUE / "schema.json").read_text("utf-8"))
    assert published == json_schema(), (
        "run: python -m mydocker_hub.cataloguefile > share/catalogue/schema.json"
    )


def test_the_schema_is_a_schema():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"]
    assert schema["description"]
    assert '"$id"' not in json.dumps(schema)


@pytest.mark.parametrize(
    "text",
    [
        "version: 2",
        "environments: []",
        MINIMAL + "    colour: red\n",
        MINIMAL + "        port: 0\n",
        MINIMAL + "    public: 'yes'\n",
        MINIMAL + "    storage: {global_: /a}\n",
        MINIMAL + "    join_links: [{key: short}]\n",
        MINIMAL.replace("title: Julia", "title: 3"),
        MINIMAL.replace("slug: julia", "slug: Julia"),
    ],
)
def test_the_schema_refuses_what_load_refuses(text):
    assert problems(text)
    with pytest.raises(jsonschema.ValidationError):
        schema_check(text)


@pytest.fixture(scope="module")
def page():
    return load((CATALOGUE / "paris-saclay.yaml").read_bytes(), "paris-saclay.yaml")


def test_the_page_validates_against_the_schema():
    schema_check((CATALOGUE / "paris-saclay.yaml").read_text("utf-8"))


def test_the_page_is_written_and_read_again(page):
    assert load(dump(page), "again") == page


# slug, join key and number of the configuration page, from the service page
ON_THE_PAGE = [
    ("jupyterhub-clone", "qWsmLepfAkaFqYIQBjKL", None),
    ("jupyterlab-python", "IvvgFOBBFzGLwuGJeFSb", 21),
    ("jupyterlab-scipy", "adNzzJUzLSjBjmwQohnD", 34),
    ("jupyterlab-pytorch", "PQCQGTeqRfsuQaTHOmmd", 35),
    ("jupyterlab-cpp", "pQlQsEaZSPJMBsBtbxOD", 16),
    ("jupyterlab-sagemath", "gkctIyHvdZkofetGeMju", 20),
    ("jupyterlab-julia", "ilpJoKzaJZVisfPVJLcL", 8),
    ("jupyterlab-sql", "BwDiQTSWOZJdqReXqpdV", 56),
    ("jupyterlab-r", "yTiJIgUfGnwEMXztjsXH", 53),
]


def test_all_environments_of_the_page_are_there(page):
    configured = re.compile(
        r"https://mydocker\.universite-paris-saclay\.fr/admin/courses/(\d+)/edit"
    )
    found = []
    for entry in page.environments:
        numbers = [int(m[1]) for link in entry.sheet.links if (m := configured.match(link.url))]
        [link] = entry.join_links
        assert not link.revoked
        assert link.expires_at is None
        found.append((entry.slug, link.key, numbers[0] if numbers else None))
    assert found == ON_THE_PAGE


def test_the_page_lists_them_to_everybody(page):
    assert {(entry.public, entry.status) for entry in page.environments} == {(True, Status.READY)}


def test_what_the_page_says_of_resources_and_lifetimes(page):
    by_slug = {entry.slug: entry for entry in page.environments}
    for slug, entry in by_slug.items():
        assert entry.resources.memory_bytes == 4 * 10**9
        if slug == "jupyterlab-pytorch":
            assert (entry.resources.cpu_share, entry.resources.cpu_limit) == (2, 4)
        else:
            assert (entry.resources.cpu_share, entry.resources.cpu_limit) == (None, 2)
        minutes = {"jupyterlab-julia": 30, "jupyterlab-sql": None, "jupyterlab-r": None}.get(
            slug, 20
        )
        assert entry.lifetime.idle_limit == (minutes and timedelta(minutes=minutes))
        dedicated = slug in {"jupyterlab-julia", "jupyterlab-sql", "jupyterlab-r"}
        assert bool(entry.storage.dedicated) is dedicated
        assert bool(entry.storage.global_) is (not dedicated or slug == "jupyterlab-julia")
    assert by_slug["jupyterlab-julia"].storage.global_ == "/home/jovyan/shared"
    assert by_slug["jupyterlab-cpp"].resources.ptrace is True
    assert [i.path for i in by_slug["jupyterhub-clone"].interfaces] == [
        "/lab",
        "/tree",
        "/vscode",
        "/desktop",
    ]


IDLE_OPTIONS = (
    "--ServerApp.shutdown_no_activity_timeout",
    "--MappingKernelManager.cull_idle_timeout",
    "--TerminalManager.cull_inactive_timeout",
)


def test_idle_options_and_idle_limits_agree(page):
    for entry in page.environments:
        program, *words = shlex.split(entry.command)
        assert program == "jupyterhub-singleuser"
        options = dict(word.split("=", 1) for word in words)
        limit = entry.lifetime.idle_limit
        seconds = str(int(limit.total_seconds())) if limit else None
        assert options == (dict.fromkeys(IDLE_OPTIONS, seconds) if seconds else {}), entry.slug


def test_the_page_is_complete_in_both_languages(page):
    for entry in page.environments:
        for text in (entry.title, entry.sheet.description):
            assert text.fr.strip()
            assert text.en.strip()
            assert text.fr != text.en
        assert entry.sheet.software
        assert {interface.kind for interface in entry.interfaces} == {InterfaceKind.HUB}
        assert ("🚧" in (entry.sheet.notice.fr if entry.sheet.notice else "")) is (
            "under-construction" in entry.tags
        )
        assert ":" in entry.image.rpartition("/")[2]  # pinned
    under_construction = [e.slug for e in page.environments if "under-construction" in e.tags]
    assert under_construction == ["jupyterlab-julia", "jupyterlab-sql", "jupyterlab-r"]


def test_links_lead_where_the_page_leads(page):
    hosts = {
        urlsplit(link.url).hostname for entry in page.environments for link in entry.sheet.links
    }
    assert hosts == {
        "gitlab-research.centralesupelec.fr",
        "gitlab.dsi.universite-paris-saclay.fr",
        "introductionprogrammationpython.pages.centralesupelec.fr",
        "jupyter-docker-stacks.readthedocs.io",
        "mydocker.universite-paris-saclay.fr",
    }
