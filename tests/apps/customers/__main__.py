"""``python -m tests.apps.customers``: the API in front of a cluster, what clients notice, in figures."""

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
from tests.apps.customers.api import SCHEMA
from tests.apps.customers.load import Figures, load
from tests.apps.customers.service import PROCESSES, THREADS, serving
from tests.apps.scene import LEVELS, Scene, daemon_restarts, delay, judged, open_scene

CLIENTS = 8
BEHIND_SECONDS = 1
FROZEN_SECONDS = 5.0


def main(arguments: list[str]) -> int:
    """0: with ``strong`` nothing was lost and nothing stale. 1: something was. 2: it could not be run."""
    parser = argparse.ArgumentParser(prog="python -m tests.apps.customers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of load for each line of the tables")
    seconds = parser.parse_args(arguments).seconds
    console = Console(width=None if sys.stdout.isatty() else 150)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="mysqlproxy-customers-") as name,
            open_scene(Path(name), [SCHEMA]) as scene,
        ):
            faults = _compare(scene, console, seconds, Path(name)) + _disturb(
                scene, console, seconds, Path(name)
            )
    except LocalClusterError as error:
        console.print(str(error), markup=False)
        return 2
    return judged(console, faults, "Nothing was lost; with strong nothing was stale.")


def _compare(scene: Scene, console: Console, seconds: float, folder: Path) -> list[str]:
    """The same load with each read consistency, while one of the two workers is behind."""
    table = _table(
        f"worker2 is {BEHIND_SECONDS} s behind; {PROCESSES} processes of {THREADS} threads, {CLIENTS} clients"
    )
    table.add_column("reads on workers", justify="right")
    faults = []
    delay(scene.cluster.workers[1], BEHIND_SECONDS)
    for level in LEVELS:
        with serving(scene.environment(level), folder / "api.log") as port:
            before = _reads(scene)
            with load(port, CLIENTS, level) as running:
                time.sleep(seconds)
            figures = running.take()
            workers, manager = (after - was for after, was in zip(_reads(scene), before, strict=True))
        share = 100 * workers / max(1, workers + manager)
        _row(table, level, figures, f"{share:.0f} %")
        faults += running.lost(scene.cluster) + _wrong(figures, strict=level == "strong")
    delay(scene.cluster.workers[1], 0)
    console.print(table)
    return faults


def _disturb(scene: Scene, console: Console, seconds: float, folder: Path) -> list[str]:
    """Load with ``strong`` while parts of the whole are taken away."""
    table = _table("strong, while ...")
    faults: list[str] = []
    with serving(scene.environment("strong"), folder / "api.log") as port:
        with load(port, CLIENTS, "faults") as running:
            for name, disturb in DISTURBANCES.items():
                disturb(scene)
                time.sleep(seconds)
                figures = running.take()
                _row(table, name, figures)
                faults += _wrong(figures, strict=True)
        faults += running.lost(scene.cluster)
    console.print(table)
    return faults


def worker_dies(scene: Scene) -> None:
    """A worker is killed, and started again."""
    worker = scene.cluster.workers[0]
    worker.kill()
    scene.daemon.wait_for(lambda: _up(scene, worker.name) == 0, "the daemon sees the worker down")
    worker.start()
    scene.wait_for_servers()


def manager_freezes(scene: Scene, seconds: float = FROZEN_SECONDS) -> None:
    """The manager does nothing for a while: no connection is closed, nobody answers."""
    scene.cluster.manager.pause()
    time.sleep(seconds)
    scene.cluster.manager.resume()
    scene.wait_for_servers()


DISTURBANCES: dict[str, Callable[[Scene], None]] = {
    "nothing happens": lambda scene: None,
    "a worker dies and comes back": worker_dies,
    "the daemon drains and restarts": daemon_restarts,
    f"the manager freezes for {FROZEN_SECONDS:g} s": manager_freezes,
}


def _up(scene: Scene, name: str) -> float:
    return scene.daemon.metrics().total("mysqlproxy_server_up", server=name)


def _reads(scene: Scene) -> tuple[float, float]:
    """Answered by workers, and by the manager."""
    metrics = scene.daemon.metrics()
    name = "mysqlproxy_statements_total"
    manager = metrics.total(name, kind="read", server=scene.cluster.manager.name)
    return metrics.total(name, kind="read") - manager, manager


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in ("requests", "errors", "longest wait", "reads after writes", "in another process", "stale"):
        table.add_column(column, justify="right")
    return table


def _row(table: Table, name: str, figures: Figures, *more: str) -> None:
    numbers = (figures.reads, figures.elsewhere, figures.stale)
    table.add_row(
        *(name, str(figures.requests), str(figures.errors), f"{figures.longest:.2f} s"),
        *map(str, numbers),
        *more,
    )


def _wrong(figures: Figures, *, strict: bool) -> list[str]:
    faults = [f"{what}, {count} times" for what, count in figures.wrong.items()]
    if strict and figures.stale:
        faults.append(f"{figures.stale} stale reads")
    return faults


if __name__ == "__main__":
    # The servers are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main(sys.argv[1:]))
