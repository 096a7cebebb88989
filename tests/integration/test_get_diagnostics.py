"""A client that asks with GET DIAGNOSTICS is told what a client of the manager alone is told, on both databases."""

from __future__ import annotations

from collections.abc import Callable

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol import capabilities as flags
from tests.conftest import Factory
from tests.support.mysql import PASSWORD, MysqlPair
from tests.support.raw import RESET_CONNECTION, RawClient, direct, proxied
from tests.support.sessions import mysql_pair_config
from tests.support.waiting import eventually

SETUP = (
    "CREATE TABLE app.t (v INT)",
    "INSERT INTO app.t VALUES (1), (2), (3)",
    "CREATE TABLE app.w (v INT)",
    "CREATE PROCEDURE app.in_procedure() SELECT @n + 1",
    "CREATE FUNCTION app.in_function() RETURNS INT READS SQL DATA RETURN @n",
)
RESET = ""  # in the place of a statement
WARNS = "SELECT CAST('x' AS SIGNED) FROM t"
FAILS = "SELECT v FROM t WHERE v = (SELECT 1 UNION SELECT 2)"
NUMBER = "GET DIAGNOSTICS @n = NUMBER"
FIRST = "GET DIAGNOSTICS CONDITION 1 @m = MESSAGE_TEXT, @e = MYSQL_ERRNO, @s = RETURNED_SQLSTATE"

SEQUENCES = {
    "a warning": [WARNS, NUMBER, FIRST, "SHOW WARNINGS", "SELECT @n, @m, @e, @s"],
    "an error": [FAILS, NUMBER, FIRST, "SHOW ERRORS", "SELECT @@error_count", "SELECT @n, @m, @e, @s"],
    "an unknown column": ["SELECT nope FROM t", FIRST, "SELECT @m, @e, @s"],
    "a mistyped word": ["SELECT v FROM t WHERE WHERE", FIRST, "SELECT @e, @s"],
    "a write": [
        "UPDATE t SET v = v + 1",
        "GET DIAGNOSTICS @r = ROW_COUNT",
        "SELECT @r",
        "UPDATE t SET v = v - 1",
    ],
    "counts": [
        "SELECT SQL_CALC_FOUND_ROWS v FROM t LIMIT 1",
        NUMBER,
        "SET @z = 1",
        "SELECT FOUND_ROWS(), @n",
    ],
    "the count of warnings": [WARNS, NUMBER, "SELECT @@warning_count, @n"],
    "conditions from a variable": [
        WARNS,
        NUMBER,
        "GET DIAGNOSTICS CONDITION @n @m = MYSQL_ERRNO",
        "SELECT @m",
    ],
    "no such condition": [
        WARNS,
        "GET DIAGNOSTICS CONDITION 4 @n = MYSQL_ERRNO",
        "SHOW WARNINGS",
        "SELECT @n",
    ],
    "no such item": [WARNS, "GET DIAGNOSTICS @n = FOO", "SHOW COUNT(*) ERRORS"],
    "no handler": [WARNS, "GET STACKED DIAGNOSTICS @n = NUMBER"],
    "names": [
        WARNS,
        "GET DIAGNOSTICS @a.b = NUMBER, @$c = NUMBER, @`D d` = NUMBER",
        "SELECT @a.b, @$C, @`d D`",
    ],
    "quoted names": [
        "SET sql_mode = 'ANSI_QUOTES'",
        WARNS,
        'GET DIAGNOSTICS @"n n" = NUMBER',
        "SELECT @`n n`",
    ],
    "types": [
        WARNS,
        NUMBER,
        FIRST,
        "SELECT @n - 1, @n / 2, CONCAT(@e, 'x'), COLLATION(@m), COERCIBILITY(@n)",
    ],
    "results in UTF-16": ["SET character_set_results = utf16", WARNS, NUMBER, FIRST, "SELECT @n, @m"],
    "results as they are": ["SET character_set_results = NULL", WARNS, FIRST, "SELECT @m, CHARSET(@m)"],
    "no rows wanted": [
        "SET sql_select_limit = 0",
        WARNS,
        NUMBER,
        "SET sql_select_limit = DEFAULT",
        "SELECT @n",
    ],
    "set in between": [WARNS, "SET @n = 9", "GET DIAGNOSTICS @k = NUMBER", "SELECT @n, @k"],
    "a transaction since": [WARNS, "BEGIN", NUMBER, "ROLLBACK", "SELECT @n"],
    "a transaction then": [
        WARNS,
        NUMBER,
        "START TRANSACTION READ ONLY",
        "SELECT v FROM t LIMIT 1",
        "SELECT @n",
        "COMMIT",
    ],
    "one of its own": ["START TRANSACTION READ ONLY", WARNS, NUMBER, "SELECT @n", "COMMIT", "SELECT @n"],
    "autocommit off": ["SET autocommit = 0", WARNS, NUMBER, "SELECT @n", "COMMIT"],
    "written": [WARNS, NUMBER, "INSERT INTO w VALUES (@n)", "SELECT v, @n FROM w", "DELETE FROM w"],
    "a temporary table": [WARNS, NUMBER, "CREATE TEMPORARY TABLE own AS SELECT @n AS n", "SELECT n FROM own"],
    "routines": [WARNS, NUMBER, "CALL in_procedure()", WARNS, NUMBER, "SELECT in_function()"],
    "PREPARE": ["PREPARE p FROM 'SELECT ?, @n'", WARNS, NUMBER, "EXECUTE p USING @n"],
    "several in one text": [WARNS, NUMBER, "SELECT 1; SELECT @n; SELECT 2"],
    "a reset": [WARNS, NUMBER, RESET, "SELECT @n"],
}


