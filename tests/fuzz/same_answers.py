"""Random statements of one or two clients, run directly on the manager and through the daemon: equal answers.

    python -m tests.fuzz.same_answers [--seed N] [--runs N] [--steps N] [--mysql]

Both sides begin with the same tables, each in a schema of its own, and do the same, step by step; every packet is
compared, but for the schema's name. One worker stands still, so that what it has is old; with two clients the daemon
promises ``strong``, by which each sees what the other was told of. A difference is told with its seed and the steps
that led to it. A few seeds run with the tests (``test_same_answers``).

Known to differ, and therefore not asked here: several statements that need the manager of which one asks for what the
last statement left on a worker (an error), on MySQL the character set after a reset.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mysqlproxy.demo import local
from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol import capabilities as flags
from tests.conftest import Factory, merge
from tests.support.mysql import MysqlPair, find_mysql
from tests.support.raw import PING, RESET_CONNECTION, Answer, RawClient, direct, proxied
from tests.support.sessions import mysql_pair_config

Servers = LocalCluster | MysqlPair
Step = tuple[int, str, str]  # which client, what kind of command, its text

SCHEMAS = ("side_a", "side_b")  # of equal length, as packets tell lengths
TABLES = (
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a INT UNIQUE, b VARCHAR(20))",
    "CREATE TABLE lg (id INT PRIMARY KEY AUTO_INCREMENT, a INT)",
    "CREATE TABLE g (id INT PRIMARY KEY AUTO_INCREMENT, a INT)",
    "INSERT INTO t (a, b) VALUES (1, 'one'), (2, 'two'), (3, NULL)",
    "CREATE VIEW v AS SELECT a, b FROM t",
    "CREATE FUNCTION fr(x INT) RETURNS INT READS SQL DATA RETURN (SELECT COUNT(*) FROM t WHERE a < x)",
    "CREATE FUNCTION fw(x INT) RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO lg (a) VALUES (x); "
    "RETURN x; END",
    "CREATE PROCEDURE pr(x INT) BEGIN INSERT INTO lg (a) VALUES (x); SELECT x; "
    "UPDATE t SET b = 'p' WHERE a = x; END",
    "CREATE PROCEDURE pe(x INT) BEGIN INSERT INTO lg (a) VALUES (x); SIGNAL SQLSTATE '45000'; END",
    "CREATE PROCEDURE pc(x INT) BEGIN START TRANSACTION; INSERT INTO lg (a) VALUES (x); COMMIT; "
    "START TRANSACTION; END",
    "CREATE TRIGGER tr AFTER INSERT ON g FOR EACH ROW INSERT INTO lg (a) VALUES (NEW.a)",
)
MARIADB_TABLES = ("CREATE TABLE m (a INT PRIMARY KEY) ENGINE=MyISAM", "CREATE SEQUENCE sq")

READS = (
    "SELECT * FROM t ORDER BY id",
    "SELECT COUNT(*), SUM(a) FROM t",
    "SELECT a, b FROM v ORDER BY a",
    "SELECT a FROM lg ORDER BY id",
    "SELECT fr(%d)",
    "SELECT b FROM t WHERE a = %d",
    "SELECT t.a, lg.a FROM lg STRAIGHT_JOIN t ON t.a = lg.a ORDER BY lg.id",
    "SELECT SQL_CALC_FOUND_ROWS a FROM t ORDER BY a LIMIT 1",
    "(SELECT a FROM t) UNION (SELECT a FROM lg) ORDER BY 1",
    "WITH q AS (SELECT a FROM lg) SELECT MAX(a) FROM q",
    "SELECT FROM_UNIXTIME(0)",
    'SELECT "a" FROM t LIMIT 1',
    "SELECT 'a' || 'b'",
    "SELECT 1 / 0",
    "SELECT CAST('x' AS SIGNED)",
    "SELECT * FROM missing",
    "SELECT nothing FROM t",
    "SELECT DATABASE()",
    "SELECT 'ü', CHARSET('x'), COLLATION('x')",
    "SHOW COLUMNS FROM t",
    "DESCRIBE lg",
    "SHOW TABLES",
    "SELECT @@time_zone, @@sql_mode, @@autocommit",
)
AFTER = (
    "SELECT FOUND_ROWS()",
    "SELECT ROW_COUNT()",
    "SELECT LAST_INSERT_ID()",
    "SHOW WARNINGS",
    "SHOW ERRORS",
    "SELECT @@warning_count",
    "SELECT @@error_count",
    "SELECT @x",
    "SELECT @@identity",
    "SHOW COUNT(*) WARNINGS",
)
WRITES = (
    "INSERT INTO t (a, b) VALUES (%d, 'x')",
    "INSERT IGNORE INTO t (a) VALUES (%d)",
    "REPLACE INTO t (a, b) VALUES (%d, 'r')",
    "INSERT INTO t (a) VALUES (%d) ON DUPLICATE KEY UPDATE b = 'd'",
    "UPDATE t SET b = 'u' WHERE a = %d",
    "UPDATE t SET b = 'same'",
    "DELETE FROM t WHERE a = %d",
    "INSERT INTO lg (a) SELECT a FROM t WHERE a < %d",
    "INSERT INTO g (a) VALUES (%d)",
    "SELECT fw(%d)",
    "DO fw(%d)",
    "SET @x = fw(%d)",
    "CALL pr(%d)",
    "CALL pe(%d)",
    "CALL pc(%d)",
    "SELECT a FROM t WHERE a = %d FOR UPDATE",
    "INSERT INTO t (a, b) VALUES (%d, REPEAT('x', 30))",
    "SELECT COUNT(*) FROM t INTO @x",
    "TRUNCATE TABLE lg",
    "UPDATE lg SET id = LAST_INSERT_ID(id + 0) WHERE a = %d",
    "EXPLAIN SELECT fw(%d)",
)
MARIADB_WRITES = (
    "INSERT INTO m VALUES (%d)",
    "INSERT INTO m VALUES (%d), (1)",
    "INSERT INTO lg (a) VALUES (%d) RETURNING a",
    "SELECT NEXTVAL(sq)",
    "SELECT LASTVAL(sq)",
    "DELETE FROM lg WHERE a = %d RETURNING a",
    "SELECT a FROM m ORDER BY a",
    "EXECUTE IMMEDIATE 'DELETE FROM m'",
)
TRANSACTIONS = (
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO SAVEPOINT s",
    "RELEASE SAVEPOINT s",
    "START TRANSACTION READ ONLY",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    "SET autocommit = 0",
    "SET autocommit = 1",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET TRANSACTION READ ONLY",
    "SET completion_type = 0",
)
STATE = (
    "SET time_zone = '+05:00'",
    "SET time_zone = SYSTEM",
    "SET sql_mode = 'ANSI_QUOTES'",
    "SET sql_mode = DEFAULT",
    "SET sql_mode = 'PIPES_AS_CONCAT'",
    "SET NAMES latin1",
    "SET NAMES utf8mb4",
    "SET @x = %d",
    "SET @x = (SELECT COUNT(*) FROM lg)",
    "USE information_schema",
    "USE {schema}",
    "SET no_such_thing = 1",
    "CREATE TEMPORARY TABLE lg (a INT)",
    "DROP TEMPORARY TABLE IF EXISTS lg",
    "CREATE TABLE x AS SELECT a FROM t",
    "DROP TABLE IF EXISTS x",
    "SELECT a FROM x",
    "CREATE OR REPLACE VIEW v AS SELECT a, b FROM t WHERE a < 5",
    "PREPARE p FROM 'SELECT a FROM t WHERE a > ?'",
    "SET @y = 1",
    "EXECUTE p USING @y",
    "DEALLOCATE PREPARE p",
    "SELECT GET_LOCK('{schema}', 0)",
    "SELECT RELEASE_ALL_LOCKS()",
    "SELECT IS_FREE_LOCK('{schema}')",
    "DROP FUNCTION IF EXISTS late",
    "CREATE FUNCTION late() RETURNS INT RETURN 4",
    "SELECT late()",
)

_REFUSED = "are not known any more"  # FOUND_ROWS() across the begin of a transaction: no wrong number
_NOT_SENT = "needs the manager"  # from here on the sides differ
_LOCK_WAITS = ("innodb_lock_wait_timeout", "lock_wait_timeout")


class DifferenceError(AssertionError):
    """The two sides answered differently."""


def steps(seed: int, count: int, *, clients: int, mariadb: bool) -> Iterator[Step]:
    """The same for the same arguments."""
    chance = random.Random(seed)
    writes = WRITES + MARIADB_WRITES if mariadb else WRITES

    def statement(after: int = 3) -> str:
        kinds = (READS, AFTER, writes, TRANSACTIONS, STATE)
        text = chance.choice(chance.choices(kinds, weights=(6, after, 5, 2, 2))[0])
        return text % chance.randrange(9) if "%d" in text else text

    for _ in range(count):
        client = chance.randrange(clients)
        kind = chance.choices(("query", "several", "prepared", "ping", "reset"), weights=(70, 12, 15, 3, 1))[
            0
        ]
        if kind == "several":
            # What asks for the last statement comes later: the first one may have to go where that was.
            texts = "; ".join((statement(0), *(statement() for _ in range(chance.randint(1, 2)))))
            yield client, "query", texts.replace("FOUND_ROWS()", "ROW_COUNT()")
        else:
            text = statement()
            # Servers keep the default schema at a reset; the daemon goes back to the login's, as a new login would.
            yield client, kind, "USE {schema}" if kind == "reset" else text


def _begin(client: RawClient, mariadb: bool) -> None:
    """Nobody waits for a lock; and what FOUND_ROWS() is before the first SELECT is nobody's concern."""
    for text in (*(f"SET {name} = {0 if mariadb else 1}" for name in _LOCK_WAITS), "SELECT 1"):
        client.query(text).check()


