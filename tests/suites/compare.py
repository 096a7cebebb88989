"""One suite both ways, and the difference: the tests that pass against the manager and not through the daemon."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from mysqlproxy.demo.daemon import Metrics
from tests.suites.runs import Outcomes, Suite, run
from tests.suites.scene import Scene
from tests.suites.sources import CACHE

WAYS = ("direct", "proxy")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a suite came to.

    Attributes:
        outcomes: by way.
        worker_reads: how many reads went to workers.
        manager_reads: how many reads that workers could have taken went to the manager, by reason.
        retried: reads that a worker refused and the manager answered.
        wrong_writes: workers with a transaction of their own.
        broken: why the run through the daemon came to nothing, "" when it did not.
    """

    suite: Suite
    outcomes: dict[str, Outcomes]
    worker_reads: int
    manager_reads: dict[str, int]
    retried: int
    wrong_writes: list[str]
    broken: str = ""

    @property
    def lost(self) -> list[str]:
        """Tests that pass direct and fail, are skipped or do not run through the daemon."""
        direct, proxy = self.outcomes["direct"], self.outcomes["proxy"]
        return sorted(
            name for name, outcome in direct.items() if outcome == "passed" and proxy.get(name) != "passed"
        )

    @property
    def faults(self) -> list[str]:
        """What is wrong, one line each; none when the suite holds."""
        if self.broken:
            return [f"through the daemon only: {self.broken}"]
        outcomes = self.outcomes["proxy"]
        lines = [f"{name}: {outcomes.get(name, 'not run')} through the daemon only" for name in self.lost]
        return lines + [f"written on a worker: {wrong}" for wrong in self.wrong_writes]


def compare(suite: Suite, scene: Scene, seconds: float = 3600.0) -> Comparison:
    """Run the suite against the manager, then through the daemon; logs are below .cache/suites.

    Raises:
        NoSource: the source distribution can't be had.
        RuntimeError: the run against the manager took more than ``seconds`` or ran no test.
    """
    outcomes: dict[str, Outcomes] = {}
    broken = ""
    before = scene.daemon.metrics()
    for way in WAYS:
        scene.clear()
        before = scene.daemon.metrics()
        files = CACHE / f"{suite.name}-{way}"
        try:
            outcomes[way] = run(suite, scene.port(way), scene.password, files, seconds)
        except RuntimeError as error:
            if way == "direct":
                raise
            outcomes[way], broken = {}, str(error)
    after = scene.daemon.metrics()
    scene.cluster.wait_in_sync(60)
    return Comparison(
        suite=suite,
        outcomes=outcomes,
        worker_reads=_worker_reads(after, scene) - _worker_reads(before, scene),
        manager_reads=_grown(before, after, "mysqlproxy_reads_on_manager_total", "reason"),
        retried=sum(_grown(before, after, "mysqlproxy_retried_reads_total", "reason").values()),
        wrong_writes=scene.wrong_writes(),
        broken=broken,
    )


def _worker_reads(metrics: Metrics, scene: Scene) -> int:
    name = "mysqlproxy_statements_total"
    return int(sum(metrics.total(name, server=worker.name, kind="read") for worker in scene.cluster.workers))


def _grown(before: Metrics, after: Metrics, name: str, label: str) -> dict[str, int]:
    grown = Counter({labels[label]: int(value) for labels, value in after.get(name, [])})
    grown.subtract({labels[label]: int(value) for labels, value in before.get(name, [])})
    return {reason: count for reason, count in grown.most_common() if count}


def show(comparisons: list[Comparison], console: Console) -> None:
    """The table: tests by outcome, direct and through the daemon; then where the reads went."""
    table = Table(
        "suite", "way", "passed", "failed", "skipped", "reads on workers", "reads kept on the manager"
    )
    for found in comparisons:
        for way in WAYS:
            counts = Counter(found.outcomes[way].values())
            reads = ("", "")
            if way == "proxy":
                reasons = ", ".join(f"{count} {reason}" for reason, count in found.manager_reads.items())
                reads = (str(found.worker_reads), reasons)
            name = found.suite.name if way == "direct" else ""
            table.add_row(name, way, *(str(counts[o]) for o in ("passed", "failed", "skipped")), *reads)
    console.print(table)
    for found in comparisons:
        if found.retried:
            console.print(
                f"{found.suite.name}: {found.retried} reads refused by a worker, the manager answered"
            )
        for fault in found.faults:
            console.print(f"{found.suite.name}: {fault}", markup=False)
