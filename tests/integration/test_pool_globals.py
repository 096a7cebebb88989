"""After SET GLOBAL, GRANT and the like a new client gets what a new login would have, on a pooled connection too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.support.raw import RawClient, proxied
from tests.support.sessions import threads
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]

CHANGES: dict[str, tuple[str, str, bytes]] = {
    "set_global": ("SET GLOBAL lock_wait_timeout = 77", "SELECT @@lock_wait_timeout", b"77"),
    "set_at_global": ("SET @x = 1, @@global.time_zone = '+05:00'", "SELECT @@time_zone", b"+05:00"),
    "isolation": (
        "SET GLOBAL TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SELECT @@tx_isolation",
        b"SERIALIZABLE",
    ),
    "hidden": (
        "EXECUTE IMMEDIATE CONCAT('SET GLOB', 'AL sort_buffer_size = 65536')",
        "SELECT @@sort_buffer_size",
        b"65536",
    ),
    "grant": (
        "GRANT PROCESS ON *.* TO app@'%'",
        "SELECT COUNT(DISTINCT USER) > 1 FROM information_schema.PROCESSLIST",
        b"1",
    ),
    "role": ("SET DEFAULT ROLE reader FOR app@'%'", "SELECT CURRENT_ROLE()", b"reader"),
}


@pytest.fixture
def daemon(cluster: LocalCluster, shared_proxy: Proxy) -> Daemon:
    for statement in (
        "CREATE USER boss@'%' IDENTIFIED BY 'boss'",
        "GRANT ALL ON *.* TO boss@'%' WITH GRANT OPTION",
        "CREATE ROLE reader",
        "GRANT reader TO app@'%'",
    ):
        cluster.manager.query(statement)
    return shared_proxy(
        routing={"strategy": "direct"},
        users=[
            {"name": "app", "password": cluster.passwords["app"]},
            {"name": "boss", "password": "boss"},
        ],
    )


def one_is_idle(cluster: LocalCluster, daemon: Daemon) -> int:
    """The thread of a connection that a client of ``app`` has left in the pool, reset."""
    with proxied(daemon) as first:
        thread = thread_of(first)
    idle = {"server": "manager", "state": "idle"}
    eventually(lambda: daemon.metrics().total("mysqlproxy_server_connections", **idle) >= 1)
    eventually(lambda: threads(cluster.manager)[thread]["COMMAND"] == "Sleep")
    return thread


def thread_of(client: RawClient) -> int:
    answer = client.query("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE '%mine%'")
    assert answer.value is not None
    return int(answer.value)


@pytest.mark.parametrize("name", CHANGES)
def test_what_passes_through_the_daemon(cluster: LocalCluster, daemon: Daemon, name: str) -> None:
    change, question, expected = CHANGES[name]
    with proxied(daemon) as before, proxied(daemon, "boss") as boss:
        was = before.query(question).value
        boss.query("SELECT 1").check()  # it has a connection, and takes none that is idle
        assert was != expected
        thread = one_is_idle(cluster, daemon)
        boss.query(change).check()
        with proxied(daemon) as after:
            assert thread_of(after) == thread
            assert after.query(question).value == expected
        assert before.query(question).value == was, "who was there before keeps what it began with"


def test_what_is_set_on_the_server_itself_is_noticed(cluster: LocalCluster, daemon: Daemon) -> None:
    one_is_idle(cluster, daemon)
    cluster.manager.query("SET GLOBAL sql_mode = 'ANSI_QUOTES'")

    def new_client() -> bytes | None:
        with proxied(daemon) as client:
            return client.query("SELECT @@sql_mode").value

    eventually(lambda: new_client() == b"ANSI_QUOTES")