def answers(client: RawClient, kind: str, text: str, *, mariadb: bool) -> list[Answer]:
    """Of one step."""
    if kind == "reset":
        if mariadb:  # its reset would leave a transaction's temporary tables to the replicas
            client.query("ROLLBACK").check()
        found = [client.command(RESET_CONNECTION)]
        client.query(text).check()
        _begin(client, mariadb)
        return found
    if kind == "ping":
        client.command(PING).check()  # MySQL's OK has the last statement's warnings in it
        return []
    if kind == "query":
        return [client.query(text)]
    prepared = client.prepare(text)
    told = prepared.answer
    told.packets = [
        (n, p[:1] + b"...." + p[5:]) if p[0] == 0 and i == 0 else (n, p)
        for i, (n, p) in enumerate(told.packets)
    ]
    found = [told]
    if prepared.id:
        found.append(client.execute(prepared.id))
        client.close_statement(prepared.id)
    return found


def shown(found: list[Answer], schema: str) -> list[list[tuple[int, bytes]]]:
    """What is compared: not whether an index was used, which is a matter of each table's statistics."""
    return [
        [
            (n, _END.sub(_without_index, payload.replace(schema.encode(), b"schema")))
            for n, payload in answer.packets
        ]
        for answer in found
    ]


_END = re.compile(rb"\A([\xfe\x00]..)(.)(?=.(..)?\Z)", re.DOTALL)  # an OK with small numbers, or an EOF


