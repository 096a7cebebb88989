"""The workload of the demo: for each strategy, writes and reads over a plain client connection, and who
served them.

Called by ``demo.command``. The servers' general logs say who was asked what; the daemon's metrics are read
before and after. Each strategy has a table and an account of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mysqlproxy.demo.daemon import Daemon, Metrics
from mysqlproxy.demo.errors import LocalClusterError
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.demo.report import Count, Outcome

STRATEGIES = ("direct", "random", "customized")
ROUNDS = 20  # each a write, and a read of what was written
SYNC_SECONDS = 30.0


def accounts(cluster: LocalCluster) -> list[dict[str, Any]]:
    """An account for each strategy, named after it; on the servers all of them are ``app``."""
    password = cluster.passwords["app"]
    return [
        {
            "name": strategy,
            "password": password,
            "server_user": "app",
            "server_password": password,
            "strategy": strategy,
        }
        for strategy in STRATEGIES
    ]


def create_tables(cluster: LocalCluster) -> None:
    """The tables, before the daemon starts: a name that is new to it counts as no plain read for a moment.

    Raises:
        LocalClusterError: a worker did not catch up.
    """
    for strategy in STRATEGIES:
        columns = "(id INT PRIMARY KEY, note VARCHAR(40) NOT NULL)"
        cluster.manager.query(f"CREATE TABLE {strategy}_table {columns}", schema="app")
    cluster.wait_in_sync(SYNC_SECONDS)


def run(
    cluster: LocalCluster,
    daemon: Daemon,
    progress: Callable[[str], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Outcome]:
    """Run it for all strategies over one connection each; the rows are counted when every worker has caught up.

    Raises:
        LocalClusterError: a worker did not catch up, or ``cancelled`` said so.
        pymysql.MySQLError: a statement failed.
    """

    def over_a_connection(strategy: str) -> int:
        name = f"{strategy}_table"
        stale = 0
        with daemon.connect(strategy, database="app") as connection:
            cursor = connection.cursor()
            for number in range(ROUNDS):
                _stop_if(cancelled)
                cursor.execute(f"INSERT INTO {name} VALUES (%s, %s)", (number, f"row {number}"))  # noqa: S608
                cursor.execute(f"SELECT note FROM {name} WHERE id = %s", (number,))  # noqa: S608
                stale += cursor.fetchall() != ((f"row {number}",),)
        return stale

    return [observe(cluster, daemon, strategy, over_a_connection, progress) for strategy in STRATEGIES]


def observe(
    cluster: LocalCluster,
    daemon: Daemon,
    strategy: str,
    send: Callable[[str], int],
    progress: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """One strategy's part, and who served it.

    Args:
        daemon: whose metrics count; in a chain the proxy.
        send: sends the statements and tells how many reads did not see what was written.
    """
    progress(f"{ROUNDS} writes and {ROUNDS} reads with the strategy {strategy}")
    name = f"{strategy}_table"
    before = daemon.metrics()
    for server in cluster.servers:
        server.general_log.mark()
    stale = send(strategy)
    after = daemon.metrics()
    served = {
        server.name: Count(
            len(server.served(rf"^INSERT INTO {name}\b")), len(server.served(rf" FROM {name}\b"))
        )
        for server in cluster.servers
    }
    cluster.wait_in_sync(SYNC_SECONDS)
    return Outcome(
        strategy=strategy,
        served=served,
        reported={server.name: _growth(before, after, server.name, strategy) for server in cluster.servers},
        rows={
            server.name: int(server.value(f"SELECT COUNT(*) FROM app.{name}"))  # noqa: S608
            for server in cluster.servers
        },
        stale=stale,
    )


def _growth(before: Metrics, after: Metrics, server: str, strategy: str) -> Count:
    def grown(kind: str) -> int:
        labels = {"server": server, "strategy": strategy, "kind": kind}
        name = "mysqlproxy_statements_total"
        return int(after.total(name, **labels) - before.total(name, **labels))

    return Count(writes=grown("write"), reads=grown("read"))


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise LocalClusterError("interrupted during the workload")
