"""What protocol/ builds is what real servers understand, and what they send is what it parses."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.capabilities import for_server, negotiate, offer
from mysqlproxy.protocol.codec import lenenc, lenenc_bytes
from mysqlproxy.protocol.commands import statement_offset
from mysqlproxy.protocol.framing import frame, payload_of
from mysqlproxy.protocol.handshake import HandshakeResponse, parse_greeting
from mysqlproxy.protocol.mimic import charset_name
from mysqlproxy.protocol.packets import Err, Ok, parse_err, parse_ok, translate_ok
from mysqlproxy.protocol.prepared import (
    PrepareOk,
    parameter_types,
    parse_prepare_ok,
    with_parameter_types,
    with_statement_id,
)
from mysqlproxy.protocol.tracking import ChangeKind, parse_session_state
from tests.support.mysql import MysqlPair
from tests.support.wire import Wire

CLIENT = flags.PROTOCOL_41 | flags.MULTI_RESULTS | flags.QUERY_ATTRIBUTES | flags.MARIADB_STMT_BULK
LONG, STRING = b"\x03\x00", b"\xfe\x00"


def scramble(plugin: str, password: bytes, nonce: bytes) -> bytes:
    if plugin == "mysql_native_password":
        once = hashlib.sha1(password).digest()
        mask = hashlib.sha1(nonce + hashlib.sha1(once).digest()).digest()
    else:
        once = hashlib.sha256(password).digest()
        mask = hashlib.sha256(hashlib.sha256(once).digest() + nonce).digest()
    return bytes(a ^ b for a, b in zip(once, mask, strict=True))


class Session:
    """A login to a server, with the flags a client in front of the daemon would have led to."""

    def __init__(self, port: int, password: str, *, client: int = CLIENT, track: bool = True) -> None:
        self.wire = Wire(socket.create_connection(("127.0.0.1", port), timeout=20))
        self.greeting = greeting = parse_greeting(self.wire.read())
        asked = for_server(negotiate(offer(greeting.capabilities, tls=False), client), greeting.capabilities)
        self.capabilities = asked if track else asked & ~flags.SESSION_TRACK
        auth = scramble(greeting.plugin, password.encode(), greeting.nonce)
        login = HandshakeResponse(
            self.capabilities, 1 << 24, 45, b"app", auth, b"app", greeting.plugin, {"program_name": "tests"}
        )
        self.wire.write(login.build())
        payload = self.wire.read()
        while payload[0] == 1:  # caching_sha2_password: found in the cache
            payload = self.wire.read()
        self.login = self.ok_of(payload)

    @property
    def mariadb(self) -> bool:
        return self.greeting.mariadb

    def ask(self, payload: bytes) -> bytes:
        """Send a command; the first packet of its answer."""
        self.wire.sequence = 0
        self.wire.write(payload)
        return self.wire.read()

    def ok_of(self, payload: bytes) -> Ok:
        if payload[0] == 0xFF:
            pytest.fail(str(parse_err(payload, self.capabilities)))
        return parse_ok(payload, self.capabilities)

    def query(self, sql: bytes) -> bytes:
        prefix = b"\x03\x00\x01" if self.capabilities & flags.QUERY_ATTRIBUTES else b"\x03"
        assert statement_offset(prefix + sql, 0, self.capabilities) == len(prefix)
        return self.ask(prefix + sql)

    def prepare(self, sql: bytes) -> PrepareOk:
        prepared = parse_prepare_ok(self.ask(b"\x16" + sql))
        for count in (prepared.parameters, prepared.columns):
            for _ in range(count + 1 if count else 0):  # definitions and an EOF
                self.wire.read()
        return prepared

    def execute(self, payload: bytes) -> bytes | Err:
        """The only row of the answer, or its error."""
        first = self.ask(payload)
        if first[0] == 0xFF:
            return parse_err(first, self.capabilities)
        for _ in range(first[0] + 1):
            self.wire.read()
        row = self.wire.read()
        assert self.wire.read()[0] == 0xFE
        return row


Connect = Callable[..., Session]


@pytest.fixture(params=["mariadb", "mysql"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Opens sessions on a server; they are closed at the end."""
    if request.param == "mariadb":
        cluster: LocalCluster = request.getfixturevalue("cluster")
        port, password = cluster.manager.port, cluster.passwords["app"]
    else:
        pair: MysqlPair = request.getfixturevalue("mysql97")
        port, password = pair.source.port, pair.passwords["app"]
        pair.source.connect("app").close()  # fills the cache of caching_sha2_password
    sessions: list[Session] = []

    def open_session(**options: Any) -> Session:
        sessions.append(Session(port, password, **options))
        return sessions[-1]

    yield open_session
    for session in sessions:
        session.wire.close()


def test_the_login_reports_its_schema(connect: Connect) -> None:
    session = connect()
    changes = parse_session_state(session.login.session_state)
    assert ("app", ChangeKind.SCHEMA) in [(change.value, change.kind) for change in changes]
    wanted = flags.MARIADB_STMT_BULK if session.mariadb else flags.QUERY_ATTRIBUTES
    assert session.capabilities & (flags.MARIADB_STMT_BULK | flags.QUERY_ATTRIBUTES) == wanted


