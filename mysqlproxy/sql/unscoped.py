"""Where a text sets a system variable as ``SET @@name = ...``. Called by ``sql.classify``; the places are for
``sql.rewrite``.

MariaDB's session tracker reports ``SET name = ...`` and ``SET @@session.name = ...`` but not this form (10.11), which
means the same: unless SESSION is put in, the other connections of a session would never learn the value.
"""

from __future__ import annotations

from mysqlproxy.sql.calls import variable_at
from mysqlproxy.sql.finding import Tokens, word
from mysqlproxy.sql.variables import ONE_TRANSACTION


def edits(statement: Tokens) -> list[tuple[int, int, bytes]]:
    """What to put into the text for each such name in one statement, and where.

    Not of variables for which the form without a scope means something else: the next transaction only.
    """
    if word(statement, 0) != "SET" or word(statement, 1) == "STATEMENT":
        return []
    found = []
    depth = 0
    for index, token in enumerate(statement):
        if token.upper == "(":
            depth += 1
        elif token.upper == ")":
            depth -= 1
        elif token.upper == "@@" and depth == 0 and word(statement, index - 1) in {"SET", ","}:
            name, scope = variable_at(statement, index + 1)
            assigned = word(statement, index + 2) in {"=", ":="}
            if name and not scope and assigned and name not in ONE_TRANSACTION:
                place = statement[index + 1].start
                found.append((place, place, b"SESSION."))
    return found
