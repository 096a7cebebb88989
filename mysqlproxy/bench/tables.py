"""The tables that the statements read and write: sysbench's, and one with many columns.

Called by ``bench.site``. They are made before the daemon starts: a name that is new to it counts as no plain read
for a moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pymysql

from mysqlproxy.bench.backend import Backend
from mysqlproxy.bench.errors import BenchError, Interrupted
from mysqlproxy.bench.plan import TABLE_SIZE, TABLES, WIDE_COLUMNS, WIDE_TABLE
from mysqlproxy.bench.sysbench import Login, Sysbench

SYNC_SECONDS = 60.0


def connect(login: Login) -> pymysql.Connection[Any]:
    """A PyMySQL connection, autocommit on."""
    return pymysql.connect(
        host=login.host,
        port=login.port,
        user=login.user,
        password=login.password,
        database=login.schema,
        autocommit=True,
        connect_timeout=10,
        ssl_disabled=True,
    )


def refuse_existing(manager: Login) -> None:
    """BenchError when a table of these names is there already: it is somebody's, and must not be dropped."""
    with connect(manager) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW TABLES")
        there = {row[0] for row in cursor.fetchall()} & set(_names())
    if there:
        raise BenchError(
            f"{manager.schema} has {', '.join(sorted(there))} already; drop what an earlier benchmark left, or "
            "name another schema with --schema"
        )


def create(backend: Backend, sysbench: Sysbench, cancelled: Callable[[], bool]) -> None:
    """Make them at the manager and wait until every worker has them.

    Raises:
        BenchError: a worker does not follow.
        Interrupted: ``cancelled`` said so.
    """
    sysbench.prepare(backend.manager, TABLES, TABLE_SIZE)
    with connect(backend.manager) as connection, connection.cursor() as cursor:
        columns = ", ".join(f"c{n} INT NOT NULL" for n in range(WIDE_COLUMNS))
        cursor.execute(f"CREATE TABLE {WIDE_TABLE} ({columns})")
        values = ", ".join(map(str, range(WIDE_COLUMNS)))
        cursor.execute(f"INSERT INTO {WIDE_TABLE} VALUES ({values})")  # noqa: S608 - numbers
    deadline = time.monotonic() + SYNC_SECONDS
    for worker in backend.workers:
        while not _follows(worker):
            if cancelled():
                raise Interrupted
            if time.monotonic() > deadline:
                raise BenchError(
                    f"{worker.host}:{worker.port} does not replicate the tables from the manager"
                )
            time.sleep(0.1)


def drop(backend: Backend) -> None:
    """Drop them at the manager."""
    with connect(backend.manager) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {', '.join(_names())}")


def _names() -> list[str]:
    return [WIDE_TABLE, *(f"sbtest{n}" for n in range(1, TABLES + 1))]


def _follows(worker: Login) -> bool:
    try:
        with connect(worker) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {WIDE_TABLE}")  # noqa: S608 - a constant
            return bool(cursor.fetchall() == ((1,),))
    except pymysql.ProgrammingError:  # no such table yet
        return False
