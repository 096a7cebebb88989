"""Prepared statements of the binary protocol, that move between servers while their client sees one statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mysql.connector
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.general_log import Entry
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.demo.server import LocalServer
from mysqlproxy.protocol.packets import Err
from tests.support.raw import Answer, RawClient, proxied
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]
LAST = 0xFFFFFFFF  # MariaDB: the statement prepared last


@pytest.fixture
def daemon(cluster: LocalCluster, proxy: Proxy) -> Daemon:
    """In turn over the workers, which have the table ``t`` of ten rows."""
    cluster.manager.query("CREATE TABLE app.t (id INT PRIMARY KEY, a LONGTEXT)")
    cluster.manager.query("INSERT INTO app.t SELECT seq, CONCAT('v', seq) FROM app.seq_1_to_10")
    cluster.wait_in_sync()
    return proxy(routing={"strategy": "round_robin", "read_consistency": "eventual"})


@pytest.fixture
def client(daemon: Daemon) -> Iterator[RawClient]:
    with proxied(daemon, schema="app") as client:
        yield client


def logged(server: LocalServer, pattern: str, *commands: str) -> list[Entry]:
    return server.served(pattern, frozenset(commands))


def binary(answer: Answer) -> list[bytes]:
    """The values of rows with one string column and no NULL."""
    answer.check()
    return [row[3:] for row in answer.rows]  # header, null bitmap, length below 251


def error(answer: Answer) -> Err:
    assert answer.err is not None, answer.packets
    return answer.err


def test_a_statement_is_prepared_again_on_each_server_it_is_executed_on(
    cluster: LocalCluster, client: RawClient
) -> None:
    prepared = client.prepare("SELECT a FROM t WHERE id = ?")
    for number in (1, 2, 3, 4):
        assert binary(client.execute(prepared.id, [b"%d" % number])) == [b"v%d" % number]
    for worker in cluster.workers:
        assert len(logged(worker, "FROM t WHERE id", "Prepare")) == 1
        assert len(logged(worker, "FROM t WHERE id", "Execute")) == 2
    assert not cluster.manager.served("FROM t WHERE id")


def test_parameter_types_sent_once_reach_every_server(cluster: LocalCluster, client: RawClient) -> None:
    prepared = client.prepare("SELECT a FROM t WHERE id = ? AND a = ?")
    values: list[bytes | None] = [b"3", b"v3"]
    assert binary(client.execute(prepared.id, values)) == [b"v3"]
    for _ in range(3):  # without types: the other worker has never seen them
        assert binary(client.execute(prepared.id, values, types=False)) == [b"v3"]
    assert [len(logged(worker, "AND a =", "Execute")) for worker in cluster.workers] == [2, 2]


def test_types_sent_anew_count_on_every_server(client: RawClient) -> None:
    prepared = client.prepare("SELECT CONCAT(?, '')")
    client.execute(prepared.id, [b"text"])
    client.execute(prepared.id, [b"text"])  # both workers know strings
    number = (5).to_bytes(8, "little")
    payload = client.execute_payload(prepared.id, [b"x" * 8])
    with_longlong = payload[: -9 - 2] + b"\x08\0" + number
    client.send(with_longlong)
    assert binary(client.read_results()) == [b"5"]
    for _ in range(2):
        client.send(payload[: -9 - 3] + b"\0" + number)
        assert binary(client.read_results()) == [b"5"]


def test_nulls_arrive_as_nulls(client: RawClient) -> None:
    prepared = client.prepare("SELECT CONCAT_WS('-', ?, ?, ?, ?, ?, ?, ?, ?, IFNULL(?, 'null'))")
    values: list[bytes | None] = [None, b"b", None, None, None, None, None, b"h", None]
    for types in (True, False):
        assert binary(client.execute(prepared.id, values, types=types)) == [b"b-h-null"]


def test_writes_go_to_the_manager(cluster: LocalCluster, client: RawClient) -> None:
    prepared = client.prepare("INSERT INTO t VALUES (?, ?)")
    assert client.execute(prepared.id, [b"20", None]).ok.affected_rows == 1
    assert client.execute(prepared.id, [b"21", b"x"], types=False).ok.affected_rows == 1
    assert error(client.execute(prepared.id, [b"21", b"x"])).errno == 1062
    assert len(logged(cluster.manager, "INSERT INTO t", "Execute")) == 3
    assert cluster.manager.value("SELECT COUNT(*) FROM app.t") == 12


def test_long_data_reaches_the_server_that_executes(cluster: LocalCluster, client: RawClient) -> None:
    prepared = client.prepare("SELECT MD5(?) = MD5(REPEAT('ab', 100000))")
    for _ in range(2):  # once on each worker
        for piece in (b"ab" * 60000, b"", b"ab" * 40000):
            client.long_data(prepared.id, 0, piece)
        payload = client.execute_payload(prepared.id, [b""])[:-1]  # the value is not in the packet
        client.send(payload)
        answer = client.read_results().check()
        assert answer.rows[0][2] == 1
    assert all(logged(worker, "MD5", "Execute") for worker in cluster.workers)


def test_long_data_is_forgotten_after_an_execution_and_by_a_reset(client: RawClient) -> None:
    prepared = client.prepare("SELECT ?")
    client.long_data(prepared.id, 0, b"long")
    client.send(client.execute_payload(prepared.id, [b""])[:-1])
    assert binary(client.read_results()) == [b"long"]
    assert binary(client.execute(prepared.id, [b"short"])) == [b"short"]
    client.long_data(prepared.id, 0, b"forgotten")
    client.reset_statement(prepared.id).check()
    assert binary(client.execute(prepared.id, [b"short"])) == [b"short"]


def test_long_data_beyond_max_packet_is_an_error_of_the_execution(proxy: Proxy) -> None:
    with proxied(proxy(limits={"max_packet": 1 << 20})) as client:
        prepared = client.prepare("SELECT LENGTH(?)")
        for _ in range(5):
            client.long_data(prepared.id, 0, bytes(300_000))
        client.send(client.execute_payload(prepared.id, [b""])[:-1])
        assert error(client.read_results()).errno == 1153
        assert client.execute(prepared.id, [b"abc"]).check().rows  # the session goes on


def test_a_cursor_is_fetched_in_portions_from_the_server_that_has_it(
    cluster: LocalCluster, client: RawClient
) -> None:
    prepared = client.prepare("SELECT a FROM t ORDER BY id")
    assert client.execute(prepared.id, cursor=True).check().rows == []
    assert binary(client.fetch(prepared.id, 4)) == [b"v1", b"v2", b"v3", b"v4"]
    assert client.query("SELECT COUNT(*) FROM t").value == b"10"  # something else in between
    assert client.query("SELECT COUNT(*) FROM t").value == b"10"
    assert binary(client.fetch(prepared.id, 4)) == [b"v5", b"v6", b"v7", b"v8"]
    last = client.fetch(prepared.id, 4)
    assert binary(last) == [b"v9", b"v10"]
    assert last.status & 0x80  # SERVER_STATUS_LAST_ROW_SENT
    assert error(client.fetch(prepared.id, 1)).errno == 1421


def test_a_statement_executed_again_closes_its_cursor(client: RawClient) -> None:
    prepared = client.prepare("SELECT a FROM t ORDER BY id")
    for _ in range(3):
        client.execute(prepared.id, cursor=True).check()
        assert binary(client.fetch(prepared.id, 2)) == [b"v1", b"v2"]
    assert len(binary(client.execute(prepared.id))) == 10
    assert error(client.fetch(prepared.id, 1)).errno == 1421


def test_two_cursors_are_open_at_once(client: RawClient) -> None:
    up, down = (
        client.prepare("SELECT a FROM t ORDER BY id"),
        client.prepare("SELECT a FROM t ORDER BY id DESC"),
    )
    for prepared in (up, down):
        client.execute(prepared.id, cursor=True).check()
    for number in range(1, 6):
        assert binary(client.fetch(up.id, 1)) == [b"v%d" % number]
        assert binary(client.fetch(down.id, 1)) == [b"v%d" % (11 - number)]


def test_a_reset_closes_the_cursor(client: RawClient) -> None:
    prepared = client.prepare("SELECT a FROM t")
    client.execute(prepared.id, cursor=True).check()
    client.reset_statement(prepared.id).check()
    assert error(client.fetch(prepared.id, 1)).errno == 1421
    assert len(binary(client.execute(prepared.id))) == 10


def test_close_closes_on_every_server(cluster: LocalCluster, client: RawClient) -> None:
    prepared = client.prepare("SELECT a FROM t WHERE id = ?")
    for _ in range(2):
        client.execute(prepared.id, [b"1"]).check()
    client.close_statement(prepared.id)
    assert error(client.execute(prepared.id, [b"1"])).errno == 1243
    for worker in cluster.workers:
        eventually(lambda worker=worker: logged(worker, "", "Close stmt"))  # type: ignore[misc]


def test_unknown_ids_are_error_1243_and_the_session_goes_on(client: RawClient) -> None:
    for answer in (client.execute(99), client.fetch(99, 1), client.reset_statement(99)):
        assert (error(answer).errno, error(answer).sqlstate) == (1243, "HY000")
    client.close_statement(99)
    client.long_data(99, 0, b"x")
    assert client.query("SELECT 1").value == b"1"


def test_mariadbs_id_minus_one_is_the_statement_prepared_last(client: RawClient) -> None:
    assert error(client.execute(LAST)).errno == 1243
    client.prepare("SELECT 'first'")
    client.prepare("SELECT CONCAT('last', ?)")
    for _ in range(2):
        assert binary(client.execute(LAST, [b"!"])) == [b"last!"]
    client.long_data(LAST, 0, b"long")
    client.send(client.execute_payload(LAST, [b""])[:-1])
    assert binary(client.read_results()) == [b"lastlong"]
    client.reset_statement(LAST).check()
    client.close_statement(LAST)
    assert error(client.execute(LAST)).errno == 1243


def test_prepare_and_execute_may_be_sent_in_one_go(client: RawClient) -> None:
    """MariaDB's Connector/C and ODBC do: the id is not known yet."""
    client.send(bytes((0x16,)) + b"SELECT a FROM t WHERE id = ?")
    client.send(client.execute_payload(LAST, [b"7"]))
    client.read_one()
    for _ in range(4):  # a parameter and its EOF, a column and its EOF
        client.packet()
    assert binary(client.read_results()) == [b"v7"]


