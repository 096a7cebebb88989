"""A client that goes away without a word: what it ran is killed, what it held is free again."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol.commands import Command
from mysqlproxy.protocol.framing import frame
from tests.faults.scene import ask, await_running, running, served_by
from tests.support.waiting import eventually


def begin(client: Any, sql: str) -> None:
    """Send a statement and do not wait for its answer."""
    client._execute_command(Command.QUERY, sql)


def vanish(client: Any, *, reset: bool = False) -> None:
    """Close the socket without COM_QUIT, or with a RST as when the program is killed with bytes unread."""
    if reset:
        client._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client._force_close()


def rows(cluster: LocalCluster) -> list[int]:
    return [row["a"] for row in cluster.manager.query("SELECT a FROM app.t ORDER BY a")]


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_its_statement_is_killed_on_the_server_and_never_done(
    cluster: LocalCluster, daemon: Daemon, reset: bool
) -> None:
    client = daemon.connect(database="app")
    kills = "mysqlproxy_killed_statements_total"
    before = daemon.metrics().total(kills, reason="client_gone")
    with cluster.manager.connect("root", database="app", autocommit=False) as lock:
        # Who waits for a row does not notice that nobody waits for it.
        ask(lock, "SELECT a FROM t FOR UPDATE")
        begin(client, "UPDATE t SET a = 2")
        await_running(cluster, "SET a = 2")
        vanish(client, reset=reset)
        eventually(lambda: not running(cluster.manager, "SET a = 2"), timeout=5)
    assert rows(cluster) == [1]
    assert served_by(cluster, "SET a = 2") == served_by(cluster, "^KILL QUERY") == {"manager": 1}
    assert daemon.metrics().total(kills, reason="client_gone") == before + 1


@pytest.mark.parametrize("busy", [True, False], ids=["in the middle of a statement", "between statements"])
def test_what_it_held_is_free_again(cluster: LocalCluster, daemon: Daemon, busy: bool) -> None:
    client, other = daemon.connect(database="app"), daemon.connect(database="app")
    ask(client, "CREATE TABLE u (a INT)")
    ask(client, "DO GET_LOCK('mine', 0)")
    ask(client, "BEGIN")
    ask(client, "INSERT INTO t VALUES (2)")
    if busy:
        begin(client, "SELECT SLEEP(60)")
        await_running(cluster, "SLEEP")
    vanish(client)
    ask(other, "SET SESSION innodb_lock_wait_timeout = 5")
    ask(other, "INSERT INTO t VALUES (2)")  # waits for the rollback at most
    assert ask(other, "SELECT GET_LOCK('mine', 5)") == ((1,),)
    assert rows(cluster) == [1, 2]


def test_its_locked_tables_are_free_again(cluster: LocalCluster, daemon: Daemon) -> None:
    client, other = daemon.connect(database="app"), daemon.connect(database="app")
    ask(client, "LOCK TABLES t WRITE")
    vanish(client)
    ask(other, "SET SESSION lock_wait_timeout = 5")
    ask(other, "INSERT INTO t VALUES (2)")


def test_a_result_that_nobody_reads_any_more_ends(cluster: LocalCluster, daemon: Daemon) -> None:
    cluster.manager.query("INSERT INTO t SELECT seq FROM seq_2_to_2000", schema="app")
    cluster.wait_in_sync()
    client = daemon.connect(database="app")
    begin(client, "SELECT a, REPEAT('x', 100000) FROM t")
    server = await_running(cluster, "REPEAT")
    eventually(lambda: "Writing to net" in str(server.query("SHOW PROCESSLIST")))
    vanish(client)
    eventually(lambda: not running(server, "REPEAT"), timeout=5)


def test_in_the_middle_of_a_file_none_of_it_stays(
    cluster: LocalCluster, daemon: Daemon, tmp_path: Path
) -> None:
    cluster.manager.query("SET GLOBAL local_infile = 1")
    client: Any = daemon.connect(database="app", local_infile=True)
    begin(client, f"LOAD DATA LOCAL INFILE '{tmp_path}' INTO TABLE t")
    client._read_packet()  # the request for the file
    client._sock.sendall(frame(b"2\n3\n4\n", 2))
    await_running(cluster, "LOAD DATA")
    vanish(client)
    eventually(lambda: not running(cluster.manager, "LOAD DATA"), timeout=5)
    assert rows(cluster) == [1]


def test_while_it_waits_for_a_connection_its_place_is_free(
    cluster: LocalCluster, table: None, proxy: Any
) -> None:
    servers = [
        {"name": "manager", "address": cluster.manager.address, "role": "manager", "max_connections": 1}
    ]
    daemon = proxy(servers=servers, limits={"pool_wait": 20.0})
    first, second, third = (daemon.connect() for _ in range(3))
    ask(first, "BEGIN")
    ask(first, "INSERT INTO app.t VALUES (2)")
    begin(second, "INSERT INTO app.t VALUES (3)")
    begin(third, "INSERT INTO app.t VALUES (4)")
    eventually(lambda: daemon.metrics().total("mysqlproxy_client_connections") == 3)
    vanish(second)
    eventually(lambda: daemon.metrics().total("mysqlproxy_client_connections") == 2)
    ask(first, "COMMIT")
    third._read_query_result()
    assert rows(cluster) == [1, 2, 4]
    assert served_by(cluster, r"VALUES \(3\)") == {}


def test_many_at_once_leave_nothing(cluster: LocalCluster, daemon: Daemon) -> None:
    clients = [daemon.connect(database="app") for _ in range(30)]
    for number, client in enumerate(clients):
        begin(client, "SELECT SLEEP(60)" if number % 2 else "SELECT a FROM t")
    eventually(lambda: sum(len(running(server, "SLEEP")) for server in cluster.servers) == 15)
    for client in clients:
        vanish(client, reset=True)
    eventually(lambda: not any(running(server, "SLEEP") for server in cluster.servers), timeout=10)
    eventually(lambda: daemon.metrics().total("mysqlproxy_client_connections") == 0)
    assert daemon.metrics().total("mysqlproxy_server_connections", state="used") == 0
    assert ask(daemon.connect(database="app"), "SELECT a FROM t") == ((1,),)
