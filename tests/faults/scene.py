"""What the tests of failing servers share: who sees what, who runs what, and a statement that runs meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import mysql.connector
import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.demo.server import LocalServer
from tests.support.waiting import PATIENCE, eventually

FAST = {"interval": 0.1, "timeout": 0.8, "down_after": 2, "up_after": 1, "max_replica_lag": 3.0}
"""For [monitor]: a server that is gone is noticed within 0.2 s, a frozen one within 1.8 s."""

LOST = (1927, 2006, 2013, 2055)  # what the last ERR says, and what clients say of a closed connection


def managers(daemon: Daemon) -> set[str]:
    """Whom the daemon gives the writes."""
    return _with_one(daemon, "mysqlproxy_server_manager")


def readers(daemon: Daemon) -> set[str]:
    """Whom the daemon gives the reads."""
    return _with_one(daemon, "mysqlproxy_server_readable")


def _with_one(daemon: Daemon, name: str) -> set[str]:
    return {labels["server"] for labels, value in daemon.metrics()[name] if value}


def await_view(daemon: Daemon, *, manager: str = "manager", reading: set[str] | None = None) -> None:
    """Until the daemon sees this manager ("": none) and, unless None, exactly these readers."""
    wanted = {manager} - {""}
    eventually(lambda: managers(daemon) == wanted, what=f"manager {manager!r}")
    if reading is not None:
        eventually(lambda: readers(daemon) == reading, what=f"readers {reading}")


def await_reads(daemon: Daemon, cluster: LocalCluster) -> Daemon:
    """Until the daemon knows that ``t`` is a table, whose reads any worker may take. Returns the daemon."""

    def on_a_worker() -> bool:
        with daemon.connect(database="app") as client:  # a new one each time: it has seen nothing yet
            ask(client, "SELECT 1 FROM t LIMIT 0")
        return bool(set(served_by(cluster, "SELECT 1 FROM t LIMIT 0")) - {"manager"})

    eventually(on_a_worker, what="reads go to workers")
    return daemon


def served_by(cluster: LocalCluster, pattern: str) -> dict[str, int]:
    """Server -> how many statements that match it ran for clients, by their own logs; none are left out."""
    counts = {server.name: len(server.served(pattern)) for server in cluster.servers}
    return {name: count for name, count in counts.items() if count}


def running(server: LocalServer, text: str) -> list[int]:
    """The ids of the threads of clients that run a statement with ``text`` now, by the server's process list."""
    rows = server.query(
        "SELECT ID AS id FROM information_schema.PROCESSLIST WHERE USER = 'app' AND INFO LIKE %s",
        (f"%{text}%",),
    )
    return [row["id"] for row in rows]


def await_running(cluster: LocalCluster, text: str) -> LocalServer:
    """The server that runs a client's statement with ``text``, once it does."""

    def found() -> list[LocalServer]:
        return [server for server in cluster.servers if server.running and running(server, text)]

    return eventually(found, what=f"a server that runs {text}")[0]


def threads(server: LocalServer) -> list[int]:
    """The ids of all threads of clients."""
    rows = server.query("SELECT ID AS id FROM information_schema.PROCESSLIST WHERE USER = 'app'")
    return [row["id"] for row in rows]


def unbuffered(daemon: Daemon) -> Any:
    """A client of mysql-connector, which reads a result row by row and has prepared statements."""
    return mysql.connector.connect(
        host="127.0.0.1",
        port=daemon.port,
        user="app",
        password=daemon.config["users"][0]["password"],
        database="app",
        use_pure=True,
        ssl_disabled=True,
        autocommit=True,
    )


def ask(connection: pymysql.Connection[Any], sql: str) -> tuple[tuple[Any, ...], ...]:
    """Run one statement; its rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        rows: tuple[tuple[Any, ...], ...] = cursor.fetchall()
        return rows


class Meanwhile:
    """A statement that runs in a thread of its own."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self._call, self._arguments = call, arguments
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call(*self._arguments)
        except BaseException as error:
            self._error = error

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self, timeout: float = PATIENCE) -> Any:
        """What it returned; raises what it raised."""
        self._thread.join(timeout)
        assert self.done, f"not within {timeout:g} s"
        if self._error is not None:
            raise self._error
        return self._value


def assert_closed(
    connection: pymysql.Connection[Any], cluster: LocalCluster, mark: str = "afterwards"
) -> None:
    """The client is told that its connection is gone, and what it asks then reaches no server."""
    with pytest.raises(pymysql.MySQLError) as caught:
        ask(connection, f"INSERT INTO t VALUES (99) /* {mark} */")
    assert caught.value.args[0] in (0, *LOST), caught.value
    with pytest.raises(pymysql.MySQLError):
        ask(connection, f"SELECT a FROM t /* {mark} */")
    assert served_by(cluster, mark) == {}
