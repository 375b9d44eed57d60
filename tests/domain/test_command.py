"""Commands are split as a shell splits, and never evaluated; image references are checked."""

import contextlib
import shlex
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub.domain import command

VALUES = {
    "USERNAME": "alice",
    "PASSWORD": "s3cret",
    "BASE_URL": "/user/alice/x/",
    "HOST['8888']": "abc.example.org",
    "PORT['22']": "32001",
}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("jupyterhub-singleuser", ["jupyterhub-singleuser"]),
        ("  a   b  ", ["a", "b"]),
        ("a 'b c' \"d e\"", ["a", "b c", "d e"]),
        ("a'b'\"c\"d", ["abcd"]),
        ('a "" b', ["a", "", "b"]),
        ("a ''", ["a", ""]),
        ("''", [""]),
        (r"a\ b", ["a b"]),
        (r"a \'b", ["a", "'b"]),
        (r'"a\"b\\c"', ['a"b\\c']),
        (r"'a\b'", [r"a\b"]),
        ("sh -c 'echo $HOME | wc; `w` $(v)'", ["sh", "-c", "echo $HOME | wc; `w` $(v)"]),
        (r"a \$HOME", ["a", "$HOME"]),
        ("--ServerApp.base_url={{BASE_URL}}", ["--ServerApp.base_url={{BASE_URL}}"]),
        ("{{HOST['8888']}} x", ["{{HOST['8888']}}", "x"]),
        ("'{{HOST['8888']}} x'", ["{{HOST['8888']}} x"]),
        ("\"{{HOST['8888']}}\"", ["{{HOST['8888']}}"]),
        ("{{ PASSWORD }} x", ["{{ PASSWORD }}", "x"]),
        ("# not a comment", ["#", "not", "a", "comment"]),
        ("--été=☀", ["--été=☀"]),
    ],
)
def test_split(text, words):
    assert command.split(text) == words


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "leave the command out"),
        ("   ", "leave the command out"),
        ("a\nb", "one line"),
        ("a\tb", "one line"),
        ("a\x00b", "one line"),
        ("a\x7fb", "one line"),
        ("a 'b", "left open"),
        ('a "b', "left open"),
        ("a \\", "left open"),
        ("a $HOME", "“$” (character 3)"),
        ("a $(reboot)", "“$” (character 3)"),
        ('a "$(reboot)"', "“$”"),
        ("a `reboot`", "“`”"),
        ('a "`reboot`"', "“`”"),
        (r'a "\$HOME"', "“$”"),
        ("a | b", "“|”"),
        ("a && b", "“&”"),
        ("a; b", "“;”"),
        ("a > b", "“>”"),
        ("a < b", "“<”"),
        ("{{$(reboot)}}", "“$”"),
        ("x" * 8193, "at most 8192"),
    ],
)
def test_split_refuses(text, sentence):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the sentence is what we look at
        command.split(text)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    "text",
    ["{{PASSWORD}}", "{{PORT['1']}}", "{{ BASE_URL }}", "{{BASE_URL['65535']}}", "{{HOST['80']}}"],
)
def test_known_variables(text):
    assert command.check_command(f"run --x={text}") == f"run --x={text}"


@pytest.mark.parametrize(
    "text",
    [
        "{{}}",
        "{{PASSWD}}",
        "{{password}}",
        "{{HOST[8888]}}",
        "{{HOST['0']}}",
        "{{HOST['123456']}}",
        "{{HOST['a']}}",
        "{{PASSWORD.__class__}}",
        "{{7*7}}",
        "{{'PASSWORD'}}",
        "{{ USERNAME PASSWORD }}",
        "{{BASE_URL[8888]}}",
        "{{BASE_URL['0']}}",
        "{{PASSWORD['8888']}}",
        "{{HOST}}",
        "{{PORT}}",
    ],
)
def test_unknown_variables_are_refused(text):
    with pytest.raises(ValueError, match="is not known: use"):
        command.check_command(f"run {text}")


@pytest.mark.parametrize("text", ["{{USER_REDIRECT}}", "{{ USER_REDIRECT }}"])
def test_what_a_link_says_is_no_word_of_a_command(text):
    with pytest.raises(ValueError, match=r"leave \{\{USER_REDIRECT\}\} out: what follows"):
        command.check_command(f"run {text}")


