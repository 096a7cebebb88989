"""A relay of bytes in front of a real server: it may rewrite the greeting, and may be slow.

For what a server's own settings cannot show: a cluster of several versions and capabilities, a slow network.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

from mysqlproxy.protocol.framing import frame
from mysqlproxy.protocol.handshake import Greeting, parse_greeting

Rewrite = Callable[[Greeting], Greeting]
_CHUNK = 1 << 14


class Relay:
    """Listens on ``port`` and passes bytes on to a server.

    Attributes:
        bytes_per_second: of the client's bytes towards the server; None for no limit. May be changed at any time.
        instead: given what a client sent, the answer that the server never gave, or None to pass it on.
    """

    def __init__(self, server_port: int, rewrite: Rewrite | None, listener: socket.socket) -> None:
        self._server_port = server_port
        self._rewrite = rewrite
        self.bytes_per_second: float | None = None
        self.instead: Callable[[bytes], bytes | None] = lambda data: None
        self._listener = listener
        self.port: int = listener.getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            upstream, downstream = await asyncio.open_connection("127.0.0.1", self._server_port)
            try:
                if self._rewrite is not None:
                    header = await upstream.readexactly(4)
                    payload = await upstream.readexactly(int.from_bytes(header[:3], "little"))
                    if payload[0] == 10:
                        payload = self._rewrite(parse_greeting(payload)).build()
                    writer.write(frame(payload))
                await asyncio.gather(
                    self._pass(reader, downstream, writer), self._pass(upstream, writer, None)
                )
            finally:
                downstream.close()
                writer.close()

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, back: asyncio.StreamWriter | None
    ) -> None:
        while data := await source.read(_CHUNK):
            if back is not None and self.bytes_per_second:
                await asyncio.sleep(len(data) / self.bytes_per_second)
            if back is not None and (answer := self.instead(data)) is not None:
                back.write(answer)
                continue
            sink.write(data)
            await sink.drain()
        sink.close()

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, sock=self._listener, limit=_CHUNK)
        try:
            yield
        finally:
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


@contextlib.contextmanager
def relay(
    server_port: int,
    rewrite: Rewrite | None = None,
    *,
    port: int = 0,
    listener: socket.socket | None = None,
) -> Iterator[Relay]:
    """A relay that runs in a thread of its own, on a free port unless a port or a socket that listens is given."""
    made = Relay(server_port, rewrite, listener or socket.create_server(("127.0.0.1", port)))
    ready = threading.Event()
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        async with made._listening():
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), name="relay")
    thread.start()
    try:
        assert ready.wait(10)
        yield made
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def announcing(version: str | None = None, without: int = 0) -> Rewrite:
    """Another version in the greeting, and fewer capabilities."""

    def rewrite(greeting: Greeting) -> Greeting:
        return replace(
            greeting,
            version=version or greeting.version,
            capabilities=greeting.capabilities & ~without,
        )

    return rewrite
