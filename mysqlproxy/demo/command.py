"""``mysqlproxy demo``: a cluster on this machine, the daemon in front, the workload, the table, and nothing
left.

Called by the command line only.
"""

from __future__ import annotations

import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pymysql
from rich.console import Console

from mysqlproxy.demo import report, workload
from mysqlproxy.demo.daemon import Daemon, cluster_config
from mysqlproxy.demo.errors import LocalClusterError
from mysqlproxy.demo.local import LocalCluster, free_port, port_is_free, why_failed

MYSQL_PORT = 6033
HTTP_PORT = 9104
_WATCH_SECONDS = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_demo(once: bool, directory: Path | None, port: int = MYSQL_PORT, http_port: int = HTTP_PORT) -> int:
    """Run the demo.

    Args:
        once: end after the table; otherwise stay up until SIGINT, SIGTERM or SIGHUP.
        directory: where the servers' files go while it runs; None for a folder of its own in the temporary
        one.
        port, http_port: of 127.0.0.1, where the daemon listens for clients and shows its metrics; 0 for a
        free one.

    Returns:
        The exit status: 0 when all is well, 1 when counts or rows are wrong or something could not start,
        128 and the signal's number when it was interrupted before the table.
    """
    return Demo(directory, {"--port": port, "--http-port": http_port}).run(once)


class Demo:
    """The program; ``demo.chain`` has another cluster and another way through it."""

    def __init__(self, directory: Path | None, ports: Mapping[str, int]) -> None:
        self._ports = ports
        self._console = Console(soft_wrap=True)
        self._status = self._console.status("starting")
        self._interrupted = threading.Event()
        self._signal = 0
        if directory is None:
            directory = Path(tempfile.gettempdir()) / f"mysqlproxy-demo-{secrets.token_hex(8)}"
        self._cluster = self._make_cluster(directory)
        self._daemon: Daemon | None = None

    def _make_cluster(self, directory: Path) -> LocalCluster:
        return LocalCluster(directory, progress=self._progress, general_log=True, folders=("daemon",))

    def run(self, once: bool) -> int:
        with self._signals_noted():
            try:
                return self._run(once)
            except (LocalClusterError, pymysql.MySQLError, OSError) as error:
                if self._interrupted.is_set():
                    return 128 + self._signal
                self._status.stop()
                print(f"mysqlproxy demo: {why_failed(error, self._cluster.directory)}", file=sys.stderr)
                return 1
            finally:
                self._stop()

    def _run(self, once: bool) -> int:
        with self._status:
            self._check_ports()
            self._cluster.start()
            workload.create_tables(self._cluster)
            self._daemon = daemon = self._make_daemon()
            self._progress("starting the daemon")
            daemon.start(cancelled=self._interrupted.is_set)
            outcomes = workload.run(self._cluster, daemon, self._progress, self._interrupted.is_set)
        self._console.print(report.table(outcomes))
        wrong = report.faults(outcomes, workload.ROUNDS, workload.ROUNDS)
        for fault in wrong:
            self._console.print(f"wrong: {fault}", style="bold red", highlight=False)
        if not wrong:
            self._console.print("The servers and the daemon agree, and every row is on every server.")
        if not once:
            self._explain(daemon)
            self._stay(daemon)
        return 1 if wrong else 0

    def _check_ports(self) -> None:
        for option, port in self._ports.items():
            if port and not port_is_free(port):
                raise LocalClusterError(
                    f"port {port} on 127.0.0.1 is in use; end what holds it or give another one with {option}"
                )

    def _make_daemon(self) -> Daemon:
        taken = set(self._ports.values())
        port, http_port = (port or free_port(taken) for port in self._ports.values())
        config = cluster_config(self._cluster, port, http_port)
        config["users"] += workload.accounts(self._cluster)
        return Daemon(self._cluster.directory / "daemon", config)

    def _explain(self, daemon: Daemon) -> None:
        password = self._cluster.passwords["app"]
        lines = ["", "Log in, as the account of the strategy that you want to see:", ""]
        lines += [
            f"  mariadb -h 127.0.0.1 -P {daemon.port} -u {strategy} -p{password} app"
            for strategy in workload.STRATEGIES
        ]
        lines += ["", f"Metrics: http://127.0.0.1:{daemon.http_port}/metrics", "", "Ctrl-C ends it.", ""]
        for line in lines:
            self._console.print(line, highlight=False, markup=False)

    def _stay(self, daemon: Daemon) -> None:
        while not self._interrupted.wait(_WATCH_SECONDS):
            if not daemon.running:
                raise LocalClusterError(
                    f"the daemon ended with status {daemon.status}:\n{daemon.log()[-2000:]}"
                )

    def _stop(self) -> None:
        with self._status:
            self._progress("stopping")
            if self._daemon is not None:
                self._daemon.stop()
            self._cluster.stop()

    def _progress(self, text: str) -> None:
        self._status.update(text)
        if not self._console.is_terminal:
            self._console.print(text, highlight=False)

    @contextmanager
    def _signals_noted(self) -> Iterator[None]:
        """Signals only leave a note, which every wait looks at: no clean-up is ever cut short by one."""

        def note(number: int, _: FrameType | None) -> None:
            self._signal = number
            self._interrupted.set()
            self._cluster.cancel()

        before = {number: signal.signal(number, note) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
