"""The store as it is run: its server as a process of its own; and how one of its servers is lost and restored."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mysqlproxy.demo.errors import LocalClusterError
from mysqlproxy.demo.local import LocalCluster, free_port
from mysqlproxy.demo.server import LocalServer

READY_SECONDS = 60.0
STOP_SECONDS = 15.0
ROOT = Path(__file__).resolve().parents[3]
RESTORE = ROOT / "deploy/provision/replica.sh"


@contextmanager
def serving(environment: Mapping[str, str], log: Path) -> Iterator[int]:
    """Run it on a free port of 127.0.0.1, which is what this gives; LocalClusterError when it does not answer."""
    port = free_port()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.apps.kvstore.server", f"127.0.0.1:{port}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                text = log.read_text("utf-8", "replace")[-2000:]
                raise LocalClusterError(f"the store does not answer; its log:\n{text}")
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def lose(cluster: LocalCluster, worker: LocalServer) -> None:
    """Kill a worker and put an empty one in its place, as a freshly installed machine."""
    worker.kill()
    shutil.rmtree(worker.directory / "data")
    shutil.copytree(cluster.directory / "template", worker.directory / "data")
    worker.start()


def restore(cluster: LocalCluster, donor: LocalServer, worker: LocalServer, folder: Path) -> None:
    """Run the documented command; LocalClusterError with its words when it fails."""
    options = []
    for option, server in (("--from", donor), ("--to", worker)):
        path = folder / f"{server.name}.cnf"
        path.touch(mode=0o600)
        path.write_text(
            f"[client]\nsocket={server.socket}\nuser=root\npassword={cluster.passwords['root']}\n"
        )
        options += [option, str(path)]
    done = subprocess.run(
        [RESTORE, *options, "--manager", cluster.manager.address],
        env={**os.environ, "REPLICATION_PASSWORD": cluster.passwords["replication"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise LocalClusterError(f"{RESTORE} failed: {done.stderr}")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True
