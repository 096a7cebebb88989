"""Keeps the catalog: reads it when something may have changed, and doubts names in between.

Made by the composition root; the session tells it of definitions that passed through the daemon. A thread of
its own asks one server, the manager where there is one, over one connection, so that no probe waits for it.
It never takes more than a small part of the time: reading again is put off by how long it took.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from mysqlproxy.cluster.catalog_query import ALLOWANCE, Clock, checksum, clock, read
from mysqlproxy.cluster.probe import describe
from mysqlproxy.cluster.pymysql_adapter import LimitedConnection
from mysqlproxy.config.schema import Server
from mysqlproxy.sql.catalog import UNREAD, Catalog, doubting

DEADLINE: Final = 30.0
"""Seconds for one reading."""

SOONEST: Final = 0.02
"""Seconds between two readings, or five times what the last one took if that is more."""

SELDOM: Final = 50
"""Without a sign of a definition it is read again after so many times what reading took."""

MAX_DOUBTS: Final = 1000
"""Definitions told since the last reading; with more, everything is in doubt."""

PATIENCE: Final = 2.0
"""Seconds that the thread gets to end."""

_log = logging.getLogger("mysqlproxy.catalog")


class Source(NamedTuple):
    """Whom to ask. ``incarnation`` is another one when the server was restarted or replaced."""

    server: Server
    mariadb: bool
    incarnation: int
    user: str
    password: str


class CatalogReader:
    """All methods are for the event loop that ran ``start``.

    Args:
        interval: seconds from one look at the server's counters to the next.
        on_change: called in the event loop with each catalog that takes another's place.

    Attributes:
        catalog: the last one.
        looked: somebody was asked, whether or not that was of use.
    """

    def __init__(self, interval: float, on_change: Callable[[Catalog], None]) -> None:
        self.catalog = UNREAD
        self.looked = False
        self.interval = interval
        self._on_change = on_change
        self._generations = itertools.count(1)  # from both threads
        self._doubts: list[tuple[int, frozenset[str] | None]] = []
        self._asked = 0
        self._source: Source | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._look = _Look()
        self._thread = threading.Thread(target=self._run, name="catalog", daemon=True)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """End the thread. Bounded; one that hangs in a name lookup is left to the process's end."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._look.abort()
            await asyncio.to_thread(self._thread.join, PATIENCE)

    def follow(self, source: Source | None) -> None:
        """Ask this server from now on; with None nobody."""
        if source != self._source:
            self._source = source
            self._wake.set()

    def doubt(self, names: frozenset[str] | None) -> None:
        """A definition has passed that holds these names (None: any): they mean nothing until read anew."""
        if names is not None and not names:
            return
        self._asked += 1
        self._wake.set()
        if len(self._doubts) >= MAX_DOUBTS:
            self._doubts, names = [], None
        # Even while nothing is known: a reading that is under way may bring what was before.
        self._doubts.append((self._asked, names))
        if self.catalog.available:
            self._publish(doubting(self.catalog, names, next(self._generations)))

    def _take(self, asked: int, found: Catalog | None) -> None:
        """What was found by a reading that began when ``asked`` doubts had been told; None: nothing new."""
        self.looked = True
        if found is None:
            return
        left = [doubt for doubt in self._doubts if doubt[0] > asked]
        base = self.catalog.base or self.catalog
        if found is base and len(left) == len(self._doubts):
            return
        self._doubts = left
        for seen, before, what in (
            (found.available, base.available, "views and stored functions"),
            (found.triggers is not None, base.triggers is not None, "triggers"),
        ):
            if seen != before:
                unseen = "not known: the monitor's account may not see them"
                _log.info("%s are %s", what, "known" if seen else unseen)
        catalog = found
        for _, names in left if found.available else ():
            catalog = doubting(catalog, names, next(self._generations))
        self._publish(catalog)

    def _publish(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._on_change(catalog)

    # --- in the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        answered, failed = -1, ""
        while not self._stopping:
            self._wake.clear()
            asked, source = self._asked, self._source
            try:
                found = (
                    None if source is None else self._look.at(source, asked != answered, self._generations)
                )
                failed = ""
                answered = asked if source is not None else answered
            except Exception as error:  # whatever a broken server makes PyMySQL stumble over
                self._look.close()
                found = None
                if not self._stopping and describe(error) != failed:
                    failed = describe(error)
                    _log.warning("the catalog could not be read: %s", failed)
                self._wait(self.interval)
            if source is not None:
                assert self._loop is not None
                try:
                    self._loop.call_soon_threadsafe(self._take, asked, found)
                except RuntimeError:
                    break  # the loop was closed without stop()
            self._wait(self._look.pause)
            if not self._stopping:
                self._wake.wait(self.interval)
        self._look.close()

    def _wait(self, seconds: float) -> None:
        """Not to be woken but by ``stop``."""
        deadline = time.monotonic() + seconds
        while not self._stopping and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))


class _Look:
    """The thread's connection, and what it saw last. Not thread-safe but for ``abort``.

    Attributes:
        pause: seconds before the next look at the soonest.
    """

    def __init__(self) -> None:
        self.pause = SOONEST
        self._connection: LimitedConnection | None = None
        self._source: Source | None = None
        self._clock: Clock | None = None
        self._sum: tuple[object, ...] | None = None
        self._found: Catalog | None = None
        self._due = 0.0

    def at(self, source: Source, told: bool, generations: Iterator[int]) -> Catalog | None:
        """The catalog as it is now; None when nothing shows that it could be another one.

        Args:
            told: a definition has passed: look, whatever the server's counters say.
        """
        if source != self._source:
            self.close()
            self._source, self._clock = source, None
        self.pause = SOONEST
        connection = self._connected(source)
        seen = clock(connection, source.mariadb)
        if self._found is not None and self._clock is not None and not told:
            if seen == self._clock and seen.position is not None:
                return None
            if seen.definitions == self._clock.definitions and time.monotonic() < self._due:
                return None
        began = time.monotonic()
        sum_ = checksum(connection)
        if sum_ != self._sum or self._found is None:
            self._sum = None
            self._found = read(connection, next(generations))
            if self._nothing_changed(connection, source, seen, sum_):
                self._sum = sum_
        self._clock = seen
        took = time.monotonic() - began
        self.pause = max(SOONEST, 5 * took)
        self._due = time.monotonic() + (0.0 if self._sum is None else SELDOM * took)
        return self._found

    def _nothing_changed(
        self, connection: LimitedConnection, source: Source, seen: Clock, sum_: tuple[object, ...]
    ) -> bool:
        """Whether what was read is what the checksum is of: a table may be gone for just that moment."""
        now = clock(connection, source.mariadb)
        if now == seen and now.position is not None:
            return True
        return now.definitions == seen.definitions and checksum(connection) == sum_

    def abort(self) -> None:
        """From another thread: let what is under way fail soon."""
        connection = self._connection
        if connection is not None:
            connection.abort()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.begin(0.5)
            try:
                connection.close()
            except Exception:  # it may be broken in any way
                _log.debug("a connection was closed in disorder")

    def _connected(self, source: Source) -> LimitedConnection:
        if self._connection is None:
            self._connection = LimitedConnection(source.server, source.user, source.password, DEADLINE)
            self._connection.login()
            # Who hangs up leaves the statement running.
            limit = "max_statement_time = 30" if source.mariadb else "max_execution_time = 30000"
            self._connection.rows(f"SET SESSION {limit}")
        self._connection.begin(DEADLINE, ALLOWANCE)
        return self._connection
