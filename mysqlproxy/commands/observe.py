"""One look at every server, for commands that run beside the daemon. Called by ``check`` and ``explain``.

Blocking; asks with the monitor's account and changes nothing. What is made of the answers is decided where
the daemon decides it: ``cluster.track`` and ``cluster.decide``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pymysql

from mysqlproxy.cluster.catalog_query import ALLOWANCE, read
from mysqlproxy.cluster.catalog_reader import DEADLINE
from mysqlproxy.cluster.decide import decide
from mysqlproxy.cluster.hop import HopProber, in_hops_words
from mysqlproxy.cluster.observation import Probe
from mysqlproxy.cluster.probe import Prober
from mysqlproxy.cluster.pymysql_adapter import LimitedConnection
from mysqlproxy.cluster.track import ServerState, track
from mysqlproxy.cluster.view import ClusterView, Role, ServerView
from mysqlproxy.config.chain import is_hop
from mysqlproxy.config.schema import Config, Server
from mysqlproxy.config.secrets import resolve_secret
from mysqlproxy.errors import ProxyError
from mysqlproxy.sql.catalog import NO_CATALOG, Catalog

AT_ONCE = 16  # threads


def probe_all(config: Config) -> dict[str, Probe]:
    """By server's name; a server that cannot be reached is a failed probe.

    Raises:
        ConfigFault: the monitor's password cannot be had.
    """
    password = resolve_secret(config.monitor.password)
    seconds = max(config.monitor.timeout, config.limits.connect_timeout)

    hop = is_hop(config)

    def probe(server: Server) -> Probe:
        prober: Prober | HopProber = Prober(server, config.monitor.user, password, seconds)
        if hop:
            prober = HopProber(server, seconds)
        try:
            return prober.probe()
        finally:
            prober.close()

    with ThreadPoolExecutor(AT_ONCE, "probe") as threads:
        found = list(threads.map(probe, config.servers))
    return {server.name: probe for server, probe in zip(config.servers, found, strict=True)}


def view_of(config: Config, probes: Mapping[str, Probe]) -> ClusterView:
    """The cluster as a daemon would see it after this one look."""
    states = {name: track(ServerState(), probe, down_after=1, up_after=1) for name, probe in probes.items()}
    view = decide(ClusterView(), config.servers, states, config.monitor, time.monotonic())
    return in_hops_words(view) if is_hop(config) else view


def observe_catalog(config: Config, view: ClusterView) -> Catalog:
    """What names mean, as the daemon would know it; nothing when no server tells.

    Raises:
        ConfigFault: the monitor's password cannot be had.
    """
    asked = None if is_hop(config) else view.manager or next(iter(view.readers), None)
    server = next((one for one in config.servers if asked is not None and one.name == asked.name), None)
    if server is None:
        return NO_CATALOG
    password = resolve_secret(config.monitor.password)
    connection = LimitedConnection(server, config.monitor.user, password, DEADLINE)
    try:
        connection.login()
        connection.begin(DEADLINE, ALLOWANCE)
        return read(connection, generation=1)
    except (pymysql.MySQLError, ProxyError, OSError, ValueError, LookupError, TypeError):
        return NO_CATALOG
    finally:
        with contextlib.suppress(pymysql.MySQLError, OSError):
            connection.close()


def configured_view(config: Config) -> ClusterView:
    """The cluster as the configuration says it should be: all servers up, no pings, no lag."""
    views = tuple(
        ServerView(
            name=server.name,
            role=Role(server.role),
            up=True,
            writable=server.role == "manager",
            maintenance=server.maintenance,
            weight=server.weight,
            lag=0.0,
            replicating=server.role == "worker",
            unreadable=_configured_unreadable(server),
        )
        for server in config.servers
    )
    manager = next((view for view in views if view.role is Role.MANAGER and not view.maintenance), None)
    readers = tuple(view for view in views if not view.unreadable)
    return ClusterView(
        epoch=1,
        servers=views,
        manager=manager,
        no_manager="" if manager else "the manager is in maintenance",
        readers=readers or ((manager,) if manager else ()),
        complete=readers or ((manager,) if manager else ()),
        by_name={view.name: view for view in views},
    )


def _configured_unreadable(server: Server) -> str:
    if server.maintenance:
        return "in maintenance"
    if server.role == "manager":
        return "it is the manager"
    return "its weight is 0" if server.weight == 0 else ""
