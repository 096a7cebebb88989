"""What the demo measured, the table of it, and what is wrong with it. Values and text only, no I/O.

Called by ``demo.command`` with what ``demo.workload`` has counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Count:
    """Statements of each kind."""

    writes: int = 0
    reads: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One strategy's part of the workload.

    Attributes:
        strategy: its name in the configuration.
        served: by server, what the server's own log says it was asked.
        reported: by server, how much the daemon's metrics grew.
        rows: by server, how many of the written rows it has at the end.
        stale: reads that did not return the row written before.
    """

    strategy: str
    served: Mapping[str, Count]
    reported: Mapping[str, Count]
    rows: Mapping[str, int]
    stale: int = 0


def faults(outcomes: Sequence[Outcome], writes: int, reads: int) -> list[str]:
    """Everything that is not as it must be, a sentence each; empty when all is well.

    Args:
        outcomes: of all strategies.
        writes, reads: how many the workload sent for each strategy.
    """
    found = []
    for outcome in outcomes:
        name = outcome.strategy
        for server in sorted(outcome.served.keys() | outcome.reported.keys()):
            served, reported = outcome.served.get(server, Count()), outcome.reported.get(server, Count())
            if served != reported:
                found.append(
                    f"{name}: {server} served {served.writes} writes and {served.reads} reads, the daemon's "
                    f"metrics say {reported.writes} and {reported.reads}"
                )
        total = Count(
            sum(count.writes for count in outcome.served.values()),
            sum(count.reads for count in outcome.served.values()),
        )
        if total != Count(writes, reads):
            found.append(
                f"{name}: {writes} writes and {reads} reads were sent, the servers got {total.writes} and "
                f"{total.reads}"
            )
        found += [
            f"{name}: {server} has {rows} of {writes} rows"
            for server, rows in outcome.rows.items()
            if rows != writes
        ]
        if outcome.stale:
            found.append(f"{name}: {outcome.stale} reads did not see the row that was written before")
    return found


def table(outcomes: Sequence[Outcome]) -> Table:
    """The outcomes as a table: a line for each strategy and server."""
    result = Table(title="Who served what: the servers' own logs beside the daemon's metrics")
    for heading in ("strategy", "server"):
        result.add_column(heading)
    for heading in ("writes\nserver", "writes\ndaemon", "reads\nserver", "reads\ndaemon", "rows at\nthe end"):
        result.add_column(heading, justify="right")
    for outcome in outcomes:
        strategy = outcome.strategy
        for server in outcome.rows:
            served, reported = outcome.served.get(server, Count()), outcome.reported.get(server, Count())
            numbers = (served.writes, reported.writes, served.reads, reported.reads, outcome.rows[server])
            result.add_row(strategy, server, *map(str, numbers))
            strategy = ""
        result.add_section()
    return result