def _without_index(match: re.Match[bytes]) -> bytes:
    return match[1] + bytes((match[2][0] & ~(flags.STATUS_NO_INDEX_USED | flags.STATUS_NO_GOOD_INDEX_USED),))


def run(servers: Servers, daemon: Daemon, seed: int, count: int) -> None:
    """One run of two sides.

    Raises:
        DifferenceError: with all that led to it.
    """
    mariadb = isinstance(servers, LocalCluster)
    clients = 1 if daemon.config["routing"]["read_consistency"] == "session" else 2
    for schema in SCHEMAS:
        servers.manager.query(f"DROP DATABASE IF EXISTS {schema}")
        servers.manager.query(f"CREATE DATABASE {schema}")
        servers.manager.query(f"GRANT ALL ON {schema}.* TO app@'%'")
        for table in TABLES + (MARIADB_TABLES if mariadb else ()):
            servers.manager.query(table, schema=schema)
    servers.manager.connect("app").close()  # MySQL: the plain logins below go by what it then remembers
    if mariadb:
        mover = servers.workers[0]
        position = servers.manager.value("SELECT @@gtid_binlog_pos")
        if mover.value("SELECT MASTER_GTID_WAIT(%s, 30)", (position,)) != 0:
            raise RuntimeError(mover.query("SHOW SLAVE STATUS")[0]["Last_SQL_Error"])
    extra = flags.DEPRECATE_EOF if seed % 2 else 0
    sides: list[list[RawClient]] = []
    history: list[str] = []
    try:
        for schema, connect in zip(SCHEMAS, _sides(servers, daemon), strict=True):
            sides.append([connect(schema, extra) for _ in range(clients)])
        for side in sides:
            for client in side:
                _begin(client, mariadb)
        for who, kind, text in steps(seed, count, clients=clients, mariadb=mariadb):
            history.append(f"{who} {kind} {text}")
            told: list[object] = []
            for side, schema in zip(sides, SCHEMAS, strict=True):
                try:
                    told.append(
                        shown(
                            answers(side[who], kind, text.replace("{schema}", schema), mariadb=mariadb),
                            schema,
                        )
                    )
                except (EOFError, OSError) as error:
                    told.append(repr(error))
            if _REFUSED in str(told[1]):
                continue
            if _NOT_SENT in str(told[1]):
                return
            if told[0] != told[1] or isinstance(told[0], str):
                raise DifferenceError(
                    f"seed {seed}\n" + "\n".join(history) + f"\ndirectly: {told[0]}\nthrough:  {told[1]}"
                )
    finally:
        for side in sides:
            for client in side:
                client.close()