def test_every_kind_of_change_is_read(connect: Connect) -> None:
    session = connect()
    session.ok_of(
        session.query(
            b"SET session_track_state_change=1, session_track_transaction_info='CHARACTERISTICS',"
            b" session_track_system_variables='sql_mode'"
        )
    )
    seen = {}
    for sql in (b"USE app", b"SET sql_mode='ANSI_QUOTES'", b"START TRANSACTION READ ONLY"):
        for change in parse_session_state(session.ok_of(session.query(sql)).session_state):
            seen[change.kind] = (change.name, change.value)
    assert seen == {
        ChangeKind.SCHEMA: ("", "app"),
        ChangeKind.STATE_CHANGE: ("", "1"),
        ChangeKind.VARIABLE: ("sql_mode", "ANSI_QUOTES"),
        ChangeKind.TRANSACTION_STATE: ("", "T_______"),
        ChangeKind.TRANSACTION_CHARACTERISTICS: ("", "START TRANSACTION READ ONLY;"),
    }


@pytest.mark.parametrize(
    "sql",
    [b"USE app", b"SET NAMES utf8mb4", b"INSERT INTO t VALUES (1),(2)", b"UPDATE t SET a=a+1", b"DO 1"],
)
def test_a_translated_ok_is_what_the_server_sends_without_session_track(connect: Connect, sql: bytes) -> None:
    tracking, plain = connect(), connect(track=False)
    answers = []
    for session in (tracking, plain):
        session.ok_of(session.query(b"DROP TABLE IF EXISTS t"))
        session.ok_of(session.query(b"CREATE TABLE t (a INT)"))
        answers.append(session.query(sql))
    assert translate_ok(answers[0], plain.capabilities) == answers[1]


def test_a_statement_moves_to_another_connection_with_its_types(connect: Connect) -> None:
    first, second = connect(), connect()
    sql = b"SELECT ? + 1, ?"
    one = first.prepare(sql)
    second.prepare(b"SELECT 5")
    other = second.prepare(sql)
    assert other.statement_id != one.statement_id
    named = first.capabilities & flags.QUERY_ATTRIBUTES
    types = LONG + b"\0" + STRING + b"\0" if named else LONG + STRING
    head = b"\x17" + one.statement_id.to_bytes(4, "little") + b"\x00\x01\x00\x00\x00"
    head += (b"\x02" if named else b"") + b"\x00"
    values = b"\x29\x00\x00\x00\x03abc"
    row = first.execute(head + b"\x01" + types + values)
    assert isinstance(row, bytes)
    assert row.endswith(b"\x03abc")
    later = head + b"\x00" + values
    assert first.execute(later) == row
    moved = payload_of(with_statement_id(frame(later), other.statement_id))
    assert isinstance(second.execute(moved), Err)  # the server has no types yet
    found = parameter_types(head + b"\x01" + types + values, 2, first.capabilities)
    assert found == types
    assert second.execute(with_parameter_types(moved, 2, found, second.capabilities)) == row


def test_a_bulk_execution_moves_too(connect: Connect) -> None:
    first, second = connect(), connect()
    if not first.mariadb:
        assert not first.capabilities & flags.MARIADB_STMT_BULK
        return
    first.ok_of(first.query(b"CREATE TABLE bulk (b VARCHAR(20))"))
    sql = b"INSERT INTO bulk VALUES (?)"
    one = first.prepare(sql)
    second.prepare(b"SELECT 5")
    other = second.prepare(sql)
    head = b"\xfa" + one.statement_id.to_bytes(4, "little")
    values = b"\x00\x02aa\x00\x02bb\x01"  # a value, a value, NULL
    assert first.ok_of(first.ask(head + b"\x80\x00" + STRING + values)).affected_rows == 3
    found = parameter_types(head + b"\x80\x00" + STRING + values, 1, first.capabilities)
    moved = payload_of(with_statement_id(frame(head + b"\x00\x00" + values), other.statement_id))
    assert found is not None
    moved = with_parameter_types(moved, 1, found, second.capabilities)
    assert second.ok_of(second.ask(moved)).affected_rows == 3


def test_the_server_takes_the_attributes_that_are_skipped(connect: Connect) -> None:
    """The server parses what the daemon steps over: a value's length misread would make both see other SQL."""
    session = connect()
    if session.mariadb:
        assert not session.capabilities & flags.QUERY_ATTRIBUTES
        return
    values = [
        (0x08, bytes(8)),
        (0x05, bytes(8)),
        (0x0C, b"\x04\xe9\x07\x0b\x15"),
        (0xFE, lenenc_bytes(b"x" * 300)),
    ]
    payload = b"\x03" + lenenc(len(values) + 1) + b"\x01\x10\x01"
    payload += b"".join(bytes((kind, 0)) + b"\x01a" for kind, _ in values) + b"\x03\x00\x04null"
    payload += b"".join(value for _, value in values) + b"DO 1"
    assert payload[statement_offset(payload, 0, session.capabilities) :] == b"DO 1"
    session.ok_of(session.ask(payload))


def test_character_sets_are_mariadbs(cluster: LocalCluster) -> None:
    rows = cluster.manager.query(
        "SELECT id, character_set_name AS name FROM information_schema.collation_character_set_applicability"
    )
    compare(rows, at_least=1000)


def test_character_sets_are_mysqls(mysql97: MysqlPair) -> None:
    rows = mysql97.source.query(
        "SELECT id AS id, character_set_name AS name FROM information_schema.collations"
    )
    compare(rows, at_least=280)


def compare(rows: list[dict[str, Any]], at_least: int) -> None:
    servers = {}
    for row in rows:
        by_name = {key.lower(): value for key, value in row.items()}
        servers[int(by_name["id"])] = by_name["name"]
    assert len(servers) >= at_least
    assert {collation: charset_name(collation) for collation in servers} == servers
