"""What is asked about the last statement is answered by the connection it ran on, or not at all: never wrong.

The manager may have one connection, so that any two clients meet on it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol.capabilities import STATUS_IN_TRANS, STATUS_IN_TRANS_READONLY
from tests.support.raw import PING, RESET_CONNECTION, STATISTICS, RawClient, proxied
from tests.support.sessions import servers
from tests.support.waiting import eventually


@pytest.fixture
def narrow(cluster: LocalCluster, shared_proxy: Callable[..., Daemon]) -> Iterator[Daemon]:
    cluster.manager.query("CREATE TABLE app.t (v INT)")
    cluster.manager.query("INSERT INTO app.t VALUES (1), (2), (3)")
    cluster.wait_in_sync()
    daemon = shared_proxy(
        servers=servers(cluster, manager={"max_connections": 1}),
        routing={"strategy": "random", "read_consistency": "eventual"},
        limits={"pool_wait": 0.5},
    )

    def known() -> bool:
        with proxied(daemon) as client:
            client.query("SELECT v FROM app.t /* where */").check()
        return any(worker.served("where") for worker in cluster.workers)

    eventually(known, what="reads go to workers")
    yield daemon
    daemon.disconnect()


@pytest.fixture
def client(narrow: Daemon) -> Iterator[RawClient]:
    with proxied(narrow) as client:
        yield client


def taken(daemon: Daemon) -> bool:
    """Whether another client gets the manager's one connection."""
    with proxied(daemon) as other:
        error = other.query("DO 1").err
    assert error is None or error.errno == 1040
    return error is None


COUNTS = ["SELECT ROW_COUNT()", "SELECT found_rows ( )", "DO row_count()", "GET DIAGNOSTICS @n = ROW_COUNT"]


def test_counts_that_nobody_knows_any_more_are_an_error(narrow: Daemon, client: RawClient) -> None:
    for sql in COUNTS:
        client.query("SELECT v, @@server_id FROM app.t").check()
        client.query("UPDATE app.t SET v = v + 1").check()
        assert taken(narrow), "a write alone keeps no connection"
        error = client.query(sql).err
        assert error is not None, sql
        assert (error.errno, error.sqlstate) == (1105, "HY000")
        assert "ROW_COUNT()" in error.message
        assert not client.query("SHOW WARNINGS").rows, "there were none"
    client.query("UPDATE app.t SET v = v + 1").check()
    assert client.query("SELECT ROW_COUNT()").value == b"3", "the next one is known again"


@pytest.mark.parametrize("between", ["UPDATE app.t SET v = v + 1", "DO 1", "SET @a = 1"])
def test_found_rows_are_of_the_last_statement_with_rows(client: RawClient, between: str) -> None:
    client.query("INSERT INTO app.t SELECT 5").check()  # the manager's connection knows another number
    client.query("SELECT SQL_CALC_FOUND_ROWS v FROM app.t LIMIT 1").check()
    client.query(between).check()
    assert client.query("SELECT FOUND_ROWS()").value in (b"3", b"4")  # whether replication was there or not
    client.query("SELECT SQL_CALC_FOUND_ROWS v FROM app.t WHERE v < 0 LIMIT 1").check()
    client.query(between).check()
    client.query("BEGIN").check()
    assert client.query("SELECT FOUND_ROWS()").value == b"0", "no number of the transaction's connection"
    client.query("SELECT v FROM app.t LIMIT 2").check()
    assert client.query("SELECT FOUND_ROWS()").value == b"2"
    client.query("ROLLBACK").check()


def test_an_error_that_only_a_worker_told_is_nobodys(client: RawClient) -> None:
    for _ in range(6):  # on either worker
        assert client.query("SELECT nothing FROM app.t").err  # the manager's; the worker was asked first
    client.query("UPDATE app.t SET v = v").check()
    for _ in range(6):
        client.query("SELECT 7").check()  # clears nothing where it runs
        assert client.query("SELECT @@error_count").value == b"0"
        assert client.query("SHOW ERRORS").rows == []


def test_warnings_stand_until_a_statement_uses_tables(
    cluster: LocalCluster, narrow: Daemon, client: RawClient
) -> None:
    """As on one MariaDB server, whichever servers run what comes between."""
    names = [f"/* mysqlproxy: server={server.name} */" for server in cluster.servers]
    for between in (
        "DO 1",
        "SET time_zone = '+00:00'",
        "SELECT 7",
        f"SELECT {names[2]} 7",
        "SELECT @@version",
    ):
        client.query(f"SELECT {names[1]} 1/0 FROM app.t LIMIT 1").check()
        client.query(between).check()
        assert client.query("SELECT @@warning_count").value == b"1", between
        assert len(client.query("SHOW WARNINGS").rows) == 1, between
        client.query(f"SELECT {names[2]} v FROM app.t").check()
        assert client.query("SHOW WARNINGS").rows == [], between
        client.query(f"SELECT {names[1]} 7").check()
        assert client.query("SHOW WARNINGS").rows == [], between
    client.query("SELECT 1/0, @@server_id").check()
    client.query(f"SELECT {names[1]} 7").check()
    assert not taken(narrow)
    client.query(f"SELECT {names[1]} v FROM app.t").check()
    assert taken(narrow)


