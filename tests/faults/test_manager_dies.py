"""The manager dies: no write twice, no half transaction, reads go on, and it is used again when it is back."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.faults.binary import Binary
from tests.faults.scene import (
    FAST,
    LOST,
    Meanwhile,
    ask,
    assert_closed,
    await_reads,
    await_running,
    await_view,
    served_by,
)
from tests.support.waiting import eventually

BOTH = {"worker1", "worker2"}
NOW = 4.0  # seconds: "at once", on a busy machine; less than any timeout


def rows(cluster: LocalCluster) -> set[int]:
    """What is in ``t`` on the manager."""
    return {row["a"] for row in cluster.manager.query("SELECT a FROM app.t")}


@pytest.fixture
def lock(cluster: LocalCluster) -> Iterator[Callable[[str], object]]:
    """Runs a statement that locks, for another client of the manager."""
    with cluster.manager.connect("root", database="app") as other:
        yield lambda sql: ask(other, sql)


class TestWhatIsInFlight:
    def test_a_write_gets_an_error_and_is_never_sent_again(
        self, cluster: LocalCluster, daemon: Daemon, lock: Callable[[str], object]
    ) -> None:
        client = daemon.connect(database="app")
        lock("LOCK TABLES t WRITE")
        write = Meanwhile(ask, client, "INSERT INTO t VALUES (2)")
        await_running(cluster, "VALUES (2)")
        cluster.manager.kill()
        with pytest.raises(pymysql.OperationalError) as caught:
            write.result()
        assert caught.value.args == (1927, "Lost connection to server during query")
        cluster.manager.start()
        await_view(daemon, reading=BOTH)
        assert_closed(client, cluster)
        assert rows(cluster) == {1}
        assert served_by(cluster, r"VALUES \(2\)") == {"manager": 1}

    def test_a_prepared_write_too(
        self, cluster: LocalCluster, daemon: Daemon, lock: Callable[[str], object]
    ) -> None:
        client = daemon.connect(database="app")
        binary = Binary(client)
        statement = binary.prepare("INSERT INTO t VALUES (?)")
        lock("LOCK TABLES t WRITE")
        write = Meanwhile(binary.execute, statement, 2)
        await_running(cluster, "INSERT INTO t")
        cluster.manager.kill()
        with pytest.raises(pymysql.OperationalError) as caught:
            write.result()
        assert caught.value.args == (1927, "Lost connection to server during query")
        cluster.manager.start()
        await_view(daemon, reading=BOTH)
        assert_closed(client, cluster)
        assert rows(cluster) == {1}

    def test_a_commit_gets_an_error_and_is_never_sent_again(
        self, cluster: LocalCluster, daemon: Daemon, lock: Callable[[str], object]
    ) -> None:
        client = daemon.connect(database="app")
        ask(client, "BEGIN")
        ask(client, "INSERT INTO t VALUES (2)")
        lock("FLUSH TABLES WITH READ LOCK")  # a COMMIT waits for its end
        commit = Meanwhile(ask, client, "COMMIT")
        await_running(cluster, "COMMIT")
        cluster.manager.kill()
        with pytest.raises(pymysql.OperationalError) as caught:
            commit.result()
        assert caught.value.args == (1927, "Lost connection to server during query")
        cluster.manager.start()
        await_view(daemon, reading=BOTH)
        assert_closed(client, cluster)
        assert rows(cluster) == {1}
        assert served_by(cluster, "COMMIT") == {"manager": 1}

    def test_a_file_on_its_way_is_lost_as_a_whole(
        self, cluster: LocalCluster, daemon: Daemon, tmp_path: Path
    ) -> None:
        cluster.manager.query("SET GLOBAL local_infile = 1")
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        client = daemon.connect(database="app", local_infile=True)
        load = Meanwhile(ask, client, f"LOAD DATA LOCAL INFILE '{pipe}' INTO TABLE t")
        with pipe.open("w") as file:
            file.write("".join(f"{number}\n" for number in range(2, 20_000)))
            file.flush()
            await_running(cluster, "LOAD DATA")
            cluster.manager.kill()
        with pytest.raises(pymysql.OperationalError) as caught:
            load.result()
        assert caught.value.args[0] in LOST
        cluster.manager.start()
        await_view(daemon, reading=BOTH)
        assert_closed(client, cluster)
        assert rows(cluster) == {1}

    def test_a_manager_that_freezes_is_dropped_with_what_runs_there(
        self, cluster: LocalCluster, daemon: Daemon, lock: Callable[[str], object]
    ) -> None:
        client = daemon.connect(database="app")
        lock("LOCK TABLES t WRITE")
        write = Meanwhile(ask, client, "INSERT INTO t VALUES (2)")
        await_running(cluster, "VALUES (2)")
        cluster.manager.pause()
        with pytest.raises(pymysql.OperationalError) as caught:
            write.result(5)
        assert caught.value.args[0] == 1927
        await_view(daemon, manager="")
        began = time.monotonic()
        with pytest.raises(pymysql.OperationalError):
            ask(daemon.connect(database="app"), "INSERT INTO t VALUES (3)")
        assert time.monotonic() - began < NOW
        cluster.manager.resume()
        await_view(daemon)
        assert served_by(cluster, r"VALUES \(2\)") == {"manager": 1}


class TestATransaction:
    @pytest.mark.parametrize("begin", ["BEGIN", "SET autocommit = 0"])
    @pytest.mark.parametrize("back", [True, False], ids=["and is back", "and stays away"])
    def test_interrupted_between_two_inserts_leaves_neither_row(
        self, cluster: LocalCluster, daemon: Daemon, begin: str, back: bool
    ) -> None:
        client = daemon.connect(database="app")
        ask(client, begin)
        ask(client, "INSERT INTO t VALUES (2)")
        cluster.manager.kill()
        if back:
            cluster.manager.start()
            await_view(daemon, reading=BOTH)
        assert_closed(client, cluster, "INSERT 3")
        if not back:
            cluster.manager.start()
        assert rows(cluster) == {1}
        assert served_by(cluster, "INSERT") == {"manager": 1}

    def test_with_only_reads_in_it_is_not_continued_either(
        self, cluster: LocalCluster, daemon: Daemon
    ) -> None:
        client = daemon.connect(database="app")
        ask(client, "START TRANSACTION WITH CONSISTENT SNAPSHOT")
        assert ask(client, "SELECT a FROM t") == ((1,),)
        cluster.manager.kill()
        assert_closed(client, cluster)

    def test_that_has_ended_is_none(self, cluster: LocalCluster, daemon: Daemon) -> None:
        client = daemon.connect(database="app")
        for statement in ("BEGIN", "INSERT INTO t VALUES (2)", "COMMIT"):
            ask(client, statement)
        cluster.manager.kill()
        cluster.manager.start()
        await_view(daemon, reading=BOTH)
        ask(client, "INSERT INTO t VALUES (3)")
        assert rows(cluster) == {1, 2, 3}

    def test_that_has_begun_after_a_restart_is_not_ended_by_the_news_of_it(
        self, cluster: LocalCluster, table: None, proxy: Callable[..., Daemon]
    ) -> None:
        daemon = proxy(monitor={"interval": 2.0})
        client = daemon.connect(database="app")
        ask(client, "INSERT INTO t VALUES (2)")
        cluster.manager.kill()
        cluster.manager.start()
        ask(client, "BEGIN")
        ask(client, "INSERT INTO t VALUES (3)")
        eventually(lambda: "was restarted or replaced" in daemon.log(), what="the news")
        ask(client, "INSERT INTO t VALUES (4)")
        ask(client, "COMMIT")
        assert rows(cluster) == {1, 2, 3, 4}


class TestWhileItIsAway:
    def test_reads_go_on_and_writes_get_an_error_at_once(self, cluster: LocalCluster, daemon: Daemon) -> None:
        client = daemon.connect(database="app")
        ask(client, "INSERT INTO t VALUES (2)")
        cluster.wait_in_sync()
        cluster.manager.kill()
        began = time.monotonic()
        for known in (False, True):  # before the monitor has noticed and after
            with pytest.raises(pymysql.OperationalError) as caught:
                ask(client, "INSERT INTO t VALUES (3)")
            assert time.monotonic() - began < NOW
            for _ in range(4):
                assert ask(client, "SELECT a FROM t") == ((1,), (2,))
            if not known:
                await_view(daemon, manager="", reading=BOTH)
                began = time.monotonic()
        assert caught.value.args == (
            1290,
            "no manager takes statements now: the manager manager is down",
        )
        by_workers = served_by(cluster, "SELECT a FROM t")
        assert set(by_workers) <= BOTH and sum(by_workers.values()) == 8

        cluster.manager.start()
        await_view(daemon, reading=BOTH)
        ask(client, "INSERT INTO t VALUES (3)")  # the same client, used again by itself
        assert rows(cluster) == {1, 2, 3}

    def test_the_mysql_client_shows_the_error(
        self, cluster: LocalCluster, table: None, proxy: Callable[..., Daemon]
    ) -> None:
        """libmariadb knows which numbers are a server's: before the monitor has noticed, too."""
        daemon = proxy(monitor=FAST | {"interval": 5.0, "down_after": 20})
        cluster.manager.kill()
        command = ["mysql", "--host=127.0.0.1", f"--port={daemon.port}", "--user=app", "app"]
        done = subprocess.run(
            [*command, "--execute=INSERT INTO t VALUES (2)"],
            env={**os.environ, "MYSQL_PWD": cluster.passwords["app"]},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.stderr.splitlines()[-1:] == ["ERROR 1927 (08S01) at line 1: Can't connect to server"]

    def test_new_clients_log_in_with_all_that_drivers_begin_with(
        self, cluster: LocalCluster, daemon: Daemon
    ) -> None:
        cluster.manager.kill()
        await_view(daemon, manager="")
        client = daemon.connect(
            database="app", autocommit=None, init_command="SET SESSION sql_mode = 'ANSI_QUOTES', NAMES latin1"
        )
        ask(client, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        ask(client, "USE app")
        client.ping(reconnect=False)
        for _ in range(4):
            assert ask(client, 'SELECT "a" FROM t') == ((1,),)
        by_workers = served_by(cluster, 'SELECT "a" FROM t')
        assert set(by_workers) <= BOTH and sum(by_workers.values()) == 4
        with pytest.raises(pymysql.OperationalError) as caught:
            daemon.connect(database="nowhere")
        assert caught.value.args[0] in (1044, 1049)  # a worker was asked

    def test_a_login_before_the_monitor_knows_asks_a_worker_for_the_schema(
        self, cluster: LocalCluster, table: None, proxy: Callable[..., Daemon]
    ) -> None:
        daemon = await_reads(proxy(monitor=FAST | {"interval": 5.0, "down_after": 20}), cluster)
        cluster.manager.kill()
        client = daemon.connect(database="app")
        assert ask(client, "SELECT a FROM t") == ((1,),)

    def test_autocommit_off_reads_from_a_worker_and_then_writes_to_the_manager_that_is_back(
        self, cluster: LocalCluster, daemon: Daemon
    ) -> None:
        cluster.manager.kill()
        await_view(daemon, manager="")
        client = daemon.connect(database="app", autocommit=False)  # what PyMySQL does unless told otherwise
        assert ask(client, "SELECT a FROM t") == ((1,),)
        client.commit()
        cluster.manager.start()
        await_view(daemon, reading=BOTH)
        ask(client, "INSERT INTO t VALUES (2)")
        client.commit()
        assert rows(cluster) == {1, 2}

    def test_a_read_that_only_the_manager_may_answer_gets_an_error_at_once(
        self, cluster: LocalCluster, table: None, proxy: Callable[..., Daemon]
    ) -> None:
        daemon = proxy(monitor=FAST | {"interval": 5.0, "down_after": 20}, routing={"strategy": "direct"})
        client = daemon.connect(database="app")
        ask(client, "SELECT a FROM t")
        cluster.manager.kill()
        began = time.monotonic()
        with pytest.raises(pymysql.OperationalError):
            ask(client, "SELECT a FROM t")
        assert time.monotonic() - began < NOW
        cluster.manager.start()
        assert ask(client, "SELECT a FROM t") == ((1,),)

    def test_a_read_of_what_no_worker_has_yet_is_an_error_and_never_stale(
        self, cluster: LocalCluster, daemon: Daemon
    ) -> None:
        client = daemon.connect(database="app")
        for worker in cluster.workers:
            worker.query("STOP SLAVE IO_THREAD")
        ask(client, "INSERT INTO t VALUES (2)")
        cluster.manager.kill()
        for worker in cluster.workers:
            worker.query("START SLAVE IO_THREAD")
        await_view(daemon, manager="", reading=BOTH)
        with pytest.raises(pymysql.OperationalError) as caught:
            ask(client, "SELECT a FROM t")
        assert caught.value.args[0] == 1290
        assert ask(daemon.connect(database="app"), "SELECT a FROM t") == ((1,),)

    def test_readyz_says_so(self, cluster: LocalCluster, daemon: Daemon) -> None:
        cluster.manager.kill()
        await_view(daemon, manager="")
        status, body = daemon.get("/readyz")
        assert status == 200 and "reads only: the manager manager is down" in body
        for worker in cluster.workers:
            worker.kill()
        eventually(lambda: daemon.get("/readyz")[0] == 503)
