"""The API as it is run: gunicorn with several processes of several threads each."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mysqlproxy.demo.errors import LocalClusterError
from mysqlproxy.demo.local import free_port

PROCESSES = 3
THREADS = 4
READY_SECONDS = 60.0
STOP_SECONDS = 15.0
ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def serving(
    environment: Mapping[str, str], log: Path, processes: int = PROCESSES, threads: int = THREADS
) -> Iterator[int]:
    """Run it on a free port of 127.0.0.1, which is what this gives; LocalClusterError when it does not answer."""
    port = free_port()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "--no-control-socket", f"--bind=127.0.0.1:{port}"),
                *(f"--workers={processes}", f"--threads={threads}", "--worker-class=gthread"),
                "tests.apps.customers.api:create_app()",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        _wait_ready(process, port, log)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_SECONDS)
        try:
            connection.request("GET", "/")
            connection.getresponse()
            return
        except OSError:
            time.sleep(0.02)
        finally:
            connection.close()
    raise LocalClusterError(f"the API does not answer; its log:\n{log.read_text('utf-8', 'replace')[-2000:]}")
