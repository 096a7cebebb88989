"""The daemon as a process of its own, in front of a local cluster: its configuration, its log, its metrics.

Used by ``mysqlproxy demo``, ``mysqlproxy bench`` and the tests, which talk to it from outside, as an operator
does. Never imports the daemon's modules.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pymysql
from prometheus_client.parser import text_string_to_metric_families

import mysqlproxy
from mysqlproxy.demo import toml
from mysqlproxy.demo.errors import LocalClusterError
from mysqlproxy.demo.local import LocalCluster

READY_SECONDS = 30.0
STOP_SECONDS = 15.0
HTTP_SECONDS = 10.0


class Metrics(dict[str, list[tuple[dict[str, str], float]]]):
    """One scrape: for each sample's name its labels and values."""

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples with this name that have these labels; 0.0 when there is none."""
        return sum(
            value
            for found, value in self.get(name, [])
            if all(found.get(label) == wanted for label, wanted in labels.items())
        )


def cluster_config(cluster: LocalCluster, port: int, http_port: int) -> dict[str, Any]:
    """A configuration for this cluster with the account ``app``, as a mapping of sections."""
    return {
        "listen": {"mysql": [f"127.0.0.1:{port}"], "http": f"127.0.0.1:{http_port}"},
        "limits": {"drain_timeout": 5.0},
        "monitor": {"user": "monitor", "password": cluster.passwords["monitor"], "interval": 0.25},
        "servers": [
            {
                "name": server.name,
                "address": server.address,
                "role": "manager" if server is cluster.manager else "worker",
            }
            for server in cluster.servers
        ],
        "users": [{"name": "app", "password": cluster.passwords["app"]}],
    }


class Daemon:
    """``mysqlproxy serve`` with a configuration file of its own.

    Args:
        directory: exists; gets mysqlproxy.toml and daemon.log.
        config: sections by name.
        python: more options for the interpreter.
        environment: more variables.
        inside: entered for its process and its sockets: another host's network (``demo.network``).

    Attributes:
        directory: as given.
        config: the sections as last written.
        config_path: the file.
        pid: of the process; 0 before ``start``.
        expected_status: the exit status that whoever checks it should find; None after ``kill``: any.
    """

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any],
        *,
        python: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        inside: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._inside = inside
        self.directory = directory.absolute()
        self.config_path = self.directory / "mysqlproxy.toml"
        self.log_path = self.directory / "daemon.log"
        self.config: dict[str, Any] = {}
        self._python = [sys.executable, "-P", *python]
        # The daemon runs the same copy of the package as this program, whatever the working directory holds.
        self._environment = {
            "PYTHONPATH": str(Path(mysqlproxy.__file__).parent.parent),
            **(environment or {}),
        }
        self.expected_status: int | None = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._connections: list[pymysql.Connection[Any]] = []
        self.write(config)

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status; negative for a signal, None while it runs."""
        return self._process.poll() if self._process else None

    @property
    def port(self) -> int:
        """Of the first TCP address in ``listen.mysql``."""
        addresses = [a for a in self.config["listen"]["mysql"] if not a.startswith("unix:")]
        return int(addresses[0].rpartition(":")[2])

    @property
    def http_port(self) -> int:
        return int(self.config["listen"]["http"].rpartition(":")[2])

    @property
    def socket(self) -> str:
        """The first unix socket in ``listen.mysql``; "" when there is none."""
        paths = [a.removeprefix("unix:") for a in self.config["listen"]["mysql"] if a.startswith("unix:")]
        return paths[0] if paths else ""

    def write(self, config: Mapping[str, Any]) -> None:
        """Write the configuration; a daemon that runs takes it at the next ``reload``."""
        self.config = dict(config)
        self.config_path.touch(mode=0o600)  # it holds passwords
        self.config_path.write_text(toml.dumps(self.config), encoding="utf-8")

    def start(self, wait: str = "/readyz", cancelled: Callable[[], bool] = lambda: False) -> None:
        """Start it and return when the given path answers 200; with "" return at once.

        Raises:
            LocalClusterError: it ended, or was not ready in time; with the end of its log.
        """
        with self._inside(), self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._python, "-m", "mysqlproxy", "serve", f"--config={self.config_path}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                cwd=self.directory,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_SECONDS
        while wait and self._status_of(wait) != http.client.OK:
            if not self.running:
                raise LocalClusterError(f"the daemon ended with status {self.status}:{self._last_words()}")
            if cancelled():
                self.kill()
                raise LocalClusterError("interrupted while the daemon was starting")
            if time.monotonic() > deadline:
                self.kill()
                raise LocalClusterError(
                    f"the daemon was not ready within {READY_SECONDS:g} s:{self._last_words()}"
                )
            time.sleep(0.02)

    def connect(self, user: str = "app", **options: Any) -> pymysql.Connection[Any]:
        """A PyMySQL connection through the daemon, autocommit on; closed by ``stop`` if it was not before."""
        accounts = {account["name"]: account for account in self.config.get("users", [])}
        defaults: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": user,
            "password": accounts.get(user, {}).get("password", ""),
            "autocommit": True,
            "charset": "utf8mb4",
            "connect_timeout": 10,
            "read_timeout": 30,
        }
        if not any(name.startswith("ssl") for name in options):
            defaults["ssl_disabled"] = True
        connection = pymysql.connect(**(defaults | options))
        self._connections.append(connection)
        return connection

    def disconnect(self) -> None:
        """Close the connections that ``connect`` made."""
        for connection in self._connections:
            if connection.open:
                connection.close()
        self._connections.clear()

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of an HTTP endpoint."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=HTTP_SECONDS)
        try:
            with self._inside():
                connection.connect()
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def metrics(self) -> Metrics:
        """Scrape it now."""
        metrics = Metrics()
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            for sample in family.samples:
                metrics.setdefault(sample.name, []).append((sample.labels, sample.value))
        return metrics

    def log(self) -> str:
        """All that it has written so far."""
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
        """Return when ``condition`` holds; LocalClusterError when it does not in time."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise LocalClusterError(f"not within {timeout:g} s: {what}:{self._last_words()}")
            time.sleep(0.02)

    def reload(self) -> None:
        """SIGHUP."""
        self.signal(signal.SIGHUP)

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            assert self._process is not None
            self._process.send_signal(number)

    def stop(self, timeout: float = STOP_SECONDS) -> int | None:
        """Close the connections made here, SIGTERM, SIGKILL after ``timeout`` seconds; the exit status."""
        self.disconnect()
        self.signal(signal.SIGTERM)
        if self._process is not None:
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return self.status

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self.running:
            self.expected_status = None
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_SECONDS)

    def _status_of(self, path: str) -> int:
        try:
            return self.get(path)[0]
        except (OSError, http.client.HTTPException):
            return 0

    def _last_words(self) -> str:
        return "".join(f"\n  {line}" for line in self.log().splitlines()[-15:]) or " its log is empty"
