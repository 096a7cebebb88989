"""Packets of 16 MiB and more, both ways: the protocol splits them over frames."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.support.raw import RawClient, proxied

MIB16 = 1 << 24
FULL = MIB16 - 1  # bytes of a frame that another one follows
SIZES = [FULL - 1, FULL, FULL + 1, MIB16, 2 * FULL - 1, 2 * FULL, 2 * FULL + 1, 40_000_000]


@pytest.fixture
def client(cluster: LocalCluster, proxy: Callable[..., Daemon]) -> Iterator[RawClient]:
    """Servers of LocalCluster take 64 MiB, as the daemon does."""
    cluster.manager.query("CREATE TABLE app.t (b LONGBLOB)")
    cluster.wait_in_sync()
    with proxied(proxy(), schema="app") as client:
        yield client


def test_a_statement_of_any_size_arrives_whole(client: RawClient) -> None:
    head, tail = b"SELECT MD5('", b"')"
    for size in SIZES:
        text = b"x" * (size - 1 - len(head) - len(tail))  # one byte is the command's
        digest = hashlib.md5(text, usedforsecurity=False).hexdigest().encode()
        assert client.query(head + text + tail).value == digest
        assert client.query("SELECT 1").value == b"1"


def test_a_row_of_any_size_arrives_whole(client: RawClient) -> None:
    """Also one whose continuation begins like an EOF or an ERR."""
    for number, size in enumerate(SIZES):
        filler = (b"\xfe", b"\xff")[number % 2]
        length = size - 4 if size - 4 < MIB16 else size - 9  # of the value, behind its own length
        answer = client.query(f"SELECT REPEAT(x'{filler.hex()}', {length})").check()
        assert len(answer.rows[0]) == size
        assert answer.value == filler * length
        assert client.query("SELECT 1").value == b"1"


def test_a_prepared_statement_takes_and_gives_large_values(client: RawClient, cluster: LocalCluster) -> None:
    value = bytes(range(256)) * 80_000  # 20 MB
    insert = client.prepare("INSERT INTO t VALUES (?)")
    assert client.execute(insert.id, [value]).ok.affected_rows == 1
    cluster.wait_in_sync()
    select = client.prepare("SELECT b FROM t WHERE LENGTH(b) > ?")
    row = client.execute(select.id, [b"1"]).check().rows[0]
    assert row[2:].endswith(value)


def test_a_packet_beyond_max_packet_is_refused(cluster: LocalCluster, proxy: Callable[..., Daemon]) -> None:
    daemon = proxy(limits={"max_packet": 1 << 20})
    with proxied(daemon) as client:
        answer = client.query(b"SELECT '" + b"x" * (1 << 20) + b"'")
        assert answer.err is not None
        assert (answer.err.errno, answer.err.sqlstate) == (1153, "08S01")
        assert client.ended()  # as the servers do
    with proxied(daemon) as client:
        assert client.query("SELECT 1").value == b"1"


def test_a_packet_beyond_the_servers_own_limit_is_the_servers_error(
    cluster: LocalCluster, proxy: Callable[..., Daemon]
) -> None:
    """It skips up to twice its limit, resets the connection above, and gives up between two frames."""
    for server in cluster.servers:
        server.query("SET GLOBAL max_allowed_packet = 2097152")
    daemon = proxy()
    for size in (3, 6, 6, 6, 20):
        with proxied(daemon) as client:
            answer = client.query(b"SELECT LENGTH('" + b"x" * (size << 20) + b"')")
            assert answer.err is not None
            assert (answer.err.errno, answer.err.sqlstate) == (1153, "08S01")
            assert client.query("SELECT 1").value == b"1"  # the client's own connection goes on
