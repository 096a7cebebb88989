"""TLS in the middle of a connection: what asyncio's start_tls cannot do on a transport that has already read
on.

The MySQL protocol starts in clear; after SSLRequest the same socket speaks TLS, and the ClientHello has often
arrived with it. ``TlsTransport`` takes over a plain transport together with the bytes it has already read,
and is then the transport of the application's protocol. Used by the session (towards clients) and the pool
(towards servers), on asyncio's transports and on uvloop's. It never sees a MySQL packet.

    raw transport -> TlsTransport.data_received -> SSLObject -> protocol.data_received
    TlsTransport.write -> SSLObject -> raw.write

Nothing is queued beyond one read of the raw transport: what is written goes on at once, and what cannot be
delivered stops the raw transport's reading.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import Any, cast

from mysqlproxy.net.tls_context import client_context, server_context
from mysqlproxy.net.unread import unread

__all__ = ["TlsTransport", "client_context", "server_context"]

Buffer = bytes | bytearray | memoryview

RECORD = 16384  # bytes of plain text in one TLS record at most (RFC 8446 section 5.1)
CHUNK = 262144  # bytes decrypted before they are delivered, encrypted before they are handed on
MAX_UNREAD_ANSWERS = 65536  # bytes of TLS's own answers (key updates) that a peer may provoke and not read
SMALL = 4096  # bytes that a socket takes at once, so that an alert still gets out


class TlsTransport:
    """A transport over another one, whose protocol it becomes at once; both by its methods (a class of Python's own
    cannot be the base of a compiled one).

    The application's protocol gets no ``connection_made``: it was connected before, in clear. It gets
    everything else, ``connection_lost`` once and in every case.

    Args:
        raw: the plain transport.
        protocol: who gets the decrypted bytes.
        context: from ``net.tls_context``.
        server_side: which side of the handshake this is.
        server_hostname: on the client's side the name to ask for and, where the context says so, to verify.
        on_handshake: called once: with None, or with why it failed (ssl.SSLError, ConnectionError); then the
            connection is closed already.

    Raises:
        ValueError: a server_hostname that is none, or none where the context verifies one.
    """

    def __init__(
        self,
        raw: asyncio.Transport,
        protocol: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        on_handshake: Callable[[BaseException | None], None],
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self._loop = asyncio.get_running_loop()
        self._raw = raw
        self.set_protocol(protocol)
        self._on_handshake: Callable[[BaseException | None], None] | None = on_handshake
        self._ready = False  # the handshake is done
        self._paused = False
        self._closing = False
        self._ended = False  # the peer has said that it sends no more
        self._delivering = False
        self._outcome: ssl.SSLError | None = None  # what comes after the last delivered byte
        self._error: Exception | None = None  # for connection_lost
        self._early_writes: list[bytes] = []
        self._write_paused = False
        self._unread_answers = 0
        raw.set_protocol(cast(asyncio.Protocol, self))

    def transport(self) -> asyncio.Transport:
        """Itself, for asyncio."""
        return cast(asyncio.Transport, self)

    def start(self, early: bytes = b"") -> None:
        """Begins the handshake.

        Args:
            early: what the raw transport had already read behind the last clear packet.
        """
        self._raw.resume_reading()
        if early:
            self._incoming.write(early)
        self._shake()

    # What the raw transport calls.

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._incoming.write(data)
        if self._ready:
            self._decrypt()
        else:
            self._shake()

    def eof_received(self) -> bool:
        if not self._ready:
            self._fail(ConnectionResetError("the connection ended during the TLS handshake"))
        else:
            # Without close_notify. A MySQL packet says where it ends, so nothing is cut off unnoticed.
            self._end()
        return not self._closing

    def connection_lost(self, exc: Exception | None) -> None:
        if self._closing and isinstance(exc, ConnectionError):
            exc = None  # the peer was gone before our close_notify
        if self._ready and not self._ssl.server_side:
            for data in unread(self._raw, exc):
                self.data_received(data)
        self._closing = True
        exc = self._error or exc
        self._report(exc or ConnectionResetError("the connection was lost during the TLS handshake"))
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._write_paused = True
        self._unread_answers = 0
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._protocol.resume_writing()

    # Reading.

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)  # one by its methods

    def get_protocol(self) -> asyncio.Protocol:
        return self._protocol

    def is_reading(self) -> bool:
        return not (self._paused or self._closing or self._ended)

    def pause_reading(self) -> None:
        if self._paused or self._closing:
            return
        self._paused = True
        if self._ready:
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        if not self._paused or self._closing:
            return
        self._paused = False
        if self._delivering or not self._undelivered():
            self._raw.resume_reading()
        elif self._ready:
            # Not from here: the caller need not expect data before it returns. Nor the raw transport's yet:
            # what has arrived comes first.
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if not (self._paused or self._closing):
            self._decrypt()
            if not (self._paused or self._closing):
                self._raw.resume_reading()

    def _undelivered(self) -> bool:
        return bool(self._incoming.pending or self._ssl.pending() or self._outcome)

    def _shake(self) -> None:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._flush()
        self._ready = True
        if self._paused:
            self._raw.pause_reading()
        for data in self._early_writes:
            self.write(data)
        self._early_writes.clear()
        self._report(None)
        if self._undelivered():
            self._decrypt()

    def _decrypt(self) -> None:
        """Delivers what has arrived until nothing is left or reading is paused."""
        if self._delivering:
            return  # data_received called something that came back here: the loop below goes on
        self._delivering = True
        try:
            while not (self._paused or self._closing or self._ended):
                if self._outcome is not None:
                    self._conclude(self._outcome)
                    break
                data = self._read_chunk()
                if self._outgoing.pending:
                    self._answer()
                if data and not self._closing:
                    self._protocol.data_received(data)
                if not self._undelivered():
                    break
        finally:
            self._delivering = False

    def _read_chunk(self) -> bytes:
        """Decrypts up to CHUNK bytes; an end or an error that follows them is put into ``_outcome``."""
        chunks: list[bytes] = []
        size = 0
        try:
            while size < CHUNK:
                data = self._ssl.read(RECORD)
                if not data:
                    raise ssl.SSLZeroReturnError  # close_notify
                chunks.append(data)
                size += len(data)
                if not self._undelivered():  # saves an exception for each packet
                    break
        except ssl.SSLWantReadError:
            pass  # the begin of a record is in OpenSSL's own buffer; nothing is left in ours
        except ssl.SSLError as error:
            self._outcome = error
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _conclude(self, outcome: ssl.SSLError) -> None:
        if isinstance(outcome, ssl.SSLZeroReturnError):
            self._end()
        else:
            self._break(outcome)

    # Writing.

    def write(self, data: Buffer) -> None:
        """Encrypts and hands on at once. Waits until the handshake is done; dropped after ``close``."""
        if self._closing or not data:
            return
        if not self._ready:
            self._early_writes.append(bytes(data))
            return
        try:
            if len(data) > CHUNK:
                view = memoryview(data).cast("B")
                for start in range(0, len(view), CHUNK):
                    self._ssl.write(view[start : start + CHUNK])  # into memory: never a part of it
                    self._raw.write(self._outgoing.read())
            else:
                self._ssl.write(data)
                self._raw.write(self._outgoing.read())
        except ssl.SSLError as error:
            self._break(error)

    def writelines(self, list_of_data: Iterable[Buffer]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size() + sum(map(len, self._early_writes))

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._raw.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    def _answer(self) -> None:
        """Hands on what TLS itself answers to what was read, and drops a peer that reads none of it."""
        if self._write_paused:
            self._unread_answers += self._outgoing.pending
        self._flush()
        if self._unread_answers > MAX_UNREAD_ANSWERS:
            self._error = ConnectionAbortedError("the peer provokes TLS messages and does not read them")
            self.abort()

    # The end.

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Says close_notify and closes when all is written; after it only ``connection_lost`` comes."""
        if self._closing:
            return
        self._closing = True
        if self._ready:
            try:
                self._ssl.unwrap()
            except ssl.SSLError:
                pass  # the peer's own close_notify, which nobody waits for
            self._flush()
        self._raw.close()

    def abort(self) -> None:
        """Drops the connection at once."""
        self._closing = True
        self._raw.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """ssl_object, sslcontext, peercert, cipher, compression; all else is the raw transport's."""
        match name:
            case "ssl_object":
                return self._ssl
            case "sslcontext":
                return self._ssl.context
            case "peercert":
                return self._ssl.getpeercert()
            case "cipher":
                return self._ssl.cipher()
            case "compression":
                return self._ssl.compression()
        return self._raw.get_extra_info(name, default)

    def _end(self) -> None:
        """The peer sends no more."""
        if self._ended or self._closing:
            return
        self._ended = True
        if not self._protocol.eof_received():
            self.close()

    def _fail(self, error: Exception) -> None:
        """The handshake has failed."""
        self._error = error
        self._closing = True
        self._flush()  # the alert
        self._raw.close()
        self._report(error)

    def _break(self, error: Exception) -> None:
        """The peer breaks TLS after the handshake."""
        self._error = error
        self._closing = True
        self._flush()
        if self._raw.get_write_buffer_size() <= SMALL:
            self._raw.close()
        else:
            self._raw.abort()

    def _report(self, outcome: BaseException | None) -> None:
        report, self._on_handshake = self._on_handshake, None
        if report is not None:
            report(outcome)