def test_forgetting_old_warnings_forgets_no_rows(cluster: LocalCluster, client: RawClient) -> None:
    names = [f"/* mysqlproxy: server={server.name} */" for server in cluster.workers]
    client.query(f"SELECT {names[0]} 1/0 FROM app.t LIMIT 1").check()
    for name in (names[1], names[0]):
        client.query(f"SELECT {name} v FROM app.t").check()
    client.query("SET time_zone = '+03:00'").check()
    assert client.query("SELECT FOUND_ROWS()").value == b"3"


def test_set_transaction_is_for_the_next_one_alone(client: RawClient) -> None:
    """A SELECT without tables is none."""
    for between in ("SELECT 1/0", "DO 1"):
        for sql in ("SET TRANSACTION READ ONLY", between, "SELECT v FROM app.t"):
            client.query(sql).check()
        answer = client.query("COMMIT AND CHAIN")
        assert answer.ok.status & STATUS_IN_TRANS and not answer.ok.status & STATUS_IN_TRANS_READONLY
        client.query("ROLLBACK").check()


def test_a_ping_makes_the_row_count_zero(narrow: Daemon, client: RawClient) -> None:
    for sql in ("UPDATE app.t SET v = v + 1", "SELECT v FROM app.t"):
        for _ in range(2):
            client.query(sql).check()
            client.command(PING).check()
            assert client.query("SELECT ROW_COUNT()").value == b"0"
            assert client.query("SELECT ROW_COUNT()").value == b"-1"
    client.query("SELECT v FROM app.t").check()
    client.command(PING).check()
    assert client.query("SELECT FOUND_ROWS()").value == b"3"
    client.query("UPDATE app.t SET v = v + 1").check()
    assert taken(narrow)
    client.command(PING).check()
    assert client.query("SELECT ROW_COUNT()").value == b"0", "known again"


def test_a_ping_counts_for_get_diagnostics_too(client: RawClient) -> None:
    client.query("UPDATE app.t SET v = v + 1").check()
    client.command(PING).check()
    client.query("GET DIAGNOSTICS @n = ROW_COUNT").check()
    assert client.query("SELECT @n").value == b"0"


def test_counts_of_different_statements_are_asked_for_one_by_one(client: RawClient) -> None:
    client.query("SELECT v FROM app.t").check()  # on a worker
    client.query("UPDATE app.t SET v = v + 1 WHERE v = 1").check()
    error = client.query("SELECT ROW_COUNT(), FOUND_ROWS()").err
    assert error is not None and error.errno == 1105
    client.query("SELECT v FROM app.t").check()
    client.query("UPDATE app.t SET v = v + 1 WHERE v = 2").check()
    assert client.query("SELECT ROW_COUNT()").value == b"2"


def test_values_found_no_rows(client: RawClient) -> None:
    client.query("SELECT v FROM app.t").check()
    client.query("VALUES (1), (2)").check()
    assert client.query("SELECT FOUND_ROWS()").value == b"3"


def test_what_only_prepares_counts_nothing(client: RawClient) -> None:
    client.query("UPDATE app.t SET v = v + 1").check()
    assert client.prepare("SELECT v FROM app.t").id  # on a worker
    assert client.query("SELECT ROW_COUNT()").value == b"3"
    client.query("SELECT v FROM app.t").check()
    client.command(STATISTICS)
    assert client.query("SELECT ROW_COUNT()").value == b"-1"
    client.query("SELECT 1/0 FROM app.t, app.t AS u LIMIT 1").check()
    assert client.prepare("SELECT v FROM app.t").id
    assert client.query("SHOW WARNINGS").rows == []


def test_found_rows_behind_a_write_in_one_text(client: RawClient) -> None:
    for text in ("UPDATE app.t SET v = v; SELECT FOUND_ROWS()", "BEGIN; SELECT FOUND_ROWS()"):
        client.query("SELECT v FROM app.t").check()  # on a worker
        assert client.query(text).rows == [b"\x013"], text
        client.query("ROLLBACK").check()
    client.query("SELECT v, @@server_id FROM app.t").check()
    assert client.query("UPDATE app.t SET v = v; SELECT FOUND_ROWS()").rows == [b"\x013"]


def test_warnings_before_a_write_in_one_text(client: RawClient) -> None:
    client.query("SELECT 1/0, @@server_id").check()  # at the manager
    client.query("SELECT v FROM app.t").check()
    assert client.query("SHOW WARNINGS; UPDATE app.t SET v = v").rows == [], "a worker has left none"
    client.query("SELECT 1/0 FROM app.t LIMIT 1").check()
    for text in (
        "SHOW WARNINGS; UPDATE app.t SET v = 9",
        "SHOW WARNINGS; BEGIN",
        "USE app; SELECT @@warning_count; DO 1",
    ):
        error = client.query(text).err
        assert error is not None and error.errno == 1105, text
    assert len(client.query("SHOW WARNINGS").rows) == 1, "none has run"
    assert client.query("SELECT COUNT(*) FROM app.t WHERE v = 9").value == b"0"


