"""A daemon with a fast monitor in front of the cluster, and a table ``t`` that every server has."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.faults.scene import FAST


@pytest.fixture
def table(cluster: LocalCluster) -> None:
    cluster.manager.query("CREATE TABLE app.t (a INT PRIMARY KEY) ENGINE=InnoDB")
    cluster.manager.query("INSERT INTO app.t VALUES (1)")
    cluster.wait_in_sync()


@pytest.fixture
def daemon(cluster: LocalCluster, table: None, proxy: Callable[..., Daemon]) -> Daemon:
    """Reads go round all workers."""
    return proxy(monitor=FAST, routing={"strategy": "round_robin"})
