"""Rules on a real server, through the daemon: what they refuse never reaches it, and nothing else is disturbed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.support.sessions import ask, errno, reload, standing, value
from tests.support.waiting import eventually

RULES = """
[[rule]]
name = "no-secrets"
tables = ["app.secrets"]
action = "deny"
errno = 1142
message = "not for you"
"""

Connection = pymysql.Connection  # type: ignore[type-arg]


class Scene:
    def __init__(self, daemon: Daemon, rules: Path) -> None:
        self.daemon = daemon
        self.rules = rules

    def connect(self, **options: object) -> Connection:
        return self.daemon.connect(**{"database": "app", **options})

    def use(self, rules: str, outcome: str = "reloaded ") -> None:
        self.rules.write_text(rules, encoding="utf-8")
        reload(self.daemon, outcome)

    def denied(self, **labels: str) -> float:
        return self.daemon.metrics().total("mysqlproxy_denied_statements_total", **labels)


@pytest.fixture(scope="module")
def scene(session_cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    rules = tmp_path_factory.mktemp("rules") / "rules.toml"
    rules.write_text("", encoding="utf-8")
    with standing(session_cluster, routing={"rules": [str(rules)], "strategy": "random"}) as daemon:
        with daemon.connect(database="app") as setup, setup.cursor() as cursor:
            for sql in (
                "CREATE TABLE secrets (id INT PRIMARY KEY, password VARCHAR(20))",
                "INSERT INTO secrets VALUES (1, 'swordfish')",
                "CREATE TABLE open_ (id INT PRIMARY KEY, a INT)",
                "INSERT INTO open_ VALUES (1, 1)",
                "CREATE VIEW harmless AS SELECT password AS p FROM secrets",
                "CREATE PROCEDURE dig() BEGIN DECLARE x TEXT; SELECT password INTO x FROM secrets; SELECT x; END",
                "CREATE FUNCTION peek() RETURNS TEXT RETURN (SELECT password FROM secrets)",
            ):
                cursor.execute(sql)
            setup.commit()
        session_cluster.wait_in_sync()
        yield Scene(daemon, rules)


@pytest.fixture
def guarded(scene: Scene) -> Scene:
    scene.use(RULES)
    eventually(lambda: value(scene.connect(), "SELECT COUNT(*) FROM open_") == 1)
    return scene


def refused(connection: Connection, sql: str) -> tuple[int, str]:
    with pytest.raises(pymysql.MySQLError) as caught:
        ask(connection, sql)
    return errno(caught.value), str(caught.value.args[1])


def test_a_denied_table_is_out_of_reach_and_the_rest_is_not(guarded: Scene, session_cluster: LocalCluster) -> None:
    client = guarded.connect()
    before = guarded.denied(account="app", rule="no-secrets", reason="matched")
    seen = len(guarded.daemon.log())
    for server in session_cluster.servers:
        server.general_log.mark()
    assert refused(client, "SELECT * FROM secrets WHERE password = 'nothing'") == (1142, "not for you")
    assert value(client, "SELECT a FROM open_") == 1
    assert not any("secrets" in text for server in session_cluster.servers for text in server.served("nothing"))
    assert guarded.denied(account="app", rule="no-secrets", reason="matched") == before + 1
    log = guarded.daemon.log()[seen:]
    assert "denied: account app, rule no-secrets, matched: SELECT * FROM secrets WHERE password = ?" in log
    assert "nothing" not in log
