"""The monitor on MySQL 9.7: its own names for everything, UUIDs, super_read_only and TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mysqlproxy.cluster.gtid import GtidSet
from mysqlproxy.cluster.pymysql_adapter import LimitedConnection
from mysqlproxy.protocol import capabilities as flags
from tests.integration.watching import Watching, configured, manager, readers, watching
from tests.support.mysql import MysqlPair

pytestmark = pytest.mark.usefixtures("alone")  # they count connections and wait for quiet servers


@pytest.fixture
async def watch(mysql97: MysqlPair) -> AsyncIterator[Watching]:
    await do(mysql97.forget_errant_transactions)
    async with watching(configured(mysql97.servers), mysql97.passwords["monitor"]) as watch:
        yield watch


async def do(call: Any, *arguments: Any) -> Any:
    return await asyncio.to_thread(call, *arguments)


def healthy(view: Any) -> bool:
    return manager(view) == "source" and readers(view) == ["replica"]


async def test_a_healthy_pair(mysql97: MysqlPair, watch: Watching) -> None:
    assert healthy(watch.view) and watch.view.epoch == 1
    view = await watch.until(lambda view: view.by_name["replica"].lag == 0.0)  # what was before has arrived
    assert healthy(view) and view.alerts == ()
    assert not view.mariadb and view.version == mysql97.source.value("SELECT VERSION()")
    assert view.capabilities & flags.QUERY_ATTRIBUTES and view.capabilities & flags.LONG_PASSWORD
    assert view.by_name["replica"].replicating
    assert view.sql_mode == mysql97.source.value("SELECT @@global.sql_mode")
    wanted = GtidSet.parse(str(mysql97.source.value("SELECT @@global.gtid_executed")), False)
    assert not wanted.empty() and view.by_name["source"].position == wanted


async def test_a_replica_that_is_stopped_lags_or_is_behind(mysql97: MysqlPair, watch: Watching) -> None:
    replica = mysql97.replica
    try:
        await do(replica.query, "STOP REPLICA SQL_THREAD")
        view = await watch.until(lambda view: readers(view) == ["source"])
        assert view.by_name["replica"].unreadable == "its replication is stopped"
        await watch.monitor.reconfigure(
            watch.servers, watch.config.model_copy(update={"max_replica_lag": 1.0})
        )
        await do(replica.query, "CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 5")
        await do(replica.query, "START REPLICA")
        await watch.until(healthy)
        await do(mysql97.source.query, "CREATE TABLE app.t (a INT)")
        view = await watch.until(lambda view: readers(view) == ["source"])
        assert view.by_name["replica"].unreadable == "it lags more than 1 s"
        await watch.until(healthy)
    finally:
        await do(replica.query, "STOP REPLICA")
        await do(replica.query, "CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 0")
        await do(replica.query, "START REPLICA")


async def test_the_source_killed_and_restarted(mysql97: MysqlPair, watch: Watching) -> None:
    await do(mysql97.source.kill)
    view = await watch.until(lambda view: view.manager is None)
    assert view.epoch == 2 and readers(view) == ["replica"]
    frozen = view.by_name["replica"].lag
    await watch.rounds(15)
    assert readers(watch.view) == ["replica"] and watch.view.by_name["replica"].lag == frozen
    await do(mysql97.start_server, mysql97.source)
    view = await watch.until(healthy)
    assert view.epoch == 3 and view.by_name["source"].incarnation == 2
    assert not any(view.alerts for view in watch.views)


async def test_super_read_only_is_read_only(mysql97: MysqlPair, watch: Watching) -> None:
    try:
        await do(mysql97.source.query, "SET GLOBAL super_read_only = 1")
        view = await watch.until(lambda view: view.manager is None)
        assert view.no_manager == "the manager source is read only"
    finally:
        await do(mysql97.source.query, "SET GLOBAL super_read_only = 0")
        await do(mysql97.source.query, "SET GLOBAL read_only = 0")
    await watch.until(healthy)


async def test_two_managers_and_an_errant_transaction(mysql97: MysqlPair, watch: Watching) -> None:
    replica = mysql97.replica
    try:
        await do(replica.query, "SET GLOBAL read_only = 0")
        await watch.rounds()
        assert healthy(watch.view)
        await do(replica.query, "CREATE TABLE app.errant (a INT)")
        view = await watch.until(lambda view: view.alerts)
        assert view.alerts[0].startswith("errant transactions: replica has some")
        assert healthy(view)
        await do(replica.query, "STOP REPLICA")
        await do(replica.query, "RESET REPLICA")
        view = await watch.until(lambda view: view.manager is None)
        assert view.no_manager == "more than one server would take writes (source and replica)"
    finally:
        await do(replica.query, "SET SESSION sql_log_bin = 0")
        await do(replica.query, "DROP TABLE IF EXISTS app.errant")
        await do(replica.query, "STOP REPLICA")
        await do(replica.query, "RESET BINARY LOGS AND GTIDS")
        done = await do(mysql97.source.value, "SELECT @@global.gtid_executed")
        await do(replica.query, "SET GLOBAL gtid_purged = %s", (done,))
        await do(replica.query, "SET GLOBAL read_only = 1")
        await do(replica.query, "START REPLICA")
    await watch.until(lambda view: healthy(view) and not view.alerts)


async def test_tls_by_mode(mysql97: MysqlPair) -> None:
    """MySQL makes its own certificates; they name no host, so that ``verify`` must refuse them."""
    own_ca: Path = mysql97.source.directory / "data" / "ca.pem"
    password = mysql97.passwords["monitor"]
    for mode, encrypted in (("preferred", True), ("required", True), ("off", False)):
        [server] = configured(mysql97.servers[:1], tls=mode)
        connection = LimitedConnection(server, "monitor", password, 5.0)
        connection.login()
        try:
            [row] = connection.rows("SHOW STATUS LIKE 'Ssl_cipher'")
            assert bool(row["Value"]) is encrypted
        finally:
            connection.close()
    for ca, reason in ((own_ca, "IP address mismatch"), (None, "self-signed certificate")):
        [server] = configured(mysql97.servers[:1], tls="verify", tls_ca=ca)
        async with watching([server], password) as watch:
            view = await watch.until(lambda view: view.by_name["source"].unreadable.startswith("down"))
            assert reason in view.by_name["source"].unreadable


async def test_missing_rights_are_named(mysql97: MysqlPair) -> None:
    await do(mysql97.source.query, "CREATE USER blind@'%' IDENTIFIED BY 'b'", None)
    await do(mysql97.wait_in_sync)
    async with watching(configured(mysql97.servers), "b", user="blind") as watch:
        assert watch.view.manager is None and watch.view.readers == ()
        assert "REPLICATION CLIENT" in watch.view.no_manager
        assert "REPLICATION CLIENT" in watch.view.by_name["replica"].unreadable
