"""A statement that runs on no server yet is killed, too: it waits for a connection, for a position or for a login."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.demo.server import LocalServer
from mysqlproxy.protocol.packets import Err
from tests.support.raw import RawClient, proxied
from tests.support.sessions import servers
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]
PATIENT = 60.0  # seconds: whoever waited for that has failed


@pytest.fixture
def daemon(cluster: LocalCluster, shared_proxy: Proxy) -> Iterator[Daemon]:
    """The manager may have two connections; nobody gives up waiting by himself, but for the account ``hurried``."""
    cluster.manager.query("CREATE TABLE app.t (v INT)")
    cluster.manager.query("CREATE USER other@'%' IDENTIFIED BY 'other'")
    cluster.manager.query("GRANT CONNECTION ADMIN ON *.* TO other@'%'")
    cluster.manager.query("CREATE USER powerless@'%' IDENTIFIED BY 'powerless'")
    cluster.wait_in_sync()
    app = cluster.passwords["app"]
    daemon = shared_proxy(
        servers=servers(cluster, manager={"max_connections": 2}),
        limits={"pool_wait": PATIENT},
        routing={"strategy": "random", "consistency_wait": PATIENT},
        users=[
            {"name": "app", "password": app},
            {"name": "other", "password": "other"},
            {"name": "powerless", "password": "powerless"},
            {
                "name": "hurried",
                "password": "x",
                "server_user": "app",
                "server_password": app,
                "statement_timeout": 0.5,
            },
        ],
    )
    with proxied(daemon) as client:
        eventually(lambda: served_by_a_worker(cluster, client), what="reads go to workers")
    yield daemon
    daemon.disconnect()


def served_by_a_worker(cluster: LocalCluster, client: RawClient) -> bool:
    client.query("SELECT COUNT(*) FROM app.t /* where */").check()
    return any(worker.served("where") for worker in cluster.workers)


@contextlib.contextmanager
def full(daemon: Daemon) -> Iterator[None]:
    """Nobody gets a connection to the manager."""
    with proxied(daemon) as one, proxied(daemon) as two:
        for holder in (one, two):
            holder.query("BEGIN").check()
            holder.query("SELECT @@server_id").check()
        yield


@contextlib.contextmanager
def behind(cluster: LocalCluster) -> Iterator[None]:
    """No worker applies what is written from now on."""
    with contextlib.ExitStack() as stack:
        for worker in cluster.workers:
            lock = stack.enter_context(worker.connect("root"))
            lock.cursor().execute("LOCK TABLES app.t READ")
        yield


def error_of(client: RawClient) -> Err:
    """Of the answer to what was sent before."""
    error = client.read_results().err
    assert error is not None
    return error


def sent(daemon: Daemon, client: RawClient, sql: str) -> None:
    """Send a statement, and return when the daemon has read it."""
    client.send(client.query_payload(sql))
    with proxied(daemon) as other:
        other.command(0x0E).check()  # COM_PING: read after what came before


def number_of(client: RawClient) -> int:
    return client.greeting.connection_id


def position_awaited(cluster: LocalCluster) -> int:
    sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT MASTER_GTID_WAIT%'"
    return sum(server.value(sql) for server in cluster.servers)


INTERRUPTED = (1317, "70100")


def test_a_wait_for_a_connection_ends_and_the_session_goes_on(cluster: LocalCluster, daemon: Daemon) -> None:
    with proxied(daemon) as victim, proxied(daemon) as killer:
        with full(daemon):
            for _ in range(3):
                sent(daemon, victim, "INSERT INTO app.t VALUES (1) /* never */")
                killer.query(f"KILL QUERY {number_of(victim)}").check()
                error = error_of(victim)
                assert (error.errno, error.sqlstate) == INTERRUPTED
            assert victim.query("SELECT COUNT(*) FROM app.t").value == b"0"
        assert victim.query("INSERT INTO app.t VALUES (2)").ok.affected_rows == 1
    assert not cluster.manager.served("never")


def test_a_wait_for_a_position_ends_and_the_session_goes_on(cluster: LocalCluster, daemon: Daemon) -> None:
    with proxied(daemon) as victim, proxied(daemon) as killer:
        victim.query("INSERT INTO app.t VALUES (1)").check()
        cursor = victim.prepare("SELECT 1 FROM app.t")  # keep nothing but what it has already
        with behind(cluster):
            victim.query("INSERT INTO app.t VALUES (2)").check()
            sent(daemon, victim, "SELECT COUNT(*) FROM app.t /* never */")
            eventually(lambda: position_awaited(cluster))
            killer.query(f"KILL QUERY {number_of(victim)}").check()
            error = error_of(victim)
            assert (error.errno, error.sqlstate) == INTERRUPTED
            eventually(lambda: not position_awaited(cluster))
        assert victim.query("SELECT COUNT(*) FROM app.t").value == b"2"
        assert len(victim.execute(cursor.id).rows) == 2
    assert not any(server.served("never") for server in cluster.servers)


def test_kill_ends_a_session_that_waits(daemon: Daemon) -> None:
    with proxied(daemon) as killer, full(daemon):
        for kill in ("KILL {}", "KILL CONNECTION {}"):
            with proxied(daemon) as victim:
                sent(daemon, victim, "INSERT INTO app.t VALUES (1)")
                killer.query(kill.format(number_of(victim))).check()
                assert error_of(victim).errno == 1927
                assert victim.ended()


@pytest.mark.parametrize("holds", ["a connection", "none"])
def test_who_may_kill_others_and_who_may_not(daemon: Daemon, holds: str) -> None:
    """The server decides, wherever the victim has a connection or could have one."""
    with proxied(daemon) as victim, proxied(daemon, "other") as killer, proxied(daemon, "powerless") as none:
        if holds == "a connection":
            victim.query("SELECT COUNT(*) FROM app.t").check()
        with full(daemon):
            sent(daemon, victim, "INSERT INTO app.t VALUES (1) /* never */")
            for kill in (f"KILL QUERY {number_of(victim)}", f"KILL {number_of(victim)}"):
                error = none.query(kill).err
                assert error is not None
                assert error.errno == 1095
                assert str(number_of(victim)) in error.message
            killer.query(f"KILL QUERY {number_of(victim)}").check()
            assert error_of(victim).errno == 1317
            sent(daemon, victim, "INSERT INTO app.t VALUES (1) /* never */")
            with proxied(daemon, "hurried") as same:  # who is the same account on the servers
                same.query(f"KILL {number_of(victim)}").check()
            assert error_of(victim).errno == 1927
            assert victim.ended()


@pytest.mark.parametrize("what", ["connection", "position"])
def test_statement_timeout_counts_the_waiting(cluster: LocalCluster, daemon: Daemon, what: str) -> None:
    before = daemon.metrics().total("mysqlproxy_killed_statements_total", reason="statement_timeout")
    with proxied(daemon, "hurried") as client:
        if what == "connection":
            with full(daemon):
                error = client.query("INSERT INTO app.t VALUES (1)").err
        else:
            with behind(cluster):
                client.query("INSERT INTO app.t VALUES (1)").check()
                error = client.query("SELECT COUNT(*) FROM app.t").err
        assert error is not None
        assert (error.errno, error.sqlstate) == INTERRUPTED
        assert client.query("SELECT 1").value == b"1"
    after = daemon.metrics().total("mysqlproxy_killed_statements_total", reason="statement_timeout")
    assert after == before + 1


def test_a_wait_for_a_login_ends_and_the_session_goes_on(cluster: LocalCluster, proxy: Proxy) -> None:
    daemon = proxy(
        routing={"strategy": "direct"}, monitor={"timeout": PATIENT}, limits={"connect_timeout": PATIENT}
    )
    with proxied(daemon) as victim, proxied(daemon) as killer, frozen(cluster.manager):
        sent(daemon, victim, "DO 1")
        opened = {"server": "manager", "state": "connecting"}
        eventually(lambda: daemon.metrics().total("mysqlproxy_server_connections", **opened) == 1)
        killer.query(f"KILL QUERY {number_of(victim)}").check()
        assert error_of(victim).errno == 1317
        eventually(lambda: daemon.metrics().total("mysqlproxy_server_connections", **opened) == 0)
        cluster.manager.resume()
        victim.query("DO 1").check()


@contextlib.contextmanager
def frozen(server: LocalServer) -> Iterator[Any]:
    server.pause()
    try:
        yield
    finally:
        server.resume()
