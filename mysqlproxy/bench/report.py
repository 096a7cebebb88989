"""The tables of a run: every row, the control, the goals. Values and text only, no I/O.

Called by ``commands.bench`` with the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from mysqlproxy.bench.goals import GOALS
from mysqlproxy.bench.plan import CONTROL, DIRECT, HAPROXY, PROXY
from mysqlproxy.bench.stats import (
    CPU,
    GROWTH,
    MEMORY,
    P50,
    P95,
    P99,
    PER_CLIENT,
    QPS,
    SHARE,
    Ratio,
    Sample,
    median,
    ratio,
)

UNITS = {
    QPS: "statements/s",
    P50: "p50, ms",
    P95: "p95, ms",
    P99: "p99, ms",
    CPU: "CPU, us/statement",
    GROWTH: "memory's growth, KiB",
    MEMORY: "memory, KiB",
    PER_CLIENT: "KiB/client",
    SHARE: "workers' share of reads",
}


def pairs(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    """Rows as they were measured, and the targets of each in the order of its first round."""
    rows = list(dict.fromkeys(sample.row for sample in samples))
    found = dict.fromkeys((sample.row, sample.target) for sample in samples)
    return sorted(found, key=lambda pair: rows.index(pair[0]))


def table(samples: Sequence[Sample]) -> Table:
    """A line for each row and target: medians, and ratios to HAProxy's and to the server's own."""
    result = Table(title="Medians; ratios are of the same round")
    result.add_column("")
    result.add_column("target")
    headings = (
        "statements/s", "of HAProxy's", "of direct", "p50 ms", "p95 ms",
        "CPU us/\nstatement", "of HAProxy's", "memory MiB", "peak's\ngrowth KiB",
    )  # fmt: skip
    for heading in (*headings, "also"):
        result.add_column(heading, justify="right")
    last = ""
    for row, target in pairs(samples):
        if row != last and last:
            result.add_section()

        def value(measure: str, row: str = row, target: str = target) -> float | None:
            return median(samples, row, target, measure)

        def of(base: str, measure: str, row: str = row, target: str = target) -> str:
            return _ratio(None if base == target else ratio(samples, row, target, base, measure))

        memory = value(MEMORY)
        result.add_row(
            row if row != last else "",
            target,
            _number(value(QPS), 0 if (value(QPS) or 0) > 100 else 2),
            of(HAPROXY, QPS),
            of(DIRECT, QPS),
            _number(value(P50), 3),
            _number(value(P95), 3),
            _number(value(CPU), 1),
            of(HAPROXY, CPU),
            _number(None if memory is None else memory / 1024, 1),
            _number(value(GROWTH), 0),
            _also(samples, row, target),
        )
        last = row
    return result


def control(samples: Sequence[Sample]) -> Table:
    """How far two copies of one daemon are from each other: less than this is no difference."""
    result = Table(title="A/A: a second copy of the daemon beside the first, median (lowest to highest)")
    for heading in ("", "statements/s", "CPU/statement", "p95"):
        result.add_column(heading, justify="left" if not heading else "right")
    for row in dict.fromkeys(sample.row for sample in samples):
        found = [ratio(samples, row, CONTROL, PROXY, measure) for measure in (QPS, CPU, P95)]
        if any(found):
            result.add_row(row, *(_spread(one) for one in found))
    return result


def goals(samples: Sequence[Sample]) -> Table:
    """The goals that this run can say something of."""
    result = Table(title="Goals")
    for heading in ("", "target", "figure", "to reach", "seen", ""):
        result.add_column(heading, justify="right" if heading in {"to reach", "seen"} else "left")
    for goal in GOALS:
        seen = goal.seen(samples)
        if seen is None:
            continue
        figure = UNITS[goal.measure]
        if goal.form != "value":
            figure += f" {'over' if goal.form == 'difference' else 'of'} {goal.base}'s"
        sign = ">=" if goal.at_least else "<="
        verdict = "[green]yes[/]" if goal.reached(seen) else "[red]no[/]"
        result.add_row(goal.row, goal.target, figure, f"{sign} {goal.limit:g}", f"{seen:.3g}", verdict)
    return result


def failures(samples: Sequence[Sample]) -> list[str]:
    """The turns that brought nothing, a sentence each, every sentence once."""
    return list(dict.fromkeys(f"{s.row}: {s.target}: {s.error}" for s in samples if s.error))


def summary(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """The medians and ratios of the table as plain values, for the results file."""
    result = []
    for row, target in pairs(samples):
        measures = {
            measure: value
            for measure in UNITS
            if (value := median(samples, row, target, measure)) is not None
        }
        ratios = {
            f"{measure}_of_{base}": {"median": found.median, "low": found.low, "high": found.high}
            for base in (HAPROXY, DIRECT, PROXY)
            for measure in (QPS, P95, CPU)
            if base != target and (found := ratio(samples, row, target, base, measure)) is not None
        }
        result.append({"row": row, "target": target, "medians": measures, "ratios": ratios})
    return result


def _also(samples: Sequence[Sample], row: str, target: str) -> str:
    words = []
    share = median(samples, row, target, SHARE)
    if share is not None:
        words.append(f"workers read {share:.0%}")
    per_client = median(samples, row, target, PER_CLIENT)
    if per_client is not None:
        words.append(f"{per_client:.1f} KiB/client")
    new = median(samples, row, target, "new_statements")
    if new is not None:
        words.append(f"p99 {median(samples, row, target, P99):.1f} ms, {new:.0f} new")
    errors = sum(s.values.get("errors", 0) for s in samples if (s.row, s.target) == (row, target))
    if errors:
        words.append(f"{errors:.0f} ignored errors")
    if any(s.error for s in samples if (s.row, s.target) == (row, target)):
        words.append("failed")
    return ", ".join(words)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _ratio(found: Ratio | None) -> str:
    return "" if found is None else f"{found.median:.2f}"


def _spread(found: Ratio | None) -> str:
    return "" if found is None else f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"
