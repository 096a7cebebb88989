"""The API as it is run: gunicorn with several processes of several threads each."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing
from pathlib import Path

from tests.apps import process

PROCESSES = 3
THREADS = 4


def serving(
    environment: Mapping[str, str], log: Path, processes: int = PROCESSES, threads: int = THREADS
) -> AbstractContextManager[int]:
    """Run it on a free port of 127.0.0.1, which is what this gives; LocalClusterError when it does not answer."""
    arguments = [
        *("--no-control-socket", "--bind={address}", "--worker-class=gthread"),
        *(f"--workers={processes}", f"--threads={threads}", "tests.apps.customers.api:create_app()"),
    ]
    return process.serving("gunicorn", arguments, environment, log, _ask)


def _ask(port: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=process.READY_SECONDS)) as connection:
        connection.request("GET", "/")
        connection.getresponse()
