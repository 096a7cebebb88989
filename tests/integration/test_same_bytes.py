"""Through the daemon a client gets the bytes that the server itself would have sent it.

Each case runs the same commands on a connection to the manager and on one through the daemon, from the same start,
and compares every packet with its sequence id. All that may differ is the connection's id; and a client that
tracks its session's state is told of changes beyond those that the server's own defaults report.
"""

from __future__ import annotations

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
    FIELD_LIST,
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
        if not same(a, b)
    ]
    assert not different, "\n".join(different)


def same(server: Answer, daemon: Answer) -> bool:
    if not daemon.capabilities & flags.SESSION_TRACK:
        return server.packets == daemon.packets
    if len(server.packets) != len(daemon.packets):
        return False
    return all(
        a[0] == b[0] and same_but_for_more_state(a[1], b[1], daemon.capabilities)
        for a, b in zip(server.packets, daemon.packets, strict=True)
    )


def same_but_for_more_state(server: bytes, daemon: bytes, capabilities: int) -> bool:
    """Equal, or both an OK (EOF) of which the daemon's reports at least what the server's does."""
    if server == daemon:
        return True
    if server[0] == 0xFE and len(server) == len(daemon) == 5:
        return server[:4] == daemon[:4] and server[4] == daemon[4] & ~0x40
    if server[0] not in (0x00, 0xFE) or server[0] != daemon[0]:
        return False
    try:
        ok, ours = parse_ok(server, capabilities), parse_ok(daemon, capabilities)
    except MalformedPacket:
        return False
    changes = parse_session_state(ours.session_state)
    clear = {"session_state": b"", "status": ok.status & ~flags.STATUS_SESSION_STATE_CHANGED}
    return replace(ok, **clear) == replace(
        ours, **clear | {"status": ours.status & ~flags.STATUS_SESSION_STATE_CHANGED}
    ) and all(change in changes for change in parse_session_state(ok.session_state))


def shown(answer: Answer) -> str:
    return " ".join(f"[{sequence}]{payload[:150]!r}" for sequence, payload in answer.packets[:12])


@pytest.mark.parametrize("variant", VARIANTS)
def test_statements_are_answered_in_the_servers_bytes(sides: Sides, variant: str) -> None:
    def script(client: RawClient) -> Iterator[tuple[str, Answer]]:
        for sql in STATEMENTS:
            yield sql, client.query(sql)

    compare(sides, script, capabilities=VARIANTS[variant])
