"""The applications' way to their database: one PyMySQL connection per thread, made anew when it is lost.

Knows a host, a port, a user, a password, a database and the CA to trust, as of any managed MySQL, and nothing of what
is behind the host.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pymysql
from pymysql.constants import CLIENT, CR, ER
from pymysql.cursors import DictCursor

RECONNECT_SECONDS = 15.0  # how long a request waits for a database that refuses connections
ANSWER_SECONDS = 10.0
LOST = (pymysql.OperationalError, pymysql.InterfaceError)
AWAY = (CR.CR_CONN_HOST_ERROR, CR.CR_SERVER_LOST, ER.SERVER_SHUTDOWN)  # a moment later it may be there

T = TypeVar("T")


class Database:
    """For all threads of a process.

    Args:
        environment: DB_HOST, DB_PORT, DB_USER, DB_PASSWORD, DB_DATABASE, and DB_CA, a file.

    Raises:
        pymysql.OperationalError, pymysql.InterfaceError: from every method; it did not answer.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        names = ("host", "user", "password", "database")
        self._settings: dict[str, Any] = {name: environment[f"DB_{name.upper()}"] for name in names}
        self._settings["port"] = int(environment.get("DB_PORT", "3306"))
        self._settings["ssl_ca"] = environment["DB_CA"]
        self._thread = threading.local()

    def read(self, sql: str, args: tuple[Any, ...]) -> dict[str, Any] | None:
        """The first row of a query. Asked once more when the connection breaks: reading twice does no harm."""

        def one(cursor: DictCursor) -> dict[str, Any] | None:
            cursor.execute(sql, args)
            row: dict[str, Any] | None = cursor.fetchone()
            return row

        try:
            return self._run(one)
        except LOST:
            return self._run(one)

    def write(self, sql: str, args: tuple[Any, ...]) -> tuple[int, int]:
        """Rows found or inserted, and the id of an insert. Never asked twice: it may have been done."""
        return self._run(lambda cursor: (cursor.execute(sql, args), cursor.lastrowid or 0))

    def _run(self, work: Callable[[DictCursor], T]) -> T:
        connection = self._connection()
        try:
            with connection.cursor() as cursor:
                return work(cursor)
        except LOST:
            self._thread.connection = None  # whatever state it is in
            if connection.open:
                connection.close()
            raise

    def _connection(self) -> pymysql.Connection[DictCursor]:
        connection: pymysql.Connection[DictCursor] | None = getattr(self._thread, "connection", None)
        if connection is not None:
            try:
                connection.ping(reconnect=False)
                return connection
            except LOST:
                self._thread.connection = None
        deadline = time.monotonic() + RECONNECT_SECONDS
        while True:
            try:
                self._thread.connection = connection = self._connect()
                return connection
            except pymysql.OperationalError as error:
                if error.args[0] not in AWAY or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _connect(self) -> pymysql.Connection[DictCursor]:
        return pymysql.connect(
            **self._settings,
            charset="utf8mb4",
            autocommit=True,
            cursorclass=DictCursor,
            client_flag=CLIENT.FOUND_ROWS,  # an UPDATE that changes nothing has still found its row
            connect_timeout=5,
            read_timeout=ANSWER_SECONDS,
            write_timeout=ANSWER_SECONDS,
            ssl_verify_cert=True,
            ssl_verify_identity=True,
        )
