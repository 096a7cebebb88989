"""Clients that send what no client sends: each gets an error or is closed, alone; everybody else is served meanwhile,
within a second, and the memory is back where it was.
"""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.errors import MalformedPacket
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.codec import lenenc
from mysqlproxy.protocol.commands import Command
from mysqlproxy.protocol.framing import frame
from mysqlproxy.protocol.greeting import parse_greeting
from mysqlproxy.protocol.handshake import HandshakeResponse
from mysqlproxy.protocol.packets import parse_err
from tests.integration.test_slow_peers import MIB, resident
from tests.support.raw import EXECUTE, LONG_DATA, QUERY, RawClient, ServerError, proxied, scramble
from tests.support.waiting import eventually

GROWTH = 16 * MIB  # what the allocator may keep of a hostile client's memory
WITHIN = 1.0  # second
BEFORE_LOGIN = flags.PROTOCOL_41 | flags.SECURE_CONNECTION | flags.PLUGIN_AUTH | flags.CONNECT_WITH_DB


@pytest.fixture(scope="module")
def watched(session_cluster: LocalCluster, session_daemons: object) -> Iterator[Daemon]:
    session_cluster.reset()
    config = session_daemons.config(session_cluster)  # type: ignore[attr-defined]
    config["limits"] |= {
        "login_timeout": 3.0, "read_timeout": 1.0, "max_login_failures": 0, "max_unauthenticated": 200,
    }  # fmt: skip
    daemon = session_daemons.start(config)  # type: ignore[attr-defined]
    daemon.wait_for(lambda: daemon.metrics().total("mysqlproxy_server_up") == 3, "all servers are up")
    yield daemon
    daemon.stop()


class Others(threading.Thread):
    """Somebody who asks all the time: ``late`` are the seconds of answers that took too long."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon=True)
        self._client = proxied(daemon)
        self._enough = threading.Event()
        self.asked = 0
        self.late: list[float] = []

    def __enter__(self) -> Others:
        self.start()
        return self

    def run(self) -> None:
        while not self._enough.wait(0.005):
            begun = time.monotonic()
            assert self._client.query("SELECT 1").value == b"1"
            self.asked += 1
            if (took := time.monotonic() - begun) > WITHIN:
                self.late.append(took)

    def __exit__(self, *_: object) -> None:
        eventually(lambda: self.asked > 0)
        self._enough.set()
        self.join(20)
        self._client.close()


class Raw:
    """A socket that has read the greeting, and knows how to log in."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.sock = socket.create_connection(("127.0.0.1", daemon.port), timeout=8)
        self.greeting = self.packet()

    def packet(self) -> bytes:
        header = self._exactly(4)
        return self._exactly(int.from_bytes(header[:3], "little"))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # closed already: that is what the case is about
            self.sock.sendall(data)

    def login(self, user: bytes = b"app") -> bytes:
        """The right login packet."""
        nonce = parse_greeting(self.greeting).nonce
        password = self.daemon.config["users"][0]["password"]
        proof = scramble("mysql_native_password", password, nonce)
        return HandshakeResponse(
            BEFORE_LOGIN, 1 << 24, 45, user, proof, b"app", "mysql_native_password", {}
        ).build()

    def last_error(self) -> int:
        """The number of the last ERR before the end of the connection, 0 for none; closes. Fails when it goes on."""
        found = 0
        try:
            while True:
                payload = self.packet()
                if payload[:1] == b"\xff":
                    found = parse_err(payload, flags.PROTOCOL_41).errno
        except (EOFError, ConnectionError):
            return found
        except TimeoutError:
            raise AssertionError("the connection does not end") from None
        finally:
            self.sock.close()


Case = Callable[[Daemon], None]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__.replace("_", " ")] = function
    return function


# --- before the login ----------------------------------------------------------------------------------------------


@case
def a_denied_client_goes_on(daemon: Daemon) -> None:
    raw = Raw(daemon)
    raw.send(frame(raw.login(b"nobody"), 1) + frame(b"\x03CREATE TABLE app.denied (a INT)") * 3)
    assert raw.last_error() == 1045


@case
def a_login_without_nul(daemon: Daemon) -> None:
    raw = Raw(daemon)
    raw.send(frame(struct.pack("<IIB23x", BEFORE_LOGIN, 1 << 24, 45) + b"app" * 500, 1))
    assert raw.last_error() in (1043, 1045, 1835)


@case
def a_header_in_pieces(daemon: Daemon) -> None:
    raw = Raw(daemon)
    for byte in frame(raw.login(), 1):
        raw.sock.sendall(bytes((byte,)))
    assert raw.packet()[0] == 0
    for byte in frame(b"\x03SELECT 1")[:6]:
        raw.sock.sendall(bytes((byte,)))
    raw.sock.close()


