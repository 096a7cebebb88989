"""Time limits and counts of clients, for all and per account."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol.packets import parse_err
from tests.support.raw import RawClient, ServerError
from tests.support.sessions import all_left, ask, errno, standing, threads, value
from tests.support.waiting import eventually
from tests.support.wire import Wire


@pytest.fixture(scope="module")
def one_daemon(session_cluster: LocalCluster) -> Iterator[Daemon]:
    password = session_cluster.passwords["app"]

    def account(name: str, **limits: Any) -> dict[str, Any]:
        return {"name": name, "password": "pass", "server_user": "app", "server_password": password, **limits}

    with standing(
        session_cluster,
        limits={"login_timeout": 1.0, "idle_timeout": 1.0, "max_connections": 8},
        users=[
            account("plain"),
            account("few", max_connections=2),
            account("statement", statement_timeout=0.5),
            account("transaction", transaction_timeout=0.8),
            account("idle", idle_transaction_timeout=0.4),
        ],
    ) as daemon:
        session_cluster.manager.query("CREATE TABLE app.t (v INT)")
        session_cluster.wait_in_sync()
        yield daemon


@pytest.fixture
def daemon(one_daemon: Daemon, session_cluster: LocalCluster) -> Iterator[Daemon]:
    session_cluster.manager.query("TRUNCATE TABLE app.t")
    yield one_daemon
    all_left(one_daemon)


def closed(client: Any) -> bool:
    """Whether the daemon has closed it (after an error nobody asked for, perhaps)."""
    client._sock.settimeout(5)
    data = b""
    while piece := client._sock.recv(4096):
        data += piece
    return not data or data[4] == 0xFF


def nobody_uses_the_table(cluster: LocalCluster) -> bool:
    """Whether no transaction that is open has touched it. (INNODB_TRX is a cache that polling keeps stale.)"""
    try:
        cluster.manager.query("LOCK TABLES app.t WRITE NOWAIT")
    except pymysql.OperationalError as error:
        assert errno(error) == 1205
        return False
    return True


# --- time limits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT COUNT(*) FROM seq",
        "INSERT INTO app.t SELECT * FROM seq",
    ],
)
def test_a_statement_beyond_its_time_is_killed_on_the_server(
    session_cluster: LocalCluster, daemon: Daemon, statement: str
) -> None:
    endless = "WITH RECURSIVE seq AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM seq WHERE n < 2000000000) "
    if "seq" in statement:
        head, _, tail = statement.partition("SELECT")
        statement = f"{head}{endless}SELECT{tail}"
    client = daemon.connect("statement")
    ask(client, "SET max_recursive_iterations = 4000000000")
    killed = daemon.metrics().total("mysqlproxy_killed_statements_total", reason="statement_timeout")
    began = time.monotonic()
    with pytest.raises(pymysql.MySQLError) as caught:
        ask(client, statement)
    assert errno(caught.value) == 1317
    assert 0.4 < time.monotonic() - began < 20
    for server in session_cluster.servers:
        eventually(lambda s=server: all(t["COMMAND"] == "Sleep" for t in threads(s).values()))  # type: ignore[misc]
    assert value(client, "SELECT 1") == 1, "the client goes on"
    assert (
        daemon.metrics().total("mysqlproxy_killed_statements_total", reason="statement_timeout") == killed + 1
    )
    assert session_cluster.manager.value("SELECT COUNT(*) FROM app.t") == 0


def test_a_transaction_beyond_its_time_is_rolled_back(session_cluster: LocalCluster, daemon: Daemon) -> None:
    client = daemon.connect("transaction")
    ask(client, "BEGIN")
    with pytest.raises(pymysql.MySQLError) as caught:
        while True:
            ask(client, "INSERT INTO app.t VALUES (1)")
            time.sleep(0.02)
    assert errno(caught.value) in (1317, 2006, 2013)
    assert "transaction_timeout" in daemon.log()
    eventually(lambda: nobody_uses_the_table(session_cluster))
    assert session_cluster.manager.value("SELECT COUNT(*) FROM app.t") == 0


def test_a_statement_in_a_transaction_beyond_its_time_is_killed(
    session_cluster: LocalCluster, daemon: Daemon
) -> None:
    client = daemon.connect("transaction")
    ask(client, "BEGIN")
    ask(client, "INSERT INTO app.t VALUES (1)")
    with pytest.raises(pymysql.MySQLError) as caught:
        ask(client, "DO SLEEP(30)")
    assert errno(caught.value) == 1317
    eventually(lambda: not threads(session_cluster.manager), 5)
    assert session_cluster.manager.value("SELECT COUNT(*) FROM app.t") == 0


def test_an_idle_transaction_is_rolled_back(session_cluster: LocalCluster, daemon: Daemon) -> None:
    client = daemon.connect("idle")
    ask(client, "BEGIN")
    ask(client, "INSERT INTO app.t VALUES (1)")
    assert closed(client)
    eventually(lambda: nobody_uses_the_table(session_cluster))
    assert session_cluster.manager.value("SELECT COUNT(*) FROM app.t") == 0
    quick = daemon.connect("idle")
    ask(quick, "BEGIN")
    for _ in range(4):
        time.sleep(0.2)
        ask(quick, "INSERT INTO app.t VALUES (1)")
    ask(quick, "COMMIT")
    assert session_cluster.manager.value("SELECT COUNT(*) FROM app.t") == 4, "one that works has no limit"


def test_an_idle_client_is_closed_with_a_word(daemon: Daemon) -> None:
    client = RawClient(("127.0.0.1", daemon.port), "plain", "pass")
    client.query("SELECT 1").check()
    sequence, payload = client.packet()
    assert sequence == 0
    assert parse_err(payload, client.capabilities).errno == 4031
    assert client.ended()
    client.close()


# --- logins ---------------------------------------------------------------------------------------------------------


def test_a_silent_client_is_closed_at_login_timeout(daemon: Daemon) -> None:
    began = time.monotonic()
    wire = Wire(socket.create_connection(("127.0.0.1", daemon.port)))
    wire.read()
    err = parse_err(wire.read(), 0xFFFF)
    assert 0.8 < time.monotonic() - began < 12
    assert err.errno == 1159
    with pytest.raises(EOFError):
        wire.read()
    wire.close()


def test_a_slow_client_gets_no_more_time(daemon: Daemon) -> None:
    began = time.monotonic()
    sock = socket.create_connection(("127.0.0.1", daemon.port))
    try:
        sock.sendall(b"\x40\x00\x00\x01")
        while time.monotonic() - began < 10:
            sock.sendall(b"\x00")
            time.sleep(0.1)
    except OSError:
        pass
    sock.close()
    assert 0.8 < time.monotonic() - began < 12


# --- counts ---------------------------------------------------------------------------------------------------------


def test_too_many_clients_get_an_error_in_place_of_the_greeting(daemon: Daemon) -> None:
    clients = [daemon.connect("plain") for _ in range(8)]
    with pytest.raises(pymysql.OperationalError) as caught:
        daemon.connect("plain")
    assert errno(caught.value) == 1040
    with socket.create_connection(("127.0.0.1", daemon.port)) as sock:
        data = b""
        while piece := sock.recv(4096):
            data += piece
    assert data[3:5] == b"\x00\xff"
    assert struct.unpack("<H", data[5:7]) == (1040,)
    assert data[7:13] == b"#08004"
    clients[0].close()
    eventually(lambda: daemon.metrics().total("mysqlproxy_client_connections") == 7)
    assert value(daemon.connect("plain"), "SELECT 1") == 1
    assert daemon.metrics().total("mysqlproxy_denied_total", reason="too_many_connections") >= 2


def test_too_many_of_an_account_get_1226(daemon: Daemon) -> None:
    first, _ = daemon.connect("few"), daemon.connect("few")
    with pytest.raises(ServerError) as caught:
        RawClient(("127.0.0.1", daemon.port), "few", "pass")
    assert (caught.value.err.errno, caught.value.err.sqlstate) == (1226, "42000")
    with RawClient(("127.0.0.1", daemon.port), "plain", "pass") as other:
        err = other.change_user("few", "pass").err
        assert err is not None
        assert err.errno == 1226
    first.close()
    eventually(lambda: daemon.metrics().total("mysqlproxy_client_connections") == 1)
    with RawClient(("127.0.0.1", daemon.port), "few", "pass") as again:
        again.change_user("plain", "pass").check()
        assert value(daemon.connect("few"), "SELECT 1") == 1, "COM_CHANGE_USER gave its place back"


def test_nothing_leaks_when_clients_come_and_break_off_anywhere(daemon: Daemon) -> None:
    chance = random.Random(7)
    faults: list[BaseException] = []

    def churn() -> None:
        try:
            for _ in range(60):
                one_client(chance.randrange(6))
        except BaseException as error:
            faults.append(error)

    def one_client(point: int) -> None:
        sock = socket.create_connection(("127.0.0.1", daemon.port))
        wire = Wire(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, no FIN
        try:
            if point == 0:
                return
            if wire.read()[0] == 0xFF or point == 1:
                return
            if point == 2:
                sock.sendall(b"\x20\x00")
                return
        except (EOFError, OSError):
            return
        finally:
            wire.close()
        try:
            with RawClient(("127.0.0.1", daemon.port), "few", "pass") as client:
                if point == 4:
                    client.query("BEGIN").check()
                if point == 5:
                    client.send(client.query_payload("SELECT SLEEP(0.05)"))
        except (ServerError, EOFError, OSError):
            return

    workers = [threading.Thread(target=churn) for _ in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not faults
    eventually(lambda: daemon.metrics().total("mysqlproxy_client_connections") == 0)
    assert all(value(daemon.connect("few"), "SELECT 1") == 1 for _ in range(2))
    with pytest.raises(pymysql.OperationalError):
        daemon.connect("few")
    used = ("used", "connecting", "resetting")
    eventually(
        lambda: not sum(daemon.metrics().total("mysqlproxy_server_connections", state=s) for s in used)
    )
