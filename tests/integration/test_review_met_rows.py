"""What a session was told of others' writes it can read from then on, also where no row told it; and ``strong``.

The workers stand still, so that what a worker answers is old: a read that leaves the manager too early shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.support.mysql import MysqlPair
from tests.support.raw import RawClient, proxied
from tests.support.sessions import mysql_pair_config
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]

SCHEMA = (
    "CREATE TABLE app.t (a INT PRIMARY KEY)",
    "CREATE TABLE app.v (a INT)",
    "INSERT INTO app.v VALUES (1), (2)",
    "CREATE PROCEDURE app.again(x INT) BEGIN START TRANSACTION; INSERT INTO app.t VALUES (x); COMMIT; "
    "START TRANSACTION; SIGNAL SQLSTATE '45000'; END",
    "CREATE FUNCTION app.f() RETURNS INT DETERMINISTIC MODIFIES SQL DATA "
    "BEGIN INSERT INTO app.t VALUES (1); RETURN 1; END",
)
# Row 1 is somebody else's. "Get or create" looks for it when it could not be made.
MET = (
    ("INSERT INTO app.t VALUES (1)",),
    ("BEGIN", "INSERT INTO app.t VALUES (1)", "ROLLBACK"),
    ("SET autocommit=0", "INSERT INTO app.t VALUES (1)", "ROLLBACK", "SET autocommit=1"),
    ("INSERT IGNORE INTO app.t VALUES (1)",),
    ("INSERT INTO app.t VALUES (1) ON DUPLICATE KEY UPDATE a = 1",),
    ("UPDATE app.t SET a = 1",),
    ("BEGIN", "UPDATE app.t SET a = 2", "ROLLBACK"),
)


def run(client: RawClient, statements: tuple[str, ...]) -> None:
    """They may fail: what counts is what they tell."""
    for statement in statements:
        client.query(statement)


def numbers(client: RawClient) -> list[list[bytes | None]]:
    return client.query("SELECT a FROM app.t").texts()


@pytest.fixture
def still(cluster: LocalCluster) -> Iterator[LocalCluster]:
    """What is written from now on comes to no worker."""
    for statement in SCHEMA:
        cluster.manager.query(statement)
    cluster.wait_in_sync()
    locks = [worker.connect("root") for worker in cluster.workers]
    for lock in locks:
        lock.cursor().execute("LOCK TABLES app.t READ, app.v READ")
    yield cluster
    for lock in locks:
        lock.close()


def blind(proxy: Proxy, consistency: str) -> Daemon:
    routing = {"strategy": "round_robin", "read_consistency": consistency, "consistency_wait": 0.02}
    return proxy(routing=routing, monitor={"interval": 60.0, "max_replica_lag": 3600.0})


def test_a_session_reads_what_its_writes_have_met(still: LocalCluster, proxy: Proxy) -> None:
    daemon = blind(proxy, "session")
    with proxied(daemon) as client:
        assert numbers(client) == []
    still.manager.query("INSERT INTO app.t VALUES (1)")
    for statements in MET:
        with proxied(daemon) as client:
            assert numbers(client) == []
            run(client, statements)
            assert numbers(client) == [[b"1"]], statements


@pytest.fixture
def mysql_daemon(
    mysql97: MysqlPair, daemons: Callable[..., Daemon], free_port: Callable[[], int]
) -> Iterator[Daemon]:
    for statement in SCHEMA:
        mysql97.source.query(statement)
    mysql97.wait_in_sync()
    routing = {"strategy": "round_robin", "consistency_wait": 0.02}
    monitor = {"interval": 60.0, "max_replica_lag": 3600.0}
    daemon = daemons.start(mysql_pair_config(mysql97, free_port, routing=routing, monitor=monitor))
    mysql97.replica.query("STOP REPLICA SQL_THREAD")
    yield daemon
    mysql97.replica.query("START REPLICA SQL_THREAD")


def test_so_it_is_on_mysql(mysql97: MysqlPair, mysql_daemon: Daemon) -> None:
    mysql97.source.query("INSERT INTO app.t VALUES (1)")
    for statements in MET:
        with proxied(mysql_daemon) as client:
            assert numbers(client) == []
            run(client, statements)
            assert numbers(client) == [[b"1"]], statements


@pytest.mark.parametrize(
    "statements",
    [
        ("BEGIN", "CALL app.again(1)", "ROLLBACK"),
        (
            "SET autocommit=0",
            "INSERT INTO app.t VALUES (1); CHECK TABLE app.v; SELECT a FROM app.v; SELECT nothing",
            "ROLLBACK",
            "SET autocommit=1",
        ),
    ],
    ids=["procedure", "several statements"],
)
def test_what_was_committed_before_an_error_is_read(
    mysql_daemon: Daemon, statements: tuple[str, ...]
) -> None:
    with proxied(mysql_daemon) as client:
        assert numbers(client) == []
        run(client, statements)
        assert numbers(client) == [[b"1"]]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO app.t VALUES (1); SELECT SLEEP(2)",  # the first answer tells of it, the second is still to come
        "SET STATEMENT session_track_system_variables = '' FOR DO app.f()",
    ],
    ids=["half an answer", "no trackers"],
)
def test_strong_sees_what_any_client_was_told(still: LocalCluster, proxy: Proxy, statement: str) -> None:
    daemon = blind(proxy, "strong")
    with proxied(daemon) as writer, proxied(daemon) as reader:
        assert numbers(reader) == []
        writer.send(writer.query_payload(statement))
        assert writer.packet()[1][0] == 0
        assert numbers(reader) == [[b"1"]]


def test_strong_is_no_less_where_the_last_statement_was(still: LocalCluster, proxy: Proxy) -> None:
    daemon = blind(proxy, "strong")
    with proxied(daemon) as writer, proxied(daemon) as reader:
        assert reader.query("SELECT SQL_CALC_FOUND_ROWS a FROM app.v LIMIT 1 /* first */").value == b"1"
        assert not still.manager.served("first")
        writer.query("INSERT INTO app.t VALUES (1)").check()
        # The connection of the last statement cannot wait for others' writes without forgetting that statement.
        assert reader.query("SELECT FOUND_ROWS(), COUNT(*) FROM app.t /* both */").texts() == [[b"2", b"1"]]
        assert still.manager.served("both"), "it sees the write"


def test_one_write_of_several_domains_says_nothing_of_the_others(cluster: LocalCluster, proxy: Proxy) -> None:
    """Each domain is applied on its own: the second worker has the session's write, and not what it has read."""
    for statement in SCHEMA:
        cluster.manager.query(statement)
    first, second = cluster.workers
    for statement in ("STOP SLAVE", "SET GLOBAL slave_parallel_threads = 2", "START SLAVE"):
        second.query(statement)
    try:
        cluster.manager.query("SET STATEMENT gtid_domain_id = 7 FOR INSERT INTO app.v VALUES (6)")
        cluster.wait_in_sync()
        daemon = proxy(routing={"strategy": "round_robin", "consistency_wait": 1.0})
        with second.connect("root") as lock, proxied(daemon) as client:
            lock.cursor().execute("LOCK TABLES app.v READ")
            cluster.manager.query("SET STATEMENT gtid_domain_id = 7 FOR INSERT INTO app.v VALUES (7)")
            count = "SELECT /* mysqlproxy: server=%s */ COUNT(*) FROM app.v"
            assert eventually(lambda: client.query(count % first.name).value == b"4")
            client.query("INSERT INTO app.t VALUES (1)").check()
            assert client.query(count % second.name).value == b"4"
    finally:
        for statement in ("STOP SLAVE", "SET GLOBAL slave_parallel_threads = 0", "START SLAVE"):
            second.query(statement)


