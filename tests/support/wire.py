"""A blocking socket that speaks packets, for tests that play one side of a login."""

from __future__ import annotations

import socket
import ssl

from mysqlproxy.protocol.framing import PacketReader, frame, payload_of


class Wire:
    """Packets over a socket; ``sequence`` is the next packet's id."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(20)
        self.sock = sock
        self.sequence = 0
        self._reader = PacketReader(1 << 24)

    def read(self) -> bytes:
        """The next packet's payload; EOFError at the end."""
        while (raw := self._reader.next()) is None:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._reader.feed(data)
        self.sequence = raw[3] + 1
        return payload_of(raw)

    def write(self, payload: bytes) -> None:
        self.sock.sendall(frame(payload, self.sequence % 256))
        self.sequence += 1

    def to_tls(self, context: ssl.SSLContext, *, server_side: bool, host: str | None = None) -> None:
        self.sock = context.wrap_socket(self.sock, server_side=server_side, server_hostname=host)

    def close(self) -> None:
        self.sock.close()
