"""The API's way to its database: one PyMySQL connection per thread, made anew when it is lost.

Knows a host, a port, a user, a password, a database and the CA to trust, and nothing of what is behind the host.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pymysql
from pymysql.constants import CLIENT, CR, ER
from pymysql.cursors import DictCursor

RECONNECT_SECONDS = 5.0  # for how long a request waits for a database that refuses connections
ANSWER_SECONDS = 10.0
LOST = (pymysql.OperationalError, pymysql.InterfaceError)
AWAY = (CR.CR_CONN_HOST_ERROR, CR.CR_SERVER_LOST, ER.SERVER_SHUTDOWN)  # a moment later it may be there

SCHEMA = """
CREATE TABLE IF NOT EXISTS customers (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(100) NOT NULL,
    email VARCHAR(254) NOT NULL UNIQUE,
    phone VARCHAR(32) NULL,
    created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)
)
"""

T = TypeVar("T")
_thread = threading.local()


def connect() -> pymysql.Connection[DictCursor]:
    """A connection as CUSTOMERS_DB_HOST, _PORT, _USER, _PASSWORD, _DATABASE and _CA say."""
    setting = {name: os.environ[f"CUSTOMERS_DB_{name}"] for name in ("HOST", "USER", "PASSWORD", "DATABASE")}
    return pymysql.connect(
        host=setting["HOST"],
        port=int(os.environ.get("CUSTOMERS_DB_PORT", "3306")),
        user=setting["USER"],
        password=setting["PASSWORD"],
        database=setting["DATABASE"],
        charset="utf8mb4",
        autocommit=True,
        cursorclass=DictCursor,
        client_flag=CLIENT.FOUND_ROWS,  # an UPDATE that changes nothing has still found its row
        connect_timeout=5,
        read_timeout=ANSWER_SECONDS,
        write_timeout=ANSWER_SECONDS,
        ssl_ca=os.environ["CUSTOMERS_DB_CA"],
        ssl_verify_cert=True,
        ssl_verify_identity=True,
    )


def read(sql: str, args: tuple[Any, ...]) -> dict[str, Any] | None:
    """The first row of a query. Asked once more when the connection breaks: reading twice does no harm."""

    def one(cursor: DictCursor) -> dict[str, Any] | None:
        cursor.execute(sql, args)
        row: dict[str, Any] | None = cursor.fetchone()
        return row

    try:
        return _run(one)
    except LOST:
        return _run(one)


def write(sql: str, args: tuple[Any, ...]) -> tuple[int, int]:
    """Rows found or inserted, and the id of an insert. Never asked twice: it may have been done the first time."""

    def one(cursor: DictCursor) -> tuple[int, int]:
        return cursor.execute(sql, args), cursor.lastrowid or 0

    return _run(one)


def _run(work: Callable[[DictCursor], T]) -> T:
    connection = _connection()
    try:
        with connection.cursor() as cursor:
            return work(cursor)
    except LOST:
        _thread.connection = None  # whatever state it is in
        connection.close()
        raise


def _connection() -> pymysql.Connection[DictCursor]:
    connection = getattr(_thread, "connection", None)
    if connection is not None:
        try:
            connection.ping(reconnect=False)
            return connection
        except LOST:
            _thread.connection = None
    deadline = time.monotonic() + RECONNECT_SECONDS
    while True:
        try:
            _thread.connection = connection = connect()
            return connection
        except pymysql.OperationalError as error:
            if error.args[0] not in AWAY or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
