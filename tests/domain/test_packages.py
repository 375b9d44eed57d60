"""What a list of packages says, as it is typed or pasted."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub.domain.images import Tool
from mydocker_hub.domain.packages import listed


@pytest.mark.parametrize(
    ("tool", "text", "packages"),
    [
        (Tool.PIP, "", ()),
        (Tool.PIP, "numpy\n\n  pandas==2.2 \r\nnumpy\n", ("numpy", "pandas==2.2")),
        (Tool.PIP, "# for week 1\nnumpy  # arrays\n", ("numpy",)),
        (Tool.PIP, "numpy>=1, <3", ("numpy>=1, <3",)),
        (Tool.PIP, "x @ git+https://a.example/x#egg=x", ("x @ git+https://a.example/x#egg=x",)),
        (Tool.PIP, "pip install -U numpy pandas", ("numpy", "pandas")),
        (Tool.PIP, "%pip install numpy", ("numpy",)),
        (Tool.PIP, "python3 -m pip install numpy", ("numpy",)),
        (Tool.PIP, "-r other.txt", ("-r other.txt",)),
        (Tool.CONDA, "- numpy=1.26\n- conda-forge::gdal", ("numpy=1.26", "conda-forge::gdal")),
        (Tool.CONDA, "mamba install -y gdal", ("gdal",)),
        (Tool.CONDA, "numpy >=1.26,<2", ("numpy >=1.26,<2",)),
        (Tool.APT, "graphviz, ffmpeg git", ("graphviz", "ffmpeg", "git")),
        (Tool.APT, "sudo apt-get install -y graphviz g++", ("graphviz", "g++")),
        (Tool.R, "ggplot2 dplyr", ("ggplot2", "dplyr")),
        (Tool.R, 'install.packages(c("ggplot2", "dplyr"))', ("ggplot2", "dplyr")),
        (Tool.R, 'install.packages("coda")', ("coda",)),
        (Tool.R, 'install.packages(c("magic", "c"))', ("magic", "c")),
    ],
)
def test_listed(tool: Tool, text: str, packages: tuple[str, ...]) -> None:
    assert listed(tool, text) == packages


@settings(max_examples=50)
@given(st.sampled_from(Tool), st.lists(st.from_regex(r"\A[a-bd-z][a-z0-9-]{1,8}\Z"), max_size=8))
def test_what_was_listed_is_listed_again(tool: Tool, names: list[str]) -> None:
    assert listed(tool, "\n".join(names)) == tuple(dict.fromkeys(names))


@settings(max_examples=50)
@given(st.sampled_from(Tool), st.text(max_size=200))
def test_any_text_is_read(tool: Tool, text: str) -> None:
    found = listed(tool, text)
    assert len(set(found)) == len(found)
    assert all(word.strip() == word and word for word in found)


@pytest.mark.parametrize("text", ["c" * 100_000, "c(" * 50_000, " #" * 50_000, " " * 100_000])
def test_a_long_line_takes_no_time(text: str) -> None:
    started = time.process_time()
    for tool in Tool:
        listed(tool, text)
    assert time.process_time() < started + 2
