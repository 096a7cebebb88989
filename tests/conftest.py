"""Fixtures that every folder shares: a real cluster, started once, and daemons in front of it.

``cluster`` is as good as new for each test that asks for it. ``proxy`` starts the daemon as a process of its
own; at the end of the test each one must end with status 0 on SIGTERM and must not have logged a traceback. A
test that makes it end otherwise calls ``kill`` or sets ``expected_status``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mysqlproxy.demo import local
from mysqlproxy.demo.daemon import Daemon, cluster_config
from mysqlproxy.demo.errors import LocalClusterError
from mysqlproxy.demo.local import LocalCluster
from tests.support.mysql import MysqlPair, find_mysql

MAX_SHARED = 6  # daemons at a time: each probes all servers several times a second


@pytest.fixture(scope="session")
def session_cluster() -> Iterator[LocalCluster]:
    """The one cluster of the session. Use ``cluster``, which resets it."""
    directory = Path(tempfile.mkdtemp(prefix="mysqlproxy-test-"))
    cluster = LocalCluster(directory / "cluster", general_log=True)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def cluster(session_cluster: LocalCluster) -> LocalCluster:
    """A manager and two workers that replicate, with an empty schema ``app`` and the account ``app``."""
    session_cluster.reset()
    return session_cluster


@pytest.fixture(scope="session")
def mysql_pair() -> Iterator[MysqlPair]:
    """MySQL 9.7, a source and a GTID replica, started once; skips when it could not be had."""
    program = find_mysql()
    directory = Path(tempfile.mkdtemp(prefix="mysqlproxy-test-"))
    pair = MysqlPair(program, directory)
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def mysql97(mysql_pair: MysqlPair) -> MysqlPair:
    """The MySQL pair with an empty schema ``app`` and no other."""
    mysql_pair.reset()
    return mysql_pair


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that gives a free TCP port of 127.0.0.1, another one each time."""
    return _ports()


@pytest.fixture
def daemons(free_port: Callable[[], int]) -> Iterator[Factory]:
    """Starts daemons with whole configurations, in front of any servers."""
    yield from _factory(free_port)


@pytest.fixture
def proxy(cluster: LocalCluster, daemons: Factory) -> Callable[..., Daemon]:
    """Starts daemons in front of ``cluster``.

    ``proxy(routing={"strategy": "random"}, log={"level": "debug"})`` merges the given sections into
    ``Factory.config``; a list (servers, users) replaces the whole list, None removes. ``wait`` is the path to
    wait for, "" for none; with the default it is waited, too, until all servers that run are seen up.
    ``environment`` adds variables.
    """

    def start(*, wait: str = "/readyz", environment: dict[str, str] | None = None, **sections: Any) -> Daemon:
        config = merge(daemons.config(cluster), sections)
        daemon = daemons.start(config, wait=wait, environment=environment)
        if wait == "/readyz":
            _wait_for_servers(daemon, cluster)
        return daemon

    return start


@pytest.fixture(scope="session")
def session_daemons() -> Iterator[Factory]:
    """The daemons behind ``shared_proxy``, checked when the session ends."""
    yield from _factory(_ports())


@pytest.fixture
def shared_proxy(cluster: LocalCluster, session_daemons: Factory) -> Callable[..., Daemon]:
    """As ``proxy``, but a daemon with these sections is started once per session: for tests that only talk to
    it.

    Tests that stop, reload or reconfigure it, or that count its metrics from zero, use ``proxy``.
    """

    def start(**sections: Any) -> Daemon:
        daemon = session_daemons.shared(cluster, sections)
        _wait_for_servers(daemon, cluster)
        return daemon

    return start


@pytest.fixture
def alone(session_daemons: Factory) -> None:
    """No shared daemon runs: for tests that count who is connected to the servers."""
    session_daemons.end_shared()


def _ports() -> Callable[[], int]:
    given: set[int] = set()

    def one() -> int:
        port = local.free_port(given)
        given.add(port)
        return port

    return one


def _factory(free_port: Callable[[], int]) -> Iterator[Factory]:
    directory = Path(tempfile.mkdtemp(prefix="mysqlproxy-test-"))
    factory = Factory(directory, free_port)
    try:
        yield factory
        factory.check()
    finally:
        factory.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _wait_for_servers(daemon: Daemon, cluster: LocalCluster) -> None:
    running = {server.address for server in cluster.servers if server.running}
    names = [server["name"] for server in daemon.config["servers"] if server["address"] in running]

    def all_up() -> bool:
        metrics = daemon.metrics()
        return all(metrics.total("mysqlproxy_server_up", server=name) == 1 for name in names)

    daemon.wait_for(all_up, f"the daemon sees {', '.join(names)} up")


class Factory:
    """Makes daemons in folders of their own and checks them at the end."""

    def __init__(self, directory: Path, free_port: Callable[[], int]) -> None:
        self._directory = directory
        self._free_port = free_port
        self.started: list[Daemon] = []
        self._shared: dict[str, Daemon] = {}
        self._generation = 0

    def config(self, cluster: LocalCluster) -> dict[str, Any]:
        """The default configuration: TCP and a unix socket, fast probes, the account ``app``."""
        config = cluster_config(cluster, self._free_port(), self._free_port())
        config["listen"]["mysql"].append(f"unix:{self._directory}/mysql{len(self.started)}.sock")
        return config

    def start(
        self, config: dict[str, Any], *, wait: str = "/readyz", environment: dict[str, str] | None = None
    ) -> Daemon:
        """Start one with this configuration; it is stopped and checked at the end of the test."""
        folder = self._directory / f"daemon{len(self.started)}"
        folder.mkdir()
        daemon = Daemon(folder, config, environment=environment)
        self.started.append(daemon)
        try:
            daemon.start(wait)
        except LocalClusterError:
            daemon.expected_status = None  # the test has seen it fail
            raise
        return daemon

    def shared(self, cluster: LocalCluster, sections: dict[str, Any]) -> Daemon:
        """The daemon with these sections; a new one when it has ended or servers were started anew since."""
        if self._generation != cluster.generation:
            self._generation = cluster.generation
            self.end_shared()
        key = repr(sections)
        if key not in self._shared and len(self._shared) >= MAX_SHARED:
            self._shared.pop(next(iter(self._shared))).stop()
        if key not in self._shared or not self._shared[key].running:
            self._shared[key] = self.start(merge(self.config(cluster), sections))
        return self._shared[key]

    def end_shared(self) -> None:
        """Stop the shared ones; who asks for one again gets a new one."""
        for daemon in self._shared.values():
            daemon.stop()
        self._shared.clear()

    def check(self) -> None:
        """Stop all of them; AssertionError for a wrong exit status or a traceback."""
        for daemon in self.started:
            status = daemon.stop()
            log = daemon.log()
            assert daemon.expected_status in (None, status), f"it ended with status {status}; its log:\n{log}"
            assert "Traceback (most recent call last)" not in log, log

    def kill(self) -> None:
        for daemon in self.started:
            daemon.kill()


def merge(defaults: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``defaults`` with ``changes``; tables are merged, everything else is replaced, None removes."""
    merged = dict(defaults)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged
