"""Base images known by name: a YAML file of operators', or the one that comes with us.

`docs/operators/images.md` explains each field. The file is read once, at start, and refused whole
where something cannot be right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from .cataloguefile import Location, read
from .domain.environment import Environment, Model, Storage
from .domain.errors import Invalid
from .domain.images import BaseImage
from .share import share_path


class BaseImagesFile(Model):
    """The whole file."""

    version: Literal[1]
    images: tuple[BaseImage, ...] = Field(default=(), max_length=200)

    @field_validator("version", mode="before")
    @classmethod
    def _a_number(cls, version: Any) -> Any:
        if type(version) is not int:  # for Python, true and 1.0 are 1
            raise ValueError("write 1")
        return version

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = list(_contradictions(self.images))
        if problems:
            sentence = "; ".join(text for _, text in problems)
            raise PydanticCustomError(
                "contradiction", "{sentence}", {"sentence": sentence, "problems": problems}
            )
        return self


def _contradictions(images: tuple[BaseImage, ...]) -> Iterator[tuple[Location, str]]:
    for index, image in enumerate(images):
        above = images[:index]
        if image.slug in {other.slug for other in above}:
            yield (
                ("images", index, "slug"),
                f"there is a base image “{image.slug}” above: choose another name",
            )
        if image.reference in {other.reference for other in above}:
            yield (("images", index, "reference"), "this image is named above: keep one of them")
        try:
            proposed(image)
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_input=False):
                place = fault["loc"] if fault["loc"][:1] == ("interfaces",) else ()
                text = fault["msg"].removeprefix("Value error, ")
                yield (("images", index, *place), text)


def proposed(image: BaseImage) -> Environment:
    """The environment that a teacher is proposed who takes an image as it is."""
    return Environment(
        slug=image.slug,
        title=image.title,
        image=image.reference,
        command=image.command,
        interfaces=image.interfaces,
        storage=Storage(dedicated=image.home),
    )


def load(path: Path | None = None) -> tuple[BaseImage, ...]:
    """The base images of a file; without one, those that come with this release.

    Raises `Invalid` with file, line, field and what to write instead.
    """
    path = path or share_path("catalogue", "base-images.yaml")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Invalid(problems=[(str(path), f"cannot be read: {error.strerror}")]) from None
    return read(data, str(path), BaseImagesFile).images
