"""A few seeds of ``same_answers``; the command runs as many as one likes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.fuzz.same_answers import run, sections


@pytest.mark.parametrize("consistency", ["session", "strong"])
def test_random_statements_are_answered_as_by_the_manager(
    cluster: LocalCluster, proxy: Callable[..., Daemon], consistency: str
) -> None:
    daemon = proxy(**sections(consistency))
    with cluster.workers[1].connect("root") as lock:
        lock.cursor().execute("FLUSH TABLES WITH READ LOCK")
        for seed in (1, 2):
            run(cluster, daemon, seed, 100)
