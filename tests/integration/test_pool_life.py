"""How old a connection to a server may become, how long it may be idle; the server does not close it first."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import pymysql
import pytest

from mysqlproxy.config.schema import Limits, Server
from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.errors import ServerFault
from mysqlproxy.net.tasks import Tasks
from mysqlproxy.pool.login import Identity
from mysqlproxy.pool.pool import ServerPool
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.credentials import ServerCredential
from tests.support.raw import Answer, RawClient
from tests.support.sessions import ask, servers, threads, value
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]
DIRECT = {"strategy": "direct"}


def test_an_idle_connection_is_closed_after_its_idle_time(cluster: LocalCluster, proxy: Proxy) -> None:
    daemon = proxy(routing=DIRECT, limits={"server_connection_max_idle": 0.5})
    with daemon.connect() as client:
        thread = value(client, "SELECT 1") and next(iter(threads(cluster.manager)))
    eventually(lambda: thread not in threads(cluster.manager), 5)
    with daemon.connect() as client:
        assert value(client, "SELECT 1") == 1


def test_a_connection_beyond_its_age_is_not_lent_again(cluster: LocalCluster, proxy: Proxy) -> None:
    daemon = proxy(routing=DIRECT, limits={"server_connection_max_age": 1.0})
    client = daemon.connect()
    ask(client, "SELECT 1")
    (thread,) = threads(cluster.manager)
    eventually(lambda: thread not in threads(cluster.manager), 5, "also in a session that is idle")
    ask(client, "SET @a = 1")
    (thread,) = threads(cluster.manager)
    time.sleep(2.5)  # nothing must happen
    assert value(client, "SELECT @a") == 1, "a session that must keep it does keep it"
    client.close()
    eventually(lambda: thread not in threads(cluster.manager), 5)


def test_last_insert_id_survives_the_age(cluster: LocalCluster, proxy: Proxy) -> None:
    daemon = proxy(routing=DIRECT, limits={"server_connection_max_age": 1.0})
    cluster.manager.query("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)")
    client = daemon.connect()
    ask(client, "INSERT INTO app.t (v) VALUES (1), (2)")
    ask(client, "INSERT INTO app.t (v) VALUES (3)")
    (thread,) = threads(cluster.manager)
    eventually(lambda: thread not in threads(cluster.manager), 5)
    assert value(client, "SELECT LAST_INSERT_ID()") == 3


@pytest.mark.parametrize("name", ["wait_timeout", "interactive_timeout"])
def test_idle_connections_are_kept_alive_below(cluster: LocalCluster, proxy: Proxy, name: str) -> None:
    cluster.manager.query(f"SET GLOBAL {name} = 3")
    daemon = proxy(routing=DIRECT)
    flag: dict[str, Any] = {"client_flag": flags.INTERACTIVE} if name == "interactive_timeout" else {}
    with daemon.connect(**flag) as before:
        ask(before, "SELECT 1")  # then it is idle in the pool
    keeping, free = daemon.connect(**flag), daemon.connect(**flag)
    ask(keeping, "CREATE TABLE app.kept AS SELECT seq FROM app.seq_1_to_7")
    ask(keeping, "SET @a = 5")
    ask(keeping, "DELETE FROM app.kept")
    ask(free, "SELECT 1")
    mine = set(threads(cluster.manager))
    time.sleep(4.5)  # longer than the server waits
    assert set(threads(cluster.manager)) == mine
    assert value(keeping, "SELECT ROW_COUNT()") == 7
    assert value(keeping, "SELECT @a") == 5
    assert value(free, "SELECT 6") == 6


def test_a_connection_that_its_server_closes_is_never_used(cluster: LocalCluster, proxy: Proxy) -> None:
    daemon = proxy(routing=DIRECT)
    client, keeping = daemon.connect(), daemon.connect()
    for turn in range(5):
        ask(client, "SELECT 1")
        for thread in threads(cluster.manager):
            cluster.manager.query("KILL %s", (thread,))
        assert value(client, f"SELECT {turn}") == turn
    ask(keeping, "SET @a = 5")
    for thread in threads(cluster.manager):
        cluster.manager.query("KILL %s", (thread,))
    with pytest.raises(pymysql.OperationalError):
        eventually(lambda: value(keeping, "SELECT @a") != 5)


async def test_names_are_resolved_anew_for_each_connection(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = ["127.0.0.77", "127.0.0.1"]  # nobody listens at the first one

    async def resolve(_: Any, host: str, port: int, **options: Any) -> list[Any]:
        assert host == "db.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    server = Server(name="m", address=f"db.example:{cluster.manager.port}", role="manager")
    tasks = Tasks()
    pool = ServerPool(server, Limits(), None, tasks)
    credential = ServerCredential("app", cluster.passwords["app"])
    identity = Identity(credential, flags.PROTOCOL_41 | flags.SECURE_CONNECTION, 45)
    caplog.set_level(logging.INFO)
    with pytest.raises(ServerFault):
        await pool.connect(identity)
    connection = await pool.connect(identity)
    assert connection.thread_id in threads(cluster.manager)
    assert not answers
    connection.close()
    await tasks.close()


def test_what_a_session_writes_is_tracked_after_each_reset(cluster: LocalCluster, proxy: Proxy) -> None:
    """With workers that apply nothing a read is stale, unless the daemon has learned the write's GTID."""
    cluster.manager.query("CREATE TABLE app.t (v INT)")
    cluster.wait_in_sync()
    limited = servers(cluster, manager={"max_connections": 1})
    daemon = proxy(servers=limited, routing={"strategy": "round_robin", "consistency_wait": 0.05})
    address, password = ("127.0.0.1", daemon.port), cluster.passwords["app"]
    with contextlib.ExitStack() as stack:
        for worker in cluster.workers:
            locked = stack.enter_context(worker.connect("root"))
            ask(locked, "LOCK TABLES app.t READ")
        client = stack.enter_context(RawClient(address, "app", password))
        other = stack.enter_context(RawClient(address, "app", password))
        resets: tuple[Callable[[], Answer], ...] = (
            lambda: client.query("DO 1"),
            lambda: other.query("DO 1"),
            lambda: client.command(0x1F),
            lambda: client.change_user("app", password),
            lambda: other.query("DO 1"),
        )
        for written, reset in enumerate(resets, 1):
            reset().check()
            client.query("INSERT INTO app.t VALUES (1)").check()
            for _ in range(3):
                assert client.query("SELECT COUNT(*) FROM app.t").value == str(written).encode()
        assert cluster.manager.served("SELECT COUNT")
        stale = stack.enter_context(RawClient(address, "app", password))
        assert stale.query("SELECT COUNT(*) FROM app.t").value == b"0", (
            "who wrote nothing reads from a worker"
        )
