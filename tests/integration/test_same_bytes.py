"""Through the daemon a client gets the bytes that the server itself would have sent it.

Each case runs the same commands on a connection to the manager and on one through the daemon, from the same start,
and compares every packet with its sequence id. All that may differ is the connection's id; and a client that
tracks its session's state is told of changes beyond those that the server's own defaults report.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.errors import MalformedPacket
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.packets import parse_ok
from mysqlproxy.protocol.tracking import parse_session_state
from tests.conftest import Factory
from tests.support.mysql import MysqlPair
from tests.support.raw import (
    INIT_DB,
    PING,
    SET_OPTION,
    Answer,
    RawClient,
    direct,
    proxied,
)

VARIANTS = {
    "old": 0,
    "deprecate_eof": flags.DEPRECATE_EOF,
    "tracking": flags.SESSION_TRACK,
    "both": flags.DEPRECATE_EOF | flags.SESSION_TRACK,
    "found_rows": flags.FOUND_ROWS | flags.QUERY_ATTRIBUTES,
}

# Each line goes to both servers; what only one kind of them knows is an error on the other, to be relayed as well.
STATEMENTS = [
    "SELECT 1",
    "SELECT 1; SELECT 2",
    "SELECT 1;",
    "SELECT NULL, '', 'ü', 1.5, x'00ff', DATE '2024-02-29'",
    "SELECT 'a' WHERE 1 = 0",
    "",
    ";",
    "-- nothing",
    "SELECT",
    "SELECT * FROM missing",
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(20), b BLOB)",
    "CREATE TABLE t (id INT)",
    "CREATE TABLE IF NOT EXISTS t (id INT)",
    "SHOW WARNINGS",
    "INSERT INTO t (a) VALUES ('x'), ('y'), (NULL)",
    "SELECT LAST_INSERT_ID(), ROW_COUNT()",
    "INSERT INTO t (id, a) VALUES (1, 'x')",
    "SHOW ERRORS",
    "INSERT INTO t (a) VALUES (REPEAT('x', 300))",
    "INSERT IGNORE INTO t (id, a) VALUES (1, 'z')",
    "UPDATE t SET a = 'y'",
    "UPDATE t SET a = 'y'",
    "DELETE FROM t WHERE id = 2",
    "REPLACE INTO t (id, a) VALUES (1, 'r')",
    "INSERT INTO t (id, a) VALUES (1, 'd') ON DUPLICATE KEY UPDATE a = 'dd'",
    "SELECT * FROM t ORDER BY id",
    "SELECT id, COUNT(*) FROM t GROUP BY id WITH ROLLUP",
    "SELECT REPEAT('long', 20000)",
    "SELECT seq FROM seq_1_to_3000",
    "SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1",
    "SELECT FOUND_ROWS()",
    "BEGIN",
    "INSERT INTO t (a) VALUES ('in a transaction')",
    "SELECT COUNT(*) FROM t",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "COMMIT",
    "START TRANSACTION READ ONLY",
    "DELETE FROM t",
    "ROLLBACK",
    "SET autocommit = 0",
    "SELECT 1 FROM t",
    "COMMIT",
    "SET autocommit = 1",
    "SET @a = 5, @b := 'x'",
    "SELECT @a, @b, @missing",
    "SELECT @a := @a + 1",
    "SET NAMES latin1",
    "SELECT 'ü'",
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "SELECT COLLATION('x'), @@collation_connection",
    "SET SESSION sql_mode = 'ANSI_QUOTES'",
    'SELECT "a" FROM t',
    "SET sql_mode = DEFAULT",
    "SET no_such_variable = 1",
    "SET time_zone = '+03:00', group_concat_max_len = 2048",
    "SELECT @@time_zone, @@group_concat_max_len",
    "USE information_schema",
    "SELECT DATABASE()",
    "USE missing",
    "USE app",
    "CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2 AS two, 3; INSERT INTO t (a) VALUES ('p'); END",
    "CALL p()",
    "CALL p(); SELECT 4",
    "CREATE PROCEDURE q() BEGIN SELECT 1; SELECT * FROM missing; SELECT 2; END",
    "CALL q()",
    "CREATE PROCEDURE o(OUT x INT) SET x = 7",
    "CALL o(@x)",
    "SELECT @x",
    "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 3",
    "SELECT f()",
    "SELECT 1; SELECT * FROM missing; SELECT 2",
    "INSERT INTO t (a) VALUES ('m'); UPDATE t SET a = 'n' WHERE a = 'm'; SELECT a FROM t WHERE a = 'n'",
    "CREATE TEMPORARY TABLE tmp (a INT)",
    "INSERT INTO tmp VALUES (1)",
    "SELECT * FROM tmp",
    "DROP TEMPORARY TABLE tmp",
    "SELECT CAST('abc' AS SIGNED)",
    "SHOW WARNINGS",
    "SELECT @@warning_count",
    "SHOW TABLES",
    "DESCRIBE t",
    "EXPLAIN SELECT * FROM t WHERE id = 1",
    "SHOW CREATE TABLE t",
    "CHECK TABLE t",
    "HANDLER t OPEN",
    "HANDLER t READ FIRST",
    "HANDLER t CLOSE",
    "LOCK TABLES t READ",
    "INSERT INTO t (a) VALUES ('locked')",
    "UNLOCK TABLES",
    "PREPARE s FROM 'SELECT ? + 1'",
    "EXECUTE s USING @a",
    "DEALLOCATE PREPARE s",
    "EXECUTE s",
    "SELECT GET_LOCK('l', 0), IS_FREE_LOCK('l'), RELEASE_LOCK('l')",
    "DO 1",
    "DO missing_function()",
    "INSERT INTO t (a) VALUES ('r') RETURNING id, a",
    "DELETE FROM t WHERE a = 'r' RETURNING id",
    "VALUES (1, 2), (3, 4)",
    "VALUES ROW(1, 2)",
    "TABLE t",
    "WITH c AS (SELECT 1 AS one) SELECT * FROM c",
    "SELECT /*! 1 + */ 1",
    "SELECT 1 /*!99999 + 1 */",
    "KILL QUERY 4000000000",
    "SELECT 1 FROM t FOR UPDATE",
    "SELECT 1 INTO @one",
    "SELECT SLEEP(0)",
    "TRUNCATE t",
    "ANALYZE TABLE t",
    "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'wünsche', MYSQL_ERRNO = 30001",
    "SET STATEMENT max_statement_time = 1 FOR SELECT 1",
    "CREATE SEQUENCE sq",
    "SELECT NEXTVAL(sq)",
    "XA START 'x'",
    "XA END 'x'",
    "XA ROLLBACK 'x'",
    "SET ROLE NONE",
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SELECT COUNT(*) FROM t",
    "SHOW STATUS LIKE 'no_such%'",
    "SHOW VARIABLES LIKE 'lower_case_table_names'",
    "DROP TABLE t, missing",
    "DROP DATABASE app",
    "SELECT DATABASE()",
    "CREATE DATABASE app",
    "SET session_track_schema = 0",
    "USE information_schema",
    "USE app",
    "SET session_track_schema = ON, time_zone = '+01:00'",
    "USE information_schema; USE app",
    "SET SESSION session_track_system_variables = CONCAT(@@session_track_system_variables, ',sql_mode')",
    "SET sql_mode = 'ANSI_QUOTES', wait_timeout = 100",
    "SET session_track_schema= ON;SET session_track_system_variables=' sql_mode,wait_timeout'",
    "SET time_zone = '+01:00', wait_timeout = 200",
    "SET session_track_state_change = 1, sql_mode = ''",
    "SET wait_timeout = 300",
    "USE app",
    "SET session_track_state_change = OFF",
    "SET session_track_system_variables = ''",
    "SET autocommit = 0, wait_timeout = 400",
    "SET @@session_track_system_variables = DEFAULT",
    "SET autocommit = 1, wait_timeout = 500",
    "SET session_track_transaction_info = 'CHARACTERISTICS'",
    "START TRANSACTION READ ONLY",
    "COMMIT",
    "SET session_track_transaction_info = OFF",
    "SET session_track_gtids = OWN_GTID",
    "SET session_track_gtids = OFF",
    "CREATE TABLE u (a INT)",
    "SET session_track_system_variables = LEFT('sql_mode,', 8)",  # the server's own from here on
    "SET sql_mode = 'ANSI_QUOTES', time_zone = '+03:00'",
]


@dataclass
class Sides:
    """The same account on the server and through the daemon; ``fresh`` puts the schema back to nothing."""

    connect: dict[str, Callable[..., RawClient]]
    fresh: Callable[[], None]


@pytest.fixture(params=["mariadb", "mysql"])
def sides(request: pytest.FixtureRequest, daemons: Factory, free_port: Callable[[], int]) -> Iterator[Sides]:
    if request.param == "mariadb":
        cluster: LocalCluster = request.getfixturevalue("cluster")
        server: Any = cluster.manager
        password = cluster.passwords["app"]
        daemon = daemons.start(daemons.config(cluster))
        wait: Callable[[], None] = cluster.wait_in_sync
    else:
        pair: MysqlPair = request.getfixturevalue("mysql97")
        server, password = pair.source, pair.passwords["app"]
        pair.source.connect("app").close()  # fills the cache of caching_sha2_password
        pair.replica.connect("app").close()
        config = {
            "listen": {"mysql": [f"127.0.0.1:{free_port()}"], "http": f"127.0.0.1:{free_port()}"},
            "monitor": {"user": "monitor", "password": pair.passwords["monitor"], "interval": 0.25},
            "routing": {"strategy": "random"},
            "servers": [
                {"name": "source", "address": pair.source.address, "role": "manager"},
                {"name": "replica", "address": pair.replica.address, "role": "worker"},
            ],
            "users": [{"name": "app", "password": password}],
        }
        daemon = daemons.start(config)
        wait = pair.wait_in_sync

    def fresh() -> None:
        server.query("DROP DATABASE IF EXISTS app")
        server.query("CREATE DATABASE app CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
        wait()

    yield Sides(
        {
            "server": lambda **options: direct(server, password, **options),
            "daemon": lambda **options: proxied(daemon, **options),
        },
        fresh,
    )


Script = Callable[[RawClient], Iterator[tuple[str, Answer]]]


def compare(sides: Sides, script: Script, **options: Any) -> None:
    """Run ``script`` on both sides; every answer must be the same."""
    transcripts: list[list[tuple[str, Answer]]] = []
    capabilities = []
    for connect in sides.connect.values():
        sides.fresh()
        with connect(schema="app", **options) as client:
            capabilities.append(client.capabilities)
            transcripts.append(list(script(client)))
    assert capabilities[0] == capabilities[1]
    different = [
        f"{what}\n  server {shown(a)}\n  daemon {shown(b)}"
        for (what, a), (_, b) in zip(*transcripts, strict=True)
        if comparable(a) != comparable(b)
    ]
    assert not different, "\n".join(different)


def comparable(answer: Answer) -> list[tuple[int, object]]:
    """The packets; of an OK with a session state what is in it: MariaDB reports variables in any order."""
    return [(sequence, _without_order(payload, answer.capabilities)) for sequence, payload in answer.packets]


def _without_order(payload: bytes, capabilities: int) -> object:
    if not capabilities & flags.SESSION_TRACK or payload[:1] not in (b"\x00", b"\xfe"):
        return payload
    try:
        ok = parse_ok(payload, capabilities)
        changes = {
            (change.kind, change.name, change.value) for change in parse_session_state(ok.session_state)
        }
    except MalformedPacket:
        return payload  # PREPARE_OK, EOF
    return (replace(ok, session_state=b""), changes) if changes else payload


def shown(answer: Answer) -> str:
    return " ".join(f"[{sequence}]{payload[:150]!r}" for sequence, payload in answer.packets[:12])


def test_statements_are_answered_in_the_servers_bytes(sides: Sides) -> None:
    def script(client: RawClient) -> Iterator[tuple[str, Answer]]:
        for sql in STATEMENTS:
            yield sql, client.query(sql)

    for capabilities in VARIANTS.values():
        compare(sides, script, capabilities=capabilities)


def test_commands_are_answered_in_the_servers_bytes(sides: Sides) -> None:
    def script(client: RawClient) -> Iterator[tuple[str, Answer]]:
        client.query("CREATE TABLE t (id INT PRIMARY KEY DEFAULT 7, a VARCHAR(20))").check()
        for code, argument in COMMANDS:
            yield f"command {code} {argument!r}", client.command(code, argument)
        for table in (b"t\0", b"t\0a%", b"missing\0", b"t"):
            yield f"field list {table!r}", client.field_list(table)
        yield "DO 2", client.query("DO 2")  # MySQL counts the connection's last warnings in an EOF
        yield "multi-statements off", client.command(SET_OPTION, b"\1\0")
        yield "two statements", client.query("SELECT 1; SELECT 2")
        yield "DO 3", client.query("DO 3")
        yield "multi-statements on", client.command(SET_OPTION, b"\0\0")
        yield "two statements again", client.query("SELECT 1; SELECT 2")
        yield "the schema", client.query("SELECT DATABASE()")
        yield "a variable", client.query("SET sort_buffer_size = 262144")
        for question in ("SHOW WARNINGS", "SELECT ROW_COUNT()", "SELECT FOUND_ROWS()"):
            yield "a warning", client.query("INSERT INTO t (a) VALUES (CAST('x' AS SIGNED))")
            for option in (b"\1\0", b"\0\0"):
                assert client.command(SET_OPTION, option).err is None
            yield question, client.query(question)
            yield "DELETE", client.query("DELETE FROM t")

    for variant in ("old", "both"):
        compare(sides, script, capabilities=VARIANTS[variant])


COMMANDS = [
    (PING, b""),
    (PING, b"more"),
    (INIT_DB, b"app"),
    (INIT_DB, b"missing"),
    (INIT_DB, b""),
    (INIT_DB, b"mysql"),
    (INIT_DB, b"app"),
    *((code, b"") for code in (0, 5, 6, 11, 15, 16, 19, 20, 29, 64, 200, 254, 255)),
    (0x55, b"an unknown one with an argument"),
]


def test_prepared_statements_are_answered_in_the_servers_bytes(sides: Sides) -> None:
    def script(client: RawClient) -> Iterator[tuple[str, Answer]]:
        client.query("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(20), b LONGBLOB)").check()
        client.query("CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END").check()
        for sql, executions in PREPARED:
            prepared = client.prepare(sql)
            yield f"prepare {sql}", without_id(prepared.answer)
            for values in executions if prepared.id else []:
                yield f"execute {sql} {values}", client.execute(prepared.id, values)
            if prepared.id:
                yield f"reset {sql}", client.reset_statement(prepared.id)
                client.close_statement(prepared.id)

    for variant in ("old", "deprecate_eof", "tracking", "found_rows"):
        compare(sides, script, capabilities=VARIANTS[variant])


def without_id(answer: Answer) -> Answer:
    sequence, first = answer.packets[0]
    if first[0] == 0:
        answer.packets[0] = sequence, first[:1] + bytes(4) + first[5:]
    return answer


PREPARED: list[tuple[str, list[list[bytes | None]]]] = [
    ("SELECT 1", [[], []]),
    ("SELECT ?, ?", [[b"a", None], [None, None], [b"", b"x" * 300]]),
    ("INSERT INTO t (a, b) VALUES (?, ?)", [[b"one", None], [b"two", b"\0" * 70000], [b"x" * 30, None]]),
    ("SELECT * FROM t WHERE a = ? OR id = ?", [[b"one", b"2"], [b"none", None]]),
    ("UPDATE t SET a = ?", [[b"three"], [b"three"]]),
    ("SELECT * FROM missing WHERE a = ?", []),
    ("SELECT", []),
    ("CALL p()", [[], []]),
    ("SHOW TABLES", [[]]),
    ("CREATE TABLE u (a INT)", [[], []]),
    ("BEGIN", [[]]),
    ("DELETE FROM t WHERE id = ?", [[b"1"]]),
    ("ROLLBACK", [[]]),
    ("SELECT COUNT(*) FROM t", [[]]),
    ("SET @a = ?", [[b"v"]]),
    ("SELECT @a", [[]]),
    ("DO ?", [[b"1"]]),
    ("SELECT 1; SELECT 2", []),
    ("SELECT ? INTO @x", [[b"5"]]),
    ("USE app", []),
    ("SET NAMES latin1", [[]]),
    ("SELECT CAST(? AS SIGNED)", [[b"12x"]]),
    ("SHOW WARNINGS", [[]]),
]


def test_what_has_no_such_statement_is_refused_in_the_servers_bytes(sides: Sides) -> None:
    def script(client: RawClient) -> Iterator[tuple[str, Answer]]:
        yield "execute", client.execute(77)
        yield "execute the last of none", client.execute(0xFFFFFFFF)
        yield "fetch", client.fetch(77, 1)
        yield "reset", client.reset_statement(77)
        client.close_statement(77)
        client.long_data(77, 0, b"x")
        yield "go on", client.query("SELECT 1")
        prepared = client.prepare("SELECT ?")
        yield "fetch without a cursor", without_numbers(client.fetch(prepared.id, 1))
        client.long_data(prepared.id, 5, b"for a parameter that is not there")
        yield "execute after wrong long data", client.execute(prepared.id, [b"x"])
        client.close_statement(prepared.id)
        yield "execute what was closed", without_numbers(client.execute(prepared.id, [b"x"]))

    compare(sides, script)


def without_numbers(answer: Answer) -> Answer:
    answer.packets = [
        (n, re.sub(rb"\(\d+\)", b"(N)", payload)) for n, payload in answer.packets
    ]  # the statement's id is the daemon's own
    return answer
