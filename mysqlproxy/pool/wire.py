"""The socket of a connection to a server: who gets its bytes now, and what happens when it breaks.

Bytes go to the one consumer installed at the moment: a session's relay, or one of the daemon's own exchanges
(``pool.exchange``). With no consumer the connection is idle, and any byte or end of it means that it must not be
used again: MySQL sends an unsolicited ERR 4031 before it closes an idle connection, which would otherwise be taken
for the answer to the next statement.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from mysqlproxy.net.unread import unread

MAX_LAST_WORDS = 1024  # bytes


class Consumer(Protocol):
    """Who is told what the server sends."""

    def server_data(self, data: bytes) -> None: ...
    def server_lost(self, error: Exception | None) -> None: ...
    def server_writable(self, writable: bool) -> None: ...


class ServerWire:
    """One socket to a server: an ``asyncio.Protocol`` by its methods (a class of Python's own cannot be the base of a
    compiled one).

    Attributes:
        consumer: who gets what arrives; None while idle.
        closed: nothing can be sent any more.
        last_used: loop time of the last exchange, seconds.
        last_words: what came unasked, as a server's ERR before it closes.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.consumer: Consumer | None = None
        self.closed = False
        self.last_used = 0.0
        self.last_words = b""
        self.writable = True

    def protocol(self) -> asyncio.Protocol:
        """Itself, for asyncio."""
        return cast(asyncio.Protocol, self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        consumer = self.consumer
        if consumer is None:
            self.last_words = data[:MAX_LAST_WORDS]
            self.abort()  # unasked for: never to be taken for an answer
            return
        consumer.server_data(data)

    def eof_received(self) -> bool:
        return False  # close: a server that stopped sending has stopped answering

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        for data in unread(self.transport, exc):  # an ERR that came before the reset; TLS has taken its own
            self.data_received(data)
        consumer, self.consumer = self.consumer, None
        if consumer is not None:
            consumer.server_lost(exc)
        self.gone()

    def gone(self) -> None:
        """Called once, when the socket is closed, whoever closed it."""

    def pause_writing(self) -> None:
        self.writable = False
        if self.consumer is not None:
            self.consumer.server_writable(False)

    def resume_writing(self) -> None:
        self.writable = True
        if self.consumer is not None:
            self.consumer.server_writable(True)

    def send(self, data: bytes) -> None:
        """Write; a broken socket is reported through ``connection_lost``, never here."""
        if self.transport is not None and not self.closed:
            self.transport.write(data)

    def abort(self) -> None:
        """Drop the connection at once; ``connection_lost`` follows."""
        self.closed = True
        if self.transport is not None:
            self.transport.abort()

    def close(self) -> None:
        """Say COM_QUIT and close."""
        if self.closed or self.transport is None:
            return
        self.closed = True
        self.transport.write(b"\x01\x00\x00\x00\x01")
        self.transport.close()