@case
def one_byte_a_while(daemon: Daemon) -> None:
    raw = Raw(daemon)
    begun = time.monotonic()
    login = frame(raw.login(), 1)
    for byte in login:
        raw.send(bytes((byte,)))
        raw.sock.settimeout(0.1)
        try:
            if not raw.sock.recv(1000):
                break
        except TimeoutError:
            pass
        except ConnectionResetError:
            break  # it was closed with this byte unread
        if time.monotonic() - begun > 6:
            raise AssertionError("it may go on for ever")
    raw.sock.settimeout(8)
    raw.last_error()


@case
def sixteen_mebibytes_before_the_login(daemon: Daemon) -> None:
    raw = Raw(daemon)
    raw.send(b"\xff\xff\xff\x01" + b"\0" * MIB)
    assert raw.last_error() in (0, 1153)  # a reset may overtake the error


@case
def silence(daemon: Daemon) -> None:
    raw = Raw(daemon)
    assert raw.last_error() == 1159


@case
def many_half_open_connections(daemon: Daemon) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(1500):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port), timeout=8))
            if number % 2:
                sock.sendall(b"\x20\0")
        with proxied(daemon) as client:
            assert client.query("SELECT 1").value == b"1"
        connected = "mysqlproxy_client_connections"
        eventually(lambda: daemon.metrics().total(connected) <= 210, what="the oldest have left")


@case
def lies_in_a_login(daemon: Daemon) -> None:
    head = struct.pack(
        "<IIB23x", BEFORE_LOGIN | flags.CONNECT_ATTRS | flags.PLUGIN_AUTH_LENENC_CLIENT_DATA, 1 << 24, 45
    )
    method = b"mysql_native_password\0"
    for body in (
        b"app\0" + b"\xfe" + b"\xff" * 8 + b"x",  # 2**64 - 1 bytes of proof
        b"app\0" + b"\xfe" + b"\x7f" * 8,
        b"app\0\x14" + b"x" * 20 + b"app\0" + method + lenenc(2**63) + b"\x01a\x01b",
        b"app\0\x14" + b"x" * 20 + b"app\0" + method + b"\x05\xfe" + b"\xff" * 8,
        b"app\0\xfb",
        b"app\0\xff",
    ):
        raw = Raw(daemon)
        raw.send(frame(head + body, 1))
        assert raw.last_error() in (1043, 1045, 1835)


@case
def a_clear_statement_behind_an_ssl_request(daemon: Daemon) -> None:
    raw = Raw(daemon)
    request = struct.pack("<IIB23x", BEFORE_LOGIN | flags.SSL, 1 << 24, 45)
    raw.send(frame(request, 1) + frame(raw.login(), 2))
    raw.last_error()  # without [tls] 1043; with it TLS sees garbage


# --- after the login -----------------------------------------------------------------------------------------------


def outcome(client: RawClient) -> int:
    """The number of the error that comes, 0 for an OK, -1 for the end."""
    try:
        payload = client.packet()[1]
    except (EOFError, ConnectionError):
        return -1
    return parse_err(payload, client.capabilities).errno if payload[0] == 0xFF else 0


@case
def half_a_statement(daemon: Daemon) -> None:
    with proxied(daemon) as client:
        client.sock.sendall(frame(b"\x03SELECT 1")[:-1])
        assert outcome(client) == 1159
        assert outcome(client) == -1


@case
def garbage_commands(daemon: Daemon) -> None:
    chance = random.Random(4)
    ordinary = {QUERY, Command.STMT_PREPARE, Command.QUIT}
    for code in (*range(256), *(chance.randrange(256) for _ in range(50))):
        if code in ordinary:
            continue
        with proxied(daemon) as client:
            client.send(bytes((code,)) + chance.randbytes(chance.randrange(40)))
            client.send(bytes((Command.QUIT,)))
            while outcome(client) != -1:
                pass
    for raw in (b"", b"\0\0\0\0", frame(b"\x03SELECT 1", 7)):
        with proxied(daemon) as client:
            client.sock.sendall(raw)
            client.send(bytes((Command.QUIT,)))
            while outcome(client) != -1:
                pass


@case
def statements_that_do_not_exist(daemon: Daemon) -> None:
    with proxied(daemon) as client:
        for number in (0, 1, 77, 2**31, 2**32 - 1):
            packed = number.to_bytes(4, "little")
            client.long_data(number, 0, b"for nobody")
            client.close_statement(number)
            for code, rest in (
                (EXECUTE, b"\0\1\0\0\0"),
                (Command.STMT_RESET, b""),
                (Command.STMT_FETCH, b"\1\0\0\0"),
            ):
                client.send(bytes((code,)) + packed + rest)
                assert outcome(client) == 1243
            client.send(bytes((Command.STMT_BULK_EXECUTE,)) + packed + b"\0\0")
            assert outcome(client) == 1243
        assert client.query("SELECT 1").value == b"1"


@case
def long_data_without_end(daemon: Daemon) -> None:
    with proxied(daemon) as client:
        prepared = client.prepare("SELECT ?")
        piece = frame(bytes((LONG_DATA,)) + prepared.id.to_bytes(4, "little") + b"\0\0" + b"x" * MIB)
        for _ in range(160):  # max_packet is 64 MiB
            client.sock.sendall(piece)
        client.send(client.execute_payload(prepared.id, [b""]))
        assert outcome(client) == 1153
        assert client.query("SELECT 1").value == b"1"


