"""A blocking socket that speaks packets, for tests that play one side of a login."""

from __future__ import annotations

import socket
import ssl

from mysqlproxy.protocol.framing import frame


class Wire:
    """Packets over a socket; ``sequence`` is the next packet's id."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(20)
        self.sock = sock
        self.sequence = 0

    def read(self) -> bytes:
        """The next packet's payload; EOFError at the end. Takes no byte behind it: TLS may begin there."""
        header = self._exactly(4)
        self.sequence = header[3] + 1
        return self._exactly(int.from_bytes(header[:3], "little"))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def write(self, payload: bytes) -> None:
        self.sock.sendall(frame(payload, self.sequence % 256))
        self.sequence += 1

    def to_tls(self, context: ssl.SSLContext, *, server_side: bool, host: str | None = None) -> None:
        self.sock = context.wrap_socket(self.sock, server_side=server_side, server_hostname=host)

    def close(self) -> None:
        self.sock.close()
