"""Reading one's own writes while replication stands still, and what ``eventual`` does not promise."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.support.raw import RawClient, proxied

Proxy = Callable[..., Daemon]


@pytest.fixture
def still(cluster: LocalCluster) -> LocalCluster:
    """All have the table with one row."""
    cluster.manager.query("CREATE TABLE app.t (a INT)")
    cluster.manager.query("INSERT INTO app.t VALUES (1)")
    cluster.wait_in_sync()
    return cluster


def stop(cluster: LocalCluster) -> None:
    for worker in cluster.workers:
        worker.query("STOP SLAVE SQL_THREAD")


def start(cluster: LocalCluster) -> None:
    for worker in cluster.workers:
        worker.query("START SLAVE SQL_THREAD")


def slow_monitor(proxy: Proxy, consistency: str, **routing: object) -> Daemon:
    """The monitor looks once: a stopped worker stays a reader, as one does between two probes."""
    return proxy(
        routing={"strategy": "round_robin", "read_consistency": consistency, **routing},
        monitor={"interval": 60.0},
    )


def counted(client: RawClient) -> int:
    value = client.query("SELECT COUNT(*) FROM app.t /* counted */").value
    assert value is not None
    return int(value)


def test_a_session_reads_its_own_writes_from_the_manager_while_no_worker_has_them(
    still: LocalCluster, proxy: Proxy
) -> None:
    daemon = slow_monitor(proxy, "session")
    stop(still)
    with proxied(daemon) as writer, proxied(daemon) as other:
        for number, write in enumerate(
            (
                ["INSERT INTO app.t VALUES (2)"],
                ["BEGIN", "INSERT INTO app.t VALUES (3)", "COMMIT"],
                ["SET autocommit = 0", "INSERT INTO app.t VALUES (4)", "COMMIT", "SET autocommit = 1"],
                ["INSERT INTO app.t VALUES (5) RETURNING a"],
                ["DO 1; INSERT INTO app.t VALUES (6); DO 2"],
                ["BEGIN", "INSERT INTO app.t VALUES (7)", "CREATE TABLE app.u (a INT)"],
            )
        ):
            for sql in write:
                writer.query(sql).check()
            assert counted(writer) == 2 + number, write
        assert counted(other) == 1  # it wrote nothing, so a worker may answer
        assert still.manager.served("counted")
    start(still)


def test_a_session_goes_back_to_the_workers_when_they_have_its_writes(
    still: LocalCluster, proxy: Proxy
) -> None:
    daemon = slow_monitor(proxy, "session", consistency_wait=5.0)
    with proxied(daemon) as client:
        client.query("INSERT INTO app.t VALUES (2)").check()
        assert counted(client) == 2
    assert not still.manager.served("counted")


def test_the_wait_for_a_worker_is_bounded_by_consistency_wait(still: LocalCluster, proxy: Proxy) -> None:
    daemon = slow_monitor(proxy, "session", consistency_wait=0.5)
    stop(still)
    with proxied(daemon) as client:
        client.query("INSERT INTO app.t VALUES (2)").check()
        started = time.monotonic()
        assert counted(client) == 2
        assert 0.4 < time.monotonic() - started < 3
    start(still)


def test_eventual_does_not_wait_and_may_read_the_past(still: LocalCluster, proxy: Proxy) -> None:
    daemon = slow_monitor(proxy, "eventual", consistency_wait=20.0)
    stop(still)
    with proxied(daemon) as client:
        client.query("INSERT INTO app.t VALUES (2)").check()
        started = time.monotonic()
        assert [counted(client) for _ in range(4)] == [1, 1, 1, 1]
        assert time.monotonic() - started < 5
    assert not still.manager.served("counted")
    start(still)


def test_consistency_is_per_account(still: LocalCluster, proxy: Proxy) -> None:
    account = {"password": "own", "server_user": "app", "server_password": still.passwords["app"]}
    daemon = proxy(
        routing={"strategy": "random", "read_consistency": "session"},
        monitor={"interval": 60.0},
        users=[
            {"name": "app", "password": still.passwords["app"]},
            {"name": "loose", "read_consistency": "eventual", **account},
        ],
    )
    stop(still)
    with proxied(daemon, "loose") as loose, proxied(daemon) as strict:
        loose.query("INSERT INTO app.t VALUES (2)").check()
        assert counted(loose) == 1
        strict.query("INSERT INTO app.t VALUES (3)").check()
        assert counted(strict) == 3
    start(still)


def test_what_a_worker_does_not_have_yet_is_asked_of_the_manager(still: LocalCluster, proxy: Proxy) -> None:
    """Somebody made it elsewhere: a table, a column, a schema, a view, a function, a right, an account."""
    blocked = [worker.connect("root") for worker in still.workers]
    for connection in blocked:  # what replication brings waits, and the worker counts as replicating
        connection.query("FLUSH TABLES WITH READ LOCK")
    for sql in (
        "CREATE TABLE app.new AS SELECT 5 AS a",
        "ALTER TABLE app.t ADD COLUMN b INT DEFAULT 6",
        "CREATE VIEW app.v AS SELECT 7 AS c",
        "CREATE DATABASE fresh",
        "CREATE TABLE fresh.t AS SELECT 8 AS a",
        "GRANT SELECT ON fresh.* TO app@'%'",
        "CREATE FUNCTION app.f() RETURNS INT RETURN 9",
        "CREATE USER late@'%' IDENTIFIED BY 'late'",
        "GRANT ALL ON app.* TO late@'%'",
    ):
        still.manager.query(sql)
    daemon = proxy(
        users=[{"name": "app", "password": still.passwords["app"]}, {"name": "late", "password": "late"}],
        routing={"strategy": "round_robin", "read_consistency": "eventual"},
        monitor={"max_replica_lag": 1000.0},
    )
    with proxied(daemon) as reader:
        for read, expected in (
            ("SELECT a FROM app.new", b"5"),
            ("SELECT b FROM app.t", b"6"),
            ("SELECT c FROM app.v", b"7"),
            ("SELECT a FROM fresh.t", b"8"),
            ("SELECT app.f()", b"9"),
        ):
            assert reader.query(read).value == expected
            prepared = reader.prepare(read)
            assert prepared.id
            assert len(reader.execute(prepared.id).check().rows) == 1
        # What nobody has is still an error, the manager's.
        missing = reader.query("SELECT * FROM app.nowhere").err
        assert missing is not None and missing.errno == 1146
        assert counted(reader) == 1
    assert any(worker.served("counted") for worker in still.workers)
    assert daemon.metrics().total("mysqlproxy_retried_reads_total", reason="refused_by_worker") >= 5
    assert daemon.metrics().total("mysqlproxy_reads_on_manager_total", reason="asked_again") >= 5
    late = daemon.connect("late", password="late")
    with late.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM app.new")
        assert cursor.fetchone() == (1,)
    for connection in blocked:
        connection.close()
