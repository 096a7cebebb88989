"""Asks one server for its tables, views, routines and triggers, in a few bounded queries. Called by
``cluster.catalog_reader`` and ``explain``.

Blocking; changes nothing. What the account may not see is missing from the answer, never an error:
https://mariadb.com/kb/en/information-schema-tables/ and
https://dev.mysql.com/doc/refman/9.0/en/information-schema.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pymysql

from mysqlproxy.cluster.grants import sees_triggers
from mysqlproxy.cluster.pymysql_adapter import LimitedConnection
from mysqlproxy.sql import catalog
from mysqlproxy.sql.catalog import MAX_BODY, MAX_NAMES, Catalog, Relation, Routine, What

ALLOWANCE: Final = 128 * 1024 * 1024
"""Bytes that one whole reading may take."""

_OURS = "NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys', 'ndbinfo')"
_TABLES = f"FROM information_schema.TABLES WHERE TABLE_SCHEMA {_OURS}"
_VIEWS = f"FROM information_schema.VIEWS WHERE TABLE_SCHEMA {_OURS}"
# Virtual columns may depend on the connection that reads them: on MariaDB in all these ways, on MySQL by XPath.
_DEPENDENT = (
    f"FROM information_schema.COLUMNS WHERE TABLE_SCHEMA {_OURS} AND EXTRA LIKE 'VIRTUAL%' AND GENERATION_EXPRESSION "
    "REGEXP '@[@`[:alnum:]_$]|connection_id|user[(]|current_role|version[(]|default[(]|extractvalue|updatexml'"
)
_ROUTINES = f"FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA {_OURS}"
_TRIGGERS = f"FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA {_OURS}"

# MariaDB: a default that draws from a sequence does what a trigger would.
_DRAWING = f"FROM information_schema.COLUMNS WHERE TABLE_SCHEMA {_OURS} AND COLUMN_DEFAULT LIKE 'nextval(%'"

# Who sees the server's own tables sees everybody's.
_VISIBLE = (
    "SELECT COUNT(*) AS seen, @@global.lower_case_table_names AS folding FROM information_schema.TABLES "
    "WHERE TABLE_SCHEMA = 'mysql' AND TABLE_NAME IN ('db', 'columns_priv')"
)

# Statements are counted when they begin, whoever runs them and however (in procedures and by replication, too).
_COUNTED = (
    "SHOW GLOBAL STATUS WHERE Variable_name LIKE 'Com\\_create\\_%' OR Variable_name LIKE 'Com\\_drop\\_%' "
    "OR Variable_name LIKE 'Com\\_alter\\_%' OR Variable_name LIKE 'Com\\_rename\\_table' "
    "OR Variable_name LIKE 'Com\\_%install%' OR Variable_name LIKE 'Com\\_grant%' "
    "OR Variable_name LIKE 'Com\\_revoke%'"
)


OTHER: Final = Relation(What.OTHER)


class Clock(NamedTuple):
    """What tells cheaply whether anything can have changed.

    Attributes:
        definitions: how many statements that define something the server has begun.
        position: its GTIDs; None when it has none.
    """

    definitions: tuple[tuple[str, str], ...]
    position: str | None


def clock(connection: LimitedConnection, mariadb: bool) -> Clock:
    """Two short questions, whatever the size of the catalog."""
    counted = tuple((row["Variable_name"], row["Value"]) for row in connection.rows(_COUNTED))
    position = "@@global.gtid_binlog_pos" if mariadb else "@@global.gtid_executed"
    [row] = connection.rows(f"SELECT {position} AS position")
    return Clock(counted, str(row["position"]) or None)


def checksum(connection: LimitedConnection) -> tuple[object, ...]:
    """A value that is another one when the catalog is, made by the server: no row of it is sent."""

    def summed(columns: str, source: str) -> object:
        digest = f"SHA2(CONCAT_WS('.', {columns}), 224)"
        [row] = connection.rows(
            f"SELECT COUNT(*) AS n, BIT_XOR(CAST(CONV(LEFT({digest}, 16), 16, 10) AS UNSIGNED)) AS x {source}"
        )
        return row["n"], row["x"]

    routine = "ROUTINE_TYPE, ROUTINE_SCHEMA, ROUTINE_NAME, SQL_MODE, ROUTINE_DEFINITION IS NULL"
    [row] = connection.rows(_VISIBLE)
    return (
        row["seen"],
        summed("TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE", _TABLES),
        summed("TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION", _VIEWS),
        summed("TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME", _DEPENDENT),
        summed(f"{routine}, ROUTINE_DEFINITION", _ROUTINES),
        sees_triggers(connection),
        summed(
            "EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_NAME, SQL_MODE, ACTION_STATEMENT", _TRIGGERS
        ),
        tuple(sorted(_loadable(connection) or ())),
        summed("TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_DEFAULT", _DRAWING),
    )


def read(connection: LimitedConnection, generation: int) -> Catalog:
    """The whole catalog; one that is not available when the account sees only parts of it."""
    [row] = connection.rows(_VISIBLE)
    if not int(row["seen"]):
        return Catalog(generation=generation, triggers=None)
    views = {
        (schema, name): body
        for schema, name, body in _rows(
            connection, f"SELECT TABLE_SCHEMA, TABLE_NAME, LEFT(VIEW_DEFINITION, {MAX_BODY + 1}) {_VIEWS}"
        )
    }
    routines = list(
        _rows(
            connection,
            "SELECT ROUTINE_TYPE, ROUTINE_SCHEMA, ROUTINE_NAME, SQL_MODE, ROUTINE_BODY, "
            f"LEFT(ROUTINE_DEFINITION, {MAX_BODY + 1}) {_ROUTINES}",
        )
    )
    triggers = None
    if sees_triggers(connection):
        body = f"LEFT(ACTION_STATEMENT, {MAX_BODY + 1})"
        triggers = [
            *_rows(
                connection, f"SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, SQL_MODE, {body} {_TRIGGERS}"
            ),
            *_rows(
                connection, f"SELECT TABLE_SCHEMA, TABLE_NAME, '', CONCAT('DO ', COLUMN_DEFAULT) {_DRAWING}"
            ),
        ]
    names = f"SELECT DISTINCT TABLE_SCHEMA, TABLE_NAME {_DEPENDENT}"
    dependent = set(_rows(connection, names))
    tables = _rows(connection, f"SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE {_TABLES}")
    return catalog.make(
        (
            (
                schema,
                name,
                OTHER if (schema, name) in dependent else _relation(kind, views.get((schema, name))),
            )
            for schema, name, kind in tables
        ),
        _routines(routines, "FUNCTION"),
        _routines(routines, "PROCEDURE"),
        None if triggers is None else _triggers(triggers),
        generation=generation,
        lower_case_table_names=int(row["folding"]),
        loadable=_loadable(connection),
    )


def _relation(kind: str, body: str | None) -> Relation:
    if kind in {"BASE TABLE", "SYSTEM VERSIONED"}:
        return catalog.table()
    return Relation(What.VIEW, _readable(body)) if kind == "VIEW" else OTHER


def _routines(rows: list[tuple[Any, ...]], wanted: str) -> Iterator[tuple[str, str, Routine]]:
    for kind, schema, name, sql_mode, language, body in rows:
        if kind == wanted:
            readable = _readable(body) if language == "SQL" else None
            yield schema, name, Routine(readable, _text(sql_mode))


def _triggers(rows: list[tuple[Any, ...]]) -> Iterator[tuple[str, str, Routine]]:
    for schema, table, sql_mode, body in rows:
        yield schema, table, Routine(_readable(body), _text(sql_mode))


def _readable(body: Any) -> str | None:
    """Empty without the right to see it."""
    text = _text(body)
    return text if 0 < len(text) <= MAX_BODY else None


def _loadable(connection: LimitedConnection) -> list[str] | None:
    """Names of loadable functions; None when the account may not see them."""
    try:
        return [_text(row["name"]) for row in connection.rows("SELECT name FROM mysql.func LIMIT 10000")]
    except pymysql.MySQLError as error:
        if isinstance(error, pymysql.OperationalError) and error.args[:1] != (1142,):
            raise
        return None


def _rows(connection: LimitedConnection, sql: str) -> Iterator[tuple[Any, ...]]:
    """The rows, as they come: they are many."""
    with connection.cursor(pymysql.cursors.SSCursor) as cursor:
        cursor.execute(f"{sql} LIMIT {MAX_NAMES}")
        yield from cursor


def _text(value: Any) -> str:
    return (
        value.decode("utf-8", "replace") if isinstance(value, bytes) else str("" if value is None else value)
    )
