"""What is measured: the rows, each with who takes part in it. Values only, no I/O.

Read by ``bench.runner`` (how), ``bench.report`` (in which order) and the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Kind = Literal["load", "others", "idle", "slow"]

DIRECT, HAPROXY, PROXY, CONTROL = "direct", "haproxy", "mysqlproxy", "control"
RANDOM, CUSTOMIZED, TLS, PURE = "random", "customized", "tls", "pure"
# The strategies are accounts of the one daemon; every other target but these has the strategy direct.
STRATEGIES = (RANDOM, CUSTOMIZED)
FOUR = (DIRECT, HAPROXY, PROXY, CONTROL)

WORKLOADS = ("point_select", "read_only", "read_write", "write_only")
THREADS = (1, 16, 64, 256)
TABLES, TABLE_SIZE = 2, 10_000
BIG_COPIES = 20  # of one table: 38 MB
_NUMBERS = " UNION ALL ".join(["SELECT 1 AS n", *(f"SELECT {n}" for n in range(2, BIG_COPIES + 1))])
BIG = f"SELECT a.id, a.k, a.c, a.pad FROM sbtest1 a CROSS JOIN ({_NUMBERS}) b"  # noqa: S608 - constants
WIDE_COLUMNS = 100
WIDE_TABLE = "bench_wide"
WIDE = f"SELECT * FROM {WIDE_TABLE}"  # noqa: S608 - a constant
# Of about 200 bytes; the alias is another one each time, so each has a digest of its own.
NEW = (
    "SELECT t.id, t.k, t.c, u.pad AS NEW FROM sbtest1 AS t INNER JOIN sbtest2 AS u ON u.id = t.id "
    "WHERE t.id = 4711 AND u.k BETWEEN 1 AND 100000 AND t.c LIKE '%1%' ORDER BY t.id LIMIT 10"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the plan.

    Attributes:
        name: as in the table and for ``--only``.
        script: of sysbench, or "statement" for the one of this package.
        threads: of sysbench; for "idle" the number of clients.
        targets: who takes part, by name; ``direct`` first.
        options: more of sysbench's.
        prepared: with prepared statements.
        kind: "load" sysbench alone; "others" beside somebody who sends ever new statements; "idle" clients that
        are logged in; "slow" one that reads the big result slowly.
    """

    name: str
    script: str = ""
    threads: int = 1
    targets: tuple[str, ...] = FOUR
    options: tuple[str, ...] = ()
    prepared: bool = False
    kind: Kind = "load"


def full() -> list[Row]:
    """Every row."""
    rows = _idle(1500)
    for workload in WORKLOADS:
        for threads in THREADS:
            more: tuple[str, ...] = ()
            if threads == 16 and workload in {"point_select", "read_only"}:
                more = (*STRATEGIES, TLS, PURE)
            rows.append(Row(f"{workload} {threads}", f"oltp_{workload}", threads, FOUR + more))
            rows.append(
                Row(f"{workload} {threads} prepared", f"oltp_{workload}", threads, FOUR, prepared=True)
            )
    return rows + _autocommit() + _special()


def quick() -> list[Row]:
    """One of each kind, to see that it works."""
    names = ["point_select 16", "point_select 16 prepared", "write_only 16"]
    loads = [row for row in full() if row.name in names]
    return _idle(50) + loads + _autocommit()[1:] + _special()


def select(rows: Sequence[Row], patterns: Sequence[str]) -> list[Row]:
    """The rows whose name one of the patterns (``*`` and ``?``) matches; all when there is none.

    Raises:
        ValueError: a pattern matches no row.
    """
    for pattern in patterns:
        if not any(fnmatchcase(row.name, pattern) for row in rows):
            names = ", ".join(row.name for row in rows)
            raise ValueError(f"no row is called {pattern!r}; there are: {names}")
    return [row for row in rows if not patterns or any(fnmatchcase(row.name, p) for p in patterns)]


def turns(targets: Sequence[str], number: int) -> list[str]:
    """The order of one round: another one begins each time, and every other round goes backwards."""
    at = number % len(targets) if targets else 0
    order = [*targets[at:], *targets[:at]]
    return order[::-1] if number % 2 else order


def _idle(clients: int) -> list[Row]:
    """Before all else: memory that others have given back would be used again and not be seen."""
    return [Row("idle clients", "", clients, (HAPROXY, PROXY, CONTROL), kind="idle")]


def _autocommit() -> list[Row]:
    """Outside transactions the workers read: sysbench's transactions stay on the manager."""
    # Two clients may insert the same key between each other's DELETE and INSERT.
    options = ("--skip_trx=on", "--mysql-ignore-errors=1213,1020,1205,1062")
    targets = (*FOUR, *STRATEGIES)
    return [
        Row("read_only 16 autocommit", "oltp_read_only", 16, targets, options),
        Row("read_write 16 autocommit", "oltp_read_write", 16, targets, options),
    ]


def _special() -> list[Row]:
    new = f"--statement={NEW}"
    return [
        Row("big result", "statement", options=(f"--statement={BIG}",)),
        Row("big result, slow reader", targets=(HAPROXY, PROXY), kind="slow"),
        Row("wide rows 16", "statement", 16, options=(f"--statement={WIDE}",)),
        Row("connect 8", "statement", 8, options=("--reconnect=on", "--statement=select 1")),
        Row("new statements", "statement", options=(new,)),
        Row("others beside new statements", "oltp_point_select", 4, options=(new,), kind="others"),
    ]