@pytest.mark.parametrize(
    ("variable", "port"),
    [
        ("HOST['8888']", 8888),
        ("PORT['1']", 1),
        ("BASE_URL['65535']", 65535),
        ("BASE_URL", None),
        ("USERNAME", None),
        ("PASSWORD", None),
        ("HOST['0']", None),
        ("HOST['٣']", None),
        ("OTHER['1']", None),
        ("HOST['1'] ", None),
        ("", None),
    ],
)
def test_port_of(variable, port):
    assert command.port_of(variable) == port


JUPYTER = command.JupyterCommand


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # the service page's
        (
            'jupyter lab --no-browser --ip="0.0.0.0" --IdentityProvider.token={{PASSWORD}} '
            "--ServerApp.shutdown_no_activity_timeout=1200",
            JUPYTER(8888, False),
        ),
        ("jupyter lab", JUPYTER(8888, False)),
        ("jupyter notebook", JUPYTER(8888, False)),
        ("jupyter server", JUPYTER(8888, False)),
        ("/opt/conda/bin/jupyter lab", JUPYTER(8888, False)),
        ("jupyter-lab", JUPYTER(8888, False)),
        ("jupyter-notebook", JUPYTER(8888, False)),
        ("jupyter-server", JUPYTER(8888, False)),
        ("start-notebook.py", JUPYTER(8888, False)),
        ("/usr/local/bin/start-notebook.sh --a=b", JUPYTER(8888, False)),
        # what stands before it
        ("tini -g -- jupyter lab", JUPYTER(8888, False)),
        ("/usr/bin/tini -g -- start.sh jupyter lab", JUPYTER(8888, False)),
        ("start.sh jupyter lab", JUPYTER(8888, False)),
        ("exec jupyter lab", JUPYTER(8888, False)),
        ("tini -g -- start-notebook.sh", JUPYTER(8888, False)),
        # its port
        ("jupyter lab --port=9999", JUPYTER(9999, False)),
        ("jupyter lab --port 9999", JUPYTER(9999, False)),
        ("jupyter lab --ServerApp.port=9999", JUPYTER(9999, False)),
        ("jupyter lab --ServerApp.port 9999 --x", JUPYTER(9999, False)),
        ("jupyter lab --port=1 --port=2", JUPYTER(2, False)),
        ("jupyter lab --port", JUPYTER(8888, False)),
        ("jupyter lab --port=", JUPYTER(8888, False)),
        ("jupyter lab --port={{PASSWORD}}", JUPYTER(8888, False)),
        ("jupyter lab --port=٣", JUPYTER(8888, False)),
        ("jupyter lab --port=" + "9" * 5000, JUPYTER(8888, False)),
        ("jupyter lab --ports=9999", JUPYTER(8888, False)),
        # its path
        ("jupyter lab --ServerApp.base_url={{BASE_URL}}", JUPYTER(8888, True)),
        ("jupyter lab --ServerApp.base_url /x/", JUPYTER(8888, True)),
        ("jupyter lab --NotebookApp.base_url=/x/", JUPYTER(8888, True)),
        ("jupyter lab --LabApp.base_url=/x/ --port=1", JUPYTER(1, True)),
        # others
        ("jupyter", None),
        ("jupyter --version", None),
        ("jupyter nbconvert lab", None),
        ("jupyter kernel lab", None),
        ("jupyter-labhub", None),
        ("jupyterhub-singleuser", None),
        ("code-server --bind-addr 0.0.0.0:8080", None),
        ("python -m jupyter lab", None),
        ("echo jupyter lab", None),
        ("sh -c 'jupyter lab'", None),
        ("tini --", None),
        ("start.sh", None),
        ("''", None),
    ],
)
def test_jupyter_command(text, found):
    assert command.jupyter_command(command.split(text)) == found


@given(
    st.lists(
        st.sampled_from(
            ["jupyter", "lab", "tini", "-g", "--", "--port", "1", "--port=2", "x.base_url", "''"]
        )
    )
)
def test_any_words_are_judged(words):
    found = command.jupyter_command(words)
    assert found is None or 0 < found.port < 65536


def render(text, **values):
    return command.render(command.split(text), {**VALUES, **values})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run {{USERNAME}} {{PASSWORD}}", ["run", "alice", "s3cret"]),
        ("run --token={{PASSWORD}}{{PASSWORD}}", ["run", "--token=s3crets3cret"]),
        ("run {{ PASSWORD }}", ["run", "s3cret"]),
        ("https://{{HOST['8888']}}:{{PORT['22']}}/", ["https://abc.example.org:32001/"]),
        ("run '{{PASSWORD}} {{USERNAME}}'", ["run", "s3cret alice"]),
        ("run {{PORT['9']}} x", ["run", "", "x"]),
    ],
)
def test_render(text, words):
    assert render(text) == words


