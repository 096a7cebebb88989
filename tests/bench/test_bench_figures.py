"""Plan, statistics, goals, tables and chart of ``mysqlproxy bench``: values in, values out."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from mysqlproxy.bench import chart, goals, plan, report, stats
from mysqlproxy.bench.errors import BenchError
from mysqlproxy.bench.goals import Goal
from mysqlproxy.bench.site import Rival, rival
from mysqlproxy.bench.stats import Ratio, Sample


def sample(target: str, number: int, row: str = "point_select 16", **values: float) -> Sample:
    return Sample(row, target, number, values)


SAMPLES = [
    sample("haproxy", 0, qps=100.0, cpu_us=20.0, p95_ms=1.0),
    sample("mysqlproxy", 0, qps=90.0, cpu_us=30.0, p95_ms=1.1),
    sample("mysqlproxy", 1, qps=300.0, cpu_us=24.0, p95_ms=2.1),
    sample("haproxy", 1, qps=200.0, cpu_us=20.0, p95_ms=2.0),
    sample("haproxy", 2, qps=10.0, cpu_us=20.0, p95_ms=3.0),
    sample("mysqlproxy", 2, qps=8.0, cpu_us=26.0, p95_ms=3.3),
    sample("control", 0, qps=180.0, cpu_us=30.0),
    sample("control", 1, qps=300.0, cpu_us=24.0),
    Sample("point_select 16", "tls", 0, error="no certificate"),
]


def test_a_ratio_is_of_the_same_round() -> None:
    found = stats.ratio(SAMPLES, "point_select 16", "mysqlproxy", "haproxy", stats.QPS)
    assert found == Ratio(median=0.9, low=0.8, high=1.5)
    assert found.spread == 1.5
    assert Ratio(1.0, 0.5, 1.1).spread == 2.0


def test_what_was_not_measured_is_none() -> None:
    assert stats.ratio(SAMPLES, "point_select 16", "tls", "haproxy", stats.QPS) is None
    assert stats.ratio(SAMPLES, "point_select 16", "haproxy", "direct", stats.QPS) is None
    assert stats.median(SAMPLES, "read_only 16", "haproxy", stats.QPS) is None
    zero = [sample("haproxy", 0, cpu_us=0.0), sample("mysqlproxy", 0, cpu_us=1.0)]
    assert stats.ratio(zero, "point_select 16", "mysqlproxy", "haproxy", stats.CPU) is None


def test_the_median_and_for_growth_the_highest() -> None:
    assert stats.median(SAMPLES, "point_select 16", "mysqlproxy", stats.CPU) == 26.0
    grown = [
        sample("mysqlproxy", number, growth_kib=value) for number, value in enumerate((4000.0, 0.0, 0.0))
    ]
    assert stats.median(grown, "point_select 16", "mysqlproxy", stats.GROWTH) == 4000.0


def test_goals() -> None:
    row = "point_select 16"
    cpu, qps = Goal(row, stats.CPU, 1.25), Goal(row, stats.QPS, 0.95)
    assert cpu.seen(SAMPLES) == 1.3
    assert not cpu.reached(1.3)
    assert cpu.reached(1.25)
    assert qps.seen(SAMPLES) == 0.9
    assert not qps.reached(0.9)
    assert qps.reached(0.96)
    difference = Goal(row, stats.P95, 0.02, form="difference").seen(SAMPLES)
    assert difference == pytest.approx(0.1)
    assert Goal(row, stats.P95, 0.02, base="direct", form="difference").seen(SAMPLES) is None
    assert Goal(row, stats.CPU, 1.0, form="value").seen(SAMPLES) == 26.0


def test_every_goal_is_of_a_row_and_a_target_of_the_plan() -> None:
    rows = {row.name: row for row in plan.full()}
    for goal in goals.GOALS:
        assert goal.target in rows[goal.row].targets, goal
        assert goal.form == "value" or goal.base in rows[goal.row].targets, goal
        assert goal.measure in report.UNITS, goal


def test_the_plan_has_every_combination_and_no_name_twice() -> None:
    names = [row.name for row in plan.full()]
    assert len(names) == len(set(names))
    for workload in ("point_select", "read_only", "read_write", "write_only"):
        for threads in (1, 16, 64, 256):
            assert f"{workload} {threads}" in names
            assert f"{workload} {threads} prepared" in names
    assert {row.name for row in plan.quick()} <= set(names)
    assert {row.kind for row in plan.quick()} == {row.kind for row in plan.full()}


def test_rows_by_pattern() -> None:
    names = [row.name for row in plan.select(plan.full(), ["point_select 1*", "connect*"])]
    assert names == [
        "point_select 1",
        "point_select 1 prepared",
        "point_select 16",
        "point_select 16 prepared",
        "connect 8",
    ]
    with pytest.raises(
        ValueError, match="no row is called 'nothing'; there are: idle clients, point_select 1,"
    ):
        plan.select(plan.full(), ["nothing"])


def test_every_round_has_everybody_and_another_one_begins() -> None:
    orders = [plan.turns(["a", "b", "c"], number) for number in range(3)]
    assert orders == [["a", "b", "c"], ["a", "c", "b"], ["c", "a", "b"]]
    assert plan.turns([], 1) == []


def test_the_tables_say_what_was_seen() -> None:
    console = Console(file=StringIO(), width=170)
    for table in (report.table, report.control, report.goals):
        console.print(table(SAMPLES))
    assert isinstance(console.file, StringIO)
    lines = [line.split("│") for line in console.file.getvalue().splitlines()]
    (proxy,) = [line for line in lines if len(line) == 14 and line[2].strip() == "mysqlproxy"]
    assert [cell.strip() for cell in proxy[3:10]] == ["90.00", "0.90", "", "", "2.100", "26.0", "1.30"]
    text = console.file.getvalue()
    assert "1.50 (1.00 to 2.00)" in text
    assert report.failures(SAMPLES) == ["point_select 16: tls: no certificate"]


def test_the_summary_is_plain_json() -> None:
    summary = json.loads(json.dumps(report.summary(SAMPLES)))
    (proxy,) = [line for line in summary if line["target"] == "mysqlproxy"]
    assert proxy["medians"]["qps"] == 90.0
    assert proxy["ratios"]["cpu_us_of_haproxy"] == {"median": 1.3, "low": 1.2, "high": 1.5}
    assert json.loads(json.dumps([asdict(one) for one in SAMPLES]))[0]["values"]["qps"] == 100.0


def test_the_chart_is_two_files(tmp_path: Path) -> None:
    if not chart.available():
        pytest.skip(chart.REMEDY)
    before = dict(os.environ)
    files = chart.draw(SAMPLES, "somewhere", tmp_path / "chart")
    assert [file.name for file in files] == ["chart.png", "chart.svg"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert "<svg" in files[1].read_text()
    assert chart.draw([], "nothing", tmp_path / "empty") == []
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("proxysql=127.0.0.1:6033", Rival("proxysql", "127.0.0.1", 6033)),
        ("proxysql=db.example:6033:4711", Rival("proxysql", "db.example", 6033, 4711)),
        ("six=[::1]:6033", Rival("six", "::1", 6033)),
        ("six=[::1]:6033:12", Rival("six", "::1", 6033, 12)),
    ],
)
def test_another_proxy(text: str, wanted: Rival) -> None:
    assert rival(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "a", "a=", "a=b", "a=:1", "=b:1", "a=b:x", "a=b:1:x", "a=b:1:2:3", "a=b:99999"]
)
def test_what_is_no_proxy(text: str) -> None:
    with pytest.raises(BenchError, match="write NAME=HOST:PORT or NAME=HOST:PORT:PID"):
        rival(text)


def test_names_of_its_own_are_taken() -> None:
    with pytest.raises(BenchError, match="haproxy is a name of the benchmark's own"):
        rival("haproxy=127.0.0.1:3306")
