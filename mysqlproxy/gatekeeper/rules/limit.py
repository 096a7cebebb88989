"""How many statements a second and at a time: the limits of one rule. Asked by ``session.admit`` at each execution.

A statement beyond its limit waits in a bounded queue, first come, first served, up to the rule's deadline.
"""

from __future__ import annotations

import asyncio
from collections import deque
from math import ceil
from time import monotonic

from mysqlproxy.errors import PolicyDenied
from mysqlproxy.gatekeeper.rules.schema import Rule

MAX_KEYS = 10_000
"""Accounts or digests that one rule counts at a time; what is beyond shares one count."""

_SHARED = ""


class Limiter:
    """The counts of one rule, by account or digest."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._counts: dict[str, Count] = {}

    def count(self, account: str, digest: str) -> Count:
        """The count that a statement belongs to."""
        key = account if self.rule.per == "account" else digest
        found = self._counts.get(key)
        if found is None:
            if len(self._counts) >= MAX_KEYS:
                self._counts = {key: count for key, count in self._counts.items() if not count.idle()}
            if len(self._counts) >= MAX_KEYS:
                key = _SHARED
            found = self._counts.setdefault(key, Count(self.rule))
        return found


class Count:
    """What one account or digest has used of its limit."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        # As many at once as in one second, unless told otherwise.
        self._burst = float(rule.burst or max(1, ceil(rule.rate or 1)))
        self._tokens = self._burst
        self._at = monotonic()
        self._running = 0
        self._queue: deque[asyncio.Event] = deque()

    def idle(self) -> bool:
        """Whether to forget it changes nothing."""
        self._refill()
        return not self._running and not self._queue and self._tokens >= self._burst

    def enter(self) -> bool:
        """Count a statement that begins now; False when it has to wait."""
        return not self._queue and self._take()

    async def wait(self, user: str) -> None:
        """Return when the statement may begin; it is counted then.

        Raises:
            PolicyDenied: 1226/42000, the queue is full or the deadline has passed.
        """
        rule = self._rule
        if len(self._queue) >= rule.queue:
            raise self._exceeded(user)
        turn = asyncio.Event()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(rule.deadline):
                while self._queue[0] is not turn or not self._take():
                    turn.clear()
                    seconds = self._until_token() if self._queue[0] is turn else None
                    try:
                        await asyncio.wait_for(turn.wait(), seconds)
                    except TimeoutError:
                        if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                            raise
        except TimeoutError:
            raise self._exceeded(user) from None
        finally:
            self._queue.remove(turn)
            self._wake()

    def leave(self) -> None:
        """A statement that was counted has ended."""
        self._running -= 1
        self._wake()

    def _wake(self) -> None:
        if self._queue:
            self._queue[0].set()

    def _take(self) -> bool:
        rule = self._rule
        self._refill()
        if rule.rate is not None and self._tokens < 1:
            return False
        if rule.concurrency is not None and self._running >= rule.concurrency:
            return False
        self._tokens -= rule.rate is not None
        self._running += 1
        return True

    def _refill(self) -> None:
        now = monotonic()
        if self._rule.rate is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rule.rate)
        self._at = now

    def _until_token(self) -> float | None:
        """Seconds; None when only the end of another statement can help."""
        if self._rule.rate is None or self._tokens >= 1:
            return None
        return (1 - self._tokens) / self._rule.rate

    def _exceeded(self, user: str) -> PolicyDenied:
        return PolicyDenied(
            f"User '{user}' has exceeded the limit of the rule '{self._rule.name}'", errno=1226
        )
