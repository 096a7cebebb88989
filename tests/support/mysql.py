"""A MySQL source with a GTID replica, for what MariaDB does differently. Only the tests use it.

The programs come from $MYSQL97_DIR, from .cache/mysql97 of the checkout (tests/support/get_mysql.sh puts them
there) or from /opt/mysql97; the tests are skipped when none of them has bin/mysqld.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import pymysql.cursors
import pytest

from mysqlproxy.demo.guardian import Guardian
from mysqlproxy.demo.local import free_port

PASSWORD = "test-password-97"
START_SECONDS = 90.0
_SYSTEM = "('mysql', 'information_schema', 'performance_schema', 'sys')"
_ACCOUNTS = (
    f"CREATE USER app@'%' IDENTIFIED BY '{PASSWORD}'",
    "GRANT ALL ON app.* TO app@'%'",
    f"CREATE USER monitor@'%' IDENTIFIED BY '{PASSWORD}'",
    "GRANT REPLICATION CLIENT, SELECT, SHOW VIEW, TRIGGER ON *.* TO monitor@'%'",
    f"CREATE USER replication@'%' IDENTIFIED BY '{PASSWORD}'",
    "GRANT REPLICATION SLAVE ON *.* TO replication@'%'",
    "CREATE DATABASE app",
)


def find_mysql() -> Path:
    """The folder whose bin/ has mysqld; skips the test when there is none."""
    checkout = Path(__file__).parent.parent.parent
    for place in (os.environ.get("MYSQL97_DIR"), checkout / ".cache/mysql97", "/opt/mysql97"):
        if place and (Path(place) / "bin/mysqld").exists():
            return Path(place)
    pytest.skip("no MySQL server: set MYSQL97_DIR or run tests/support/get_mysql.sh .cache/mysql97")


@dataclass
class MysqlServer:
    """One of the two.

    Attributes:
        name: source or replica.
        port: on 127.0.0.1.
        socket: the unix socket's path.
    """

    name: str
    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def socket(self) -> str:
        return str(self.directory / "socket")

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def connect(self, user: str = "app", **options: Any) -> pymysql.Connection[Any]:
        """A PyMySQL connection, autocommit on; root by the unix socket and without a password."""
        place: dict[str, Any] = {"host": "127.0.0.1", "port": self.port, "password": PASSWORD}
        if user == "root":
            place = {"unix_socket": self.socket}
        defaults = {"user": user, "autocommit": True, "charset": "utf8mb4", "connect_timeout": 10}
        if not any(name.startswith("ssl") for name in options):
            defaults["ssl_disabled"] = (
                user == "root"
            )  # caching_sha2_password wants TLS or its own RSA exchange
        return pymysql.connect(**(place | defaults | options))

    def query(self, sql: str, args: Any = None, schema: str | None = None) -> list[dict[str, Any]]:
        """Run one statement as root; the rows by column name."""
        cursors: dict[str, Any] = {"cursorclass": pymysql.cursors.DictCursor, "database": schema}
        with self.connect("root", read_timeout=30, **cursors) as connection:
            cursor = connection.cursor()
            cursor.execute(sql, args)
            return list(cursor.fetchall())

    def value(self, sql: str, args: Any = None) -> Any:
        """The first column of the first row, None when there is no row."""
        rows = self.query(sql, args)
        return next(iter(rows[0].values())) if rows else None

    def kill(self) -> None:
        if self.process is not None and self.running:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


class MysqlPair:
    """A source and a replica with GTID positions. ``passwords`` by account: app, monitor, replication."""

    def __init__(self, program: Path, directory: Path) -> None:
        self._program = program
        self._guardian = Guardian(directory, ["source", "replica"])
        self.passwords = dict.fromkeys(("app", "monitor", "replication"), PASSWORD)
        ports: set[int] = set()
        self.servers: list[MysqlServer] = []
        for name in ("source", "replica"):
            port = free_port(ports)
            ports.add(port)
            self.servers.append(MysqlServer(name, directory / name, port))
        self.source, self.replica = self.servers
        self.manager, self.workers = self.source, [self.replica]

    def start(self) -> None:
        """Initialize, start both, replicate; returns when the replica has the accounts."""
        self.source.directory.mkdir()
        data = self.source.directory / "data"
        command = self._command("--initialize-insecure", f"--datadir={data}", "--innodb-redo-log-capacity=8M")
        subprocess.run(command, check=True, capture_output=True, timeout=START_SECONDS)
        shutil.copytree(self.source.directory, self.replica.directory)
        (self.replica.directory / "data/auto.cnf").unlink()  # holds server_uuid, one each
        for server in self.servers:
            self.start_server(server)
        for statement in _ACCOUNTS:
            self.source.query(statement)
        self.replica.query(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%s, "
            "SOURCE_USER='replication', SOURCE_PASSWORD=%s, SOURCE_AUTO_POSITION=1, "
            "GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1",
            (self.source.port, PASSWORD),
        )
        self.replica.query("START REPLICA")
        self.wait_in_sync()
        self.replica.query("SET GLOBAL read_only = ON")

    def start_server(self, server: MysqlServer, *options: str) -> None:
        """Start one (again), with more options, and return when it answers."""
        files = server.directory
        Path(server.socket).unlink(missing_ok=True)
        server.process = subprocess.Popen(
            self._command(
                f"--datadir={files / 'data'}",
                f"--socket={server.socket}",
                f"--pid-file={files / 'pid'}",
                f"--log-error={files / 'error.log'}",
                f"--general-log-file={files / 'general.log'}",
                f"--port={server.port}",
                f"--server-id={self.servers.index(server) + 1}",
                "--bind-address=127.0.0.1",
                "--mysqlx=OFF",
                "--performance-schema=OFF",
                "--innodb-buffer-pool-size=32M",
                "--innodb-redo-log-capacity=8M",
                "--innodb-flush-log-at-trx-commit=2",
                "--sync-binlog=0",
                "--log-bin=binlog",
                "--log-bin-trust-function-creators=ON",
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--secure-file-priv=",
                *options,
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            # Ask only when it is there: PyMySQL leaves its socket open when connect(2) fails.
            if Path(server.socket).exists():
                with contextlib.suppress(pymysql.MySQLError):
                    server.query("DO 1")
                    return
            if not server.running or time.monotonic() > deadline:
                log = (files / "error.log").read_text("utf-8", "replace")
                raise RuntimeError(f"MySQL's {server.name} does not start:\n{log[-2000:]}")
            time.sleep(0.05)

    def wait_in_sync(self, timeout: float = 20.0) -> None:
        """Return when the replica has applied all that the source wrote."""
        done = self.source.value("SELECT @@global.gtid_executed")
        if self.replica.value("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)", (done, timeout)) != 0:
            raise RuntimeError(f"the replica did not reach {done} within {timeout:g} s")

    def reset(self) -> None:
        """Drop all schemas and make an empty ``app``; other accounts than the pair's own go, too."""
        found = (
            f"SELECT SCHEMA_NAME AS name FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN {_SYSTEM}"
        )
        for row in self.source.query(found):
            self.source.query(f"DROP DATABASE `{row['name']}`")
        own = ("app", "monitor", "replication", "root")
        for row in self.source.query("SELECT user, host FROM mysql.user WHERE user NOT LIKE 'mysql.%%'", ()):
            if row["user"] not in own:
                self.source.query("DROP USER %s@%s", (row["user"], row["host"]))
        self.source.query("CREATE DATABASE app")
        self.wait_in_sync()

    def forget_errant_transactions(self) -> None:
        """Forget what a test wrote on the replica alone. No daemon may run: positions begin anew."""
        executed = self.source.value("SELECT @@global.gtid_executed")
        if not self.replica.value("SELECT GTID_SUBTRACT(@@global.gtid_executed, %s)", (executed,)):
            return
        self.replica.query("STOP REPLICA")
        for server in (self.replica, self.source):
            server.query("RESET BINARY LOGS AND GTIDS")
        self.replica.query("RESET REPLICA")
        self.replica.query("START REPLICA")
        self.reset()

    def stop(self) -> None:
        """End both and remove their files."""
        for server in self.servers:
            server.kill()
        self._guardian.finish()

    def _command(self, *arguments: str) -> list[str]:
        user = ["--user=root"] if os.geteuid() == 0 else []
        return [str(self._program / "bin/mysqld"), "--no-defaults", *user, *arguments]
