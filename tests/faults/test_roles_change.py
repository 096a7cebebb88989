"""Who is the manager is what the servers say: two of them, another one, one in maintenance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.demo.server import LocalServer
from tests.faults.scene import FAST, Meanwhile, ask, assert_closed, await_view, running, served_by, threads
from tests.support.waiting import eventually

BOTH = {"worker1", "worker2"}


def promote(server: LocalServer) -> None:
    for statement in ("STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = 0"):
        server.query(statement)


def follow(server: LocalServer, source: LocalServer, cluster: LocalCluster) -> None:
    """Make ``server`` a replica of ``source`` that has the same data already."""
    server.query("STOP SLAVE")
    server.query("SET GLOBAL read_only = 1")
    server.query(
        "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%s, MASTER_USER='replication', "
        "MASTER_PASSWORD=%s, MASTER_USE_GTID=current_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=1",
        (source.port, cluster.passwords["replication"]),
    )
    server.query("START SLAVE")


def switch(cluster: LocalCluster) -> LocalServer:
    """Hand the manager's role to worker1, as an operator does: the old one is read only before and after."""
    old, (new, other) = cluster.manager, cluster.workers
    old.query("SET GLOBAL read_only = 1")
    cluster.wait_in_sync()
    promote(new)
    follow(old, new, cluster)
    follow(other, new, cluster)
    return new


def holds(connection: pymysql.Connection[Any], row: int) -> bool:
    """Whether a transaction has this row of ``t`` locked."""
    try:
        ask(connection, f"SELECT a FROM t WHERE a = {row} FOR UPDATE NOWAIT")
    except pymysql.OperationalError as error:
        assert error.args[0] == 1205
        return True
    return False


class TestTwoWritableServers:
    def test_take_no_writes_until_one_remains(self, cluster: LocalCluster, daemon: Daemon) -> None:
        client, inside = daemon.connect(database="app"), daemon.connect(database="app")
        ask(inside, "BEGIN")
        ask(inside, "INSERT INTO t VALUES (5)")
        promote(cluster.workers[0])
        await_view(daemon, manager="", reading={"worker2"})
        with pytest.raises(pymysql.OperationalError) as caught:
            ask(client, "INSERT INTO t VALUES (2)")
        assert caught.value.args == (
            1290,
            "no manager takes statements now: more than one server would take writes (manager and worker1)",
        )
        assert daemon.metrics().total("mysqlproxy_cluster_alerts") == 1
        assert_closed(inside, cluster, "COMMIT")
        assert ask(client, "SELECT a FROM t") == ((1,),)
        assert served_by(cluster, r"VALUES \(2\)") == {}

        cluster.workers[0].query("SET GLOBAL read_only = 1")
        await_view(daemon)
        ask(client, "INSERT INTO t VALUES (2)")
        assert served_by(cluster, r"VALUES \(2\)") == {"manager": 1}
        assert [row["a"] for row in cluster.manager.query("SELECT a FROM app.t")] == [1, 2]


class TestASwitchOfRoles:
    def test_writes_follow_and_open_transactions_do_not(self, cluster: LocalCluster, daemon: Daemon) -> None:
        client, inside, idle = (daemon.connect(database="app") for _ in range(3))
        ask(client, "INSERT INTO t VALUES (2)")
        ask(idle, "SET autocommit = 0")
        ask(inside, "BEGIN")
        ask(inside, "INSERT INTO t VALUES (3)")
        new = switch(cluster)
        await_view(daemon, manager=new.name, reading={"manager", "worker2"})

        ask(client, "INSERT INTO t VALUES (4)")
        assert served_by(cluster, r"VALUES \(4\)") == {"worker1": 1}
        ask(idle, "INSERT INTO t VALUES (6)")
        ask(idle, "COMMIT")
        assert served_by(cluster, r"VALUES \(6\)") == {"worker1": 1}
        assert_closed(inside, cluster)
        assert [row["a"] for row in new.query("SELECT a FROM app.t")] == [1, 2, 4, 6]
        for _ in range(4):  # its own write, wherever it reads
            assert ask(client, "SELECT a FROM t") == ((1,), (2,), (4,), (6,))
        for _ in range(4):
            ask(daemon.connect(database="app"), "SELECT a + 1 FROM t")
        assert served_by(cluster, r"a \+ 1") == {"manager": 2, "worker2": 2}

    def test_ends_an_open_transaction_before_its_client_speaks(
        self, cluster: LocalCluster, daemon: Daemon
    ) -> None:
        """The old manager follows the new one: what holds locks there would stop its replication."""
        old = cluster.manager
        idle, busy = daemon.connect(database="app"), daemon.connect(database="app")
        with old.connect("root", database="app") as gate:
            ask(gate, "SELECT GET_LOCK('gate', 0)")
            for client, row in ((idle, 5), (busy, 6)):
                ask(client, "BEGIN")
                ask(client, f"INSERT INTO t VALUES ({row})")
            answer = Meanwhile(ask, busy, "SELECT GET_LOCK('gate', 60)")
            eventually(lambda: running(old, "'gate'"))
            new = switch(cluster)
            await_view(daemon, manager=new.name, reading={"manager", "worker2"})
            eventually(lambda: not holds(gate, 5), what="the idle client's transaction is rolled back")
            assert holds(gate, 6), "a statement that runs may end"
            ask(gate, "DO RELEASE_ALL_LOCKS()")
            assert answer.result() == ((1,),)
            eventually(lambda: not holds(gate, 6), what="then its transaction is rolled back")
        for client in (idle, busy):
            assert_closed(client, cluster)

    def test_reaches_a_write_that_waits_for_a_connection(
        self, cluster: LocalCluster, table: None, proxy: Callable[..., Daemon]
    ) -> None:
        servers = [
            {"name": s.name, "address": s.address, "role": "worker", "max_connections": 1}
            for s in cluster.servers
        ]
        servers[0]["role"] = "manager"
        daemon = proxy(monitor=FAST, limits={"pool_wait": 20.0}, servers=servers)
        first, second = daemon.connect(database="app"), daemon.connect()
        old = cluster.manager
        with old.connect("root") as gate:
            ask(gate, "SELECT GET_LOCK('gate', 0)")
            holding = Meanwhile(ask, first, "SELECT GET_LOCK('gate', 60)")
            eventually(lambda: running(old, "'gate'"))
            waiting = Meanwhile(ask, second, "INSERT INTO app.t VALUES (3)")
            new = switch(cluster)
            await_view(daemon, manager=new.name)
            assert not waiting.done
        holding.result()
        waiting.result()
        assert served_by(cluster, r"VALUES \(3\)") == {"worker1": 1}

    def test_a_manager_set_read_only_by_hand_takes_nothing(
        self, cluster: LocalCluster, daemon: Daemon
    ) -> None:
        client = daemon.connect(database="app")
        ask(client, "INSERT INTO t VALUES (2)")
        cluster.wait_in_sync()
        cluster.manager.query("SET GLOBAL read_only = 1")
        await_view(daemon, manager="", reading=BOTH)
        with pytest.raises(pymysql.OperationalError) as caught:
            ask(client, "INSERT INTO t VALUES (3)")
        assert caught.value.args[1].endswith("the manager manager is read only")
        assert ask(client, "SELECT a FROM t") == ((1,), (2,))


