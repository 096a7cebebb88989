"""LOAD DATA LOCAL INFILE: the file on its way from the client to the server, raw frames up to the empty one.

Called by the relay when a server asks for a file. A server that may ask for any file can read the client's disk (the
manual's "Security Considerations for LOAD DATA LOCAL"), so ``permitted`` is asked before the request is passed on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mysqlproxy.protocol.framing import HEADER, MAX_PAYLOAD

if TYPE_CHECKING:
    from mysqlproxy.pool.connection import ServerConnection
    from mysqlproxy.session.engine import Session


def permitted(session: Session, name: bytes) -> bool:
    """Whether the statement asked for exactly this file."""
    return session.request is not None and name in session.request.verdict.local_files


def begin(session: Session, connection: ServerConnection) -> None:
    """The request for the file is with the client: what it sends now is the file."""
    upload = Upload(session, connection)
    session.client.upload = upload.feed
    early = session.client.reader.take_rest()
    if early:
        upload.feed(early)
    session.client.pump()  # reading may have been paused by what came early


class Upload:
    """Watches the frames go by; passes them on as they are."""

    __slots__ = ("_connection", "_continues", "_header", "_left", "_session")

    def __init__(self, session: Session, connection: ServerConnection) -> None:
        self._session = session
        self._connection = connection
        self._header = b""
        self._left = 0  # bytes of the current frame's content still to come
        self._continues = False  # the last frame was full: an empty one only ends that packet

    def feed(self, data: bytes) -> None:
        """Bytes from the client, of any size."""
        position = 0
        while position < len(data):
            if self._left:
                step = min(self._left, len(data) - position)
                self._left -= step
                position += step
                continue
            step = HEADER - len(self._header)
            self._header += data[position : position + step]
            position += min(step, len(data) - position)
            if len(self._header) < HEADER:
                break
            length = int.from_bytes(self._header[:3], "little")
            sequence = self._header[3]
            ends = length == 0 and not self._continues
            self._continues = length == MAX_PAYLOAD
            self._left = length
            self._header = b""
            if ends:
                self._end(data, position, sequence)
                return
        self._connection.send(data)

    def _end(self, data: bytes, position: int, sequence: int) -> None:
        client = self._session.client
        client.upload = None
        self._connection.walker.resume_after_infile(sequence)
        self._connection.send(data[:position])
        if position < len(data):
            client.reader.feed(data[position:])
