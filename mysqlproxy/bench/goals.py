"""What the project wants to reach, and whether a run did. Values and text only.

Read by ``bench.report``. The median of the rounds' ratios is compared; CPU per statement is the steadier figure on
a busy machine, queries per second mean little where the control's spread is large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mysqlproxy.bench.plan import HAPROXY, PROXY, PURE, RANDOM, TLS
from mysqlproxy.bench.stats import CPU, GROWTH, P50, P95, P99, PER_CLIENT, QPS, SHARE, Sample, median, ratio

Form = Literal["ratio", "difference", "value"]


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure: ``target``'s ``measure`` itself, or its ratio to ``base``'s, or its difference from it.

    Attributes:
        limit: at most so much; of queries per second and the share of reads at least.
    """

    row: str
    measure: str
    limit: float
    target: str = PROXY
    base: str = HAPROXY
    form: Form = "ratio"

    @property
    def at_least(self) -> bool:
        return self.measure in {QPS, SHARE}

    def seen(self, samples: Sequence[Sample]) -> float | None:
        """The figure of this run; None when it was not measured."""
        if self.form == "ratio":
            found = ratio(samples, self.row, self.target, self.base, self.measure)
            return found.median if found else None
        value = median(samples, self.row, self.target, self.measure)
        if value is None or self.form == "value":
            return value
        base = median(samples, self.row, self.base, self.measure)
        return None if base is None else value - base

    def reached(self, seen: float) -> bool:
        return seen >= self.limit if self.at_least else seen <= self.limit


GOALS = (
    Goal("point_select 16", CPU, 1.25),
    Goal("point_select 16", QPS, 0.95),
    Goal("read_only 16", CPU, 1.25),
    Goal("read_only 16", QPS, 0.90),
    Goal("point_select 16", CPU, 1.35, RANDOM),
    Goal("read_only 16", CPU, 1.35, RANDOM),
    Goal("read_only 16 autocommit", CPU, 1.35, RANDOM),
    Goal("point_select 16 prepared", CPU, 1.3),
    Goal("point_select 16 prepared", QPS, 0.90),
    Goal("read_only 16 prepared", CPU, 1.3),
    Goal("read_only 16 prepared", QPS, 0.90),
    Goal("read_write 16", CPU, 1.3),
    Goal("read_write 16", QPS, 0.95),
    Goal("read_write 16 autocommit", SHARE, 0.8, RANDOM, form="value"),
    Goal("point_select 1", P95, 0.02, form="difference"),
    Goal("point_select 256", QPS, 0.90),
    Goal("read_only 256", QPS, 0.90),
    Goal("big result", P50, 1.15),
    Goal("big result", GROWTH, 4096, form="value"),
    Goal("big result, slow reader", GROWTH, 4096, form="value"),
    Goal("connect 8", CPU, 1.0),
    Goal("idle clients", PER_CLIENT, 10, form="value"),
    Goal("point_select 16", CPU, 1.4, TLS, PROXY),
    Goal("point_select 16", CPU, 1.4, PURE, PROXY),
    Goal("read_only 16", CPU, 1.4, PURE, PROXY),
    Goal("new statements", P50, 1.5, base="direct", form="difference"),
    Goal("others beside new statements", P99, 20, form="value"),
)