class TestMaintenance:
    def reconfigure(self, daemon: Daemon, name: str, maintenance: bool) -> None:
        servers = [
            server | {"maintenance": maintenance} if server["name"] == name else server
            for server in daemon.config["servers"]
        ]
        daemon.write(daemon.config | {"servers": servers})
        daemon.reload()

    def test_of_a_worker_drains_it(self, cluster: LocalCluster, own_daemon: Daemon) -> None:
        daemon, worker = own_daemon, cluster.workers[0]
        idle = [daemon.connect(database="app") for _ in range(4)]
        for client in idle:
            ask(client, "SELECT a FROM t")
        assert served_by(cluster, "SELECT a FROM t") == {"worker1": 2, "worker2": 2}
        with worker.connect("root", database="app") as lock:
            ask(lock, "LOCK TABLES t WRITE")
            reads = [Meanwhile(ask, daemon.connect(database="app"), "SELECT a + 1 FROM t") for _ in range(2)]
            eventually(lambda: running(worker, "a + 1"))
            eventually(lambda: sum(read.done for read in reads) == 1)
            self.reconfigure(daemon, "worker1", True)
            await_view(daemon, reading={"worker2"})
            eventually(lambda: len(threads(worker)) == 1, what="idle connections are closed")
            assert sum(read.done for read in reads) == 1
        assert [read.result() for read in reads] == [((2,),), ((2,),)]  # what runs may end
        eventually(lambda: not threads(worker), what="no connection is left")
        for client in (*idle, daemon.connect(database="app")):
            assert ask(client, "SELECT a + 2 FROM t") == ((3,),)
        assert served_by(cluster, r"a \+ 2") == {"worker2": 5}
        self.reconfigure(daemon, "worker1", False)
        await_view(daemon, reading=BOTH)

    def test_of_the_manager_lets_transactions_end_and_begins_none(
        self, cluster: LocalCluster, own_daemon: Daemon
    ) -> None:
        daemon = own_daemon
        inside, client = daemon.connect(database="app"), daemon.connect(database="app")
        ask(inside, "BEGIN")
        ask(inside, "INSERT INTO t VALUES (2)")
        self.reconfigure(daemon, "manager", True)
        await_view(daemon, manager="", reading=BOTH)
        with pytest.raises(pymysql.OperationalError) as caught:
            ask(client, "INSERT INTO t VALUES (3)")
        assert caught.value.args[1].endswith("the manager manager is in maintenance")
        ask(inside, "INSERT INTO t VALUES (4)")
        ask(inside, "COMMIT")
        with pytest.raises(pymysql.OperationalError):
            ask(inside, "INSERT INTO t VALUES (5)")
        eventually(lambda: not threads(cluster.manager), what="no connection is left")
        assert [row["a"] for row in cluster.manager.query("SELECT a FROM app.t")] == [1, 2, 4]
        self.reconfigure(daemon, "manager", False)
        await_view(daemon)
        ask(inside, "INSERT INTO t VALUES (5)")
