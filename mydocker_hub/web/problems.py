"""Errors on their way out: problem details for programs (RFC 9457), sentences for people."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tornado.web import HTTPError

from ..domain.environment import Text
from ..domain.errors import Invalid, MydockerError
from .i18n import Translator

CONTENT_TYPE = "application/problem+json"


class FieldProblem(BaseModel):
    """One fault in what was sent: `field` is a dotted path, `message` says what to write."""

    field: str
    message: str


class Problem(BaseModel):
    """RFC 9457 problem details. `code` is stable, `detail` is for the person who asked."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": True})

    type: str = Field(default="about:blank")
    title: str
    status: int
    detail: str
    code: str
    params: dict[str, Any] = Field(default_factory=dict)
    errors: list[FieldProblem] = Field(default_factory=list)


def problem(error: MydockerError, translator: Translator) -> Problem:
    """The problem details of an error. `params` lets another process of ours reword it."""
    problems = error.problems if isinstance(error, Invalid) else []
    return Problem(
        title=phrase(error.status),
        status=error.status,
        detail=translator.error(error),
        code=error.code,
        params={key: plain(value) for key, value in error.params.items()},
        errors=[
            FieldProblem(field=field, message=translator.known(message))
            for field, message in problems
        ],
    )


def as_error(error: BaseException) -> MydockerError:
    """Any exception as one of ours; what is not known becomes `internal`."""
    if isinstance(error, MydockerError):
        return error
    if isinstance(error, ValidationError):
        return invalid(error)
    if isinstance(error, HTTPError):  # tornado's own; its message is for the log
        return MydockerError(_CODES_OF_TORNADO.get(error.status_code, "internal"))
    return MydockerError("internal")


_CODES_OF_TORNADO = {
    400: "bad-request",
    401: "sign-in-needed",
    403: "not-allowed",
    404: "not-found",
    405: "method-not-allowed",
}


def invalid(error: ValidationError) -> Invalid:
    """pydantic's findings as (field, sentence) pairs, without the values that were sent."""
    return Invalid(
        problems=[
            (
                _printable(".".join(str(part) for part in fault["loc"])),
                _printable(fault["msg"].removeprefix("Value error, ")),
            )
            for fault in error.errors(include_url=False, include_input=False)
        ]
    )


def _printable(text: str) -> str:
    # A field's name, and what a message quotes, are the sender's: lone surrogates cannot be sent.
    return text.encode("utf-8", "replace").decode()


def plain(value: Any) -> Any:
    """A parameter as JSON can carry it; texts keep both languages."""
    if isinstance(value, Text):
        return value.model_dump()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
