"""A worker that dies, freezes, stops or lags: reads go on elsewhere, and nobody gets half a result for a whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import mysql.connector
import pymysql
import pytest
from pymysql.constants import CLIENT

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.demo.server import LocalServer
from tests.faults.conftest import ROUTING
from tests.faults.scene import (
    FAST,
    LOST,
    Meanwhile,
    ask,
    await_reads,
    await_running,
    await_view,
    running,
    served_by,
    unbuffered,
)
from tests.support.waiting import eventually

READ = "SELECT a FROM t WHERE a > 0"
BOTH = {"worker1", "worker2"}
WIDE = "SELECT a, REPEAT('x', 100000) FROM t ORDER BY a"


class Held:
    """Reads of ``t`` on these servers wait until ``release``, by a lock that the server knows nothing to doubt of."""

    def __init__(self, *servers: LocalServer) -> None:
        self._locks = [server.connect("root", database="app") for server in servers]
        for lock in self._locks:
            ask(lock, "LOCK TABLES t WRITE")

    def release(self) -> None:
        for lock in self._locks:
            lock.close() if lock.open else None


@pytest.fixture
def held(cluster: LocalCluster, daemon: Daemon) -> Any:
    held = Held(*cluster.workers)
    yield held
    held.release()


def other(cluster: LocalCluster, server: LocalServer) -> LocalServer:
    (found,) = [worker for worker in cluster.workers if worker is not server]
    return found


class TestOneThatIsKilled:
    def test_while_nothing_runs_the_client_notices_nothing(
        self, cluster: LocalCluster, daemon: Daemon
    ) -> None:
        client = daemon.connect(database="app")
        assert ask(client, READ) == ((1,),)
        (name,) = served_by(cluster, READ)  # where it has a connection
        (killed,) = [worker for worker in cluster.workers if worker.name == name]
        killed.kill()
        for _ in range(20):  # from the first one on, long before the monitor knows
            assert ask(client, READ) == ((1,),)
        assert served_by(cluster, READ) == {name: 1, other(cluster, killed).name: 20}

    def test_before_the_first_byte_the_read_is_answered_by_another(
        self, cluster: LocalCluster, daemon: Daemon, held: Held
    ) -> None:
        client = daemon.connect(database="app")
        read = Meanwhile(ask, client, READ)
        first = await_running(cluster, READ)
        first.kill()
        second = await_running(cluster, READ)
        assert {first, second} == set(cluster.workers)
        held.release()
        assert read.result() == ((1,),)
        assert served_by(cluster, READ) == {"worker1": 1, "worker2": 1}
        assert ask(client, "SELECT a + 1 FROM t") == ((2,),)

    def test_a_prepared_read_is_answered_by_another_too(
        self, cluster: LocalCluster, daemon: Daemon, held: Held
    ) -> None:
        with unbuffered(daemon) as client:
            cursor = client.cursor(prepared=True)

            def read() -> Any:
                cursor.execute("SELECT a FROM t WHERE a = ?", (1,))
                return cursor.fetchall()

            reading = Meanwhile(read)
            first = await_running(cluster, "WHERE a = ")
            first.kill()
            assert await_running(cluster, "WHERE a = ") is not first
            held.release()
            assert reading.result() == [(1,)]

    def test_in_a_read_too_large_to_be_kept_it_is_an_error_and_the_session_goes_on(
        self, cluster: LocalCluster, table: None, proxy: Callable[..., Daemon]
    ) -> None:
        daemon = await_reads(proxy(monitor=FAST, limits={"retain_request": 20}), cluster)
        held = Held(*cluster.workers)
        client = daemon.connect(database="app")
        read = Meanwhile(ask, client, READ)
        await_running(cluster, READ).kill()
        with pytest.raises(pymysql.OperationalError) as caught:
            read.result()
        assert caught.value.args[0] == 1927
        held.release()
        assert ask(client, READ) == ((1,),)

    def test_in_the_middle_of_a_result_the_client_is_closed(
        self, cluster: LocalCluster, daemon: Daemon
    ) -> None:
        cluster.manager.query("INSERT INTO t SELECT seq FROM seq_2_to_2000", schema="app")
        cluster.wait_in_sync()
        client = unbuffered(daemon)
        cursor = client.cursor()
        cursor.execute(WIDE)  # 200 MB: what is not read yet waits in the server
        assert cursor.fetchone()[0] == 1
        await_running(cluster, "REPEAT").kill()
        got = [1]
        with pytest.raises(mysql.connector.Error) as caught:
            while True:
                row = cursor.fetchone()
                assert row is not None, f"{len(got)} of 2000 rows were taken for all"
                got.append(row[0])
        assert caught.value.errno in LOST
        client.disconnect()
        assert got == list(range(1, len(got) + 1))  # what came was right
        assert sum(served_by(cluster, "REPEAT").values()) == 1  # never asked again
        assert ask(daemon.connect(database="app"), READ)[:1] == ((1,),)

    def test_between_two_results_of_one_statement_the_client_is_closed(
        self, cluster: LocalCluster, daemon: Daemon, held: Held
    ) -> None:
        client = daemon.connect(database="app", client_flag=CLIENT.MULTI_STATEMENTS)
        cursor = client.cursor()
        cursor.execute("SELECT 7; SELECT a FROM t")
        assert cursor.fetchall() == ((7,),)
        await_running(cluster, "SELECT a FROM t").kill()
        with pytest.raises(pymysql.OperationalError) as caught:
            cursor.nextset()
        assert caught.value.args[0] in LOST
        assert sum(served_by(cluster, "^SELECT 7").values()) == 1

    def test_then_comes_back_and_is_used_again(self, cluster: LocalCluster, daemon: Daemon) -> None:
        cluster.workers[0].kill()
        await_view(daemon, reading={"worker2"})
        cluster.workers[0].start()
        await_view(daemon, reading=BOTH)
        for _ in range(4):
            ask(daemon.connect(database="app"), "SELECT a + 7 FROM t")
        assert served_by(cluster, r"a \+ 7") == {"worker1": 2, "worker2": 2}


class TestOneThatFreezes:
    def test_a_running_read_is_answered_by_another(
        self, cluster: LocalCluster, daemon: Daemon, held: Held
    ) -> None:
        client = daemon.connect(database="app")
        read = Meanwhile(ask, client, READ)
        first = await_running(cluster, READ)
        first.pause()
        held_by = other(cluster, first)
        eventually(lambda: running(held_by, READ))
        first.resume()
        held.release()
        assert read.result() == ((1,),)

    @pytest.mark.parametrize("known", [True, False], ids=["with a connection there", "without"])
    def test_reads_move_on_as_soon_as_that_is_noticed(
        self, cluster: LocalCluster, daemon: Daemon, known: bool
    ) -> None:
        client = daemon.connect(database="app")
        for _ in range(4 if known else 0):
            ask(client, READ)
        cluster.workers[0].pause()
        began = time.monotonic()
        for _ in range(4):
            assert ask(client, READ) == ((1,),)
        # Twice the probe's timeout and the pause between, not the 5 s that a connect may take.
        assert time.monotonic() - began < 4
        cluster.workers[0].resume()
        await_view(daemon, reading=BOTH)


class TestOneThatCannotBeTrusted:
    @pytest.mark.parametrize("thread", ["SQL_THREAD", "IO_THREAD"])
    def test_with_replication_stopped_it_gets_no_reads(
        self, cluster: LocalCluster, daemon: Daemon, thread: str
    ) -> None:
        client = daemon.connect(database="app")
        cluster.workers[0].query(f"STOP SLAVE {thread}")
        await_view(daemon, reading={"worker2"})
        for _ in range(6):
            ask(client, READ)
        assert served_by(cluster, READ) == {"worker2": 6}

    def test_lagging_it_gets_no_reads_until_it_has_caught_up(
        self, cluster: LocalCluster, table: None, proxy: Callable[..., Daemon]
    ) -> None:
        daemon = await_reads(proxy(monitor=FAST | {"max_replica_lag": 1.0}, routing=ROUTING), cluster)
        client = daemon.connect(database="app")
        held = Held(cluster.workers[0])  # it cannot apply what comes for t
        cluster.manager.query("INSERT INTO app.t VALUES (2)")
        await_view(daemon, reading={"worker2"})
        for _ in range(6):
            assert ask(client, READ) == ((1,), (2,))
        assert served_by(cluster, READ) == {"worker2": 6}
        held.release()
        await_view(daemon, reading=BOTH)
        for _ in range(4):
            assert ask(daemon.connect(database="app"), READ) == ((1,), (2,))
        assert served_by(cluster, READ) == {"worker1": 2, "worker2": 8}

    def test_it_ends_the_reads_that_it_has(self, cluster: LocalCluster, daemon: Daemon) -> None:
        cluster.manager.query("INSERT INTO t SELECT seq FROM seq_2_to_500", schema="app")
        cluster.wait_in_sync()
        with unbuffered(daemon) as client:
            cursor = client.cursor()
            cursor.execute(WIDE)
            reading = await_running(cluster, "REPEAT")
            reading.query("STOP SLAVE SQL_THREAD")
            await_view(daemon, reading=BOTH - {reading.name})
            assert len(cursor.fetchall()) == 500


class TestAllOfThem:
    def test_gone_the_manager_takes_the_reads_until_one_is_back(
        self, cluster: LocalCluster, daemon: Daemon
    ) -> None:
        client = daemon.connect(database="app")
        ask(client, READ)
        cluster.workers[0].kill()
        cluster.workers[1].query("STOP SLAVE")
        await_view(daemon, reading={"manager"})
        assert ask(client, "SELECT a + 5 FROM t") == ((6,),)
        assert served_by(cluster, r"a \+ 5") == {"manager": 1}
        cluster.workers[1].query("START SLAVE")
        await_view(daemon, reading={"worker2"})
        ask(client, "SELECT a + 6 FROM t")
        assert served_by(cluster, r"a \+ 6") == {"worker2": 1}

    def test_killed_at_once_a_read_gets_its_answer_from_the_manager(
        self, cluster: LocalCluster, daemon: Daemon
    ) -> None:
        client = daemon.connect(database="app")
        for _ in range(4):
            ask(client, READ)
        for worker in cluster.workers:
            worker.kill()
        assert ask(client, "SELECT a + 8 FROM t") == ((9,),)
        assert served_by(cluster, r"a \+ 8") == {"manager": 1}

    def test_gone_with_the_manager_a_read_gets_an_error_at_once(
        self, cluster: LocalCluster, daemon: Daemon
    ) -> None:
        client = daemon.connect(database="app")
        for server in cluster.servers:
            server.kill()
        began = time.monotonic()
        with pytest.raises(pymysql.MySQLError):
            ask(client, READ)
        assert time.monotonic() - began < 4
        await_view(daemon, manager="", reading=set())  # or it may be told of the worker of before
        cluster.workers[0].start()
        await_view(daemon, manager="", reading={"worker1"})
        assert ask(client, READ) == ((1,),)  # and the client's connection has lived through it

    def test_a_connection_that_breaks_is_not_the_end_of_the_last_reader(
        self, cluster: LocalCluster, daemon: Daemon
    ) -> None:
        """As when it was restarted, which nobody has noticed yet."""
        client = daemon.connect(database="app")
        cluster.workers[1].query("STOP SLAVE")
        cluster.manager.kill()
        await_view(daemon, manager="", reading={"worker1"})
        held = Held(cluster.workers[0])
        read = Meanwhile(ask, client, READ)
        (first,) = eventually(lambda: running(cluster.workers[0], READ))
        cluster.workers[0].query("KILL %s", (first,))
        eventually(lambda: set(running(cluster.workers[0], READ)) - {first} or read.done)
        held.release()
        assert read.result() == ((1,),)
