"""The store as it is run: its server as a process of its own; and how one of its servers is lost and restored."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from mysqlproxy.demo.errors import LocalClusterError
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.demo.server import LocalServer
from tests.apps import process

RESTORE = process.ROOT / "deploy/provision/replica.sh"


def serving(environment: Mapping[str, str], log: Path) -> AbstractContextManager[int]:
    """Run it on a free port of 127.0.0.1, which is what this gives; LocalClusterError when it does not answer."""
    return process.serving("tests.apps.kvstore.server", ["{address}"], environment, log, _ask)


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


def _ask(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), process.READY_SECONDS).close()
