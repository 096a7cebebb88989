"""Commands that arrive before the one before has been answered: answered in order, each routed by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.support.raw import INIT_DB, PING, RawClient, proxied

Proxy = Callable[..., Daemon]


@pytest.fixture
def client(cluster: LocalCluster, proxy: Proxy) -> Iterator[RawClient]:
    cluster.manager.query("CREATE TABLE app.t (id INT PRIMARY KEY, a INT)")
    cluster.wait_in_sync()
    routing = {"strategy": "round_robin", "consistency_wait": 10.0}
    with proxied(proxy(routing=routing), schema="app") as client:
        yield client


def packet(payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + b"\0" + payload


def test_answers_come_in_the_order_of_the_commands(client: RawClient) -> None:
    count = 300
    data = b"".join(packet(client.query_payload(f"SELECT {n}")) for n in range(count))
    client.sock.sendall(data)
    assert [client.read_results().value for _ in range(count)] == [b"%d" % n for n in range(count)]


def test_each_command_is_routed_by_itself_when_the_one_before_has_ended(
    cluster: LocalCluster, client: RawClient
) -> None:
    """Each statement sees the effects of those before it, on whatever server it runs."""
    texts = [
        "INSERT INTO t VALUES (1, 10)",
        "SELECT a FROM t",  # its own write
        "BEGIN",
        "UPDATE t SET a = 11",
        "SELECT a FROM t /* within */",
        "ROLLBACK",
        "SELECT a FROM t /* after */",
        "SET time_zone = '+05:00'",
        "SELECT a, @@time_zone FROM t",
        "USE information_schema",
        "SELECT a FROM app.t /* elsewhere */",
    ]
    client.sock.sendall(b"".join(packet(client.query_payload(text)) for text in texts))
    answers = [client.read_results().check() for _ in texts]
    assert [answer.texts()[0] for answer in answers if answer.rows] == [
        [b"10"],
        [b"11"],
        [b"10"],
        [b"10", b"+05:00"],
        [b"10"],
    ]
    assert cluster.manager.served("within")
    assert not cluster.manager.served("after|elsewhere")


def test_an_error_does_not_stop_what_comes_behind_it(client: RawClient) -> None:
    texts = ["SELECT 1", "SELECT * FROM missing", "no SQL", "SELECT 2"]
    client.sock.sendall(b"".join(packet(client.query_payload(text)) for text in texts))
    errors = [answer.err.errno if answer.err else 0 for answer in (client.read_results() for _ in texts)]
    assert errors == [0, 1146, 1064, 0]


def test_commands_of_all_kinds_are_pipelined(client: RawClient) -> None:
    data = packet(bytes((PING,))) + packet(client.query_payload("SELECT 1")) + packet(b"\x55")
    data += packet(bytes((INIT_DB,)) + b"app") + packet(bytes((PING,)))
    client.sock.sendall(data)
    client.read_one().check()
    assert client.read_results().value == b"1"
    unknown = client.read_one().err
    assert unknown is not None and unknown.errno == 1047
    client.read_one().check()
    client.read_one().check()


def test_commands_in_pieces_of_one_byte_are_the_same(client: RawClient) -> None:
    for byte in packet(client.query_payload("SELECT 1")) + packet(client.query_payload("SELECT 2")):
        client.sock.sendall(bytes((byte,)))
    assert [client.read_results().value for _ in range(2)] == [b"1", b"2"]


def test_quit_behind_other_commands_ends_the_session_after_them(client: RawClient) -> None:
    client.sock.sendall(
        packet(client.query_payload("INSERT INTO t VALUES (5, 5)"))
        + packet(client.query_payload("SELECT COUNT(*) FROM t"))
        + packet(b"\x01")
    )
    assert client.read_results().ok.affected_rows == 1
    assert client.read_results().value == b"1"
    assert client.ended()
