"""sqlglot, on a budget. Called by ``sql.reading``; the one module that runs its parser.

The parser tries things and goes back, and what it tries may hold the same choice again: 24 nested
``DECIMAL(`` or ``LIMIT a (`` take it minutes, in compiled code that nothing can interrupt. But on its way
it asks its dialect for
settings all the time, and the dialect is ours: after so many questions it raises. ``sql.reading`` turns joins
into a form that needs no second try, as those ask for nothing.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.dialects.mysql import MySQL

# It warns with the statement's text.
logging.getLogger("sqlglot").disabled = True

_FREE = 500
_PER_TOKEN = 4


class BudgetExceededError(Exception):
    """The parser asked more than a statement of this size needs."""


class _Budgeted(MySQL):
    """The dialect, which counts how often it is asked."""

    left = 0

    def __getattribute__(self, name: str) -> Any:
        values = object.__getattribute__(self, "__dict__")
        left = values.get("left", _FREE) - 1
        values["left"] = left
        if left < 0:
            raise BudgetExceededError
        return super().__getattribute__(name)


_TOKENIZER = Dialect.get_or_raise("mysql")


@lru_cache(maxsize=1)
def parse(text: str, tokens: int) -> exp.Expr | None:
    """The tree of the one query in ``text``, which has so many tokens; None when it is not understood.

    It is only read: the firewall asks for the one that the verdict was made from, right behind it.
    """
    try:
        dialect = _Budgeted()
        dialect.left = _FREE + _PER_TOKEN * tokens
        trees = MySQL.parser_class(dialect=dialect).parse(_TOKENIZER.tokenize(text), text)
    except Exception:  # ParseError, TokenError, RecursionError, the budget, its own bugs: all mean the same
        return None
    return trees[0] if len(trees) == 1 else None
