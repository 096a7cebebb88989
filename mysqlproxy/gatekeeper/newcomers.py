"""Clients that have not logged in yet: no more than a bound, whoever connects. Called by the session's login.

When one too many comes, the oldest that has said nothing leaves; when all have, the oldest. Who floods with silence
so pushes out silence, and a client that is quick gets in.
"""

from __future__ import annotations

from collections.abc import Callable


class Newcomers:
    """By connection id, the oldest first.

    Attributes:
        limit: [limits] max_unauthenticated.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._silent: dict[int, Callable[[], None]] = {}
        self._speaking: dict[int, Callable[[], None]] = {}

    def __len__(self) -> int:
        return len(self._silent) + len(self._speaking)

    def come(self, number: int, leave: Callable[[], None]) -> None:
        """One has connected. ``leave`` is called when it has to go for another; it is not counted any more then."""
        if len(self) >= self.limit:
            crowd = self._silent or self._speaking
            crowd.pop(next(iter(crowd)))()
        self._silent[number] = leave

    def spoke(self, number: int) -> None:
        """It has sent a whole packet."""
        leave = self._silent.pop(number, None)
        if leave is not None:
            self._speaking[number] = leave

    def gone(self, number: int) -> None:
        """It has logged in, or left."""
        self._silent.pop(number, None)
        self._speaking.pop(number, None)
