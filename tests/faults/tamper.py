"""A liar in front of a real server: passes bytes on, and now and then does what no real server would do."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator

Lie = Callable[[bytes], bytes | Iterable[bytes]]


class Liar:
    """Listens on 127.0.0.1, ``port``.

    Attributes:
        lies: what is still to be told, and about what.
        told: how many have been.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self.lies: list[tuple[bytes, Lie]] = []
        self._clients: list[socket.socket] = []
        self._sockets: list[socket.socket] = []
        self.told = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def lie(self, about: bytes, change: Lie) -> None:
        """``change`` the next bytes that answer a request with ``about`` in it, once; OSError closes.

        What it gives may be pieces without end.
        """
        self.lies.append((about, change))

    def say(self, data: bytes) -> None:
        """Send this to everybody who is connected, unasked."""
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.sendall(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the one who accepts
        self._accepting.join(10)
        self._listener.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._sockets.append(server)
                self._clients.append(client)
                pending: list[Lie] = []
                for source, sink, up in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass, args=(source, sink, up, pending), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, up: bool, pending: list[Lie]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if up:
                    for found in [lie for lie in self.lies if lie[0] in data][:1]:
                        self.lies.remove(found)
                        pending.append(found[1])
                elif pending:
                    lie = pending.pop()(data)
                    self.told += 1
                    for piece in (lie,) if isinstance(lie, bytes) else lie:
                        sink.sendall(piece)
                    continue
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def liar(server_port: int) -> Iterator[Liar]:
    """Closed at the end, with all that goes through it."""
    made = Liar(server_port)
    try:
        yield made
    finally:
        made.close()