def test_what_the_client_prepared_is_gone_after_a_reset(client: RawClient) -> None:
    prepared = client.prepare("SELECT 1")
    client.command(0x1F).check()
    assert error(client.execute(prepared.id)).errno == 1243


def test_a_read_of_a_transaction_is_executed_where_the_transaction_is(
    cluster: LocalCluster, client: RawClient
) -> None:
    prepared = client.prepare("SELECT a FROM t WHERE id = ?")
    client.execute(prepared.id, [b"1"]).check()
    client.query("BEGIN").check()
    client.query("UPDATE t SET a = 'changed' WHERE id = 1").check()
    assert binary(client.execute(prepared.id, [b"1"], types=False)) == [b"changed"]
    client.query("ROLLBACK").check()
    assert binary(client.execute(prepared.id, [b"1"], types=False)) == [b"v1"]
    assert len(logged(cluster.manager, "FROM t WHERE id", "Execute")) == 1


def test_a_statement_is_prepared_in_the_schema_of_its_prepare(
    cluster: LocalCluster, client: RawClient
) -> None:
    """Its names mean what they meant then, also on a server it comes to after a USE."""
    cluster.manager.query("CREATE DATABASE other")
    cluster.manager.query("GRANT ALL ON other.* TO app@'%'")
    cluster.manager.query("CREATE TABLE other.t AS SELECT 1 AS id, 'wrong' AS a")
    cluster.wait_in_sync()
    prepared = client.prepare("SELECT a FROM t WHERE id = ?")
    client.query("USE other").check()
    for _ in range(3):
        assert binary(client.execute(prepared.id, [b"1"])) == [b"v1"]
    assert client.query("SELECT a FROM t").value == b"wrong"


def test_mysql_connector_prepares_and_executes(cluster: LocalCluster, daemon: Daemon) -> None:
    account: dict[str, Any] = {"user": "app", "password": cluster.passwords["app"], "database": "app"}
    with mysql.connector.connect(
        host="127.0.0.1", port=daemon.port, use_pure=True, ssl_disabled=True, **account
    ) as connection:
        cursor = connection.cursor(prepared=True)
        for number in range(1, 5):
            cursor.execute("SELECT id, a, NULL FROM t WHERE id = %s", (number,))
            assert cursor.fetchall() == [(number, f"v{number}", None)]
        connection.autocommit = True
        cursor.executemany("INSERT INTO t VALUES (%s, %s)", [(30, "x"), (31, None)])
        cluster.wait_in_sync()
        cursor.execute("SELECT a FROM t WHERE id > %s ORDER BY id", (29,))
        assert cursor.fetchall() == [("x",), (None,)]
        cursor.close()
