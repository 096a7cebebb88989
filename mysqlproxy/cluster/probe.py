"""Asks one server how it is: blocking, with a deadline, over one connection that is kept between probes.

Driven by a thread of ``cluster.monitor``. Judges nothing: a probe is a value (``observation.Probe``). Changes
nothing on the server, and never raises because of one.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import Any

import pymysql

from mysqlproxy.cluster.observation import (
    Facts,
    Failure,
    Probe,
    Source,
    filters,
    mariadb_facts,
    mysql_facts,
    read_source,
)
from mysqlproxy.cluster.pymysql_adapter import LimitedConnection
from mysqlproxy.config.schema import Server
from mysqlproxy.errors import ProxyError
from mysqlproxy.protocol.capabilities import LONG_PASSWORD

_COMMON = (
    "read_only",
    "server_id",
    "lower_case_table_names",
    "wait_timeout",
    "interactive_timeout",
    "init_connect",
    "autocommit",
    "max_allowed_packet",
    "sql_mode",
)
_MARIADB = (
    *_COMMON,
    "gtid_slave_pos",
    "gtid_binlog_pos",
    "gtid_binlog_state",
    "log_bin",
    "log_slave_updates",
)
_MYSQL = (*_COMMON, "super_read_only", "server_uuid", "gtid_mode", "gtid_executed")


def _select(names: tuple[str, ...], isolation: str) -> str:
    columns = [f"@@global.{name} AS {name}" for name in names]
    return f"SELECT {', '.join(columns)}, @@global.{isolation} AS isolation"


MARIADB_VARIABLES = _select(_MARIADB, "tx_isolation")
MYSQL_VARIABLES = _select(_MYSQL, "transaction_isolation")

NO_ANSWER = "no answer in time"

ER_PARSE_ERROR = 1064
ER_SPECIFIC_ACCESS_DENIED_ERROR = 1227


class Prober:
    """Probes one server. Not thread-safe but for ``abort``.

    Args:
        server: name, address and TLS are used.
        user, password: the monitor's account.
        timeout: seconds for one probe, connecting included.
    """

    def __init__(self, server: Server, user: str, password: str, timeout: float) -> None:
        self._server = server
        self._user = user
        self._password = password
        self._timeout = timeout
        self._connection: LimitedConnection | None = None
        self._booted = 0
        self._stopped = False
        self._replica_status = "SHOW REPLICA STATUS"
        self._log_filters: str | None = None

    def probe(self) -> Probe:
        """One probe, a failed one included."""
        started = time.monotonic()
        kept = self._connection is not None
        try:
            try:
                return self._ask(started)
            except Exception:
                if self._connection is not None and self._connection.aborted:
                    raise TimeoutError(NO_ANSWER) from None
                # A connection that was open before says nothing about the server as it is now.
                self.close()
                if not kept or time.monotonic() - started > self._timeout / 2:
                    raise
                return self._ask(started)
        except Exception as error:
            # Whatever a broken server makes PyMySQL stumble over (struct.error, AssertionError, ...).
            self.close()
            return Probe(started, time.monotonic(), failure_of(error), describe(error))

    def abort(self) -> None:
        """From another thread: let a probe that is under way fail soon."""
        connection = self._connection
        if connection is not None:
            connection.abort()

    def stop(self) -> None:
        """From another thread: ``abort``, and no new connection either."""
        self._stopped = True
        self.abort()

    def close(self) -> None:
        """Leave the server, politely where that needs no waiting."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.begin(0.5)
            with contextlib.suppress(Exception):
                connection.close()

    def _ask(self, started: float) -> Probe:
        connection = self._connected(started + self._timeout - time.monotonic())
        before = time.monotonic()
        connection.ping(reconnect=False)
        ping = time.monotonic() - before
        facts = self._facts(connection)
        return Probe(
            started,
            time.monotonic(),
            facts=facts,
            ping=ping,
            booted=self._booted,
        )

    def _connected(self, seconds: float) -> LimitedConnection:
        if self._connection is not None:
            self._connection.begin(seconds)
            return self._connection
        self._connection = LimitedConnection(self._server, self._user, self._password, seconds)
        if self._stopped:  # looked at after the connection can be found by ``abort``
            raise TimeoutError("stopped")
        self._connection.login()
        self._booted = _boot_time(self._connection)
        # Options of the server's start: they stay as long as the connection does.
        self._log_filters = self._read_log_filters(self._connection, "SHOW BINARY LOG STATUS")
        return self._connection

    def _facts(self, connection: LimitedConnection) -> Facts:
        greeting = connection.greeting
        version, flags = greeting.version, greeting.capabilities
        # The sources first: a position read after them is at least what their state says.
        if is_mariadb(version, flags):
            sources = self._sources(connection, "SHOW ALL SLAVES STATUS")
            [row] = connection.rows(MARIADB_VARIABLES)
            facts = mariadb_facts(row, sources, version, flags)
            return replace(facts, log_filters=self._log_filters)
        sources = self._sources(connection, self._replica_status)
        [row] = connection.rows(MYSQL_VARIABLES)
        facts = mysql_facts(row, sources, version, flags)
        return replace(facts, log_filters=self._log_filters)

    def _sources(self, connection: LimitedConnection, statement: str) -> tuple[Source, ...] | None:
        try:
            return tuple(read_source(row) for row in connection.rows(statement))
        except pymysql.MySQLError as error:
            if error.args[:1] == (ER_SPECIFIC_ACCESS_DENIED_ERROR,):
                return None
            if error.args[:1] == (ER_PARSE_ERROR,) and statement == "SHOW REPLICA STATUS":
                self._replica_status = "SHOW SLAVE STATUS"  # MySQL before 8.0.22
                return self._sources(connection, self._replica_status)
            raise

    def _read_log_filters(self, connection: LimitedConnection, statement: str) -> str | None:
        try:
            return ", ".join(filters(row, "binlog_") for row in connection.rows(statement))
        except pymysql.MySQLError as error:
            if error.args[:1] == (ER_SPECIFIC_ACCESS_DENIED_ERROR,):
                return None
            if error.args[:1] == (ER_PARSE_ERROR,) and statement == "SHOW BINARY LOG STATUS":
                return self._read_log_filters(connection, "SHOW MASTER STATUS")  # MySQL before 8.2, MariaDB
            raise


