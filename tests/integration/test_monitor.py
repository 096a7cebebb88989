"""The monitor on a real manager with two workers: what happens to them, and what the view says of it."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from mysqlproxy.cluster import pymysql_adapter
from mysqlproxy.cluster.gtid import GtidSet
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol import capabilities as flags
from tests.integration.watching import Watching, configured, manager, readers, watching

pytestmark = pytest.mark.usefixtures("alone")  # they count connections and wait for quiet servers


@pytest.fixture
async def watch(cluster: LocalCluster) -> AsyncIterator[Watching]:
    async with watching(
        configured(cluster.servers), cluster.passwords["monitor"], max_replica_lag=1.0
    ) as watch:
        yield watch


async def do(call: Callable[..., Any], *arguments: Any) -> Any:
    """A blocking call, while the monitor goes on."""
    return await asyncio.to_thread(call, *arguments)


def healthy(view: Any) -> bool:
    return manager(view) == "manager" and readers(view) == ["worker1", "worker2"]


class TestAHealthyCluster:
    def test_is_known_when_start_returns(self, watch: Watching) -> None:
        view = watch.view
        assert healthy(view) and view.epoch == 1 and view.alerts == ()
        assert len(watch.views) == 1  # nothing was said before everybody had been asked

    async def test_is_described(self, cluster: LocalCluster, watch: Watching) -> None:
        view = await watch.until(lambda view: view.by_name["worker1"].lag == 0.0)
        one = view.by_name["worker1"]
        assert healthy(view) and one.replicating and not one.writable
        assert 0 < one.ping < 1
        assert view.version.endswith(str(cluster.manager.value("SELECT @@version")))
        assert view.mariadb
        assert view.capabilities & flags.MARIADB_STMT_BULK and not view.capabilities & flags.LONG_PASSWORD
        assert view.sql_mode == cluster.manager.value("SELECT @@global.sql_mode")
        assert one.wait_timeout == cluster.workers[0].value("SELECT @@global.wait_timeout")
        assert one.max_packet == cluster.workers[0].value("SELECT @@global.max_allowed_packet")
        assert one.lower_case_table_names == 0

    async def test_shows_positions(self, cluster: LocalCluster, watch: Watching) -> None:
        await do(cluster.manager.query, "CREATE TABLE app.t (a INT)")
        wanted = GtidSet.parse(str(await do(cluster.manager.value, "SELECT @@gtid_binlog_pos")), True)
        assert not wanted.empty()
        await watch.until(lambda view: all(server.position == wanted for server in view.servers))
        assert watch.view.epoch == 1

    async def test_keeps_one_connection_per_server(self, cluster: LocalCluster, watch: Watching) -> None:
        await watch.rounds()
        for server in cluster.servers:
            rows = await do(
                server.query, "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'monitor'"
            )
            assert len(rows) == 1

    async def test_a_killed_connection_is_no_failure(
        self, cluster: LocalCluster, watch: Watching, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = watch.view.by_name["worker1"].incarnation
        [row] = await do(
            cluster.workers[0].query,
            "SELECT ID AS id FROM information_schema.PROCESSLIST WHERE USER = 'monitor'",
        )
        await do(cluster.workers[0].query, "KILL %s", (row["id"],))
        await watch.rounds()
        assert all(view.by_name["worker1"].up for view in watch.views)
        assert not [r for r in caplog.records if "down" in r.message]
        assert watch.view.by_name["worker1"].incarnation == before


class TestWorkers:
    async def test_one_that_is_killed_gets_no_reads_until_it_is_back(
        self, cluster: LocalCluster, watch: Watching
    ) -> None:
        await do(cluster.workers[0].kill)
        view = await watch.until(lambda view: not view.by_name["worker1"].up)
        assert readers(view) == ["worker2"] and manager(view) == "manager" and view.epoch == 1
        assert view.by_name["worker1"].unreadable.startswith("down: ")
        await do(cluster.workers[0].start)
        view = await watch.until(healthy)
        assert view.by_name["worker1"].incarnation == 2 and view.epoch == 1

    async def test_one_that_does_not_answer_gets_none(self, cluster: LocalCluster, watch: Watching) -> None:
        cluster.workers[0].pause()
        await watch.until(lambda view: readers(view) == ["worker2"])
        cluster.workers[0].resume()
        view = await watch.until(healthy)
        assert view.by_name["worker1"].incarnation == 1

    @pytest.mark.parametrize("thread", ["", "SQL_THREAD", "IO_THREAD"])
    async def test_one_whose_replication_is_stopped_gets_none(
        self, cluster: LocalCluster, watch: Watching, thread: str
    ) -> None:
        await do(cluster.workers[0].query, f"STOP SLAVE {thread}")
        view = await watch.until(lambda view: readers(view) == ["worker2"])
        one = view.by_name["worker1"]
        assert one.up and not one.replicating and one.lag is None
        assert one.unreadable == "its replication is stopped"
        await do(cluster.workers[0].query, "START SLAVE")
        await watch.until(healthy)

    async def test_a_replication_error_is_named_by_its_number_and_not_by_its_statement(
        self, cluster: LocalCluster, watch: Watching, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        await do(cluster.manager.query, "CREATE TABLE app.t (a INT PRIMARY KEY, b TEXT)")
        await do(cluster.wait_in_sync)
        await do(
            cluster.workers[0].query, "SET STATEMENT sql_log_bin = 0 FOR INSERT INTO app.t VALUES (1, 'x')"
        )
        await do(cluster.manager.query, "INSERT INTO app.t VALUES (1, 'a secret')")
        view = await watch.until(lambda view: not view.by_name["worker1"].replicating)
        assert view.by_name["worker1"].unreadable == "its replication is stopped (error 1062)"
        await do(cluster.workers[0].query, "SET STATEMENT sql_log_bin = 0 FOR DELETE FROM app.t")
        await do(cluster.workers[0].query, "START SLAVE")
        await watch.until(healthy)
        assert "a secret" not in caplog.text and "a secret" not in str(view)

    async def test_one_that_lags_gets_none(self, cluster: LocalCluster, watch: Watching) -> None:
        worker = cluster.workers[0]
        await do(worker.query, "STOP SLAVE")
        await do(worker.query, "CHANGE MASTER TO MASTER_DELAY = 6")
        await do(worker.query, "START SLAVE")
        await watch.until(healthy)
        await do(cluster.manager.query, "CREATE TABLE app.t (a INT)")
        view = await watch.until(lambda view: readers(view) == ["worker2"])
        one = view.by_name["worker1"]
        assert one.unreadable == "it lags more than 1 s"
        assert one.lag is not None and one.lag > 1 and one.replicating
        await watch.until(healthy)

    async def test_with_all_of_them_stopped_the_manager_takes_the_reads(
        self, cluster: LocalCluster, watch: Watching
    ) -> None:
        for worker in cluster.workers:
            await do(worker.query, "STOP SLAVE")
        await watch.until(lambda view: readers(view) == ["manager"])
        await do(cluster.workers[1].query, "START SLAVE")
        await watch.until(lambda view: readers(view) == ["worker2"])


class TestTheManager:
    async def test_without_it_writes_are_refused_and_reads_go_on(
        self, cluster: LocalCluster, watch: Watching, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "mysqlproxy.monitor")
        await watch.until(lambda view: view.by_name["worker1"].lag == 0.0)
        await do(cluster.manager.kill)
        view = await watch.until(lambda view: view.manager is None)
        assert view.no_manager == "the manager manager is down" and view.epoch == 2
        await watch.rounds(20)
        # At no moment were there no readers, and longer than max_replica_lag their lag stayed frozen.
        assert all(readers(view) == ["worker1", "worker2"] for view in watch.views)
        assert watch.view.by_name["worker1"].lag == 0.0
        await do(cluster.manager.start)
        view = await watch.until(lambda view: manager(view) == "manager")
        assert view.epoch == 3 and view.manager.incarnation == 2 and view.alerts == ()  # type: ignore[union-attr]
        await watch.until(healthy)
        said = [record.message for record in caplog.records]
        assert sum("writes are refused" in line for line in said) == 1
        assert sum("takes the writes" in line for line in said) == 1

    async def test_an_orderly_restart_is_no_alarm(self, cluster: LocalCluster, watch: Watching) -> None:
        await do(cluster.manager.query, "CREATE TABLE app.t (a INT)")
        await do(cluster.manager.terminate)
        await watch.until(lambda view: view.manager is None)
        await do(cluster.manager.start)
        await watch.until(healthy)
        assert not any(view.alerts for view in watch.views)

    async def test_one_that_was_set_read_only_takes_no_writes(
        self, cluster: LocalCluster, watch: Watching
    ) -> None:
        await do(cluster.manager.query, "SET GLOBAL read_only = 1")
        view = await watch.until(lambda view: view.manager is None)
        assert view.no_manager == "the manager manager is read only"
        assert readers(view) == ["worker1", "worker2"]
        await do(cluster.manager.query, "SET GLOBAL read_only = 0")
        assert (await watch.until(healthy)).epoch == 3

    async def test_one_that_comes_back_from_an_old_copy_takes_no_writes(
        self, cluster: LocalCluster, watch: Watching, tmp_path: Path
    ) -> None:
        data, copy = cluster.manager.directory / "data", tmp_path / "copy"
        await do(cluster.manager.terminate)
        await do(shutil.copytree, data, copy)
        await do(cluster.manager.start)
        await watch.until(healthy)
        await do(cluster.manager.query, "CREATE TABLE app.lost (a INT)")
        await do(cluster.wait_in_sync)
        await watch.until(lambda view: not view.by_name["worker1"].position.empty())  # type: ignore[union-attr]
        await do(cluster.manager.kill)
        await watch.until(lambda view: view.manager is None)
        seen = len(watch.views)
        await do(shutil.rmtree, data)
        await do(shutil.copytree, copy, data)
        await do(cluster.manager.start)
        view = await watch.until(lambda view: view.by_name["manager"].up)
        assert "lacks transactions of its own that are on worker1 and worker2" in view.no_manager
        assert any(alert.startswith("manager behind") for alert in view.alerts)
        await watch.rounds(3)
        assert all(view.manager is None for view in watch.views[seen:])

    async def test_a_daemon_that_starts_then_refuses_writes_from_its_first_view_on(
        self, cluster: LocalCluster
    ) -> None:
        await do(cluster.manager.query, "CREATE TABLE app.t (a INT)")
        await do(cluster.wait_in_sync)
        for worker in cluster.workers:
            await do(worker.query, "STOP SLAVE")
        await do(cluster.manager.query, "RESET MASTER")
        async with watching(configured(cluster.servers), cluster.passwords["monitor"]) as watch:
            assert watch.views and all(view.manager is None for view in watch.views)
            assert "lacks transactions of its own" in watch.view.no_manager


class TestRoles:
    async def test_a_failover(self, cluster: LocalCluster, watch: Watching) -> None:
        new, other = cluster.workers
        await do(cluster.manager.kill)
        await watch.until(lambda view: view.manager is None)
        await do(new.query, "STOP SLAVE")
        await do(new.query, "RESET SLAVE ALL")
        await do(new.query, "SET GLOBAL read_only = 0")
        view = await watch.until(lambda view: manager(view) == "worker1")
        assert any(alert.startswith("role: worker1") for alert in view.alerts)
        await do(other.query, "STOP SLAVE")
        await do(other.query, "CHANGE MASTER TO MASTER_PORT = %s", (new.port,))
        await do(other.query, "START SLAVE")
        await do(new.query, "CREATE TABLE app.after (a INT)")
        await watch.until(lambda view: view.by_name["worker2"].position == view.by_name["worker1"].position)
        await watch.until(lambda view: readers(view) == ["worker2"])
        # The old manager comes back as if nothing had happened.
        await do(cluster.manager.start)
        view = await watch.until(lambda view: any(a.startswith("two managers") for a in view.alerts))
        assert view.manager is None and readers(view) == ["worker2"]
        await do(cluster.manager.query, "SET GLOBAL read_only = 1")
        await watch.until(lambda view: manager(view) == "worker1")

    async def test_a_worker_promoted_beside_the_manager_stops_all_writes(
        self, cluster: LocalCluster, watch: Watching
    ) -> None:
        worker = cluster.workers[0]
        await do(worker.query, "SET GLOBAL read_only = 0")
        await watch.rounds()
        assert manager(watch.view) == "manager"  # it still replicates
        await do(worker.query, "STOP SLAVE")
        await watch.until(lambda view: readers(view) == ["worker2"])
        assert manager(watch.view) == "manager"  # it would go on replicating
        await do(worker.query, "RESET SLAVE")
        view = await watch.until(lambda view: view.manager is None)
        assert view.no_manager == "more than one server would take writes (manager and worker1)"
        await do(worker.query, "SET GLOBAL read_only = 1")
        await watch.until(lambda view: manager(view) == "manager" and not view.alerts)

    async def test_unless_the_operator_chose_to_go_on(self, cluster: LocalCluster) -> None:
        await do(cluster.workers[0].query, "STOP SLAVE")
        await do(cluster.workers[0].query, "RESET SLAVE ALL")
        await do(cluster.workers[0].query, "SET GLOBAL read_only = 0")
        servers = configured(cluster.servers)
        async with watching(servers, cluster.passwords["monitor"], on_two_managers="configured") as watch:
            assert manager(watch.view) == "manager"
            assert any(alert.startswith("two managers") for alert in watch.view.alerts)

    async def test_an_errant_transaction_only_alerts(self, cluster: LocalCluster, watch: Watching) -> None:
        await do(cluster.workers[0].query, "CREATE TABLE app.errant (a INT)")
        view = await watch.until(lambda view: view.alerts)
        assert view.alerts[0].startswith(
            "errant transactions: worker1 has some that the manager manager lacks"
        )
        assert healthy(view) and view.epoch == 1

    async def test_writes_under_load_are_no_alarm(self, cluster: LocalCluster, watch: Watching) -> None:
        await do(cluster.manager.query, "CREATE TABLE app.t (a INT)")

        def write() -> None:
            with cluster.manager.connect() as connection, connection.cursor() as cursor:
                end = time.monotonic() + 2
                while time.monotonic() < end:
                    cursor.execute("INSERT INTO app.t VALUES (1)")

        await asyncio.gather(*(do(write) for _ in range(3)))
        assert not any(view.alerts for view in watch.views)
        assert all(manager(view) == "manager" for view in watch.views)


class TestTheMonitorItself:
    async def test_a_report_leads_to_a_probe_at_once_and_alone_to_nothing(
        self, cluster: LocalCluster
    ) -> None:
        servers = configured(cluster.servers)
        password = cluster.passwords["monitor"]
        async with watching(servers, password, interval=300.0, down_after=1) as watch:
            seen = len(watch.views)
            watch.monitor.report("manager")
            assert len(watch.views) == seen
            view = await watch.until(lambda _: len(watch.views) > seen)
            assert healthy(view) and view.epoch == 1
            await do(cluster.manager.kill)
            watch.monitor.report("manager")
            assert manager(watch.view) == "manager"
            await watch.until(lambda view: view.manager is None)

    async def test_reports_are_rate_limited(self, cluster: LocalCluster) -> None:
        servers = configured(cluster.servers)[:1]
        async with watching(servers, cluster.passwords["monitor"], interval=300.0) as watch:
            asked = "SHOW GLOBAL STATUS LIKE 'Com_show_slave_status'"
            before = int((await do(cluster.manager.query, asked))[0]["Value"])
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                watch.monitor.report("manager")
                await asyncio.sleep(0.005)
            probes = int((await do(cluster.manager.query, asked))[0]["Value"]) - before
            assert 3 <= probes <= 7

    async def test_servers_come_go_and_change_without_loss_for_the_rest(
        self, cluster: LocalCluster, watch: Watching
    ) -> None:
        first, one, two = watch.servers
        before = watch.view.by_name["manager"]
        await watch.monitor.reconfigure([first, one], watch.config)
        assert readers(watch.view) == ["worker1"] and "worker2" not in watch.view.by_name
        await watch.monitor.reconfigure([first, one, two], watch.config)
        assert healthy(watch.view)
        await watch.monitor.reconfigure(
            [first, one.model_copy(update={"maintenance": True}), two], watch.config
        )
        assert readers(watch.view) == ["worker2"]
        await watch.monitor.reconfigure([first, one, two], watch.config)
        assert healthy(watch.view)
        assert watch.view.epoch == 1
        assert watch.view.by_name["manager"].incarnation == before.incarnation
        asked = "SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST WHERE USER = 'monitor'"
        assert await do(cluster.manager.value, asked) == 1

    async def test_a_wrong_password_is_a_failure_and_a_new_one_its_end(
        self, cluster: LocalCluster, watch: Watching
    ) -> None:
        await watch.monitor.reconfigure(watch.servers, watch.config, password="wrong")
        view = await watch.until(lambda view: not view.by_name["worker1"].up)
        assert "Access denied" in view.by_name["worker1"].unreadable
        await watch.monitor.reconfigure(watch.servers, watch.config, password=cluster.passwords["monitor"])
        await watch.until(healthy)

    async def test_missing_rights_are_named(self, cluster: LocalCluster) -> None:
        await do(cluster.manager.query, "CREATE USER blind@'127.0.0.1' IDENTIFIED BY 'b'")
        await do(cluster.wait_in_sync)
        async with watching(configured(cluster.servers), "b", user="blind") as watch:
            assert watch.view.manager is None and watch.view.readers == ()
            assert "SLAVE MONITOR" in watch.view.no_manager
            assert "SLAVE MONITOR" in watch.view.by_name["worker1"].unreadable

    async def test_a_unix_socket(self, cluster: LocalCluster) -> None:
        [server] = configured(cluster.servers[:1])
        server = server.model_copy(update={"address": f"unix:{cluster.manager.socket}"})
        async with watching([server], cluster.passwords["root"], user="root") as watch:
            assert manager(watch.view) == "manager" and readers(watch.view) == ["manager"]

    @pytest.mark.parametrize(("mode", "up"), [("off", True), ("preferred", True), ("required", False)])
    async def test_a_server_without_tls(self, cluster: LocalCluster, mode: str, up: bool) -> None:
        assert cluster.manager.value("SELECT @@have_ssl") == "DISABLED"
        servers = configured(cluster.servers[:1], tls=mode)
        async with watching(servers, cluster.passwords["monitor"]) as watch:
            assert watch.view.by_name["manager"].up is up
            if not up:
                view = await watch.until(lambda view: view.by_name["manager"].unreadable.startswith("down"))
                assert "the server offers no TLS" in view.by_name["manager"].unreadable

    async def test_names_are_resolved_anew_at_each_connect(
        self, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = pymysql_adapter.socket.getaddrinfo
        behind = cluster.workers[0]

        def resolve(host: str, port: int, **kind: Any) -> Any:
            return real("127.0.0.1", behind.port, **kind) if host == "db.test" else real(host, port, **kind)

        monkeypatch.setattr(pymysql_adapter.socket, "getaddrinfo", resolve)
        [server] = configured(cluster.servers[:1])
        server = server.model_copy(update={"address": "db.test:3306"})
        async with watching([server], cluster.passwords["monitor"]) as watch:
            assert watch.view.by_name["manager"].replicating  # that is worker1
            behind = cluster.manager
            await do(cluster.workers[0].kill)
            view = await watch.until(lambda view: manager(view) == "manager")
            assert view.by_name["manager"].incarnation == 2

    async def test_a_lookup_that_hangs_stops_neither_start_nor_stop(
        self, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, release = pymysql_adapter.socket.getaddrinfo, threading.Event()

        def resolve(host: str, port: int, **kind: Any) -> Any:
            if host == "db.test":
                release.wait(60)
            return real("127.0.0.1", port, **kind)

        monkeypatch.setattr(pymysql_adapter.socket, "getaddrinfo", resolve)
        first, *others = configured(cluster.servers)
        hanging = first.model_copy(update={"name": "hanging", "role": "worker", "address": "db.test:1"})
        begun = time.monotonic()
        try:
            servers = [first, *others, hanging]
            async with watching(servers, cluster.passwords["monitor"], timeout=0.5) as watch:
                assert healthy(watch.view)
                await watch.until(
                    lambda view: view.by_name["hanging"].unreadable == "down: no answer in time"
                )
            assert time.monotonic() - begun < 12
        finally:
            release.set()
        for thread in threading.enumerate():
            if thread.name == "monitor-hanging":
                await do(thread.join, 10)
                assert not thread.is_alive()

    async def test_no_thread_is_left(self, cluster: LocalCluster) -> None:
        async with watching(configured(cluster.servers), cluster.passwords["monitor"]):
            assert sum(thread.name.startswith("monitor-") for thread in threading.enumerate()) == 3
        assert not any(thread.name.startswith("monitor-") for thread in threading.enumerate())
