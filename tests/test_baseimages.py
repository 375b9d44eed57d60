"""Base images known by name: the file that comes with us, and what is refused in others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from mydocker_hub import baseimages
from mydocker_hub.domain.errors import Invalid
from mydocker_hub.domain.images import Tool

ROOT = Path(__file__).parent.parent

ONE = """\
version: 1
images:
  - slug: lab
    reference: quay.io/jupyter/minimal-notebook:2026-04-20
    title: {fr: Laboratoire, en: Laboratory}
    description: One
    tools: [pip, apt]
    interfaces: [{name: lab, title: Lab, path: /lab}]
"""


def load(folder: Path, text: str) -> tuple[baseimages.BaseImage, ...]:
    file = folder / "base-images.yaml"
    file.write_text(text)
    return baseimages.load(file)


def test_ours() -> None:
    images = {image.slug: image for image in baseimages.load()}
    assert next(iter(images)) == "jupyterlab-python"
    assert len({image.title.fr for image in images.values()}) == len(images)
    for image in images.values():
        # a sentence in each language, as each is written
        assert image.title.fr.strip()
        assert image.description.fr.endswith(".")
        assert image.description.en.endswith(".")
        assert image.description.fr != image.description.en
        assert not re.search(r"[^\u00a0]:|[^\u202f][;!?]|'", image.description.fr)
        assert image.home
        assert image.user != "root"
        assert ":latest" not in image.reference
        assert ":" in image.reference
        assert baseimages.proposed(image).image == image.reference
    assert images["scipy-notebook"].tools == {Tool.APT, Tool.CONDA, Tool.PIP}


def test_ours_are_the_images_that_we_have() -> None:
    """Those of `images/` by their names, each with what the catalogue's environments say of it."""
    folders = {file.parent.name for file in (ROOT / "images").glob("*/Dockerfile")}
    ours = {image.reference: image for image in baseimages.load()}
    assert {f"mydocker/{name}:1" for name in folders - {"debian-base"}} == {
        reference for reference in ours if reference.startswith("mydocker/")
    }
    text = (ROOT / "share" / "catalogue" / "paris-saclay.yaml").read_text()
    for environment in yaml.safe_load(text)["environments"]:
        if environment["image"] in ours:
            image = ours[environment["image"]]
            assert environment["command"].startswith(image.command)
            paths = {interface.path for interface in image.interfaces}
            assert paths <= {interface["path"] for interface in environment["interfaces"]}
    # those that images/ builds on have the same tag here
    built_on = {
        match[1]
        for file in (ROOT / "images").glob("*/Dockerfile")
        if (match := re.search(r"^ARG BASE=(quay\.io/\S+)$", file.read_text(), re.MULTILINE))
    }
    tags = {reference.rpartition(":")[2] for reference in built_on}
    community = {reference for reference in ours if reference.startswith("quay.io/jupyter/")}
    assert {reference.rpartition(":")[2] for reference in community} == tags
    assert built_on <= community


def test_nbgitpuller_is_said_where_it_is() -> None:
    for image in baseimages.load():
        if not image.reference.startswith("mydocker/"):
            assert not image.has_nbgitpuller
            continue
        folder = ROOT / "images" / image.slug
        if image.slug == "desktop":
            folder = ROOT / "images" / "jupyterhub-clone"
        installed = "".join(file.read_text() for file in folder.iterdir() if file.is_file())
        on_python = "ARG BASE=mydocker/jupyterlab-python:1" in installed
        assert image.has_nbgitpuller == ("nbgitpuller" in installed or on_python)


def test_a_file_of_operators(tmp_path: Path) -> None:
    (image,) = load(tmp_path, ONE)
    assert image.title.en == "Laboratory"
    assert image.description.fr == "One"
    assert image.user == "root"
    assert load(tmp_path, "version: 1\n") == ()


@pytest.mark.parametrize(
    ("before", "after", "place", "sentence"),
    [
        ("version: 1", "version: true", "1: version", "write 1"),
        ("[pip, apt]", "[pip, brew]", "7: images[0].tools", "write"),
        ("slug: lab", "slug: My Lab", "3: images[0].slug", "lower-case letters"),
        ("reference: quay", "reference: https://quay", "4: images[0].reference", "not an image"),
        ("description:", "descripton:", "6: images[0].descripton", "did you mean description?"),
        ("path: /lab}", "path: /lab, kind: ssh}", "8: images[0].interfaces[0].kind", "write"),
        ("[{name: lab, title: Lab, path: /lab}]", "[]", "8: images[0].interfaces", "at least 1"),
        (
            "path: /lab}",
            "path: /lab}, {name: web, title: Web, kind: web}",
            "8: images[0].interfaces",
            "one kind",
        ),
        (
            "tools:",
            "command: lab {{PORT['8888']}}\n    tools:",
            "3: images[0]",
            "leave PORT['8888'] out",
        ),
        ("tools:", "home: /etc\n    tools:", "7: images[0].home", "belongs to the system"),
        ("images:", "images: [", "3", "this is not YAML"),
        ("One", "&one One", "6: images[0].description", "anchors"),
    ],
)
def test_faults_come_with_their_place(
    tmp_path: Path, before: str, after: str, place: str, sentence: str
) -> None:
    assert before in ONE
    with pytest.raises(Invalid) as caught:
        load(tmp_path, ONE.replace(before, after, 1))
    start = f"{tmp_path / 'base-images.yaml'}:{place}"
    assert [text for where, text in caught.value.problems if where.startswith(start)]
    assert any(sentence in text for _, text in caught.value.problems)


def test_twice_the_same(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        load(tmp_path, ONE + ONE.partition("images:\n")[2])
    texts = [text for _, text in caught.value.problems]
    assert texts == [
        "there is a base image “lab” above: choose another name",
        "this image is named above: keep one of them",
    ]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"cannot be read: No such file"):
        baseimages.load(tmp_path / "none.yaml")


def test_the_documented_example(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "operators" / "images.md").read_text()
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.M)
    assert [image.slug for image in load(tmp_path, example)] == ["scipy-notebook"]