def _boot_time(connection: LimitedConnection) -> int:
    """When the server was started, by its own clock.

    Uptime is the statement's time less the start's, both in whole seconds: exact when the clock reads the same
    before and after. A start that comes out wrong on a very slow server looks like a restart, nothing worse.
    """
    booted = 0
    for _ in range(5):
        [before] = connection.rows("SELECT UNIX_TIMESTAMP() AS now")
        [uptime] = connection.rows("SHOW GLOBAL STATUS LIKE 'Uptime'")
        [after] = connection.rows("SELECT UNIX_TIMESTAMP() AS now")
        booted = int(after["now"]) - int(uptime["Value"])
        if before == after:
            break
    return booted


def is_mariadb(version: str, capabilities: int) -> bool:
    """Which kind of server sent this greeting; MariaDB clears the lowest flag, MySQL always sets it."""
    return "mariadb" in version.lower() or not capabilities & LONG_PASSWORD


def describe(error: BaseException) -> str:
    """An error in one line for the log, with the server's number where it has one."""
    arguments: tuple[Any, ...] = error.args
    if isinstance(error, pymysql.MySQLError) and len(arguments) > 1:
        return f"{arguments[1]} ({arguments[0]})"[:300]
    if isinstance(error, OSError | ProxyError | pymysql.MySQLError):
        return (str(error) or type(error).__name__)[:300]
    return f"its answers make no sense ({type(error).__name__}: {error})"[:300]


def failure_of(error: BaseException) -> Failure:
    """What matters of why a probe failed."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError | FileNotFoundError):
            return Failure.REFUSED
        cause = cause.__cause__
    return Failure.OTHER
