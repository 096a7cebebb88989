"""The fixture that starts daemons: logins, metrics, signals, and what the log must not hold."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.errors import LocalClusterError
from mysqlproxy.demo.local import LocalCluster
from tests.conftest import Factory


def test_servers_and_metrics_agree_on_who_served(cluster: LocalCluster, proxy: Callable[..., Daemon]) -> None:
    daemon = proxy(routing={"strategy": "random"})
    with daemon.connect(database="app") as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE t (i INT)")
        cursor.execute("INSERT INTO t VALUES (1)")
        before = daemon.metrics()
        for _ in range(10):
            cursor.execute("SELECT i FROM t")
            assert cursor.fetchall() == ((1,),)
        after = daemon.metrics()
    assert len(cluster.manager.served(r"INSERT INTO t\b")) == 1
    for server in cluster.servers:
        # Until the catalog has been read again, a new table's name is no read.
        name, label = "mysqlproxy_statements_total", {"server": server.name}
        assert after.total(name, **label) - before.total(name, **label) == len(server.served(r"FROM t\b"))


def test_the_unix_socket_takes_logins(proxy: Callable[..., Daemon]) -> None:
    daemon = proxy()
    with daemon.connect(unix_socket=daemon.socket) as connection:
        connection.ping(reconnect=False)


def test_two_daemons_side_by_side(proxy: Callable[..., Daemon]) -> None:
    first, second = proxy(), proxy()
    assert first.port != second.port
    for daemon in (first, second):
        daemon.connect().ping(reconnect=False)


def test_a_wrong_configuration_is_an_error_with_the_log(proxy: Callable[..., Daemon]) -> None:
    with pytest.raises(LocalClusterError, match=r"(?s)ended with status 1.*routing\.strategy"):
        proxy(routing={"strategy": "no_such_strategy"})


def test_sigterm_ends_with_status_0_and_a_kill_is_no_failure(proxy: Callable[..., Daemon]) -> None:
    first, second = proxy(), proxy()
    assert first.stop() == 0
    second.kill()
    assert second.status == -signal.SIGKILL


def test_a_daemon_that_died_fails_the_check(daemons: Factory, cluster: LocalCluster) -> None:
    daemon = daemons.start(daemons.config(cluster))
    daemon.signal(signal.SIGABRT)
    daemon.wait_for(lambda: not daemon.running, "the daemon ends")
    with pytest.raises(AssertionError, match=f"status {-signal.SIGABRT}"):
        daemons.check()
    daemon.expected_status = -signal.SIGABRT


def test_a_traceback_in_the_log_fails_the_check(daemons: Factory, cluster: LocalCluster) -> None:
    daemon = daemons.start(daemons.config(cluster))
    with daemon.log_path.open("a", encoding="utf-8") as log:
        log.write("Traceback (most recent call last):\n")
    with pytest.raises(AssertionError, match="Traceback"):
        daemons.check()
    daemon.log_path.write_text("")


def test_a_shared_daemon_lives_until_servers_are_started_anew(
    cluster: LocalCluster, shared_proxy: Callable[..., Daemon]
) -> None:
    daemon = shared_proxy()
    assert shared_proxy() is daemon
    assert shared_proxy(routing={"strategy": "direct"}) is not daemon
    cluster.reset()
    assert shared_proxy() is daemon
    cluster.rebuild()
    assert shared_proxy() is not daemon
    assert not daemon.running
    with shared_proxy().connect(database="app") as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE t (i INT)")
        cursor.execute("SELECT COUNT(*) FROM t")
        assert cursor.fetchall() == ((0,),)
