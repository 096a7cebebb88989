"""What a client program meets: the daemon in front of a cluster, and what that cluster's servers say they were asked.

Made by the ``site`` fixture of this folder, for MariaDB and for MySQL. Clients only get an address and an account.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.support.mysql import MysqlPair
from tests.support.waiting import eventually

TEXT = "naïve 日本 🦆"
BYTES = bytes(range(256))
DAY, MOMENT = "2024-02-29", "2024-02-29 23:59:59.123456"
PRICE = "12345678901234.567890"
BIG, NEGATIVE = str(2**64 - 1), str(-(2**63))
COLUMNS = "name, bytes, nothing, day, moment, price, big, negative"
ROW: list[str | None] = [TEXT, BYTES.hex(), None, DAY, MOMENT, PRICE, BIG, NEGATIVE]

_TYPES = (
    "name VARCHAR(100), bytes LONGBLOB, nothing INT, day DATE, moment DATETIME(6), price DECIMAL(20,6), "
    "big BIGINT UNSIGNED, negative BIGINT"
)
TABLES = (
    f"CREATE TABLE app.fixed (id INT PRIMARY KEY, {_TYPES}) CHARACTER SET utf8mb4",
    f"CREATE TABLE app.things (id INT AUTO_INCREMENT PRIMARY KEY, {_TYPES}, UNIQUE (name)) CHARACTER SET utf8mb4",
    "CREATE PROCEDURE app.two_results() BEGIN SELECT 1 AS one; SELECT 2 AS two; END",
)
OFFLOAD = "offload"  # an account: ``app`` whose reads leave the manager until its transaction writes or locks
WRITES = r"^\s*(INSERT|UPDATE|DELETE|REPLACE|CREATE|DROP|ALTER|CALL|LOAD)\b"


@dataclass
class Site:
    """One daemon in front of one cluster, with the tables ``fixed`` (a row: ``ROW``) and ``things`` in ``app``.

    Attributes:
        kind: mariadb or mysql.
        servers: the manager first, then the workers; LocalServer or MysqlServer.
        password: of the account ``app``.
        ask: server, pattern -> how many statements of clients that matched it received since the fixture began.
        wait_in_sync: returns when the workers have applied everything.
    """

    kind: str
    daemon: Daemon
    servers: list[Any]
    password: str
    ask: Callable[[Any, str], int]
    wait_in_sync: Callable[[], None]
    host: str = "127.0.0.1"
    user: str = "app"
    schema: str = "app"
    _reads: float = field(default=0.0, init=False)

    @property
    def port(self) -> int:
        return self.daemon.port

    @property
    def manager(self) -> Any:
        return self.servers[0]

    def prepare(self) -> None:
        """Make and fill the tables, on the manager itself."""
        for statement in TABLES:
            self.manager.query(statement)
        values: list[Any] = [TEXT, BYTES, None, DAY, MOMENT, PRICE, BIG, NEGATIVE]
        self.manager.query(
            f"INSERT INTO app.fixed (id, {COLUMNS}) VALUES (1, %s, %s, %s, %s, %s, %s, %s, %s)", values
        )
        self.wait_for_tables("fixed", "things")
        self._reads = self._worker_reads()

    def wait_for_tables(self, *names: str) -> None:
        """Return when the workers have these tables and the daemon knows that they are tables and no views."""
        self.wait_in_sync()

        def known(name: str) -> bool:
            before = self._worker_reads()
            with self.daemon.connect(database=self.schema) as connection:
                connection.cursor().execute(f"SELECT COUNT(*) FROM `{name}`")
            return self._worker_reads() > before

        for name in names:
            eventually(lambda name=name: known(name), what=f"reads of {name} go to workers")

    def arguments(self, **names: str) -> dict[str, Any]:
        """host, port, user, password, database as keyword arguments; ``names`` renames some."""
        values = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "database": self.schema,
        }
        return {names.get(name, name): value for name, value in values.items()}

    def served(self, pattern: str) -> tuple[int, int]:
        """How many statements that match were received by the manager, and by all workers together."""
        counts = [self.ask(server, pattern) for server in self.servers]
        return counts[0], sum(counts[1:])

    def assert_routed(self) -> None:
        """Plain autocommit reads went to workers, everything that writes or is in a transaction to the manager.

        Reads are told by the column they name: ``plain`` or ``in_transaction``.
        """
        manager, workers = self.served(r"\bplain\b")
        reasons = self.daemon.metrics().get("mysqlproxy_reads_on_manager_total")
        assert manager == 0, f"the manager served {manager} plain reads, {workers} the workers: {reasons}"
        assert workers >= 1, "no worker served a plain read"
        counted = self._worker_reads() - self._reads
        assert counted >= workers, f"the metrics count {counted} reads of workers, their logs {workers}"
        for pattern in (WRITES, r"\bin_transaction\b"):
            manager, workers = self.served(pattern)
            assert manager >= 1, f"the manager was asked nothing like {pattern}"
            assert workers == 0, f"workers were asked {workers} statements like {pattern}"
        metrics = self.daemon.metrics()
        for server in self.daemon.config["servers"][1:]:
            assert metrics.total("mysqlproxy_statements_total", server=server["name"], kind="write") == 0

    def _worker_reads(self) -> float:
        metrics = self.daemon.metrics()
        names = [server["name"] for server in self.daemon.config["servers"][1:]]
        return sum(metrics.total("mysqlproxy_statements_total", server=n, kind="read") for n in names)


def mariadb_site(cluster: LocalCluster, daemon: Daemon) -> Site:
    """The site of the MariaDB cluster."""

    def ask(server: Any, pattern: str) -> int:
        return len(server.served(pattern))

    return Site("mariadb", daemon, cluster.servers, cluster.passwords["app"], ask, cluster.wait_in_sync)


def mysql_site(pair: MysqlPair, daemon: Daemon) -> Site:
    """The site of the MySQL pair; its general logs are written from here on, as tables."""
    for server in pair.servers:
        server.query("SET GLOBAL general_log = OFF")
        server.query("TRUNCATE mysql.general_log")
        server.query("SET GLOBAL log_output = 'TABLE'")
        server.query("SET GLOBAL general_log = ON")

    def ask(server: Any, pattern: str) -> int:
        rows = server.query(
            "SELECT CONVERT(LEFT(argument, 2000) USING latin1) AS text FROM mysql.general_log "
            "WHERE command_type IN ('Query', 'Execute') AND user_host LIKE 'app[%%'",
            (),
        )
        return sum(bool(re.search(pattern, row["text"], re.I | re.S)) for row in rows)

    return Site("mysql", daemon, pair.servers, pair.passwords["app"], ask, pair.wait_in_sync)


def mysql_config(pair: MysqlPair, port: int, http_port: int) -> dict[str, Any]:
    """A configuration for the pair with the account ``app``."""
    return {
        "listen": {"mysql": [f"127.0.0.1:{port}"], "http": f"127.0.0.1:{http_port}"},
        "limits": {"drain_timeout": 5.0},
        "monitor": {"user": "monitor", "password": pair.passwords["monitor"], "interval": 0.25},
        "routing": ROUTING,
        "servers": [
            {"name": "source", "address": pair.source.address, "role": "manager"},
            {"name": "replica", "address": pair.replica.address, "role": "worker"},
        ],
        "users": users(pair.passwords["app"]),
    }


def users(password: str) -> list[dict[str, Any]]:
    """``[[users]]``: the account ``app`` twice."""
    app = {"name": "app", "password": password}
    same = {"server_user": "app", "server_password": password}
    return [app, {"name": OFFLOAD, "password": password, "autocommit_reads": "offload", **same}]


# A read waits for what its session wrote as long as it takes, so that where it goes does not depend on the machine.
ROUTING: dict[str, Any] = {"strategy": "random", "consistency_wait": 20.0}
