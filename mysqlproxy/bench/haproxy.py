"""HAProxy with one thread in tcp mode before one server: the floor that the daemon is measured against."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from mysqlproxy.bench.errors import BenchError

READY_SECONDS = 10.0
FILE = "haproxy.cfg"  # demo.guardian knows it by this name
_CONFIG = """\
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen manager
    bind 127.0.0.1:{port}
    server manager {server}
"""


def program() -> str | None:
    """Where HAProxy is, also in the sbin folders; None when it is not installed."""
    return shutil.which("haproxy", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


class HAProxy:
    """One process.

    Args:
        executable: as ``program`` gives it.
        directory: exists; gets haproxy.cfg and haproxy.log.
        port: of 127.0.0.1.
        server: ``host:port``.
    """

    def __init__(self, executable: str, directory: Path, port: int, server: str) -> None:
        self.port = port
        self._executable = executable
        self._log = directory / "haproxy.log"
        self._config = directory / FILE
        self._config.write_text(_CONFIG.format(port=port, server=server), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Return when it listens; BenchError with its last words when it does not."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._executable, "-db", "-f", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(
                    f"HAProxy does not start: {self._log.read_text('utf-8', 'replace').strip()[-500:]}"
                )
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        except OSError:
            return False
        return True
