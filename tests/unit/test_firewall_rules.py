"""Rules files: what they may say, in which order rules are asked, when and for whom; the files that are shipped."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from mysqlproxy.errors import ConfigFault, PolicyDenied
from mysqlproxy.gatekeeper.rules import learned
from mysqlproxy.gatekeeper.rules.firewall import Firewall, Loaded, Moment
from mysqlproxy.gatekeeper.rules.limit import Count, Limiter
from mysqlproxy.gatekeeper.rules.load import read_rules
from mysqlproxy.gatekeeper.rules.schema import Rule
from mysqlproxy.gatekeeper.rules.trial import Trial, attempt, try_cases
from mysqlproxy.sql import catalog
from mysqlproxy.sql.uses import MAX_NORMALISED, uses_of
from mysqlproxy.sql.verdict import SqlContext

SHIPPED = Path(__file__).parents[2] / "rules"
CONTEXT = SqlContext(schema="app", catalog=catalog.make([("app", "t", catalog.table())]))
NOON = Moment(2, 12 * 60)

Make = Callable[..., Firewall]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def firewall(*texts: str) -> Firewall:
        files = []
        for number, text in enumerate(texts):
            path = tmp_path / f"rules{number}.toml"
            path.write_text(text, encoding="utf-8")
            files.append(Loaded(path, read_rules(path)))
        return Firewall(files)

    return firewall


def rule(name: str, action: str, **keys: object) -> str:
    lines = [
        f"{key} = {json.dumps(value)}" for key, value in {"name": name, "action": action, **keys}.items()
    ]
    return "[[rule]]\n" + "\n".join(lines) + "\n"


def judge(
    firewall: Firewall, sql: str, account: str = "app", now: Moment = NOON, peer: str = "127.0.0.1"
) -> Trial:
    return attempt(firewall, sql.encode(), CONTEXT, account, ip_address(peer), now)


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.toml")), ids=lambda file: file.name)
def test_shipped_files_hold_what_they_promise(file: Path) -> None:
    found = try_cases(Loaded(file, read_rules(file)))
    assert not found.faults
    assert not found.warnings


def test_three_files_are_shipped() -> None:
    assert {file.name for file in SHIPPED.glob("*.toml")} == {
        "default.toml",
        "cautious.toml",
        "reporting.toml",
    }


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (rule("a", "deny", tabels=["x"]), 'rule[a].tabels: is not a known key; did you mean "tables"?'),
        (rule("a", "refuse"), "rule[a].action: is none of its values"),
        ('[[rule]]\naction = "deny"', "rule[1].name: is missing; add it"),
        (rule("a", "allow", errno=1142), 'has errno, which is for action = "deny"; leave it out'),
        (rule("a", "deny", errno=1), "rule[a].errno: is none of its values"),
        (rule("a", "route"), "says not where to; add role, server, strategy or consistency"),
        (rule("a", "route", role="worker", server="b"), "has both role and server"),
        (rule("a", "limit"), "says not how much; add rate or concurrency"),
        (rule("a", "limit", rate=0.0), "rule[a].rate: is out of range; write more than 0"),
        (rule("a", "deny", hours="8-17"), 'rule[a].hours: is no span of hours; write it as in "22:00-06:00"'),
        (rule("a", "deny", pattern="("), "rule[a].pattern: is no regular expression"),
        (rule("a", "deny", tables=["a.b.c"]), 'is no name; write "name" or "schema.name"'),
        (rule("a", "deny", columns=["c"]), 'is no column; write "table.column" or "schema.table.column"'),
        (rule("a", "deny", networks=["10.0.0.1/8"]), "has bits beyond its prefix; write 10.0.0.0/8"),
        (rule("a", "deny", access="read"), "has access and neither tables nor columns; add them"),
        (rule("a", "allow", columns=["t.c"]), "has columns, which tells what to refuse"),
        ('[[case]]\nstatement = "SELECT 1"\nexpect = "deny"', "case[1].why: is missing; add it"),
        ("not_understood = 1", "not_understood: is none of its values"),
    ],
)
def test_faults_name_file_key_reason_and_remedy(make: Make, tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigFault) as caught:
        make(text)
    (line,) = caught.value.faults
    assert line.startswith(f"{tmp_path}/rules0.toml: ")
    assert fault in line


def test_the_first_rule_of_the_lowest_priority_counts(make: Make) -> None:
    firewall = make(
        rule("last", "deny", tables=["t"]) + rule("later", "allow", tables=["t"]),
        rule("first", "deny", tables=["t"], priority=1),
    )
    assert [entry.rule.name for entry in firewall.entries] == ["first", "last", "later"]
    assert judge(firewall, "SELECT a FROM t").rule == "first"
    assert (
        judge(make(rule("a", "allow", tables=["t"]) + rule("b", "deny")), "SELECT a FROM t").action == "allow"
    )
    assert (
        judge(make(rule("b", "deny") + rule("a", "allow", tables=["t"])), "SELECT a FROM t").action == "deny"
    )


def test_rules_that_end_nothing_let_the_next_priority_have_its_say(make: Make) -> None:
    text = (
        rule("a", "log", priority=1) + rule("b", "log", priority=1) + rule("c", "limit", rate=1.0, priority=2)
    )
    assert [name for name, _ in judge(make(text), "SELECT a FROM t").met] == ["a", "c"]
    assert judge(make(text + rule("d", "deny", priority=3)), "SELECT a FROM t").rule == "d"


def test_accounts_and_networks(make: Make) -> None:
    firewall = make(
        rule("a", "deny", accounts=["app*"], except_accounts=["app-admin"], networks=["10.0.0.0/8"])
    )
    assert judge(firewall, "SELECT 1", "app1", peer="10.1.2.3").action == "deny"
    assert judge(firewall, "SELECT 1", "app1", peer="11.1.2.3").action == "none"
    assert judge(firewall, "SELECT 1", "app-admin", peer="10.1.2.3").action == "none"
    assert judge(firewall, "SELECT 1", "other", peer="10.1.2.3").action == "none"
    assert firewall.selection("other", None) is None
    assert firewall.selection("app1", ip_address("10.0.0.1")) is firewall.selection(
        "app1", ip_address("10.0.0.2")
    )


@pytest.mark.parametrize(
    ("hours", "days", "now", "on"),
    [
        ("08:00-17:00", [], Moment(0, 8 * 60), True),
        ("08:00-17:00", [], Moment(0, 17 * 60), False),
        ("22:00-06:00", [], Moment(0, 23 * 60), True),
        ("22:00-06:00", [], Moment(0, 5 * 60), True),
        ("22:00-06:00", [], Moment(0, 12 * 60), False),
        ("22:00-06:00", ["sun"], Moment(0, 5 * 60), True),
        ("22:00-06:00", ["mon"], Moment(0, 5 * 60), False),
        ("22:00-06:00", ["mon"], Moment(0, 23 * 60), True),
        ("00:00-24:00", ["sat", "sun"], Moment(5, 0), True),
        ("00:00-24:00", ["sat", "sun"], Moment(4, 1439), False),
    ],
)
def test_time_of_day(make: Make, hours: str, days: list[str], now: Moment, on: bool) -> None:
    firewall = make(rule("night", "deny", hours=hours, days=days) + rule("other", "log"))
    assert (judge(firewall, "SELECT 1", now=now).action == "deny") is on


@pytest.mark.parametrize(
    ("keys", "denied", "passed"),
    [
        ({"schemas": ["app"]}, ["SELECT 1"], []),
        (
            {"kinds": ["write"]},
            ["INSERT INTO t VALUES (1)", "CALL p()"],
            ["SELECT 1", "BEGIN", "CREATE TABLE x (a INT)"],
        ),
        (
            {"kinds": ["ddl"]},
            ["CREATE TABLE x (a INT)", "TRUNCATE t"],
            ["GRANT SELECT ON t TO x", "INSERT INTO t VALUES (1)"],
        ),
        (
            {"kinds": ["accounts"]},
            ["CREATE OR REPLACE USER x", "SET PASSWORD = 'x'"],
            ["CREATE TABLE x (a INT)", "SET @x = 1"],
        ),
        (
            {"statements": ["select"]},
            ["(SELECT 1) UNION (SELECT 2)", "WITH x AS (SELECT 1) SELECT 1 FROM x"],
            ["SET @a = 1"],
        ),
        (
            {"tables": ["t"], "access": "write"},
            ["UPDATE t SET a = 1", "INSERT t VALUES (1)"],
            ["SELECT a FROM t"],
        ),
        (
            {"tables": ["t"], "access": "read"},
            ["SELECT a FROM t", "UPDATE t SET a = 1"],
            ["INSERT INTO t VALUES (1)"],
        ),
        ({"tables": ["app.*"]}, ["SELECT a FROM t"], ["SELECT a FROM x.t", "SELECT 1", "SET NAMES utf8"]),
        (
            {"columns": ["t.a"], "access": "write"},
            ["UPDATE t SET a = 1"],
            ["SELECT a FROM t", "UPDATE t SET b = 1 WHERE a = 1"],
        ),
        (
            {"missing": ["limit"]},
            ["SELECT a FROM t", "DELETE FROM t WHERE a = 1"],
            ["SELECT a FROM t LIMIT 1", "SELECT 1"],
        ),
        (
            {"digests": ["SELECT a FROM t WHERE a = ?"]},
            ["SELECT a FROM t WHERE a = 'x'", "SELECT b FROM t /*!50000 WHERE a = 'x' */"],
            ["SELECT b FROM t", "SELECT /*+ NO_ICP(t) */ b FROM t"],
        ),
        ({"pattern": "^select a"}, ["SELECT a FROM t", "/*M!100000 SELECT */ a FROM t"], ["SELECT b FROM t"]),
        ({"pattern": "from t where"}, ["SELECT a FROM t WHERE b = 1"], ["SELECT 'from t where'"]),
        (
            {"multi_statements": True},
            ["SELECT 1; SELECT 2"],
            ["SELECT 1", "SELECT 1;", "PREPARE s FROM 'SELECT 1'"],
        ),
        ({"functions": ["sleep"]}, ["SELECT SLEEP(1)"], ["SELECT NOW()", "SELECT sleep FROM t"]),
    ],
)
def test_conditions(make: Make, keys: dict[str, object], denied: list[str], passed: list[str]) -> None:
    firewall = make(rule("a", "deny", **keys))
    for sql in denied:
        assert judge(firewall, sql).action == "deny", sql
    for sql in passed:
        assert judge(firewall, sql).action == "none", sql


def test_an_allow_rule_lets_nothing_else_through(make: Make) -> None:
    firewall = make(rule("a", "allow", tables=["app.t"], statements=["select"]) + rule("rest", "deny"))
    for sql in ("SELECT a FROM t", "SELECT a FROM app.t AS x WHERE b = 1"):
        assert judge(firewall, sql).action == "allow", sql
    for sql in (
        "SELECT a FROM t JOIN u",
        "SELECT a FROM T",
        "SELECT a FROM t WHERE a = unheard_of()",
        "SELECT a FROM t /*! JOIN u */",
        "SELECT 1",
        "DELETE FROM t",
        "CALL p()",
        "SELECT a FROM t; SELECT 1",
    ):
        assert judge(firewall, sql).action == "deny", sql


def test_a_pattern_lets_nothing_through_that_only_looks_like_it(make: Make) -> None:
    firewall = make(rule("a", "allow", pattern="^SELECT a FROM t") + rule("rest", "deny"))
    assert judge(firewall, "SELECT a FROM t WHERE b = 1").action == "allow"
    assert judge(firewall, "SELECT a FROM t /*! JOIN u */").action == "deny"


def test_not_understood_passes_with_a_notice_where_the_file_says_so(make: Make) -> None:
    text = 'not_understood = "pass"\n' + rule("a", "deny", tables=["t"])
    trial = judge(make(text), "CALL unread()")
    assert trial.action == "none"
    assert [entry.rule.name for entry in trial.outcome.noticed] == ["a"]
    assert judge(make(text), "SELECT a FROM t").action == "deny"
    # Another file's rule is not weaker for it.
    assert judge(make(text, rule("b", "deny", tables=["t"])), "CALL unread()").rule == "b"


def test_a_route_counts_for_reads_and_when_all_statements_have_it(make: Make) -> None:
    firewall = make(rule("a", "route", tables=["t"], role="worker"))
    plain = SqlContext(schema="app", catalog=CONTEXT.catalog)
    assert attempt(firewall, b"SELECT a FROM t", plain, "app").action == "route"
    assert attempt(firewall, b"SELECT a FROM t; SELECT 1", plain, "app").action == "none"
    assert attempt(firewall, b"UPDATE t SET a = 1", plain, "app").action == "none"


def test_a_case_that_fails_and_a_rule_without_one_are_told(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    case = '[[case]]\nstatement = "SELECT 1"\nexpect = "deny"\nrule = "a"\nwhy = "it must"\n'
    path.write_text(rule("a", "deny", tables=["t"]) + case, encoding="utf-8")
    found = try_cases(Loaded(path, read_rules(path)))
    assert found.faults == [
        f"{path}: case[1]: expects deny by a and it is none (it must); correct rule or case"
    ]
    assert found.warnings == [f"{path}: rule[a]: no case meets it; add one that does"]


def test_what_is_too_large_is_not_understood() -> None:
    large = b"SELECT '" + b"x" * MAX_NORMALISED + b"'"
    assert uses_of(large, CONTEXT).each[0].unknown
    long_value = b"INSERT INTO t (a) VALUES ('" + b"x" * 100_000 + b"')"
    assert uses_of(long_value, CONTEXT).each[0].writes == {("app", "t")}


# --- limits -------------------------------------------------------------------------------------------------------


def limit(**keys: object) -> Rule:
    return Rule.model_validate({"name": "l", "action": "limit", **keys})


async def test_a_rate_refuses_what_is_too_much() -> None:
    count = Count(limit(rate=0.001, burst=3))
    assert [count.enter() for _ in range(4)] == [True, True, True, False]
    with pytest.raises(PolicyDenied) as caught:
        await count.wait("app")
    assert (caught.value.errno, caught.value.sqlstate) == (1226, "42000")


async def test_a_rate_lets_the_queue_through_in_order() -> None:
    count = Count(limit(rate=50.0, burst=1, queue=5, deadline=30.0))
    assert count.enter()
    done: list[int] = []

    async def one(number: int) -> None:
        await count.wait("app")
        done.append(number)

    await asyncio.gather(*(one(number) for number in range(5)))
    assert done == [0, 1, 2, 3, 4]


async def test_concurrency_waits_for_an_end_and_for_no_longer_than_the_deadline() -> None:
    count = Count(limit(concurrency=1, queue=2, deadline=30.0))
    assert count.enter()
    waiting = asyncio.create_task(count.wait("app"))
    gone = asyncio.create_task(count.wait("app"))
    await asyncio.sleep(0)
    with pytest.raises(PolicyDenied):
        await count.wait("app")  # the queue is full
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert not count.enter()
    count.leave()
    await waiting
    count.leave()
    assert count.enter() and not count.idle()
    short = Count(limit(concurrency=1, queue=1, deadline=0.01))
    assert short.enter()
    with pytest.raises(PolicyDenied):
        await short.wait("app")
    short.leave()
    assert short.idle()


def test_limits_are_counted_by_account_or_digest() -> None:
    by_account, by_digest = Limiter(limit(concurrency=1)), Limiter(limit(concurrency=1, per="digest"))
    assert by_account.count("a", "x") is by_account.count("a", "y")
    assert by_account.count("a", "x") is not by_account.count("b", "x")
    assert by_digest.count("a", "x") is by_digest.count("b", "x")


# --- learned statements -------------------------------------------------------------------------------------------


def test_records_come_back_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "digests.jsonl"
    record = learned.Record("app", "app", "", 'SELECT ? FROM "ä\n"')
    book = learned.Learned(path, frozenset())
    book.learn(record)
    book.learn(record)
    assert path.read_text(encoding="utf-8").count("\n") == 1
    assert learned.read(path) == {record}


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"account": 1}', '{"account": 1, "schema": 1, "modes": 1, "digest": 1}']
)
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "digests.jsonl"
    path.write_text(f"\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigFault) as caught:
        learned.read(path)
    assert caught.value.faults[0].startswith(f"{path}: line 2: ")


def test_replay_and_check_as_commands(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        f"""
[routing]
rules = ["{SHIPPED}/cautious.toml", "{SHIPPED}/reporting.toml"]
[monitor]
user = "m"
[[servers]]
name = "manager"
address = "127.0.0.1:1"
role = "manager"
[[servers]]
name = "worker1"
address = "127.0.0.1:2"
role = "worker"
[[users]]
name = "app"
password = "x"
""",
        encoding="utf-8",
    )
    config.chmod(0o600)
    digests = tmp_path / "d.jsonl"
    book = learned.Learned(digests, frozenset())
    for account, digest in (
        ("app", "SELECT a FROM orders WHERE id = ?"),
        ("app", "DELETE FROM orders"),
        ("reporting", "SELECT a FROM orders"),
    ):
        book.learn(learned.Record(account, "shop", "", digest))

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "mysqlproxy", *arguments, "--config", str(config)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    replayed = run("replay", "--offline", "--digests", str(digests)).splitlines()
    assert replayed == [
        "deny whole-table  app@shop  DELETE FROM orders",
        "limit reporting-statements-at-a-time, route reporting-on-one-worker  reporting@shop  SELECT a FROM orders",
        "3 digests: 1 newly denied, 1 newly routed, 1 limited, 0 logged, 1 as before",
    ]
    assert run("check").startswith("rule 1: priority 50, limit reporting-statements-at-a-time\n")


@pytest.mark.parametrize("installed", [True, False])
def test_shipped_files_are_found_by_name_wherever_the_configuration_lies(
    tmp_path: Path, installed: bool
) -> None:
    """As an installation has them (setup.py puts them into the package), and in a checkout."""
    checkout = Path(__file__).parents[2]
    place = tmp_path / "place"
    if installed:
        sources = tmp_path / "sources"
        skip = shutil.ignore_patterns("*.so", "__pycache__")
        for folder in ("mysqlproxy", "rules"):
            shutil.copytree(checkout / folder, sources / folder, ignore=skip)
        for file in ("setup.py", "setup.cfg", "pyproject.toml", "README.md"):
            shutil.copy(checkout / file, sources)
        command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(place)]
        subprocess.run(command, cwd=sources, check=True, capture_output=True)
    else:
        place = checkout
    config = tmp_path / "mysqlproxy.toml"
    config.write_text(
        '[monitor]\nuser = "m"\n[routing]\nrules = ["builtin:default", "builtin:cautious"]\n'
        '[[servers]]\nname = "worker1"\naddress = "127.0.0.1:1"\nrole = "manager"\n'
        '[[users]]\nname = "a"\npassword = ""\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "mysqlproxy", "check", "--config", str(config)],
        cwd=place, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "deny password-hashes" in done.stdout and "deny whole-table" in done.stdout
    assert (place / "mysqlproxy/rules/default.toml").exists() is installed
