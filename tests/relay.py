"""A way to the engine that tests can watch and cut."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import suppress

_REQUEST = re.compile(rb"^([A-Z]+) (?:/v[0-9.]+)?(/\S*) HTTP/1\.1\r$", re.MULTILINE)


class Relay:
    """A way to the engine that counts, and can be cut, fall silent, or answer with an error.

    `calls` has a line for each request, such as `POST /services/create`, with `*` for an id.
    """

    def __init__(self) -> None:
        self.mode = "pass"
        self.delay = 0.0
        self.calls: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: set[socket.socket] = set()
        self._closing = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, mode: str) -> None:
        """pass, cut, silent, or error; what is open is cut, too."""
        self.mode = mode
        for one in list(self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.set("cut")
        self._closing.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[near], daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        self._sockets.add(near)
        with near, socket.socket(socket.AF_UNIX) as far:
            if self.mode == "cut":
                return
            if self.mode == "silent":
                self._closing.wait(60)
                return
            far.connect("/var/run/docker.sock")
            self._sockets.add(far)
            back = threading.Thread(target=self._copy, args=[far, near], daemon=True)
            back.start()
            self._copy(near, far, request=True)
            back.join()
            self._sockets -= {near, far}

    def _copy(self, source: socket.socket, sink: socket.socket, request: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if request:
                    self.calls.extend(_call(*found) for found in _REQUEST.findall(data))
                if request and b"/services/create" in data:
                    time.sleep(self.delay)
                    if self.mode == "error":
                        body = b'{"message":"rpc error: the swarm does not have a leader"}'
                        source.sendall(
                            b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n"
                            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                            % (len(body), body)
                        )
                        break
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def _call(method: bytes, path: bytes) -> str:
    plain = path.decode().partition("?")[0]
    return method.decode() + " " + re.sub(r"/[0-9a-z]{25}(?=/|$)|/[0-9a-f]{64}(?=/|$)", "/*", plain)
