"""Which server serves a read under each strategy, and that writes go to the manager; by the servers' own logs.

With eventual consistency every read is the strategy's own choice; with the others a session changes its worker only
when that cannot take it back in time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.support.raw import proxied
from tests.support.relay import relay
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]
READS = 60
FREE = {"read_consistency": "eventual"}


@pytest.fixture(autouse=True)
def table(cluster: LocalCluster) -> None:
    cluster.manager.query("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, a INT)")
    cluster.manager.query("INSERT INTO app.t (a) VALUES (1)")
    cluster.wait_in_sync()


def ask(daemon: Daemon, user: str = "app", reads: int = READS, mark: str = "") -> None:
    with proxied(daemon, user) as client:
        for _ in range(reads):
            assert client.query(f"SELECT a FROM app.t WHERE id = 1 /* read {mark} */").value == b"1"


def served(cluster: LocalCluster, pattern: str = "read") -> list[int]:
    """By manager, worker1, worker2."""
    return [len(server.served(pattern)) for server in cluster.servers]


def forget(cluster: LocalCluster) -> None:
    for server in cluster.servers:
        server.general_log.mark()


@pytest.mark.parametrize("strategy", ["random", "customized", "round_robin", "least_connections", "weighted"])
def test_reads_go_to_workers_and_writes_to_the_manager(
    cluster: LocalCluster, proxy: Proxy, strategy: str
) -> None:
    daemon = proxy(routing={"strategy": strategy, **FREE})
    with proxied(daemon) as client:
        for _ in range(5):
            assert client.query("INSERT INTO app.t (a) VALUES (2) /* write */").ok.affected_rows == 1
    ask(daemon)
    assert served(cluster, "write") == [5, 0, 0]
    manager, *workers = served(cluster)
    assert manager == 0
    assert sum(workers) == READS
    match strategy:
        case "round_robin":
            assert workers == [READS // 2, READS // 2]
        case "random" | "least_connections" | "weighted":
            assert min(workers) > READS // 10  # the chance to miss it is below 1 in 10^9
    statements = daemon.metrics()
    for server, count in zip(cluster.servers, served(cluster), strict=True):
        told = statements.total(
            "mysqlproxy_statements_total", server=server.name, kind="read", strategy=strategy
        )
        assert told == count


def test_direct_is_always_the_manager(cluster: LocalCluster, proxy: Proxy) -> None:
    ask(proxy(routing={"strategy": "direct"}))
    assert served(cluster) == [READS, 0, 0]


def test_weighted_follows_the_weights(cluster: LocalCluster, proxy: Proxy) -> None:
    servers = weighted(cluster, 3, 0)
    ask(proxy(routing={"strategy": "weighted", **FREE}, servers=servers))
    assert served(cluster) == [0, READS, 0]
    forget(cluster)
    ask(proxy(routing={"strategy": "weighted", **FREE}, servers=weighted(cluster, 9, 1)), reads=300)
    _, heavy, light = served(cluster)
    assert 240 < heavy < 297  # 270 expected, six standard deviations of 5.2
    assert heavy + light == 300


def weighted(cluster: LocalCluster, *weights: int) -> list[dict[str, Any]]:
    roles = ["manager", "worker", "worker"]
    return [
        {"name": server.name, "address": server.address, "role": role, "weight": weight}
        for server, role, weight in zip(cluster.servers, roles, [1, *weights], strict=True)
    ]


def test_customized_is_the_lowest_measured_ping(cluster: LocalCluster, proxy: Proxy) -> None:
    """One worker is far away: what the daemon sends it arrives late."""
    for far, near in ((1, 2), (2, 1)):
        forget(cluster)
        with relay(cluster.servers[far].port) as slow:
            slow.bytes_per_second = 2000.0
            servers = weighted(cluster, 1, 1)
            servers[far]["address"] = f"127.0.0.1:{slow.port}"
            daemon = proxy(routing={"strategy": "customized", **FREE}, servers=servers)
            eventually(
                lambda daemon=daemon: daemon.metrics().total("mysqlproxy_server_up") == 3  # type: ignore[misc]
            )
            ask(daemon)
            assert served(cluster)[near] == READS
            daemon.stop()


def test_least_connections_avoids_the_server_that_is_busy(cluster: LocalCluster, proxy: Proxy) -> None:
    daemon = proxy(routing={"strategy": "least_connections", **FREE})
    with proxied(daemon) as busy:
        running = threading.Thread(
            target=busy.query, args=("SELECT a, BENCHMARK(1e9, 1) FROM app.t /* long */",)
        )
        running.start()
        sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%long%' AND user = 'app'"
        eventually(lambda: any(worker.value(sql) for worker in cluster.workers))
        occupied = next(worker for worker in cluster.workers if worker.value(sql))
        ask(daemon)
        assert not occupied.served("read")
        with proxied(daemon) as killer:
            killer.query(f"KILL QUERY {busy.greeting.connection_id}").check()
        running.join(10)


def test_an_account_has_a_strategy_of_its_own(cluster: LocalCluster, proxy: Proxy) -> None:
    account = {"server_user": "app", "server_password": cluster.passwords["app"], "password": "own"}
    daemon = proxy(
        routing={"strategy": "round_robin", **FREE},
        users=[
            {"name": "app", "password": cluster.passwords["app"]},
            {"name": "straight", "strategy": "direct", **account},
            {"name": "any", "strategy": "random", **account},
        ],
    )
    for user in ("app", "straight", "any"):
        ask(daemon, user, mark=f"of {user}")
    assert served(cluster, "of app") == [0, READS // 2, READS // 2]
    assert served(cluster, "of straight") == [READS, 0, 0]
    manager, *workers = served(cluster, "of any")
    assert manager == 0
    assert min(workers) > 0


def test_without_a_worker_the_manager_takes_the_reads(cluster: LocalCluster, proxy: Proxy) -> None:
    daemon = proxy(servers=weighted(cluster, 1, 1)[:1], routing={"strategy": "random"})
    ask(daemon)
    assert served(cluster) == [READS, 0, 0]
    assert daemon.metrics().total("mysqlproxy_reads_on_manager_total", reason="no_worker") == READS


def test_a_session_stays_with_its_worker_and_sessions_take_turns(cluster: LocalCluster, proxy: Proxy) -> None:
    """Replication stands still: changing the worker could show less than was seen before."""
    daemon = proxy(
        routing={"strategy": "round_robin", "read_consistency": "session"}, monitor={"interval": 5.0}
    )
    eventually(lambda: daemon.metrics().total("mysqlproxy_server_up") == 3)
    for number in range(6):
        with proxied(daemon) as client:
            for _ in range(4):
                client.query(f"SELECT a FROM app.t /* read of {number} */").check()
    by_session = [served(cluster, f"read of {number} ") for number in range(6)]
    assert sorted(by_session) == 3 * [[0, 0, 4]] + 3 * [[0, 4, 0]]
