"""What ``mysqlproxy bench`` reads: sysbench's report and /proc."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from mysqlproxy.bench import proc
from mysqlproxy.bench.errors import BenchError
from mysqlproxy.bench.sysbench import REMEDY, Outcome, Sysbench, parse, percentile

REPORT = """\
sysbench 1.0.20 (using system LuaJIT 2.1.0-beta3)

Running the test with following options:
Number of threads: 2

Threads started!

Latency histogram (values are in milliseconds)
       value  ------------- distribution ------------- count
       0.728 |***                                      5
       1.055 |****************************************  90
       9.910 |                                         4
      12.081 |*                                        1

SQL statistics:
    queries performed:
        read:                            22918
        write:                           0
        other:                           3274
        total:                           26192
    transactions:                        1637   (815.68 per sec.)
    queries:                             26192  (13050.92 per sec.)
    ignored errors:                      3      (0.00 per sec.)
    reconnects:                          0      (0.00 per sec.)

General statistics:
    total time:                          2.0039s
    total number of events:              1637

Latency (ms):
         min:                                    0.73
         95th percentile:                        6.43
"""


def test_the_report() -> None:
    assert parse(REPORT) == Outcome(
        seconds=2.0039, statements=26192, reads=22918, events=1637, errors=3, p50=1.055, p95=1.055, p99=9.910
    )


def test_another_report() -> None:
    with pytest.raises(BenchError, match=r"is it sysbench 1\.0\?"):
        parse(REPORT.replace("queries:   ", "requests:"))


def test_percentiles() -> None:
    buckets = [(1.0, 50), (2.0, 45), (3.0, 5)]
    assert [percentile(buckets, share) for share in (0.5, 0.51, 0.95, 0.96, 1.0)] == [1.0, 2.0, 2.0, 3.0, 3.0]
    assert percentile([], 0.5) == 0.0


def test_without_sysbench_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError) as caught:
        Sysbench(tmp_path)
    assert str(caught.value) == REMEDY


BUSY = """
import os, sys
if os.fork():
    os.wait()
else:
    n = 0
    while True: n += 1
"""


def test_cpu_and_memory_of_all_of_a_target_s_processes() -> None:
    parent = subprocess.Popen([sys.executable, "-c", BUSY])
    deadline = time.monotonic() + 30
    pids: list[int] = []
    try:
        while len(pids) < 2:
            assert time.monotonic() < deadline, "no child was found"
            pids = proc.family(parent.pid)
        assert pids[0] == parent.pid
        used = proc.cpu_seconds(pids)
        while proc.cpu_seconds(pids) < used + 0.05:
            assert time.monotonic() < deadline, "the child's time is not counted"
        assert proc.pss_kib(pids) > 1000
        resident = proc.begin_peak(pids)
        assert resident is not None
        assert resident > 1000
        assert proc.peak_kib(pids) >= resident
    finally:
        for pid in reversed(pids or [parent.pid]):
            subprocess.run(["kill", "-KILL", str(pid)], check=False)
        parent.wait()
    assert proc.cpu_seconds([parent.pid]) == 0.0
    assert proc.pss_kib([parent.pid]) == 0.0
    assert proc.begin_peak([parent.pid]) is None
