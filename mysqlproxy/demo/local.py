"""A cluster of MariaDB servers on this machine: one manager, N workers, GTID replication between them.

Used by ``mysqlproxy demo``, ``mysqlproxy bench`` and the tests. Every file lives below one directory and
every port is an unprivileged one on 127.0.0.1; a database server that the machine already runs is left alone.
``reset`` gives the tests a cluster as good as new. Never used by the daemon itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pymysql

from mysqlproxy.demo import state
from mysqlproxy.demo.errors import LocalClusterError
from mysqlproxy.demo.guardian import Guardian
from mysqlproxy.demo.install import Installation, make_template
from mysqlproxy.demo.network import Host
from mysqlproxy.demo.server import LocalServer

START_SECONDS = 60.0  # for all servers together; a second or two on an idle machine
STOP_SECONDS = 10.0
BYTES_PER_SERVER = 100 * 1024 * 1024
BYTES_LEFT = 1024 * 1024  # with less than that the disk is full

ACCOUNTS = {
    "root": ("localhost", "ALL PRIVILEGES ON *.*", " WITH GRANT OPTION"),
    # SHOW SLAVE STATUS and SHOW MASTER STATUS show roles, lag and positions; the others the bodies of views, stored
    # functions and triggers.
    "monitor": ("127.0.0.1", "SLAVE MONITOR, BINLOG MONITOR, SELECT, SHOW VIEW, TRIGGER ON *.*", ""),
    "replication": ("127.0.0.1", "REPLICATION SLAVE ON *.*", ""),
    "app": ("%", "ALL PRIVILEGES ON `app`.*", ""),
}


class LocalCluster:
    """One manager and its workers, started and stopped together.

    Args:
        directory: where everything goes; made when missing. ``stop`` removes what the cluster made there.
        workers: how many replicas.
        ports: the manager's and the workers', in this order; free ones are taken when None.
        progress: told in a few words what is being done.
        options: more server variables for every server, as in ``{"max_connections": "50"}``.
        general_log: whether the servers keep their general log from the start (see ``LocalServer.served``).
        hosts: by server's name, where each runs; on 127.0.0.1 without. Each has ``ports`` of its own.
        origins: by account, from where it may log in, where that differs from ``ACCOUNTS``.
        folders: names of more folders to make below ``directory`` and to remove with it.

    Attributes:
        manager, workers, servers: the servers; ``servers`` is all of them, the manager first.
        generation: grows when ``reset`` or ``rebuild`` started a server anew: whoever watched the old one is
        behind. passwords: by account: root, monitor, replication, app. Made anew for each cluster.

    Raises:
        LocalClusterError: from ``start``, one sentence with the remedy.
    """

    def __init__(
        self,
        directory: Path,
        workers: int = 2,
        ports: Sequence[int] | None = None,
        progress: Callable[[str], None] | None = None,
        *,
        options: Mapping[str, str] | None = None,
        general_log: bool = False,
        folders: Sequence[str] = (),
        hosts: Mapping[str, Host] | None = None,
        origins: Mapping[str, str] | None = None,
    ) -> None:
        if ports is not None and len(ports) != workers + 1:
            raise ValueError(f"{workers + 1} servers need {workers + 1} ports, not {len(ports)}")
        self.directory = directory.absolute()
        self.passwords = {account: secrets.token_urlsafe(18) for account in ACCOUNTS}
        self.generation = 0
        self._ports = ports
        self._progress = progress or (lambda _: None)
        self._options = dict(options or {})
        self._general_log = general_log
        self._names = ["manager", *(f"worker{number}" for number in range(1, workers + 1))]
        self._folders = list(folders)
        self._hosts = dict(hosts or {})
        self._origins = dict(origins or {})
        self._guardian: Guardian | None = None
        self._cancelled = threading.Event()
        self._made_directory = False
        self._baseline: list[state.State] = []
        self.servers: list[LocalServer] = []

    @property
    def manager(self) -> LocalServer:
        return self.servers[0]

    @property
    def workers(self) -> list[LocalServer]:
        return self.servers[1:]

    def __enter__(self) -> LocalCluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and return when the workers replicate; on any failure nothing is left."""
        try:
            self._start()
        except OSError as error:
            explained = _explain(error, self.directory)
            self.stop()
            raise explained from error
        except BaseException:
            self.stop()
            raise

    def cancel(self) -> None:
        """Let a ``start`` that is under way fail soon. Safe in a signal handler."""
        self._cancelled.set()

    def stop(self) -> None:
        """End all servers (asked first, then killed) and remove all files. May be called again."""
        for server in self.servers:
            server.terminate(wait=False)
        deadline = time.monotonic() + STOP_SECONDS
        for server in self.servers:
            server.wait_ended(max(0.0, deadline - time.monotonic()))
            server.kill()
        if self._guardian is not None:
            self._guardian.finish()
            self._guardian = None
        if self._made_directory:
            shutil.rmtree(self.directory, ignore_errors=True)
            self._made_directory = False

    def wait_in_sync(self, timeout: float = 10.0) -> None:
        """Return when every worker has applied all that the manager wrote; LocalClusterError otherwise."""
        position = str(self.manager.value("SELECT @@gtid_binlog_pos"))
        for worker in self.workers:
            if position and worker.value("SELECT MASTER_GTID_WAIT(%s, %s)", (position, timeout)) != 0:
                raise LocalClusterError(f"{worker.name} did not reach {position} within {timeout:g} s")

    def reset(self) -> None:
        """Bring the cluster back to how it was after ``start``, whatever was done to it.

        A cheap check when nothing was. Schemas, accounts, variables and stopped replication are put right in
        place; everything else (errant transactions, changed roles, broken files) by ``rebuild``.
        """
        try:
            for server in self.servers:
                server.resume()
                if not server.running:
                    self.generation += 1
                    server.spawn()
            self._wait_ready()
            with contextlib.ExitStack() as stack:
                for server in self.servers:
                    stack.enter_context(server.asking())
                state.clean(self.manager, self.workers, self._baseline)
                self.wait_in_sync()
                state.verify(self.servers, self._baseline)
        except (LocalClusterError, pymysql.MySQLError, OSError):
            self.rebuild()
        for server in self.servers:
            server.general_log.mark()

    def rebuild(self) -> None:
        """Throw the servers' data away and start them again, on the same ports."""
        self.generation += 1
        for server in self.servers:
            server.kill()
        for server in self.servers:
            self._prepare(server)
            server.spawn()
        self._wait_ready()
        self._replicate()

    def _start(self) -> None:
        self._progress("looking for MariaDB")
        installation = Installation.find()
        self._check_ports()
        if not self.directory.exists():
            self.directory.mkdir(mode=0o700)
            self._made_directory = True
        self._check_room()
        self._guardian = Guardian(
            self.directory, [*self._names, "template", *self._folders], remove=self._made_directory
        )
        for folder in self._folders:
            (self.directory / folder).mkdir(mode=0o700)
        self._progress("making the system tables")
        make_template(installation, self.directory / "template", self._accounts(), self._check_going_on)
        used: set[int] = set()
        for number, name in enumerate(self._names):
            port = self._ports[number] if self._ports else free_port(used)
            used.add(port)
            server = LocalServer(
                installation=installation,
                directory=self.directory / name,
                name=name,
                server_id=number + 1,
                port=port,
                passwords=self.passwords,
                settings=self._settings(name),
                host=self._hosts.get(name),
            )
            self.servers.append(server)
            self._prepare(server)
            self._check_going_on()
        self._progress(f"starting {', '.join(self._names)}")
        for server in self.servers:
            server.spawn()
        self._wait_ready()
        self._progress("setting up replication")
        self._replicate()
        self._baseline = [state.capture(server) for server in self.servers]

    def _check_room(self) -> None:
        for name in (*self._names, "template", *self._folders):
            if (self.directory / name).exists():
                raise LocalClusterError(f"{self.directory / name} exists already; give an empty directory")
        needed = BYTES_PER_SERVER * len(self._names)
        free = shutil.disk_usage(self.directory).free
        if free < needed:
            raise LocalClusterError(
                f"{self.directory} has {free >> 20} MiB of free disk space and the servers need "
                f"{needed >> 20} MiB; free some or give a directory elsewhere"
            )

    def _check_ports(self) -> None:
        for port in () if self._hosts else self._ports or ():
            if not port_is_free(port):
                raise LocalClusterError(
                    f"port {port} on 127.0.0.1 is in use; give another one or end what holds it"
                )

    def _check_going_on(self) -> None:
        if self._cancelled.is_set():
            raise LocalClusterError("interrupted while the servers were starting")
        # MariaDB does not fail on a full disk: it waits for somebody to free some.
        if _is_full(self.directory):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _accounts(self) -> list[str]:
        statements = ["CREATE DATABASE app CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"]
        for account, (host, privileges, suffix) in ACCOUNTS.items():
            password, host = self.passwords[account], self._origins.get(account, host)
            statements.append(f"CREATE USER '{account}'@'{host}' IDENTIFIED BY '{password}'")
            statements.append(f"GRANT {privileges} TO '{account}'@'{host}'{suffix}")
        return statements

    def _settings(self, name: str) -> dict[str, str]:
        settings = {"read_only": "OFF" if name == "manager" else "ON"}
        if self._general_log:
            settings["general_log"] = "ON"
        return settings | self._options

    def _prepare(self, server: LocalServer) -> None:
        shutil.rmtree(server.directory, ignore_errors=True)
        server.directory.mkdir(mode=0o700)
        (server.directory / "tmp").mkdir()
        shutil.copytree(self.directory / "template", server.directory / "data")

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        for server in self.servers:
            while not server.ready():
                self._check_going_on()
                if time.monotonic() > deadline:
                    raise server.failure(f"did not answer within {START_SECONDS:g} s")
                time.sleep(0.02)

    def _replicate(self) -> None:
        for worker in self.workers:
            worker.query(
                "CHANGE MASTER TO MASTER_HOST=%s, MASTER_PORT=%s, MASTER_USER='replication', "
                "MASTER_PASSWORD=%s, MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, "
                "MASTER_HEARTBEAT_PERIOD=1",
                (self.manager.host, self.manager.port, self.passwords["replication"]),
            )
            worker.query("START SLAVE")
        deadline = time.monotonic() + START_SECONDS
        for worker in self.workers:
            while not worker.replicating():
                self._check_going_on()
                if time.monotonic() > deadline:
                    raise worker.failure("does not replicate")
                time.sleep(0.02)


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(taken: set[int] | None = None, host: str = "127.0.0.1") -> int:
    """An unprivileged port that nobody listens on now and that is not in ``taken``."""
    while True:
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        if port not in (taken or ()):
            return port


def why_failed(error: Exception, directory: Path) -> Exception:
    """What is behind an error: servers on a full disk wait, and whoever waits for them is told something else."""
    return _no_space(directory) if directory.exists() and _is_full(directory) else error


def _no_space(directory: Path) -> LocalClusterError:
    return LocalClusterError(
        f"no disk space is left for {directory}; free some or give a directory elsewhere"
    )


def _explain(error: OSError, directory: Path) -> LocalClusterError:
    # copytree's error has no number.
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or (error.errno is None and _is_full(directory)):
        return _no_space(directory)
    return LocalClusterError(f"the cluster could not be set up in {directory}: {error}")


def _is_full(directory: Path) -> bool:
    return shutil.disk_usage(directory).free < BYTES_LEFT
