"""deploy/provision on machines of its own: what user data calls, from put_secrets.sh to the workload of the demo."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from mysqlproxy.demo.network import unavailable
from tests.machines.hosts import ADDRESSES, ROLES, STAND_INS, Machines, machines
from tests.machines.module import DEPLOY
from tests.support.waiting import eventually

PROVISION = DEPLOY / "provision"
DAEMON = "http://127.0.0.1:9104"
WATCHED = {"gatekeeper": ["trusted-host"], "trusted-host": ["proxy"], "proxy": ["manager", "worker1"]}


def test_hosts_become_a_chain(tmp_path: Path) -> None:
    """Hosts wait for their secrets and become what they should; the workload runs; nobody else gets in."""
    why = unavailable()
    if why:
        pytest.skip(why)
    folder, aws = tmp_path / "operator", tmp_path / "aws"
    aws.mkdir()
    program = aws / "mysqlproxy"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={DEPLOY.parent} exec {sys.executable} -P -m mysqlproxy "$@"\n')
    program.chmod(0o755)
    operator = {**os.environ, "PATH": f"{STAND_INS}:{aws}:{os.environ['PATH']}", "SECRETS": str(aws)}
    run = [str(PROVISION / "put_secrets.sh"), "test", str(folder), ADDRESSES["gatekeeper"], "worker1"]
    subprocess.run(run, env=operator, check=True, capture_output=True, text=True)
    for name in ROLES:  # each host sees its own secret only
        (tmp_path / name).mkdir()
        shutil.copy(aws / f"test_{name}", tmp_path / name)
    late = tmp_path / "worker1" / "test_worker1"
    late.rename(tmp_path / "late")
    with machines(tmp_path) as made:
        for name in ROLES:
            if name == "worker1":
                assert made.status(name) == ""
                (tmp_path / "late").rename(late)
            eventually(partial(made.status, name), timeout=90, what=f"{name}: {made.log(name)}")
            assert made.status(name) == "ok", f"{name}: {made.log(name)}"
        metrics = " ".join([*made.within("proxy"), "curl", "--silent", f"{DAEMON}/metrics"])
        eventually(lambda: 'server_readable{server="worker1"} 1.0' in _output(metrics.split()), timeout=60)
        ready = f"curl --silent --write-out %{{http_code}} {DAEMON}/readyz".split()
        eventually(lambda: _output([*made.within("gatekeeper"), *ready]).endswith("200"), timeout=60)
        done = subprocess.run(
            [*made.within("client"), str(PROVISION / "workload.sh"), ADDRESSES["gatekeeper"], str(folder)],
            env={**operator, "METRICS": metrics},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        rows = [re.split(r"  +", line.strip()) for line in done.stdout.splitlines()]
        assert rows == [
            ["strategy", "writes", "reads"],
            ["direct", "manager 20", "manager 20"],
            ["random", "manager 20", "worker1 20"],
            ["customized", "manager 20", "worker1 20"],
        ]
        for name in ROLES:
            _watched(made, name)
        open_doors = {
            *(("client", "gatekeeper"), ("gatekeeper", "trusted-host"), ("trusted-host", "proxy")),
            *(("proxy", "manager"), ("proxy", "worker1"), ("worker1", "manager")),
        }
        doors = [
            (source, target) for source, target in itertools.permutations(ADDRESSES, 2) if target != "client"
        ]
        with ThreadPoolExecutor(10) as threads:
            found = threads.map(lambda door: made.reaches(*door), doors)
        assert {door for door, reached in zip(doors, found, strict=True) if reached} == open_doors


def _watched(made: Machines, name: str) -> None:
    """CloudWatch's agent was given the log and, of a hop, the metrics that monitoring.tf has alarms on."""
    given = json.loads((made.stage / name / "agent.json").read_text())
    logs, metrics = (given["config"][part] for part in ("logs", "metrics"))
    (file,) = logs["logs_collected"]["files"]["collect_list"]
    assert (file["log_group_name"], file["log_stream_name"]) == ("/test/hosts", name)
    assert metrics["namespace"] == "test"
    for server in WATCHED.get(name, ()):
        (scraped,) = given["scraped"]["scrape_configs"][0]["static_configs"]
        assert scraped["labels"] == {"host": name}
        shown = _output([*made.within(name), "curl", "--silent", f"http://{scraped['targets'][0]}/metrics"])
        declared = logs["metrics_collected"]["prometheus"]["emf_processor"]["metric_declaration"][0]
        for metric in ("mysqlproxy_server_up", "mysqlproxy_replica_lag_seconds"):
            assert any(re.search(selector, metric) for selector in declared["metric_selectors"])
            assert f'{metric}{{server="{server}"}}' in shown


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout
