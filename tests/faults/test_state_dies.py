"""What cannot be replayed dies with its server: the client is closed and never goes on on another connection."""

from __future__ import annotations

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.faults.binary import Binary
from tests.faults.scene import ask, assert_closed, await_view, served_by

BOTH = {"worker1", "worker2"}

IRREPLACEABLE = {
    "a named lock": ["DO GET_LOCK('mine', 0)"],
    "locked tables": ["LOCK TABLES t READ"],
    "a temporary table": ["CREATE TEMPORARY TABLE mine (a INT)"],
    "a user variable": ["SET @mine = 1"],
    "a statement prepared by name": ["PREPARE mine FROM 'SELECT 1'"],
    "a default role": ["SET DEFAULT ROLE NONE"],
    "a savepoint": ["BEGIN", "SAVEPOINT mine"],
    "the next transaction's isolation": ["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
    "a routine's unknown doings": ["CALL mine()"],
}


def test_a_client_that_had_one_of_these_is_closed(cluster: LocalCluster, daemon: Daemon) -> None:
    cluster.manager.query("CREATE TABLE app.u (a INT)")
    cluster.manager.query("CREATE PROCEDURE app.mine() DO GET_LOCK('theirs', 0)")
    clients = {}
    for what, statements in IRREPLACEABLE.items():
        clients[what] = daemon.connect(database="app")
        for statement in statements:
            ask(clients[what], statement)
    free = daemon.connect(database="app")
    ask(free, "SET ROLE NONE")
    ask(free, "INSERT INTO u VALUES (1)")
    cluster.manager.kill()
    cluster.manager.start()
    await_view(daemon, reading=BOTH)
    for what, client in clients.items():
        print(what)  # for a failure
        assert_closed(client, cluster)
    ask(free, "INSERT INTO u VALUES (2)")  # whoever had nothing goes on


@pytest.mark.parametrize("brought", [False, True], ids=["on the worker alone", "the manager has them"])
def test_diagnostics_of_a_workers_answer(cluster: LocalCluster, daemon: Daemon, brought: bool) -> None:
    client = daemon.connect(database="app")
    ask(client, "SELECT 1 / 0 FROM t")
    ask(client, "GET DIAGNOSTICS @n = NUMBER")
    (name,) = served_by(cluster, "GET DIAGNOSTICS")
    (worker,) = [worker for worker in cluster.workers if worker.name == name]
    if brought:
        ask(client, "SET @other = 1")
    worker.kill()
    if brought:
        assert ask(client, "SELECT @n") == ((1,),)
    else:
        assert_closed(client, cluster)


class TestACursor:
    @pytest.fixture
    def many(self, cluster: LocalCluster, table: None) -> None:
        cluster.manager.query("INSERT INTO t SELECT seq FROM seq_2_to_100", schema="app")
        cluster.wait_in_sync()

    @pytest.mark.parametrize("running", [True, False], ids=["while it is fetched from", "between fetches"])
    def test_is_never_continued_on_another_worker(
        self, cluster: LocalCluster, daemon: Daemon, many: None, running: bool
    ) -> None:
        client = daemon.connect(database="app")
        binary = Binary(client)
        statement = binary.prepare("SELECT a FROM t ORDER BY a")
        assert binary.execute(statement, cursor=True) == []
        assert binary.fetch(statement, 10) == (list(range(1, 11)), True)
        (name,) = served_by(cluster, "ORDER BY a")
        (worker,) = [worker for worker in cluster.workers if worker.name == name]
        if not running:
            worker.kill()
        else:
            worker.pause()  # the fetch is on its way when it dies
            client._sock.settimeout(20)
            client._execute_command(0x1C, statement.to_bytes(4, "little") + b"\x0a\0\0\0")
            worker.kill()
        with pytest.raises(pymysql.OperationalError):
            if running:
                client._read_packet()
            else:
                binary.fetch(statement, 10)
        with pytest.raises(pymysql.MySQLError):
            ask(client, "SELECT 1 /* afterwards */")
        assert served_by(cluster, "afterwards") == {}

    def test_that_has_been_read_to_its_end_keeps_nobody(
        self, cluster: LocalCluster, daemon: Daemon, many: None
    ) -> None:
        client = daemon.connect(database="app")
        binary = Binary(client)
        statement = binary.prepare("SELECT a FROM t ORDER BY a")
        binary.execute(statement, cursor=True)
        while binary.fetch(statement, 64)[1]:
            pass
        (name,) = served_by(cluster, "ORDER BY a")
        next(worker for worker in cluster.workers if worker.name == name).kill()
        assert binary.execute(statement) == list(range(1, 101))


class TestWhatCanBeReplayed:
    @pytest.mark.parametrize("victim", ["manager", "worker1"])
    def test_goes_on_after_its_server_has_died_and_come_back(
        self, cluster: LocalCluster, daemon: Daemon, victim: str
    ) -> None:
        client = daemon.connect(database="app", init_command="SET SESSION lock_wait_timeout = 77")
        binary = Binary(client)
        read = binary.prepare("SELECT a FROM t WHERE a < ?")
        write = binary.prepare("INSERT INTO t VALUES (?)")
        assert binary.execute(read, 10) == [1]
        binary.execute(write, 2)
        cluster.wait_in_sync()
        (server,) = [server for server in cluster.servers if server.name == victim]
        server.kill()
        server.start()
        await_view(daemon, reading=BOTH)
        for _ in range(4):
            assert binary.execute(read, 10) == [1, 2]
        binary.execute(write, 3)  # with the parameters' types, which the client told only once
        assert ask(client, "SELECT @@lock_wait_timeout, DATABASE()") == ((77, "app"),)

    def test_a_pools_reset_frees_a_client_of_what_it_had(self, cluster: LocalCluster, daemon: Daemon) -> None:
        client = daemon.connect(database="app")
        ask(client, "CREATE TEMPORARY TABLE mine (a INT)")
        client._execute_command(0x1F, b"")  # COM_RESET_CONNECTION
        client._read_packet()
        cluster.wait_in_sync()
        cluster.manager.kill()
        assert ask(client, "SELECT a FROM t") == ((1,),)
