"""What Prometheus scrapes: the counters of the path and the state of the parts, read when somebody asks.

Made by ``app``, served by ``admin.http``. The only module that knows the metrics' names; base units and
naming as https://prometheus.io/docs/practices/naming/ has them. Changes nothing, and knows the parts by
callables only, so that it stays a leaf.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector as _Collector

from mysqlproxy.metrics.counters import BOUNDS, Counters, LabelledTuple

STATES: Final = ("used", "idle", "connecting", "resetting")
_LE: Final = [repr(bound) for bound in BOUNDS] + ["+Inf"]


class ServerSeen(Protocol):
    """What is read of a ``cluster.view.ServerView``."""

    @property
    def name(self) -> str: ...
    @property
    def up(self) -> bool: ...
    @property
    def ping(self) -> float: ...
    @property
    def lag(self) -> float | None: ...


class ClusterSeen(Protocol):
    """What is read of a ``cluster.view.ClusterView``."""

    @property
    def epoch(self) -> int: ...
    @property
    def servers(self) -> Sequence[ServerSeen]: ...
    @property
    def manager(self) -> ServerSeen | None: ...
    @property
    def readers(self) -> Sequence[ServerSeen]: ...
    @property
    def alerts(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the values come from; every callable returns at once.

    Attributes:
        counters: of this process.
        view: the cluster as it is seen now.
        server_connections: (server, state) -> connections; state is one of ``STATES``.
        client_connections: clients that are connected now.
        verdict_cache: (hits, misses) since the start.
        certificates: key in the configuration -> when what its file held as it was loaded expires, Unix time.
        version: of the daemon.
        compiled: whether the modules that walk bytes are the compiled ones.
    """

    counters: Counters
    view: Callable[[], ClusterSeen]
    server_connections: Callable[[], Mapping[tuple[str, str], int]]
    client_connections: Callable[[], int]
    verdict_cache: Callable[[], tuple[int, int]]
    certificates: Callable[[], Mapping[str, float]]
    version: str
    compiled: bool


def registry(sources: Sources) -> CollectorRegistry:
    """Ours, and prometheus_client's own ``process_*`` and ``python_info``."""
    made = CollectorRegistry()
    made.register(Collector(sources))
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    return made


