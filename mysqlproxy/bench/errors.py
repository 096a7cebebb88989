"""What ends a benchmark or one turn of it."""

from __future__ import annotations


class BenchError(Exception):
    """What went wrong and what to do about it, in one sentence."""


class Interrupted(Exception):
    """The user wants to stop."""
