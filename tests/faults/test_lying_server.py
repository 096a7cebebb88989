"""What no real server does: bytes nobody asked for, files nobody named, packets out of order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol.framing import frame
from mysqlproxy.protocol.packets import build_err
from tests.faults.scene import FAST, ask, assert_closed, await_reads, served_by, threads
from tests.faults.tamper import Liar, Lie, liar
from tests.integration.test_slow_peers import GROWTH, Peak
from tests.support.raw import proxied
from tests.support.waiting import eventually

TIMEOUT = frame(build_err(4031, "HY000", "The client was disconnected by the server because of inactivity."))
ANSWER = bytes.fromhex("0100000101 1700000203646566000000013100 0c3f0001000000080100000000".replace(" ", ""))


@pytest.fixture
def worker(cluster: LocalCluster, table: None) -> Iterator[Liar]:
    with liar(cluster.workers[0].port) as made:
        yield made


@pytest.fixture
def manager(cluster: LocalCluster, table: None) -> Iterator[Liar]:
    with liar(cluster.manager.port) as made:
        yield made


@pytest.fixture
def behind(cluster: LocalCluster, proxy: Callable[..., Daemon], worker: Liar) -> Daemon:
    """The manager, and a liar as its only worker."""
    daemon = proxy(
        monitor=FAST,
        servers=[
            {"name": "manager", "address": cluster.manager.address, "role": "manager"},
            {"name": "worker1", "address": f"127.0.0.1:{worker.port}", "role": "worker", "tls": "off"},
        ],
    )
    return await_reads(daemon, cluster)


@pytest.fixture
def under(cluster: LocalCluster, proxy: Callable[..., Daemon], manager: Liar) -> Daemon:
    """A liar as the manager, and an honest worker."""
    return proxy(
        monitor=FAST,
        servers=[
            {"name": "manager", "address": f"127.0.0.1:{manager.port}", "role": "manager", "tls": "off"},
            {"name": "worker1", "address": cluster.workers[0].address, "role": "worker"},
        ],
    )


def out_of_order(data: bytes) -> bytes:
    return data[:3] + bytes((data[3] + 1,)) + data[4:]


LIES: dict[str, Lie] = {
    "a packet out of order": out_of_order,
    "a column count that is no number": lambda data: frame(b"\xfe\xff", 1),
    "a column count of 2**64 - 1": lambda data: frame(b"\xfe" + b"\xff" * 8, 1),
    "a column count of 0": lambda data: frame(b"\xfc\0\0", 1),
    "a number beyond its packet": lambda data: frame(b"\0\xfe\xff\xff", 1),
    "a session state beyond its packet": lambda data: frame(b"\0\0\0\0\x40\0\0\0\xfe" + b"\x7f" * 8, 1),
    "an OK that is cut short": lambda data: frame(b"\x00", 1),
    "an empty packet": lambda data: frame(b"", 1),
    "a file that nobody named": lambda data: frame(b"\xfb/etc/passwd", 1),
    "half a packet and the end": lambda data: b"\xff\xff\x00\x01",
}


class TestInPlaceOfAnAnswer:
    def test_to_a_read_it_never_reaches_the_client(
        self, cluster: LocalCluster, behind: Daemon, worker: Liar
    ) -> None:
        for number, (what, lie) in enumerate(LIES.items()):
            if what.startswith("half"):
                continue  # that is only a server that takes its time
            client = behind.connect(database="app", local_infile=True)
            sql = f"SELECT a + {number} FROM t"
            worker.lie(sql.encode(), lie)
            assert ask(client, sql) == ((1 + number,),), what
            assert worker.told == number + 1
            assert served_by(cluster, rf"a \+ {number} FROM") == {"worker1": 1, "manager": 1}, what
            assert ask(client, "SELECT a FROM t") == ((1,),), what
        assert served_by(cluster, "^SELECT a FROM t") == {"worker1": len(LIES) - 1}

    def test_to_a_write_it_ends_the_client_with_an_error(
        self, cluster: LocalCluster, under: Daemon, manager: Liar
    ) -> None:
        other = under.connect(database="app")
        for number, (what, lie) in enumerate(LIES.items()):
            if what.startswith("half"):
                continue
            client = under.connect(database="app", local_infile=True)
            sql = f"INSERT INTO t VALUES ({number + 10})"
            manager.lie(sql.encode(), lie)
            with pytest.raises(pymysql.OperationalError) as caught:
                ask(client, sql)
            assert caught.value.args == (1927, "Lost connection to server during query"), what
            assert_closed(client, cluster)
            assert served_by(cluster, rf"VALUES \({number + 10}\)") == {"manager": 1}, what
            ask(other, f"INSERT INTO t VALUES ({number + 20})")  # everybody else is served
        assert "/etc/passwd" not in under.log()

    def test_a_file_other_than_the_statements_own_is_never_asked_for(
        self, cluster: LocalCluster, under: Daemon, manager: Liar, tmp_path: Path
    ) -> None:
        wanted, secret = tmp_path / "wanted", tmp_path / "secret"
        wanted.write_text("2\n")
        secret.write_text("3\n")
        cluster.manager.query("SET GLOBAL local_infile = 1")
        load = f"LOAD DATA LOCAL INFILE '{wanted}' INTO TABLE t"
        client = under.connect(database="app", local_infile=True)
        manager.lie(b"LOAD DATA", lambda data: data.replace(b"wanted", b"secret"))
        with pytest.raises(pymysql.OperationalError) as caught:
            ask(client, load)
        assert caught.value.args == (1927, "Lost connection to server during query")
        assert_closed(client, cluster)
        assert manager.told == 1
        ask(under.connect(database="app", local_infile=True), load)
        assert [row["a"] for row in cluster.manager.query("SELECT a FROM app.t")] == [1, 2]


def endless(data: bytes) -> Iterator[bytes]:
    """A row for ever; the definitions are the real answer's."""
    end = data.index(b"\xfe\0\0") - 4  # the EOF behind them
    sequence = data[end + 3] + 1
    yield data[: end + 9]
    while True:
        pieces = [frame(b"\xfa" + b"x" * 250, (sequence + number) & 0xFF) for number in range(256)]
        yield b"".join(pieces)


