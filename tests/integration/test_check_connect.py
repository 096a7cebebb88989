"""``check --connect`` and ``explain`` on real servers: what they find out, and that they change nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mysqlproxy.cli import main
from mysqlproxy.demo import toml
from mysqlproxy.demo.daemon import cluster_config
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.gatekeeper.secrets import native_verifier


@pytest.fixture
def config(cluster: LocalCluster) -> dict[str, Any]:
    return cluster_config(cluster, 1, 2)


def write(folder: Path, config: dict[str, Any]) -> str:
    file = folder / "mysqlproxy.toml"
    file.write_text(toml.dumps(config))
    file.chmod(0o600)
    return str(file)


def check(folder: Path, config: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Exit status, and what was said without the file's name."""
    file = write(folder, config)
    status = main(["check", "--connect", "--config", file])
    out, err = capsys.readouterr()
    assert out == ("" if status else "ok: 3 servers, 1 user\n")
    return status, [line.replace(f"{file}: ", "") for line in err.splitlines()]


def test_a_good_cluster(tmp_path: Path, config: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, config, capsys) == (0, [])


def test_what_is_missing_is_named(
    tmp_path: Path, config: dict[str, Any], cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = cluster.workers[0]
    worker.query("SET sql_log_bin = 0")
    cluster.manager.query("REVOKE SLAVE MONITOR ON *.* FROM monitor@127.0.0.1")
    cluster.wait_in_sync()
    status, lines = check(tmp_path, config, capsys)
    assert status == 1
    asked = [line for line in lines if "GRANT SLAVE MONITOR ON *.* TO 'monitor'@'127.0.0.1';" in line]
    assert [line.split(": ")[0] for line in asked] == [
        "servers[manager]",
        "servers[worker1]",
        "servers[worker2]",
    ]


def test_a_wrong_password_of_the_monitor(
    tmp_path: Path, config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config["monitor"]["password"] = "geheim"
    status, lines = check(tmp_path, config, capsys)
    assert status == 1
    assert len(lines) == 3
    assert all("Access denied for user 'monitor'" in line and "(1045)" in line for line in lines)
    assert "geheim" not in "".join(lines)


def test_a_login_that_the_servers_refuse(
    tmp_path: Path, config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config["users"][0]["server_password"] = "geheim"
    status, lines = check(tmp_path, config, capsys)
    assert status == 1
    assert [line.partition(": Access denied")[0] for line in lines] == [
        f"users[app]: cannot log in to {name} as 'app'" for name in ("manager", "worker1", "worker2")
    ]
    assert "geheim" not in "".join(lines)


def test_a_login_that_cannot_be_tried_is_said(
    tmp_path: Path, config: dict[str, Any], cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    config["users"] = [{"name": "app", "verifier": native_verifier(cluster.passwords["app"])}]
    assert check(tmp_path, config, capsys) == (
        0,
        ["warning: users[app]: its login to the servers was not tried: no password is known here"],
    )


def test_who_could_write_to_a_worker_is_warned_of(
    tmp_path: Path, config: dict[str, Any], cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.manager.query("GRANT READ_ONLY ADMIN ON *.* TO app")
    cluster.wait_in_sync()
    status, lines = check(tmp_path, config, capsys)
    assert status == 0
    assert [line.partition(" past read_only by ")[0] for line in lines] == [
        "warning: users[app]: 'app' could write to worker1",
        "warning: users[app]: 'app' could write to worker2",
    ]


def test_a_worker_that_takes_writes(
    tmp_path: Path, config: dict[str, Any], cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.workers[0].query("SET GLOBAL read_only = 0")
    status, lines = check(tmp_path, config, capsys)
    assert status == 0
    assert lines == [
        "warning: servers[worker1]: is a worker and not read_only; run SET GLOBAL read_only = 1 there"
    ]


def test_replication_that_is_stopped(
    tmp_path: Path, config: dict[str, Any], cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.workers[1].query("STOP SLAVE SQL_THREAD")
    status, lines = check(tmp_path, config, capsys)
    assert status == 0
    assert lines == ["warning: servers[worker2]: takes no reads: its replication is stopped"]


def test_no_manager(
    tmp_path: Path, config: dict[str, Any], cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.manager.query("SET GLOBAL read_only = 1")
    status, lines = check(tmp_path, config, capsys)
    assert status == 1
    assert any(line.startswith("servers: no server takes writes: ") for line in lines)


def test_limits_below_the_servers(
    tmp_path: Path, config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config["limits"]["max_packet"] = 1024
    status, lines = check(tmp_path, config, capsys)
    assert status == 0
    assert [line.partition(",")[0] for line in lines] == [
        f"warning: limits.max_packet: is below max_allowed_packet of {name}"
        for name in ("manager", "worker1", "worker2")
    ]


def test_explain_sees_the_servers_as_they_are(
    tmp_path: Path, config: dict[str, Any], cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.manager.query("CREATE TABLE app.t (a INT)")
    cluster.wait_in_sync()
    cluster.workers[1].query("STOP SLAVE SQL_THREAD")
    file = write(tmp_path, config)
    assert main(["explain", "--json", "--config", file, "SELECT 1 FROM app.t"]) == 0
    answer = json.loads(capsys.readouterr().out)
    reasons = {candidate["server"]: candidate["reason"] for candidate in answer["candidates"]}
    assert answer["server"] == "worker1"
    assert reasons["manager"] == "it is the manager"
    assert reasons["worker1"].startswith("chosen (ping ")
    assert reasons["worker2"] == "its replication is stopped"
    assert main(["explain", "--config", file, "UPDATE app.t SET a = 1"]) == 0
    assert "server       manager: kind write" in capsys.readouterr().out
    assert main(["explain", "--json", "--config", file, "SELECT 1 FROM app.t"]) == 0


def test_explain_knows_views_and_functions(
    tmp_path: Path, config: dict[str, Any], cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.manager.query("CREATE FUNCTION app.f() RETURNS INT READS SQL DATA RETURN GET_LOCK('x', 1)")
    cluster.manager.query("CREATE VIEW app.v AS SELECT app.f()")
    cluster.wait_in_sync()
    file = write(tmp_path, config)
    assert main(["explain", "--json", "--config", file, "SELECT * FROM app.v"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["kind"], answer["server"], answer["catalog"]) == ("write", "manager", True)
    assert answer["reasons"][0].startswith("reads the view app.v, which calls app.f, which calls get_lock")
    assert main(["explain", "--config", file, "SELECT * FROM app.nowhere"]) == 0
    assert "app.nowhere is not a table or view that is known" in capsys.readouterr().out


def test_nothing_is_changed(
    tmp_path: Path, config: dict[str, Any], cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    def state() -> list[object]:
        return [server.value("SELECT @@gtid_binlog_state") for server in cluster.servers]

    before = state()
    check(tmp_path, config, capsys)
    main(["explain", "--config", write(tmp_path, config), "DELETE FROM app.t"])
    assert state() == before


def test_rules_that_cannot_see_views_are_told_of(
    tmp_path: Path, config: dict[str, Any], cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.manager.query("CREATE USER blind@'%' IDENTIFIED BY 'x'")
    cluster.manager.query("GRANT SLAVE MONITOR, BINLOG MONITOR ON *.* TO blind@'%'")
    cluster.wait_in_sync()
    config["monitor"] |= {"user": "blind", "password": "x"}
    status, lines = check(tmp_path, config, capsys)
    assert status == 0
    assert not [line for line in lines if "routing.rules" in line]
    config["routing"] = {"rules": ["builtin:default"]}
    main(["check", "--connect", "--config", write(tmp_path, config)])
    out, err = capsys.readouterr()
    assert "deny password-hashes" in out
    [warning] = [line for line in err.splitlines() if "routing.rules" in line]
    assert "meet every deny rule" in warning
