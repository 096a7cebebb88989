"""MySQL without GTIDs: a session's reads follow its writes by the manager's binary log."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from tests.conftest import Factory
from tests.support.mysql import MysqlPair
from tests.support.raw import RawClient, proxied
from tests.support.sessions import mysql_pair_config


def _replicate(pair: MysqlPair, modes: tuple[str, ...], *, by_gtid: bool) -> None:
    """Change gtid_mode step by step, with nothing written between."""
    pair.replica.query("STOP REPLICA")
    pair.replica.query("CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION=0")
    pair.replica.query("START REPLICA")
    _in_sync(pair)
    for mode in modes:
        for server in (pair.replica, pair.source):
            server.query(f"SET GLOBAL gtid_mode = {mode}")
    if by_gtid:
        pair.source.query("FLUSH BINARY LOGS")
        _in_sync(pair)
        pair.replica.query("STOP REPLICA")
        pair.replica.query("CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION=1")
        pair.replica.query("START REPLICA")


def _in_sync(pair: MysqlPair) -> None:
    [log] = pair.source.query("SHOW BINARY LOG STATUS")
    assert pair.replica.value("SELECT SOURCE_POS_WAIT(%s, %s, 30)", (log["File"], log["Position"])) >= 0


@pytest.fixture
def pair(mysql97: MysqlPair) -> Iterator[MysqlPair]:
    mysql97.source.query("CREATE TABLE app.t (a INT)")
    _replicate(mysql97, ("ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"), by_gtid=False)
    yield mysql97
    _replicate(mysql97, ("OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"), by_gtid=True)
    mysql97.wait_in_sync()


@pytest.fixture(params=["session", "strong", "global"])
def daemon(
    request: pytest.FixtureRequest, pair: MysqlPair, daemons: Factory, free_port: Callable[[], int]
) -> Daemon:
    routing = {"strategy": "random", "read_consistency": request.param, "consistency_wait": 5.0}
    return daemons.start(mysql_pair_config(pair, free_port, routing=routing))


@pytest.fixture
def blind(pair: MysqlPair, daemons: Factory, free_port: Callable[[], int]) -> Iterator[Daemon]:
    """Looks at the servers once; from then on the worker applies nothing."""
    config = mysql_pair_config(
        pair,
        free_port,
        routing={"strategy": "random", "consistency_wait": 0.2},
        monitor={"interval": 60.0, "max_replica_lag": 3600.0},
    )
    for definition in (
        "CREATE FUNCTION app.f() RETURNS INT NO SQL BEGIN INSERT INTO app.t VALUES (1); RETURN 1; END",
        "CREATE PROCEDURE app.p() BEGIN INSERT INTO app.t VALUES (1); DO 1; END",
        "CREATE TABLE app.v (a INT)",
        "INSERT INTO app.v VALUES (1)",
        "CREATE TRIGGER app.g BEFORE UPDATE ON app.v FOR EACH ROW INSERT INTO app.t VALUES (1)",
    ):
        pair.source.query(definition)
    _in_sync(pair)
    daemon = daemons.start(config)
    pair.replica.query("STOP REPLICA SQL_THREAD")
    yield daemon
    pair.replica.query("START REPLICA SQL_THREAD")


def on_workers(daemon: Daemon) -> float:
    return daemon.metrics().total("mysqlproxy_statements_total", server="replica", kind="read")


def counted(client: RawClient) -> bytes | None:
    return client.query("SELECT COUNT(*) FROM app.t").value


def test_what_was_written_is_read_from_a_worker_that_has_it(pair: MysqlPair, daemon: Daemon) -> None:
    with proxied(daemon) as client:
        for number in range(1, 4):
            client.query("INSERT INTO app.t VALUES (1)").check()
            assert counted(client) == b"%d" % number
        assert on_workers(daemon) == 3
        client.query("BEGIN; INSERT INTO app.t VALUES (1); COMMIT").check()
        assert counted(client) == b"4"
        pair.source.query("FLUSH BINARY LOGS")
        client.query("CREATE TABLE app.u AS SELECT 1 AS a").check()
        client.query("INSERT INTO app.t VALUES (1)").check()
        assert counted(client) == b"5"
        assert on_workers(daemon) == 5


def test_while_no_worker_has_it_the_manager_reads(pair: MysqlPair, blind: Daemon) -> None:
    with proxied(blind) as client, proxied(blind) as other:
        client.query("INSERT INTO app.t VALUES (1)").check()
        assert counted(client) == b"1"
        assert counted(other) == b"0"
        assert on_workers(blind) == 1
        pair.replica.query("START REPLICA SQL_THREAD")
        _in_sync(pair)
        assert counted(client) == b"1"
        assert on_workers(blind) == 2


@pytest.mark.parametrize(
    "statements",
    [
        ("BEGIN; INSERT INTO app.t VALUES (1); COMMIT",),
        ("INSERT INTO app.t VALUES (1); SET @a = 1",),
        ("BEGIN; INSERT INTO app.t VALUES (1); COMMIT; BEGIN", "ROLLBACK"),
        ("BEGIN", "INSERT INTO app.t VALUES (1)", "BEGIN", "ROLLBACK"),
        ("DO app.f()",),
        ("BEGIN", "DO app.f()", "COMMIT"),
        ("CALL app.p()",),
        ("UPDATE app.v SET a = 1",),
    ],
    ids="; ".join,
)
def test_what_wrote_without_a_number_of_rows_is_a_write(blind: Daemon, statements: tuple[str, ...]) -> None:
    with proxied(blind) as client:
        for statement in statements:
            client.query(statement).check()
        assert counted(client) == b"1"
