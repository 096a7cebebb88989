"""Await a condition instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 20.0  # seconds

T = TypeVar("T")


def eventually(condition: Callable[[], T], timeout: float = PATIENCE, what: str = "") -> T:
    """The first true value of ``condition``; AssertionError after ``timeout`` seconds.

    Args:
        what: what is waited for, for the error.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what or condition}; last: {value!r}"
        time.sleep(0.02)
    return value