def test_the_row_inserted_last_is_looked_for_where_it_was_inserted(
    cluster: LocalCluster, proxy: Proxy
) -> None:
    cluster.manager.query("CREATE TABLE app.i (id INT PRIMARY KEY AUTO_INCREMENT, a INT)")
    cluster.wait_in_sync()
    daemon = proxy(routing={"strategy": "round_robin", "consistency_wait": 10.0})
    with proxied(daemon) as client:
        client.query("SET sql_auto_is_null = 1").check()
        client.query("INSERT INTO app.i (a) VALUES (5)").check()
        assert client.query("SELECT a FROM app.i WHERE id IS NULL").texts() == [[b"5"]]


def test_a_role_set_before_an_error_is_not_lost(cluster: LocalCluster, proxy: Proxy) -> None:
    for statement in (
        "CREATE TABLE app.t (a INT)",
        "CREATE ROLE IF NOT EXISTS reader",
        "GRANT SELECT ON app.t TO reader",
        "GRANT reader TO app@'%'",
    ):
        cluster.manager.query(statement)
    cluster.wait_in_sync()
    daemon = proxy(routing={"strategy": "round_robin"})
    with proxied(daemon) as client:
        assert client.query("SET ROLE reader; SELECT nothing").err
        for _ in range(3):
            # ENABLED_ROLES shows the connection's own
            assert client.query("SELECT CURRENT_ROLE()").value == b"reader"
            client.query("SELECT a FROM app.t /* by the role */").check()
    assert not any(worker.served("by the role") for worker in cluster.workers)
