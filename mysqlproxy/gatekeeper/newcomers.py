"""Clients that have not logged in yet: no more than a bound, whoever connects. Called by the session's login.

When one too many comes, the one that has been silent longest leaves. Who floods with silence, or stops in the middle
of a login, so pushes out its own, and a client that is quick gets in.
"""

from __future__ import annotations

from collections.abc import Callable


class Newcomers:
    """By connection id, in the order of when they came or last said something.

    Attributes:
        limit: [limits] max_unauthenticated.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._waiting: dict[int, Callable[[], None]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def come(self, number: int, leave: Callable[[], None]) -> None:
        """One has connected. ``leave`` is called when it has to go for another; it is not counted any more then."""
        if len(self) >= self.limit:
            self._waiting.pop(next(iter(self._waiting)))()
        self._waiting[number] = leave

    def spoke(self, number: int) -> None:
        """It has sent a whole packet."""
        leave = self._waiting.pop(number, None)
        if leave is not None:
            self._waiting[number] = leave

    def gone(self, number: int) -> None:
        """It has logged in, or left."""
        self._waiting.pop(number, None)
