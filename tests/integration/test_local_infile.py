"""LOAD DATA LOCAL INFILE: the file goes from the client to the server, and only the file that was asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol.framing import frame
from tests.support.raw import RawClient, direct, proxied
from tests.support.relay import relay

Proxy = Callable[..., Daemon]
LOAD = "LOAD DATA LOCAL INFILE '{}' INTO TABLE t (a)"


@pytest.fixture
def daemon(cluster: LocalCluster, proxy: Proxy) -> Daemon:
    cluster.manager.query("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(100))")
    return proxy()


@pytest.fixture
def client(daemon: Daemon) -> Iterator[RawClient]:
    with proxied(daemon, schema="app") as client:
        yield client


def count(cluster: LocalCluster) -> Any:
    return cluster.manager.value("SELECT COUNT(*) FROM app.t")


def test_a_file_is_loaded_with_pymysql(cluster: LocalCluster, daemon: Daemon, tmp_path: Any) -> None:
    file = tmp_path / "it's data.txt"
    file.write_text("one\ntwo\nthree\n")
    with daemon.connect(database="app", local_infile=True) as connection, connection.cursor() as cursor:
        assert cursor.execute("LOAD DATA LOCAL INFILE %s INTO TABLE t (a)", (str(file),)) == 3
        cursor.execute("SELECT COUNT(*) FROM t")
        assert cursor.fetchone() == (3,)


def test_a_large_file_is_loaded_whole(cluster: LocalCluster, client: RawClient) -> None:
    lines = 300_000
    data = b"".join(b"%099d\n" % n for n in range(lines))  # 30 MB
    asked = []

    def file(name: bytes) -> list[bytes]:
        asked.append(name)
        return [data[at : at + 1_000_000] for at in range(0, len(data), 1_000_000)]

    assert client.query(LOAD.format("/x/big"), file).ok.affected_rows == lines
    assert asked == [b"/x/big"]
    assert count(cluster) == lines
    assert client.query("SELECT 1").value == b"1"


def test_packets_of_16_mib_of_a_file_pass(cluster: LocalCluster, client: RawClient) -> None:
    """A frame that is full is followed by another one, an empty one if need be, which does not end the file."""
    full = (b"x" * 99 + b"\n") * 168000
    pieces = [full[:0xFFFFFF], full[0xFFFFFF:], b"last\n"]
    assert len(full) > 0xFFFFFF
    assert client.query(LOAD.format("f"), lambda name: pieces).ok.affected_rows == 168001


def test_an_empty_file_loads_nothing(cluster: LocalCluster, client: RawClient) -> None:
    assert client.query(LOAD.format("empty"), lambda name: []).ok.affected_rows == 0
    assert count(cluster) == 0


def test_a_file_that_the_client_does_not_have_loads_nothing_and_the_session_goes_on(
    cluster: LocalCluster, daemon: Daemon
) -> None:
    with daemon.connect(database="app", local_infile=True) as connection, connection.cursor() as cursor:
        with pytest.raises(pymysql.OperationalError) as missing:
            cursor.execute("LOAD DATA LOCAL INFILE '/nowhere/at/all' INTO TABLE t (a)")
        assert missing.value.args[0] == 1017
        cursor.execute("SELECT COUNT(*) FROM t")
        assert cursor.fetchone() == (0,)


def test_an_error_after_the_file_is_the_servers(cluster: LocalCluster, client: RawClient) -> None:
    cluster.manager.query("INSERT INTO app.t VALUES (1, 'there')")
    answer = client.query("LOAD DATA LOCAL INFILE 'f' INTO TABLE missing (a)", lambda name: [b"x\n"])
    assert answer.err is not None and answer.err.errno == 1146
    duplicate = client.query(
        "LOAD DATA LOCAL INFILE 'f' REPLACE INTO TABLE t (id, a)", lambda name: [b"1\tnew\n"]
    )
    assert duplicate.ok.affected_rows == 2
    assert client.query("SELECT a FROM t").value == b"new"


def test_several_statements_in_one_text_each_ask_for_their_file(client: RawClient) -> None:
    asked = []

    def file(name: bytes) -> list[bytes]:
        asked.append(name)
        return [b"row of " + name + b"\n"]

    client.query(LOAD.format("one") + "; " + LOAD.format("two"), file).check()
    assert asked == [b"one", b"two"]
    assert client.query("SELECT GROUP_CONCAT(a ORDER BY id) FROM t").value == b"row of one,row of two"


def test_a_client_that_did_not_offer_local_files_is_refused_by_the_server(
    cluster: LocalCluster, daemon: Daemon
) -> None:
    local_files = 1 << 7
    errors = []
    for connect in (
        lambda: direct(cluster.manager, cluster.passwords["app"], schema="app", without=local_files),
        lambda: proxied(daemon, schema="app", without=local_files),
    ):
        with connect() as client:
            errors.append(client.query(LOAD.format("f")).err)
    assert errors[0] is not None
    assert errors[0] == errors[1]


@pytest.mark.parametrize("sql", ["DO 'hostile'", LOAD.format("hostile")])
def test_a_request_for_another_file_than_the_statements_is_not_passed_on(
    cluster: LocalCluster, proxy: Proxy, sql: str
) -> None:
    """A server that was taken over could read the disk of a client that trusts the daemon."""
    with relay(cluster.manager.port) as taken:
        taken.instead = lambda data: frame(b"\xfb/etc/passwd", 1) if b"hostile" in data else None
        address = f"127.0.0.1:{taken.port}"
        daemon = proxy(servers=[{"name": "manager", "address": address, "role": "manager"}])
        asked: list[bytes] = []
        with proxied(daemon, schema="app") as client, contextlib.suppress(EOFError):
            answer = client.query(sql, lambda name: asked.append(name) or [])  # type: ignore[func-returns-value]
            assert answer.err is not None
        assert asked == []
        daemon.stop()
