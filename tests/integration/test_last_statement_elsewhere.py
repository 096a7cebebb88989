"""What a worker's statement left, asked for by what must run at the manager; and what asks for it unseen."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol.capabilities import STATUS_AUTOCOMMIT, STATUS_IN_TRANS
from tests.support.raw import RESET_CONNECTION, RawClient, proxied
from tests.support.sessions import servers
from tests.support.waiting import eventually

SETUP = (
    "CREATE TABLE app.t (v INT)",
    "INSERT INTO app.t VALUES (1), (2), (3)",
    "CREATE TABLE app.w (v INT)",
    "CREATE TABLE app.fired (v INT)",
    "CREATE TRIGGER app.fires BEFORE INSERT ON app.fired FOR EACH ROW SET NEW.v = FOUND_ROWS()",
    "CREATE SEQUENCE app.s",
    "CREATE PROCEDURE app.callers() SELECT FOUND_ROWS()",
    "CREATE PROCEDURE app.own() BEGIN SELECT v FROM app.t LIMIT 2; SELECT FOUND_ROWS(); END",
    "CREATE PROCEDURE app.last_of_s() SELECT LASTVAL(app.s)",
    "CREATE PROCEDURE app.next_of_s() BEGIN DO NEXTVAL(app.s); SELECT LASTVAL(app.s); END",
    "CREATE FUNCTION app.asks() RETURNS INT READS SQL DATA RETURN FOUND_ROWS()",
    "CREATE VIEW app.last_value AS SELECT LASTVAL(app.s) AS n",
)

# The last ones, of other names each time: who knows them knows the others.
KNOWN = (
    "CREATE VIEW app.seen_{number} AS SELECT v FROM app.t",
    "CREATE FUNCTION app.known_{number}() RETURNS INT DETERMINISTIC RETURN 1",
)
_NUMBERS = itertools.count()


@pytest.fixture
def narrow(cluster: LocalCluster, shared_proxy: Callable[..., Daemon]) -> Iterator[Daemon]:
    """The manager may have one connection, so that any two clients meet on it."""
    number = next(_NUMBERS)
    for sql in (*SETUP, *(known.format(number=number) for known in KNOWN)):
        cluster.manager.query(sql)
    cluster.wait_in_sync()
    daemon = shared_proxy(
        servers=servers(cluster, manager={"max_connections": 1}),
        routing={"strategy": "random", "read_consistency": "eventual"},
        limits={"pool_wait": 0.5},
        monitor={"interval": 0.2},
    )

    def known() -> bool:
        with proxied(daemon, schema="app") as client:
            client.query(f"SELECT known_{number}() FROM seen_{number}").check()
        return any(worker.served(f"known_{number}") for worker in cluster.workers)

    eventually(known, what="the names are known, and reads go to workers")
    yield daemon
    daemon.disconnect()


@pytest.fixture
def client(narrow: Daemon) -> Iterator[RawClient]:
    with proxied(narrow, schema="app") as client:
        yield client


def somebody_else(daemon: Daemon) -> None:
    """Takes the manager's connection, and leaves five rows found on it."""
    with proxied(daemon, schema="app") as other:
        other.query(
            "SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT @@server_id + 10"
        ).check()


def refused(client: RawClient, sql: str) -> bool:
    error = client.query(sql).err
    return error is not None and (error.errno, error.sqlstate) == (1105, "HY000")


READS = {
    "SELECT v FROM t": b"3",
    "SELECT v FROM t LIMIT 2": b"2",
    "SELECT SQL_CALC_FOUND_ROWS v FROM t LIMIT 1": b"3",
    "SELECT v FROM t WHERE v > 9": b"0",
}