class TestWithoutEnd:
    """With ``statement_timeout`` a statement is killed, and its connection dropped when the server goes on."""

    @pytest.mark.parametrize("lie", [lambda data: b"", endless], ids=["silence", "rows"])
    def test_an_answer_ends_and_everybody_else_is_served(
        self, cluster: LocalCluster, proxy: Callable[..., Daemon], manager: Liar, lie: Lie
    ) -> None:
        daemon = proxy(
            monitor=FAST,
            servers=[
                {"name": "manager", "address": f"127.0.0.1:{manager.port}", "role": "manager", "tls": "off"}
            ],
            users=[{"name": "app", "password": cluster.passwords["app"], "statement_timeout": 0.5}],
            limits={"read_timeout": 0.5},
        )
        with proxied(daemon, schema="app") as client, Peak(daemon) as peak:
            manager.lie(b"7 AS seven", lie)
            client.send(client.query_payload("SELECT 7 AS seven FROM t FOR UPDATE"))
            others = daemon.connect(database="app")
            while not client.ended(0.2):
                begun = time.monotonic()
                assert ask(others, "SELECT a FROM t") == ((1,),)
                assert time.monotonic() - begun < 2
            assert peak.growth < GROWTH
        assert "does not end what was killed" in daemon.log()
        used = "mysqlproxy_server_connections"
        eventually(lambda: daemon.metrics().total(used, state="used") <= 1)


