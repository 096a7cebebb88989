"""What lies in deploy/: the unit, the scrape configuration, the alerts, the dashboard, the examples.

systemd-analyze and promtool judge where they are installed; what the daemon's own code can judge is checked
in any case.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mysqlproxy.cluster.view import ClusterView, Role, ServerView
from mysqlproxy.config.load import load
from mysqlproxy.config.schema import ChainRole, Config, Limits
from mysqlproxy.gatekeeper.accounts import Accounts
from mysqlproxy.gatekeeper.secrets import native_verifier
from mysqlproxy.metrics.collector import STATES, Sources, registry
from mysqlproxy.metrics.counters import Counters
from tests.support.certificates import Authority
from tests.support.chain import make_pki

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd/mysqlproxy.service"
DASHBOARD = DEPLOY / "grafana/mysqlproxy.json"
EXAMPLES = sorted((DEPLOY / "examples").glob("*.toml"))
ENVIRONMENT = re.compile(r'env = "(\w+)"')
NAME = re.compile(r"\b(?:mysqlproxy|process|python)_[a-z0-9_]+")
SELECTOR = re.compile(r"(\w+)\s*\{([^}]*)\}")


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(*command: str, **more: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


# The unit.


@pytest.fixture
def unit(tmp_path: Path) -> str:
    """The unit with a program that exists here."""
    text = UNIT.read_text()
    assert text.count("/opt/mysqlproxy/bin/mysqlproxy ") == 2
    path = tmp_path / UNIT.name
    path.write_text(text.replace("/opt/mysqlproxy/bin/mysqlproxy ", f"{shutil.which('true')} "))
    return str(path)


def directives() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_systemd_takes_the_unit(unit: str) -> None:
    assert run(tool("systemd-analyze"), "verify", "--man=no", unit) == ""


def test_the_unit_is_hardened(unit: str) -> None:
    said = run(tool("systemd-analyze"), "security", "--offline=true", "--no-pager", unit)
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert level is not None, said
    assert float(level[1]) <= 1.5, said


def test_the_unit_fits_the_daemon() -> None:
    unit = directives()
    assert unit["Type"] == ["notify"]  # notify-reload is of systemd 253
    assert "kill -HUP $MAINPID" in unit["ExecReload"][-1]
    limits = Limits()
    assert float(unit["TimeoutStopSec"][0]) > limits.drain_timeout
    assert int(unit["LimitNOFILE"][0]) > 2 * limits.max_connections
    families = unit["RestrictAddressFamilies"][0].split()
    assert set(families) == {"AF_INET", "AF_INET6", "AF_UNIX"}
    for command in (unit["ExecStart"][0], unit["ExecReload"][0]):
        program, *arguments = command.split()
        assert Path(program).name == "mysqlproxy"
        run(sys.executable, "-m", "mysqlproxy", arguments[0], "--help", cwd=ROOT)
        assert arguments[1] == "--config"


def test_the_unit_of_a_hop_is_the_same_but_for_names() -> None:
    def body(path: Path) -> str:
        return path.read_text().partition("[Unit]")[2]

    plain = re.sub("Description=.*", "Description=", body(UNIT))
    hop = re.sub("Description=.*", "Description=", body(DEPLOY / "systemd/mysqlproxy@.service"))
    assert hop.replace("%i.toml", "mysqlproxy.toml").replace("%i.environment", "environment") == plain


@pytest.mark.parametrize("role", [role.value for role in ChainRole])
def test_systemd_takes_the_unit_of_a_hop(tmp_path: Path, role: str) -> None:
    text = (DEPLOY / "systemd/mysqlproxy@.service").read_text()
    path = tmp_path / f"mysqlproxy@{role}.service"
    path.write_text(text.replace("/opt/mysqlproxy/bin/mysqlproxy ", f"{shutil.which('true')} "))
    assert run(tool("systemd-analyze"), "verify", "--man=no", str(path)) == ""


# Prometheus and Grafana.


def samples() -> dict[str, set[str]]:
    """The names of all samples that the daemon can show, with their labels."""
    counters = Counters()
    counters.statement("manager", "write", "direct").observe(0.1)
    for count in (counters.denied, counters.reads_on_manager, counters.killed, counters.retried):
        count("reason")
    counters.statement_denied("account", "rule", "matched")
    counters.rule_applied("rule", "log")
    server = ServerView("manager", Role.MANAGER, up=True, ping=0.1, lag=0.0)
    view = ClusterView(servers=(server,), manager=server, readers=(server,))
    made = registry(
        Sources(
            counters=counters,
            view=lambda: view,
            server_connections=lambda: {("manager", state): 1 for state in STATES},
            client_connections=lambda: 1,
            verdict_cache=lambda: (1, 1),
            certificates=lambda: {"tls.certificate": 2e9},
            version="0",
            compiled=False,
        )
    )
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(made).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def dashboard_expressions() -> Iterator[tuple[str, str, str]]:
    """(panel, expression, legend)."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"], target["legendFormat"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"], ""
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"], ""


def alert_rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def assert_exists(where: str, expression: str, known: dict[str, set[str]]) -> None:
    names = set(NAME.findall(expression))
    assert names or re.search(r"\bup\b", expression), where
    assert names <= known.keys(), f"{where}: {sorted(names - known.keys())} are no metrics"
    for name, matchers in SELECTOR.findall(expression):
        labels = {matcher.split("=")[0].strip("!~ ") for matcher in matchers.split(",") if matcher}
        extra = labels - known.get(name, set()) - {"job", "instance"}
        assert not extra, f"{where}: {name} has no {sorted(extra)}"


def test_the_dashboard_shows_metrics_that_exist() -> None:
    known = samples()
    seen: set[str] = set()
    for where, expression, legend in dashboard_expressions():
        assert_exists(where, expression, known)
        names = set(NAME.findall(expression))
        seen |= names
        labels = {"instance"}.union(*(known[name] for name in names))
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels, where
    forgotten = {
        name for name in known if name.startswith("mysqlproxy_") and not name.endswith(("_sum", "_count"))
    } - seen
    assert not {name for name in forgotten if not name.endswith("_created")}


def test_the_dashboards_panels_have_distinct_ids_and_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_promtool_reads_the_dashboards_expressions(tmp_path: Path) -> None:
    rules = [
        {"record": f"dashboard:expression{number}", "expr": _without_variables(expression)}
        for number, (_, expression, _) in enumerate(dashboard_expressions())
        if not expression.startswith("label_values")
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in run(tool("promtool"), "check", "rules", str(path))


def _without_variables(expression: str) -> str:
    for name, value in (("$__rate_interval", "1m"), ("$job", "mysqlproxy"), ("$instance", ".+")):
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def test_the_alerts_are_made_of_metrics_that_exist() -> None:
    known = samples()
    rules = alert_rules()
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert_exists(rule["alert"], rule["expr"], known)
        assert rule["labels"]["severity"] in ("page", "ticket", "info")
        assert rule["annotations"]["summary"]


def test_every_alert_is_tested() -> None:
    tests = yaml.safe_load((DEPLOY / "prometheus/alerts_test.yml").read_text())["tests"]
    fired = {
        case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")
    }
    assert fired == {rule["alert"] for rule in alert_rules()}


def test_promtool_takes_configuration_and_alerts() -> None:
    promtool = tool("promtool")
    run(promtool, "check", "config", str(DEPLOY / "prometheus/prometheus.yml"))
    run(promtool, "test", "rules", str(DEPLOY / "prometheus/alerts_test.yml"))


def test_prometheus_scrapes_where_the_daemon_listens() -> None:
    document = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    job = document["scrape_configs"][0]
    assert job["job_name"] == "mysqlproxy"
    assert job["static_configs"][0]["targets"] == [Config.model_fields["listen"].default.http]


# The examples.


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An example beside the certificates and in the environment that its comments ask for."""
    path = tmp_path / request.param.name
    text = request.param.read_text().replace("/run/mysqlproxy/", f"{tmp_path}/")
    path.write_text(text)
    comments = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    for name in ENVIRONMENT.findall(text):
        assert name in comments, f"{name} is not explained"
        monkeypatch.setenv(name, "secret")
    authority = Authority(tmp_path)
    authority.issue("server", "proxy.example.org")
    authority.issue("client", "proxy.example.org")
    for key in tmp_path.glob("*.key"):
        key.chmod(0o600)
    return path


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem, indirect=True)
def test_check_accepts_the_example(example: Path) -> None:
    said = run(
        sys.executable, "-m", "mysqlproxy", "check", "--config", str(example), cwd=ROOT, env=os.environ
    )
    assert said.startswith("ok") and "warning" not in said, said


@pytest.mark.parametrize("role", list(ChainRole), ids=lambda role: role.value)
def test_check_accepts_the_example_of_a_chain(
    role: ChainRole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside exactly what ``mysqlproxy pki`` made for that host."""
    folder = make_pki(tmp_path / "pki") / role.value.replace("_", "-")
    path = folder / f"{role.value}.toml"
    path.write_text((DEPLOY / "examples/chain" / path.name).read_text())
    path.chmod(0o600)
    for name in ("MONITOR_PASSWORD", "APP_PASSWORD"):
        monkeypatch.setenv(name, "secret")
    said = run(sys.executable, "-m", "mysqlproxy", "check", "--config", str(path), cwd=ROOT, env=os.environ)
    assert "ok: " in said and "warning" not in said, said


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem, indirect=True)
def test_the_examples_accounts_can_log_in(example: Path) -> None:
    config = load(example)
    accounts = Accounts.from_config(config, lambda secret: secret if isinstance(secret, str) else "secret")
    assert len(accounts) == len(config.users) > 0


def test_the_full_example_has_every_key_with_its_default() -> None:
    text = (DEPLOY / "examples/cluster.toml").read_text()
    for name, field in Config.model_fields.items():
        section = field.annotation
        if name in ("listen", "routing", "limits", "log", "monitor"):
            for key, value in section.model_fields.items():  # type: ignore[union-attr]
                if (name, key) == ("routing", "rules"):
                    continue
                line = re.search(rf"^{key}\s*= (.+?)(?:\s+#.*)?$", text, re.MULTILINE)
                assert line, f"{name}.{key} is missing"
                if isinstance(value.default, (int, float)):
                    assert float(line[1]) == value.default, f"{name}.{key}"


def test_the_examples_verifier_is_of_the_password_they_name() -> None:
    for path in EXAMPLES:
        text = path.read_text()
        if "verifier = " in text:
            assert '"change me"' in text
            assert f'verifier = "{native_verifier("change me")}"' in text
