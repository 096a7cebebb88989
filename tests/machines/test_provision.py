"""deploy/provision on machines of its own: what user data calls, from put_secrets.sh to the workload of the demo."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from mysqlproxy.demo.network import unavailable
from tests.machines.hosts import ADDRESSES, ROLES, STAND_INS, Machines, machines
from tests.machines.module import DEPLOY
from tests.support.certificates import Authority
from tests.support.mysql import PASSWORD, MysqlPair
from tests.support.relay import relay
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(300)
PROVISION = DEPLOY / "provision"
DAEMON = "http://127.0.0.1:9104"
MANAGED = ("manager", "worker1")
# What RDS for MySQL gives the account that it makes.
RDS_MASTER = """SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER,
    SHOW DATABASES, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, REPLICATION SLAVE, REPLICATION CLIENT, CREATE VIEW,
    SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER, EVENT, TRIGGER"""
WATCHED = {"gatekeeper": ["trusted-host"], "trusted-host": ["proxy"], "proxy": ["manager", "worker1"]}


@pytest.fixture
def operator(tmp_path: Path) -> Mapping[str, str]:
    """The environment of who runs put_secrets.sh and workload.sh; the secrets are in the folder aws."""
    why = unavailable()
    if why:
        pytest.skip(why)
    aws = tmp_path / "aws"
    aws.mkdir()
    program = aws / "mysqlproxy"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={DEPLOY.parent} exec {sys.executable} -P -m mysqlproxy "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{STAND_INS}:{aws}:{os.environ['PATH']}", "SECRETS": str(aws)}


def test_hosts_become_a_chain(operator: Mapping[str, str], tmp_path: Path) -> None:
    """Hosts wait for their secrets and become what they should; the workload runs; nobody else gets in."""
    folder = tmp_path / "operator"
    _put_secrets(operator, folder, "worker1")
    for name in ROLES:
        _give_secret(tmp_path, name)
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
            secret = (tmp_path / name / "secret").read_text().splitlines()
            assert secret
            assert all(file.startswith("600 ") for file in secret), secret
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


def test_the_proxy_takes_managed_servers(
    operator: Mapping[str, str], managed: MysqlPair, tmp_path: Path
) -> None:
    """Servers with certificates of another CA and an account of their own kind: the proxy's host makes the others."""
    folder = tmp_path / "operator"
    folder.mkdir()
    for account in ("app_db", "monitor"):  # as if made before: other tests use the servers, too
        (folder / f"{account}.password").write_text(PASSWORD)
    _put_secrets({**operator, "SERVERS_CA": str(tmp_path / "ca.pem")}, folder)
    _give_secret(tmp_path, "proxy")
    (tmp_path / "proxy/test_master").write_text(json.dumps({"username": "master", "password": "master's"}))
    for account in ("app", "monitor"):
        managed.source.query(f"DROP USER {account}@'%%'", ())
    given = {
        "managed": " ".join(f"{name}={name}.rds.internal" for name in MANAGED),
        "master": "test/master",
        "addresses": "\n      ".join(f"{ADDRESSES[name]} {name}.rds.internal" for name in MANAGED)
        + f"\n      {ADDRESSES['trusted-host']} trusted-host",
    }
    with ExitStack() as stack:
        made = stack.enter_context(machines(tmp_path, ["proxy"], given))
        for name, server in zip(MANAGED, managed.servers, strict=True):
            with made.network[name].inside():
                listener = socket.create_server((ADDRESSES[name], 3306))
            stack.enter_context(relay(server.port, listener=listener))
        eventually(partial(made.status, "proxy"), timeout=90, what=f"the proxy: {made.log('proxy')}")
        assert made.status("proxy") == "ok", made.log("proxy")
        metrics = [*made.within("proxy"), "curl", "--silent", f"{DAEMON}/metrics"]
        eventually(lambda: 'server_readable{server="worker1"} 1.0' in _output(metrics), timeout=60)
        eventually(lambda: 'server_manager{server="manager"} 1.0' in _output(metrics), timeout=60)
    with managed.source.connect("app", database="app") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE made (id INT)")


@pytest.fixture
def managed(mysql97: MysqlPair, tmp_path: Path) -> Iterator[MysqlPair]:
    """The MySQL pair as RDS has it: certificates of a CA of its own, and `master`, who is no SUPER."""
    authority = Authority(tmp_path)
    names = ("ssl_ca", "ssl_cert", "ssl_key")
    before = [[server.value(f"SELECT @@{name}") for name in names] for server in mysql97.servers]

    def certify(files: Sequence[Sequence[object]]) -> None:
        for server, paths in zip(mysql97.servers, files, strict=True):
            for name, path in zip(names, paths, strict=True):
                server.query(f"SET GLOBAL {name} = %s", (str(path),))
            server.query("ALTER INSTANCE RELOAD TLS")

    certify([(authority.ca, *authority.issue(name, f"{name}.rds.internal")) for name in MANAGED])
    mysql97.source.query("CREATE USER master@'%%' IDENTIFIED BY %s", ("master's",))
    mysql97.source.query(f"GRANT {RDS_MASTER} ON *.* TO master@'%%' WITH GRANT OPTION", ())
    yield mysql97
    certify(before)


def _put_secrets(operator: Mapping[str, str], folder: Path, *workers: str) -> None:
    run = [str(PROVISION / "put_secrets.sh"), "test", str(folder), ADDRESSES["gatekeeper"], *workers]
    subprocess.run(run, env=operator, check=True, capture_output=True, text=True)


def _give_secret(stage: Path, name: str) -> None:
    """Each host sees its own secret only."""
    (stage / name).mkdir()
    shutil.copy(stage / "aws" / f"test_{name}", stage / name)


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
