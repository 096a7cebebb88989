"""Reads that depend on a session's connection go where they must; the servers' general logs decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.support.raw import RESET_CONNECTION, RawClient, proxied
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]
READ = "SELECT a FROM t /* a read */"


@pytest.fixture
def client(cluster: LocalCluster, proxy: Proxy) -> Iterator[RawClient]:
    cluster.manager.query("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, a INT)")
    cluster.manager.query("INSERT INTO app.t (a) VALUES (1), (2)")
    cluster.wait_in_sync()
    with proxied(
        proxy(routing={"strategy": "round_robin", "read_consistency": "eventual"}), schema="app"
    ) as client:
        yield client


class Logs:
    """Who served what since the last look."""

    def __init__(self, cluster: LocalCluster, client: RawClient) -> None:
        self._cluster = cluster
        self._client = client

    def of(self, *statements: str) -> list[int]:
        """Run the statements; how many of the last one's kind were served by manager, worker1, worker2."""
        for server in self._cluster.servers:
            server.general_log.mark()
        for sql in statements:
            self._client.query(sql).check()
        return [len(server.served("a read")) for server in self._cluster.servers]


@pytest.fixture
def logs(cluster: LocalCluster, client: RawClient) -> Logs:
    return Logs(cluster, client)


MANAGER, WORKERS = [2, 0, 0], [0, 1, 1]


STRETCHES = {  # what begins one, and what ends it; None: a reset
    "BEGIN": "COMMIT",
    "START TRANSACTION READ ONLY": "ROLLBACK",
    "SET autocommit = 0": "SET autocommit = 1",
    "SET @@session.autocommit = OFF; SELECT 1": "SET autocommit = ON",
    "LOCK TABLES t READ": "UNLOCK TABLES",
    "SELECT GET_LOCK('l', 0)": "SELECT RELEASE_ALL_LOCKS()",
    "CREATE TEMPORARY TABLE tmp (a INT)": None,
    "SET timestamp = 1000000000": None,
}


def test_reads_stay_on_the_manager_in_transactions_with_locks_and_temporary_tables(
    logs: Logs, client: RawClient
) -> None:
    for begins, ends in STRETCHES.items():
        assert logs.of(READ, READ) == WORKERS, begins
        assert logs.of(begins, READ, READ) == MANAGER, begins
        if ends is None:
            client.command(RESET_CONNECTION).check()
            client.query("USE app").check()
        else:
            assert logs.of(ends, READ, READ) == WORKERS, ends


KEPT = {
    "BEGIN": "transaction",
    "SET autocommit = 0": "autocommit_off",
    "LOCK TABLES t READ": "table_lock",
    "SELECT GET_LOCK('l', 0)": "named_lock",
    "CREATE TEMPORARY TABLE tmp (a INT)": "temporary_table",
    "SET timestamp = 1000000000": "untracked",
    "SET @x = unknown.f(1)": "untracked",
    "SET NAMES utf8mb4 COLLATE 'utf8mb4_bin', @x = 1": "untracked",
}


def test_why_a_session_stays_shows_in_metrics_and_log(cluster: LocalCluster, proxy: Proxy) -> None:
    cluster.manager.query("CREATE TABLE app.t (a INT)")
    cluster.wait_in_sync()
    daemon = proxy()
    for begins, reason in KEPT.items():
        before = daemon.metrics().total("mysqlproxy_reads_on_manager_total", reason=reason)
        with proxied(daemon, schema="app") as client:
            client.query(begins)
            client.query(READ).check()
        grown = daemon.metrics().total("mysqlproxy_reads_on_manager_total", reason=reason) - before
        assert grown == 1, begins
    log = daemon.log()
    for why in (
        "timestamp",
        "calls unknown.f, which is no built-in function",
        "a COLLATE that is not reported",
    ):
        assert f"the session stays on manager: {why}" in log


def test_a_setting_for_the_next_transaction_meets_that_transaction(logs: Logs) -> None:
    assert logs.of("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", READ) == [1, 0, 0]
    assert logs.of(READ, READ) == WORKERS


def test_reads_with_locks_user_variables_and_the_like_go_to_the_manager(logs: Logs) -> None:
    for read in (
        "SELECT a FROM t FOR UPDATE /* a read */",
        "SELECT a FROM t LOCK IN SHARE MODE /* a read */",
        "SELECT a FROM t WHERE a = @x /* a read */",
        "SELECT @@hostname, a FROM t /* a read */",
        "SELECT a, LAST_INSERT_ID() FROM t /* a read */",
    ):
        assert logs.of(read, read) == MANAGER, read


def test_user_variables_keep_their_values_while_plain_reads_go_to_workers(
    logs: Logs, client: RawClient
) -> None:
    client.query("SET @x = 1").check()
    assert logs.of(READ, READ) == WORKERS
    assert client.query("SELECT @x, @x := 5").texts() == [[b"1", b"5"]]
    assert logs.of(READ, READ) == WORKERS
    assert client.query("SELECT a FROM t WHERE a + 4 = @x").value == b"1"


