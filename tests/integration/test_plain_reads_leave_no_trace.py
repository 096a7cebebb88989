"""Real servers are asked: a statement that is called a plain read leaves no trace on a manager.

No trace is: the binary log's position, the tables and their rows, row locks, named locks, session and user
variables are as before. And every function that is called built-in is one: no stored function of its name is
looked for.
"""

from __future__ import annotations

from typing import Any

import pymysql
import pytest

from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.sql import functions
from mysqlproxy.sql.classify import classify
from mysqlproxy.sql.verdict import Kind, SqlContext
from tests.support.mysql import MysqlPair
from tests.unit.verdict_corpus import CASES, MYSQL, Case

SETUP = (
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a INT, b INT, c VARCHAR(50), j LONGTEXT)",
    "CREATE TABLE u (id INT PRIMARY KEY AUTO_INCREMENT, t_id INT, a INT)",
    "INSERT INTO t (a, b, c, j) VALUES (1, 2, 'x', '{\"a\": 1, \"b\": \"c\"}'), (3, 4, 'y', '{}')",
    "INSERT INTO u (t_id, a) VALUES (1, 1), (2, 5)",
)
# These change by themselves, or with each statement.
VOLATILE = {
    "timestamp", "rand_seed1", "rand_seed2", "warning_count", "error_count", "last_insert_id", "identity",
    "insert_id", "gtid_binlog_pos", "statement_id",
}  # fmt: skip
READS = [case for case in CASES if case.kind is Kind.READ]

Row = tuple[Any, ...]


class Watched:
    """A server's manager with one connection that runs statements and one that watches."""

    def __init__(
        self, worker: pymysql.Connection[Any], watcher: pymysql.Connection[Any], mariadb: bool
    ) -> None:
        self.worker, self.watcher, self.mariadb = worker, watcher, mariadb

    def trace(self) -> dict[str, object]:
        """All that a plain read must leave as it is."""
        position = "@@gtid_binlog_pos" if self.mariadb else "@@gtid_executed"
        variables = rows(self.worker, "SHOW SESSION VARIABLES")
        if self.mariadb:
            user_variables = rows(self.worker, "SELECT * FROM information_schema.USER_VARIABLES")
        else:
            user_variables = rows(
                self.worker,
                "SELECT * FROM performance_schema.user_variables_by_thread ORDER BY VARIABLE_NAME",
            )
        return {
            "position": rows(self.watcher, f"SELECT {position}"),
            "tables": rows(
                self.watcher,
                "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES ORDER BY TABLE_SCHEMA, TABLE_NAME",
            ),
            "rows": rows(self.watcher, "CHECKSUM TABLE app.t, app.u"),
            "rows not locked": [
                rows(self.watcher, f"SELECT id FROM app.{table} FOR UPDATE SKIP LOCKED")
                for table in ("t", "u")
            ],
            "named locks": rows(self.watcher, "SELECT IS_USED_LOCK('x')"),
            "variables": {name: value for name, value in variables if name not in VOLATILE},
            "user variables": user_variables,
        }

    def run(self, text: bytes) -> str:
        """Run it in a transaction, so that locks would show; "" or the server's error."""
        with self.worker.cursor() as cursor:
            cursor.execute("BEGIN")
            self.before = self.trace()
            try:
                cursor.execute(text)  # type: ignore[arg-type]  # bytes are sent as they are
                while cursor.nextset():
                    pass
            except pymysql.Error as error:
                return str(error)
            return ""

    def finish(self) -> dict[str, object]:
        after = self.trace()
        self.worker.rollback()
        return after


def rows(connection: pymysql.Connection[Any], sql: str) -> list[Row]:
    with connection.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def prepare_session(watched: Watched, context: SqlContext) -> None:
    modes = {
        "ANSI_QUOTES": context.ansi_quotes,
        "NO_BACKSLASH_ESCAPES": context.no_backslash_escapes,
        "IGNORE_SPACE": context.ignore_space,
    }
    with watched.worker.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = %s", (",".join(name for name, on in modes.items() if on),))
        cursor.execute(f"SET NAMES {context.charset}")


