"""Workers two seconds behind on purpose: no read of a session is stale, and without the delay they read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.conftest import Factory
from tests.support.mysql import MysqlPair
from tests.support.raw import RawClient, proxied
from tests.support.sessions import mysql_pair_config
from tests.support.waiting import eventually

ROUNDS = 15
ROUTING = {"strategy": "round_robin", "consistency_wait": 0.01}
SCHEMA = (
    "CREATE TABLE app.t (a INT)",
    "CREATE TABLE app.empty (a INT)",
    "CREATE PROCEDURE app.p() INSERT INTO app.t VALUES (4)",
)
# What is done and how many rows are there then, seen from how many were there before.
WAYS: dict[str, tuple[tuple[str, ...], Callable[[int], int]]] = {
    "autocommit": (("INSERT INTO app.t VALUES (1)",), lambda rows: rows + 1),
    "COMMIT": (("BEGIN", "INSERT INTO app.t VALUES (2)", "COMMIT"), lambda rows: rows + 1),
    "COMMIT without autocommit": (
        ("SET autocommit=0", "INSERT INTO app.t VALUES (3)", "COMMIT", "SET autocommit=1"),
        lambda rows: rows + 1,
    ),
    "CALL": (("CALL app.p()",), lambda rows: rows + 1),
    "DELETE": (("DELETE FROM app.t LIMIT 1",), lambda rows: rows - 1),
    "DDL": (("TRUNCATE TABLE app.t",), lambda rows: 0),
    "more DDL": (
        ("DROP TABLE app.empty", "RENAME TABLE app.t TO app.empty", "CREATE TABLE app.t AS SELECT 5 AS a"),
        lambda rows: 1,
    ),
}


@dataclass
class Scene:
    """A daemon in front of servers whose workers can be put behind."""

    daemon: Daemon
    workers: list[Any]
    delay: Callable[[int], None]
    wait_in_sync: Callable[[], None]


@pytest.fixture
def mariadb(cluster: LocalCluster, proxy: Callable[..., Daemon]) -> Iterator[Scene]:
    for sql in (*SCHEMA, "GRANT EXECUTE ON app.* TO app@'%'"):
        cluster.manager.query(sql)
    cluster.wait_in_sync()

    def delay(seconds: int) -> None:
        for worker in cluster.workers:
            worker.query("STOP SLAVE")
            worker.query(f"CHANGE MASTER TO MASTER_DELAY={seconds}")
            worker.query("START SLAVE")

    yield Scene(proxy(routing=ROUTING), cluster.workers, delay, cluster.wait_in_sync)
    delay(0)


@pytest.fixture
def mysql(mysql97: MysqlPair, daemons: Factory, free_port: Callable[[], int]) -> Iterator[Scene]:
    for sql in SCHEMA:
        mysql97.source.query(sql)
    mysql97.wait_in_sync()

    def delay(seconds: int) -> None:
        mysql97.replica.query("STOP REPLICA")
        mysql97.replica.query(f"CHANGE REPLICATION SOURCE TO SOURCE_DELAY={seconds}")
        mysql97.replica.query("START REPLICA")

    daemon = daemons.start(mysql_pair_config(mysql97, free_port, routing=ROUTING))
    yield Scene(daemon, [mysql97.replica], delay, mysql97.wait_in_sync)
    delay(0)


@pytest.fixture(params=["mariadb", "mysql"])
def scene(request: pytest.FixtureRequest) -> Scene:
    found: Scene = request.getfixturevalue(request.param)
    return found


def read_by_workers(scene: Scene) -> float:
    metrics = scene.daemon.metrics()
    return sum(
        metrics.total("mysqlproxy_statements_total", kind="read", server=worker.name)
        for worker in scene.workers
    )


def counted(client: RawClient) -> int:
    return int(client.query("SELECT COUNT(*) FROM app.t").value or b"-1")


def test_no_read_of_a_session_is_stale(scene: Scene) -> None:
    scene.delay(2)
    with proxied(scene.daemon) as client:
        rows = counted(client)
        for number in range(ROUNDS):
            for way, (statements, after) in WAYS.items():
                for statement in statements:
                    client.query(statement).check()
                rows = max(0, after(rows))
                assert [counted(client), counted(client)] == [rows, rows], (number, way)
    scene.delay(0)
    scene.wait_in_sync()

    def on_a_worker() -> bool:
        before = read_by_workers(scene)
        with proxied(scene.daemon) as client:
            client.query("INSERT INTO app.t VALUES (9)").check()
            scene.wait_in_sync()  # or consistency_wait may be too short on a slow machine
            assert counted(client) > 0
        return read_by_workers(scene) > before

    eventually(on_a_worker, what="reads after writes go to workers")
