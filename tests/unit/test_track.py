"""Up and down with hysteresis, the median of the pings, restarts: what is remembered of one server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.cluster.observation import Failure, Probe, Source
from mysqlproxy.cluster.track import OBSERVATIONS, PINGS, Health, ServerState, track
from tests.unit.clusters import at, facts, mysql, source


def run(*probes: Probe, down_after: int = 3, up_after: int = 2) -> ServerState:
    state = ServerState()
    for probe in probes:
        state = track(state, probe, down_after=down_after, up_after=up_after)
    return state


def good(when: float = 1.0, ping: float = 0.001, *, booted: int = 1, server: int = 1) -> Probe:
    return Probe(when, when + 0.1, facts=facts(server), ping=ping, booted=booted)


def bad(when: float = 1.0, failure: Failure = Failure.OTHER) -> Probe:
    return Probe(when, when + 0.1, failure, "no answer")


def test_the_first_success_counts_at_once() -> None:
    assert run(good()).health is Health.UP


def test_a_refused_connection_counts_at_once_at_the_start_only() -> None:
    assert run(bad(failure=Failure.REFUSED)).health is Health.DOWN
    assert run(good(), bad(failure=Failure.REFUSED)).health is Health.UP


def test_another_failure_at_the_start_needs_as_many_as_ever() -> None:
    assert run(bad(), bad()).health is Health.UNKNOWN
    assert run(bad(), bad(), bad()).health is Health.DOWN


def test_a_success_after_failures_at_the_start_is_still_the_first() -> None:
    assert run(bad(), good()).health is Health.UP


def test_it_takes_down_after_failures_in_a_row() -> None:
    assert run(good(), bad(), bad(), good(), bad(), bad()).health is Health.UP
    assert run(good(), bad(), bad(), bad()).health is Health.DOWN


def test_it_takes_up_after_successes_in_a_row() -> None:
    down = (good(), bad(), bad(), bad())
    assert run(*down, good()).health is Health.DOWN
    assert run(*down, good(), bad(), good()).health is Health.DOWN
    assert run(*down, good(), good()).health is Health.UP


@given(
    st.lists(st.booleans(), max_size=40),
    st.integers(min_value=1, max_value=4),
    st.integers(min_value=1, max_value=4),
)
def test_after_the_first_success_health_changes_only_after_a_run(
    outcomes: list[bool], down_after: int, up_after: int
) -> None:
    state = run(good())
    for index, outcome in enumerate(outcomes):
        before = state.health
        state = track(state, good() if outcome else bad(), down_after=down_after, up_after=up_after)
        needed = up_after if outcome else down_after
        in_a_row = ([True, *outcomes])[max(0, index + 2 - needed) : index + 2]
        if state.health is not before:
            assert state.health is (Health.UP if outcome else Health.DOWN)
            assert len(in_a_row) == needed and set(in_a_row) == {outcome}


def test_the_ping_is_the_median_of_the_last() -> None:
    assert run().ping == float("inf")
    state = run(*(good(ping=ping) for ping in (9.0, 1.0, 2.0)))
    assert state.ping == 2.0
    state = run(*(good(ping=9.0) for _ in range(20)), *(good(ping=1.0) for _ in range(PINGS // 2 + 1)))
    assert state.ping == 1.0 and len(state.pings) == PINGS


def test_a_restart_is_told_by_the_servers_start() -> None:
    assert run(good(), good(booted=1)).incarnation == 1
    state = run(good(ping=5.0), good(booted=2))
    assert state.incarnation == 2 and state.up
    assert state.pings == (0.001,)  # what was measured before does not count


def test_what_was_connected_after_the_last_sight_of_it_survives_a_restart_and_nothing_else() -> None:
    assert run(good(7.0), good(9.0, booted=2)).of_before == run(good(7.0)).observed_until
    assert run(good(7.0), good(9.0, server=2)).of_before == float("inf")


def test_another_server_at_the_address_is_another_incarnation() -> None:
    assert run(good(), good(server=2)).incarnation == 2


def test_the_memory_of_positions_is_bounded_and_reaches_back() -> None:
    for interval in (0.01, 0.1, 1.0):
        probes = [good(interval * number) for number in range(2000)]
        history = run(*probes).history
        assert len(history) <= OBSERVATIONS
        assert history[-1].ended == pytest.approx(probes[-1].ended)
        assert history[-1].ended - history[0].started > min(5.0, interval * 1000)


def test_equal_positions_are_kept_once() -> None:
    def probe(when: float) -> Probe:
        return Probe(when, when, facts=facts(1, (source(),), **at("0-1-5")), ping=0.1)

    history = run(probe(1.0), probe(2.0)).history
    assert history[0].facts.position is history[1].facts.position


def test_a_position_that_shrinks_is_another_history() -> None:
    def at_position(position: str, *sources: Source) -> Probe:
        return Probe(1.0, 1.0, facts=facts(1, sources, **at(position)), ping=0.1, booted=1)

    assert run(at_position("0-1-5"), at_position("0-1-7")).histories == 0
    state = run(at_position("0-1-5"), at_position("0-1-2"))
    assert (state.histories, state.incarnation) == (1, 2)
    assert run(at_position("0-1-5", source()), at_position("", source())).histories == 1
    # One that was a manager and replicates now counts what it applies from then on.
    assert run(at_position("0-1-5"), at_position("", source())).histories == 0


def test_mysqls_sets_shrink_too() -> None:
    def executed(text: str) -> Probe:
        return Probe(1.0, 1.0, facts=mysql(1, text), ping=0.1, booted=1)

    assert run(executed("m:1-5"), executed("m:1-5,w:1")).histories == 0
    assert run(executed("m:1-5"), executed("m:1-3,w:1-9")).histories == 1
