"""Counters of the data path: plain integers that cost a Python step each and are only read at scrape time.

Called by the session engine, the relay, the gatekeeper and the pool; read by ``metrics.collector``. A leaf:
imports nothing of the package and nothing of prometheus_client, takes no lock (one event loop writes), never
blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

# Upper bounds (le) in seconds; the last bucket of a cell counts what is above them all.
BOUNDS: Final[tuple[float, ...]] = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip

# A label's value may come from a rule's name; beyond this many a counter calls them all "other".
MAX_LABELS: Final = 256


class StatementCell:
    """One (server, kind, strategy): the caller keeps it and calls ``observe`` once per statement.

    A statement's counter and its histogram are one: ``mysqlproxy_statements_total`` is ``count``, and the
    histogram by (server, kind) is the sum over the strategies' cells, made when somebody scrapes.

    Attributes:
        count: statements that ended, with or without an error.
        errors: those that ended in an ERR packet; the caller adds.
        seconds_sum: seconds, from the client's request to the answer's last byte.
        buckets: not cumulative; one per bound of ``BOUNDS`` and one above.
    """

    __slots__ = ("buckets", "count", "errors", "seconds_sum")

    def __init__(self) -> None:
        self.count = 0
        self.errors = 0
        self.seconds_sum = 0.0
        self.buckets: list[int] = [0] * (len(BOUNDS) + 1)

    def observe(self, seconds: float) -> None:
        self.count += 1
        self.seconds_sum += seconds
        bucket = 0
        for bound in BOUNDS:  # most end within the first few
            if seconds <= bound:
                break
            bucket += 1
        self.buckets[bucket] += 1


class Labelled:
    """A counter with one label: value -> count, bounded in the number of values."""

    __slots__ = ("values",)

    def __init__(self, *known: str) -> None:
        """``known`` label values are shown from the start with 0, so that rate() sees the first increment."""
        self.values: dict[str, int] = dict.fromkeys(known, 0)

    def add(self, label: str, amount: int = 1) -> None:
        values = self.values
        count = values.get(label)
        if count is None:
            if len(values) >= MAX_LABELS:
                label = "other"
            count = values.get(label, 0)
        values[label] = count + amount


class LabelledTuple:
    """A counter with several labels, bounded in the number of their combinations."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], int] = {}

    def add(self, *labels: str) -> None:
        values = self.values
        if labels not in values and len(values) >= MAX_LABELS:
            labels = ("other",) * len(labels)
        values[labels] = values.get(labels, 0) + 1


class Gauge(NamedTuple):
    """One sample of a gauge registered by another part; ``name`` without the prefix ``mysqlproxy_``."""

    name: str
    help: str
    labels: dict[str, str]
    value: float


class Counters:
    """All counters of one process of the daemon.

    Attributes (add to the integers directly):
        bytes_in, bytes_out: from and to clients.
        pool_waits, pool_wait_seconds, pool_timeouts: statements that waited for a connection to a server.
    """

    def __init__(self) -> None:
        self.bytes_in = 0
        self.bytes_out = 0
        self.pool_waits = 0
        self.pool_wait_seconds = 0.0
        self.pool_timeouts = 0
        self.denials = Labelled()
        self.statement_denials = LabelledTuple()
        self.rules = LabelledTuple()
        self.logins = Labelled("ok", "denied", "error")
        self.manager_reads = Labelled()
        self.kills = Labelled()
        self.retries = Labelled()
        self.hints = Labelled("applied", "ignored", "refused", "wrong")
        self._cells: dict[tuple[str, str, str], StatementCell] = {}
        self._gauges: list[Callable[[], Iterable[Gauge]]] = []

    def statement(self, server: str, kind: str, strategy: str) -> StatementCell:
        """The one cell of these labels; the values are configured names and enum values, hence bounded."""
        key = (server, kind, strategy)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = StatementCell()
        return cell

    def statements(self) -> Iterator[tuple[str, str, str, StatementCell]]:
        """(server, kind, strategy, cell), sorted."""
        for (server, kind, strategy), cell in sorted(self._cells.items(), key=lambda item: item[0]):
            yield server, kind, strategy, cell

    def denied(self, reason: str) -> None:
        """A login, a statement or a connection was refused by policy."""
        self.denials.add(reason)

    def statement_denied(self, account: str, rule: str, reason: str) -> None:
        """A rule has refused a statement of this account."""
        self.denials.add("statement")
        self.statement_denials.add(account, rule, reason)

    def rule_applied(self, rule: str, action: str) -> None:
        """A statement met a rule that routes, limits or logs, or one that let it pass with a notice (``noticed``)."""
        self.rules.add(rule, action)

    def login(self, result: str) -> None:
        """``ok``, ``denied`` or ``error``."""
        self.logins.add(result)

    def reads_on_manager(self, reason: str) -> None:
        """A plain read went to the manager although a worker could have taken it."""
        self.manager_reads.add(reason)

    def killed(self, reason: str) -> None:
        """A statement was killed on its server: ``client gone``, ``statement timeout``, ``kill``, ..."""
        self.kills.add(reason)

    def retried(self, reason: str) -> None:
        """A read was asked again of another server."""
        self.retries.add(reason)

    def hinted(self, result: str) -> None:
        """A hint was ``applied``, ``ignored`` (it could not be), ``refused`` to the account or ``wrong``."""
        self.hints.add(result)

    def waited(self, seconds: float) -> None:
        """A statement waited this long for a connection to a server."""
        self.pool_waits += 1
        self.pool_wait_seconds += seconds

    def waited_in_vain(self) -> None:
        """No connection to the server became free for a statement in time."""
        self.pool_timeouts += 1

    def register_gauges(self, read: Callable[[], Iterable[Gauge]]) -> None:
        """``read`` is called at every scrape; a part registers once, at start."""
        self._gauges.append(read)

    def gauges(self) -> list[Gauge]:
        return [gauge for read in self._gauges for gauge in read()]
