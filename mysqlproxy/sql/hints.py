"""Hints to the daemon in a statement's comments: ``/* mysqlproxy: server=worker1, consistency=eventual */``.

Called by the session for texts that hold ``MARK``, and by ``explain``. A hint stands before the first word or right
behind it. It changes no verdict: it only narrows where a plain read may go. Never raises, and keeps nothing of what
it does not understand, so that no literal reaches a log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mysqlproxy.config.schema import Consistency, Strategy
from mysqlproxy.sql.patterns import BLOCK_COMMENT, GAP

MARK: Final = b"mysqlproxy:"
"""Who has this in the text may have a hint."""

WITHIN: Final = 4096
"""Bytes at the front of a packet or text that are looked into for ``MARK``."""

ROLES: Final = frozenset({"manager", "worker"})

# Where hints may stand: around the first word, which may be in parentheses.
_FRONT = re.compile(rb"(?:" + GAP + rb"|\()*+[A-Za-z]*+" + GAP + rb"*+", re.DOTALL)
_COMMENT = re.compile(rb"(?P<block>" + BLOCK_COMMENT + rb")|(?:\#|--)[^\n]*+", re.DOTALL)
_SETTING = re.compile(r"[\s,]*+(?:([A-Za-z_]++)\s*+=\s*+([\w.-]++)(?=[\s,]|\Z)|[^\s,]++)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Hint:
    """What the comments of one text ask for.

    Attributes:
        server: name of a server, not looked up yet; "" for any.
        role: "manager", "worker" or "" for any.
        strategy, consistency: in place of the account's, or None.
        wrong: what was not understood, in words of ours.
    """

    server: str = ""
    role: str = ""
    strategy: Strategy | None = None
    consistency: Consistency | None = None
    wrong: tuple[str, ...] = ()


def read(text: bytes) -> Hint | None:
    """The hint in ``text``; None when there is none."""
    front = _FRONT.match(text, 0, 2 * WITHIN)
    assert front is not None  # it matches nothing, too
    bodies = []
    for comment in _COMMENT.finditer(text, 0, front.end()):
        body = (comment["block"] or b"")[2:-2].strip()
        if body.startswith(MARK):
            bodies.append(body[len(MARK) :].decode("latin-1"))
    return _understood(" ".join(bodies)) if bodies else None


def _understood(settings: str) -> Hint:
    given: dict[str, str] = {}
    wrong: list[str] = []
    for setting in _SETTING.finditer(settings):
        key, value = (setting[1] or "").lower(), setting[2]
        if value is None:
            wrong.append("something that is not key=value")
        elif key not in _KEYS:
            wrong.append("a key that is not known")
        elif key in given:
            wrong.append(f"{key} given twice")
        elif key != "server" and value.lower() not in _KEYS[key]:
            wrong.append(f"a value of {key} that is not known")
        else:
            given[key] = value if key == "server" else value.lower()
    return Hint(
        server=given.get("server", ""),
        role=given.get("role", ""),
        strategy=Strategy(given["strategy"]) if "strategy" in given else None,
        consistency=Consistency(given["consistency"]) if "consistency" in given else None,
        wrong=tuple(dict.fromkeys(wrong)),
    )


_KEYS: dict[str, frozenset[str]] = {
    "server": frozenset(),
    "role": ROLES,
    "strategy": frozenset(strategy.value for strategy in Strategy),
    "consistency": frozenset(consistency.value for consistency in Consistency),
}
