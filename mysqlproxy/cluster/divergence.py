"""Whether a manager lacks transactions that a worker has, told from their GTIDs.

Pure; called by ``cluster.election``.

Two probes are never simultaneous, so only a worker's position that was read before the manager's probe began
is compared: what the worker had then, the manager must have had, too. A MySQL source shows a transaction in
gtid_executed a moment after its replicas may have it (it is sent after the sync, before the commit; under
semi-synchronous replication it waits for them), hence the grace for a manager that is at work.
"""

from __future__ import annotations

from dataclasses import dataclass

from mysqlproxy.cluster.gtid import GtidSet
from mysqlproxy.cluster.observation import Facts
from mysqlproxy.cluster.track import ServerState

GRACE = 2.0
"""Seconds that a transaction of a working manager may be known to a worker only."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """What the manager lacks of one worker.

    Attributes:
        own: transactions that the manager itself had executed: it lost them, and came back without them.
        errant: transactions of other origin, the worker's own as a rule; "" for none.
    """

    own: str
    errant: str


def lacking(worker: ServerState, manager: ServerState, *, at_work: bool) -> Lacking | None:
    """What ``manager`` lacks of what ``worker`` had before; None when there is nothing to compare.

    Args:
        at_work: it has been the manager for a while without a break, so that GRACE applies.
    """
    if not manager.history:
        return None
    latest = manager.history[-1]
    until = latest.started - (GRACE if at_work else 0.0)
    before = next((seen for seen in reversed(worker.history) if seen.ended <= until), None)
    if before is None or before.facts.mariadb != latest.facts.mariadb:
        return None
    if latest.facts.mariadb:
        return _mariadb(before.facts, latest.facts)
    if before.facts.position is None or latest.facts.position is None:
        return None
    missing = before.facts.position.minus(latest.facts.position)
    own = missing.of(latest.facts.origin)
    return Lacking(own=str(own), errant=str(missing.minus(own)))


def _mariadb(worker: Facts, manager: Facts) -> Lacking:
    known = manager.origins
    own, errant = [], []
    for (domain, server), sequence in sorted(worker.origins.items()):
        if sequence <= known.get((domain, server), 0):
            continue
        gtid = f"{domain}-{server}-{sequence}"
        if str(server) == manager.origin:
            own.append(gtid)
        elif manager.logs_updates or sequence > _reached(manager, domain):
            # Without log_slave_updates a manager forgets by whom replicated transactions were written.
            errant.append(gtid)
    return Lacking(own=",".join(own), errant=",".join(errant))


def _reached(facts: Facts, domain: int) -> int:
    position = facts.position or GtidSet(True)
    return max((one[2] for one in position.domains if one[0] == domain), default=0)
