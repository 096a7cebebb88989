"""What the demo finds wrong, and its table."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from mysqlproxy.demo.report import Count, Outcome, faults, table

GOOD = Outcome(
    strategy="random",
    served={"manager": Count(20, 0), "worker1": Count(0, 12), "worker2": Count(0, 8)},
    reported={"manager": Count(20, 0), "worker1": Count(0, 12), "worker2": Count(0, 8)},
    rows={"manager": 20, "worker1": 20, "worker2": 20},
)


def test_nothing_is_wrong_when_all_agree() -> None:
    assert faults([GOOD, replace(GOOD, strategy="direct")], 20, 20) == []


def test_metrics_that_disagree_with_a_server() -> None:
    reported = {**GOOD.reported, "worker1": Count(0, 11)}
    assert faults([replace(GOOD, reported=reported)], 20, 20) == [
        "random: worker1 served 0 writes and 12 reads, the daemon's metrics say 0 and 11"
    ]


def test_a_server_that_only_the_metrics_know() -> None:
    reported = {**GOOD.reported, "worker3": Count(0, 1)}
    assert faults([replace(GOOD, reported=reported)], 20, 20) == [
        "random: worker3 served 0 writes and 0 reads, the daemon's metrics say 0 and 1"
    ]


def test_statements_that_reached_no_server_although_both_agree() -> None:
    counts = {"manager": Count(19, 0), "worker1": Count(0, 20), "worker2": Count()}
    assert faults([replace(GOOD, served=counts, reported=counts)], 20, 20) == [
        "random: 20 writes and 20 reads were sent, the servers got 19 and 20"
    ]


def test_a_row_missing_on_one_server() -> None:
    assert faults([replace(GOOD, rows={**GOOD.rows, "worker2": 19})], 20, 20) == [
        "random: worker2 has 19 of 20 rows"
    ]


def test_a_stale_read() -> None:
    assert faults([replace(GOOD, stale=2)], 20, 20) == [
        "random: 2 reads did not see the row that was written before"
    ]


def test_the_table_has_a_line_for_each_strategy_and_server() -> None:
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(table([GOOD, replace(GOOD, strategy="direct")]))
    lines = [line for line in captured.get().splitlines() if "manager" in line or "worker" in line]
    cells = [[cell for cell in line.replace("│", " ").split() if cell] for line in lines]
    assert cells == [
        ["random", "manager", "20", "20", "0", "0", "20"],
        ["worker1", "0", "0", "12", "12", "20"],
        ["worker2", "0", "0", "8", "8", "20"],
        ["direct", "manager", "20", "20", "0", "0", "20"],
        ["worker1", "0", "0", "12", "12", "20"],
        ["worker2", "0", "0", "8", "8", "20"],
    ]