def told(client: RawClient, sql: str) -> object:
    if sql == RESET:
        client.command(RESET_CONNECTION).check()
        return None
    answer = client.query(sql)
    if answer.err is not None:
        return answer.err
    return answer.rows, answer.status & (flags.STATUS_IN_TRANS | flags.STATUS_AUTOCOMMIT)


def assert_equal(daemon: Daemon, connect: Callable[[int], RawClient]) -> None:
    def known() -> bool:
        before = daemon.metrics().total("mysqlproxy_reads_on_manager_total", reason="catalog")
        with proxied(daemon, schema="app") as client:
            client.query("SELECT v FROM t").check()
        return daemon.metrics().total("mysqlproxy_reads_on_manager_total", reason="catalog") == before

    eventually(known, what="the catalog is read")
    for capabilities in (0, flags.DEPRECATE_EOF):
        for name, statements in SEQUENCES.items():
            with connect(capabilities) as client:
                expected = [told(client, sql) for sql in statements]
            with proxied(daemon, schema="app", capabilities=capabilities) as client:
                assert [told(client, sql) for sql in statements] == expected, name
    assert "internal error" not in daemon.log()


def test_on_mariadb(cluster: LocalCluster, proxy: Callable[..., Daemon]) -> None:
    for sql in SETUP:
        cluster.manager.query(sql)
    cluster.wait_in_sync()
    daemon = proxy(routing={"strategy": "random", "read_consistency": "session"})
    password = cluster.passwords["app"]
    assert_equal(daemon, lambda asked: direct(cluster.manager, password, schema="app", capabilities=asked))
    assert any(worker.served("GET DIAGNOSTICS") for worker in cluster.workers)


def test_on_mysql(mysql97: MysqlPair, daemons: Factory, free_port: Callable[[], int]) -> None:
    def executed() -> int:
        return int(mysql97.replica.query("SHOW GLOBAL STATUS LIKE 'Com_get_diagnostics'")[0]["Value"])

    before = executed()
    for sql in SETUP:
        mysql97.source.query(sql)
    mysql97.wait_in_sync()
    config = mysql_pair_config(
        mysql97, free_port, routing={"strategy": "random", "read_consistency": "session"}
    )
    assert_equal(
        daemons.start(config),
        lambda asked: direct(mysql97.source, PASSWORD, schema="app", capabilities=asked),
    )
    assert executed() > before