def check(watched: Watched, cases: list[Case]) -> list[str]:
    """The statements that the server refused; fails on a trace."""
    refused = []
    for case in cases:
        prepare_session(watched, case.under)
        error = watched.run(case.text)
        after = watched.finish()
        if error:
            refused.append(f"{case.sql!r}: {error}")
        assert after == watched.before, case.sql
    return refused


def not_built_in(watched: Watched, context: SqlContext) -> list[str]:
    """Names that the server takes for stored or loadable functions, although we call them built-in."""
    # JSON_TABLE is no function but a table in FROM: sqlglot accepts it nowhere else.
    names = {*functions._COMMON, *functions._MARIADB, *functions._MYSQL} - {"JSON_TABLE"}
    found = []
    for name in sorted(names):
        if functions.meaning_of(name, context) is not functions.Meaning.PURE:
            continue
        for arguments in ("", "1", "1, 1", "1, 1, 1"):
            try:
                rows(watched.worker, f"SELECT {name}({arguments})")
            except pymysql.Error as error:
                # ER_SP_DOES_NOT_EXIST, ER_FUNC_INEXISTENT_NAME_COLLISION, ER_NO_DB_ERROR
                if error.args[0] in {1305, 1630, 1046}:
                    found.append(f"{name}({arguments}): {error}")
                    break
    return found


@pytest.fixture
def mariadb(cluster: LocalCluster) -> Any:
    manager = cluster.manager
    for sql in SETUP:
        manager.query(sql, schema="app")
    options: dict[str, Any] = {"database": "app", "client_flag": pymysql.constants.CLIENT.MULTI_STATEMENTS}
    with manager.connect("app", **options) as worker, manager.connect("root") as watcher:
        yield Watched(worker, watcher, mariadb=True)


@pytest.fixture
def mysql(mysql97: MysqlPair) -> Any:
    source = mysql97.source
    for sql in SETUP:
        source.query(sql.replace("LONGTEXT", "JSON"), schema="app")
    options: dict[str, Any] = {"database": "app", "client_flag": pymysql.constants.CLIENT.MULTI_STATEMENTS}
    with source.connect("root", **options) as worker, source.connect("root") as watcher:
        yield Watched(worker, watcher, mariadb=False)


def test_on_mariadb(mariadb: Watched) -> None:
    cases = [case for case in READS if case.under.mariadb and not case.under.schema]
    assert len(cases) > 100
    assert check(mariadb, cases) == []


def test_on_mysql(mysql: Watched) -> None:
    cases = [case for case in READS if not case.under.mariadb or classify(case.text, MYSQL).kind is Kind.READ]
    refused = check(mysql, [case for case in cases if not case.under.schema])
    # MariaDB's own syntax; all else runs.
    assert all(
        "VALUES (1, 2), (3, 4)" in line or "ANALYZE" in line or "EXTENDED" in line for line in refused
    ), refused


def test_the_test_sees_traces(mariadb: Watched) -> None:
    for sql in (
        "SELECT a FROM t FOR UPDATE",
        "SELECT @trace := 1",
        "SELECT GET_LOCK('x', 0)",
        "SET sort_buffer_size = 16384",
        "CREATE TABLE w (a INT)",
        "INSERT INTO u (a) VALUES (1); COMMIT",
    ):
        assert mariadb.run(sql.encode()) == ""
        assert mariadb.finish() != mariadb.before, sql


def test_what_is_called_built_in_is_built_in_on_mariadb(mariadb: Watched) -> None:
    assert "\n".join(not_built_in(mariadb, SqlContext(version=(10, 11, 19)))) == ""


def test_what_is_called_built_in_is_built_in_on_mysql(mysql: Watched) -> None:
    assert "\n".join(not_built_in(mysql, MYSQL)) == ""
