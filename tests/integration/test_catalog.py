"""Views, stored functions and triggers on real servers: what they do is told by their bodies, whatever they declare.

The servers' general logs say who was asked.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.conftest import Factory
from tests.support.mysql import MysqlPair
from tests.support.waiting import eventually

DEFINITIONS = (
    "CREATE TABLE t (id INT PRIMARY KEY, a INT)",
    "CREATE TABLE log (n INT)",
    "INSERT INTO t VALUES (1, 10), (2, 20)",
    "CREATE FUNCTION honest(n INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA RETURN n + 1",
    "CREATE FUNCTION looks(n INT) RETURNS INT READS SQL DATA BEGIN DECLARE found INT DEFAULT 0; "
    "IF n > 0 THEN SELECT a INTO found FROM t WHERE id = n; END IF; SET found = honest(found); RETURN found; END",
    "CREATE FUNCTION lies(n INT) RETURNS INT READS SQL DATA BEGIN INSERT INTO log VALUES (n); RETURN n; END",
    "CREATE FUNCTION takes_lock(n INT) RETURNS INT NO SQL RETURN GET_LOCK('catalog', 0)",
    "CREATE FUNCTION inner_lies(n INT) RETURNS INT NO SQL RETURN lies(n)",
    "CREATE VIEW plain AS SELECT id, a FROM t",
    "CREATE VIEW above AS SELECT looks(id) AS r FROM plain",
    "CREATE VIEW dishonest AS SELECT inner_lies(id) AS r FROM plain",
    "CREATE VIEW above_dishonest AS SELECT r FROM dishonest",
    "CREATE TABLE written (a INT)",
    "CREATE TRIGGER harmless BEFORE INSERT ON written FOR EACH ROW SET NEW.a = NEW.a + 1",
    "CREATE VIEW writable AS SELECT a FROM written",
    *(f"CREATE TABLE {name} (a INT)" for name in ("variable", "shadow", "named")),
    "CREATE TRIGGER sets AFTER INSERT ON variable FOR EACH ROW SET @seen = NEW.a",
    "CREATE TRIGGER shades AFTER INSERT ON shadow FOR EACH ROW CREATE TEMPORARY TABLE t (a INT)",
    "CREATE TRIGGER locks AFTER INSERT ON named FOR EACH ROW DO GET_LOCK('trigger', 0)",
    "CREATE PROCEDURE define() CREATE OR REPLACE VIEW made AS SELECT lies(id) AS r FROM t",
)

AT_WORKERS = (
    "SELECT honest(1)",
    "SELECT looks(1)",
    "SELECT app.looks(1), `app`.honest(2)",
    "SELECT HONEST(a) FROM t",
    "SELECT a FROM plain",
    "SELECT r FROM above",
    "WITH plain AS (SELECT 1 AS a) SELECT a FROM plain",
    "WITH nowhere AS (SELECT a FROM t) SELECT a FROM nowhere",
)

AT_THE_MANAGER = (
    "SELECT lies(1)",
    "SELECT app.inner_lies(1)",
    "SELECT takes_lock(1)",
    "SELECT r FROM dishonest",
    "SELECT r FROM app.above_dishonest",
)


class Scene:
    """A daemon in front of a manager and its workers, and sessions that end with the test."""

    def __init__(self, daemon: Daemon, manager: Any, wait_in_sync: Any) -> None:
        self.daemon, self.manager, self.wait_in_sync = daemon, manager, wait_in_sync

    def session(self) -> Any:
        return self.daemon.connect(database="app")

    def server_of(self, sql: str, session: Any = None) -> str:
        """Where a statement runs: manager or worker."""
        # A select item more than it has: the server's own name.
        connection = session or self.session()
        with connection.cursor() as cursor:
            before = self._counted()
            cursor.execute(sql)
            cursor.fetchall()
            after = self._counted()
        if session is None:
            connection.close()
        [role] = [role for role, count in after.items() if count != before[role]]
        return role

    def _counted(self) -> dict[str, float]:
        """Statements of the account by role; the daemon's metrics name the server."""
        metrics = self.daemon.metrics()
        counts = {"manager": 0.0, "worker": 0.0}
        for labels, value in metrics.get("mysqlproxy_statements_total", []):
            counts["manager" if labels["server"] == self.manager.name else "worker"] += value
        return counts

    def reaches_workers(self, sql: str) -> bool:
        return eventually(lambda: self.server_of(sql) == "worker", what=f"workers run {sql}")


