"""What is remembered of one server from probe to probe. Pure: a state and a probe give the next state.

Called by ``cluster.monitor`` for each probe; read by ``cluster.decide``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from statistics import median

from mysqlproxy.cluster.observation import Facts, Failure, Probe, Thread

PINGS = 9
"""How many round trips the moving median is of: one slow answer in two does not move it."""

OBSERVATIONS = 32
SPACING = 0.25
"""Seconds between observations that are kept, so that they reach back some seconds at any interval."""


class Health(Enum):
    UNKNOWN = "unknown"  # no probe has told yet
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Observed:
    """Facts with the times between which they were so."""

    started: float
    ended: float
    facts: Facts


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server's memory.

    Attributes:
        health, failures, successes: up and down with hysteresis; probes in a row that ended so.
        error: of the last failed probe.
        incarnation: 1 for the first that was met, then one more for each restart, replacement or new history.
        of_before: connections made until then (``time.monotonic``) are not to this incarnation; inf: nor may others
        histories: how often it lacked GTIDs that it had had before (RESET MASTER, another position set by hand).
        facts: the last known, kept while the server is down; None before the first.
        observed, observed_until: when the probe began and ended that brought them.
        booted: when the server was started, by its own clock.
        pings: the last round trips, seconds, oldest first.
        lag: the last lag that was known, seconds; None when none ever was.
        lag_known: when that was.
        reconnecting_since: since when the IO thread has been looking for its source, or None.
        writable_since: since when it has been seen writable and no replica, without a break; None when not.
        history: observations, oldest first, for comparing positions in time.
    """

    health: Health = Health.UNKNOWN
    failures: int = 0
    successes: int = 0
    error: str = ""
    incarnation: int = 0
    of_before: float = float("inf")
    histories: int = 0
    facts: Facts | None = None
    observed: float = 0.0
    observed_until: float = 0.0
    booted: int = 0
    pings: tuple[float, ...] = ()
    lag: float | None = None
    lag_known: float = 0.0
    reconnecting_since: float | None = None
    writable_since: float | None = None
    history: tuple[Observed, ...] = ()

    @property
    def up(self) -> bool:
        return self.health is Health.UP

    @property
    def ping(self) -> float:
        """Seconds, the moving median; inf when unknown."""
        return median(self.pings) if self.pings else float("inf")


def track(state: ServerState, probe: Probe, *, down_after: int, up_after: int) -> ServerState:
    """The state after ``probe``.

    A refused connection before anything else was known counts as down at once, a first success as up at once;
    from then on it takes ``down_after`` failures or ``up_after`` successes in a row.
    """
    if probe.facts is None:
        return _failed(state, probe, down_after)
    facts = probe.facts
    anew = state.facts is not None and _lost_gtids(state.facts, facts)
    incarnation = state.incarnation + (1 if anew or _is_another(state, probe) else 0)
    if incarnation != state.incarnation:
        restarted = not anew and state.facts is not None and state.facts.identity == facts.identity
        state = replace(_forget(state), of_before=state.observed_until if restarted else float("inf"))
    successes = state.successes + 1
    up = state.health is not Health.DOWN or successes >= up_after
    writable = not facts.read_only and is_no_replica(facts)
    connecting = any(one.io is Thread.CONNECTING for one in facts.sources or ())
    lag = lag_of(facts)
    if state.facts is not None and _follows(state.facts) != _follows(facts):
        state = replace(state, lag=None)  # it was behind somebody else
    return replace(
        state,
        health=Health.UP if up else state.health,
        failures=0,
        successes=successes,
        error="",
        incarnation=incarnation,
        histories=state.histories + anew,
        facts=facts,
        observed=probe.started,
        observed_until=probe.ended,
        booted=probe.booted,
        pings=(*state.pings, probe.ping)[-PINGS:],
        lag=state.lag if lag is None else lag,
        lag_known=state.lag_known if lag is None else probe.ended,
        reconnecting_since=(state.reconnecting_since or probe.started) if connecting else None,
        writable_since=(state.writable_since or probe.started) if writable else None,
        history=_remember(state.history, Observed(probe.started, probe.ended, facts)),
    )


def is_no_replica(facts: Facts) -> bool:
    """Whether it is known to replicate from nobody: no source configured, or all stopped and reset."""
    return facts.sources is not None and all(source.inert for source in facts.sources)


def lag_of(facts: Facts) -> float | None:
    """Seconds behind the furthest source, None when one does not tell; 0.0 for who is no replica."""
    if is_no_replica(facts):
        return 0.0
    lags = [source.lag for source in facts.sources or () if not source.inert]
    known = [lag for lag in lags if lag is not None]
    return max(known) if known and len(known) == len(lags) else None


def _follows(facts: Facts) -> frozenset[tuple[str, int]]:
    return frozenset((one.host, one.port) for one in facts.sources or () if not one.inert)


def _failed(state: ServerState, probe: Probe, down_after: int) -> ServerState:
    failures = state.failures + 1
    at_start = state.health is Health.UNKNOWN and probe.failure is Failure.REFUSED
    down = at_start or failures >= down_after
    state = replace(
        state,
        failures=failures,
        successes=0,
        error=probe.error,
        health=Health.DOWN if down else state.health,
    )
    # Who was away may have become another: nothing that was measured in time holds for it any more.
    return replace(_forget(state), incarnation=state.incarnation) if down else state


def _forget(state: ServerState) -> ServerState:
    return replace(state, pings=(), reconnecting_since=None, writable_since=None, history=())


def _is_another(state: ServerState, probe: Probe) -> bool:
    """The first met, another server behind the address, or a server started since it was last seen."""
    if state.facts is None or probe.facts is None or state.facts.identity != probe.facts.identity:
        return True
    return probe.booted != state.booted


def _lost_gtids(before: Facts, after: Facts) -> bool:
    """Whether what was applied or written is not all there any more."""
    if is_no_replica(before) != is_no_replica(after):
        return False  # a MariaDB manager that becomes a replica counts only what it applies from then on
    old, new = before.position, after.position
    return old is not None and new is not None and old != new and not new.covers(old)


def _remember(history: tuple[Observed, ...], new: Observed) -> tuple[Observed, ...]:
    if history and history[-1].facts.position == new.facts.position:
        # One object for equal positions: with long histories they are large.
        new = replace(new, facts=replace(new.facts, position=history[-1].facts.position))
    if len(history) > 1 and history[-1].ended - history[-2].ended < SPACING:
        history = history[:-1]
    return (*history, new)[-OBSERVATIONS:]
