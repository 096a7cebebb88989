"""All that is started for a benchmark, and that nothing of it is left: servers, tables, HAProxy, daemons.

Made by ``commands.bench``; ``bench.runner`` asks its targets. Everything lies below one temporary folder.
"""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pymysql

import mysqlproxy
from mysqlproxy.bench import certificate, haproxy, tables
from mysqlproxy.bench.backend import STRATEGY_OF, Backend, of_cluster, of_config
from mysqlproxy.bench.errors import BenchError, Interrupted
from mysqlproxy.bench.plan import CONTROL, DIRECT, HAPROXY, PROXY, PURE, TLS
from mysqlproxy.bench.sysbench import Login, Sysbench
from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.guardian import Guardian
from mysqlproxy.demo.local import LocalCluster, free_port
from mysqlproxy.protocol.build import compiled

_RIVAL = re.compile(
    r"(?P<name>[^=]+)=(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})(?::(?P<pid>[0-9]+))?"
)
_FOLDERS = (HAPROXY, PROXY, CONTROL, PURE, "sysbench")


@dataclass(frozen=True, slots=True)
class Target:
    """Somebody who takes part.

    Attributes:
        login: where sysbench connects.
        pid: of its first process; 0 for the server itself and what runs elsewhere.
    """

    name: str
    login: Login
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Rival:
    """Another proxy that the user runs, from ``--against``; it takes the same account as the manager."""

    name: str
    host: str
    port: int
    pid: int = 0


class Site:
    """Use as a context; ``start`` inside it.

    Args:
        config: a configuration whose servers are used; None for a local cluster.
        user, schema: see ``backend.of_config``.
        rivals: more proxies.
        progress: told in a few words what is being done.

    Attributes:
        targets: by name, after ``start``.
        sysbench: ready to run.

    Raises:
        BenchError, LocalClusterError, ConfigFault: something is missing or does not start.
    """

    def __init__(
        self,
        config: Path | None,
        user: str,
        schema: str,
        rivals: Sequence[Rival],
        progress: Callable[[str], None],
    ) -> None:
        self.directory = Path(tempfile.gettempdir()) / f"mysqlproxy-bench-{secrets.token_hex(8)}"
        self.targets: dict[str, Target] = {}
        self.sysbench = Sysbench(self.directory / "sysbench")
        self.cancelled = False
        self.server_version = ""
        self._config, self._user, self._schema, self._rivals = config, user, schema, rivals
        self._progress = progress
        self._stack = ExitStack()
        self._ports: set[int] = set()
        self._tls: dict[str, str] = {}
        self._cluster: LocalCluster | None = None
        if config is None:
            self._cluster = LocalCluster(
                self.directory, progress=progress, options={"max_connections": "2000"}, folders=_FOLDERS
            )

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress("stopping")
        self._stack.close()

    def cancel(self) -> None:
        """Let whatever runs end soon. Safe in a signal handler."""
        self.cancelled = True
        self.sysbench.cancel()
        if self._cluster is not None:
            self._cluster.cancel()

    def start(self, wanted: set[str]) -> None:
        """Start what the targets with these names need."""
        backend = self._backend()
        self._progress("filling the tables")
        tables.refuse_existing(backend.manager)
        if self._config is not None:  # a local cluster goes with its tables
            self._stack.callback(self._drop, backend)
        tables.create(backend, self.sysbench, lambda: self.cancelled)
        self._add(Target(DIRECT, backend.manager))
        executable = haproxy.program()
        if HAPROXY in wanted and executable:
            self._start_haproxy(executable, backend)
        self._tls = certificate.make(self.directory / "sysbench")
        self._start_daemon(backend, PROXY)
        for name in {CONTROL, PURE} & wanted:
            self._start_daemon(backend, name)
        for rival in self._rivals:
            login = replace(backend.manager, host=rival.host, port=rival.port)
            self._add(Target(rival.name, login, rival.pid))

    def manager_selects(self) -> int:
        """How many SELECTs the manager has ever been asked, by its own count."""
        with tables.connect(self.targets[DIRECT].login) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Com_select'")
            ((_, value),) = cursor.fetchall()
        return int(value)

    def _backend(self) -> Backend:
        if self._cluster is not None:
            self._stack.callback(self._cluster.stop)
            self._cluster.start()
            backend = of_cluster(self._cluster)
        else:
            assert self._config is not None
            backend = of_config(self._config, self._user, self._schema)
            self.directory.mkdir(mode=0o700)
            guardian = Guardian(self.directory, _FOLDERS, remove=True)
            self._stack.callback(guardian.finish)
            for name in _FOLDERS:
                (self.directory / name).mkdir()
        with tables.connect(backend.manager) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            (self.server_version,) = cursor.fetchone()
        return backend

    def _drop(self, backend: Backend) -> None:
        try:
            tables.drop(backend)
        except pymysql.MySQLError as error:
            self._progress(f"the tables could not be dropped: {error}")

    def _start_haproxy(self, executable: str, backend: Backend) -> None:
        manager = backend.manager
        host = f"[{manager.host}]" if ":" in manager.host else manager.host
        proxy = haproxy.HAProxy(executable, self.directory / HAPROXY, self._port(), f"{host}:{manager.port}")
        self._stack.callback(proxy.stop)
        proxy.start()
        login = replace(manager, host="127.0.0.1", port=proxy.port)
        self._add(Target(HAPROXY, login, proxy.pid))

    def _start_daemon(self, backend: Backend, name: str) -> None:
        if self.cancelled:
            raise Interrupted
        folder, environment = self.directory / name, {}
        if name == PURE:
            if not compiled():
                return
            package = Path(mysqlproxy.__file__).parent
            ignored = shutil.ignore_patterns("*.so", "__pycache__")
            shutil.copytree(package, folder / package.name, ignore=ignored)
            environment["PYTHONPATH"] = str(folder)
        daemon = Daemon(
            folder, backend.config(self._port(), self._port(), self._tls), environment=environment
        )
        self._progress(f"starting the daemon ({name})")
        self._stack.callback(daemon.stop)
        daemon.start(cancelled=lambda: self.cancelled)
        workers = len(backend.workers)
        daemon.wait_for(
            lambda: daemon.metrics().total("mysqlproxy_server_readable") >= workers, "all workers take reads"
        )
        here = replace(backend.manager, host="127.0.0.1", port=daemon.port, user=PROXY)
        self._add(Target(name, here, daemon.pid))
        if name == PROXY:
            for account in STRATEGY_OF:
                self._add(Target(account, replace(here, user=account), daemon.pid))
            self._add(Target(TLS, replace(here, tls=True), daemon.pid))

    def _add(self, target: Target) -> None:
        self.targets[target.name] = target

    def _port(self) -> int:
        port = free_port(self._ports)
        self._ports.add(port)
        return port


def rival(text: str) -> Rival:
    """``NAME=HOST:PORT`` or ``NAME=HOST:PORT:PID``; BenchError when it is neither."""
    found = _RIVAL.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise BenchError(f"--against {text}: write NAME=HOST:PORT or NAME=HOST:PORT:PID")
    name = found["name"]
    if name in {DIRECT, TLS, *_FOLDERS, *STRATEGY_OF}:
        raise BenchError(f"--against {text}: {name} is a name of the benchmark's own; take another one")
    return Rival(name, found["host"] or found["ipv6"], int(found["port"]), int(found["pid"] or 0))
