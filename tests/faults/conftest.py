"""A daemon with a fast monitor in front of the cluster, and a table ``t`` that every server has."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.faults.scene import FAST, await_reads, await_view

ROUTING = {"strategy": "round_robin"}


@pytest.fixture
def table(cluster: LocalCluster) -> None:
    cluster.manager.query("CREATE TABLE app.t (a INT PRIMARY KEY) ENGINE=InnoDB")
    cluster.manager.query("INSERT INTO app.t VALUES (1)")
    cluster.wait_in_sync()


@pytest.fixture
def daemon(cluster: LocalCluster, table: None, shared_proxy: Callable[..., Daemon]) -> Iterator[Daemon]:
    """One that the tests share; reads go round all workers."""
    daemon = shared_proxy(monitor=FAST, routing=ROUTING)
    await_view(daemon, reading={worker.name for worker in cluster.workers})
    yield await_reads(daemon, cluster)
    daemon.disconnect()


@pytest.fixture
def own_daemon(cluster: LocalCluster, table: None, proxy: Callable[..., Daemon]) -> Daemon:
    """The same for one test alone, which reconfigures it or counts."""
    return await_reads(proxy(monitor=FAST, routing=ROUTING), cluster)
