"""Workers that leave something out for good take no reads that promise more than ``eventual``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.conftest import Factory
from tests.support.mysql import MysqlPair
from tests.support.raw import RawClient, proxied
from tests.support.sessions import mysql_pair_config
from tests.support.waiting import eventually

ROUTING = {"strategy": "round_robin", "consistency_wait": 5.0}
# On MariaDB, each can be changed while replication is stopped.
FILTERS = {
    "replicate_do_db": "other",
    "replicate_ignore_db": "app",
    "replicate_do_table": "app.u",
    "replicate_ignore_table": "app.t",
    "replicate_wild_do_table": "other.%",
    "replicate_wild_ignore_table": "app.t%",
}


@pytest.fixture
def daemon(cluster: LocalCluster, proxy: Callable[..., Daemon]) -> Daemon:
    cluster.manager.query("CREATE TABLE app.t (a INT)")
    cluster.wait_in_sync()
    account = {"password": "own", "server_user": "app", "server_password": cluster.passwords["app"]}
    users = [
        {"name": "app", "password": cluster.passwords["app"]},
        {"name": "loose", "read_consistency": "eventual", **account},
    ]
    return proxy(routing=ROUTING, users=users)


@pytest.fixture
def filtering(cluster: LocalCluster) -> Iterator[Callable[[str, str], None]]:
    changed = set()

    def change(name: str, value: str) -> None:
        changed.add(name)
        for worker in cluster.workers:
            worker.query("STOP SLAVE")
            worker.query(f"SET GLOBAL {name} = '{value}'")
            worker.query("START SLAVE")

    yield change
    for name in changed:
        change(name, "")


def noticed(daemon: Daemon, cluster: LocalCluster, name: str) -> None:
    """Until the monitor has seen the filter on every worker."""

    def seen() -> bool:
        lines = [line for line in daemon.log().splitlines() if f"has replication filters ({name})" in line]
        return all(any(worker.name in line for line in lines) for worker in cluster.workers)

    eventually(seen, what="the monitor has seen the filters")


def counted(client: RawClient) -> int:
    return int(client.query("SELECT COUNT(*) FROM app.t").value or b"-1")


@pytest.mark.parametrize("name", FILTERS)
def test_a_session_reads_what_a_filter_keeps_from_the_workers(
    cluster: LocalCluster, daemon: Daemon, filtering: Callable[[str, str], None], name: str
) -> None:
    filtering(name, FILTERS[name])
    noticed(daemon, cluster, name)
    with proxied(daemon) as client, proxied(daemon, "loose") as loose:
        client.query("USE app").check()  # the default schema decides for what is logged as a statement
        client.query("INSERT INTO app.t VALUES (1)").check()
        assert [counted(client) for _ in range(3)] == [1, 1, 1]
        assert counted(loose) == 0
        hinted = client.query("SELECT /* mysqlproxy: consistency=eventual */ COUNT(*) FROM app.t")
        assert hinted.value == b"0"
    cluster.manager.query("TRUNCATE TABLE app.t")


def test_without_the_filter_workers_read_again(
    cluster: LocalCluster, daemon: Daemon, filtering: Callable[[str, str], None]
) -> None:
    filtering("replicate_ignore_db", "elsewhere")
    noticed(daemon, cluster, "replicate_ignore_db")
    with proxied(daemon) as client:
        counted(client)
        assert cluster.manager.served("FROM app.t")
        filtering("replicate_ignore_db", "")

        def on_a_worker() -> bool:
            counted(client)
            return any(worker.served("FROM app.t") for worker in cluster.workers)

        eventually(on_a_worker)


def test_what_mysqls_replica_leaves_out_is_read_from_the_source(
    mysql97: MysqlPair, daemons: Factory, free_port: Any
) -> None:
    mysql97.source.query("CREATE TABLE app.t (a INT)")
    mysql97.wait_in_sync()

    def ignore(tables: str) -> None:
        mysql97.replica.query("STOP REPLICA SQL_THREAD")
        mysql97.replica.query(f"CHANGE REPLICATION FILTER REPLICATE_IGNORE_TABLE = ({tables})")
        mysql97.replica.query("START REPLICA")

    ignore("app.t")
    try:
        daemon = daemons.start(mysql_pair_config(mysql97, free_port, routing=ROUTING))
        with proxied(daemon) as client:
            client.query("INSERT INTO app.t VALUES (1)").check()
            assert [counted(client) for _ in range(3)] == [1, 1, 1]
        assert "replica takes only reads with read_consistency eventual" in daemon.log()
    finally:
        ignore("")
        mysql97.source.query("DROP TABLE app.t")
        mysql97.wait_in_sync()


def test_a_session_that_wrote_past_the_binary_log_reads_from_the_manager_for_good(
    cluster: LocalCluster, daemon: Daemon
) -> None:
    cluster.manager.query("GRANT BINLOG ADMIN ON *.* TO app@'%'")
    cluster.wait_in_sync()
    with proxied(daemon) as client:
        client.query("SET sql_log_bin = 0").check()
        client.query("INSERT INTO app.t VALUES (1)").check()
        client.query("SET sql_log_bin = 1").check()
        assert [counted(client) for _ in range(3)] == [1, 1, 1]
        client.command(0x1F).check()  # COM_RESET_CONNECTION
        assert [counted(client) for _ in range(3)] == [1, 1, 1]
        client.query("INSERT INTO app.t VALUES (2)").check()
        assert [counted(client) for _ in range(3)] == [2, 2, 2]
    cluster.manager.query("TRUNCATE TABLE app.t")
