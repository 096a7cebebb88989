"""What is asked about the last statement is answered by the connection it ran on, or not at all: never wrong.

The manager may have one connection, so that any two clients meet on it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.support.raw import RESET_CONNECTION, RawClient, proxied
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
    error = client.query("SELECT FOUND_ROWS()").err
    assert error is not None and error.errno == 1105, "no number of the transaction's connection"
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