@given(st.text())
def test_a_value_stays_in_its_word_and_is_not_read_again(value):
    words = render("run {{USERNAME}} --x={{USERNAME}} end", USERNAME=value)
    assert words == ["run", value, f"--x={value}", "end"]


def test_a_value_that_looks_like_a_template_stays_as_it_is():
    assert render("run {{USERNAME}}", USERNAME="{{PASSWORD}}") == ["run", "{{PASSWORD}}"]


@pytest.mark.parametrize("text", ['{"{"PASSWORD}}', "{'{'PASSWORD}}", r"{\{PASSWORD}}"])
def test_quotes_between_braces_do_not_hide_a_variable(text):
    assert command.variables(text) == {"PASSWORD"}
    assert render(text) == ["s3cret"]


def test_variables():
    text = "a {{PASSWORD}} '{{HOST['8888']}} {{ BASE_URL }}'"
    assert command.variables(text) == {"PASSWORD", "HOST['8888']", "BASE_URL"}
    assert command.variables("a b") == set()
    assert command.variables("") == set()


@pytest.mark.parametrize("text", ["", "  ", "a 'b", "a $b"])
def test_a_command_that_cannot_be_split_is_refused(text):
    with pytest.raises(ValueError, match=r"leave the command out|left open|shell"):
        command.check_command(text)


printable = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)


@given(st.lists(printable.filter(lambda word: "{{" not in word), min_size=1, max_size=6))
def test_quoted_words_come_back(words):
    assert command.split(" ".join(shlex.quote(word) for word in words)) == words


@settings(deadline=None, max_examples=150)
@given(st.text(" ab'\"\\$`{}", max_size=12))
def test_what_is_accepted_is_split_as_a_shell_does(text):
    try:
        words = command.split(text)
    except ValueError:
        return
    # {{…}} is ours, and { } are words for no POSIX shell here
    script = f"for word in {text}; do printf '%s\\0' \"$word\"; done"
    if command.variables(text):
        return
    said = subprocess.run(["sh", "-c", script], capture_output=True, check=True, cwd="/").stdout
    assert said.decode().split("\0")[:-1] == words


@pytest.mark.parametrize(
    "text",
    ["{{" + " " * 8000, "{{" * 4000, "{{" * 2000 + "}}" * 2000, "'{{" + "' " * 3000, "\\" * 8190],
)
def test_hostile_commands_take_no_time(text):
    start = time.monotonic()
    for function in (command.check_command, command.variables, command.split):
        with contextlib.suppress(ValueError):
            function(text)
    assert time.monotonic() - start < 1


DIGEST = "@sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "image",
    [
        "debian",
        "debian:12",
        "mydocker/jupyterlab-python:1",
        "quay.io/jupyter/scipy-notebook:2026-04-20",
        "localhost:5000/a/b/c",
        "REGISTRY.example.org:5000/a_b/c--d.e:V1.0-rc_1",
        "debian" + DIGEST,
        "debian:12" + DIGEST,
        "a" * 255,
    ],
)
def test_good_images(image):
    assert command.check_image(image) == image


@pytest.mark.parametrize(
    "image",
    [
        "",
        " ",
        " debian",
        "debian ",
        "debian\n",
        "debian\n--privileged",
        "Debian",
        "mydocker/Python",
        "deb ian",
        "'debian'",
        '"debian"',
        "debian'",
        "$(reboot)",
        "debian:$(reboot)",
        "debian:$TAG",
        "`reboot`",
        "debian;reboot",
        "debian|x",
        "--help",
        "-debian",
        "/debian",
        "debian/",
        "a//b",
        "../debian",
        "debian:",
        "debian:-x",
        "debian:a b",
        "debian:" + "a" * 129,
        "debian@sha256:abc",
        "debian@md5:" + "a" * 64,
        "debian@",
        "https://debian",
        "registry:port/debian",
        "registry:123456/debian",
        "débian",
        "debian\x00",
        "{{PASSWORD}}",
        "a" * 256,
    ],
)
def test_bad_images(image):
    with pytest.raises(ValueError, match="image"):
        command.check_image(image)


@given(st.text(max_size=300))
def test_an_accepted_image_is_one_harmless_word(image):
    try:
        command.check_image(image)
    except ValueError:
        return
    assert shlex.split(image) == [image]
    assert shlex.quote(image) == image
    assert not image.startswith("-")
