"""Samples, and what is said of them: medians, ratios within a round, the spread of the control. Pure functions.

A ratio is taken between two targets of the same round, which ran one after the other, and the median of the
rounds' ratios counts: what the machine does besides changes from minute to minute.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# What a sample may say. Bigger is better of the first only.
QPS, P50, P95, P99, CPU = "qps", "p50_ms", "p95_ms", "p99_ms", "cpu_us"
GROWTH, PER_CLIENT, MEMORY, SHARE = "growth_kib", "per_client_kib", "pss_kib", "workers_share"


@dataclass(frozen=True, slots=True)
class Sample:
    """One target's turn in one round.

    Attributes:
        row, target: by name.
        round: from 0.
        values: what was measured: qps, p50_ms, p95_ms, p99_ms (sysbench's events: a transaction, where it makes
        them), cpu_us (of all the target's processes, per statement), pss_kib, growth_kib (peak of resident memory
        above where it began), per_client_kib, workers_share (of reads, 0 to 1), statements, errors, seconds.
        error: why there is nothing; "" when there is.
    """

    row: str
    target: str
    round: int
    values: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of one target to another.

    Attributes:
        median: of the rounds' ratios.
        low, high: the smallest and the largest of them.
    """

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """How far the furthest round is from 1, as a factor: at least 1."""
        return max(self.high, 1 / self.low)


def median(samples: Sequence[Sample], row: str, target: str, measure: str) -> float | None:
    """The median of the rounds; None when no round has it. Of memory's growth the highest: what was given back to the
    process is not seen to grow again."""
    values = list(_by_round(samples, row, target, measure).values())
    if not values:
        return None
    return max(values) if measure == GROWTH else statistics.median(values)


def ratio(samples: Sequence[Sample], row: str, target: str, base: str, measure: str) -> Ratio | None:
    """``target`` divided by ``base``; None when no round has both, or the base is nothing."""
    over = _by_round(samples, row, target, measure)
    under = _by_round(samples, row, base, measure)
    ratios = [over[number] / under[number] for number in over if over[number] > 0 < under.get(number, 0.0)]
    if not ratios:
        return None
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def _by_round(samples: Sequence[Sample], row: str, target: str, measure: str) -> dict[int, float]:
    return {
        sample.round: sample.values[measure]
        for sample in samples
        if (sample.row, sample.target) == (row, target) and measure in sample.values
    }
