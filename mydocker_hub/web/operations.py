"""A REST API as a table of operations, and its OpenAPI 3.1 document from the same table.

Each operation names the pydantic models of what comes in and goes out; the models validate, and
the document is generated from them, so the two cannot part.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .. import __version__
from ..domain.errors import Conflict
from ..domain.people import Person
from .problems import CONTENT_TYPE, Problem

Context = TypeVar("Context")

OCTETS = "application/octet-stream"
_OCTETS_SCHEMA = {"schema": {"type": "string", "format": "binary"}}

PATH_PATTERNS = {
    "slug": r"[a-z](?:-?[a-z0-9])*",
    "key": r"[A-Za-z0-9]{12,64}",
    "launch_id": r"[1-9][0-9]{0,17}",
    "volume": r"[a-z][a-z0-9-]{0,62}",
    "version": r"[1-9][0-9]{0,8}",
    "variable": r"[A-Za-z_][A-Za-z0-9_]*",
    "request_id": r"[1-9][0-9]{0,17}",
    "user": r"[^\x00-\x20/.\x7f][^\x00-\x20/\x7f]*",
    "number": r"[1-9][0-9]{0,8}",
    "session_id": r"[1-9][0-9]{0,17}",
    "instant": r"20[0-9]{6}T[0-9]{6}Z",
}
PATH_LIMITS = {
    "slug": 30,
    "key": 64,
    "launch_id": 18,
    "volume": 63,
    "version": 9,
    "variable": 200,
    "request_id": 18,
    "user": 255,
    "number": 9,
    "session_id": 18,
    "instant": 16,
}
"""The longest value of each, in characters."""


@dataclass(frozen=True)
class Call(Generic[Context]):
    """One request, validated. `person` is None when the hub itself asks."""

    context: Context
    now: datetime
    person: Person | None
    path: dict[str, str]
    query: Any = None
    body: Any = None
    if_match: str | None = None

    @property
    def me(self) -> Person:
        assert self.person is not None  # noqa: S101 - operations for people have one
        return self.person

    def expected_version(self) -> int:
        """The version that the caller read, from If-Match. Raises `Conflict` without one."""
        if self.if_match is None:
            raise Conflict("precondition-needed")
        match = re.fullmatch(r'(?:W/)?"([1-9][0-9]{0,8})"', self.if_match.strip())
        if match is None:
            raise Conflict("changed-meanwhile")
        return int(match[1])


@dataclass(frozen=True)
class Answer:
    """`file` is sent as it is, to be saved as `file_name`."""

    value: BaseModel | None = None
    version: int | None = None
    location: str | None = None
    file: Path | None = None
    file_name: str = ""


@dataclass(frozen=True)
class Awaited:
    """An operation that asks others than the database: awaited, it opens its own transactions."""

    run: Callable[[Call[Any]], Awaitable[Answer]]


@dataclass(frozen=True)
class Upload:
    """A body that is a file: it may be large, and is written to disk as it comes.

    `limit(session, call)` refuses who may not before any of the body is read, and answers how
    many bytes it may have. `take(files, writer)` runs in a thread once it is there, and makes of
    what `filestore.Writer` holds the `body` of the call.
    """

    limit: Callable[[Any, Call[Any]], int]
    take: Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Operation:
    """One line of an API. `run(session, call)` runs in a database transaction, unless `Awaited`.

    What is for a `teacher` is refused to students before anything of the request is read.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    name: str
    summary: str
    run: Callable[[Any, Call[Any]], Answer] | Awaited
    caller: Literal["person", "teacher", "hub"] = "person"
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    upload: Upload | None = None
    returns: type[BaseModel] | None = None
    returns_file: bool = False
    status: int = 200
    versioned: bool = False
    errors: tuple[int, ...] = field(default=())

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"\{(\w+)\}", self.path)

    @property
    def pattern(self) -> str:
        return re.sub(r"\{(\w+)\}", lambda match: f"(?P<{match[1]}>[^/]+)", self.path)


def openapi(
    operations: list[Operation], *, title: str, description: str, server: str
) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a table of operations."""
    models: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
        (Problem, "serialization")
    ]
    for operation in operations:
        if operation.body:
            models.append((operation.body, "validation"))
        if operation.returns:
            models.append((operation.returns, "serialization"))
    references, definitions = models_json_schema(
        list(dict.fromkeys(models)), ref_template="#/components/schemas/{model}"
    )
    _accept_repetition(definitions)
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(
            operation, references
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__, "description": description},
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {
                "person": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A JupyterHub token of the person who asks.",
                },
                "hub": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The secret that the hub and this service share.",
                },
            },
        },
    }


def _describe(operation: Operation, references: dict[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "security": [{"hub" if operation.caller == "hub" else "person": []}],
        "parameters": [_path_parameter(name) for name in operation.parameters],
        "responses": {},
    }
    if operation.query:
        schema = operation.query.model_json_schema(ref_template="#/components/schemas/{model}")
        inlined = schema.pop("$defs", {})
        described["parameters"] += [
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", []),
                "schema": _inline(detail, inlined),
            }
            for name, detail in schema["properties"].items()
        ]
    if operation.versioned and operation.method in {"PUT", "DELETE"}:
        described["parameters"].append(
            {
                "name": "If-Match",
                "in": "header",
                "required": True,
                "description": "The ETag of what was read; an old one is refused (412).",
                "schema": {"type": "string"},
            }
        )
    if operation.body:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": references[(operation.body, "validation")]}},
        }
    if operation.upload:
        described["requestBody"] = {"required": True, "content": {OCTETS: _OCTETS_SCHEMA}}
    success: dict[str, Any] = {"description": "Done."}
    if operation.returns_file:
        success["content"] = {OCTETS: _OCTETS_SCHEMA}
    if operation.returns:
        success["content"] = {
            "application/json": {"schema": references[(operation.returns, "serialization")]}
        }
    if operation.versioned and operation.method != "DELETE":
        success["headers"] = {"ETag": {"schema": {"type": "string"}}}
    described["responses"][str(operation.status)] = success
    always = {401, 403, 413, 500, 503}
    if operation.parameters:
        always |= {404}
    if operation.body or operation.query:
        always |= {400, 422}
    if operation.versioned and operation.writes and operation.method != "POST":
        always |= {412, 428}
    for status in sorted(always | set(operation.errors)):
        described["responses"][str(status)] = {
            "description": "Refused, with the reason.",
            "content": {CONTENT_TYPE: {"schema": references[(Problem, "serialization")]}},
        }
    return described


def _path_parameter(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {
            "type": "string",
            "pattern": f"^{PATH_PATTERNS[name]}$",
            "maxLength": PATH_LIMITS[name],
        },
    }


def _accept_repetition(schema: Any) -> None:
    """Say what is so: what comes twice for a set is taken once."""
    if isinstance(schema, dict):
        if schema.get("uniqueItems") is True:
            del schema["uniqueItems"]
        for value in schema.values():
            _accept_repetition(value)
    elif isinstance(schema, list):
        for value in schema:
            _accept_repetition(value)


def _inline(schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inline(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
        return {key: _inline(value, definitions) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_inline(value, definitions) for value in schema]
    return schema
