"""Connections that servers end while nothing runs on them: their last words are nobody's answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.conftest import Factory
from tests.faults.scene import ask, assert_closed, threads
from tests.support.mysql import MysqlPair
from tests.support.waiting import eventually


def kill_all(server: Any) -> None:
    for thread in threads(server):
        server.query(f"KILL {thread}")
    eventually(lambda: not threads(server), what="the server has ended them")


class TestKilledByAnAdministrator:
    def test_the_client_notices_nothing(self, cluster: LocalCluster, daemon: Daemon) -> None:
        client = daemon.connect(database="app")
        for _ in range(4):
            ask(client, "SELECT a FROM t")
        ask(client, "INSERT INTO t VALUES (2)")
        cluster.wait_in_sync()
        for server in cluster.servers:
            kill_all(server)
        for number in range(1, 5):
            assert ask(client, f"SELECT a + {number} FROM t WHERE a = 1") == ((1 + number,),)
        ask(client, "INSERT INTO t VALUES (3)")
        assert [row["a"] for row in cluster.manager.query("SELECT a FROM app.t")] == [1, 2, 3]

    def test_with_a_transaction_open_the_client_is_closed(
        self, cluster: LocalCluster, daemon: Daemon
    ) -> None:
        client = daemon.connect(database="app")
        ask(client, "BEGIN")
        ask(client, "INSERT INTO t VALUES (2)")
        kill_all(cluster.manager)
        assert_closed(client, cluster)
        assert [row["a"] for row in cluster.manager.query("SELECT a FROM app.t")] == [1]

    def test_idle_in_the_pool_they_are_no_ones(self, cluster: LocalCluster, daemon: Daemon) -> None:
        for _ in range(3):
            daemon.connect(database="app").close()
        for server in cluster.servers:
            kill_all(server)
        client = daemon.connect(database="app")
        ask(client, "INSERT INTO t VALUES (2)")
        assert ask(client, "SELECT COUNT(*) FROM t") == ((2,),)


class TestClosedByTheServersTimeout:
    @pytest.fixture
    def mysql_daemon(self, mysql97: MysqlPair, daemons: Factory, free_port: Callable[[], int]) -> Daemon:
        mysql97.source.query("CREATE TABLE app.t (a INT PRIMARY KEY)")
        mysql97.source.query("INSERT INTO app.t VALUES (1)")
        mysql97.wait_in_sync()
        daemon = daemons.start(
            {
                "listen": {"mysql": [f"127.0.0.1:{free_port()}"], "http": f"127.0.0.1:{free_port()}"},
                "monitor": {"user": "monitor", "password": mysql97.passwords["monitor"], "interval": 0.2},
                "servers": [
                    {"name": "source", "address": mysql97.source.address, "role": "manager"},
                    {"name": "replica", "address": mysql97.replica.address, "role": "worker"},
                ],
                "users": [{"name": "app", "password": mysql97.passwords["app"]}],
            }
        )
        eventually(lambda: daemon.metrics().total("mysqlproxy_server_up") == 2)
        return daemon

    def both(self, daemon: Daemon, servers: list[Any]) -> None:
        for server in servers:
            kill_all(server)  # those that wait in the pool would keep the usual timeout
        client, inside = daemon.connect(database="app"), daemon.connect(database="app")
        for connection in (client, inside):
            ask(connection, "SET SESSION wait_timeout = 1")
            ask(connection, "SELECT a FROM t")
        ask(inside, "BEGIN")
        ask(inside, "INSERT INTO t VALUES (2)")
        # The servers say ERR 4031 (MySQL 9.7) or nothing (MariaDB) and close.
        eventually(lambda: not any(map(threads, servers)), what="the servers have closed them")
        for number in range(1, 4):
            assert ask(client, f"SELECT a + {number} FROM t") == ((1 + number,),)
        ask(client, "INSERT INTO t VALUES (3)")
        with pytest.raises(Exception, match=r"Lost connection|gone away"):
            ask(inside, "COMMIT")
        assert [row["a"] for row in servers[0].query("SELECT a FROM app.t")] == [1, 3]

    def test_on_mariadb(self, cluster: LocalCluster, daemon: Daemon) -> None:
        self.both(daemon, cluster.servers)

    def test_on_mysql_with_its_error_4031(self, mysql97: MysqlPair, mysql_daemon: Daemon) -> None:
        self.both(mysql_daemon, mysql97.servers)
