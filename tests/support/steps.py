"""The work of a call, counted: the same on every machine, however busy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def steps(call: Callable[[], Any]) -> int:
    """How many functions were called and left, Python's and C's. What a regular expression or sqlglot's compiled
    parser does inside counts once: where one of them has no end, neither has the test.
    """
    count = 0

    def see(_frame: object, _event: str, _argument: object) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        call()
    finally:
        sys.setprofile(before)
    return count
