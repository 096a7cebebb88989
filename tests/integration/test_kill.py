"""CONNECTION_ID() is the greeting's id, and KILL with it hits that client's statement and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.support.raw import PROCESS_KILL, Answer, RawClient, proxied
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]
LONG = "SELECT SLEEP(20) /* long */"


@pytest.fixture
def daemon(cluster: LocalCluster, proxy: Proxy) -> Daemon:
    cluster.manager.query("CREATE TABLE app.t (id INT PRIMARY KEY) AS SELECT 1 AS id")
    cluster.manager.query("CREATE USER other@'%' IDENTIFIED BY 'other'")
    cluster.wait_in_sync()
    return proxy(
        routing={"strategy": "random"},
        users=[
            {"name": "app", "password": cluster.passwords["app"]},
            {"name": "other", "password": "other"},
        ],
    )


@pytest.fixture
def client(daemon: Daemon) -> Iterator[RawClient]:
    with proxied(daemon, schema="app") as client:
        yield client


@pytest.fixture
def killer(daemon: Daemon) -> Iterator[RawClient]:
    with proxied(daemon) as client:
        yield client


def number_of(client: RawClient) -> int:
    return client.greeting.connection_id


def running(cluster: LocalCluster, pattern: str) -> int:
    """How many statements like this run on the servers, by their processlists."""
    sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE %s AND user <> 'root'"
    return sum(server.value(sql, (pattern,)) for server in cluster.servers)


class Statement(threading.Thread):
    """A statement that runs while the test goes on."""

    def __init__(self, client: RawClient, sql: str) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._sql = sql
        self.answer: Answer | None = None
        self.closed = False
        self.start()

    def run(self) -> None:
        try:
            self.answer = self._client.query(self._sql)
        except (EOFError, OSError):
            self.closed = True

    def error(self) -> int:
        self.join(10)
        assert self.answer is not None and self.answer.err is not None, self.answer
        return self.answer.err.errno


SPELLINGS = [
    ("SELECT CONNECTION_ID()", b"CONNECTION_ID()"),
    ("select connection_id()", b"connection_id()"),
    ("SELECT CONNECTION_ID ( )", b"CONNECTION_ID ( )"),
    ("SELECT Connection_Id() AS me", b"me"),
    ("SELECT connection_id() me", b"me"),
    ("SELECT /* who */ connection_id() FROM DUAL", b"connection_id()"),
    ("SELECT @@pseudo_thread_id", b"@@pseudo_thread_id"),
    ("SELECT @@session.pseudo_thread_id", b"@@session.pseudo_thread_id"),
    ("SELECT CONNECTION_ID() + 0", b"CONNECTION_ID() + 0"),
    ("SELECT (SELECT CONNECTION_ID())", b"(SELECT CONNECTION_ID())"),
    ("SELECT CAST(CONNECTION_ID() AS CHAR)", b"CAST(CONNECTION_ID() AS CHAR)"),
    ("SELECT connection_id() FROM t ORDER BY connection_id()", b"connection_id()"),
    ("SELECT MAX(connection_id()) FROM t WHERE connection_id() > 0", b"MAX(connection_id())"),
]


def test_connection_id_is_the_greetings_in_all_spellings(client: RawClient) -> None:
    for sql, column in SPELLINGS:
        answer = client.query(sql)
        assert answer.value == b"%d" % number_of(client), sql
        assert bytes((len(column),)) + column in answer.packets[1][1], sql


def test_connection_id_is_the_greetings_in_other_ways_to_ask(client: RawClient) -> None:
    expected = b"%d" % number_of(client)
    prepared = client.prepare("SELECT CAST(CONNECTION_ID() AS CHAR)")
    assert client.execute(prepared.id).rows[0][3:] == expected
    client.query("SET @me = CONNECTION_ID()").check()
    assert client.query("SELECT @me").value == expected
    client.query("CREATE TEMPORARY TABLE mine AS SELECT CONNECTION_ID() AS id").check()
    assert client.query("SELECT id FROM mine").value == expected
    assert client.query("SELECT 1; SELECT CONNECTION_ID()").rows[1].endswith(expected)
    assert client.query("SELECT 'connection_id()', `t`.id FROM t").value == b"connection_id()"


def test_kill_query_ends_the_statement_and_leaves_the_session(
    cluster: LocalCluster, client: RawClient, killer: RawClient
) -> None:
    for kill in ("KILL QUERY {}", "kill query {};", "KILL HARD QUERY {}", "/* stop */ KILL SOFT QUERY {}"):
        statement = Statement(client, "SELECT SLEEP(20) FROM t /* long */")
        eventually(lambda: running(cluster, "%long%"))
        killer.query(kill.format(number_of(client))).check()
        statement.join(10)
        answer = statement.answer
        assert answer is not None
        # SLEEP answers 1 when it is interrupted in a select list; other statements end in 1317.
        assert answer.err is not None or answer.value == b"1"
        assert not running(cluster, "%long%")
        assert client.query("SELECT COUNT(*) FROM t").value == b"1"


def test_kill_query_ends_a_write_with_1317_and_undoes_it(
    cluster: LocalCluster, client: RawClient, killer: RawClient
) -> None:
    statement = Statement(client, "INSERT INTO t SELECT seq + SLEEP(1) FROM seq_10_to_40")
    eventually(lambda: running(cluster, "INSERT%"))
    killer.query(f"KILL QUERY {number_of(client)}").check()
    assert statement.error() == 1317
    assert client.query("SELECT COUNT(*) FROM t").value == b"1"


def test_kill_ends_statement_and_session(cluster: LocalCluster, daemon: Daemon, killer: RawClient) -> None:
    for kill in ("KILL {}", "KILL CONNECTION {}", "KILL HARD {}"):
        with proxied(daemon) as client:
            statement = Statement(client, LONG)
            eventually(lambda: running(cluster, "%long%"))
            killer.query(kill.format(number_of(client))).check()
            statement.join(10)
            assert statement.closed or (statement.answer is not None and statement.answer.err is not None)
            assert client.ended()
            eventually(lambda: not running(cluster, "%long%"))
            unknown = killer.query(f"KILL {number_of(client)}").err
            assert unknown is not None and unknown.errno == 1094


def test_com_process_kill_is_kill(cluster: LocalCluster, client: RawClient, killer: RawClient) -> None:
    statement = Statement(client, LONG)
    eventually(lambda: running(cluster, "%long%"))
    killer.command(PROCESS_KILL, number_of(client).to_bytes(4, "little")).check()
    statement.join(10)
    assert client.ended()
    eventually(lambda: not running(cluster, "%long%"))


def test_kill_of_an_idle_client_rolls_back_and_closes_it(
    cluster: LocalCluster, client: RawClient, killer: RawClient
) -> None:
    client.query("BEGIN").check()
    client.query("INSERT INTO t VALUES (77)").check()
    killer.query(f"KILL {number_of(client)}").check()
    assert client.ended()
    # The lock is gone with the transaction.
    assert killer.query("INSERT INTO app.t VALUES (77)").ok.affected_rows == 1


def test_kill_query_of_an_idle_client_does_nothing_to_its_next_statement(
    client: RawClient, killer: RawClient
) -> None:
    for _ in range(20):
        client.query("SELECT COUNT(*) FROM t").check()
        killer.query(f"KILL QUERY {number_of(client)}").check()
        assert client.query("SELECT SLEEP(0.01)").value == b"0"


def test_a_kill_that_comes_late_never_hits_the_next_statement(daemon: Daemon, client: RawClient) -> None:
    """The victim's statements end while KILLs are under way: each is hit or not, and only if it was the one."""
    stop = threading.Event()

    def keep_killing() -> None:
        with proxied(daemon) as killer:
            while not stop.is_set():
                killer.query(f"KILL QUERY {number_of(client)}").check()

    killing = threading.Thread(target=keep_killing)
    killing.start()
    try:
        hits = 0
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            answer = client.query("SELECT BENCHMARK(20000, MD5('x'))")
            hits += answer.err is not None
            assert answer.err is None or answer.err.errno == 1317
    finally:
        stop.set()
        killing.join()
    for _ in range(20):
        assert client.query("SELECT COUNT(*) FROM t").value == b"1"


