"""What changed between two views, as lines for the log: one per change, none for what only moved.

Pure; called by ``cluster.monitor``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass

from mysqlproxy.cluster.view import ClusterView, ServerView

TAKES_READS = "takes reads"


@dataclass(frozen=True, slots=True)
class Change:
    """One line.

    Attributes:
        level: of ``logging``.
        server: whom it is about; "" for the cluster.
        text: a sentence without the server's name.
    """

    level: int
    server: str
    text: str


def changes(before: ClusterView, after: ClusterView, *, hop: bool = False) -> list[Change]:
    """The lines for the log, in the order: servers, manager, readers, alerts.

    Args:
        hop: it is the next hop of a chain, alone: nobody's manager, nor a reader, to people.
    """
    found: list[Change] = []
    for server in after.servers:
        found.extend(_server(before.by_name.get(server.name), server))
    if hop:
        found = [change for change in found if change.text != TAKES_READS]
    found.extend(_manager(before, after, "statements" if hop else "writes"))
    if after.manager is not None and after.readers == (after.manager,) and len(after.servers) > 1:
        had_workers = before.manager is None or before.readers != (before.manager,)
        if had_workers:
            found.append(Change(logging.WARNING, after.manager.name, "takes the reads: no worker can"))
    old, new = _alerts(before), _alerts(after)
    found += [Change(logging.WARNING, "", f"alert: {new[key]}") for key in new if key not in old]
    found += [Change(logging.INFO, "", f"resolved: {old[key]}") for key in old if key not in new]
    return found


def _server(before: ServerView | None, after: ServerView) -> Iterator[Change]:
    was_up = before is not None and before.up
    if after.up and not was_up:
        yield Change(logging.INFO, after.name, f"up: {after.version}")
    elif was_up and not after.up:
        yield Change(logging.WARNING, after.name, after.unreadable)
    elif before is not None and after.up and before.histories != after.histories:
        yield Change(logging.WARNING, after.name, "has lost GTIDs that it had: they began anew")
    elif before is not None and after.up and before.incarnation != after.incarnation:
        yield Change(logging.WARNING, after.name, "was restarted or replaced")
    elif before is not None and not after.up and before.unreadable != after.unreadable:
        if after.unreadable.partition(":")[0] != before.unreadable.partition(":")[0]:
            yield Change(logging.WARNING, after.name, after.unreadable)
        return
    if after.up and after.partial and (before is None or before.partial != after.partial):
        yield Change(
            logging.WARNING, after.name, f"takes only reads with read_consistency eventual: {after.partial}"
        )
    if not after.up or (before is not None and was_up and before.unreadable == after.unreadable):
        return
    if after.unreadable:
        level = (
            logging.INFO
            if after.unreadable.endswith(("the manager", "maintenance", "is 0"))
            else logging.WARNING
        )
        yield Change(level, after.name, f"takes no reads: {after.unreadable}")
    else:
        yield Change(logging.INFO, after.name, TAKES_READS)


def _manager(before: ClusterView, after: ClusterView, what: str) -> Iterator[Change]:
    if after.manager is None:
        if before.manager is not None or before.no_manager != after.no_manager:
            yield Change(logging.WARNING, "", f"{what} are refused: {after.no_manager} (epoch {after.epoch})")
    elif before.manager is None or before.epoch != after.epoch:
        yield Change(logging.INFO, after.manager.name, f"takes the {what} (epoch {after.epoch})")


def _alerts(view: ClusterView) -> dict[str, str]:
    """Alerts by what they say without what is in parentheses: GTIDs grow with each transaction."""
    return {re.sub(r" \([^()]*\)", "", alert): alert for alert in view.alerts}
