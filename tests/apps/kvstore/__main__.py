"""``python -m tests.apps.kvstore``: the store in front of a cluster, what its clients notice, in figures."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mysqlproxy.demo.errors import LocalClusterError
from tests.apps.kvstore.load import Load
from tests.apps.kvstore.service import lose, restore, serving
from tests.apps.kvstore.storage import SCHEMA
from tests.apps.scene import Scene, daemon_restarts, judged, open_scene

CLIENTS = 6


def main(arguments: list[str]) -> int:
    """0: nothing was lost, nothing stale, and the restored server reads. 1: not so. 2: it could not be run."""
    parser = argparse.ArgumentParser(prog="python -m tests.apps.kvstore", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of load for each line of the table")
    seconds = parser.parse_args(arguments).seconds
    console = Console(width=None if sys.stdout.isatty() else 150)
    table = Table(title=f"a key-value store, {CLIENTS} clients, while ...", title_justify="left")
    table.add_column("")
    for column in ("requests", "errors", "longest wait", "stale", "reads on worker1", "worker2", "manager"):
        table.add_column(column, justify="right")
    faults: list[str] = []
    try:
        with (
            tempfile.TemporaryDirectory(prefix="mysqlproxy-kvstore-") as name,
            open_scene(Path(name), [SCHEMA]) as scene,
            serving(scene.environment("strong"), Path(name) / "store.log") as port,
        ):
            with Load(port, CLIENTS) as load:
                for what, happens in HAPPENINGS.items():
                    mark(scene)
                    happens(scene, Path(name))
                    time.sleep(seconds)
                    figures, reads = load.take(), served(scene)
                    numbers = (figures.stale, reads["worker1"], reads["worker2"], reads["manager"])
                    table.add_row(
                        *(what, str(figures.requests), str(figures.errors), f"{figures.longest:.2f} s"),
                        *map(str, numbers),
                    )
                    faults += [f"{figures.stale} stale reads"] * bool(figures.stale)
            faults += load.lost(scene.cluster)
            if not served(scene)["worker1"]:
                faults.append("the restored worker takes no reads")
    except LocalClusterError as error:
        console.print(str(error), markup=False)
        return 2
    console.print(table)
    return judged(console, faults, "Nothing was lost and nothing was stale; the restored worker reads.")


def worker_is_lost(scene: Scene, folder: Path) -> None:
    """A worker dies with its data; an empty server takes its place, which nobody may read from."""
    worker = scene.cluster.workers[0]
    lose(scene.cluster, worker)
    scene.daemon.wait_for(lambda: not taking_reads(scene, worker.name), "the daemon reads elsewhere")


def worker_is_restored(scene: Scene, folder: Path) -> None:
    """The other worker is copied; by itself the daemon then reads from the restored one, too."""
    worker, donor = scene.cluster.workers
    restore(scene.cluster, donor, worker, folder)
    scene.daemon.wait_for(lambda: taking_reads(scene, worker.name), "the worker is taken in again", 30.0)


HAPPENINGS: dict[str, Callable[[Scene, Path], None]] = {
    "nothing happens": lambda scene, folder: None,
    "the daemon drains and restarts": lambda scene, folder: daemon_restarts(scene),
    "worker1 is lost, an empty server there": worker_is_lost,
    "worker1 is restored from worker2": worker_is_restored,
}


def taking_reads(scene: Scene, name: str) -> bool:
    """Whether the daemon gives reads to this server."""
    return scene.daemon.metrics().total("mysqlproxy_server_readable", server=name) == 1


def mark(scene: Scene) -> None:
    for server in scene.cluster.servers:
        server.general_log.mark()


def served(scene: Scene) -> dict[str, int]:
    """Reads of records since ``mark``, by the servers' own logs."""
    pattern = r"^SELECT value FROM records\b"
    return {server.name: len(server.served(pattern)) for server in scene.cluster.servers}


if __name__ == "__main__":
    # The servers are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main(sys.argv[1:]))