@pytest.mark.parametrize("read", READS)
def test_a_workers_rows_are_counted_in_what_must_run_at_the_manager(
    cluster: LocalCluster, client: RawClient, read: str
) -> None:
    client.query(read).check()
    client.query("SET @total = FOUND_ROWS()").check()
    assert client.query("SELECT @total").value == READS[read]
    client.query(read).check()
    client.query("INSERT INTO w VALUES (FOUND_ROWS()), (ROW_COUNT())").check()
    assert cluster.manager.query("SELECT v FROM app.w") == [{"v": int(READS[read])}, {"v": -1}]
    assert client.query("SELECT ROW_COUNT()").value == b"2"
    client.query(read).check()
    client.query("CREATE TABLE made AS SELECT FOUND_ROWS() AS n").check()
    assert cluster.manager.value("SELECT n FROM app.made") == int(READS[read])
    client.query(read).check()
    answer = client.query("SELECT @total, FOUND_ROWS()")
    assert answer.texts() == [[READS[read], READS[read]]]
    assert b"\x0cFOUND_ROWS()" in answer.packets[2][1], "the column keeps its name"
    assert not any(worker.served("@total|INSERT") for worker in cluster.workers)


def test_asking_twice_gives_the_same_number(client: RawClient) -> None:
    client.query("SELECT v FROM t LIMIT 2").check()
    for variable in ("@a", "@b", "@c"):
        client.query(f"SET {variable} = FOUND_ROWS()").check()
    client.query("UPDATE t SET v = v").check()
    assert client.query("SELECT FOUND_ROWS()").value == b"2"
    assert client.query("SELECT FOUND_ROWS()").value == b"1"
    assert client.query("SELECT @a, @b, @c").texts() == [[b"2", b"2", b"2"]]


def test_in_a_transaction_that_has_begun_since(narrow: Daemon, client: RawClient) -> None:
    somebody_else(narrow)
    client.query("SELECT v FROM t").check()
    client.query("BEGIN").check()
    answer = client.query("SELECT FOUND_ROWS()")
    assert answer.value == b"3"
    assert answer.status & STATUS_IN_TRANS
    client.query("UPDATE t SET v = v + 1").check()
    assert client.query("SELECT ROW_COUNT()").value == b"3"
    client.query("ROLLBACK").check()


def test_warnings_are_shown_in_a_transaction_that_has_begun_since(
    cluster: LocalCluster, client: RawClient
) -> None:
    """MariaDB's stand until a statement uses tables."""
    client.query("SELECT 1/0 FROM t LIMIT 1").check()
    client.query("BEGIN").check()
    for _ in range(2):
        answer = client.query("SHOW WARNINGS")
        assert len(answer.rows) == 1
        assert answer.status & (STATUS_IN_TRANS | STATUS_AUTOCOMMIT) == STATUS_IN_TRANS | STATUS_AUTOCOMMIT
    client.query("SET @n = @@warning_count").check()
    client.query("UPDATE t SET v = v + 1").check()
    assert client.query("SHOW WARNINGS").rows == []
    client.query("ROLLBACK").check()
    assert cluster.manager.value("SELECT SUM(v) FROM app.t") == 6
    assert client.query("SELECT @n").value == b"1"


def test_a_count_and_what_only_the_manager_knows(client: RawClient) -> None:
    client.query("SET @mine = 42").check()
    client.query("INSERT INTO w VALUES (1)").check()
    client.query("SELECT v FROM t").check()
    assert client.query("SELECT FOUND_ROWS(), @mine").texts() == [[b"3", b"42"]]
    client.query("SELECT v FROM t LIMIT 2").check()
    assert client.query("SELECT FOUND_ROWS(); SELECT @mine").rows == [b"\x012", b"\x0242"]


def test_texts_in_which_no_number_can_stand_are_refused(cluster: LocalCluster, client: RawClient) -> None:
    for sql in (
        "GET DIAGNOSTICS @n = ROW_COUNT; BEGIN",
        "GET DIAGNOSTICS CONDITION @never @n = MESSAGE_TEXT",
        "SHOW WARNINGS; BEGIN",
        "PREPARE p FROM 'SELECT FOUND_ROWS()'",
        "EXECUTE IMMEDIATE 'SELECT FOUND_ROWS()'",
        "BEGIN NOT ATOMIC SELECT FOUND_ROWS(); END",
        "CALL callers()",
        "INSERT INTO fired VALUES (1)",
    ):
        client.query("SELECT 1/0 FROM t").check()
        assert refused(client, sql), sql
        assert client.query("SELECT FOUND_ROWS()").value == b"3", "the session goes on"
    assert not cluster.manager.served("callers|DIAGNOSTICS|EXECUTE")
    client.query("SELECT v, @@server_id FROM t").check()  # at the manager
    assert client.query("EXECUTE IMMEDIATE 'SELECT FOUND_ROWS()'").value == b"3"
    client.query("SELECT v FROM t LIMIT 2").check()
    assert client.query("CALL callers()").value == b"2", "the session has stayed"