def test_kill_hits_no_other_session(cluster: LocalCluster, daemon: Daemon, killer: RawClient) -> None:
    with proxied(daemon) as one, proxied(daemon) as two:
        first, second = Statement(one, "DO SLEEP(20) /* one */"), Statement(two, "DO SLEEP(2) /* two */")
        eventually(lambda: running(cluster, "%one%") and running(cluster, "%two%"))
        killer.query(f"KILL QUERY {number_of(one)}").check()
        first.join(10)
        assert running(cluster, "%two%")
        second.join(10)
        assert second.answer is not None
        second.answer.check()


def test_a_session_may_kill_itself(client: RawClient) -> None:
    answer = client.query(f"KILL QUERY {number_of(client)}")
    assert answer.err is not None and answer.err.errno == 1317
    assert client.query("SELECT 1").value == b"1"
    answer = client.query("KILL QUERY CONNECTION_ID()")
    assert answer.err is not None and answer.err.errno == 1317
    answer = client.query("KILL CONNECTION_ID()")
    assert answer.err is not None and answer.err.errno == 1927
    assert client.ended()


def test_another_account_without_privileges_may_not_kill(
    cluster: LocalCluster, daemon: Daemon, client: RawClient
) -> None:
    with proxied(daemon, "other") as other:
        for kill in (f"KILL QUERY {number_of(client)}", f"KILL {number_of(client)}"):
            refused = other.query(kill).err  # the client is idle
            assert refused is not None and (refused.errno, refused.sqlstate) == (1095, "HY000")
            assert f"{number_of(client)}" in refused.message
        statement = Statement(client, "DO SLEEP(1) /* long */")
        eventually(lambda: running(cluster, "%long%"))
        refused = other.query(f"KILL QUERY {number_of(client)}").err
        assert refused is not None and refused.errno == 1095
        assert f"{number_of(client)}" in refused.message
        statement.join(10)
        assert statement.answer is not None
        statement.answer.check()


