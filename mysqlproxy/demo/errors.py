"""The one error of the local cluster and the demo: a sentence for the person at the terminal."""

from __future__ import annotations


class LocalClusterError(Exception):
    """What went wrong and what to do about it, in one sentence; a server's last words may follow below."""
