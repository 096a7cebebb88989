"""Which names a statement that was run may have defined anew. Called by the session when its answer is there.

A definition names whatever it changes, so all words of its digest are taken, and nothing else: what is too
much is in doubt only until the catalog has been read again. Where the text is not all that ran (CALL of
what cannot be read, EXECUTE), it may be anything.
"""

from __future__ import annotations

import re

from mysqlproxy.sql import stored
from mysqlproxy.sql.catalog import Catalog, names_in
from mysqlproxy.sql.digest import MAX_SHOWN
from mysqlproxy.sql.verdict import Effect, Verdict

NOTHING: frozenset[str] = frozenset()

# TRUNCATE leaves a table a table; what temporary tables hide, only their own session sees.
_CHANGES_NO_NAME = re.compile(
    r"TRUNCATE\b|(?:CREATE|CREATE OR REPLACE|DROP) (?:TEMPORARY|(?:UNIQUE |FULLTEXT |SPATIAL )?INDEX)\b",
    re.IGNORECASE,
)
_NAME = r"(?:`((?:[^`]|``)+)`|([\w$]+))"
_TRIGGER = re.compile(r"(?:CREATE|DROP)\b.{0,400}?\bTRIGGER\b", re.IGNORECASE)
_CALL = re.compile(rf"CALL {_NAME}(?: ?\. ?{_NAME})? ?(?:\(|\Z)", re.IGNORECASE)
_EXECUTE = re.compile(r"EXECUTE\b", re.IGNORECASE)


def names_defined(
    verdict: Verdict, catalog: Catalog, schema: str, *, result_set: bool = False
) -> frozenset[str] | None:
    """Names, lower case, that may mean something else now; None for any name.

    Args:
        schema: the default schema it ran under.
        result_set: the answer held rows: then it was no definition.
    """
    if not verdict.effects & Effect.DDL:
        return NOTHING
    digest = verdict.digest
    if verdict.statements == 1:
        if _TRIGGER.match(digest):
            return names_in(digest)  # its table is named in front of its body, which is not run
        if _CHANGES_NO_NAME.match(digest) or (result_set and _EXECUTE.match(digest)):
            return NOTHING
        called = _CALL.match(digest)
        if called is not None:
            first, second = called[1] or called[2], called[3] or called[4]
            names = (first, second) if second else (schema, first)
            return stored.names_defined_in(catalog, *(name.replace("``", "`") for name in names))
    if verdict.effects & Effect.UNTRACKED or len(digest) >= MAX_SHOWN:
        return None
    return names_in(digest)