@pytest.fixture
def mariadb(cluster: LocalCluster, daemons: Factory) -> Iterator[Scene]:
    for sql in DEFINITIONS:
        cluster.manager.query(sql, schema="app")
    cluster.wait_in_sync()
    daemon = daemons.start(_eventual(daemons.config(cluster)))
    yield Scene(daemon, cluster.manager, cluster.wait_in_sync)


@pytest.fixture
def mysql(mysql97: MysqlPair, daemons: Factory, free_port: Any) -> Iterator[Scene]:
    for sql in DEFINITIONS:
        mysql97.source.query(sql, schema="app")
    mysql97.wait_in_sync()
    servers = [
        {"name": server.name, "address": server.address, "role": role}
        for server, role in zip(mysql97.servers, ("manager", "worker"), strict=True)
    ]
    config = {
        "listen": {"mysql": [f"127.0.0.1:{free_port()}"], "http": f"127.0.0.1:{free_port()}"},
        "monitor": {"user": "monitor", "password": mysql97.passwords["monitor"], "interval": 0.1},
        "servers": servers,
        "users": [{"name": "app", "password": mysql97.passwords["app"]}],
    }
    daemon = daemons.start(_eventual(config))
    yield Scene(daemon, mysql97.source, mysql97.wait_in_sync)


@pytest.fixture(params=["mariadb", "mysql"])
def scene(request: pytest.FixtureRequest) -> Scene:
    found: Scene = request.getfixturevalue(request.param)
    found.reaches_workers("SELECT r FROM above")  # the catalog has been read
    return found


def _eventual(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "routing": {"strategy": "random", "read_consistency": "eventual"}}


def test_a_function_and_a_view_run_where_their_bodies_say(scene: Scene) -> None:
    assert {sql: scene.server_of(sql) for sql in AT_WORKERS} == dict.fromkeys(AT_WORKERS, "worker")
    assert {sql: scene.server_of(sql) for sql in AT_THE_MANAGER} == dict.fromkeys(AT_THE_MANAGER, "manager")


def test_a_session_whose_view_takes_a_lock_keeps_its_connection(scene: Scene) -> None:
    session = scene.session()
    scene.server_of("SELECT takes_lock(1)", session)
    assert scene.server_of("SELECT a FROM t", session) == "manager"


@pytest.mark.parametrize(
    ("written", "asked", "answer"),
    [
        ("variable", "SELECT @seen", ((7,),)),
        ("shadow", "SELECT a FROM t", ()),
        ("named", "SELECT IS_USED_LOCK('trigger') = CONNECTION_ID()", ((1,),)),
    ],
)
def test_what_a_trigger_leaves_in_a_session_stays_there(
    scene: Scene, written: str, asked: str, answer: tuple[tuple[Any, ...], ...]
) -> None:
    with scene.session() as session, session.cursor() as cursor:
        cursor.execute(f"INSERT INTO {written} VALUES (7)")
        for _ in range(4):
            cursor.execute(asked)
            assert cursor.fetchall() == answer
            cursor.execute("SELECT a FROM plain")
            cursor.fetchall()


def test_who_fires_a_trigger_that_leaves_nothing_goes_on_at_the_workers(scene: Scene) -> None:
    for target in ("written", "writable"):
        session = scene.session()
        scene.server_of(f"INSERT INTO {target} VALUES (1)", session)
        assert scene.server_of("SELECT a FROM t", session) == "worker"


def test_a_view_replaced_through_the_daemon_counts_at_once(scene: Scene) -> None:
    writer, reader = scene.session(), scene.session()
    assert scene.server_of("SELECT a FROM plain", reader) == "worker"
    with writer.cursor() as cursor:
        for _ in range(5):
            cursor.execute("CREATE OR REPLACE VIEW plain AS SELECT lies(id) AS a FROM t")
            assert scene.server_of("SELECT a FROM plain", reader) == "manager"
            cursor.execute("CREATE OR REPLACE VIEW plain AS SELECT id, a FROM t")
            scene.reaches_workers("SELECT a FROM plain")
            reader = scene.session()


def test_what_a_definition_does_not_name_stays_at_the_workers(scene: Scene) -> None:
    reader, writer = scene.session(), scene.session()
    with writer.cursor() as cursor:
        for number in range(10):
            cursor.execute(f"CREATE TABLE other{number} (a INT)")
            assert scene.server_of("SELECT a FROM t", reader) == "worker"
            assert scene.server_of("SELECT r FROM above", reader) == "worker"


