"""Who takes writes: the one server that is writable and replicates from nobody, or why there is none.

Pure; called by ``cluster.decide``. In doubt nobody takes writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mysqlproxy.cluster.divergence import GRACE, lacking
from mysqlproxy.cluster.observation import Facts
from mysqlproxy.cluster.track import ServerState, is_no_replica
from mysqlproxy.config.schema import Monitor, Server

NO_RIGHTS = (
    "the monitor's account may not ask for its replica status ({}); mysqlproxy check --connect has the GRANT"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the election came to.

    Attributes:
        manager: the server that holds the epoch, or None.
        reason: why there is none, for the client and the log; "" when there is one.
        alerts: sentences, each ``kind: what``; what changes with every transaction is in parentheses.
    """

    manager: Server | None
    reason: str = ""
    alerts: tuple[str, ...] = ()


def is_candidate(state: ServerState) -> bool:
    """Up, not read only, and known to replicate from nobody."""
    return state.up and state.facts is not None and not state.facts.read_only and is_no_replica(state.facts)


def elect(
    holder: str, servers: Sequence[Server], known: Mapping[str, ServerState], policy: Monitor
) -> Outcome:
    """The manager.

    Args:
        holder: ``ClusterView.holder`` of the last view.
        servers: in the configuration's order; ``known`` has a state for each.
        policy: on_two_managers is used: "configured" goes on with the configured one, also when it is behind.
    """
    candidates = [server for server in servers if is_candidate(known[server.name])]
    # Whom the operator drains competes with nobody.
    competing = [server for server in candidates if not server.maintenance] or candidates
    if not competing:
        return Outcome(None, _nobody(servers, known))
    expected = [server for server in competing if server.role == "manager"]
    go_on = policy.on_two_managers == "configured" and len(expected) == 1
    chosen = expected[0] if go_on else competing[0]
    alerts: list[str] = []
    if len(competing) > 1:
        names = listed(server.name for server in competing)
        alerts.append(
            f"two managers: {names} take writes and replicate from nobody; "
            + (
                f"writes go to {chosen.name}, as configured"
                if go_on
                else "writes are refused until one remains"
            )
        )
        if not go_on:
            return Outcome(None, f"more than one server would take writes ({names})", tuple(alerts))
    ahead = _compare(holder, chosen, servers, known, alerts, go_on=go_on)
    if ahead and not go_on:
        reason = f"the manager {chosen.name} lacks transactions of its own that are on {listed(ahead)}"
        return Outcome(None, reason, tuple(alerts))
    return Outcome(chosen, "", tuple(alerts))


def may_ask(facts: Facts) -> str:
    """Which privilege shows the replica status."""
    return "SLAVE MONITOR" if facts.mariadb else "REPLICATION CLIENT"


def listed(words: Iterable[str]) -> str:
    """Words for a sentence."""
    return " and ".join(words)


def _compare(
    holder: str,
    chosen: Server,
    servers: Sequence[Server],
    known: Mapping[str, ServerState],
    alerts: list[str],
    *,
    go_on: bool,
) -> list[str]:
    """The names of the workers that have what the manager lost; alerts are added."""
    state = known[chosen.name]
    since = state.writable_since
    at_work = (
        holder == f"{chosen.name}#{state.incarnation}"
        and since is not None
        and state.history[-1].started - since >= GRACE
    )
    ahead: list[str] = []
    for server in servers:
        if server.name == chosen.name or server.maintenance or not known[server.name].up:
            continue
        found = lacking(known[server.name], state, at_work=at_work)
        if found is None:
            continue
        if found.own:
            ahead.append(server.name)
            alerts.append(
                f"manager behind: {chosen.name} lacks transactions of its own that are on {server.name} "
                f"({_short(found.own)}); "
                + ("writes go on, as configured" if go_on else "writes are refused until that is resolved")
            )
        if found.errant:
            alerts.append(
                f"errant transactions: {server.name} has some that the manager {chosen.name} lacks "
                f"({_short(found.errant)})"
            )
    return ahead


def _nobody(servers: Sequence[Server], known: Mapping[str, ServerState]) -> str:
    """Why there is no manager: about the configured one, if there is one."""
    states = list(known.values())
    if all(state.facts is None for state in states):
        return "no server has been reached yet"
    for server in servers:
        state = known[server.name]
        if server.role != "manager":
            continue
        if not state.up or state.facts is None:
            return f"the manager {server.name} is down"
        if state.facts.sources is None:
            return f"the manager {server.name} is not known to replicate from nobody: " + NO_RIGHTS.format(
                may_ask(state.facts)
            )
        if state.facts.read_only:
            return f"the manager {server.name} is read only"
        return f"the manager {server.name} is a replica of another server"
    return "no server takes writes: all are down, read only or replicas"


def _short(gtids: str) -> str:
    return gtids if len(gtids) <= 120 else gtids[:117] + "..."