@pytest.mark.parametrize(
    "sql",
    [
        "EXECUTE IMMEDIATE 'SELECT FOUND_ROWS()'",
        "EXECUTE IMMEDIATE CONCAT('SELECT FOUND', '_ROWS()')",
        "BEGIN NOT ATOMIC SELECT FOUND_ROWS(); END",
        "CALL callers()",
        "SELECT asks()",
    ],
)
@pytest.mark.parametrize("before", ["", "UPDATE t SET v = v", "SELECT v FROM t"])
def test_nobody_is_told_somebody_elses_rows(narrow: Daemon, client: RawClient, sql: str, before: str) -> None:
    """Five: a routine or a text that cannot be read asks for them unseen."""
    if before:
        client.query(before).check()
    somebody_else(narrow)
    answer = client.query(sql)
    found = b"3" if before.startswith("SELECT") and "asks" in sql else b"0"
    assert (answer.err.errno == 1105) if answer.err is not None else answer.value == found


def test_nor_does_a_trigger_store_them(narrow: Daemon, cluster: LocalCluster, client: RawClient) -> None:
    somebody_else(narrow)
    client.query("INSERT INTO fired VALUES (9)").check()
    assert cluster.manager.query("SELECT v FROM app.fired") == [{"v": 0}]
    client.command(RESET_CONNECTION).check()


def test_a_procedures_own_rows_are_its_own(narrow: Daemon, client: RawClient) -> None:
    for before in ("SELECT v FROM t", "UPDATE t SET v = v", "SELECT 1/0 FROM t"):
        client.query(before).check()
        answer = client.query("CALL app.own()").check()
        assert answer.rows[-1] == b"\x012", before


def test_unseen_it_is_lost_with_its_connection(narrow: Daemon, client: RawClient) -> None:
    client.query("SELECT NEXTVAL(app.s)").check()
    somebody_else(narrow)
    for sql in (
        "EXECUTE IMMEDIATE 'SELECT LASTVAL(app.s)'",
        "PREPARE p FROM 'SELECT PREVIOUS VALUE FOR app.s'",
        "BEGIN NOT ATOMIC SELECT LASTVAL(app.s); END",
        "CALL last_of_s()",
        "SELECT n FROM last_value",
    ):
        assert refused(client, sql), sql
    assert client.query("SELECT LASTVAL(app.s)").value == b"1", "seen, it is known"
    assert client.query("CALL next_of_s()").value == b"2", "its own"