def test_who_has_had_no_rows_has_found_none(narrow: Daemon, client: RawClient) -> None:
    client.query("SELECT v, @@server_id FROM app.t").check()
    for first in ("", "USE app", "UPDATE app.t SET v = v"):
        with proxied(narrow) as other:  # on the connection that has found three
            if first:
                other.query(first).check()
            assert other.query("SELECT FOUND_ROWS()").value == b"0", first
            other.query("SELECT v, @@server_id FROM app.t").check()
            assert other.query("SELECT FOUND_ROWS()").value == b"3"


def test_prepared_they_are_an_error_when_they_are_executed(narrow: Daemon, client: RawClient) -> None:
    client.query("UPDATE app.t SET v = v + 1").check()
    assert taken(narrow)
    prepared = client.prepare("SELECT ROW_COUNT()")
    assert prepared.id
    assert taken(narrow)
    error = client.execute(prepared.id).err
    assert error is not None and error.errno == 1105
    client.query("UPDATE app.t SET v = v + 1").check()
    assert client.execute(prepared.id).rows[0][2:] == (3).to_bytes(8, "little")


def test_counts_in_a_transaction_and_in_one_text_are_known(narrow: Daemon, client: RawClient) -> None:
    client.query("BEGIN; UPDATE app.t SET v = v + 1").check()
    assert not taken(narrow)
    assert client.query("SELECT ROW_COUNT()").value == b"3"
    client.query("COMMIT").check()
    assert taken(narrow)
    assert client.query("UPDATE app.t SET v = v + 1; SELECT ROW_COUNT()").rows == [b"\x013"]


def test_a_first_question_has_a_fresh_connections_answer(narrow: Daemon, client: RawClient) -> None:
    assert client.query("SELECT ROW_COUNT()").value == b"0"
    client.query("UPDATE app.t SET v = v + 1").check()
    assert taken(narrow)
    client.command(RESET_CONNECTION).check()
    assert client.query("SELECT ROW_COUNT()").value == b"0"


def test_who_calculates_found_rows_keeps_the_connection_until_the_next_statement(
    narrow: Daemon, client: RawClient
) -> None:
    client.query("SELECT SQL_CALC_FOUND_ROWS v, @@server_id FROM app.t LIMIT 1").check()  # at the manager
    assert not taken(narrow)
    assert client.query("SELECT FOUND_ROWS()").value == b"3"
    assert taken(narrow)
    client.query("SELECT SQL_CALC_FOUND_ROWS v FROM app.t LIMIT 1").check()  # at a worker
    assert client.query("SELECT FOUND_ROWS()").value == b"3"


@pytest.mark.parametrize(
    "what", ["SELECT 1/0, @@server_id", "SELECT SQL_CALC_FOUND_ROWS v, @@server_id FROM app.t"]
)
def test_a_statement_elsewhere_ends_the_reason_to_keep_it(
    narrow: Daemon, client: RawClient, what: str
) -> None:
    client.query(what).check()
    assert not taken(narrow)
    client.query("SELECT v FROM app.t").check()
    assert taken(narrow)


def test_last_insert_id_survives_a_taker_that_leaves(
    cluster: LocalCluster, shared_proxy: Callable[..., Daemon]
) -> None:
    """Who wanted the connection goes while its owner's LAST_INSERT_ID() is asked for."""
    cluster.manager.query("CREATE TABLE app.ids (id INT PRIMARY KEY AUTO_INCREMENT)")
    daemon = shared_proxy(
        servers=servers(cluster, manager={"max_connections": 1}),
        routing={"strategy": "direct"},
        monitor={"timeout": 60.0},  # does not notice that the manager stands still
        limits={"connect_timeout": 60.0},
    )

    def count(name: str, **labels: str) -> float:
        return daemon.metrics().total(name, **labels)

    with proxied(daemon) as client, proxied(daemon) as taker:
        client.query("INSERT INTO app.ids VALUES (41), (42)").check()
        client.query("INSERT INTO app.ids VALUES (NULL)").check()
        cluster.manager.pause()
        with contextlib.ExitStack() as stack:
            stack.callback(cluster.manager.resume)
            taker.send(taker.query_payload("DO 1"))
            eventually(lambda: count("mysqlproxy_server_connections", state="resetting") == 1)
            taker.close()
            eventually(lambda: count("mysqlproxy_client_connections") == 1)
        assert client.query("SELECT LAST_INSERT_ID()").value == b"43"
        assert client.query("SELECT COUNT(*) FROM app.ids").value == b"3"