class Collector(_Collector):
    """Makes all metric families anew at each scrape."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def describe(self) -> Iterable[Metric]:
        """No names in advance: the registry need not scrape when it is made."""
        return ()

    def collect(self) -> Iterator[Metric]:
        sources = self._sources
        yield from _statements(sources.counters)
        yield from _counters(sources.counters)
        yield from _connections(sources)
        yield from _cluster(sources.view())
        yield from _cache(sources.verdict_cache())
        expiry = _gauge(
            "certificate_expiry_timestamp_seconds", "When certificates in use expire.", "certificate"
        )
        for key, moment in sources.certificates().items():
            expiry.add_metric([key], moment)
        yield expiry
        build = _gauge(
            "build_info", "Version of the daemon and whether it runs compiled.", "version", "compiled"
        )
        build.add_metric([sources.version, "yes" if sources.compiled else "no"], 1)
        yield build
        yield from _registered(sources.counters)


def _statements(counters: Counters) -> Iterator[Metric]:
    labels = ("server", "kind", "strategy")
    total = _counter("statements", "Statements that ended, by where they went.", *labels)
    errors = _counter("statement_errors", "Statements that ended in an error.", *labels)
    duration = HistogramMetricFamily(
        "mysqlproxy_statement_duration_seconds",
        "From the client's request to the last byte of the answer.",
        labels=("server", "kind"),
    )
    sums: dict[tuple[str, str], tuple[float, list[int]]] = {}
    for server, kind, strategy, cell in counters.statements():
        total.add_metric([server, kind, strategy], cell.count)
        errors.add_metric([server, kind, strategy], cell.errors)
        seconds, buckets = sums.get((server, kind), (0.0, [0] * len(cell.buckets)))
        merged = [one + other for one, other in zip(buckets, cell.buckets, strict=True)]
        sums[server, kind] = seconds + cell.seconds_sum, merged
    for (server, kind), (seconds, buckets) in sums.items():
        reached, cumulative = 0, []
        for bound, amount in zip(_LE, buckets, strict=True):
            reached += amount
            cumulative.append((bound, float(reached)))
        duration.add_metric([server, kind], cumulative, seconds)
    yield from (total, errors, duration)


def _counters(counters: Counters) -> Iterator[Metric]:
    labelled = (
        ("denied", "Logins, connections and statements refused by policy.", "reason", counters.denials),
        ("logins", "Logins of clients.", "result", counters.logins),
        ("reads_on_manager", "Plain reads that the manager had to take.", "reason", counters.manager_reads),
        ("killed_statements", "Statements killed on their server.", "reason", counters.kills),
        ("retried_reads", "Reads asked again of another server.", "reason", counters.retries),
        ("hints", "Hints in statements, by what became of them.", "result", counters.hints),
    )
    for name, text, label, counter in labelled:
        family = _counter(name, text, label)
        for value, amount in sorted(counter.values.items()):
            family.add_metric([value], amount)
        yield family
    several: tuple[tuple[str, str, tuple[str, ...], LabelledTuple], ...] = (
        (
            "denied_statements",
            "Statements that a rule refused.",
            ("account", "rule", "reason"),
            counters.statement_denials,
        ),
        ("rules_applied", "Statements that met a rule of another kind.", ("rule", "action"), counters.rules),
    )
    for name, text, names, counts in several:
        family = _counter(name, text, *names)
        for values, amount in sorted(counts.values.items()):
            family.add_metric(list(values), amount)
        yield family
    moved = _counter("bytes", "Bytes from (received) and to (sent) clients.", "direction")
    moved.add_metric(["received"], counters.bytes_in)
    moved.add_metric(["sent"], counters.bytes_out)
    yield moved
    waits: tuple[tuple[str, str, float], ...] = (
        ("pool_waits", "Statements that waited for a connection to a server.", counters.pool_waits),
        ("pool_wait_seconds", "Time spent waiting for connections to servers.", counters.pool_wait_seconds),
        ("pool_timeouts", "Statements that waited in vain.", counters.pool_timeouts),
    )
    for name, text, waited in waits:
        family = _counter(name, text)
        family.add_metric([], waited)
        yield family


def _connections(sources: Sources) -> Iterator[Metric]:
    clients = _gauge("client_connections", "Clients that are connected.")
    clients.add_metric([], sources.client_connections())
    yield clients
    servers = _gauge("server_connections", "Connections to servers by state.", "server", "state")
    counts = sources.server_connections()
    for server in sorted({server for server, _ in counts}):
        for state in STATES:
            servers.add_metric([server, state], counts.get((server, state), 0))
    yield servers


def _cluster(view: ClusterSeen) -> Iterator[Metric]:
    up = _gauge("server_up", "Whether the server answers the monitor.", "server")
    manager = _gauge("server_manager", "Whether the server takes the writes.", "server")
    readable = _gauge("server_readable", "Whether the server may take reads.", "server")
    ping = _gauge("server_ping_seconds", "Moving median of the monitor's round trip.", "server")
    lag = _gauge("replica_lag_seconds", "How far the server is behind its source.", "server")
    readers = {server.name for server in view.readers}
    for server in view.servers:
        label = [server.name]
        up.add_metric(label, server.up)
        manager.add_metric(label, view.manager is not None and view.manager.name == server.name)
        readable.add_metric(label, server.name in readers)
        # An old value of a server that is gone would look like a good one: no sample instead.
        if server.up and math.isfinite(server.ping):
            ping.add_metric(label, server.ping)
        if server.up and server.lag is not None:
            lag.add_metric(label, server.lag)
    epoch = _gauge("cluster_epoch", "Grows whenever the manager changes, is lost or comes back.")
    epoch.add_metric([], view.epoch)
    alerts = _gauge("cluster_alerts", "Alerts that stand now; the log has their sentences.")
    alerts.add_metric([], len(view.alerts))
    yield from (up, manager, readable, ping, lag, epoch, alerts)


def _cache(hits_and_misses: tuple[int, int]) -> Iterator[Metric]:
    for name, amount in zip(("hits", "misses"), hits_and_misses, strict=True):
        family = _counter(f"verdict_cache_{name}", f"Lookups of verdicts by digest: {name}.")
        family.add_metric([], amount)
        yield family


def _registered(counters: Counters) -> Iterator[Metric]:
    families: dict[str, GaugeMetricFamily] = {}
    for gauge in counters.gauges():
        family = families.get(gauge.name)
        if family is None:
            family = families[gauge.name] = _gauge(gauge.name, gauge.help, *gauge.labels)
        family.add_metric(list(gauge.labels.values()), gauge.value)
    yield from families.values()


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    """``_total`` is added by the exposition."""
    return CounterMetricFamily(f"mysqlproxy_{name}", text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"mysqlproxy_{name}", text, labels=labels)
