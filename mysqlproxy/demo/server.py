"""One MariaDB server of the local cluster: its process, its files, its connections.

Made by ``LocalCluster``. Tests stop, kill, pause and ask it. Knows nothing of the other servers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pymysql
import pymysql.cursors

from mysqlproxy.demo.errors import LocalClusterError
from mysqlproxy.demo.general_log import Entry, GeneralLog
from mysqlproxy.demo.install import Installation
from mysqlproxy.demo.network import Host

READY_SECONDS = 60.0
QUERY_SECONDS = 30.0
_SOCKET_PATH_BYTES = 107  # sun_path of unix(7), less the NUL
_OWN = frozenset({"root", "monitor", "replication"})


class LocalServer:
    """A server on 127.0.0.1, or on a host of its own (``demo.network``), where only root's socket leads from here.

    Attributes:
        name: manager, worker1, ...
        host, port, address: of TCP; address is "127.0.0.1:port".
        socket: the unix socket's path.
        directory: holds data/, tmp/, error.log, general.log, pid and the socket.
        general_log: the reader of its general log.
    """

    def __init__(
        self,
        *,
        installation: Installation,
        directory: Path,
        name: str,
        server_id: int,
        port: int,
        passwords: Mapping[str, str],
        settings: Mapping[str, str],
        host: Host | None = None,
    ) -> None:
        self.name = name
        self.server_id = server_id
        self.port = port
        self._host = host
        self.host = "127.0.0.1" if host is None else host.address
        self.address = f"{self.host}:{port}"
        self.directory = directory
        self.socket = str(directory / "socket")
        if len(os.fsencode(self.socket)) > _SOCKET_PATH_BYTES:
            raise LocalClusterError(
                f"{self.socket} is too long for a unix socket; give a directory with a short name"
            )
        self.general_log = GeneralLog(directory / "general.log")
        self._installation = installation
        self._passwords = passwords
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._asking: pymysql.Connection[Any] | None = None
        self._paused = False

    @property
    def pid(self) -> int:
        """Of the last process started; 0 when there was none."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, timeout: float = READY_SECONDS) -> None:
        """Start it (again) and return when it answers; LocalClusterError quotes its error log otherwise."""
        self.spawn()
        self.wait_ready(timeout)

    def spawn(self) -> None:
        """Start the process and return at once."""
        if self.running:
            return
        (self.directory / "socket").unlink(missing_ok=True)
        self._paused = False
        # A session of its own: Ctrl-C at the terminal is for the program, which stops the servers in order.
        with contextlib.nullcontext() if self._host is None else self._host.inside():
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd=self.directory,
            )

    def ready(self) -> bool:
        """Whether it answers now; LocalClusterError when its process has ended."""
        if not self.running:
            raise self.failure("ended while it was starting")
        try:
            self.connect(user="root", connect_timeout=2, read_timeout=2).close()
        except pymysql.MySQLError:
            return False
        return True

    def wait_ready(self, timeout: float = READY_SECONDS) -> None:
        deadline = time.monotonic() + timeout
        while not self.ready():
            if time.monotonic() > deadline:
                raise self.failure(f"did not answer within {timeout:g} s")
            time.sleep(0.02)

    def failure(self, what: str) -> LocalClusterError:
        """An error that quotes the end of the server's error log."""
        try:
            lines = (self.directory / "error.log").read_text("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        telling = [line for line in lines if "[ERROR]" in line] or lines
        text = "\n".join(telling)
        if "Address already in use" in text:
            what += f": port {self.port} on 127.0.0.1 is in use"
        elif "No space left on device" in text or "OS error: 28" in text:
            what += ": no disk space is left"
        quoted = ["; its error log ends with:", *telling[-5:]] if telling else ["; its error log is empty"]
        return LocalClusterError(
            f"the server {self.name} {what}{quoted[0]}" + "".join(f"\n  {q}" for q in quoted[1:])
        )

    def terminate(self, wait: bool = True) -> None:
        """SIGTERM: an orderly shutdown."""
        self.resume()
        self._signal(signal.SIGTERM)
        if wait:
            self.wait_ended(READY_SECONDS)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._signal(signal.SIGKILL)
        self._paused = False
        self.wait_ended(READY_SECONDS)

    def pause(self) -> None:
        """SIGSTOP: the kernel still accepts connections, nobody answers."""
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        if self._paused:
            self._signal(signal.SIGCONT)
            self._paused = False

    def wait_ended(self, timeout: float) -> bool:
        """Whether the process ended within ``timeout`` seconds."""
        if self._process is not None:
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                return False
        return True

    def connect(self, user: str = "app", **options: Any) -> pymysql.Connection[Any]:
        """A PyMySQL connection, autocommit on; root by the unix socket, everybody else by TCP."""
        place: dict[str, Any] = {"host": "127.0.0.1", "port": self.port}
        if user == "root":
            place = {"unix_socket": self.socket}
        defaults: dict[str, Any] = {
            "user": user,
            "password": self._passwords.get(user, ""),
            "autocommit": True,
            "charset": "utf8mb4",
            "connect_timeout": 10,
        }
        if not any(name.startswith("ssl") for name in options):
            # PyMySQL would load all certificates of the machine for each connection: 20 ms.
            defaults["ssl_disabled"] = True
        arguments = place | defaults | options
        if "unix_socket" not in arguments:
            return pymysql.connect(**arguments)
        # PyMySQL leaves its socket open when connect(2) fails on a unix socket.
        connection = pymysql.connect(**arguments, defer_connect=True)
        unix = socket.socket(socket.AF_UNIX)
        unix.settimeout(arguments["connect_timeout"])
        try:
            unix.connect(arguments["unix_socket"])
        except OSError as error:
            unix.close()
            raise pymysql.OperationalError(2002, f"{self.name} cannot be reached: {error}") from error
        connection.connect(unix)
        return connection

    def query(
        self, sql: str, args: Sequence[Any] | None = None, schema: str | None = None
    ) -> list[dict[str, Any]]:
        """Run one statement as root on a connection of its own; the rows by column name."""
        if schema is not None or self._asking is None:
            with self._root(schema) as connection:
                return _rows(connection, sql, args)
        return _rows(self._asking, sql, args)

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Within, ``query`` asks on one connection: many small questions are answered in half the time."""
        with self._root() as self._asking:
            try:
                yield
            finally:
                self._asking = None

    def _root(self, schema: str | None = None) -> pymysql.Connection[Any]:
        return self.connect(
            "root",
            cursorclass=pymysql.cursors.DictCursor,
            read_timeout=QUERY_SECONDS,
            write_timeout=QUERY_SECONDS,
            database=schema,
        )

    def value(self, sql: str, args: Sequence[Any] | None = None, schema: str | None = None) -> Any:
        """The first column of the first row, None when there is no row."""
        rows = self.query(sql, args, schema)
        return next(iter(rows[0].values())) if rows else None

    def replicating(self) -> bool:
        """Whether both replication threads run."""
        rows = self.query("SHOW SLAVE STATUS")
        return bool(rows) and rows[0]["Slave_IO_Running"] == rows[0]["Slave_SQL_Running"] == "Yes"

    def log_to(self, enabled: bool) -> None:
        """Switch the general log on or off."""
        self.query("SET GLOBAL general_log = %s", (int(enabled),))

    def served(
        self, pattern: str = "", commands: frozenset[str] = frozenset({"Query", "Execute"})
    ) -> list[Entry]:
        """What clients asked of this server since ``general_log.mark``, by its own general log.

        Args:
            pattern: a regular expression searched in the statement, case ignored.
            commands: as the log names them: Query, Prepare, Execute, Init DB, Connect, Quit, ...

        The accounts root, monitor and replication are left out.
        """
        found = self.general_log.matching(pattern)
        return [entry for entry in found if entry.user not in _OWN and entry.command in commands]

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            assert self._process is not None
            self._process.send_signal(number)

    def _command(self) -> list[str]:
        files = self.directory
        options = {
            "datadir": str(files / "data"),
            "tmpdir": str(files / "tmp"),
            "socket": self.socket,
            "pid_file": str(files / "pid"),
            "log_error": str(files / "error.log"),
            "general_log_file": str(files / "general.log"),
            "bind_address": self.host,
            "port": str(self.port),
            "server_id": str(self.server_id),
            "log_bin": "binlog",
            "relay_log": "relay",
            "log_slave_updates": "ON",
            "gtid_strict_mode": "ON",
            "log_bin_trust_function_creators": "ON",
            "log_disabled_statements": "slave,sp",  # what replication applies was asked by no client
            "character_set_server": "utf8mb4",
            "collation_server": "utf8mb4_general_ci",
            "skip_name_resolve": "ON",
            "max_connections": "500",
            "max_allowed_packet": "64M",
            "slave_net_timeout": "5",
            "innodb_flush_log_at_trx_commit": "2",
            "sync_binlog": "0",
            "secure_file_priv": str(files / "tmp"),
        } | {name.replace("-", "_"): value for name, value in self._settings.items()}
        return self._installation.command(
            *(f"--{name.replace('_', '-')}={value}" for name, value in options.items())
        )


def _rows(connection: pymysql.Connection[Any], sql: str, args: Sequence[Any] | None) -> list[dict[str, Any]]:
    cursor = connection.cursor()
    cursor.execute(sql, args)
    return list(cursor.fetchall())