class TestGetDiagnostics:
    """It runs where the last statement did; what it assigns is known to whatever comes after it."""

    def test_of_a_workers_answer(self, cluster: LocalCluster, client: RawClient) -> None:
        client.query("SET @n = 'before'").check()
        client.query("SELECT CAST('x' AS SIGNED) FROM t").check()
        client.query("GET DIAGNOSTICS @n = NUMBER, @r = ROW_COUNT").check()
        client.query("GET DIAGNOSTICS CONDITION @n @`e 1` = MYSQL_ERRNO, @m = MESSAGE_TEXT").check()
        client.query(
            "GET CURRENT DIAGNOSTICS CONDITION 2 @s = RETURNED_SQLSTATE, @c = CONSTRAINT_NAME"
        ).check()
        assert len(client.query("SHOW WARNINGS").rows) == 3, "they stand still"
        assert client.query("SELECT v FROM t LIMIT 1").value == b"1", "a read in between"
        answer = client.query("SELECT @n, @r, @`E 1`, @m, @s, @c")
        assert answer.texts() == [
            [b"3", b"-1", b"1292", b"Truncated incorrect INTEGER value: 'x'", b"22007", b""]
        ]
        client.query("CREATE TABLE typed AS SELECT @n AS n, @r AS r, @m AS m").check()
        [shown] = cluster.manager.query("SHOW CREATE TABLE app.typed")
        assert "`n` bigint(20) unsigned" in shown["Create Table"]
        assert "`r` bigint(20) DEFAULT" in shown["Create Table"]
        assert "utf8mb3_general_ci" in shown["Create Table"]
        assert not cluster.manager.served("GET ")

    def test_of_a_condition_that_there_is_not(self, client: RawClient) -> None:
        client.query("SET @m = 'before'").check()
        client.query("SELECT v FROM t").check()
        client.query("GET DIAGNOSTICS CONDITION 1 @m = MESSAGE_TEXT").check()
        assert client.query("SHOW WARNINGS").rows[0].startswith(b"\x05Error\x041758")
        assert client.query("SELECT @m").value == b"before"

    def test_in_a_transaction_that_has_begun_since(self, client: RawClient) -> None:
        client.query("SELECT 1/0 FROM t LIMIT 1").check()
        client.query("BEGIN").check()
        answer = client.query("GET DIAGNOSTICS CONDITION 1 @e = MYSQL_ERRNO").check()
        assert answer.status & STATUS_IN_TRANS
        client.query("INSERT INTO w VALUES (@e)").check()
        client.query("COMMIT").check()
        assert client.query("SELECT v, @e FROM w").texts() == [[b"1365", b"1365"]]

    def test_counts_stay_those_of_the_statement_before(self, client: RawClient) -> None:
        client.query("SELECT v FROM t LIMIT 2").check()
        client.query("GET DIAGNOSTICS @n = NUMBER").check()
        assert client.query("SELECT FOUND_ROWS(), @n").texts() == [[b"2", b"0"]]
        client.query("SELECT v FROM t").check()
        client.query("GET DIAGNOSTICS @n = NUMBER").check()
        client.query("SET @x = 1").check()
        assert client.query("SELECT FOUND_ROWS()").value == b"3"

    def test_prepared(self, client: RawClient) -> None:
        statement = client.prepare("GET DIAGNOSTICS CONDITION 1 @e = MYSQL_ERRNO")
        for read, errno in (("SELECT 1/0 FROM t", b"1365"), ("SELECT CAST('x' AS SIGNED) FROM t", b"1292")):
            client.query(read).check()
            client.execute(statement.id).check()
            assert client.query("SELECT @e").value == errno

    def test_is_forgotten_with_the_session(self, narrow: Daemon, client: RawClient) -> None:
        client.query("SELECT 1/0 FROM t").check()
        client.query("GET DIAGNOSTICS @n = NUMBER").check()
        client.command(RESET_CONNECTION).check()
        assert client.query("SELECT @n").value is None
        assert client.query("SELECT v FROM t LIMIT 1").value == b"1"

    def test_of_the_same_name_on_several_servers(self, cluster: LocalCluster, client: RawClient) -> None:
        one, two = (worker.name for worker in cluster.workers)
        for server, read in (
            (one, "SELECT 1/0 FROM t"),
            (two, "SELECT 1/0 FROM t LIMIT 1"),
            (one, "SELECT v FROM t"),
        ):
            client.query(f"/* mysqlproxy: server={server} */ {read}").check()
            client.query("GET DIAGNOSTICS @n = NUMBER").check()
            if server == two:
                client.query("GET DIAGNOSTICS @kept = NUMBER").check()
        assert client.query("SELECT @n, @kept").texts() == [[b"0", b"1"]]


def test_executed_statements_are_told_a_workers_counts(cluster: LocalCluster, client: RawClient) -> None:
    insert = client.prepare("INSERT INTO w VALUES (FOUND_ROWS() + ?)")
    select = client.prepare("SELECT FOUND_ROWS(), @mine, ?")
    for read, found in READS.items():
        client.query(read).check()
        client.execute(insert.id, [b"100"]).check()
        client.query(read).check()
        [row] = client.execute(select.id, [b"x"]).check().rows
        assert row[2:10] == int(found).to_bytes(8, "little")
    assert cluster.manager.query("SELECT v FROM app.w") == [
        {"v": int(found) + 100} for found in READS.values()
    ]
    client.query("SELECT v, @@server_id FROM t LIMIT 2").check()  # at the manager, which is asked itself
    [row] = client.execute(select.id, [b"x"]).check().rows
    assert row[2:10] == (2).to_bytes(8, "little")
    client.query("SELECT v FROM t").check()
    assert client.execute(select.id, [b"x"], cursor=True).err is not None, (
        "what is fetched from would be gone"
    )
    assert client.query("SELECT FOUND_ROWS()").value == b"3"
