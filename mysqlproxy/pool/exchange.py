"""The daemon's own exchanges on a connection to a server: packets of a login, and statements with small answers.

Used by ``pool.login``, the pool's resets and the session's state transfer. Never used for a client's statement: these
answers are held in memory, hence bounded.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from mysqlproxy.errors import MalformedPacket, ProxyError, ServerFault
from mysqlproxy.pool.wire import ServerWire
from mysqlproxy.protocol.framing import PacketReader, frame, payload_of
from mysqlproxy.protocol.response import ResponseWalker

MAX_ANSWER = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one of the daemon's own commands.

    Attributes:
        data: all its packets, headers included.
        errno, sqlstate, message: of its ERR; errno is 0 without one.
        status: the last status flags.
        session_state: the session-state blocks of its OK packets.
    """

    data: bytes
    errno: int
    sqlstate: str
    message: str
    status: int
    session_state: bytes

    def raise_error(self) -> Reply:
        """Raises ServerFault with the server's own number if the answer is an ERR."""
        if self.errno:
            raise ServerFault(self.message, errno=self.errno, sqlstate=self.sqlstate)
        return self

    def packets(self) -> list[bytes]:
        """The payloads."""
        reader = PacketReader(MAX_ANSWER)
        reader.feed(self.data)
        found = []
        while (raw := reader.next()) is not None:
            found.append(payload_of(raw))
        return found


class _Exchange:
    """Waits for something on a wire; one at a time."""

    def __init__(self, wire: ServerWire) -> None:
        self.wire = wire
        self.result: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def server_data(self, data: bytes) -> None:
        raise NotImplementedError

    def server_lost(self, error: Exception | None) -> None:
        self.fail(ServerFault("Lost connection to server"))

    def server_writable(self, writable: bool) -> None:
        pass  # what we send ourselves is small

    def fail(self, error: Exception) -> None:
        if not self.result.done():
            self.result.set_exception(error)

    async def wait(self) -> None:
        self.wire.consumer = self
        try:
            await self.result
        finally:
            if self.wire.consumer is self:
                self.wire.consumer = None


class Command(_Exchange):
    """One command and its whole answer."""

    def __init__(self, wire: ServerWire, walker: ResponseWalker) -> None:
        super().__init__(wire)
        self.walker = walker
        self.answer = bytearray()
        self.held = b""

    def server_data(self, data: bytes) -> None:
        try:
            data = self.held + data
            end = self.walker.feed(data)
            self.answer += data[:end]
            self.held = data[end:]
            if len(self.answer) > MAX_ANSWER:
                raise MalformedPacket("an answer to the daemon's own statement is too large")
            if self.walker.local_infile is not None:
                raise MalformedPacket("a file was asked for that no statement named")
            if self.walker.done and self.held:
                raise MalformedPacket("bytes behind the end of an answer")
        except ProxyError as error:
            self.wire.abort()
            self.fail(ServerFault(str(error)))
            return
        if self.walker.done and not self.result.done():
            self.result.set_result(None)

    async def run(self, payload: bytes, form: int) -> Reply:
        """Send one command packet and collect its answer. The caller bounds the time, and aborts on a timeout."""
        if self.wire.closed:
            raise ServerFault("Lost connection to server")
        self.walker.begin(form)
        self.wire.send(frame(payload))
        await self.wait()
        walker = self.walker
        return Reply(
            bytes(self.answer),
            walker.errno,
            walker.sqlstate,
            walker.message.decode("utf-8", "replace"),
            walker.status,
            walker.session_state,
        )


class Packets(_Exchange):
    """Single packets, as a login exchanges them. Keeps the sequence."""

    def __init__(self, wire: ServerWire) -> None:
        super().__init__(wire)
        self.reader = PacketReader(1 << 16)
        self.sequence = 0

    def server_data(self, data: bytes) -> None:
        self.reader.feed(data)
        if not self.result.done():
            self.result.set_result(None)

    async def read(self) -> bytes:
        """The next packet's payload."""
        while True:
            raw = self.reader.next()
            if raw is not None:
                if raw[3] != self.sequence & 0xFF:
                    raise MalformedPacket("a server's packets are out of order")
                self.sequence += 1
                return payload_of(raw)
            if self.wire.closed:
                raise ServerFault("Lost connection to server")
            self.result = asyncio.get_running_loop().create_future()
            await self.wait_on()

    async def wait_on(self) -> None:
        self.wire.consumer = self
        await self.result

    def write(self, payload: bytes) -> None:
        self.wire.send(frame(payload, self.sequence))
        self.sequence += 1

    def end(self) -> None:
        """Nothing may follow.

        Raises:
            MalformedPacket: the server sent more than was asked for.
        """
        if self.wire.consumer is self:
            self.wire.consumer = None
        if self.reader.pending:
            raise MalformedPacket("a server sent bytes behind the end of the login")
