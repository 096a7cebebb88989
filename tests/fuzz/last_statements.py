"""Random statements, and questions about the last of them: a client of the daemon must be told what a client of the
manager alone is told, or error 1105. Other clients take the connections away meanwhile.

``python -m pytest tests/fuzz/test_last_statements.py`` runs some; SEQUENCES=5000 before it runs more.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.support.raw import INIT_DB, PING, STATISTICS, RawClient

SETUP = (
    "CREATE TABLE st (v INT)",
    "INSERT INTO st VALUES (1), (2), (3)",
    "CREATE TABLE t (v INT)",
    "INSERT INTO t VALUES (1), (2)",
    "CREATE TABLE k (id INT PRIMARY KEY)",
    "INSERT INTO k VALUES (1)",
    "CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY, v INT)",
    "CREATE PROCEDURE selects() SELECT v FROM st",
    "CREATE PROCEDURE updates() UPDATE t SET v = v + 1",
    "CREATE PROCEDURE own() BEGIN SELECT v FROM st; SELECT FOUND_ROWS(); END",
    "CREATE PROCEDURE counted() BEGIN UPDATE t SET v = v + 1; SELECT ROW_COUNT(); END",
    "CREATE PROCEDURE callers() SELECT FOUND_ROWS()",
    "CREATE FUNCTION asks() RETURNS INT READS SQL DATA RETURN FOUND_ROWS()",
    "CREATE VIEW vw AS SELECT FOUND_ROWS() AS n",
)
_ANYWHERE = (
    "SELECT v FROM st",
    "SELECT v FROM st LIMIT 2",
    "SELECT SQL_CALC_FOUND_ROWS v FROM st LIMIT 1",
    "SELECT v FROM st WHERE 0",
    "SELECT nothing FROM st",
    "SELECT 7",
    "SELECT v FROM st UNION ALL SELECT v FROM st LIMIT 3",
    "SELECT CAST('x' AS SIGNED) FROM st LIMIT 1",
    "SELECT CAST('x' AS SIGNED)",
    "SHOW TABLES LIKE 'st'",
    "SHOW COLUMNS FROM st",
    "SHOW INDEX FROM st",
    "EXPLAIN SELECT v FROM st",
    "DESC SELECT v FROM st",
)
_STATEMENTS = (
    "SELECT @@version IS NULL",
    "SELECT SQL_CALC_FOUND_ROWS v, @@server_id IS NULL FROM st LIMIT 2",
    "SHOW DATABASES LIKE 'app'",
    "SHOW VARIABLES LIKE 'autocommit'",
    "UPDATE t SET v = v + 1",
    "UPDATE t SET v = v",
    "DELETE FROM t WHERE v < 0",
    "INSERT INTO k VALUES (1)",
    "INSERT IGNORE INTO k VALUES (1)",
    "REPLACE INTO k VALUES (1), (2)",
    "INSERT INTO a (v) VALUES (1), (2)",
    "INSERT INTO a (v) SELECT v FROM st",
    "DO 1",
    "SET time_zone = '+00:00'",
    "SET time_zone = 'nope'",
    "SET NAMES utf8mb4",
    "SET @x = 1",
    "USE {schema}",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT x",
    "UPDATE nope SET v = 1",
    "SELEC",
    "DROP TEMPORARY TABLE IF EXISTS nope",
    "TRUNCATE TABLE a",
    "KILL 0",
    "SELECT 1 INTO @y",
    "CALL selects()",
    "CALL updates()",
    "UPDATE t SET v = v + 1; SELECT ROW_COUNT()",
    "SELECT v FROM st; SELECT FOUND_ROWS()",
    "SELECT v FROM st; UPDATE t SET v = v",
    "BEGIN; UPDATE t SET v = v + 1; COMMIT",
    "UPDATE t SET v = 'x' LIMIT 1",
    "PREPARE p FROM 'SELECT v FROM st LIMIT 2'",
    "EXECUTE p",
    "!init_db",
    "!ping",
    "!statistics",
    "!prepare",
    "!execute",
    "!take",
)
_QUESTIONS = (
    "SHOW WARNINGS",
    "SHOW ERRORS",
    "SHOW WARNINGS LIMIT 0",
    "SHOW COUNT(*) WARNINGS",
    "SELECT @@warning_count",
    "SELECT @@error_count",
    "SELECT @@warning_count FROM st LIMIT 1",
    "SELECT ROW_COUNT()",
    "SELECT FOUND_ROWS()",
    "SELECT FOUND_ROWS(), v FROM st LIMIT 1",
    "SELECT SQL_CALC_FOUND_ROWS FOUND_ROWS(), v FROM st LIMIT 1",
    "SELECT FOUND_ROWS() + 1, @@version IS NULL",
    "SELECT FOUND_ROWS(), LAST_INSERT_ID() IS NULL",
    "SELECT FOUND_ROWS(), @x",
    "SELECT FOUND_ROWS(); UPDATE t SET v = v + 1",
    "SELECT ROW_COUNT(); BEGIN",
    "BEGIN; SELECT FOUND_ROWS()",
    "DO 1; SELECT FOUND_ROWS()",
    "DO 1; SHOW WARNINGS",
    "DO ROW_COUNT()",
    "GET DIAGNOSTICS @n = ROW_COUNT",
    "SELECT @n",
    "GET DIAGNOSTICS @n = NUMBER",
    "GET CURRENT DIAGNOSTICS @n = NUMBER, @r = ROW_COUNT",
    "GET DIAGNOSTICS CONDITION 1 @m = MESSAGE_TEXT",
    "GET DIAGNOSTICS CONDITION 2 @m = MYSQL_ERRNO, @`M 2` = RETURNED_SQLSTATE",
    "GET DIAGNOSTICS CONDITION @n @r = CLASS_ORIGIN",
    "SELECT @m, @r, @`m 2`",
    "SET @n = @n + 1",
    "INSERT INTO a (v) VALUES (ROW_COUNT())",
    "INSERT INTO a (v) VALUES (FOUND_ROWS())",
    "UPDATE t SET v = FOUND_ROWS()",
    "SELECT SUM(v), @@version IS NULL FROM a",
    "SET @q = FOUND_ROWS(), @w = @@warning_count",
    "SELECT @q, @w",
    "SET @q = ROW_COUNT()",
    "CALL own()",
    "CALL counted()",
    "CALL callers()",
    "SELECT asks()",
    "SELECT * FROM vw",
    "!execute_question",
    "!execute_carried",
    "!insert_carried",
)
_PREPARED = {
    "!execute_question": "SELECT ROW_COUNT()",
    "!execute_carried": "SELECT FOUND_ROWS(), @x",
    "!insert_carried": "INSERT INTO a (v) VALUES (ROW_COUNT())",
}
_MARIADB = (
    "DO 1/0",
    "VALUES (1), (2)",
    "INSERT INTO a (v) VALUES (1) RETURNING v",
    "DELETE FROM k WHERE id > 5 RETURNING id",
    "SET STATEMENT max_statement_time = 1 FOR SELECT v FROM st",
)
_MARIADB_QUESTIONS = (
    "EXECUTE IMMEDIATE 'SELECT FOUND_ROWS()'",
    "BEGIN NOT ATOMIC SELECT FOUND_ROWS(); END",
)
_MYSQL = ("VALUES ROW(1), ROW(2)", "TABLE st", "INSERT INTO a (v) TABLE st")
_UNKNOWN, _CUT_SHORT = 1105, 1366
# MySQL warns of FOUND_ROWS(); a number in its place is no reason to.
_WARNS = ("FOUND_ROWS", "callers", "own()", "asks()", "vw")
_OF_WARNINGS = ("WARNING", "ERRORS", "warning_count", "CONDITION", "NUMBER")

Told = tuple[int, tuple[bytes, ...]]  # number of the error, rows


def sequence(seed: int, workers: list[str], *, mariadb: bool) -> list[str]:
    """Some statements and questions; few different ones, so that they meet in many orders."""
    chance = random.Random(seed)
    hinted = [f"/* mysqlproxy: server={name} */ {sql}" for name in (*workers, "manager") for sql in _ANYWHERE]
    statements = [*hinted, *_STATEMENTS, *(_MARIADB if mariadb else _MYSQL)]
    questions = [*_QUESTIONS, *(_MARIADB_QUESTIONS if mariadb else ())]
    few = chance.sample(statements, 6)
    chosen = [chance.choice(few) if chance.random() < 0.55 else chance.choice(questions) for _ in range(14)]
    # What was refused before has left the tables different.
    return ["DELETE FROM a", "SELECT v FROM st LIMIT 1", "UPDATE t SET v = v", *chosen]


def difference(
    statements: list[str],
    direct: RawClient,
    proxied: RawClient,
    schemas: tuple[str, str],
    take: Callable[[], None],
    *,
    mariadb: bool,
) -> str:
    """What the two clients are told differently, with what came before it; "" for nothing.

    Args:
        schemas: of the one and the other, with the tables of ``SETUP``; names of equal length.
    """
    told = []
    warned = False
    for sql in statements:
        if warned and any(part in sql for part in _OF_WARNINGS):
            return ""
        warned |= not mariadb and any(part in sql for part in _WARNS)
        # Whether that uses a table, which forgets them, nobody reads.
        warned |= sql.startswith(("EXECUTE IMMEDIATE", "BEGIN NOT ATOMIC", "CALL callers"))
        if sql == "!take":
            take()
            continue
        expected = _tell(direct, sql, schemas[0])
        found = _tell(proxied, sql, schemas[1])
        told.append(f"{sql}  {expected}")
        if not mariadb and expected[0] == _CUT_SHORT:
            return ""  # the rows it has read count as the next statement's, also of one that counts none
        if found[0] == _UNKNOWN and not expected[0]:
            return ""  # they have done different things from here on
        as_expected = (
            expected[0],
            tuple(row.replace(schemas[0].encode(), schemas[1].encode()) for row in expected[1]),
        )
        if found != as_expected:
            return "\n".join((*told, f"the daemon: {found}"))
    return ""


def _tell(client: RawClient, sql: str, schema: str) -> Told:
    if sql in ("!ping", "!statistics", "!init_db"):
        code, argument = {"!ping": (PING, b""), "!statistics": (STATISTICS, b"")}.get(
            sql, (INIT_DB, schema.encode())
        )
        client.command(code, argument)
        return 0, ()
    if sql in ("!prepare", "!execute", "!execute_question", "!execute_carried", "!insert_carried"):
        prepared = client.prepare(_PREPARED.get(sql, "SELECT v FROM st LIMIT 2"))
        answer = None if sql == "!prepare" else client.execute(prepared.id)
        client.close_statement(prepared.id)
        if answer is None:
            return 0, ()
    else:
        answer = client.query(sql.format(schema=schema))
    return (0 if answer.err is None else answer.err.errno), tuple(answer.rows)
