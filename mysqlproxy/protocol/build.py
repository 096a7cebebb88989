"""Which build of the hot modules runs: compiled by mypyc, or plain Python.

Asked by ``mysqlproxy --version`` and the log's first line. Decides nothing: setup.py compiles them where it
can, and what was installed is what Python imports.
"""

from __future__ import annotations

from mysqlproxy.protocol import codec, framing, response


def compiled() -> bool:
    """Whether the modules that walk bytes run as native code."""
    return all(not (module.__file__ or ".py").endswith(".py") for module in (codec, framing, response))
