"""An application's server as a process of its own, on a free port: what the commands and the tests run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mysqlproxy.demo.errors import LocalClusterError
from mysqlproxy.demo.local import free_port

READY_SECONDS = 60.0
STOP_SECONDS = 15.0
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def serving(
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    ask: Callable[[int], None],
) -> Iterator[int]:
    """Run ``python -m module`` until the end of the block; gives the port.

    Args:
        arguments: "{address}" in them becomes what to listen on.
        ask: raises OSError as long as nobody answers on the port.

    Raises:
        LocalClusterError: it does not answer; with the end of its log.
    """
    port = free_port()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *(word.format(address=f"127.0.0.1:{port}") for word in arguments)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                ask(port)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    said = log.read_text("utf-8", "replace")[-2000:]
                    raise LocalClusterError(f"{module} does not answer; its log:\n{said}") from None
                time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
