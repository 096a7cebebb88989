"""Three daemons in a row on 127.0.0.1, in front of the shared cluster."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mysqlproxy.cli import main
from mysqlproxy.demo import local
from mysqlproxy.demo.chain_config import Place, chain_configs
from mysqlproxy.demo.daemon import Daemon, cluster_config
from mysqlproxy.demo.local import LocalCluster
from tests.conftest import Factory, merge
from tests.support.mysql import MysqlPair
from tests.support.waiting import eventually

ACCOUNTS: dict[str, dict[str, Any]] = {
    "app": {},
    "other": {"strategy": "direct"},
    "near": {"allow_from": ["127.0.0.7/32"]},
    "single": {},
    "loose": {"strategy": "random", "read_consistency": "eventual"},
    "hasty": {"statement_timeout": 0.5},
}
PASSWORDS = {name: f"{name}, at the gatekeeper" for name in (*ACCOUNTS, "stranger")}

ROLES = ("proxy", "trusted_host", "gatekeeper")  # in the order of starting


class ChainOfDaemons:
    """The three, by role; ``pki`` is the folder of their keys."""

    def __init__(self, daemons: dict[str, Daemon], pki: Path) -> None:
        self.daemons = daemons
        self.pki = pki
        self.gatekeeper, self.trusted_host, self.proxy = (
            daemons[role] for role in ("gatekeeper", "trusted_host", "proxy")
        )

    def ready(self) -> bool:
        """Whether a client could be served now."""
        return all(daemon.get("/readyz")[0] == 200 for daemon in self.daemons.values())


def make_pki(folder: Path, *more: str) -> Path:
    """Keys for 127.0.0.1."""
    hosts = ("--gatekeeper", "127.0.0.1", "--trusted-host", "127.0.0.1", "--proxy", "127.0.0.1")
    assert main(["pki", "--dir", str(folder), *hosts, *more]) == 0
    return folder


def configs_for(cluster: LocalCluster | MysqlPair, pki: Path, taken: set[int]) -> dict[str, dict[str, Any]]:
    """The three configurations, on free ports."""

    def place() -> Place:
        ports = []
        for _ in range(2):
            ports.append(local.free_port(taken))
            taken.add(ports[-1])
        return Place(f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", "127.0.0.1/32")

    single = cluster_config(cluster, 0, 0)
    password = cluster.passwords["app"]
    return chain_configs(
        pki,
        place(),
        place(),
        place(),
        monitor=single["monitor"],
        servers=single["servers"],
        logins=PASSWORDS,
        accounts=[
            {"name": name, "server_user": "app", "server_password": password, **more}
            for name, more in ACCOUNTS.items()
        ],
    )


@contextlib.contextmanager
def standing_chain(cluster: LocalCluster | MysqlPair, **changes: dict[str, Any]) -> Iterator[ChainOfDaemons]:
    """A chain for a whole module; ``changes`` are sections by role."""
    cluster.reset()
    directory = Path(tempfile.mkdtemp(prefix="mysqlproxy-test-"))
    taken: set[int] = set()
    factory = Factory(directory, lambda: local.free_port(taken))
    try:
        pki = make_pki(directory / "pki")
        configs = configs_for(cluster, pki, taken)
        next(user for user in configs["gatekeeper"]["users"] if user["name"] == "single")[
            "max_connections"
        ] = 1
        daemons = {}
        for role in ROLES:
            daemons[role] = factory.start(merge(configs[role], changes.get(role, {})))
        chain = ChainOfDaemons(daemons, pki)
        eventually(chain.ready)
        yield chain
        factory.check()
    finally:
        factory.kill()
        shutil.rmtree(directory, ignore_errors=True)
