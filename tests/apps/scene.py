"""What the applications run on when they are run by a command: a local cluster, and the daemon with TLS in front.

The tests build the same on their own fixtures with ``sections``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from mysqlproxy.demo.daemon import Daemon, cluster_config
from mysqlproxy.demo.local import LocalCluster, free_port
from mysqlproxy.demo.server import LocalServer
from tests.support.certificates import Authority

LEVELS = ("strong", "session", "eventual")


@dataclass(frozen=True, slots=True)
class Scene:
    """The cluster, the daemon, the CA that signed the daemon's certificate, and an account of each consistency."""

    cluster: LocalCluster
    daemon: Daemon
    ca: Path

    def environment(self, level: str) -> dict[str, str]:
        """The settings of an application, as environment variables."""
        return {
            "DB_HOST": "localhost",
            "DB_PORT": str(self.daemon.port),
            "DB_USER": level,
            "DB_PASSWORD": self.cluster.passwords["app"],
            "DB_DATABASE": "app",
            "DB_CA": str(self.ca),
        }

    def wait_for_servers(self) -> None:
        """Until the daemon sees all of them up."""
        self.daemon.wait_for(
            lambda: self.daemon.metrics().total("mysqlproxy_server_up") == len(self.cluster.servers),
            "the daemon sees all servers",
        )


def sections(cluster: LocalCluster, folder: Path) -> tuple[dict[str, Any], Path]:
    """The daemon's sections for the applications, and the CA's file; certificate and key go to ``folder``."""
    authority = Authority(folder)
    certificate, key = authority.issue("daemon", "localhost")
    key.chmod(0o600)
    password = cluster.passwords["app"]
    changes = {
        "tls": {"certificate": str(certificate), "key": str(key), "required": True},
        "routing": {"strategy": "random"},
        "users": [
            {
                "name": level,
                "password": password,
                "server_user": "app",
                "server_password": password,
                "read_consistency": level,
            }
            for level in LEVELS
        ],
    }
    return changes, authority.ca


@contextmanager
def open_scene(folder: Path, schema: Sequence[str]) -> Iterator[Scene]:
    """Start it all, with these statements run on the manager's schema ``app`` before the daemon is there."""
    with LocalCluster(folder / "cluster", general_log=True) as cluster:
        for statement in schema:
            cluster.manager.query(statement, schema="app")
        cluster.wait_in_sync()
        (folder / "daemon").mkdir()
        changes, ca = sections(cluster, folder / "daemon")
        port = free_port()
        daemon = Daemon(folder / "daemon", cluster_config(cluster, port, free_port({port})) | changes)
        try:
            daemon.start()
            scene = Scene(cluster, daemon, ca)
            scene.wait_for_servers()
            yield scene
        finally:
            daemon.stop()


def daemon_restarts(scene: Scene) -> None:
    """The daemon drains, ends and is started again."""
    scene.daemon.stop()
    scene.daemon.start()
    scene.wait_for_servers()


def judged(console: Console, faults: Sequence[str], well: str) -> int:
    """Print what was wrong, or that all is well; the exit status."""
    for fault in faults:
        console.print(f"wrong: {fault}", style="bold red", markup=False)
    if not faults:
        console.print(well)
    return int(bool(faults))


def delay(worker: LocalServer, seconds: int) -> None:
    """Let a worker apply what the manager writes only so much later."""
    for statement in ("STOP SLAVE", f"CHANGE MASTER TO MASTER_DELAY={seconds}", "START SLAVE"):
        worker.query(statement)
