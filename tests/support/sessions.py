"""What tests of sessions and pools say of clients and servers, in a word each."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mysqlproxy.demo import local
from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.demo.server import LocalServer
from tests.conftest import Factory, merge
from tests.support.mysql import MysqlPair
from tests.support.waiting import eventually


def ask(connection: Any, sql: str, args: Any = None) -> list[tuple[Any, ...]]:
    """The rows of one statement."""
    with connection.cursor() as cursor:
        cursor.execute(sql, args)
        return list(cursor.fetchall())


def value(connection: Any, sql: str, args: Any = None) -> Any:
    """The first column of the first row."""
    return ask(connection, sql, args)[0][0]


def servers(cluster: LocalCluster, **changes: Any) -> list[dict[str, Any]]:
    """``[[servers]]`` of the cluster with these settings for each; ``worker1={...}`` changes that one only."""
    names = {server.name for server in cluster.servers}
    common = {key: setting for key, setting in changes.items() if key not in names}
    return [
        {
            "name": server.name,
            "address": server.address,
            "role": "manager" if server is cluster.manager else "worker",
            **common,
            **changes.get(server.name, {}),
        }
        for server in cluster.servers
    ]


def threads(server: LocalServer, user: str = "app") -> dict[int, Mapping[str, Any]]:
    """The server's own list of this account's connections, by thread id."""
    rows = server.query("SELECT * FROM information_schema.PROCESSLIST WHERE USER = %s", (user,))
    return {row["ID"]: row for row in rows}


def only_manager(cluster: LocalCluster, **changes: Any) -> dict[str, Any]:
    """Sections for a daemon that sends everything to the manager, to which it may have one connection."""
    return {
        "servers": servers(cluster, manager={"max_connections": 1} | changes),
        "routing": {"strategy": "direct"},
        "limits": {"pool_wait": 0.3, "drain_timeout": 2.0},
    }


def errno(error: BaseException) -> int:
    return int(error.args[0])


@contextlib.contextmanager
def standing(cluster: LocalCluster, **sections: Any) -> Iterator[Daemon]:
    """A daemon for the tests of a whole module, in front of a cluster that is as good as new at the begin."""
    cluster.reset()
    directory = Path(tempfile.mkdtemp(prefix="mysqlproxy-test-"))
    factory = Factory(directory, local.free_port)
    try:
        yield factory.start(merge(factory.config(cluster), sections))
        factory.check()
    finally:
        factory.kill()
        shutil.rmtree(directory, ignore_errors=True)


def mysql_pair_config(pair: MysqlPair, free_port: Callable[[], int], **sections: Any) -> dict[str, Any]:
    """A whole configuration in front of the pair; ``monitor`` is merged with the account."""
    servers = [
        {"name": server.name, "address": server.address, "role": role}
        for server, role in zip(pair.servers, ("manager", "worker"), strict=True)
    ]
    monitor = {"user": "monitor", "password": pair.passwords["monitor"], "interval": 0.25}
    return {
        "listen": {"mysql": [f"127.0.0.1:{free_port()}"], "http": f"127.0.0.1:{free_port()}"},
        "servers": servers,
        "users": [{"name": "app", "password": pair.passwords["app"]}],
        **sections,
        "monitor": monitor | sections.get("monitor", {}),
    }


def all_left(daemon: Daemon) -> None:
    """Let all clients go, and return when the daemon has noticed."""
    daemon.disconnect()
    eventually(lambda: daemon.metrics().total("mysqlproxy_client_connections") == 0)


def reload(daemon: Daemon, outcome: str = "reloaded ") -> None:
    """SIGHUP, and return when the log says that it was taken (or with ``outcome="reload refused"``, refused)."""
    seen = len(daemon.log())
    daemon.reload()
    eventually(lambda: outcome in daemon.log()[seen:], what=outcome)
