"""A few sequences of ``last_statements``; SEQUENCES in the environment says how many."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pymysql

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.conftest import Factory
from tests.fuzz.last_statements import SETUP, difference, sequence
from tests.support.mysql import MysqlPair
from tests.support.raw import RawClient, direct, proxied
from tests.support.sessions import ask, mysql_pair_config, servers
from tests.support.waiting import eventually

SEQUENCES = int(os.environ.get("SEQUENCES", "120"))
FIRST = int(os.environ.get("FIRST", "0"))
SCHEMAS = ("abc", "app")  # the direct client's and the other one's
ROUTING = {"strategy": "random", "read_consistency": "eventual"}
ALL = [f"GRANT ALL ON {schema}.* TO app" for schema in SCHEMAS]


def prepare(root: pymysql.Connection[Any]) -> None:
    for sql in (*ALL, "CREATE SCHEMA abc"):
        ask(root, sql)
    for schema in SCHEMAS:
        for sql in (f"USE {schema}", *SETUP):
            ask(root, sql)


def run(daemon: Daemon, workers: list[str], connect: Callable[[], RawClient], *, mariadb: bool) -> None:
    def take() -> None:
        with proxied(daemon, schema="app") as other:
            other.query("SELECT v, @@server_id FROM st WHERE v < 3").check()

    for seed in range(FIRST, FIRST + SEQUENCES):
        statements = sequence(seed, workers, mariadb=mariadb)
        with connect() as plain, proxied(daemon, schema="app") as client:
            found = difference(statements, plain, client, SCHEMAS, take, mariadb=mariadb)
        assert not found, f"seed {seed}:\n{found}"
    assert "internal error" not in daemon.log()


def test_on_mariadb(cluster: LocalCluster, proxy: Callable[..., Daemon]) -> None:
    with cluster.manager.connect("root") as root:
        prepare(root)
    cluster.wait_in_sync()
    limited = {server.name: {"max_connections": 2} for server in cluster.servers}
    daemon = proxy(servers=servers(cluster, **limited), routing=ROUTING, limits={"pool_wait": 2.0})
    names_known(daemon)
    try:
        run(
            daemon,
            [worker.name for worker in cluster.workers],
            lambda: direct(cluster.manager, cluster.passwords["app"], schema="abc"),
            mariadb=True,
        )
    finally:
        daemon.disconnect()
        cluster.manager.query("DROP SCHEMA abc")


def test_on_mysql(mysql97: MysqlPair, daemons: Factory, free_port: Callable[[], int]) -> None:
    manager = mysql97.servers[0]
    with manager.connect("root") as root:
        prepare(root)
    mysql97.wait_in_sync()
    config = mysql_pair_config(mysql97, free_port, routing=ROUTING, limits={"pool_wait": 2.0})
    for server in config["servers"]:
        server["max_connections"] = 2
        server["name"] = server["role"]
    daemon = daemons.start(config)
    names_known(daemon)
    try:
        run(
            daemon,
            ["worker"],
            lambda: direct(manager, mysql97.passwords["app"], schema="abc"),
            mariadb=False,
        )
    finally:
        daemon.disconnect()
        manager.query("DROP SCHEMA abc")


def names_known(daemon: Daemon) -> None:
    """Until then any name may be of anything."""
    reads = "mysqlproxy_reads_on_manager_total"

    def known() -> bool:
        before = daemon.metrics().total(reads, reason="catalog")
        with proxied(daemon, schema="app") as client:
            client.query("SELECT v FROM st").check()
        return daemon.metrics().total(reads, reason="catalog") == before

    eventually(known, what="the catalog is read")
