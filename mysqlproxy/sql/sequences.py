"""Which of MariaDB's sequences a statement draws from, and whose last value it asks for. Called by the session for
verdicts that say it does. Pure; reads digests, where names are as written.
"""

from __future__ import annotations

import re

_NAME = r"(?:`(?:[^`]|``)+`|\"(?:[^\"]|\"\")+\"|[\w$]+)"
_SEQUENCE = rf"\s?({_NAME})(?:\s?\.\s?({_NAME}))?"
_DRAWS = re.compile(rf"\bNEXT(?:VAL\s?\(|\sVALUE\sFOR\s){_SEQUENCE}", re.IGNORECASE)
_ASKS = re.compile(r"\b(?:LASTVAL\s?\(|PREVIOUS\sVALUE\sFOR\s)", re.IGNORECASE)
_ASKS_FOR = re.compile(_ASKS.pattern + _SEQUENCE, re.IGNORECASE)


def drawn(digest: str, schema: str) -> frozenset[str]:
    """The sequences whose next value is taken, as schema.name; those that routines and defaults take are not seen."""
    return frozenset(_whole(match, schema) for match in _DRAWS.finditer(digest))


def asked(digest: str, schema: str) -> frozenset[str] | None:
    """The sequences whose last value is asked for; None when it is of none."""
    if _ASKS.search(digest) is None:
        return None
    return frozenset(_whole(match, schema) for match in _ASKS_FOR.finditer(digest))


def _whole(match: re.Match[str], schema: str) -> str:
    first, second = match[1], match[2]
    return f"{_bare(first)}.{_bare(second)}" if second else f"{schema}.{_bare(first)}"


def _bare(name: str) -> str:
    return name[1:-1] if name[0] in '`"' else name
