"""``mysqlproxy bench`` as a user runs it: that it works and leaves nothing. No figure is ever judged here."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mysqlproxy
from mysqlproxy.bench import chart, haproxy, plan
from mysqlproxy.demo import toml
from mysqlproxy.demo.daemon import cluster_config
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol.build import compiled
from tests.support.waiting import eventually

GUARD_SECONDS = 540
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("sysbench") is None, reason="sysbench is not installed"),
]


class Bench:
    """The command as a process that works in ``folder`` and has its temporary folder there."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        environment = {
            **os.environ,
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(Path(mysqlproxy.__file__).parent.parent),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mysqlproxy", "bench", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
            text=True,
        )
        self.output = ""
        self._guard = threading.Timer(GUARD_SECONDS, self.process.kill)
        self._guard.daemon = True
        self._guard.start()

    def read_until(self, text: str) -> None:
        assert self.process.stdout is not None
        while text not in self.output:
            line = self.process.stdout.readline()
            assert line, f"it ended before {text!r}:\n{self.output}"
            self.output += line

    def end(self) -> int:
        assert self.process.stdout is not None
        self.output += self.process.stdout.read()
        self.process.stdout.close()
        status = self.process.wait()
        self._guard.cancel()
        return status

    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "benchmark_results.json").read_text())
        return found

    def left(self) -> list[str]:
        """Files of its temporary folder and processes that name it."""
        found = [str(path) for path in self.temporary.iterdir()]
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = path.read_bytes()
            except OSError:
                continue
            if str(self.temporary).encode() in command:
                found.append(command.decode(errors="replace"))
        return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short name: the servers' sockets lie below it."""
    path = Path(tempfile.mkdtemp(prefix="mysqlproxy-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def run(folder: Path) -> Iterator[Callable[..., Bench]]:
    started: list[Bench] = []

    def start(*arguments: str) -> Bench:
        started.append(Bench(folder, *arguments))
        return started[-1]

    yield start
    for bench in started:
        if bench.process.poll() is None:
            bench.process.terminate()
            bench.end()


def test_quick_measures_everything_and_leaves_the_results(run: Callable[..., Bench]) -> None:
    bench = run("--quick")
    assert bench.end() == 0, bench.output
    results = bench.results()
    samples = {(one["row"], one["target"]): one["values"] for one in results["samples"]}
    missing = set() if haproxy.program() else {plan.HAPROXY}
    if not compiled():
        missing.add(plan.PURE)
    expected = {(row.name, name) for row in plan.quick() for name in row.targets if name not in missing}
    assert samples.keys() == expected, bench.output
    for (row, target), values in samples.items():
        if "qps" in values:
            assert values["qps"] > 0, (row, target)
            assert values["p95_ms"] > 0, (row, target)
            if target != plan.DIRECT and "others" not in row:
                assert values["cpu_us"] > 0, (row, target)
                assert values["pss_kib"] > 0, (row, target)
    assert samples["point_select 16", "random"]["workers_share"] > 0
    assert samples["read_write 16 autocommit", "random"]["workers_share"] > 0
    assert samples["idle clients", "mysqlproxy"]["clients"] == 50
    assert results["machine"]["build"] == ("compiled" if compiled() else "pure Python")
    assert not results["interrupted"]
    assert "A/A" in bench.output
    names = {path.name for path in bench.folder.iterdir()}
    charts = {"benchmark_results.png", "benchmark_results.svg"} if chart.available() else set()
    assert names == {"benchmark_results.json", "tmp"} | charts
    assert bench.left() == []


def test_interrupted_it_reports_what_it_has_and_leaves_nothing(run: Callable[..., Bench]) -> None:
    bench = run("--only", "wide*", "--rounds", "1", "--seconds", "8")
    bench.read_until("wide rows 16: direct, round 1")
    bench.process.send_signal(signal.SIGINT)
    assert bench.end() == 128 + signal.SIGINT, bench.output
    assert "Traceback" not in bench.output
    results = bench.results()
    assert [one["target"] for one in results["samples"]] == [plan.DIRECT]
    assert results["interrupted"]
    assert bench.left() == []


def test_interrupted_before_the_first_turn_there_are_no_results(run: Callable[..., Bench]) -> None:
    bench = run("--quick")
    bench.read_until("filling the tables")
    bench.process.send_signal(signal.SIGTERM)
    assert bench.end() == 128 + signal.SIGTERM, bench.output
    assert "Traceback" not in bench.output
    assert [path.name for path in bench.folder.iterdir()] == ["tmp"]
    assert bench.left() == []


def test_killed_it_leaves_nothing_running(run: Callable[..., Bench]) -> None:
    bench = run("--only", "wide*", "--rounds", "9", "--seconds", "1")
    bench.read_until("wide rows 16: mysqlproxy, round 1")
    bench.process.kill()
    bench.end()
    eventually(lambda: not bench.left(), 60)


def test_the_servers_of_a_configuration_and_another_proxy(
    cluster: LocalCluster, run: Callable[..., Bench], tmp_path: Path
) -> None:
    file = tmp_path / "mysqlproxy.toml"
    file.touch(mode=0o600)
    file.write_text(toml.dumps(cluster_config(cluster, 6033, 9104)))
    bench = run(
        *("--config", str(file), "--schema", "app", "--against", f"other={cluster.manager.address}"),
        *("--only", "wide*", "--rounds", "1", "--seconds", "1"),
    )
    assert bench.end() == 0, bench.output
    targets = {one["target"] for one in bench.results()["samples"]}
    assert {plan.DIRECT, plan.PROXY, plan.CONTROL, "other"} <= targets
    assert cluster.manager.query("SHOW TABLES", schema="app") == []
    assert bench.left() == []


def test_a_table_that_was_there_stays(
    cluster: LocalCluster, run: Callable[..., Bench], tmp_path: Path
) -> None:
    cluster.manager.query("CREATE TABLE sbtest2 (id INT)", schema="app")
    file = tmp_path / "mysqlproxy.toml"
    file.touch(mode=0o600)
    file.write_text(toml.dumps(cluster_config(cluster, 6033, 9104)))
    bench = run("--config", str(file), "--schema", "app", "--quick")
    assert bench.end() == 1, bench.output
    assert "mysqlproxy bench: app has sbtest2 already; drop what an earlier benchmark left" in bench.output
    assert [list(row.values()) for row in cluster.manager.query("SHOW TABLES", schema="app")] == [["sbtest2"]]
    assert bench.left() == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only", "nothing"], "mysqlproxy bench: no row is called 'nothing'; there are: idle clients,"),
        (["--against", "x"], "mysqlproxy bench: --against x: write NAME=HOST:PORT"),
        (["--config", "missing.toml"], "missing.toml: cannot be read"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    run: Callable[..., Bench], arguments: list[str], sentence: str
) -> None:
    bench = run(*arguments)
    assert bench.end() == 1, bench.output
    assert sentence in bench.output
    assert "Traceback" not in bench.output
    assert bench.left() == []