def test_another_account_that_the_servers_let_may_kill(
    cluster: LocalCluster, daemon: Daemon, client: RawClient
) -> None:
    cluster.manager.query("GRANT CONNECTION ADMIN ON *.* TO other@'%'")
    cluster.wait_in_sync()
    with proxied(daemon, "other") as other:
        statement = Statement(client, "INSERT INTO t SELECT seq + SLEEP(1) FROM seq_10_to_40 /* long */")
        eventually(lambda: running(cluster, "%long%"))
        other.query(f"KILL QUERY {number_of(client)}").check()
        assert statement.error() == 1317


def test_unknown_ids_are_1094(client: RawClient) -> None:
    for kill in ("KILL 4294967000", "KILL QUERY 4294967000", "KILL 4000000"):
        unknown = client.query(kill).err
        assert unknown is not None and (unknown.errno, unknown.sqlstate) == (1094, "HY000")


def test_a_client_that_disappears_has_its_statement_killed(cluster: LocalCluster, daemon: Daemon) -> None:
    client = proxied(daemon)
    client.send(client.query_payload(LONG))
    eventually(lambda: running(cluster, "%long%"))
    client.close()
    eventually(lambda: not running(cluster, "%long%"), timeout=5)


def test_what_could_not_be_killed_is_killed_again(
    cluster: LocalCluster, daemon: Daemon, client: RawClient, killer: RawClient
) -> None:
    """The server lets nobody in who could, at first."""
    statement = Statement(client, f"INSERT INTO t {LONG}")
    eventually(lambda: running(cluster, "%long%") == 1)
    cluster.manager.query("ALTER USER app@'%' ACCOUNT LOCK")
    killer.query(f"KILL QUERY {number_of(client)}").check()
    eventually(lambda: "could not be killed" in daemon.log())
    assert running(cluster, "%long%") == 1
    cluster.manager.query("ALTER USER app@'%' ACCOUNT UNLOCK")
    assert statement.error() == 1317
    assert client.query("SELECT COUNT(*) FROM t FOR UPDATE").value == b"1"
