"""What the log and the metrics say, and what they never say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.support.raw import RawClient
from tests.support.sessions import ask, reload
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]

SECRET = "Kn0wnOnlyToMe"
LITERAL = "MarkerLiteral77"
NUMBER = "7788990011"

STATEMENTS = (
    f"SELECT '{LITERAL}', {NUMBER}",
    f'SELECT "{LITERAL}"',
    f"SELECT /* {LITERAL} */ 1 -- {LITERAL}",
    f"SELECT 0x{LITERAL.encode().hex()}, _utf8mb4'{LITERAL}', N'{LITERAL}', DATE'2026-{NUMBER}'",
    f"INSERT INTO app.t (v) VALUES ('{LITERAL}'), ('{LITERAL}')",
    f"UPDATE app.t SET v = '{LITERAL}' WHERE v = {NUMBER}",
    f"SELECT * FROM app.missing WHERE v = '{LITERAL}'",
    f"SELECT '{LITERAL}",
    f"this is no SQL '{LITERAL}'",
    f"SET @a = '{LITERAL}'",
    f"SET time_zone = '{LITERAL}'",
    f"SET PASSWORD FOR nobody@'%' = PASSWORD('{SECRET}')",
    f"CREATE USER '{LITERAL}' IDENTIFIED BY '{SECRET}'",
    f"CHANGE MASTER TO MASTER_PASSWORD='{SECRET}'",
    f"PREPARE p FROM 'SELECT ''{LITERAL}'''",
    f"CALL app.{LITERAL[:6]}p('{LITERAL}')",
    f"SELECT /*! '{LITERAL}' */",
    f"KILL {NUMBER}",
    f"DO SLEEP(0.01), '{LITERAL}'",
    f"LOAD DATA LOCAL INFILE '/{LITERAL}' INTO TABLE app.t",
    "SELECT '" + LITERAL * 2000 + "'",
)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_literal_and_no_secret_is_told(cluster: LocalCluster, proxy: Proxy, log_format: str) -> None:
    cluster.manager.query("CREATE TABLE app.t (v TEXT)")
    daemon = proxy(log={"level": "debug", "format": log_format, "slow_statement": 0.000001})
    client = daemon.connect()
    for statement in STATEMENTS:
        try:
            ask(client, statement)
        except pymysql.MySQLError:
            client = daemon.connect() if not client.open else client
    with RawClient(("127.0.0.1", daemon.port), "app", cluster.passwords["app"]) as raw:
        prepared = raw.prepare("SELECT ?, '" + LITERAL + "'")
        raw.execute(prepared.id, [LITERAL.encode()]).check()
    with pytest.raises(pymysql.OperationalError):
        daemon.connect(password=SECRET)
    daemon.config_path.write_text(daemon.config_path.read_text() + "\n[broken")
    reload(daemon, "reload refused")
    told = daemon.log() + daemon.get("/metrics")[1]
    assert len(re.findall(r" s on \w+: ", told)) > 10, "slow statements are told"
    for marker in (SECRET, LITERAL, NUMBER, LITERAL.encode().hex(), *cluster.passwords.values()):
        assert marker.lower() not in told.lower()


def test_each_line_of_a_session_has_its_id(cluster: LocalCluster, proxy: Proxy) -> None:
    daemon = proxy(log={"format": "json", "slow_statement": 0.05})
    with RawClient(("127.0.0.1", daemon.port), "app", cluster.passwords["app"]) as client:
        number = client.greeting.connection_id
        client.query("SELECT SLEEP(0.1), 'x'").check()
    eventually(lambda: '"mysqlproxy.slow"' in daemon.log())
    lines = [json.loads(line) for line in daemon.log().splitlines()]
    mine = [line for line in lines if line.get("session") == number]
    assert [line["message"] for line in mine if line["logger"] == "mysqlproxy.login"] == [
        "login of app from 127.0.0.1"
    ]
    [slow] = [line for line in mine if line["logger"] == "mysqlproxy.slow"]
    assert re.fullmatch(r"0\.\d{3} s on \w+: SELECT SLEEP\(\?\), \?", slow["message"], re.I)
    assert slow["level"] == "warning"
    assert {"ts", "level", "logger", "message"} <= set(slow)


def test_a_line_of_text_has_the_sessions_id(proxy: Proxy) -> None:
    daemon = proxy()
    client = daemon.connect()
    assert f"login [{client.thread_id()}] login of app from 127.0.0.1" in daemon.log()


DENIALS = {
    "a wrong password": ({"password": "wrong"}, "app"),
    "an unknown account": ({"user": "nobody", "password": "x"}, "nobody"),
    "a wrong address": ({"user": "elsewhere", "password": "pass"}, "elsewhere"),
}


def test_denials_are_told_with_account_and_reason(cluster: LocalCluster, proxy: Proxy) -> None:
    password = cluster.passwords["app"]
    daemon = proxy(
        users=[
            {"name": "app", "password": password},
            {"name": "elsewhere", "password": "pass", "allow_from": ["192.0.2.0/24"]},
        ]
    )
    reasons = set()
    for options, name in DENIALS.values():
        seen = len(daemon.log())
        with pytest.raises(pymysql.OperationalError) as denied:
            daemon.connect(**options)
        assert denied.value.args[0] == 1045
        [line] = [line for line in daemon.log()[seen:].splitlines() if "login denied" in line]
        assert name in line
        assert "127.0.0.1" in line
        assert re.search(r"\[\d{10}\]", line)
        reasons.add(line.rpartition(": ")[2])
    assert len(reasons) == 3
    assert daemon.metrics().total("mysqlproxy_logins_total", result="denied") == 3
    assert daemon.metrics().total("mysqlproxy_denied_total") == 3


def test_the_endpoints(proxy: Proxy) -> None:
    daemon = proxy()
    ask(daemon.connect(), "SELECT 1")
    assert daemon.get("/healthz")[0] == 200
    assert daemon.get("/readyz")[0] == 200
    metrics = daemon.metrics()
    assert metrics.total("mysqlproxy_client_connections") == 1
    assert metrics.total("mysqlproxy_server_up") == 3
    assert metrics.total("mysqlproxy_logins_total", result="ok") == 1
    assert metrics.total("mysqlproxy_statements_total", kind="read") == 1
    assert metrics.total("mysqlproxy_statement_duration_seconds_count", kind="read") == 1
    assert metrics.total("mysqlproxy_bytes_total", direction="received") > 0
    assert daemon.get("/elsewhere")[0] == 404
