"""The answer on its way from the server to the client: bytes through, boundaries exact. The hottest code but one.

One relay per session, installed as the consumer of the connection that runs the session's statement. Only packet
headers and OK, EOF and ERR are looked into (``protocol.response``); OK packets are translated: the daemon always
has session tracking on towards servers, whatever the client asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from mysqlproxy.errors import MalformedPacket
from mysqlproxy.pool.wire import MAX_LAST_WORDS
from mysqlproxy.protocol import response
from mysqlproxy.protocol.framing import HEADER, frame
from mysqlproxy.protocol.packets import translate_ok
from mysqlproxy.routing.offload import ALL
from mysqlproxy.session import upload
from mysqlproxy.sql.verdict import READ

if TYPE_CHECKING:
    from mysqlproxy.pool.connection import ServerConnection
    from mysqlproxy.session.engine import Session


class Relay:
    """Passes one session's answers on.

    Attributes:
        translate: the client did not agree to SESSION_TRACK.
        altered: the client is told other status flags than the server's: the ``kept`` ones and the ``added`` ones.
        held: bytes of the answer that cannot be passed on before more has come; at most one control packet.
    """

    __slots__ = ("added", "altered", "connection", "held", "kept", "session", "translate")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.connection: ServerConnection | None = None
        self.translate = True
        self.held = b""
        self.altered = False
        self.kept, self.added = ALL, 0

    def begin(self, connection: ServerConnection, form: int, first_sequence: int) -> None:
        """The next bytes from ``connection`` are the answer to the session's statement."""
        self.connection = connection
        self.held = b""
        connection.walker.begin(form, first_sequence)
        connection.consumer = self

    def tell(self, kept: int, added: int) -> None:
        """Alter the status flags of the answer that has just been begun."""
        assert self.connection is not None
        self.kept, self.added = kept, added
        self.connection.walker.marks = self.altered = kept != ALL or added != 0

    def told(self, flags: int) -> int:
        """The status flags that the client was told where the server said ``flags``."""
        return flags & self.kept | self.added if self.altered else flags

    def server_data(self, data: bytes, early: bool = False) -> None:
        session = self.session
        connection = self.connection
        assert connection is not None
        if self.held:
            data = self.held + data
            self.held = b""
        walker = connection.walker
        try:
            end = walker.feed(data)
        except MalformedPacket as error:
            request = session.request
            if request is not None and not request.relayed:
                refusal = early_refusal(data, request.answer_sequence())
                if refusal:
                    self.server_data(refusal, early=True)
                    return
            connection.consumer = None
            connection.abort()
            session.server_broken(error)
            return
        if walker.local_infile is not None and not session.permits_file(walker.local_infile):
            connection.consumer = None
            connection.abort()
            session.server_broken(MalformedPacket("a file was asked for that no statement named"))
            return
        if end:
            request = session.request
            assert request is not None
            out = data if end == len(data) else data[:end]
            if self.altered:
                out = with_flags(out, walker.statuses, self.kept, self.added)
            if walker.state_changed and walker.oks:
                try:
                    out = translated(out, walker.oks, self._shown)
                except MalformedPacket as error:
                    connection.consumer = None
                    connection.abort()
                    session.server_broken(error)
                    return
            if request.form == response.PREPARE and not request.relayed and not walker.errno:
                assert request.prepared is not None
                out = out[: HEADER + 1] + request.prepared.id.to_bytes(4, "little") + out[HEADER + 5 :]
            if request.relayed or not walker.errno or not session.asks_manager_instead(walker.errno):
                request.relayed = True
                session.client.write(out)
                if not walker.done and request.verdict.kind is not READ:
                    session.services.position.unknown_since = monotonic()  # it may tell of a write already
        if walker.done:
            connection.consumer = None
            if end != len(data) or early:
                connection.last_words = data[end:][:MAX_LAST_WORDS]
                connection.abort()  # more than was asked for: it must not answer the next statement
            session.answered()
        else:
            self.held = data[end:] if end < len(data) else b""
            if walker.local_infile is not None:
                upload.begin(session, connection)

    def _shown(self, payload: bytes) -> bytes:
        """An OK packet in the form that the client agreed to, with the changes that it asked for."""
        session = self.session
        if self.translate:
            return translate_ok(payload, session.capabilities)
        return session.trackers.shown(payload)

    def server_lost(self, error: Exception | None) -> None:
        self.session.server_gone(error)

    def server_writable(self, writable: bool) -> None:
        self.session.client.hold_back(not writable)


def early_refusal(data: bytes, sequence: int) -> bytes:
    """An ERR that begins an answer with a sequence id before ``sequence``, with that one; b"" when ``data`` is none.

    A server refuses a packet of several frames at the frame that goes too far and numbers its ERR by that one. What
    it makes of the frames behind it is not known: its connection must not be used again.
    """
    if data[HEADER : HEADER + 1] != b"\xff" or not 0 < data[HEADER - 1] < sequence:
        return b""
    return data[: HEADER - 1] + bytes((sequence & 0xFF,)) + data[HEADER:]


def with_flags(data: bytes, places: list[int], kept: int, added: int) -> bytes:
    """``data`` with other status flags at ``places``."""
    altered = bytearray(data)
    for place in places:
        flags = int.from_bytes(altered[place : place + 2], "little")
        altered[place : place + 2] = (flags & kept | added).to_bytes(2, "little")
    return bytes(altered)


def translated(data: bytes, spans: list[tuple[int, int, int]], translate: Callable[[bytes], bytes]) -> bytes:
    """``data`` with the OK packets at ``spans`` (start, end, sequence) translated."""
    parts = []
    position = 0
    for start, end, sequence in spans:
        parts.append(data[position:start])
        parts.append(frame(translate(data[start + HEADER : end]), sequence))
        position = end
    parts.append(data[position:])
    return b"".join(parts)