def test_warnings_of_before_a_read_elsewhere_are_not_shown_again(logs: Logs, client: RawClient) -> None:
    for between in ("USE app", "BEGIN; COMMIT", "SET @x = 1"):
        assert logs.of("INSERT IGNORE INTO t (id) VALUES (1)", READ) in ([0, 1, 0], [0, 0, 1])
        client.query(between).check()
        assert client.query("SHOW WARNINGS").texts() == [], between
    client.query("INSERT IGNORE INTO t (id) VALUES (1)").check()
    client.query("USE app").check()
    assert len(client.query("SHOW WARNINGS").texts()) == 1  # as on one server


def test_last_insert_id_is_that_of_the_last_insert_after_reads_elsewhere(
    cluster: LocalCluster, logs: Logs, client: RawClient
) -> None:
    assert client.query("SELECT LAST_INSERT_ID()").value == b"0"
    number = client.query("INSERT INTO t (a) VALUES (3)").ok.last_insert_id
    assert number == 3
    logs.of(READ, READ)
    assert client.query("SELECT LAST_INSERT_ID()").value == b"3"
    assert client.query("SELECT @@identity").value == b"3"
    client.query("INSERT INTO t (a) VALUES (LAST_INSERT_ID() + 100)").check()
    cluster.wait_in_sync()
    assert client.query("SELECT a FROM t WHERE id = 4").value == b"103"


def test_found_rows_row_count_and_warnings_are_the_last_statements(logs: Logs, client: RawClient) -> None:
    for _ in range(3):  # on each worker in turn
        client.query("SELECT SQL_CALC_FOUND_ROWS a FROM t LIMIT 1 /* a read */").check()
        assert client.query("SELECT FOUND_ROWS()").value == b"2"
        client.query("SELECT a FROM t WHERE id = 1").check()
        assert client.query("SELECT FOUND_ROWS()").value == b"1"
        assert client.query("SELECT a, CAST('x' AS SIGNED) FROM t WHERE id = 1").err is None
        assert client.query("SELECT @@warning_count").value == b"1"
        warnings = client.query("SELECT a, CAST('y' AS SIGNED) FROM t WHERE id = 1").check()
        assert client.query("SHOW WARNINGS").texts()[0][2] == b"Truncated incorrect INTEGER value: 'y'"
        assert warnings.rows
        assert client.query("SHOW COUNT(*) WARNINGS").value == b"1"
    client.query("UPDATE t SET a = a + 1").check()
    assert client.query("SELECT ROW_COUNT()").value == b"2"
    client.query("SELECT a FROM missing")
    errors = client.query("SHOW ERRORS").texts()
    assert errors[0][1] == b"1146"


def test_a_text_with_a_write_in_it_goes_to_the_manager_as_a_whole(logs: Logs, client: RawClient) -> None:
    manager, *workers = logs.of(f"UPDATE t SET a = 9 WHERE id = 1; {READ}")
    assert manager == 1
    assert workers == [0, 0]
    assert logs.of(f"SELECT 1; {READ}")[0] == 0


def test_what_a_plain_read_hides_goes_to_the_manager(
    logs: Logs, client: RawClient, cluster: LocalCluster
) -> None:
    for sql in (
        "CREATE FUNCTION writes() RETURNS INT BEGIN INSERT INTO t (a) VALUES (50); RETURN 1; END",
        "CREATE SEQUENCE s",
        "CREATE VIEW v AS SELECT writes() AS w",
    ):
        client.query(sql).check()
    cluster.wait_in_sync()
    for read in (
        "SELECT writes() /* a read */",
        "SELECT NEXTVAL(s) /* a read */",
        "SELECT a /*! FROM t FOR UPDATE */ /* a read */",
        "SELECT a FROM t INTO OUTFILE '/nowhere/x' /* a read */",
    ):
        for server in cluster.servers:
            server.general_log.mark()
        client.query(read)
        assert [len(server.served("a read")) for server in cluster.servers] == [1, 0, 0], read


def test_a_mistyped_word_and_a_harmless_procedure_leave_the_session_free(
    cluster: LocalCluster, logs: Logs, client: RawClient
) -> None:
    for mistyped in ("SELEC 1", "FOO"):
        assert client.query(mistyped).err is not None
        assert logs.of(READ, READ) == WORKERS, mistyped
    cluster.manager.query("CREATE PROCEDURE app.adds() BEGIN INSERT INTO t (a) VALUES (9); SELECT 1; END")
    cluster.manager.query(
        "CREATE PROCEDURE app.fails() BEGIN SET sql_mode = ''; EXECUTE IMMEDIATE 'FOO'; END"
    )

    def leaves_it_free() -> bool:
        client.command(RESET_CONNECTION).check()
        return logs.of("CALL app.adds()", READ, READ) == WORKERS

    eventually(leaves_it_free)  # until the catalog has it, it may do anything
    assert client.query("CALL app.fails()").err is not None
    assert logs.of(READ, READ) == MANAGER  # the same error, but not of the statement itself
