"""Who takes reads: how far behind a server is, and why it takes none. Pure; called by ``cluster.decide``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mysqlproxy.cluster.election import NO_RIGHTS, is_candidate, listed, may_ask
from mysqlproxy.cluster.observation import Facts, Thread
from mysqlproxy.cluster.track import Health, ServerState, is_no_replica, lag_of
from mysqlproxy.cluster.view import ServerView
from mysqlproxy.config.schema import Server


def replicates(facts: Facts) -> bool:
    """Whether all its threads run, the IO thread perhaps only looking for its source."""
    active = [source for source in facts.sources or () if not source.inert]
    return bool(active) and all(
        source.io is not Thread.STOPPED and source.sql is Thread.RUNNING for source in active
    )


def source_of(facts: Facts) -> str:
    """Origin of the one server it replicates from; "" for none or several."""
    active = [source for source in facts.sources or () if not source.inert]
    return active[0].origin if len(active) == 1 else ""


def effective_lag(state: ServerState, known: Mapping[str, ServerState], now: float) -> float | None:
    """The lag; while the source is looked for: frozen as long as nobody writes, else growing with time."""
    if state.facts is None:
        return None
    lag = lag_of(state.facts)
    if (
        lag is not None
        or not replicates(state.facts)
        or state.reconnecting_since is None
        or state.lag is None
    ):
        return lag
    # A writer whose last probe failed may be gone: no reason yet to think that there is more to read.
    writers = [one for one in known.values() if is_candidate(one) and not one.failures]
    begun = [one.writable_since for one in writers if one.writable_since is not None]
    if not begun:
        return state.lag
    return state.lag + max(0.0, now - max(state.reconnecting_since, min(begun)))


def why_unreadable(
    view: ServerView,
    chosen: Server | None,
    servers: Sequence[Server],
    known: Mapping[str, ServerState],
    max_replica_lag: float,
) -> str:
    """Why it takes no reads, "" when it does. Texts change only when the reason does, never with a number."""
    state = known[view.name]
    if state.health is Health.UNKNOWN:
        return "not reached yet" + (f": {state.error}" if state.error else "")
    if not state.up or state.facts is None:
        return f"down: {state.error}" if state.error else "down"
    if view.maintenance:
        return "in maintenance"
    if view.weight == 0:
        return "its weight is 0"
    if chosen is not None and view.name == chosen.name:
        return "it is the manager"
    if state.facts.sources is None:
        return NO_RIGHTS.format(may_ask(state.facts))
    if is_no_replica(state.facts):
        return "it replicates from nobody"
    if not view.replicating:
        errnos = sorted({source.errno for source in state.facts.sources if source.errno})
        return "its replication is stopped" + (f" (error {listed(map(str, errnos))})" if errnos else "")
    if chosen is not None and (foreign := _foreign_source(view.name, chosen.name, servers, known)):
        return f"it replicates from {foreign}, which does not replicate from the manager {chosen.name}"
    if view.lag is None:
        # With nobody to write, what it has stays what there is: reads go on.
        if (
            chosen is None
            and state.reconnecting_since is not None
            and not any(map(is_candidate, known.values()))
        ):
            return ""
        return "its lag is unknown"
    if view.lag > max_replica_lag:
        return f"it lags more than {max_replica_lag:g} s"
    return ""


def why_partial(name: str, servers: Sequence[Server], known: Mapping[str, ServerState]) -> str:
    """Why it may lack for good what the manager has: a filter on its way; "" when there is none.

    Which statements a filter leaves out depends on default schemas and binlog_format as much as on what they name:
    hence no schema and no table of such a server is trusted.
    """
    by_origin = {facts.origin: server.name for server in servers if (facts := known[server.name].facts)}
    waiting, seen = [name], {name}
    while waiting:
        replica = waiting.pop()
        facts = known[replica].facts
        for source in (facts.sources if facts else None) or ():
            if source.filters and not source.inert:
                return f"{replica} has replication filters ({source.filters})"
            origin = by_origin.get(source.origin, "")
            if not origin or origin in seen or source.inert:
                continue
            of_source = known[origin].facts
            if of_source is not None and of_source.log_filters is None:
                return (
                    f"the monitor's account may not ask what {origin} leaves out of its binary log; "
                    "mysqlproxy check --connect has the GRANT"
                )
            if of_source is not None and of_source.log_filters:
                return f"{origin} leaves something out of its binary log ({of_source.log_filters})"
            seen.add(origin)
            waiting.append(origin)
    return ""


def _foreign_source(
    name: str, manager: str, servers: Sequence[Server], known: Mapping[str, ServerState]
) -> str:
    """The server of ours that ends the chain of sources without being the manager; "" when all is well.

    A source that is none of ours may well be a relay of the manager, hence passes.
    """
    by_origin = {facts.origin: server.name for server in servers if (facts := known[server.name].facts)}
    seen: set[str] = set()
    while name != manager and name not in seen:
        seen.add(name)
        facts = known[name].facts
        sources = [source for source in (facts.sources if facts else None) or () if not source.inert]
        ours = [by_origin[source.origin] for source in sources if source.origin in by_origin]
        if not sources:
            return name
        if not ours or manager in ours:
            return ""
        name = ours[0]
    return "" if name == manager else name
