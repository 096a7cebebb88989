"""What the suites run against: a local cluster and the daemon in front, with accounts that may do nearly all.

The accounts lack the right to write on a read-only server, so that a write that the daemon sends to a worker is
refused there instead of passing unnoticed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mysqlproxy.demo.daemon import Daemon, cluster_config
from mysqlproxy.demo.local import LocalCluster, free_port
from tests.support.mysql import MysqlPair, find_mysql
from tests.support.sessions import mysql_pair_config

ACCOUNT = "suites"
STRONG_ACCOUNT = "suites_strong"  # its reads see what any client wrote
OFFLOAD_ACCOUNT = "suites_offload"  # they do, and leave the manager until their transaction writes or locks
_ZONES = Path("/usr/share/zoneinfo")
SCHEMAS = ("test", "test_schema", "test_schema_2")  # those that SQLAlchemy's tests expect


@dataclass(frozen=True, slots=True)
class Scene:
    """The cluster, the daemon, and the accounts' password on both."""

    cluster: LocalCluster | MysqlPair
    daemon: Daemon
    password: str

    def port(self, way: str) -> int:
        """Where a suite connects to: ``direct`` is the manager, ``proxy`` the daemon."""
        return self.cluster.manager.port if way == "direct" else self.daemon.port

    def clear(self) -> None:
        """Empty schemas for the next run; whatever else the last one left is dropped."""
        manager = self.cluster.manager
        kept = {"mysql", "sys", "information_schema", "performance_schema", "app"}
        for name in (row["Database"] for row in manager.query("SHOW DATABASES")):
            if name not in kept:
                manager.query(f"DROP DATABASE `{name}`")
        for name in SCHEMAS:
            manager.query(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
        self.cluster.wait_in_sync(60)

    def wrong_writes(self) -> list[str]:
        """Workers that hold a transaction that did not come from the manager, or that stopped replicating."""
        wrong = []
        if isinstance(self.cluster, MysqlPair):
            done = self.cluster.manager.value("SELECT @@global.gtid_executed")
            for replica in self.cluster.workers:
                own = replica.value("SELECT GTID_SUBTRACT(@@global.gtid_executed, %s)", (done,))
                wrong += [f"{replica.name}: {own}"] if own else []
            return wrong
        manager = self.cluster.manager
        for worker in self.cluster.workers:
            state = str(worker.value("SELECT @@gtid_binlog_state"))
            origins = {gtid.split("-")[1] for gtid in state.split(",") if gtid}
            if origins - {str(manager.server_id)} or not worker.replicating():
                wrong.append(f"{worker.name}: {state}")
        return wrong


def load_time_zones(cluster: LocalCluster) -> bool:
    """Fill the servers' time zone tables, which some tests skip or fail without; False where that can't be had."""
    program, client = shutil.which("mariadb-tzinfo-to-sql"), shutil.which("mariadb")
    if program is None or client is None or not _ZONES.is_dir():
        return False
    made = subprocess.run([program, "--skip-write-binlog", str(_ZONES)], capture_output=True, check=True)
    for server in cluster.servers:
        subprocess.run(
            [client, "--no-defaults", f"--socket={server.socket}", "--user=root", "mysql"],
            input=made.stdout,
            env={**os.environ, "MYSQL_PWD": cluster.passwords["root"]},
            capture_output=True,
            check=True,
        )
    return True


@contextmanager
def open_scene(directory: Path, time_zones: bool = False) -> Iterator[Scene]:
    """Start it, with strategy random over two workers and read_consistency session.

    Args:
        time_zones: whether to fill the time zone tables, which takes some seconds.
    """
    password = secrets.token_urlsafe(18)
    with LocalCluster(directory / "cluster", options={"max_connections": "300"}) as cluster:
        for account in (ACCOUNT, STRONG_ACCOUNT, OFFLOAD_ACCOUNT):
            cluster.manager.query(f"CREATE USER {account}@'%' IDENTIFIED BY '{password}'")
            cluster.manager.query(f"GRANT ALL PRIVILEGES ON *.* TO {account}@'%' WITH GRANT OPTION")
            cluster.manager.query(f"REVOKE READ_ONLY ADMIN ON *.* FROM {account}@'%'")
        if time_zones:
            load_time_zones(cluster)
        cluster.wait_in_sync()
        used = {server.port for server in cluster.servers}
        port = free_port(used)
        config = cluster_config(cluster, port, free_port(used | {port}))
        with _daemon(directory, cluster, config, password) as scene:
            yield scene


@contextmanager
def open_mysql_scene(directory: Path) -> Iterator[Scene]:
    """The same with MySQL, a source and a replica."""
    password = secrets.token_urlsafe(18)
    pair = MysqlPair(find_mysql(), directory)
    try:
        pair.start()
        for account in (ACCOUNT, STRONG_ACCOUNT, OFFLOAD_ACCOUNT):
            pair.manager.query(f"CREATE USER {account}@'%' IDENTIFIED BY '{password}'")
            pair.manager.query(f"GRANT ALL PRIVILEGES ON *.* TO {account}@'%' WITH GRANT OPTION")
        pair.replica.query("SET GLOBAL super_read_only = ON")
        pair.wait_in_sync()
        used = {server.port for server in pair.servers}
        with _daemon(directory, pair, mysql_pair_config(pair, lambda: _another(used)), password) as scene:
            yield scene
    finally:
        pair.stop()


def _another(used: set[int]) -> int:
    port = free_port(used)
    used.add(port)
    return port


@contextmanager
def _daemon(
    directory: Path, cluster: LocalCluster | MysqlPair, config: dict[str, Any], password: str
) -> Iterator[Scene]:
    config["routing"] = {"strategy": "random", "read_consistency": "session"}
    offload = {"read_consistency": "strong", "autocommit_reads": "offload_any_isolation"}
    config["users"] = [
        {"name": ACCOUNT, "password": password},
        {"name": STRONG_ACCOUNT, "password": password, "read_consistency": "strong"},
        {"name": OFFLOAD_ACCOUNT, "password": password, **offload},
    ]
    folder = directory / "daemon"
    folder.mkdir()
    daemon = Daemon(folder, config)
    daemon.start()
    try:
        daemon.wait_for(
            lambda: daemon.metrics().total("mysqlproxy_server_up") == len(cluster.servers),
            "the daemon sees all servers",
        )
        yield Scene(cluster, daemon, password)
    finally:
        daemon.stop()