class TestBeforeAStatementIsSent:
    def without_connections(self, cluster: LocalCluster, daemon: Daemon) -> Any:
        """A client, when the daemon has no connection to the manager any more."""
        client = daemon.connect()
        for thread in threads(cluster.manager):
            cluster.manager.query(f"KILL {thread}")
        connections = "mysqlproxy_server_connections"
        eventually(lambda: daemon.metrics().total(connections, server="manager") == 0)
        return client

    def test_a_connection_that_is_closed_is_replaced_by_another(
        self, cluster: LocalCluster, under: Daemon, manager: Liar
    ) -> None:
        def hang_up(_: bytes) -> bytes:
            raise ConnectionError

        client = self.without_connections(cluster, under)
        manager.lie(b"session_track_system_variables", hang_up)  # the first thing on every new connection
        ask(client, "INSERT INTO app.t VALUES (2)")
        assert not manager.lies
        assert served_by(cluster, r"VALUES \(2\)") == {"manager": 1}

    def test_but_not_for_ever(self, cluster: LocalCluster, under: Daemon, manager: Liar) -> None:
        def hang_up(_: bytes) -> bytes:
            raise ConnectionError

        client = self.without_connections(cluster, under)
        for _ in range(10):
            manager.lie(b"session_track_system_variables", hang_up)
        with pytest.raises(pymysql.OperationalError) as caught:
            ask(client, "INSERT INTO app.t VALUES (2)")
        assert caught.value.args[0] == 1927
        assert len(manager.lies) == 8
        manager.lies.clear()
        ask(client, "INSERT INTO app.t VALUES (2)")  # the session has lived through it


class TestBehindAnAnswer:
    @pytest.mark.parametrize("extra", [TIMEOUT, ANSWER, b"\x00"], ids=["an error", "a result", "a byte"])
    def test_it_is_never_taken_for_the_next_one(
        self, cluster: LocalCluster, behind: Daemon, worker: Liar, extra: bytes
    ) -> None:
        client = behind.connect(database="app")
        worker.lie(b"a + 1", lambda data: data + extra)
        for number in range(1, 4):
            assert ask(client, f"SELECT a + {number} FROM t") == ((1 + number,),)
        assert worker.told == 1

    def test_in_a_transaction_the_client_is_closed(
        self, cluster: LocalCluster, under: Daemon, manager: Liar
    ) -> None:
        client = under.connect(database="app")
        ask(client, "BEGIN")
        manager.lie(b"VALUES (2)", lambda data: data + TIMEOUT)
        ask(client, "INSERT INTO t VALUES (2)")
        assert_closed(client, cluster)
        eventually(lambda: not cluster.manager.query("SELECT * FROM information_schema.INNODB_TRX"))
        assert [row["a"] for row in cluster.manager.query("SELECT a FROM app.t")] == [1]


class TestUnasked:
    @pytest.mark.parametrize("data", [TIMEOUT, ANSWER, b"\x00"], ids=["an error", "a result", "a byte"])
    def test_on_idle_connections_is_never_taken_for_an_answer(
        self, cluster: LocalCluster, behind: Daemon, worker: Liar, data: bytes
    ) -> None:
        client = behind.connect(database="app")
        ask(client, "SELECT a FROM t")
        other = behind.connect(database="app")
        ask(other, "SELECT a FROM t")
        other.close()  # and one that lies idle in the pool
        connections = "mysqlproxy_server_connections"
        eventually(lambda: behind.metrics().total(connections, server="worker1", state="idle") == 2)
        worker.say(data)
        eventually(lambda: behind.metrics().total(connections, server="worker1") == 0, timeout=5)
        for number in range(1, 3):
            assert ask(client, f"SELECT a + {number} FROM t") == ((1 + number,),)
        assert ask(behind.connect(database="app"), "SELECT a + 3 FROM t") == ((4,),)

    def test_in_the_middle_of_a_packet_the_end_of_the_connection_is_no_answer(
        self, cluster: LocalCluster, behind: Daemon, worker: Liar
    ) -> None:
        client = behind.connect(database="app")

        def half(data: bytes) -> bytes:
            cluster.workers[0].kill()
            return data[: len(data) // 2]

        worker.lie(b"a + 1", half)
        try:
            answer: Any = ask(client, "SELECT a + 1 FROM t")
        except pymysql.OperationalError as error:
            answer = error.args[0]
        assert answer in (1927, 2013, ((2,),))
