"""RESET MASTER on a live cluster: what was known of GTIDs before means nothing after it.

The manager is reset and the workers are not: they seem to have everything, and have nothing of what is written from
then on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol import capabilities as flags
from tests.conftest import Factory
from tests.support.mysql import MysqlPair
from tests.support.raw import RawClient, proxied
from tests.support.sessions import mysql_pair_config
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]
BLIND = {"interval": 60.0, "max_replica_lag": 3600.0}  # it looks once
ROUTING = {"strategy": "round_robin", "consistency_wait": 0.02}


def written(client: RawClient) -> list[int]:
    return sorted(int(row[0] or 0) for row in client.query("SELECT a FROM app.t").texts())


def write(client: RawClient, number: int) -> None:
    client.query(f"INSERT INTO app.t VALUES ({number})").check()


@pytest.fixture
def table(cluster: LocalCluster) -> LocalCluster:
    cluster.manager.query("CREATE TABLE app.t (a INT PRIMARY KEY)")
    cluster.wait_in_sync()
    return cluster


def reset_manager(cluster: LocalCluster) -> None:
    for worker in cluster.workers:
        worker.query("STOP SLAVE")
    cluster.manager.query("RESET MASTER")


def reset_workers(cluster: LocalCluster) -> None:
    """As after a new copy of the manager's data: they begin where it begins."""
    for worker in cluster.workers:
        worker.query("RESET MASTER")
        worker.query("SET GLOBAL gtid_slave_pos = ''")
        worker.query("START SLAVE")


@pytest.mark.parametrize("consistency", ["session", "strong"])
def test_what_is_written_then_is_read_before_the_monitor_knows(
    table: LocalCluster, proxy: Proxy, consistency: str
) -> None:
    daemon = proxy(routing=ROUTING | {"read_consistency": consistency}, monitor=BLIND)
    with proxied(daemon) as before, proxied(daemon) as after:
        write(before, 1)
        assert written(before) == [1]
        reset_manager(table)
        write(after, 2)
        assert [written(after) for _ in range(4)] == [[1, 2]] * 4
        assert [written(before) for _ in range(4)] == [[1, 2]] * 4  # whose own position is void
        write(before, 3)
        assert [written(before) for _ in range(4)] == [[1, 2, 3]] * 4


def test_the_managers_answer_shows_it_where_nobody_writes_through_the_daemon(
    table: LocalCluster, proxy: Proxy
) -> None:
    for number in range(10):
        table.manager.query(f"INSERT INTO app.t VALUES ({number})")
    table.wait_in_sync()
    daemon = proxy(routing=ROUTING | {"read_consistency": "global"}, monitor=BLIND)
    with proxied(daemon) as client:
        assert written(client) == list(range(10))
        reset_manager(table)
        table.manager.query("INSERT INTO app.t VALUES (10)")
        assert [written(client) for _ in range(4)] == [list(range(11))] * 4


def test_workers_that_were_reset_too_take_reads_again(table: LocalCluster, proxy: Proxy) -> None:
    daemon = proxy(routing=ROUTING | {"consistency_wait": 5.0}, monitor={"interval": 0.1})
    with proxied(daemon) as client:
        for number in range(20):
            write(client, number)
        table.wait_in_sync()
        reset_manager(table)
        reset_workers(table)
        eventually(lambda: "GTIDs" in daemon.log(), what="the monitor has seen it")
        eventually(lambda: daemon.metrics().total("mysqlproxy_server_manager") == 1)

        def on_a_worker() -> bool:
            client.query("INSERT INTO app.t SELECT MAX(a) + 1 FROM app.t").check()
            there = table.manager.value("SELECT COUNT(*) FROM app.t")
            assert len(written(client)) == there
            return any(worker.served("SELECT a FROM app.t") for worker in table.workers)

        for worker in table.workers:
            worker.general_log.mark()
        eventually(on_a_worker, what="reads go to workers")


def test_mysqls_reset_is_seen_by_the_next_write(mysql97: MysqlPair, daemons: Factory, free_port: Any) -> None:
    mysql97.source.query("CREATE TABLE app.t (a INT PRIMARY KEY)")
    mysql97.wait_in_sync()
    daemon = daemons.start(mysql_pair_config(mysql97, free_port, routing=ROUTING, monitor=BLIND))
    try:
        with proxied(daemon) as client:
            write(client, 1)
            assert written(client) == [1]
            mysql97.replica.query("STOP REPLICA")
            mysql97.source.query("RESET BINARY LOGS AND GTIDS")
            write(client, 2)
            assert [written(client) for _ in range(4)] == [[1, 2]] * 4
    finally:
        daemon.stop()
        mysql97.replica.query("RESET BINARY LOGS AND GTIDS")
        mysql97.replica.query("RESET REPLICA")
        mysql97.replica.query("START REPLICA")
        mysql97.wait_in_sync()


@pytest.mark.parametrize("capabilities", [0, flags.DEPRECATE_EOF])
def test_a_gtid_that_is_told_late_is_no_sign_of_that(
    table: LocalCluster, proxy: Proxy, capabilities: int
) -> None:
    """The answer to INSERT ... RETURNING may end in an EOF, which tells none; the next OK does."""
    daemon = proxy(routing=ROUTING)
    with proxied(daemon, capabilities=capabilities) as client:
        for number in range(3):
            assert client.query(f"INSERT INTO app.t VALUES ({number}) RETURNING a").rows
            pings = {ping(daemon)}
            for probes in (2, 3):
                eventually(lambda: len(pings) >= probes or pings.add(ping(daemon)), what="a probe")  # noqa: B023
            client.query("SET autocommit = 0").check()
            client.query("SET autocommit = 1").check()
            assert written(client) == list(range(number + 1))
    assert "began anew" not in daemon.log()


def ping(daemon: Daemon) -> float:
    return daemon.metrics().total("mysqlproxy_server_ping_seconds", server="manager")
