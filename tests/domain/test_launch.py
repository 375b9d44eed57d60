"""From an environment and a person to a launch plan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from mydocker_hub.domain import launch, names
from mydocker_hub.domain.environment import ComputeType, Environment, VolumeDriver
from mydocker_hub.domain.errors import Refused
from mydocker_hub.domain.launch import (
    Endpoint,
    Entrance,
    FolderKind,
    FolderMount,
    LaunchPlan,
    Place,
)
from mydocker_hub.domain.people import Person

ALICE = Person(name="alice@example.org")
SECRET = "correct-horse-battery-staple"
DEFAULT = ComputeType(slug="default", title="CPU")


def environment(**fields):
    return Environment.model_validate(
        {
            "slug": "julia",
            "title": {"fr": "Julia", "en": "Julia!"},
            "image": "julia:1",
            "interfaces": [{"name": "lab", "title": "Lab", "path": "/lab"}],
            **fields,
        }
    )


BASE = "/user/alice@example.org/julia/"
PLACE = Place(base_url=BASE)
PUBLIC = Place(base_url=BASE, public_url="https://hub.example.org")
WILDCARD = Place(
    base_url=BASE,
    public_url="https://hub.example.org",
    wildcard_url="https://*.env.example.org",
    label="abc",
)


def plan(subject=None, folders=(), compute_type=DEFAULT, person=ALICE, place=PLACE):
    return launch.plan(
        subject or environment(),
        person,
        compute_type=compute_type,
        folders=folders,
        launch_id=7,
        version=3,
        place=place,
        secret=SecretStr(SECRET),
    )


def test_the_least():
    assert plan() == LaunchPlan(
        launch_id=7,
        environment="julia",
        version=3,
        title={"fr": "Julia", "en": "Julia!"},
        server="julia",
        image="julia:1",
        command=None,
        variables={},
        kind="hub",
        port=8888,
        path="/lab",
        endpoints=(),
        entrances=(Entrance(name="lab", title="Lab", path="lab"),),
        folders=(),
        resources={},
    )


def test_a_plan_survives_the_journey_to_the_hub():
    made = plan(
        environment(
            command="run {{PASSWORD}}",
            lifetime={"idle_limit": "PT20M", "maximum": "P366D"},
            resources={"cpu_limit": 1.5, "memory_bytes": "4 GB"},
        ),
        folders=launch.folder_mounts(
            environment(storage={"dedicated": "/a", "global": "/b"}), ALICE, "hub", DEFAULT
        ),
    )
    assert LaunchPlan.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("limit", "threads"),
    [(None, None), (0.05, "1"), (0.5, "1"), (1, "1"), (1.5, "2"), (2, "2"), (64, "64")],
)
def test_thread_variables(limit, threads):
    variables = plan(environment(resources={"cpu_limit": limit})).variables
    expected = {} if threads is None else dict.fromkeys(launch.THREAD_VARIABLES, threads)
    assert variables == expected
    if threads:
        assert variables["OMP_NUM_THREADS"] == variables["PYTHON_CPU_COUNT"] == threads


def test_the_environment_has_the_last_word_on_variables():
    subject = environment(resources={"cpu_limit": 2}, variables={"OMP_NUM_THREADS": "1", "A": "b"})
    variables = plan(subject).variables
    assert (variables["OMP_NUM_THREADS"], variables["A"]) == ("1", "b")
    assert variables["MKL_NUM_THREADS"] == "2"


DEDICATED = names.dedicated_volume("hub", ALICE.name, "julia")
GLOBAL = names.global_volume("hub", ALICE.name)


@pytest.mark.parametrize(
    ("storage", "mounts"),
    [
        ({}, []),
        (
            {"dedicated": "/home/jovyan"},
            [(FolderKind.DEDICATED, DEDICATED, "/home/jovyan")],
        ),
        ({"global": "/home/jovyan"}, [(FolderKind.GLOBAL, GLOBAL, "/home/jovyan")]),
        (
            {"dedicated": "/home/jovyan", "global": "/home/jovyan/shared"},
            [
                (FolderKind.DEDICATED, DEDICATED, "/home/jovyan"),
                (FolderKind.GLOBAL, GLOBAL, "/home/jovyan/shared"),
            ],
        ),
        (
            # the outer one first, whichever it is: it would hide the inner one
            {"dedicated": "/home/jovyan/work", "global": "/home/jovyan"},
            [
                (FolderKind.GLOBAL, GLOBAL, "/home/jovyan"),
                (FolderKind.DEDICATED, DEDICATED, "/home/jovyan/work"),
            ],
        ),
    ],
)
def test_folders(storage, mounts):
    made = launch.folder_mounts(environment(storage=storage), ALICE, "hub", DEFAULT)
    assert [(mount.kind, mount.volume, mount.path) for mount in made] == mounts
    assert all(mount.driver == "local" and not mount.prepared for mount in made)


def test_folders_of_different_people_and_environments():
    storage = {"dedicated": "/a", "global": "/b"}
    subjects = [environment(storage=storage), environment(slug="julia2", storage=storage)]
    people = [ALICE, Person(name="Alice@example.org"), Person(name="alice@example.or")]
    volumes = [
        mount.volume
        for person in people
        for subject in subjects
        for mount in launch.folder_mounts(subject, person, "hub", DEFAULT)
    ]
    # two dedicated and one global folder for each person
    assert len(set(volumes)) == 3 * len(people)


def test_volume_driver_options():
    nfs = VolumeDriver(
        driver="local", options={"type": "nfs", "device": ":/x/{{VOLUME}}"}, shared=True
    )
    compute_type = ComputeType(slug="nfs", title="NFS", volumes=nfs)
    [mount] = launch.folder_mounts(environment(storage={"global": "/b"}), ALICE, "h", compute_type)
    volume = names.global_volume("h", ALICE.name)
    assert mount.options == {"type": "nfs", "device": f":/x/{volume}"}
    assert mount.shared is True


def folder(node=None, shared=False, volume="v"):
    return FolderMount(
        kind="global", volume=volume, path="/x", driver="local", node=node, shared=shared
    )


@pytest.mark.parametrize(
    ("folders", "constraints"),
    [
        ([], ()),
        ([folder()], ()),
        ([folder("n1")], ("node.id==n1",)),
        ([folder("n1", shared=True)], ()),
        ([folder("n1"), folder("n1", volume="w")], ("node.id==n1",)),
        ([folder("n1"), folder("n2", shared=True)], ("node.id==n1",)),
    ],
)
def test_pinning(folders, constraints):
    gpu = ComputeType(
        slug="gpu", title="GPU", constraints=["node.labels.gpu==1"], generic_resources={"gpu": 2}
    )
    made = plan(folders=tuple(folders), compute_type=gpu)
    assert made.constraints == ("node.labels.gpu==1", *constraints)
    assert made.generic_resources == {"gpu": 2}


def test_the_secret_is_there_only_for_a_command_that_asks():
    assert plan().secret is None
    assert plan(environment(command="run {{USERNAME}} {{BASE_URL}}")).secret is None
    for command in ("run --t={{PASSWORD}}", "run {{ PASSWORD }}", """run {"{"PASSWORD}}"""):
        made = plan(environment(command=command))
        assert made.secret == SecretStr(SECRET)
        assert made.command[-1].endswith(SECRET)


def test_the_secret_is_not_printed():
    made = plan(environment(command="run --t={{PASSWORD}}"))
    assert SECRET not in repr(made.secret)
    assert SECRET not in str(made.model_dump(exclude={"command"}))
    assert SECRET in made.model_dump_json()  # the one journey that it makes


def test_the_secret_is_not_printed_with_the_plan():
    made = plan(environment(command="run --t={{PASSWORD}}"))
    for text in (repr(made), str(made), f"{made}", f"{[made]}"):
        assert SECRET not in text


@given(st.text(min_size=1, max_size=50))
def test_a_user_name_stays_one_word(name):
    made = plan(environment(command="run {{USERNAME}} end"), person=Person(name=name))
    assert made.command == ("run", name, "end")


def test_template_values():
    made = plan(environment(command="run {{BASE_URL}} --user={{USERNAME}} ''"))
    assert made.command == (
        "run",
        "/user/alice@example.org/julia/",
        "--user=alice@example.org",
        "",
    )


def test_the_path_is_ready_for_a_url():
    subject = environment(interfaces=[{"name": "l", "title": "L", "path": "/lab/é%2f"}])
    assert plan(subject).path == "/lab/%C3%A9%252f"


# --- behind the gateway ---


def web(name="lab", port=8888, **fields):
    return {"name": name, "title": name.title(), "kind": "web", "port": port, **fields}


def made(command=None, *interfaces, place=PLACE):
    return plan(environment(command=command, interfaces=interfaces or [web()]), place=place)


# The command of the service page, as it stands there.
PAGE = (
    'jupyter lab --no-browser --ip="0.0.0.0" --IdentityProvider.token={{PASSWORD}} '
    "--ServerApp.shutdown_no_activity_timeout=1200 --MappingKernelManager.cull_idle_timeout=1200"
)


def test_the_command_of_the_service_page():
    subject = environment(command=PAGE, interfaces=[web(path="/lab")])
    assert plan(subject) == LaunchPlan(
        launch_id=7,
        environment="julia",
        version=3,
        title={"fr": "Julia", "en": "Julia!"},
        server="julia",
        image="julia:1",
        command=(
            "jupyter",
            "lab",
            "--no-browser",
            "--ip=0.0.0.0",
            f"--IdentityProvider.token={SECRET}",
            "--ServerApp.shutdown_no_activity_timeout=1200",
            "--MappingKernelManager.cull_idle_timeout=1200",
            f"--ServerApp.base_url={BASE}",
        ),
        variables={},
        kind="web",
        port=8888,
        path="/lab",
        endpoints=(Endpoint(name="lab", port=8888, prefix="", base_path=BASE, sign_in="jupyter"),),
        entrances=(Entrance(name="lab", title="Lab", path="lab"),),
        folders=(),
        resources={},
        secret=SecretStr(SECRET),
    )


@pytest.mark.parametrize(
    ("command", "port", "told"),
    [
        ("jupyter lab", 8888, True),
        ("tini -g -- jupyter lab", 8888, True),
        ("start.sh jupyter lab", 8888, True),
        ("tini -g -- start-notebook.sh --x", 8888, True),
        ("start-notebook.py", 8888, True),
        ("/opt/conda/bin/jupyter-server", 8888, True),
        ("jupyter lab --port=9999", 9999, True),
        ("jupyter lab --port 9999", 9999, True),
        ("jupyter lab --ServerApp.port=9999", 9999, True),
        # it says so itself
        ("jupyter lab --ServerApp.base_url={{BASE_URL}}", 8888, False),
        ("jupyter lab --ServerApp.base_url=/x/", 8888, False),
        ("jupyter lab --NotebookApp.base_url {{BASE_URL}}", 8888, False),
        # another port is the interface's
        ("jupyter lab", 8080, False),
        ("jupyter lab --port=9999", 8888, False),
        # no Jupyter server, or not by itself
        ("sh -c 'jupyter lab'", 8888, False),
        ("jupyter nbconvert x", 8888, False),
        ("code-server", 8888, False),
        ("run {{BASE_URL}}", 8888, False),
        ("run --ServerApp.x={{PASSWORD}}", 8888, False),
    ],
)
def test_a_jupyter_server_is_told_its_path_once(command, port, told):
    words = made(command, web(port=port)).command
    option = f"--ServerApp.base_url={BASE}"
    assert words.count(option) == (told or command.endswith("base_url={{BASE_URL}}"))
    assert (words[-1] == option) is (told or command.endswith("base_url={{BASE_URL}}"))
    # never where nothing strips or keeps a path: the image runs jupyterhub-singleuser
    hub = environment(command=command, interfaces=[{**web(port=port), "kind": "hub"}])
    assert plan(hub).command == made(command, web(port=port)).command[: len(plan(hub).command)]
    assert len(words) - len(plan(hub).command) == told
    # nor at an origin of its own, where it is at /
    assert len(made(command, web(port=port), place=WILDCARD).command) == len(plan(hub).command)


def test_a_jupyter_server_that_wants_no_path_gets_none():
    plan = made("jupyter lab", web(prefix="strip"))
    assert plan.command == ("jupyter", "lab")
    assert plan.endpoints[0].base_path == "/"


@pytest.mark.parametrize(
    ("command", "fields", "base_path"),
    [
        # it was told of the path, so it keeps it
        ("jupyter lab", {}, BASE),
        ("run {{BASE_URL}}", {}, BASE),
        ("run {{BASE_URL['8888']}}", {}, BASE),
        # it knows nothing of it
        (None, {}, "/"),
        ("run", {}, "/"),
        ("sh -c 'jupyter lab'", {}, "/"),
        ("run {{PASSWORD}}", {}, "/"),
        # the environment says so
        (None, {"prefix": "keep"}, BASE),
        ("run", {"prefix": "keep"}, BASE),
        ("run {{BASE_URL}}", {"prefix": "strip"}, "/"),
        ("jupyter lab", {"prefix": "strip"}, "/"),
    ],
)
def test_who_keeps_the_path(command, fields, base_path):
    [endpoint] = made(command, web(**fields)).endpoints
    assert (endpoint.prefix, endpoint.base_path) == ("", base_path)
    [endpoint] = made(command, web(**fields), place=WILDCARD).endpoints
    assert (endpoint.prefix, endpoint.base_path) == ("", "/")


@pytest.mark.parametrize(
    ("command", "fields", "sign_in"),
    [
        (PAGE, {}, "jupyter"),
        ("tini -- jupyter lab --IdentityProvider.token={{PASSWORD}}", {}, "jupyter"),
        ("jupyter lab", {}, "none"),  # it has no secret of ours
        ("jupyter lab --port=1 --IdentityProvider.token={{PASSWORD}}", {}, "none"),
        ("code-server {{PASSWORD}}", {}, "none"),
        (None, {}, "none"),
        (PAGE, {"sign_in": "none"}, "none"),
        (PAGE, {"sign_in": "basic"}, "basic"),
        ("code-server {{PASSWORD}}", {"sign_in": "code-server"}, "code-server"),
    ],
)
def test_how_the_secret_is_shown(command, fields, sign_in):
    for place in (PLACE, WILDCARD):
        [endpoint] = made(command, web(**fields), place=place).endpoints
        assert endpoint.sign_in == sign_in


def test_several_interfaces():
    command = "run {{BASE_URL}} {{BASE_URL['8888']}} {{BASE_URL['8080']}} {{BASE_URL['80']}}"
    subject = made(
        command,
        web("lab", 8888, path="/lab"),
        web("code", 8080, path="/é/", prefix="strip", sign_in="code-server"),
        web("files", 80),
        web("notebook", 8888, path="/tree"),
    )
    assert subject.endpoints == (
        Endpoint(name="lab", port=8888, prefix="lab/", base_path=f"{BASE}lab/", sign_in="none"),
        Endpoint(name="code", port=8080, prefix="code/", base_path="/", sign_in="code-server"),
        Endpoint(name="files", port=80, prefix="files/", base_path=f"{BASE}files/", sign_in="none"),
    )
    assert [(entrance.name, entrance.path) for entrance in subject.entrances] == [
        ("lab", "lab/lab"),
        ("code", "code/%C3%A9/"),
        ("files", "files/"),
        ("notebook", "lab/tree"),
    ]
    assert subject.command == ("run", f"{BASE}lab/", f"{BASE}lab/", "/", f"{BASE}files/")
    assert subject.ports == (8888, 8080, 80)
    assert (subject.port, subject.path) == (8888, "/lab")


def test_a_jupyter_server_beside_others_is_told_its_own_path():
    subject = made(PAGE, web("code", 8080), web("lab", 8888))
    assert subject.command[-1] == f"--ServerApp.base_url={BASE}lab/"
    code, lab = subject.endpoints
    assert (code.base_path, code.sign_in) == ("/", "none")
    assert (lab.base_path, lab.sign_in) == (f"{BASE}lab/", "jupyter")


def test_several_ways_into_one_port():
    subject = made(None, web("lab", path="/lab"), web("notebook", path="/tree"))
    assert [endpoint.prefix for endpoint in subject.endpoints] == [""]
    assert [entrance.path for entrance in subject.entrances] == ["lab", "tree"]
    assert subject.ports == (8888,)


def test_only_the_main_interface_is_meant_by_a_plain_base_url():
    lab, code = made("run {{BASE_URL}}", web("lab", 8888), web("code", 8080)).endpoints
    assert (lab.base_path, code.base_path) == (f"{BASE}lab/", "/")


def test_without_the_gateway():
    subject = plan(environment(interfaces=[{"name": "a", "title": "A"}]), place=WILDCARD)
    assert subject.endpoints == ()
    assert subject.ports == (8888,)
    subject = plan(environment(command="run {{BASE_URL}}"), place=WILDCARD)
    assert subject.command == ("run", BASE)  # the hub's path, where it answers itself


@pytest.mark.parametrize(
    ("place", "host", "port", "base_url"),
    [
        (PUBLIC, "hub.example.org", "443", BASE),
        (Place(base_url=BASE, public_url="http://hub.example.org"), "hub.example.org", "80", BASE),
        (Place(base_url=BASE, public_url="http://localhost:8000"), "localhost", "8000", BASE),
        (Place(base_url=BASE, public_url="http://[::1]:8000"), "::1", "8000", BASE),
        (WILDCARD, "8888-abc.env.example.org", "443", "/"),
        (
            Place(
                base_url=BASE,
                public_url="http://localhost:8000",
                wildcard_url="http://*.localhost:8011",
                label="abc",
            ),
            "8888-abc.localhost",
            "8011",
            "/",
        ),
    ],
)
def test_the_address_of_a_port(place, host, port, base_url):
    command = "run {{HOST['8888']}} {{PORT['8888']}} {{BASE_URL['8888']}} {{BASE_URL}}"
    assert made(command, place=place).command == ("run", host, port, base_url, base_url)


def test_each_port_has_a_host_of_its_own():
    command = "run {{HOST['8888']}} {{HOST['8080']}}"
    interfaces = [web("lab", 8888), web("code", 8080)]
    assert made(command, *interfaces, place=WILDCARD).command == (
        "run",
        "8888-abc.env.example.org",
        "8080-abc.env.example.org",
    )
    assert len(set(made(command, *interfaces, place=PUBLIC).command[1:])) == 1


@pytest.mark.parametrize("variable", ["HOST['8888']", "PORT['8888']"])
def test_an_address_that_nobody_set_is_said(variable):
    with pytest.raises(Refused) as refused:
        made(f"run {{{{{variable}}}}}")
    assert refused.value.code == "public-address-unknown"
    assert made("run {{BASE_URL['8888']}} {{USERNAME}} {{PASSWORD}}").command  # no need of it


def test_main_prefix():
    assert launch.main_prefix(environment(interfaces=[web()])) == ""
    two = environment(interfaces=[web("code", 8080), web()])
    assert launch.main_prefix(two) == "code/"


@given(
    st.lists(
        st.tuples(st.sampled_from(["lab", "code", "rstudio", "x"]), st.integers(1, 3)),
        min_size=1,
        unique_by=lambda item: item[0],
    ),
    st.sampled_from([None, "run {{BASE_URL}}", "jupyter lab --port=2"]),
    st.sampled_from([PLACE, PUBLIC, WILDCARD]),
)
def test_every_entrance_leads_to_an_endpoint(interfaces, command, place):
    subject = made(command, *[web(name, port) for name, port in interfaces], place=place)
    assert len({endpoint.port for endpoint in subject.endpoints}) == len(subject.endpoints)
    assert subject.ports[0] == interfaces[0][1]
    for entrance, (_, port) in zip(subject.entrances, interfaces, strict=True):
        [endpoint] = [one for one in subject.endpoints if entrance.path.startswith(one.prefix)]
        assert endpoint.port == port
        assert endpoint.base_path in {"/", f"{BASE}{endpoint.prefix}"}


@pytest.mark.parametrize(
    "change",
    [
        {"image": "julia:2"},
        {"command": "julia --version"},
        {"variables": {"A": "1"}},
        {"interfaces": [{"name": "lab", "title": "Lab", "path": "/tree"}]},
        {"interfaces": [{"name": "lab", "title": "Lab", "path": "/lab", "port": 8000}]},
        {"resources": {"cpu_limit": 2}},
        {"storage": {"global": "/home"}},
        {"lifetime": {"idle_limit": "PT20M"}},
    ],
)
def test_what_makes_another_server(change):
    assert not launch.starts_alike(environment(), environment(**change))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"title": "Other"},
        {"sheet": {"description": "New words"}},
        {"icon": "🧪"},
        {"tags": ["new"]},
        {"status": "archived"},
        {"public": True},
        {"interfaces": [{"name": "lab", "title": "Other title", "path": "/lab"}]},
    ],
)
def test_what_leaves_a_server_as_it_is(change):
    assert launch.starts_alike(environment(), environment(**change))
