"""Servers whose logins begin without autocommit: a session is as one connection to the manager would be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.demo.server import LocalServer
from mysqlproxy.protocol.capabilities import STATUS_AUTOCOMMIT, STATUS_IN_TRANS
from tests.support.raw import RESET_CONNECTION, RawClient, proxied

Proxy = Callable[..., Daemon]
BY_VARIABLE = "SET GLOBAL autocommit = 0"
BY_INIT_CONNECT = "SET GLOBAL init_connect = 'SET autocommit=0'"
ROUTING = {"strategy": "round_robin", "consistency_wait": 5.0}


@pytest.fixture
def table(cluster: LocalCluster) -> LocalCluster:
    cluster.manager.query("CREATE TABLE app.t (a INT) ENGINE=InnoDB")
    cluster.manager.query("INSERT INTO app.t VALUES (1)")
    cluster.wait_in_sync()
    return cluster


def counted(client: RawClient) -> int:
    return int(client.query("SELECT COUNT(*) FROM app.t /* counted */").value or b"-1")


def committed(cluster: LocalCluster) -> int:
    return int(cluster.manager.value("SELECT COUNT(*) FROM app.t"))


def open_transactions(server: LocalServer) -> int:
    return int(server.value("SELECT COUNT(*) FROM information_schema.INNODB_TRX"))


@pytest.mark.parametrize("setting", [BY_VARIABLE, BY_INIT_CONNECT])
def test_a_read_leaves_no_transaction_on_a_worker_that_begins_without_autocommit(
    table: LocalCluster, proxy: Proxy, setting: str
) -> None:
    for worker in table.workers:
        worker.query(setting)
    daemon = proxy(routing=ROUTING)
    with proxied(daemon) as client:
        for rows in (1, 2, 3):
            assert [counted(client) for _ in range(3)] == [rows] * 3
            assert sum(map(open_transactions, table.workers)) == 0
            client.query("INSERT INTO app.t VALUES (1)").check()
        assert committed(table) == 4
    assert not table.manager.served("counted")


@pytest.mark.parametrize("schema", ["", "app"])
@pytest.mark.parametrize("everywhere", [True, False], ids=["everywhere", "manager"])
@pytest.mark.parametrize("setting", [BY_VARIABLE, BY_INIT_CONNECT])
def test_where_the_manager_begins_without_autocommit_so_does_the_session(
    table: LocalCluster, proxy: Proxy, setting: str, everywhere: bool, schema: str
) -> None:
    for server in table.servers if everywhere else table.servers[:1]:
        server.query(setting)
    daemon = proxy(routing=ROUTING)
    with proxied(daemon, schema=schema) as client:
        assert not client.login.status & STATUS_AUTOCOMMIT
        for _ in range(2):
            assert counted(client) == 1
            assert table.manager.served("counted")
            assert client.query("INSERT INTO app.t VALUES (1)").check().ok.status & STATUS_IN_TRANS
            assert counted(client) == 2
            assert committed(table) == 1
            client.command(RESET_CONNECTION).check()  # which rolls back, and begins again without
        client.query("SET autocommit = 1").check()
        client.query("INSERT INTO app.t VALUES (1)").check()
        assert committed(table) == 2
        table.manager.general_log.mark()
        assert [counted(client) for _ in range(4)] == [2] * 4
        assert not table.manager.served("counted")
        assert sum(map(open_transactions, table.workers)) == 0
