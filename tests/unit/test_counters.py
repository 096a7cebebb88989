"""The counters of the data path."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.metrics.counters import BOUNDS, MAX_LABELS, Counters, Gauge, Labelled, StatementCell


def test_one_observe_counts_and_measures() -> None:
    cell = StatementCell()
    for seconds in (0.00005, 0.0001, 0.00011, 10.0, 11.0):
        cell.observe(seconds)
    assert cell.count == 5
    assert cell.seconds_sum == 0.00005 + 0.0001 + 0.00011 + 10.0 + 11.0
    assert cell.buckets[0] == 2, "a bound belongs to its own bucket: le is less or equal"
    assert cell.buckets[1] == 1
    assert cell.buckets[-2:] == [1, 1]


@given(st.lists(st.floats(min_value=0, max_value=1e6)))
def test_buckets_hold_every_statement(durations: list[float]) -> None:
    cell = StatementCell()
    for seconds in durations:
        cell.observe(seconds)
    assert sum(cell.buckets) == cell.count == len(durations)
    for index, bound in enumerate(BOUNDS):
        assert sum(cell.buckets[: index + 1]) == sum(seconds <= bound for seconds in durations)


def test_bounds_reach_from_100_microseconds_to_10_seconds() -> None:
    assert (BOUNDS[0], BOUNDS[-1]) == (0.0001, 10.0)
    assert list(BOUNDS) == sorted(set(BOUNDS))


def test_a_cell_is_kept() -> None:
    counters = Counters()
    cell = counters.statement("worker1", "read", "random")
    assert counters.statement("worker1", "read", "random") is cell
    assert counters.statement("worker1", "read", "direct") is not cell
    assert [labels for *labels, _ in counters.statements()] == [
        ["worker1", "read", "direct"],
        ["worker1", "read", "random"],
    ]


def test_labels_are_bounded() -> None:
    counter = Labelled()
    for number in range(MAX_LABELS + 50):
        counter.add(str(number))
    assert len(counter.values) == MAX_LABELS + 1
    assert counter.values["other"] == 50
    counter.add("0")
    assert counter.values["0"] == 2, "a known label goes on counting"


def test_known_labels_begin_at_zero() -> None:
    assert Counters().logins.values == {"ok": 0, "denied": 0, "error": 0}


def test_waits_and_registered_gauges() -> None:
    counters = Counters()
    counters.waited(0.25)
    counters.waited(0.5)
    assert (counters.pool_waits, counters.pool_wait_seconds) == (2, 0.75)
    counters.register_gauges(lambda: [Gauge("x", "X.", {}, 1.0)])
    counters.register_gauges(lambda: [Gauge("y", "Y.", {}, 2.0)])
    assert [gauge.name for gauge in counters.gauges()] == ["x", "y"]


def test_it_is_a_leaf() -> None:
    script = (
        "import sys, mysqlproxy.metrics.counters\n"
        "print(sorted(name for name in sys.modules if name.startswith(('mysqlproxy', 'prometheus_client'))))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "['mysqlproxy', 'mysqlproxy.metrics', 'mysqlproxy.metrics.counters']"