def test_a_new_table_is_read_by_workers_soon(scene: Scene) -> None:
    session = scene.session()
    with session.cursor() as cursor:
        cursor.execute("CREATE TABLE fresh (a INT)")
        cursor.execute("INSERT INTO fresh VALUES (5)")
        cursor.execute("SELECT a FROM fresh")
        assert cursor.fetchall() == ((5,),)
    eventually(lambda: scene.server_of("SELECT a FROM fresh", session) == "worker", timeout=3.0)


def test_what_is_defined_at_the_manager_directly_is_noticed(scene: Scene) -> None:
    scene.manager.query("CREATE FUNCTION direct() RETURNS INT NO SQL RETURN 7", schema="app")
    scene.wait_in_sync()
    scene.reaches_workers("SELECT direct() + honest(1)")
    scene.manager.query("CREATE OR REPLACE VIEW plain AS SELECT lies(id) AS a FROM t", schema="app")
    eventually(lambda: scene.server_of("SELECT a FROM plain") == "manager", timeout=5.0)


def test_a_procedure_that_defines_a_view_puts_it_in_doubt(scene: Scene) -> None:
    scene.manager.query("CREATE VIEW made AS SELECT a AS r FROM t", schema="app")
    scene.wait_in_sync()
    scene.reaches_workers("SELECT r FROM made")
    with scene.session().cursor() as cursor:
        cursor.execute("CALL define()")
    assert scene.server_of("SELECT r FROM made") == "manager"


def test_a_name_that_is_known_nowhere_is_asked_of_the_manager(scene: Scene) -> None:
    session = scene.session()
    with session.cursor() as cursor, pytest.raises(pymysql.err.ProgrammingError) as error:
        cursor.execute("SELECT * FROM nowhere")
    assert error.value.args[0] == 1146
    assert scene.server_of("SELECT a FROM t", session) == "worker"


def test_a_prepared_statement_follows_the_catalog(mariadb: Scene) -> None:
    scene = mariadb
    scene.reaches_workers("SELECT a FROM plain")
    connector = pytest.importorskip("mysql.connector")
    port, password = scene.daemon.port, scene.daemon.config["users"][0]["password"]
    connection = connector.connect(
        host="127.0.0.1", port=port, user="app", password=password, database="app", autocommit=True,
        ssl_disabled=True, collation="utf8mb4_general_ci",
    )  # fmt: skip
    try:
        cursor = connection.cursor(prepared=True)
        statement = "SELECT a FROM plain WHERE 1 = ?"
        marker = f"log{uuid.uuid4().int % 1000}"
        cursor.execute(statement, (1,))
        assert sorted(cursor.fetchall()) == [(10,), (20,)], marker
        with scene.session().cursor() as writer:
            writer.execute("CREATE OR REPLACE VIEW plain AS SELECT lies(id) AS a FROM t")
        scene.wait_in_sync()
        cursor.execute(statement, (1,))
        assert sorted(cursor.fetchall()) == [(1,), (2,)]
        assert scene.manager.value("SELECT COUNT(*) FROM app.log") == 2
    finally:
        connection.close()


def test_without_the_rights_to_see_them_functions_and_names_are_the_managers(
    cluster: LocalCluster, daemons: Factory
) -> None:
    for sql in DEFINITIONS:
        cluster.manager.query(sql, schema="app")
    cluster.manager.query("CREATE USER blind@'127.0.0.1' IDENTIFIED BY 'p'")
    cluster.manager.query("GRANT SLAVE MONITOR, BINLOG MONITOR ON *.* TO blind@'127.0.0.1'")
    cluster.wait_in_sync()
    config = _eventual(daemons.config(cluster))
    config["monitor"] = {"user": "blind", "password": "p", "interval": 0.1}
    scene = Scene(daemons.start(config), cluster.manager, cluster.wait_in_sync)
    scene.reaches_workers("SELECT 1")
    for sql in ("SELECT honest(1)", "SELECT a FROM t", "SELECT a FROM plain", "SELECT r FROM dishonest"):
        assert scene.server_of(sql) == "manager", sql
    assert scene.daemon.metrics().total("mysqlproxy_reads_on_manager_total", reason="catalog") >= 3
