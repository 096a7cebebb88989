"""``mysqlproxy bench``: starts what is needed, takes the turns, prints the tables, writes the results.

Called by ``cli``. What is measured is in ``bench.plan``, how in ``bench.runner``. Interrupted, it ends what it
started and reports what it has.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import pymysql
from rich.console import Console

from mysqlproxy.bench import chart, haproxy, machine, plan, report
from mysqlproxy.bench.errors import BenchError, Interrupted
from mysqlproxy.bench.runner import Runner
from mysqlproxy.bench.site import Site, rival
from mysqlproxy.bench.stats import Sample
from mysqlproxy.demo.errors import LocalClusterError

RESULTS = Path("benchmark_results.json")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WIDTH = 170  # of the tables where no terminal says how wide it is


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for.

    Attributes:
        config: whose servers to use; None for a local cluster. user, schema: see ``bench.backend.of_config``.
        against: more proxies, as NAME=HOST:PORT[:PID].
        only: patterns of rows; empty for all.
        quick: one short round of few rows. rounds, seconds: of the turns.
    """

    config: Path | None
    user: str
    schema: str
    against: Sequence[str]
    only: Sequence[str]
    quick: bool
    rounds: int
    seconds: int


def bench(request: Request) -> int:
    """Run it. Returns the exit status: 0 done, 1 something could not be measured or started (standard error says
    why), 128 and the signal's number when interrupted.

    Raises:
        ConfigFault: the configuration's faults.
    """
    try:
        return _Bench(request).run()
    except (BenchError, LocalClusterError, pymysql.MySQLError, OSError) as error:
        print(f"mysqlproxy bench: {error}", file=sys.stderr)
        return 1


class _Bench:
    def __init__(self, request: Request) -> None:
        self._console = Console(soft_wrap=True)
        self._status = self._console.status("starting")
        if request.quick:
            request = replace(request, rounds=1, seconds=1)
        self._request = request
        try:
            self._rows = plan.select(plan.quick() if request.quick else plan.full(), request.only)
        except ValueError as error:
            raise BenchError(str(error)) from None
        self._rivals = [rival(text) for text in request.against]
        self._site = Site(request.config, request.user, request.schema, self._rivals, self._progress)
        self._signal = 0
        self._samples: list[Sample] = []

    def run(self) -> int:
        for missing, sentence in (
            (not haproxy.program(), "HAProxy is not installed: no ratios to it; apt-get install haproxy"),
            (not chart.available(), chart.REMEDY),
        ):
            if missing:
                self._console.print(f"note: {sentence}", highlight=False, markup=False)
        with self._signals_noted():  # the report, too, is written whole
            try:
                with self._status, self._site:
                    self._measure()
            except (Interrupted, LocalClusterError, pymysql.MySQLError):
                if not self._signal:
                    raise
            if self._samples:
                self._report()
        if self._signal:
            return 128 + self._signal
        return 1 if report.failures(self._samples) else 0

    def _measure(self) -> None:
        self._site.start({name for row in self._rows for name in row.targets})
        runner = Runner(self._site, self._request.seconds, [one.name for one in self._rivals])
        for sample in runner.run(self._rows, self._request.rounds):
            self._samples.append(sample)
            self._progress(f"{sample.row}: {sample.target}, round {sample.round + 1}")

    def _report(self) -> None:
        about = machine.describe(self._site.server_version)
        arguments = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in asdict(self._request).items()
        }
        results: dict[str, Any] = {
            "machine": about,
            "arguments": arguments,
            "interrupted": bool(self._signal),
            "summary": report.summary(self._samples),
            "samples": [asdict(sample) for sample in self._samples],
        }
        files = [RESULTS]
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        title = ", ".join(f"{name} {value}" for name, value in about.items())
        if chart.available():
            files += chart.draw(self._samples, title, RESULTS.with_suffix(""))
        console = self._console if self._console.is_terminal else Console(width=_WIDTH)
        console.print(title, highlight=False, markup=False)
        for table in (report.table, report.control, report.goals):
            if table(self._samples).row_count:
                console.print(table(self._samples))
        for failure in report.failures(self._samples):
            print(f"failed: {failure}", file=sys.stderr)
        console.print(f"written: {', '.join(map(str, files))}", highlight=False, markup=False)

    def _progress(self, text: str) -> None:
        self._status.update(text)
        if not self._console.is_terminal:
            self._console.print(text, highlight=False, markup=False)

    @contextmanager
    def _signals_noted(self) -> Iterator[None]:
        """Signals only leave a note and end sysbench: no clean-up is ever cut short by one."""

        def note(number: int, _: FrameType | None) -> None:
            self._signal = number
            self._site.cancel()

        before = {number: signal.signal(number, note) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