def _sides(
    servers: Servers, daemon: Daemon
) -> tuple[Callable[[str, int], RawClient], Callable[[str, int], RawClient]]:
    password = servers.passwords["app"]
    charset = (
        45 if isinstance(servers, LocalCluster) else 255
    )  # the servers' own, to which a reset on them returns
    return (
        lambda schema, extra: direct(
            servers.manager, password, schema=schema, capabilities=extra, charset=charset
        ),
        lambda schema, extra: proxied(daemon, schema=schema, capabilities=extra, charset=charset),
    )


def sections(consistency: str) -> dict[str, Any]:
    return {
        "routing": {"strategy": "random", "read_consistency": consistency, "consistency_wait": 0.05},
        "monitor": {"interval": 0.5, "max_replica_lag": 36000.0},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--mysql", action="store_true")
    arguments = parser.parse_args()
    with _standing(mysql=arguments.mysql) as (servers, daemons):
        for seed in range(arguments.seed, arguments.seed + arguments.runs):
            try:
                run(servers, daemons[seed // 2 % 2], seed, arguments.steps)
            except DifferenceError as error:
                print(f"different: {error}", flush=True)
            else:
                print(f"seed {seed}: equal", flush=True)


@contextmanager
def _standing(*, mysql: bool) -> Iterator[tuple[Servers, list[Daemon]]]:
    directory = Path(tempfile.mkdtemp(prefix="mysqlproxy-test-"))
    (directory / "daemons").mkdir()
    factory = Factory(directory / "daemons", local.free_port)
    servers: Servers = MysqlPair(find_mysql(), directory) if mysql else LocalCluster(directory / "cluster")
    try:
        servers.start()
        for server in servers.servers:
            server.query("SET GLOBAL log_bin_trust_function_creators = 1")
        daemons = []
        for consistency in ("session", "strong"):
            if isinstance(servers, MysqlPair):
                config = mysql_pair_config(servers, local.free_port, **sections(consistency))
            else:
                config = merge(factory.config(servers), sections(consistency))
            daemons.append(factory.start(config))
        if isinstance(servers, LocalCluster):
            lock = servers.workers[1].connect("root")
            lock.cursor().execute("FLUSH TABLES WITH READ LOCK")
        yield servers, daemons
    finally:
        factory.kill()
        servers.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
