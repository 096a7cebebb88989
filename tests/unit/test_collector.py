"""The exposition: read back with Prometheus's own parser, compared with the list of DESIGN section 6."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from prometheus_client import Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from mysqlproxy.metrics.collector import Sources, registry
from mysqlproxy.metrics.counters import BOUNDS, Counters, Gauge


@dataclass(frozen=True)
class Seen:
    name: str
    up: bool = True
    ping: float = 0.001
    lag: float | None = 0.0


@dataclass(frozen=True)
class Cluster:
    epoch: int = 7
    servers: tuple[Seen, ...] = ()
    manager: Seen | None = None
    readers: tuple[Seen, ...] = ()
    alerts: tuple[str, ...] = ("two managers",)


MANAGER, WORKER, GONE = Seen("manager"), Seen("worker1", lag=2.5), Seen("worker2", up=False)
NEW = Seen("worker3", ping=float("inf"), lag=None)


@dataclass
class Daemon:
    counters: Counters = field(default_factory=Counters)
    cluster: Cluster = field(
        default_factory=lambda: Cluster(
            servers=(MANAGER, WORKER, GONE, NEW), manager=MANAGER, readers=(WORKER,)
        )
    )

    def sources(self) -> Sources:
        return Sources(
            counters=self.counters,
            view=lambda: self.cluster,
            server_connections=lambda: {("manager", "used"): 3, ("worker1", "idle"): 2},
            client_connections=lambda: 5,
            verdict_cache=lambda: (40, 2),
            certificates=lambda: {"tls.certificate": 2e9},
            version="1.2.3",
            compiled=True,
        )

    def exposition(self) -> str:
        return generate_latest(registry(self.sources())).decode()

    def families(self) -> dict[str, Metric]:
        return {family.name: family for family in text_string_to_metric_families(self.exposition())}


@pytest.fixture
def daemon() -> Daemon:
    made = Daemon()
    counters = made.counters
    counters.statement("worker1", "read", "random").observe(0.0003)
    counters.statement("worker1", "read", "customized").observe(20.0)
    counters.statement("worker1", "read", "customized").errors += 1
    counters.statement("manager", "write", "random").observe(0.002)
    counters.denied("wrong_password")
    counters.login("ok")
    counters.reads_on_manager("transaction")
    counters.killed("client_gone")
    counters.retried("server_lost")
    counters.statement_denied("app", "no drops", "rule")
    counters.rule_applied("long reads", "route")
    counters.bytes_in, counters.bytes_out = 100, 200
    counters.waited(0.5)
    return made


# Family, type, labels: first those of DESIGN section 6, up to bytes, then what was added to them.
CONTRACT: dict[str, tuple[str, set[str]]] = {
    "mysqlproxy_statements": ("counter", {"server", "kind", "strategy"}),
    "mysqlproxy_statement_duration_seconds": ("histogram", {"server", "kind"}),
    "mysqlproxy_denied": ("counter", {"reason"}),
    "mysqlproxy_logins": ("counter", {"result"}),
    "mysqlproxy_certificate_expiry_timestamp_seconds": ("gauge", {"certificate"}),
    "mysqlproxy_client_connections": ("gauge", set()),
    "mysqlproxy_server_connections": ("gauge", {"server", "state"}),
    "mysqlproxy_server_up": ("gauge", {"server"}),
    "mysqlproxy_server_ping_seconds": ("gauge", {"server"}),
    "mysqlproxy_replica_lag_seconds": ("gauge", {"server"}),
    "mysqlproxy_verdict_cache_hits": ("counter", set()),
    "mysqlproxy_verdict_cache_misses": ("counter", set()),
    "mysqlproxy_bytes": ("counter", {"direction"}),
    "mysqlproxy_build_info": ("gauge", {"version", "compiled"}),
    "mysqlproxy_cluster_epoch": ("gauge", set()),
    "mysqlproxy_cluster_alerts": ("gauge", set()),
    "mysqlproxy_server_manager": ("gauge", {"server"}),
    "mysqlproxy_server_readable": ("gauge", {"server"}),
    "mysqlproxy_statement_errors": ("counter", {"server", "kind", "strategy"}),
    "mysqlproxy_reads_on_manager": ("counter", {"reason"}),
    "mysqlproxy_killed_statements": ("counter", {"reason"}),
    "mysqlproxy_retried_reads": ("counter", {"reason"}),
    "mysqlproxy_hints": ("counter", {"result"}),
    "mysqlproxy_denied_statements": ("counter", {"account", "rule", "reason"}),
    "mysqlproxy_rules_applied": ("counter", {"rule", "action"}),
    "mysqlproxy_pool_waits": ("counter", set()),
    "mysqlproxy_pool_wait_seconds": ("counter", set()),
    "mysqlproxy_pool_timeouts": ("counter", set()),
}


def test_names_types_and_labels_are_the_contract(daemon: Daemon) -> None:
    ours = {name: family for name, family in daemon.families().items() if name.startswith("mysqlproxy_")}
    found = {
        name: (family.type, {label for sample in family.samples for label in sample.labels} - {"le"})
        for name, family in ours.items()
    }
    assert found == CONTRACT
    assert all(family.documentation.endswith(".") for family in ours.values())


def test_the_process_and_python_are_there(daemon: Daemon) -> None:
    names = set(daemon.families())
    assert {
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_cpu_seconds",
        "python_info",
    } <= names


def value(daemon: Daemon, name: str, **labels: str) -> float | None:
    for family in daemon.families().values():
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return None


def test_values(daemon: Daemon) -> None:
    assert (
        value(daemon, "mysqlproxy_statements_total", server="worker1", kind="read", strategy="customized")
        == 1
    )
    assert (
        value(daemon, "mysqlproxy_statements_total", server="manager", kind="write", strategy="random") == 1
    )
    errors = value(
        daemon, "mysqlproxy_statement_errors_total", server="worker1", kind="read", strategy="customized"
    )
    assert errors == 1
    assert value(daemon, "mysqlproxy_denied_total", reason="wrong_password") == 1
    assert value(daemon, "mysqlproxy_logins_total", result="ok") == 1
    assert value(daemon, "mysqlproxy_logins_total", result="denied") == 0
    assert value(daemon, "mysqlproxy_client_connections") == 5
    assert value(daemon, "mysqlproxy_server_connections", server="manager", state="used") == 3
    for state in ("connecting", "resetting"):
        assert value(daemon, "mysqlproxy_server_connections", server="manager", state=state) == 0
    assert value(daemon, "mysqlproxy_verdict_cache_hits_total") == 40
    assert value(daemon, "mysqlproxy_verdict_cache_misses_total") == 2
    assert value(daemon, "mysqlproxy_bytes_total", direction="received") == 100
    assert value(daemon, "mysqlproxy_bytes_total", direction="sent") == 200
    assert value(daemon, "mysqlproxy_reads_on_manager_total", reason="transaction") == 1
    assert value(daemon, "mysqlproxy_killed_statements_total", reason="client_gone") == 1
    assert value(daemon, "mysqlproxy_retried_reads_total", reason="server_lost") == 1
    assert value(daemon, "mysqlproxy_pool_waits_total") == 1
    assert value(daemon, "mysqlproxy_pool_wait_seconds_total") == 0.5
    assert value(daemon, "mysqlproxy_build_info", version="1.2.3", compiled="yes") == 1


def test_the_histogram_sums_over_the_strategies(daemon: Daemon) -> None:
    name, labels = "mysqlproxy_statement_duration_seconds", {"server": "worker1", "kind": "read"}
    assert value(daemon, f"{name}_count", **labels) == 2
    assert value(daemon, f"{name}_sum", **labels) == pytest.approx(20.0003)
    assert value(daemon, f"{name}_bucket", **labels, le="0.00025") == 0
    assert value(daemon, f"{name}_bucket", **labels, le="0.0005") == 1
    assert value(daemon, f"{name}_bucket", **labels, le="10.0") == 1
    assert value(daemon, f"{name}_bucket", **labels, le="+Inf") == 2
    buckets = [
        s
        for s in daemon.families()[name].samples
        if s.name.endswith("_bucket") and s.labels["server"] == "manager"
    ]
    assert len(buckets) == len(BOUNDS) + 1


def test_the_cluster(daemon: Daemon) -> None:
    assert value(daemon, "mysqlproxy_cluster_epoch") == 7
    assert value(daemon, "mysqlproxy_cluster_alerts") == 1
    assert value(daemon, "mysqlproxy_server_up", server="worker1") == 1
    assert value(daemon, "mysqlproxy_server_up", server="worker2") == 0
    assert value(daemon, "mysqlproxy_server_manager", server="manager") == 1
    assert value(daemon, "mysqlproxy_server_manager", server="worker1") == 0
    assert value(daemon, "mysqlproxy_server_readable", server="worker1") == 1
    assert value(daemon, "mysqlproxy_server_readable", server="manager") == 0
    assert value(daemon, "mysqlproxy_server_ping_seconds", server="worker1") == 0.001
    assert value(daemon, "mysqlproxy_replica_lag_seconds", server="worker1") == 2.5
    daemon.cluster = Cluster(servers=(MANAGER,), manager=None)
    assert value(daemon, "mysqlproxy_server_manager", server="manager") == 0


@pytest.mark.parametrize("server", [GONE, NEW])
def test_what_is_not_known_has_no_sample(daemon: Daemon, server: Seen) -> None:
    assert value(daemon, "mysqlproxy_server_ping_seconds", server=server.name) is None
    assert value(daemon, "mysqlproxy_replica_lag_seconds", server=server.name) is None


def test_gauges_of_other_parts(daemon: Daemon) -> None:
    daemon.counters.register_gauges(lambda: [Gauge("open_sessions", "Sessions.", {"account": "app"}, 3.0)])
    daemon.counters.register_gauges(lambda: [Gauge("open_sessions", "Sessions.", {"account": "web"}, 4.0)])
    assert value(daemon, "mysqlproxy_open_sessions", account="app") == 3
    assert value(daemon, "mysqlproxy_open_sessions", account="web") == 4


def test_openmetrics_reads_it_too(daemon: Daemon) -> None:
    text = generate_openmetrics(registry(daemon.sources())).decode()
    assert set(CONTRACT) <= {family.name for family in parse_openmetrics(text)}


def test_before_anything_happened() -> None:
    idle = Daemon(cluster=Cluster(alerts=()))
    assert set(idle.families()) >= set(CONTRACT)
