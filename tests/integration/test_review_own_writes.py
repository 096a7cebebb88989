"""A session sees what it wrote, by whatever way it was written, while the workers stand still.

The workers' tables are locked, so that replication cannot apply anything and what a worker answers is old: a read
that leaves the manager too early shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol import capabilities as flags
from tests.support.raw import RESET_CONNECTION, RawClient, proxied
from tests.support.sessions import standing

SCHEMA = (
    "CREATE TABLE app.t (a INT PRIMARY KEY) ENGINE=InnoDB",
    "CREATE TABLE app.m (a INT PRIMARY KEY) ENGINE=MyISAM",
    "CREATE TABLE app.other (a INT)",
    "CREATE FUNCTION app.f(x INT) RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO app.t VALUES (x); RETURN x; END",
    "CREATE PROCEDURE app.p(x INT) BEGIN INSERT INTO app.t VALUES (x); SELECT x; END",
    "CREATE PROCEDURE app.again(x INT) BEGIN START TRANSACTION; INSERT INTO app.t VALUES (x); COMMIT; "
    "START TRANSACTION; SIGNAL SQLSTATE '45000'; END",
    "GRANT LOCK TABLES, EXECUTE ON app.* TO app@'%'",
)


@pytest.fixture(scope="module")
def one_daemon(session_cluster: LocalCluster) -> Iterator[Daemon]:
    sections = {
        "routing": {"strategy": "round_robin", "consistency_wait": 0.02},
        "monitor": {"max_replica_lag": 3600.0},
    }
    with standing(session_cluster, **sections) as daemon:
        for statement in SCHEMA:
            session_cluster.manager.query(statement)
        session_cluster.wait_in_sync()
        yield daemon


@pytest.fixture
def daemon(one_daemon: Daemon, session_cluster: LocalCluster) -> Iterator[Daemon]:
    """Both tables are empty everywhere, and stay so on the workers."""
    for table in ("t", "m"):
        session_cluster.manager.query(f"TRUNCATE TABLE app.{table}")
    session_cluster.wait_in_sync()
    locks = [worker.connect("root") for worker in session_cluster.workers]
    for lock in locks:
        lock.cursor().execute("LOCK TABLES app.t READ, app.m READ, app.other READ")
    yield one_daemon
    for lock in locks:
        lock.close()


def numbers(client: RawClient, table: str = "t") -> list[int]:
    return sorted(int(row[0] or 0) for row in client.query(f"SELECT a FROM app.{table}").texts())


def run(*statements: str) -> Callable[[RawClient], None]:
    """Statements that may fail: what counts is what they leave."""

    def way(client: RawClient) -> None:
        for statement in statements:
            client.query(statement)

    return way


def prepared(client: RawClient) -> None:
    statement = client.prepare("INSERT INTO app.t VALUES (?)")
    client.execute(statement.id, [b"1"]).check()


def before_a_reset(client: RawClient) -> None:
    client.query("INSERT INTO app.t VALUES (1)").check()
    assert client.command(RESET_CONNECTION).ok.status & flags.STATUS_AUTOCOMMIT


WAYS: dict[str, Callable[[RawClient], None]] = {
    "a plain INSERT": run("INSERT INTO app.t VALUES (1)"),
    "an INSERT with a comment": run("/* x */ INSERT INTO app.t VALUES (1)"),
    "a function in a SELECT": run("SELECT app.f(1)"),
    "DO": run("DO app.f(1)"),
    "SET of a user variable": run("SET @a = app.f(1)"),
    "INSERT RETURNING": run("INSERT INTO app.t VALUES (1) RETURNING a"),
    "CALL": run("CALL app.p(1)"),
    "EXECUTE IMMEDIATE": run("EXECUTE IMMEDIATE 'INSERT INTO app.t VALUES (1)'"),
    "a prepared statement": prepared,
    "a transaction": run("BEGIN", "INSERT INTO app.t VALUES (1)", "COMMIT"),
    "COMMIT AND CHAIN": run("BEGIN", "INSERT INTO app.t VALUES (1)", "COMMIT AND CHAIN", "ROLLBACK"),
    "autocommit switched on": run("SET autocommit=0", "INSERT INTO app.t VALUES (1)", "SET autocommit=1"),
    "BEGIN": run("BEGIN", "INSERT INTO app.t VALUES (1)", "BEGIN", "ROLLBACK"),
    "LOCK TABLES": run("BEGIN", "INSERT INTO app.t VALUES (1)", "LOCK TABLES app.other READ", "UNLOCK TABLES"),
    "LOCK TABLES that fails": run("BEGIN", "INSERT INTO app.t VALUES (1)", "LOCK TABLES app.none READ", "SELECT 1"),
    "a DDL that fails": run("BEGIN", "INSERT INTO app.t VALUES (1)", "CREATE TABLE app.other (b INT)", "ROLLBACK"),
    "several statements": run("BEGIN; INSERT INTO app.t VALUES (1); COMMIT"),
    "several statements, one of which fails": run("INSERT INTO app.t VALUES (1); SELECT nothing"),
    "XA in one phase": run("XA START 'x'", "INSERT INTO app.t VALUES (1)", "XA END 'x'", "XA COMMIT 'x' ONE PHASE"),
    "XA": run("XA START 'x'", "INSERT INTO app.t VALUES (1)", "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'"),
    "SET STATEMENT": run("SET STATEMENT max_statement_time=5 FOR INSERT INTO app.t VALUES (1)"),
    "a function, then a transaction rolled back": run(
        "SELECT app.f(1)", "BEGIN", "INSERT INTO app.t VALUES (2)", "ROLLBACK"
    ),
    "what was written before a reset": before_a_reset,
    "a procedure that commits, begins anew and fails": run("BEGIN", "CALL app.again(1)", "ROLLBACK"),
}  # fmt: skip


@pytest.mark.parametrize("deprecate_eof", [False, True], ids=["eof", "deprecate_eof"])
@pytest.mark.parametrize("way", WAYS)
def test_a_session_reads_what_it_wrote_by(daemon: Daemon, way: str, deprecate_eof: bool) -> None:
    with proxied(daemon, capabilities=flags.DEPRECATE_EOF if deprecate_eof else 0) as client:
        assert numbers(client) == []
        WAYS[way](client)
        assert [numbers(client) for _ in range(4)] == [[1]] * 4


@pytest.mark.parametrize(
    "way",
    [
        ("INSERT INTO app.m VALUES (1), (1)",),
        ("INSERT INTO app.t VALUES (9); INSERT INTO app.m VALUES (1), (1)",),
        ("BEGIN", "INSERT INTO app.m VALUES (1)", "ROLLBACK"),
        ("SET autocommit=0", "INSERT INTO app.m VALUES (1)", "ROLLBACK", "SET autocommit=1"),
    ],
    ids=["failed", "failed last", "rolled back", "rolled back without autocommit"],
)
def test_a_session_reads_what_no_transaction_takes_back(daemon: Daemon, way: tuple[str, ...]) -> None:
    with proxied(daemon) as client:
        assert numbers(client, "m") == []
        run(*way)(client)
        assert [numbers(client, "m") for _ in range(4)] == [[1]] * 4


def test_a_session_that_drops_its_transaction_by_a_reset_reads_what_stays(daemon: Daemon) -> None:
    with proxied(daemon) as client:
        client.query("BEGIN; INSERT INTO app.t VALUES (1); INSERT INTO app.m VALUES (1)").check()
        client.command(RESET_CONNECTION).check()
        assert [numbers(client) for _ in range(3)] == [[]] * 3
        assert [numbers(client, "m") for _ in range(3)] == [[1]] * 3


def test_a_statement_executed_again_reads_anew_although_its_cursor_is_on_a_worker(
    daemon: Daemon, session_cluster: LocalCluster
) -> None:
    with proxied(daemon, schema="app") as client:
        statement = client.prepare(
            "SELECT seq FROM seq_1_to_100 UNION ALL SELECT a FROM app.t WHERE a = 1000"
        )
        client.execute(statement.id, cursor=True).check()
        assert len(client.fetch(statement.id, 10).rows) == 10
        assert not session_cluster.manager.served("seq_1_to_100")
        client.query("INSERT INTO app.t VALUES (1000)").check()
        client.execute(statement.id, cursor=True).check()
        assert len(client.fetch(statement.id, 1000).rows) == 101


def test_a_cursor_is_no_way_out_of_a_transaction(daemon: Daemon, session_cluster: LocalCluster) -> None:
    with proxied(daemon, schema="app") as client:
        statement = client.prepare("SELECT seq FROM seq_1_to_99 UNION ALL SELECT a FROM app.t WHERE a = 1000")
        client.execute(statement.id, cursor=True).check()
        assert len(client.fetch(statement.id, 10).rows) == 10
        assert not session_cluster.manager.served("seq_1_to_99")
        client.query("BEGIN").check()
        client.query("INSERT INTO app.t VALUES (1000)").check()
        client.execute(statement.id, cursor=True).check()
        assert len(client.fetch(statement.id, 1000).rows) == 100
        client.query("ROLLBACK").check()
