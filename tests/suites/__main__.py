"""``python -m tests.suites [NAME ...]``: the suites of SQLAlchemy and Django, direct and through the daemon."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from mysqlproxy.demo.errors import LocalClusterError
from tests.suites.compare import compare, show
from tests.suites.runs import SUITES
from tests.suites.scene import open_mysql_scene, open_scene
from tests.suites.sources import NoSource


def main(arguments: list[str]) -> int:
    """0: all holds. 1: something fails only through the daemon. 2: a suite could not be run."""
    parser = argparse.ArgumentParser(prog="python -m tests.suites", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"any of {', '.join(SUITES)}; all by default"
    )
    parser.add_argument("--part", action="append", help="a path of SQLAlchemy's suite or a label of Django's")
    parser.add_argument("--mysql", action="store_true", help="in front of MySQL instead of MariaDB")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.names if name not in SUITES]
    if unknown:
        parser.error(f"no suite is called {unknown[0]}")
    if chosen.part and len(chosen.names) != 1:
        parser.error("--part goes with the name of one suite")
    console = Console(width=None if sys.stdout.isatty() else 150)
    comparisons, failed = [], False
    try:
        with (
            tempfile.TemporaryDirectory(prefix="mysqlproxy-suites-") as name,
            (open_mysql_scene if chosen.mysql else open_scene)(Path(name)) as scene,
        ):
            for suite in (SUITES[name] for name in chosen.names or SUITES):
                if suite.missing:
                    console.print(f"{suite.name}: left out, {suite.missing} is not installed")
                    continue
                console.print(f"{suite.name} ...")
                try:
                    comparisons.append(compare(suite.of(*chosen.part) if chosen.part else suite, scene))
                except (NoSource, RuntimeError) as error:
                    console.print(f"{suite.name}: {error}", markup=False)
                    failed = True
    except LocalClusterError as error:
        console.print(str(error), markup=False)
        return 2
    show(comparisons, console)
    if failed or not comparisons:
        return 2
    return int(any(found.faults for found in comparisons))


if __name__ == "__main__":
    signal.signal(
        signal.SIGTERM, lambda number, _: sys.exit(128 + number)
    )  # the servers are stopped on the way out
    sys.exit(main(sys.argv[1:]))