@case
def compressed_bombs(daemon: Daemon) -> None:
    """Compression is not offered, and what is compressed is not unpacked."""
    bomb = zlib.compress(b"\x03" + b" " * (64 * MIB), 9)
    raw = Raw(daemon)
    assert not parse_greeting(raw.greeting).capabilities & (flags.COMPRESS | flags.ZSTD_COMPRESSION_ALGORITHM)
    login = bytearray(raw.login())
    login[0] |= flags.COMPRESS  # asked for all the same
    raw.send(frame(bytes(login), 1))
    assert raw.packet()[0] == 0
    packed = len(bomb).to_bytes(3, "little") + b"\0" + (0xFFFFFF).to_bytes(3, "little") + bomb
    raw.send(packed + packed)
    raw.last_error()


@case
def lies_of_lengths_and_decimals(daemon: Daemon) -> None:
    """In parameters and query attributes: of any type, cut off, or of 2**64 - 1 bytes."""
    attributes = flags.QUERY_ATTRIBUTES
    for extra in (0, attributes):
        with proxied(daemon, capabilities=extra) as client:
            prepared = client.prepare("SELECT ?")
            name = b"\0" if client.capabilities & attributes else b""
            for kind in (0xF6, 0xFE, 0xFD, 0x0C, 0x0B, 0x08, 0x05, 0x07, 0x06, 0xFF):
                for value in (
                    b"",
                    b"\xfe" + b"\xff" * 8,
                    b"\xfb",
                    b"\xff",
                    b"\x0c1",
                    b"\xfc\xff\xff1.1",
                    b"\x09-x.y--9.9",
                ):
                    head = bytes((EXECUTE,)) + prepared.id.to_bytes(4, "little") + b"\0\1\0\0\0"
                    types = b"\0\1" + bytes((kind, 0)) + name
                    try:
                        client.send(head + (b"\1" if name else b"") + types + value)
                        found = outcome_of_results(client)
                    except (EOFError, ConnectionError):
                        found = -1
                    if found == -1:
                        client.close()
                        client.__init__(  # type: ignore[misc]
                            ("127.0.0.1", daemon.port),
                            "app",
                            daemon.config["users"][0]["password"],
                            capabilities=extra,
                        )
                        prepared = client.prepare("SELECT ?")
    for counts in (lenenc(2**63), b"\xfe" + b"\xff" * 8, b"\xfb", b"\x02", b"\xfc\xff\xff"):
        with proxied(daemon, capabilities=attributes) as client:
            if not client.capabilities & attributes:
                return  # MariaDB has none
            client.send(b"\x03" + counts + b"\x01SELECT 1")
            assert outcome(client) != 0


def outcome_of_results(client: RawClient) -> int:
    answer = client.read_results()
    return answer.err.errno if answer.err is not None else 0


@case
def statements_that_kill_a_parser(daemon: Daemon) -> None:
    with proxied(daemon) as client:
        for sql in (
            "SELECT " + "(" * 15_000 + "1" + ")" * 15_000,
            "SELECT " + "NOT " * 20_000 + "1",
            "SELECT " + "-" * 1 + " -" * 20_000 + "1",
            "SELECT " + "CASE WHEN 1 THEN " * 3_000 + "1" + " END" * 3_000,
            "SELECT 1 " + "UNION SELECT 1 " * 5_000,
            "WITH " + ", ".join(f"c{n} AS (SELECT 1)" for n in range(3_000)) + " SELECT 1",
            "SELECT '" + "x" * (2 * MIB),
            "SELECT /*" + "*/ /*" * 50_000,
            "SELECT " + "`" * 99_999,
            "INSERT INTO app.nothing VALUES " + ",".join(["(1,'x')"] * 40_000),
            "\0" * 10_000,
            "SELECT 1" + ";" * 50_000,
        ):
            try:
                client.query(sql)
            except (EOFError, ConnectionError, MalformedPacket):
                raise AssertionError(f"closed for {sql[:20]}") from None
        assert client.query("SELECT 1").value == b"1"


@pytest.mark.parametrize("name", CASES)
def test_it_hurts_nobody_else(watched: Daemon, name: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    try:
        hurt = CASES[name]
        if name in ("long data without end", "statements that kill a parser"):
            hurt(watched)  # the first time arenas and caches grow that stay, as they would for anybody
        before = resident(watched)
        with Others(watched) as others:
            hurt(watched)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    # Once in a while the machine itself is not there for a second.
    assert len(others.late) <= 1 and max(others.late, default=0.0) < 5, "everybody else is served"
    connected = "mysqlproxy_client_connections"
    eventually(lambda: watched.metrics().total(connected) == 0, what="nobody is left")
    eventually(lambda: resident(watched) < before + GROWTH, what="the memory is back")
    with contextlib.suppress(ServerError), proxied(watched) as client:
        assert client.query("SHOW TABLES IN app LIKE 'denied'").rows == []
