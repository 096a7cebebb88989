"""Servers that are broken or hostile: a probe of them fails, in time, in bounded memory, and says why."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mysqlproxy.cluster.observation import Failure
from mysqlproxy.cluster.probe import Prober
from mysqlproxy.cluster.pymysql_adapter import MAX_BYTES
from mysqlproxy.config.schema import Server
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.handshake import Greeting
from tests.integration.watching import watching

TIMEOUT = 0.5
Behaviour = Callable[[socket.socket], None]


def packet(payload: bytes, sequence: int) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([sequence & 0xFF]) + payload


GREETING = packet(
    Greeting(
        version="5.5.5-10.11.19-MariaDB",
        connection_id=1,
        nonce=b"12345678901234567890",
        capabilities=flags.PROTOCOL_41 | flags.SECURE_CONNECTION | flags.PLUGIN_AUTH,
        charset=45,
        status=2,
        plugin="mysql_native_password",
    ).build(),
    0,
)
OK = bytes.fromhex("00000002000000")


@contextmanager
def server(behave: Behaviour) -> Iterator[Server]:
    """A server that treats each connection as told; its threads end with the test."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def treat(connection: socket.socket) -> None:
        try:
            behave(connection)
        except OSError:
            pass  # the prober has left, as it should

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            opened.append(connection)
            threads.append(threading.Thread(target=treat, args=(connection,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        port = listener.getsockname()[1]
        yield Server(name="manager", address=f"127.0.0.1:{port}", role="manager")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for connection in opened:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()
        for thread in threads:
            thread.join()


def silent(connection: socket.socket) -> None:
    connection.recv(1)


def drip(connection: socket.socket) -> None:
    """A greeting of 60 KB, a byte at a time: no single read ever times out."""
    connection.sendall((60_000).to_bytes(3, "little") + b"\0")
    while True:
        connection.sendall(b"\x0a")
        time.sleep(0.02)


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 50)
    connection.recv(1)


def truncated(connection: socket.socket) -> None:
    connection.sendall(packet(GREETING[4:20], 0))
    connection.recv(1)


def closes(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def full(connection: socket.socket) -> None:
    connection.sendall(packet(b"\xff\x10\x04Too many connections", 0))
    connection.recv(1)


def _logged_in(connection: socket.socket) -> None:
    connection.sendall(GREETING)
    connection.recv(65536)
    connection.sendall(packet(OK, 2))


def wrong_sequence(connection: socket.socket) -> None:
    _logged_in(connection)
    connection.recv(65536)
    connection.sendall(packet(OK, 77))
    connection.recv(1)


def flood(connection: socket.socket) -> None:
    """Rows without end, as fast as they are taken."""
    _logged_in(connection)
    connection.recv(65536)
    connection.sendall(packet(OK, 1))  # SET NAMES
    connection.recv(65536)
    definition = b"\x03def\0\0\0\x03now\0\x0c\x2d\0\xff\0\0\0\xfd\0\0\0\0\0"
    connection.sendall(packet(b"\1", 1) + packet(definition, 2) + packet(b"\xfe\0\0\2\0", 3))
    sequence = 4
    row = b"\xfd\xf0\xff\x00" + b"1" * 0xFFF0
    while True:
        connection.sendall(packet(row, sequence))
        sequence += 1


def nothing_but_ok(connection: socket.socket) -> None:
    """Answers every question with OK, where rows are expected."""
    _logged_in(connection)
    while connection.recv(65536):
        connection.sendall(packet(OK, 1))


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (silent, "timed out"),
        (garbage, ""),
        (truncated, ""),
        (closes, "Lost connection"),
        (full, "Too many connections (1040)"),
        (wrong_sequence, "sequence number wrong"),
        (flood, "too large"),
        (nothing_but_ok, "make no sense"),
    ],
)
def test_a_probe_fails_in_time_and_says_why(behave: Behaviour, reason: str) -> None:
    with server(behave) as place:
        prober = Prober(place, "monitor", "geheim", TIMEOUT)
        for _ in range(2):
            begun = time.monotonic()
            probe = prober.probe()
            assert time.monotonic() - begun < TIMEOUT + 4
            assert probe.facts is None and probe.failure is Failure.OTHER
            assert probe.error and reason in probe.error
            assert "geheim" not in probe.error and len(probe.error) <= 300
        prober.close()


def test_a_flood_is_not_read_beyond_its_bound() -> None:
    sent = 0

    def counting(connection: socket.socket) -> None:
        nonlocal sent

        class Counting:
            def __getattr__(self, name: str) -> object:
                return getattr(connection, name)

            def sendall(self, data: bytes) -> None:
                nonlocal sent
                connection.sendall(data)
                sent += len(data)

        flood(Counting())  # type: ignore[arg-type]

    with server(counting) as place:
        prober = Prober(place, "monitor", "", 10.0)
        assert "too large" in prober.probe().error
    # What the kernel's buffers take on both sides comes on top.
    assert MAX_BYTES / 2 < sent < MAX_BYTES + 16 * 1024 * 1024


async def test_a_greeting_that_drips_is_cut_off_and_the_monitor_stops_at_once() -> None:
    with server(drip) as place:
        begun = time.monotonic()
        async with watching([place], "geheim", timeout=TIMEOUT, down_after=2) as watch:
            view = await watch.until(lambda view: view.by_name["manager"].unreadable.startswith("down: "))
            assert "no answer in time" in view.by_name["manager"].unreadable
            assert time.monotonic() - begun < 10
            stopping = time.monotonic()
        assert time.monotonic() - stopping < 5


def test_nobody_there_is_told_from_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for address in (f"127.0.0.1:{port}", "unix:/nonexistent/mysql.sock"):
        probe = Prober(Server(name="w", address=address, role="worker"), "monitor", "", TIMEOUT).probe()
        assert probe.failure is Failure.REFUSED
