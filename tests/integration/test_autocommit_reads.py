"""``autocommit_reads = "offload"``: who answers reads with autocommit off and in transactions, by the servers' logs.

And clients see what one connection to the manager would show them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol.capabilities import DEPRECATE_EOF, STATUS_AUTOCOMMIT, STATUS_IN_TRANS
from tests.support.raw import PING, RESET_CONNECTION, RawClient, direct, proxied
from tests.support.sessions import ask
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]
READ = "SELECT a FROM t WHERE id = 1 /* a read */"
OFF = "SET autocommit = 0"
COMMITTED = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
MANAGER, WORKERS = (2, 0), (0, 2)


@pytest.fixture
def table(cluster: LocalCluster) -> LocalCluster:
    cluster.manager.query("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, a INT)")
    cluster.manager.query("INSERT INTO app.t (a) VALUES (1), (2)")
    cluster.wait_in_sync()
    return cluster


@pytest.fixture
def offload(table: LocalCluster, shared_proxy: Proxy) -> Daemon:
    daemon = shared_proxy(routing={"strategy": "round_robin", "autocommit_reads": "offload"})
    await_reads(table, daemon)
    return daemon


def await_reads(cluster: LocalCluster, daemon: Daemon) -> None:
    """Until the daemon knows the table and its reads go to workers."""
    with proxied(daemon, schema="app") as client:
        eventually(lambda: served(cluster, client, READ) == (0, 1), what="a read on a worker")


def served(cluster: LocalCluster, client: RawClient, *statements: str) -> tuple[int, int]:
    """Run the statements; how many of the last two the manager and the workers were asked."""
    for sql in statements[:-2]:
        client.query(sql).check()
    for server in cluster.servers:
        server.general_log.mark()
    for sql in statements[-2:]:
        client.query(sql).check()
    manager, *workers = (len(server.served("a read")) for server in cluster.servers)
    return manager, sum(workers)


@pytest.mark.parametrize("begins", [OFF, "BEGIN", "START TRANSACTION", "start transaction read write;", "BEGIN WORK",
                                    "START TRANSACTION READ ONLY", "/* orm */ BEGIN"])  # fmt: skip
def test_reads_before_the_first_write_go_to_workers(
    table: LocalCluster, offload: Daemon, begins: str
) -> None:
    with proxied(offload, schema="app") as client:
        assert served(table, client, COMMITTED, begins, READ, READ) == WORKERS
        if "ONLY" in begins:
            assert client.query("UPDATE t SET a = 7 WHERE id = 1").err.errno == 1792  # type: ignore[union-attr]
        else:
            client.query("UPDATE t SET a = 7 WHERE id = 1").check()
        assert served(table, client, READ, READ) == MANAGER
        assert client.query(READ).value == (b"1" if "ONLY" in begins else b"7")
        client.query("ROLLBACK").check()
        assert client.query(READ).value == b"1"
        assert served(table, client, READ, READ) == WORKERS
    for worker in table.workers:
        assert worker.query("SELECT * FROM information_schema.INNODB_TRX") == []


@pytest.mark.parametrize(
    "touches",
    [
        "SELECT a FROM t WHERE id = 2 FOR UPDATE",
        "SELECT a FROM t WHERE id = 2 LOCK IN SHARE MODE",
        "INSERT INTO t (id) VALUES (1)",  # fails, and may have locked the row that is in its way
        "SAVEPOINT s",
        "SELECT @@version",
        "SELECT GET_LOCK('l', 0)",
    ],
)
@pytest.mark.parametrize("begins", [OFF, "BEGIN"])
def test_what_is_no_plain_read_keeps_the_rest_of_the_transaction_on_the_manager(
    table: LocalCluster, offload: Daemon, begins: str, touches: str
) -> None:
    with proxied(offload, schema="app") as client:
        for sql in (COMMITTED, begins, touches):
            client.query(sql)
        kept = served(table, client, READ, READ)
        # Without a transaction on the manager there is nothing that a variable's value could have touched.
        assert kept == (WORKERS if (begins, touches) == (OFF, "SELECT @@version") else MANAGER)


@pytest.mark.parametrize(
    "strict",
    [
        ("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ", OFF),
        ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "BEGIN"),
        ("BEGIN",),  # at the server's default level
        (COMMITTED, "START TRANSACTION WITH CONSISTENT SNAPSHOT"),
        (COMMITTED, "SET TRANSACTION READ ONLY", "BEGIN"),
        (COMMITTED, "CREATE TEMPORARY TABLE x (a INT)", "BEGIN"),
        (COMMITTED, "BEGIN; SELECT 1"),
        (COMMITTED, "XA START 'x'"),
        (COMMITTED, OFF, "LOCK TABLES t READ"),
    ],
    ids=" ".join,
)
def test_in_doubt_the_manager_answers(table: LocalCluster, offload: Daemon, strict: Sequence[str]) -> None:
    with proxied(offload, schema="app") as client:
        assert served(table, client, *strict, READ, READ) == MANAGER


def test_an_account_may_accept_any_isolation_level_or_none(table: LocalCluster, shared_proxy: Proxy) -> None:
    def account(setting: str) -> list[dict[str, Any]]:
        return [{"name": "app", "password": table.passwords["app"], "autocommit_reads": setting}]

    routing = {"strategy": "round_robin", "autocommit_reads": "offload"}
    for setting, expected in (("offload_any_isolation", WORKERS), ("strict", MANAGER)):
        daemon = shared_proxy(routing=routing, users=account(setting))
        await_reads(table, daemon)
        with proxied(daemon, schema="app") as client:
            assert served(table, client, OFF, READ, READ) == expected
            assert served(table, client, COMMITTED, OFF, READ, READ) == expected


def test_the_servers_default_isolation_level_counts_for_who_sets_none(
    table: LocalCluster, own: Daemon
) -> None:
    def new_session() -> tuple[int, int]:
        with proxied(own, schema="app") as client:
            return served(table, client, OFF, READ, READ)

    assert new_session() == MANAGER
    assert own.metrics().total("mysqlproxy_reads_on_manager_total", reason="isolation") == 1
    with proxied(own, schema="app") as before:
        assert served(table, before, OFF, READ, READ) == MANAGER
        table.manager.query("SET GLOBAL tx_isolation = 'READ-COMMITTED'")
        try:
            eventually(lambda: new_session() == WORKERS)
            assert served(table, before, "COMMIT", READ, READ) == MANAGER  # it keeps what it began with
        finally:
            table.manager.query("SET GLOBAL tx_isolation = 'REPEATABLE-READ'")


@pytest.mark.parametrize(
    "once", ["SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET @@tx_isolation = 'READ-COMMITTED'"]
)
def test_a_level_for_one_transaction_is_not_the_sessions(
    table: LocalCluster, offload: Daemon, once: str
) -> None:
    with proxied(offload, schema="app") as client:
        for sql in (once, "BEGIN", READ, "COMMIT", READ, OFF):
            client.query(sql).check()
        assert client.query("SELECT @@session.tx_isolation").value == b"REPEATABLE-READ"
        assert served(table, client, "COMMIT", READ, READ) == MANAGER


def test_a_manager_lost_with_its_transaction_ends_the_session(table: LocalCluster, own: Daemon) -> None:
    with proxied(own, schema="app") as client:
        assert served(table, client, COMMITTED, "BEGIN", READ, READ) == WORKERS
        for row in table.manager.query("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'app'"):
            table.manager.query(f"KILL {row['ID']}")
        assert client.ended()


SCRIPTS = {
    "autocommit off": (
        COMMITTED, OFF, "SELECT 1", READ, "SELECT 1", "SELECT DATABASE()", READ, "COMMIT", "SELECT 1", READ,
        "UPDATE t SET a = a WHERE id = 2", READ, "ROLLBACK", "SELECT 1", READ, "SET @x = 1", "SELECT @x", READ,
        "SAVEPOINT s", READ, "ROLLBACK TO s", READ, "COMMIT", READ,
        "SET autocommit = 1", READ,
    ),
    "BEGIN": (COMMITTED, "BEGIN", READ, "SELECT 1", "DO 1", READ, "COMMIT", READ, "BEGIN", READ, "ROLLBACK"),
    "READ ONLY": (
        COMMITTED, "START TRANSACTION READ ONLY", READ, "SELECT 1", "DELETE FROM t", READ, "COMMIT", READ,
        "SET SESSION TRANSACTION READ ONLY", "BEGIN", READ, "COMMIT", OFF, READ, "COMMIT",
    ),
    "errors and warnings": (
        COMMITTED, OFF, "SELECT nothing FROM t", "SELECT a FROM t WHERE a = 'x'", "SHOW WARNINGS", READ, "SELECT (",
        "COMMIT", "SELECT a FROM missing", "SELECT 1", READ,
    ),
    "several statements": (COMMITTED, OFF, "SELECT 1; SELECT 2", f"{READ}; SELECT a FROM t", "COMMIT"),
}  # fmt: skip


@pytest.mark.parametrize("capabilities", [0, DEPRECATE_EOF], ids=["EOF", "OK"])
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_answers_are_the_managers_to_the_byte(
    table: LocalCluster, offload: Daemon, script: Sequence[str], capabilities: int
) -> None:
    def play(client: RawClient) -> list[Any]:
        told = []
        with client:
            for sql in script:
                answer = client.query(sql)
                # After an ERR, which tells no flags, nobody but the server knows them.
                flags = None if answer.err else client.command(PING).packets
                told.append((sql, answer.packets, flags))
        return told

    expected = play(direct(table.manager, table.passwords["app"], schema="app", capabilities=capabilities))
    for server in table.servers:
        server.general_log.mark()
    assert play(proxied(offload, schema="app", capabilities=capabilities)) == expected
    assert any(worker.served("a read") for worker in table.workers)


def test_prepared_statements_and_cursors_show_the_managers_flags(
    table: LocalCluster, offload: Daemon
) -> None:
    with (
        direct(table.manager, table.passwords["app"], schema="app") as expected,
        proxied(offload, schema="app") as client,
    ):
        statuses = []
        for one in (expected, client):
            for sql in (COMMITTED, OFF):
                one.query(sql).check()
            prepared = one.prepare("SELECT a FROM t WHERE id < ? /* a read */")
            told = [
                one.execute(prepared.id, [b"9"]).status,
                one.execute(prepared.id, [b"9"], cursor=True).status,
            ]
            told += [one.fetch(prepared.id, 1).status, one.fetch(prepared.id, 9).status]
            told += [one.query("COMMIT").ok.status, one.query("SELECT 1").status]
            statuses.append(told)
        assert statuses[0] == statuses[1]
        assert statuses[1][0] & STATUS_IN_TRANS and not statuses[1][0] & STATUS_AUTOCOMMIT


def test_a_session_sees_its_own_commits_while_no_worker_has_them(
    table: LocalCluster, offload: Daemon
) -> None:
    with proxied(offload, schema="app") as client, proxied(offload, schema="app") as other:
        for one in (client, other):
            assert served(table, one, COMMITTED, OFF, READ, READ) == WORKERS
        for worker in table.workers:
            worker.query("STOP SLAVE SQL_THREAD")
        try:
            for number in range(10, 14):
                client.query(f"UPDATE t SET a = {number} WHERE id = 1").check()
                assert client.query(READ).value == b"%d" % number
                client.query("COMMIT").check()
                assert client.query(READ).value == b"%d" % number
                client.query("COMMIT").check()
        finally:
            for worker in table.workers:
                worker.query("START SLAVE SQL_THREAD")
        table.wait_in_sync()
        eventually(lambda: served(table, client, "COMMIT", READ, READ) == WORKERS)


def test_a_reset_begins_anew(table: LocalCluster, offload: Daemon) -> None:
    with proxied(offload, schema="app") as client:
        for sql in (COMMITTED, OFF, "UPDATE t SET a = 5"):
            client.query(sql).check()
        client.command(RESET_CONNECTION).check()
        for sql in ("USE app", COMMITTED):
            client.query(sql).check()
        assert served(table, client, OFF, READ, READ) == WORKERS
        assert client.query(READ).value == b"1"


def test_pymysql_with_its_default_of_no_autocommit(table: LocalCluster, offload: Daemon) -> None:
    settings = {"init_command": COMMITTED, "database": "app", "autocommit": False}
    with offload.connect(**settings) as one, offload.connect(**settings) as two:
        for server in table.servers:
            server.general_log.mark()
        assert ask(one, READ) == [(1,)]
        assert ask(one, READ) == [(1,)]
        assert not table.manager.served("a read")
        ask(one, "UPDATE t SET a = 3 WHERE id = 1")
        assert ask(one, READ) == [(3,)]
        assert ask(two, READ) == [(1,)]
        with pytest.raises(pymysql.err.OperationalError):
            ask(two, "SELECT a FROM t WHERE id = 1 FOR UPDATE NOWAIT")
        one.commit()
        assert ask(one, READ) == [(3,)]
        two.rollback()


@pytest.fixture
def own(table: LocalCluster, proxy: Proxy) -> Iterator[Daemon]:
    daemon = proxy(routing={"strategy": "round_robin", "autocommit_reads": "offload"})
    await_reads(table, daemon)
    yield daemon


def test_a_worker_lost_between_reads_of_a_transaction_is_replaced(table: LocalCluster, own: Daemon) -> None:
    with proxied(own, schema="app") as client:
        assert served(table, client, COMMITTED, "BEGIN", READ, READ) == WORKERS
        for worker in table.workers:
            for row in worker.query("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'app'"):
                worker.query(f"KILL {row['ID']}")
        for _ in range(4):
            answer = client.query(READ).check()
            assert answer.value == b"1" and answer.status & STATUS_IN_TRANS
        client.query("UPDATE t SET a = 4 WHERE id = 1").check()
        client.query("COMMIT").check()
        assert client.query(READ).value == b"4"


def test_without_a_manager_reads_go_on_and_end(table: LocalCluster, own: Daemon) -> None:
    with proxied(own, schema="app") as client:
        assert served(table, client, COMMITTED, OFF, READ, READ) == WORKERS
        client.query("COMMIT").check()
        table.manager.kill()
        try:
            eventually(lambda: own.metrics().total("mysqlproxy_server_up", server="manager") == 0)
            with proxied(own, schema="app") as late:
                for sql in (COMMITTED, OFF):
                    late.query(sql).check()
                for sql in (READ, "COMMIT", READ, "ROLLBACK"):
                    answer = late.query(sql).check()
                    assert bool(answer.status & STATUS_IN_TRANS) is (sql == READ)
                    assert not answer.status & STATUS_AUTOCOMMIT
        finally:
            table.manager.start()
