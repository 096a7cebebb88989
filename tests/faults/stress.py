"""Random clients that know what they must see: each checks that it only ever sees its own state.

Reproducible as far as clients that run at once can be: one seed decides what each of them asks, in which order.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import mysql.connector
import pymysql

from mysqlproxy.demo.daemon import Daemon

# What may happen to a client here that does nothing wrong: killed, no connection in time, a lock not in time; -1 is
# what mysql-connector says of a connection that is gone.
_MAY_HAPPEN = frozenset((1317, 1927, 1040, 1205, 1213, 2006, 2013, 2055, -1, 0))
_ZONES = [f"+{hour:02}:{minute:02}" for hour in range(12) for minute in (0, 15, 30, 45)]


class Wrong(AssertionError):
    """A client saw what it must not see."""


class Client:
    """One client with one session at a time, of PyMySQL or, for binary prepared statements, mysql-connector."""

    def __init__(self, daemon: Daemon, number: int, seed: int) -> None:
        self.number = number
        self.random = random.Random(f"{seed}/{number}")
        self.statements = 0
        self.sessions = 0
        self.allowed: dict[int, int] = {}
        self._daemon = daemon
        self._binary = number % 3 == 0
        self._connection: Any = None
        self._counter: int | None = None  # None: a write's outcome is not known
        self._zone = ""
        self._temporary = False
        self._open = False
        self.thread_id = 0

    # --- one session ------------------------------------------------------------------------------------------

    def connect(self) -> None:
        password = self._daemon.config["users"][0]["password"]
        place = {"host": "127.0.0.1", "port": self._daemon.port, "user": "app", "password": password}
        if self._binary:
            self._connection = mysql.connector.connect(
                **place, database="app", use_pure=True, ssl_disabled=True, autocommit=True
            )
            self.thread_id = self._connection.connection_id
        else:
            self._connection = pymysql.connect(
                **place, database="app", autocommit=True, ssl_disabled=True, read_timeout=30
            )
            self.thread_id = self._connection.thread_id()
        self.sessions += 1
        self._zone, self._temporary, self._open = "", False, False
        self._counter = None  # another session may read from a worker that has not heard of it yet

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        self.statements += 1
        options = {"prepared": True} if self._binary and values else {}
        cursor = self._connection.cursor(**options)
        try:
            cursor.execute(sql, values or None)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
        finally:
            cursor.close()

    def check(self, what: str, seen: object, wanted: object) -> None:
        if seen != wanted:
            raise Wrong(
                f"client {self.number}, statement {self.statements}: {what}: {seen!r}, not {wanted!r}"
            )

    def leave(self) -> None:
        """By the front door or through the window."""
        if self._connection is None:
            return
        sock = self._connection._socket.sock if self._binary else self._connection._sock
        if self.random.random() < 0.5:
            try:
                self._connection.close()
            except (pymysql.MySQLError, mysql.connector.Error, OSError):
                pass
        if sock is not None:
            sock.close()
        self._connection = None

    # --- what it does -----------------------------------------------------------------------------------------

    def count(self) -> None:
        """Its own row, one more each time; what it reads afterwards is never behind that."""
        known, self._counter = self._counter, None
        self.ask("UPDATE counters SET n = n + 1 WHERE client = %s", self.number)
        if known is not None:
            known += 1
            self.check(
                "its own write", self.ask("SELECT n FROM counters WHERE client = %s", self.number), [(known,)]
            )
        else:
            known = self.ask("SELECT n FROM counters WHERE client = %s", self.number)[0][0]
        self._counter = known

    def read(self) -> None:
        rows = self.ask("SELECT n FROM counters WHERE client = %s", self.number)
        if self._counter is not None:
            self.check("its counter", rows, [(self._counter,)])

    def set_zone(self) -> None:
        self._zone = self.random.choice(_ZONES)
        self.ask(f"SET time_zone = '{self._zone}'")

    def read_zone(self) -> None:
        if self._zone:
            self.check("its time zone", self.ask("SELECT @@time_zone"), [(self._zone,)])
            hours, minutes = self._zone[1:].split(":")
            rows = self.ask(
                "SELECT DATE_FORMAT(FROM_UNIXTIME(0), '%k %i') AS t FROM counters WHERE client = 1"
            )
            self.check("its time on a worker", rows, [(f"{int(hours)} {minutes}",)])

    def temporary(self) -> None:
        if not self._temporary:
            self.ask("CREATE TEMPORARY TABLE mine (client INT)")
            self._temporary = True
            self.ask("INSERT INTO mine VALUES (%s)", self.number)
        self.check("its temporary table", self.ask("SELECT client FROM mine"), [(self.number,)])

    def variable(self) -> None:
        self.ask("SET @me = %s", self.number)
        self.read()
        self.check("its user variable", self.ask("SELECT @me + 0")[0][0], self.number)

    def insert(self) -> None:
        self.ask("INSERT INTO ids (client) VALUES (%s)", self.number)
        number = self.ask("SELECT LAST_INSERT_ID()")[0][0]
        self.check(
            "whose id that is", self.ask("SELECT client FROM ids WHERE id = %s", number), [(self.number,)]
        )
        self.check("its last insert id", self.ask("SELECT LAST_INSERT_ID()"), [(number,)])

    def transaction(self) -> None:
        known, self._counter = self._counter, None
        self.ask("BEGIN")
        before = self.ask("SELECT n FROM counters WHERE client = %s", self.number)[0][0]
        if known is not None:
            self.check("its counter in a transaction", before, known)
        self.ask("UPDATE counters SET n = n + 1 WHERE client = %s", self.number)
        if self.random.random() < 0.3:
            time.sleep(self.random.random() * 0.02)
        inside = self.ask("SELECT n FROM counters WHERE client = %s", self.number)
        self.check("its open transaction", inside, [(before + 1,)])
        if self.random.random() < 0.5:
            self.ask("COMMIT")
            self._counter = before + 1
        else:
            self.ask("ROLLBACK")
            self._counter = before
        self.read()

    def no_autocommit(self) -> None:
        self.ask("SET autocommit = 0")
        known, self._counter = self._counter, None
        self.ask("UPDATE counters SET n = n + 1 WHERE client = %s", self.number)
        self.ask("SET autocommit = 1")
        self._counter = None if known is None else known + 1
        self.read()

    def warn(self) -> None:
        rows = self.ask(f"SELECT CAST('{self.number}x' AS UNSIGNED) AS c")
        self.check("its number", rows, [(self.number,)])
        text = self.ask("SHOW WARNINGS")
        self.check("its warning", [f"'{self.number}x'" in row[2] for row in text], [True])

    def many_rows(self) -> None:
        size = self.random.randrange(1, 3000)
        rows = self.ask(f"SELECT {self.number} AS me, seq FROM seq_1_to_{size}")
        self.check("its rows", (len(rows), {row[0] for row in rows}), (size, {self.number}))

    def be_slow(self) -> None:
        self.ask(f"SELECT SLEEP({self.random.random() * 0.05:.3f})")

    def connection_id(self) -> None:
        self.check("its connection id", self.ask("SELECT CONNECTION_ID()"), [(self.thread_id,)])

    def reset(self) -> None:
        if self._binary:
            self._connection.cmd_reset_connection()
            self._zone, self._temporary = "", False
            self.check("its time zone after a reset", self.ask("SELECT @@session.time_zone"), [("SYSTEM",)])

    def step(self) -> None:
        actions, weights = zip(*_ACTIONS, strict=True)
        self.random.choices(actions, weights)[0](self)

    # --- until the end ----------------------------------------------------------------------------------------

    def run(self, until: float, stop: threading.Event) -> None:
        while time.monotonic() < until and not stop.is_set():
            try:
                if self._connection is None:
                    self.connect()
                for _ in range(self.random.randrange(1, 20)):
                    self.step()
                if self.random.random() < 0.3:
                    self.leave()
                elif self.random.random() < 0.3:
                    time.sleep(self.random.random() * 0.05)
            except Wrong:
                stop.set()
                raise
            except (pymysql.MySQLError, mysql.connector.Error, OSError) as error:
                self._allowed(error)
                self.leave()
        self.leave()

    def _allowed(self, error: Exception) -> None:
        number = (
            error.errno if isinstance(error, mysql.connector.Error) else error.args[0] if error.args else 0
        )
        if not isinstance(error, OSError) and number not in _MAY_HAPPEN:
            raise Wrong(f"client {self.number}, statement {self.statements}: {error!r}") from error
        number = number if isinstance(number, int) else 0
        self.allowed[number] = self.allowed.get(number, 0) + 1


_ACTIONS: tuple[tuple[Callable[[Client], None], int], ...] = (
    (Client.count, 6),
    (Client.read, 10),
    (Client.set_zone, 2),
    (Client.read_zone, 5),
    (Client.temporary, 1),
    (Client.variable, 2),
    (Client.insert, 4),
    (Client.transaction, 4),
    (Client.no_autocommit, 1),
    (Client.warn, 2),
    (Client.many_rows, 2),
    (Client.be_slow, 2),
    (Client.connection_id, 1),
    (Client.reset, 1),
)


class Vanishing:
    """Clients that send something and are gone before it is answered."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self.random = random.Random(f"{seed}/vanishing")
        self._daemon = daemon
        self.times = 0

    def run(self, until: float, stop: threading.Event) -> None:
        statements = (
            "SELECT SLEEP(5)",
            "BEGIN",
            "UPDATE counters SET n = n WHERE client = 1",
            "SELECT 1",
            "SET @a = 1",
        )
        while time.monotonic() < until and not stop.is_set():
            try:
                connection: Any = self._daemon_connect()
                for _ in range(self.random.randrange(4)):
                    connection._execute_command(3, self.random.choice(statements))
                    if self.random.random() < 0.5:
                        time.sleep(self.random.random() * 0.01)
                    connection._next_seq_id = 0
                    connection._result = None
                connection._sock.close()
                connection._sock = None
                self.times += 1
            except (pymysql.MySQLError, OSError):
                time.sleep(0.01)

    def _daemon_connect(self) -> Any:
        password = self._daemon.config["users"][0]["password"]
        return pymysql.connect(
            host="127.0.0.1",
            port=self._daemon.port,
            user="app",
            password=password,
            database="app",
            ssl_disabled=True,
        )


