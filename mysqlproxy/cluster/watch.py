"""The thread that probes one server, every ``interval`` seconds and when it is told to.

Made, stopped and listened to by ``cluster.monitor``. Hands each probe over and keeps nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mysqlproxy.cluster.hop import HopProber
from mysqlproxy.cluster.observation import Failure, Probe
from mysqlproxy.cluster.probe import NO_ANSWER, Prober

SOONEST = 0.2
"""Seconds from one probe's start to the next that a report may ask for, or the interval if that is less."""

OVERDUE = 0.5
"""Seconds beyond its timeout after which a probe is cut off."""


class Watch:
    """One server's thread; a daemon thread, since a name lookup that hangs cannot be ended.

    Args:
        prober: the server's.
        interval, timeout: seconds.
        deliver: gets the watch and each probe, in this thread.
    """

    def __init__(
        self,
        name: str,
        prober: Prober | HopProber,
        interval: float,
        timeout: float,
        deliver: Callable[[Watch, Probe], None],
    ) -> None:
        self.name = name
        self._prober = prober
        self._interval = interval
        self._timeout = timeout
        self._deliver = deliver
        self._wake = threading.Event()
        self._stopping = False
        self._began: float | None = None
        self._cut_off = 0.0
        self._thread = threading.Thread(target=self._run, name=f"monitor-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def poke(self) -> None:
        """Probe soon: at once, or after the probe under way, but never sooner than SOONEST after the last."""
        self._wake.set()

    def overdue(self, now: float) -> Probe | None:
        """Cut off a probe that overran; a failed one in its place, once per timeout, if even so it goes on."""
        began = self._began
        if began is None or now - max(began, self._cut_off) <= self._timeout + OVERDUE:
            return None
        again = self._cut_off > began
        self._cut_off = now
        self._prober.abort()
        return Probe(began, now, Failure.OTHER, NO_ANSWER) if again else None

    def stop(self) -> None:
        """Tell it to end after the probe under way; does not wait."""
        self._stopping = True
        self._wake.set()

    def join(self, patience: float, deadline: float) -> bool:
        """Wait for the end: politely for ``patience`` seconds, then its probe is cut off.

        Returns False when it had not ended at ``deadline`` (time.monotonic).
        """
        self._thread.join(patience)
        if self._thread.is_alive():
            self._prober.stop()
            self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            begun = self._began = time.monotonic()
            probe = self._prober.probe()
            self._began = None
            if self._stopping:
                break
            self._deliver(self, probe)
            self._pause(begun)
        self._prober.close()

    def _pause(self, begun: float) -> None:
        soonest = begun + min(SOONEST, self._interval)
        while not self._stopping:
            now = time.monotonic()
            due = soonest if self._wake.is_set() else begun + self._interval
            if now >= due:
                return
            if self._wake.is_set():
                time.sleep(min(due - now, SOONEST))
            else:
                self._wake.wait(due - now)
