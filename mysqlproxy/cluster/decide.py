"""From what is known of each server to the view of the cluster: who takes writes, who reads, what is wrong.

Pure: no clock, no I/O. Called by ``cluster.monitor`` after every probe and every change of configuration; its
view is what routing and the pool work with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mysqlproxy.cluster.election import NO_RIGHTS, elect, is_candidate, may_ask
from mysqlproxy.cluster.readable import effective_lag, replicates, source_of, why_partial, why_unreadable
from mysqlproxy.cluster.track import ServerState
from mysqlproxy.cluster.view import ClusterView, Role, ServerView
from mysqlproxy.config.schema import Monitor, Server


def decide(
    previous: ClusterView,
    servers: Sequence[Server],
    states: Mapping[str, ServerState],
    policy: Monitor,
    now: float,
) -> ClusterView:
    """The view that follows.

    Args:
        previous: the last view, for the epoch and what is kept when nobody can be asked.
        servers: in the configuration's order.
        states: by name; a server without one has not been probed.
        policy: max_replica_lag and on_two_managers are used.
        now: time.monotonic.
    """
    known = {server.name: states.get(server.name, ServerState()) for server in servers}
    outcome = elect(previous.holder, servers, known, policy)
    chosen, no_manager = outcome.manager, outcome.reason
    views = {server.name: _server_view(server, known, now) for server in servers}
    for name, view in views.items():
        reason = why_unreadable(view, chosen, servers, known, policy.max_replica_lag)
        partial = "" if chosen is not None and name == chosen.name else why_partial(name, servers, known)
        views[name] = replace(view, unreadable=reason, partial=partial)
    if chosen is not None and chosen.maintenance:
        no_manager = f"the manager {chosen.name} is in maintenance"
    elif chosen is not None and all(view.unreadable for view in views.values()):
        views[chosen.name] = replace(views[chosen.name], unreadable="")
    holder = f"{chosen.name}#{known[chosen.name].incarnation}" if chosen is not None else ""
    in_order = tuple(views.values())
    readers = tuple(view for view in in_order if not view.unreadable)
    version, mariadb, capabilities = _greeting(previous, chosen, in_order)
    return ClusterView(
        epoch=previous.epoch + (holder != previous.holder),
        servers=in_order,
        manager=views[chosen.name] if chosen is not None and not no_manager else None,
        no_manager=no_manager,
        readers=readers,
        complete=tuple(view for view in readers if not view.partial),
        alerts=(*outcome.alerts, *_expectations(chosen, in_order, known)),
        version=version,
        capabilities=capabilities,
        mariadb=mariadb,
        sql_mode=views[chosen.name].sql_mode if chosen is not None else previous.sql_mode,
        isolation=views[chosen.name].isolation if chosen is not None else previous.isolation,
        holder=holder,
        by_name=views,
    )


def why(server: ServerView) -> str:
    """Why a server takes reads or does not, for ``explain`` and the status page."""
    if server.unreadable:
        return f"{server.name} takes no reads: {server.unreadable}"
    lag = "unknown, its source is gone" if server.lag is None else f"{server.lag:g} s"
    only = f", only with read_consistency eventual: {server.partial}" if server.partial else ""
    return f"{server.name} takes reads: up, replicating, lag {lag}{only}"


def _server_view(server: Server, known: Mapping[str, ServerState], now: float) -> ServerView:
    state = known[server.name]
    view = ServerView(
        name=server.name,
        role=Role(server.role),
        up=state.up,
        writable=is_candidate(state),
        maintenance=server.maintenance,
        weight=server.weight,
        ping=state.ping if state.up else float("inf"),
        incarnation=state.incarnation,
        of_before=state.of_before,
        histories=state.histories,
    )
    facts = state.facts
    if facts is None:
        return view
    return replace(
        view,
        lag=effective_lag(state, known, now) if state.up else None,
        replicating=state.up and replicates(facts),
        version=facts.version,
        capabilities=facts.capabilities,
        mariadb=facts.mariadb,
        origin=facts.origin,
        source=source_of(facts),
        position=facts.position,
        lower_case_table_names=facts.lower_case_table_names,
        wait_timeout=facts.wait_timeout,
        init_connect=facts.init_connect,
        autocommit=facts.autocommit,
        max_packet=facts.max_packet,
        sql_mode=facts.sql_mode,
        isolation=facts.isolation,
        observed=state.observed,
        observed_until=state.observed_until,
    )


def _expectations(
    chosen: Server | None, views: Sequence[ServerView], known: Mapping[str, ServerState]
) -> list[str]:
    """Alerts about servers that are not what the configuration says."""
    alerts = []
    if chosen is not None and chosen.role != "manager":
        alerts.append(f"role: {chosen.name} is the manager, but configured as a worker")
    for view in views:
        facts = known[view.name].facts
        if view.up and facts is not None and facts.sources is None:
            alerts.append(f"grants: on {view.name} " + NO_RIGHTS.format(may_ask(facts)))
    if len({view.mariadb for view in views if view.version}) > 1:
        alerts.append("kinds: MariaDB and MySQL servers are mixed; clients see the manager's kind")
    return alerts


def _greeting(
    previous: ClusterView, chosen: Server | None, views: Sequence[ServerView]
) -> tuple[str, bool, int]:
    """Version, kind and capabilities for the greeting: the lowest version, and what all can do."""
    seen = [view for view in views if view.version]
    if not seen:
        return previous.version, previous.mariadb, previous.capabilities
    kinds = {view.mariadb for view in seen}
    mariadb = kinds.pop() if len(kinds) == 1 else previous.mariadb
    leading = next((view for view in seen if chosen is not None and view.name == chosen.name), None)
    if leading is not None:
        mariadb = leading.mariadb
    lowest = min(
        (view for view in seen if view.mariadb == mariadb), key=lambda view: version_key(view.version)
    )
    capabilities = seen[0].capabilities
    for view in seen[1:]:
        capabilities &= view.capabilities
    return lowest.version, mariadb, capabilities


def version_key(version: str) -> tuple[int, ...]:
    """The numbers of a version for comparing; MariaDB 10 and later put "5.5.5-" in front of theirs."""
    found = re.match(r"\d+(?:\.\d+)*", version.removeprefix("5.5.5-"))
    return tuple(int(part) for part in found[0].split(".")) if found else ()
