"""Uploads: bodies larger than memory should hold, written to disk as they come."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from tornado.web import stream_request_body

from ...domain.errors import MydockerError, Unavailable
from ...filestore import Writer
from ...web.operations import Call, Operation
from ...web.service import ApiHandler

_LONGEST_UPLOAD_SECONDS = 1800
_LINGER_BYTES = 8 * 1024 * 1024
"""So much more of a body is read, and thrown away, after it was refused: who still sends when the
connection is closed sees that it broke, and not the reason (nginx calls it a lingering close)."""
_LINGER_SECONDS = 10
_COUNTED_HERE = 1 << 60  # instead of tornado's limit, which closes without a word


@stream_request_body
class UploadHandler(ApiHandler):
    """Runs the operations of a path that takes files.

    Who may send one, and how much of it, is decided before its body is read. What is refused is
    answered at once, also in the middle of a body; the rest of it is not waited for.
    """

    _call: Call[Any] | None = None
    _writer: Writer | None = None
    _refused = False
    _body_ended = False
    _thrown_away = 0

    async def prepare(self) -> None:
        connection: Any = self.request.connection
        connection.set_max_body_size(_COUNTED_HERE)
        connection.set_body_timeout(_LONGEST_UPLOAD_SECONDS)
        try:
            await super().prepare()
            await self._admit(self.operations[self.request.method or ""])
        except Exception as error:
            connection.set_body_timeout(_LINGER_SECONDS)
            self._refuse(error)

    async def _admit(self, operation: Operation) -> None:
        """Open the file that the body goes into. Raises what the request is refused for."""
        self._call = self.as_call(operation, self.path_kwargs)
        if operation.upload is None:
            return
        limit = await self._call.context.database.read(operation.upload.limit, self._call)
        length = self.request.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > limit:
            raise MydockerError("too-large", limit=limit)
        if self._call.context.files is None:
            raise Unavailable("files-no-room")
        self._writer = await asyncio.to_thread(self._call.context.files.begin, limit)

    async def data_received(self, chunk: bytes) -> None:
        if self._writer is None or self._refused:
            self._throw_away(chunk)
            return
        try:
            await asyncio.to_thread(self._writer.write, chunk)
        except Exception as error:
            self._writer.close()
            self._refuse(error)

    def _throw_away(self, chunk: bytes) -> None:
        self._thrown_away += len(chunk)
        if self._thrown_away > _LINGER_BYTES and not self._finished:
            self._body_ended = True
            self.finish()  # closes the connection, as the body was not read to its end

    def _refuse(self, error: Exception) -> None:
        self._refused = True
        self.log_exception(type(error), error, error.__traceback__)
        self.send_error(exc_info=(type(error), error, error.__traceback__))

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> asyncio.Future[None]:
        """Answer; but until the body has ended, only send, as tornado would close at once."""
        if not self._refused or self._body_ended:
            return super().finish(chunk)
        if chunk is None or self._headers_written:
            return self.flush()
        text = chunk.encode() if isinstance(chunk, str) else chunk
        self.set_header("Content-Length", str(len(text)))
        self.write(text)
        return self.flush()

    async def _run(self, **path: str) -> None:
        self._body_ended = True
        if self._refused or self._call is None:
            return
        operation = self.operations[self.request.method or ""]
        call = self._call
        if operation.upload is not None:
            files, writer = call.context.files, self._writer
            call = replace(call, body=await asyncio.to_thread(operation.upload.take, files, writer))
        await self.perform(operation, call)

    get = post = put = patch = delete = _run

    def on_finish(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._writer is not None:
            self._writer.close()
