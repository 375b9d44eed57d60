"""Environments: what is accepted, what is refused and with which words."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mydocker_hub.domain.environment import (
    MEMORY_MAX_BYTES,
    MEMORY_MIN_BYTES,
    ComputeType,
    Environment,
    InterfaceKind,
    JoinLink,
    Lifetime,
    Maintainer,
    Resources,
    Sheet,
    Status,
    Storage,
    Text,
    VolumeDriver,
    iso_duration,
    parse_bytes,
)

LAB = {"name": "lab", "title": "JupyterLab"}


def environment(**fields):
    return Environment.model_validate(
        {"slug": "a", "title": "A", "image": "debian:12", "interfaces": [LAB], **fields}
    )


def refusal(make, *args, **fields):
    """Where and why it is refused: one “field.path: sentence” for each fault."""
    with pytest.raises(ValidationError) as refused:
        make(*args, **fields)
    return [
        f"{'.'.join(map(str, error['loc']))}: {error['msg'].removeprefix('Value error, ')}"
        for error in refused.value.errors()
    ]


def test_defaults():
    made = environment()
    assert made.status is Status.DRAFT
    assert made.public is False
    assert made.command is None
    assert made.main_interface.kind is InterfaceKind.HUB
    assert (made.main_interface.port, made.main_interface.path) == (8888, "/")
    assert made.storage == Storage(dedicated=None, global_=None)
    assert made.resources.ptrace is False
    assert made.resources.pids_limit == 2048
    assert made.lifetime.idle_limit is None


def test_nothing_unknown_and_nothing_changes():
    assert refusal(environment, colour="red") == ["colour: Extra inputs are not permitted"]
    made = environment()
    with pytest.raises(ValidationError):
        made.image = "other"


# --- ports, paths, interfaces ---


@pytest.mark.parametrize("port", [1, 22, 8888, 65535])
def test_good_ports(port):
    assert environment(interfaces=[{**LAB, "port": port}]).main_interface.port == port


@pytest.mark.parametrize(
    "port", [0, 65536, -1, "8888", True, 1.5, 8888.0, None, "", [8888], 10**30, float("nan")]
)
def test_bad_ports(port):
    problems = refusal(environment, interfaces=[{**LAB, "port": port}])
    assert problems[0].startswith("interfaces.0.port: ")


@pytest.mark.parametrize("path", ["/", "/lab", "/lab/tree/a.ipynb", "/vscode/", "/é"])
def test_good_interface_paths(path):
    assert environment(interfaces=[{**LAB, "path": path}]).main_interface.path == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "lab",
        "//evil.example",
        "/..",
        "/a/../b",
        "/a b",
        "/a\n",
        "/a?x=1",
        "/a#x",
        "/a\\b",
        "/a\x00",
        "https://evil.example",
        "/" + "a" * 200,
        None,
        3,
    ],
)
def test_bad_interface_paths(path):
    problems = refusal(environment, interfaces=[{**LAB, "path": path}])
    assert problems[0].startswith("interfaces.0.path: ")


def test_interfaces_differ():
    other = {**LAB, "name": "other"}
    assert len(environment(interfaces=[LAB, other]).interfaces) == 2
    assert refusal(environment, interfaces=[LAB, LAB]) == [
        "interfaces: each interface needs a name of its own"
    ]
    assert refusal(environment, interfaces=[LAB, {**other, "port": 8889}]) == [
        "interfaces: the interfaces of kind hub are one server: give them one port"
    ]
    [problem] = refusal(environment, interfaces=[])
    assert problem.startswith("interfaces: ")


WEB = {**LAB, "kind": "web"}


def test_interfaces_are_of_one_kind():
    other = {**WEB, "name": "other", "port": 8889}
    assert environment(interfaces=[LAB]).kind is InterfaceKind.HUB
    assert environment(interfaces=[WEB, other]).kind is InterfaceKind.WEB
    for interfaces in ([LAB, other], [WEB, {**LAB, "name": "other"}]):
        assert refusal(environment, interfaces=interfaces) == [
            "interfaces: give all interfaces one kind: hub for jupyterhub-singleuser, else web"
        ]


@pytest.mark.parametrize(
    "fields",
    [
        {"prefix": "keep"},
        {"prefix": "strip"},
        {"sign_in": "none"},
        {"sign_in": "jupyter"},
        {"sign_in": "code-server", "prefix": "strip"},
        {"sign_in": "basic"},
    ],
)
def test_prefix_and_sign_in_are_for_kind_web(fields):
    made = environment(interfaces=[{**WEB, **fields}]).main_interface
    assert made.model_dump(include=set(fields)) == fields
    problem = refusal(environment, interfaces=[{**LAB, **fields}])[0]
    assert problem == "interfaces.0: prefix and sign_in are for kind web: leave them out"


def test_without_them_nothing_is_decided_yet():
    assert environment(interfaces=[WEB]).main_interface.prefix is None
    assert environment(interfaces=[WEB]).main_interface.sign_in is None


@pytest.mark.parametrize("field", ["prefix", "sign_in"])
@pytest.mark.parametrize("value", ["", "KEEP", "yes", True, 1, ["keep"]])
def test_bad_prefixes_and_sign_ins(field, value):
    problem = refusal(environment, interfaces=[{**WEB, field: value}])[0]
    assert problem.startswith(f"interfaces.0.{field}: ")


def test_interfaces_of_one_port_agree():
    same = {**WEB, "prefix": "strip", "sign_in": "basic"}
    assert environment(interfaces=[same, {**same, "name": "other", "path": "/x"}])
    for field, value in [("prefix", "keep"), ("sign_in", "none"), ("prefix", None)]:
        other = {**same, "name": "other", field: value}
        assert refusal(environment, interfaces=[same, other]) == [
            "interfaces: give the interfaces of port 8888 one prefix and one sign_in"
        ]
        assert environment(interfaces=[same, {**other, "port": 1}])


def test_proxy_is_no_name_beside_another_port():
    proxy = {**WEB, "name": "proxy"}
    assert environment(interfaces=[proxy])
    assert environment(interfaces=[proxy, WEB])
    for interfaces in ([proxy, {**WEB, "port": 1}], [{**WEB, "port": 1}, proxy]):
        assert refusal(environment, interfaces=interfaces) == [
            "interfaces: proxy/… leads to any port already: choose another name"
        ]


@pytest.mark.parametrize("variable", ["HOST['8888']", "PORT['8888']", "BASE_URL['8888']"])
def test_variables_of_a_port(variable):
    command = f"run {{{{{variable}}}}}"
    assert environment(command=command, interfaces=[WEB])
    assert refusal(environment, command=command) == [
        f": leave {variable} out of the command: only kind web interfaces have it"
    ]
    assert refusal(environment, command=command, interfaces=[{**WEB, "port": 1}]) == [
        f": {{{{{variable}}}}} is the port of no interface: add one, or leave it"
    ]


@pytest.mark.parametrize("interface", [LAB, WEB])
def test_variables_that_every_environment_has(interface):
    command = "run {{USERNAME}} {{PASSWORD}} {{BASE_URL}}"
    assert environment(command=command, interfaces=[interface])
    [problem] = refusal(environment, command="run {{USER_REDIRECT}}", interfaces=[interface])
    assert "leave {{USER_REDIRECT}} out" in problem


# --- folders ---


@pytest.mark.parametrize(
    "path",
    ["/home/jovyan", "/home/jovyan/shared", "/data", "/home/mambauser", "/srv/é", "/processes"],
)
def test_good_mount_paths(path):
    assert Storage(dedicated=path).dedicated == path


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/", "belongs to the system"),
        ("//", "without a / at its end"),
        ("//home", "without . , .. or //"),
        ("", "at least 1"),
        (".", "starts with /"),
        ("home/jovyan", "starts with /"),
        ("../home", "starts with /"),
        ("~", "starts with /"),
        ("/home/..", "without . , .. or //"),
        ("/home/../etc", "without . , .. or //"),
        ("/home/./x", "without . , .. or //"),
        ("/home//x", "without . , .. or //"),
        ("/home/jovyan/", "without a / at its end"),
        ("/proc", "belongs to the system"),
        ("/proc/1", "belongs to the system"),
        ("/etc", "belongs to the system"),
        ("/usr/local", "belongs to the system"),
        ("/dev/shm", "belongs to the system"),
        ("/home/my files", "no spaces"),
        ("/home/a\u00a0b", "no spaces"),
        ("/home/a,readonly", "no spaces, commas"),
        ("/home/a:ro", "colons"),
        ("/home/'a'", "quotes"),
        ('/home/"a"', "quotes"),
        ("/home/{{.Node.Hostname}}", "braces"),
        ("/home\n", "no spaces"),
        ("/home\x00", "control characters"),
        ("/" + "a" * 200, "at most 200"),
    ],
)
def test_bad_mount_paths(path, sentence):
    for field in ("dedicated", "global"):
        [problem] = refusal(Storage.model_validate, {field: path})
        assert problem.startswith(f"{field}: ")
        assert sentence in problem


def test_the_two_folders_differ():
    assert Storage(dedicated="/home/jovyan", global_="/home/jovyan/shared")
    assert refusal(Storage, dedicated="/a", global_="/a") == [
        ": the two folders need two different paths"
    ]


@given(st.text(max_size=210))
def test_an_accepted_mount_path_is_absolute_and_normal(path):
    try:
        Storage(dedicated=path)
    except ValidationError:
        return
    assert path.startswith("/")
    assert len(path) > 1
    assert not {"", ".", ".."} & set(path[1:].split("/"))
    assert not any(char.isspace() for char in path)


# --- variables, texts, links ---


@pytest.mark.parametrize("name", ["LANG", "_", "a1", "lower_case", "JUPYTER_ENABLE_LAB"])
def test_good_variables(name):
    assert environment(variables={name: "x y $(z)\n'"}).variables == {name: "x y $(z)\n'"}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "1A",
        "A-B",
        "A B",
        "A=B",
        "A\n",
        "É",
        "$A",
        "A" * 201,
        "JUPYTERHUB_API_TOKEN",
        "jupyterhub_user",
        "MYDOCKER_X",
    ],
)
def test_bad_variable_names(name):
    [problem] = refusal(environment, variables={name: "x"})
    assert problem.startswith("variables.")


@pytest.mark.parametrize("value", [1, True, None, "a\x00b", "\x1b[2J", "{{PASSWORD}}", "x" * 8193])
def test_bad_variable_values(value):
    [problem] = refusal(environment, variables={"A": value})
    assert problem.startswith("variables.A: ")


@pytest.mark.parametrize("field", ["title", "slug", "image", "icon", "command", "status"])
@pytest.mark.parametrize("value", [1, True, ["a"], {"a": "b"}, b"\xff", "", "a\x00", "\ud800"])
def test_bad_values_are_refused_where_they_are(field, value):
    assert all(problem.startswith(field) for problem in refusal(environment, **{field: value}))


@pytest.mark.parametrize("title", ["", " ", "a\nb", "a" * 121])
def test_bad_titles(title):
    for value in (title, {"fr": title, "en": "A"}, {"fr": "A", "en": title}):
        assert refusal(environment, title=value) == [
            "title: write a title: one line, 120 characters at most"
        ]


def test_a_text_has_two_languages():
    text = Text.model_validate("both")
    assert (text.in_("fr"), text.in_("en"), text.in_("de")) == ("both", "both", "both")
    assert Text(fr="un", en="one").in_("en") == "one"
    assert Text(fr="un", en="one").in_("fr") == "un"
    assert refusal(Text.model_validate, {"fr": "seul"}) == ["en: Field required"]


def test_the_schema_knows_that_one_string_may_stand_for_both():
    schema = TypeAdapter(Text).json_schema()
    assert {"type": "string", "maxLength": 4000} in schema["anyOf"]
    assert TypeAdapter(Text).json_schema(mode="serialization")["type"] == "object"


@pytest.mark.parametrize("value", ["yes", "on", "true", 1, 0, None])
def test_yes_and_no_are_true_and_false(value):
    for field in ("public", "resources"):
        wanted = {"ptrace": value} if field == "resources" else value
        [problem] = refusal(environment, **{field: wanted})
        assert "valid boolean" in problem


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example",
        "/admin",
        "https://",
        "https:///x",
        "https://a b",
        "https://a\n",
        "https://user:pw@example.org",
        "https://a:99999/",
        "https://[::1",
        "",
    ],
)
def test_bad_links(url):
    [problem] = refusal(Sheet.model_validate, {"links": [{"title": "x", "url": url}]})
    assert problem.startswith("links.0.url: ")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00", "a" * 201])
def test_bad_maintainer_names(name):
    [problem] = refusal(Maintainer, name=name)
    assert problem.startswith("name: ")


@pytest.mark.parametrize("email", ["", "a", "a@", "@b", "a b@c", "a@b@c", "<a@b>", "a\x00@b"])
def test_bad_addresses(email):
    [problem] = refusal(Maintainer, name="A", email=email)
    assert problem.startswith("email: ")


def test_lines_are_stripped_and_tags_kept_once():
    assert Maintainer(name="  Alice ").name == "Alice"
    assert environment(tags=["b", "a", "b"]).tags == ("b", "a")


# --- quantities ---


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4 GB", 4 * 10**9),
        ("4 Go", 4 * 10**9),
        ("4GB", 4 * 10**9),
        ("4 gb", 4 * 10**9),
        ("4G", 4 * 10**9),
        ("512 MiB", 512 * 1024**2),
        ("2 GiB", 2 * 1024**3),
        ("1 TiB", 1024**4),
        ("1.5 GB", 1_500_000_000),
        ("0.1 GB", 10**8),
        ("1.1 TB", 1_100_000_000_000),
        ("6291456", 6291456),
        ("6291456 B", 6291456),
        (123, 123),
    ],
)
def test_sizes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GB",
        "4 XB",
        "4 iB",
        "-4 GB",
        "+4 GB",
        "4,5 GB",
        "4 GB RAM",
        "1e9",
        "0x10",
        "inf",
        "nan GB",
        "9" * 400 + " GB",
        "1." + "9" * 400,
        "٤ GB",
        "4\x00GB",
    ],
)
def test_bad_sizes(text):
    assert refusal(Resources, memory_bytes=text) == [
        "memory_bytes: write a size such as 4 GB, 512 MB or 2 GiB"
    ]


@pytest.mark.parametrize("size", [MEMORY_MIN_BYTES - 1, MEMORY_MAX_BYTES + 1, 4.0, True, "1 MB"])
def test_sizes_out_of_range(size):
    [problem] = refusal(Resources, memory_bytes=size)
    assert problem.startswith("memory_bytes: ")


FACTORS = {
    "": 1,
    "k": 1000,
    "M": 1000**2,
    "G": 1000**3,
    "T": 1000**4,
    "Ki": 1024,
    "Mi": 1024**2,
    "Gi": 1024**3,
    "Ti": 1024**4,
}


@given(st.integers(0, 10**9), st.sampled_from(sorted(FACTORS)), st.sampled_from(["", "B", "o"]))
def test_sizes_are_exact(number, unit, letter):
    assert parse_bytes(f"{number} {unit}{letter}") == number * FACTORS[unit]


@pytest.mark.parametrize("cpus", [0, 0.04, -1, 1025, True, "2", float("inf"), float("nan")])
def test_bad_cpus(cpus):
    for field in ("cpu_limit", "cpu_share", "cpu_reservation"):
        [problem] = refusal(Resources, **{field: cpus})
        assert problem.startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"cpu_limit": 2, "cpu_share": 3}, "cpu_share is at most cpu_limit"),
        ({"cpu_limit": 2, "cpu_reservation": 3}, "cpu_reservation is at most cpu_limit"),
        (
            {"memory_bytes": 10**9, "memory_reservation_bytes": 2 * 10**9},
            "memory_reservation_bytes is at most memory_bytes",
        ),
        (
            {"memory_bytes": 10**9, "shm_bytes": 2 * 10**9},
            "shm_bytes is at most memory_bytes: shared memory counts in it",
        ),
    ],
)
def test_resources_fit_each_other(fields, sentence):
    assert refusal(Resources, **fields) == [f": {sentence}"]
    equal = {name: min(fields.values()) for name in fields}
    assert Resources(**equal)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("PT20M", timedelta(minutes=20)),
        ("PT1200S", timedelta(minutes=20)),
        ("PT1H30M", timedelta(minutes=90)),
        ("P1D", timedelta(days=1)),
        ("P1DT2H", timedelta(hours=26)),
        ("P366D", timedelta(days=366)),
    ],
)
def test_durations(text, duration):
    assert Lifetime(idle_limit=text).idle_limit == duration


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "P1DT",
        "20M",
        "20 min",
        "PT20",
        "PT1.5H",
        "-PT20M",
        "P1M",
        "P1W",
        "P1Y",
        "pt20m",
        "PT20M\n",
        "20:00",
        1200,
        20.5,
        True,
        "PT" + "9" * 400 + "M",
    ],
)
def test_bad_durations(text):
    assert refusal(Lifetime, idle_limit=text) == [
        "idle_limit: write a duration such as PT20M (20 minutes) or P1D (one day), ISO 8601"
    ]


@pytest.mark.parametrize("text", ["PT0S", "PT59S", "P367D", "P9999D"])
def test_durations_out_of_range(text):
    assert refusal(Lifetime, maximum=text) == [
        "maximum: a duration is between one minute and a year"
    ]


@given(st.integers(60, 366 * 86400).map(lambda seconds: timedelta(seconds=seconds)))
def test_durations_survive_json(duration):
    lifetime = Lifetime(idle_limit=duration)
    assert Lifetime.model_validate_json(lifetime.model_dump_json()) == lifetime
    assert Lifetime(idle_limit=iso_duration(duration)) == lifetime


# --- join links, compute types ---


@pytest.mark.parametrize("key", ["IvvgFOBBFzGLwuGJeFSb", "a" * 12, "0" * 64])
def test_good_keys(key):
    assert JoinLink(key=key).revoked is False


@pytest.mark.parametrize("key", ["", "a" * 11, "a" * 65, "a" * 12 + "-", "é" * 12, "a" * 12 + "\n"])
def test_bad_keys(key):
    [problem] = refusal(JoinLink, key=key)
    assert problem.startswith("key: ")


def test_join_links_end_at_a_moment():
    link = JoinLink(key="a" * 12, expires_at="2026-07-01T18:00:00+02:00")
    assert link.expires_at == datetime(2026, 7, 1, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    "moment",
    [
        20260701,
        1.5,
        "20260701",
        "2026-07-01",
        "2026-07-01T18:00:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59Z",
        "tomorrow",
        "2026-02-30T00:00:00Z",
        datetime(2026, 7, 1),  # noqa: DTZ001 - what is refused
        True,
    ],
)
def test_bad_moments(moment):
    [problem] = refusal(JoinLink, key="a" * 12, expires_at=moment)
    assert problem.startswith("expires_at: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("constraints", ["node.labels.gpu"]),
        ("constraints", ["node.labels.gpu=1"]),
        ("constraints", ["node.role==manager; reboot"]),
        ("constraints", [""]),
        ("generic_resources", {"gpu": 0}),
        ("generic_resources", {"gpu": True}),
        ("generic_resources", {"g p u": 1}),
        ("volumes", {"driver": "a b"}),
        ("volumes", {"options": {"a b": "x"}}),
        ("volumes", {"options": {"a": 1}}),
        ("volumes", {"shared": "yes"}),
    ],
)
def test_bad_compute_types(field, value):
    [problem] = refusal(ComputeType.model_validate, {"slug": "gpu", "title": "GPU", field: value})
    assert problem.startswith(field)


def test_a_compute_type():
    made = ComputeType(
        slug="gpu",
        title="GPU",
        constraints=["node.labels.owner==common", "node.role != manager"],
        generic_resources={"gpu": 1},
        volumes=VolumeDriver(options={"o": "addr=nfs", "device": ":/home/{{VOLUME}}"}, shared=True),
    )
    assert made.volumes.driver == "local"


def test_an_environment_survives_json():
    made = environment(
        title={"fr": "Un", "en": "One"},
        command="run --x={{PASSWORD}}",
        storage={"dedicated": "/home/jovyan", "global": "/home/jovyan/shared"},
        lifetime={"idle_limit": "PT20M", "maximum": "P366D"},
        resources={"cpu_limit": 2, "memory_bytes": "4 GB"},
    )
    assert Environment.model_validate_json(made.model_dump_json(by_alias=True)) == made
    assert '"global":"/home/jovyan/shared"' in made.model_dump_json(by_alias=True)


def test_a_folder_for_each_person() -> None:
    share = {"type": "nfs", "o": "addr=10.0.0.1", "device": ":/homes"}
    with pytest.raises(ValidationError, match="everybody would share one folder"):
        VolumeDriver(options=share)
    assert VolumeDriver(options={**share, "device": ":/homes/{{VOLUME}}"})
    assert VolumeDriver(options={"type": "tmpfs", "device": "tmpfs"})


def test_errors_do_not_repeat_what_was_sent() -> None:
    with pytest.raises(ValidationError) as error:
        Storage.model_validate({"dedicated": "hunter2"})
    assert "hunter2" not in str(error.value)
