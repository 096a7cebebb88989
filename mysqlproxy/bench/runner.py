"""Takes the turns: every row, every round, every target, and a sample of each.

Called by ``commands.bench``. CPU time and memory are those of the target's processes, as the kernel counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pymysql

from mysqlproxy.bench import plan, probes, proc, stats
from mysqlproxy.bench.errors import BenchError, Interrupted
from mysqlproxy.bench.plan import Row
from mysqlproxy.bench.site import Site, Target
from mysqlproxy.bench.stats import Sample
from mysqlproxy.bench.sysbench import Outcome


class Runner:
    """Args:
    site: started.
    seconds: of each turn.
    more: targets that take part in every row besides the plan's.
    """

    def __init__(self, site: Site, seconds: float, more: Sequence[str] = ()) -> None:
        self._site = site
        self._seconds = seconds
        self._more = more
        self._measure: dict[plan.Kind, Callable[[Row, Target], dict[str, float]]] = {
            "load": self._load,
            "others": self._others,
            "idle": self._idle,
            "slow": self._slow,
        }

    def run(self, rows: Sequence[Row], rounds: int) -> Iterator[Sample]:
        """Every sample as it comes; ends early without a word when the site was cancelled."""
        for row in rows:
            names = [name for name in (*row.targets, *self._more) if name in self._site.targets]
            # Memory that was given back stays with the process: only the first clients show what they need.
            for number in range(1 if row.kind == "idle" else rounds):
                for name in plan.turns(names, number):
                    try:
                        values = self._measure[row.kind](row, self._site.targets[name])
                    except Interrupted:
                        return
                    except (BenchError, pymysql.MySQLError, OSError) as error:
                        if self._site.cancelled:
                            return
                        yield Sample(row.name, name, number, error=str(error))
                    else:
                        yield Sample(row.name, name, number, values)

    def _load(self, row: Row, target: Target) -> dict[str, float]:
        pids = _pids(target)
        resident = proc.begin_peak(pids)
        spread = target.name in plan.STRATEGIES
        selects = self._site.manager_selects() if spread else 0
        cpu = proc.cpu_seconds(pids)

        def started() -> None:
            nonlocal cpu
            cpu = proc.cpu_seconds(pids)

        outcome = self._sysbench(row, target, started)
        values = _values(outcome)
        if pids:
            if outcome.statements:
                values[stats.CPU] = (proc.cpu_seconds(pids) - cpu) / outcome.statements * 1e6
            values[stats.MEMORY] = proc.pss_kib(pids)
        if pids and resident is not None:
            values[stats.GROWTH] = proc.peak_kib(pids) - resident
        if spread and outcome.reads:
            # By the manager's own counter, which the daemons' monitors add a few to.
            at_manager = self._site.manager_selects() - selects
            values[stats.SHARE] = max(0.0, 1 - at_manager / outcome.reads)
        return values

    def _sysbench(
        self, row: Row, target: Target, started: Callable[[], None] = lambda: None, script: str = ""
    ) -> Outcome:
        options = [
            f"--threads={row.threads}",
            f"--db-ps-mode={'auto' if row.prepared else 'disable'}",
            *row.options,
        ]
        script = script or row.script
        if script.startswith("oltp_"):
            options += [f"--tables={plan.TABLES}", f"--table_size={plan.TABLE_SIZE}", "--rand-type=uniform"]
        return self._site.sysbench.run(target.login, script, options, seconds=self._seconds, started=started)

    def _others(self, row: Row, target: Target) -> dict[str, float]:
        """What they see, and beside it how many new statements one more client sent meanwhile."""
        new = Row(row.name, "statement", options=row.options)
        with ThreadPoolExecutor(1) as pool:
            sender = pool.submit(self._sysbench, new, target)
            values = _values(self._sysbench(Row(row.name, row.script, row.threads), target))
            return values | {"new_statements": sender.result().statements}

    def _idle(self, row: Row, target: Target) -> dict[str, float]:
        pids = _pids(target)
        if not pids:
            return {}
        site = self._site
        grown = probes.idle(target.login, row.threads, lambda: site.cancelled, lambda: proc.pss_kib(pids))
        return {stats.PER_CLIENT: grown, "clients": row.threads}

    def _slow(self, row: Row, target: Target) -> dict[str, float]:
        del row
        pids = _pids(target)
        resident = proc.begin_peak(pids)
        probes.read_slowly(target.login, self._seconds, lambda: self._site.cancelled)
        if not pids or resident is None:
            return {}
        return {stats.GROWTH: proc.peak_kib(pids) - resident}


def _pids(target: Target) -> list[int]:
    return proc.family(target.pid) if target.pid else []


def _values(outcome: Outcome) -> dict[str, float]:
    return {
        stats.QPS: outcome.statements / outcome.seconds,
        stats.P50: outcome.p50,
        stats.P95: outcome.p95,
        stats.P99: outcome.p99,
        "statements": outcome.statements,
        "errors": outcome.errors,
        "seconds": outcome.seconds,
    }
