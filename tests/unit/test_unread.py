"""An error that came before a reset is read, also when a write is the first to notice the reset."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from mysqlproxy.pool.wire import ServerWire
from mysqlproxy.session.relay import early_refusal


class Seen:
    """A consumer that writes down what it is told."""

    def __init__(self) -> None:
        self.data = b""
        self.lost: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def server_data(self, data: bytes) -> None:
        assert not self.lost.done()
        self.data += data

    def server_lost(self, error: Exception | None) -> None:
        self.lost.set_result(self.data)

    def server_writable(self, writable: bool) -> None:
        pass


def refuse(peer: socket.socket, text: bytes) -> None:
    """As a server that does not read what is too large."""
    peer.recv(1)
    peer.sendall(text)
    peer.close()


async def wire_and_peer() -> tuple[ServerWire, Seen, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = ServerWire()
        await asyncio.get_running_loop().create_connection(wire.protocol, *listener.getsockname())
        peer, _ = listener.accept()
    wire.consumer = seen = Seen()
    return wire, seen, peer


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_error_before_a_reset(loop: Callable[[], Any]) -> None:
    async def scene() -> bytes:
        wire, seen, peer = await wire_and_peer()
        wire.send(b"x" * 1000)
        refuse(peer, b"too large")  # nothing is awaited: the next write meets the reset
        wire.send(b"x" * 1000)
        return await asyncio.wait_for(seen.lost, 10)

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(scene()) == b"too large"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\3\0\0\1\xff\x81\4", b"\3\0\0\3\xff\x81\4"),
        (b"\3\0\0\2\xff\x81\4more", b"\3\0\0\3\xff\x81\4more"),
        (b"\3\0\0\3\xff\x81\4", b""),  # where it belongs
        (b"\3\0\0\4\xff\x81\4", b""),
        (b"\3\0\0\0\xff\x81\4", b""),  # unasked, no answer
        (b"\3\0\0\1\0\x81\4", b""),  # no ERR
        (b"\3\0\0\1", b""),
        (b"", b""),
    ],
)
def test_only_an_error_may_come_between_two_frames(data: bytes, found: bytes) -> None:
    assert early_refusal(data, 3) == found
