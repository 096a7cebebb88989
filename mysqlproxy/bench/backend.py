"""The servers behind everything that is measured: a local cluster's, or those of a configuration.

Made by ``bench.site``. Opens no connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mysqlproxy.bench.errors import BenchError
from mysqlproxy.bench.plan import CUSTOMIZED, PROXY, RANDOM
from mysqlproxy.bench.sysbench import Login
from mysqlproxy.config.addresses import Address, parse_address
from mysqlproxy.config.load import load, shipped_rules
from mysqlproxy.config.schema import Config, User
from mysqlproxy.config.secrets import resolve_secret
from mysqlproxy.demo.daemon import cluster_config
from mysqlproxy.demo.local import LocalCluster

# 256 clients, and those of a strategy's turn before that still hold connections to the manager.
SERVER_CONNECTIONS = 600
STRATEGY_OF = {PROXY: "direct", RANDOM: "random", CUSTOMIZED: "customized"}


@dataclass(frozen=True, slots=True)
class Backend:
    """Attributes:
    manager, workers: a login to each, as the account of the benchmark.
    servers, monitor: sections of a configuration.
    rules: the firewall's files; it is on in every row.
    """

    manager: Login
    workers: Sequence[Login]
    servers: Sequence[Mapping[str, Any]]
    monitor: Mapping[str, Any]
    rules: Sequence[str]

    def config(self, port: int, http_port: int, tls: Mapping[str, str]) -> dict[str, Any]:
        """For a daemon with an account for each strategy, named after the target; on the servers all are one."""
        password = self.manager.password
        users = [
            {
                "name": name,
                "password": password,
                "server_user": self.manager.user,
                "server_password": password,
                "strategy": strategy,
            }
            for name, strategy in STRATEGY_OF.items()
        ]
        return {
            "listen": {"mysql": [f"127.0.0.1:{port}"], "http": f"127.0.0.1:{http_port}"},
            "tls": dict(tls),
            "limits": {"drain_timeout": 2.0},
            "monitor": dict(self.monitor),
            "routing": {"rules": list(self.rules)},
            "servers": [dict(server) for server in self.servers],
            "users": users,
        }


def of_cluster(cluster: LocalCluster) -> Backend:
    """A local cluster's servers, as its account app in its schema app."""
    logins = [
        Login("127.0.0.1", server.port, "app", cluster.passwords["app"], "app") for server in cluster.servers
    ]
    return Backend(
        manager=logins[0],
        workers=logins[1:],
        servers=[
            server | {"max_connections": SERVER_CONNECTIONS}
            for server in cluster_config(cluster, 0, 0)["servers"]
        ],
        monitor={"user": "monitor", "password": cluster.passwords["monitor"]},
        rules=[
            str(shipped_rules("default"))
        ],  # by its path: the copy that is not compiled has no rules beside it
    )


def of_config(path: Path, user: str, schema: str) -> Backend:
    """The servers of a configuration, as one of its accounts is on them.

    Args:
        path: the configuration.
        user: the account's name; "" for the first that has a password.
        schema: where it may make and drop tables.

    Raises:
        ConfigFault: the configuration's faults.
        BenchError: no such account, or the manager has no TCP address.
    """
    config = load(path)
    account = _account(config, user)
    name = account.server_user or account.name
    secret = account.server_password if account.server_password is not None else account.password
    assert secret is not None
    password = resolve_secret(secret)

    def login(text: str) -> Login:
        address: Address = parse_address(text)
        if address.path:
            raise BenchError(f"{address}: sysbench and HAProxy need a host and a port; give the server's")
        return Login(address.host, address.port, name, password, schema)

    managers = [login(server.address) for server in config.servers if server.role == "manager"]
    if not managers:
        raise BenchError(f"{path}: no server has the role manager")
    monitor = config.monitor.model_dump(mode="json", exclude_none=True)
    return Backend(
        manager=managers[0],
        workers=[
            login(server.address)
            for server in config.servers
            if server.role == "worker" and not server.maintenance
        ],
        servers=[server.model_dump(mode="json", exclude_none=True) for server in config.servers],
        monitor=monitor | {"password": resolve_secret(config.monitor.password)},
        rules=[str(file) for file in config.routing.rules],
    )


def _account(config: Config, name: str) -> User:
    for user in config.users:
        if name in {"", user.name} and (user.server_password is not None or user.password is not None):
            return user
    whose = f"the account {name!r} with a password" if name else "an account with a password"
    raise BenchError(f"the configuration has not {whose} for the servers; name one with --user")