class Killer:
    """Somebody who kills what any of the clients runs."""

    def __init__(self, daemon: Daemon, clients: list[Client], seed: int) -> None:
        self.random = random.Random(f"{seed}/killer")
        self._daemon = daemon
        self._clients = clients
        self.times = 0

    def run(self, until: float, stop: threading.Event) -> None:
        password = self._daemon.config["users"][0]["password"]
        connection = pymysql.connect(
            host="127.0.0.1", port=self._daemon.port, user="app", password=password, ssl_disabled=True
        )
        with connection:
            while time.monotonic() < until and not stop.is_set():
                what = "QUERY" if self.random.random() < 0.7 else "CONNECTION"
                try:
                    with connection.cursor() as cursor:
                        cursor.execute(f"KILL {what} {self.random.choice(self._clients).thread_id}")
                    self.times += 1
                except pymysql.MySQLError as error:
                    if error.args[0] != 1094:
                        raise Wrong(f"the killer: {error!r}") from error
                time.sleep(self.random.random() * 0.1)


def storm(daemon: Daemon, clients: int, seconds: float, seed: int) -> dict[str, Any]:
    """Run all of them at once; what they did. The first AssertionError of any is raised."""
    stop = threading.Event()
    until = time.monotonic() + seconds
    crowd = [Client(daemon, number, seed) for number in range(1, clients + 1)]
    killer, vanishing = Killer(daemon, crowd, seed), Vanishing(daemon, seed)
    errors: list[BaseException] = []

    def guarded(work: Client | Killer | Vanishing) -> None:
        try:
            work.run(until, stop)
        except BaseException as error:
            errors.append(error)
            stop.set()

    threads = [
        threading.Thread(target=guarded, args=(work,), daemon=True) for work in (*crowd, killer, vanishing)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()) + 40.0)
        assert not thread.is_alive(), f"{thread} hangs"
    if errors:
        raise errors[0]
    allowed: dict[int, int] = {}
    for client in crowd:
        for number, times in client.allowed.items():
            allowed[number] = allowed.get(number, 0) + times
    return {
        "statements": sum(client.statements for client in crowd),
        "sessions": sum(client.sessions for client in crowd),
        "kills": killer.times,
        "vanished": vanishing.times,
        "allowed": allowed,
    }
