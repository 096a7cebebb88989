"""Where a text asks for the id of its connection. Called by ``sql.classify``; the spans are for
``sql.rewrite``.

Clients know the id that the daemon gave them in its greeting, servers know their own: CONNECTION_ID() and
@@pseudo_thread_id are replaced before the text is sent on.
"""

from __future__ import annotations

from mysqlproxy.sql.calls import variable_at
from mysqlproxy.sql.finding import Tokens, word
from mysqlproxy.sql.variables import CONNECTION_ID

Span = tuple[int, int, bool]

# Behind these a definition or another connection's text is stored, and a number would be stored with it.
_STORED = frozenset({"CREATE", "ALTER", "PREPARE"})
_LIST_BEGINS = frozenset({"SELECT", "DISTINCT", "ALL", "DISTINCTROW", ","})
_LIST_ENDS = frozenset(
    {
        "FROM",
        "WHERE",
        "GROUP",
        "HAVING",
        "ORDER",
        "LIMIT",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "INTO",
        "FOR",
        "LOCK",
    }
)


def spans(statement: Tokens) -> list[Span]:
    """(start, end, whole_item) of each place in one statement of a text, in order; offsets are bytes of the
    text.
    """
    filled_from = 0
    if word(statement, 0) in _STORED:
        # Of CREATE TABLE ... AS SELECT only the rows are stored, not the text.
        words = [token.upper for token in statement]
        if "TABLE" not in words[1:4] or "SELECT" not in words:
            return []
        filled_from = words.index("SELECT")
    found: list[Span] = []
    in_list = [False]
    for index, token in enumerate(statement):
        upper = token.upper
        if index < filled_from:
            continue
        if upper == "(":
            in_list.append(False)
        elif upper == ")":
            if len(in_list) > 1:
                in_list.pop()
        elif upper == "SELECT":
            in_list[-1] = True
        elif upper in _LIST_ENDS:
            in_list[-1] = False
        elif upper == "CONNECTION_ID" and word(statement, index - 1) != ".":
            if word(statement, index + 1) == "(" and word(statement, index + 2) == ")":
                found.append(_span(statement, index, index + 2, in_list[-1]))
        elif upper == "@@":
            last = index + 3 if word(statement, index + 2) == "." else index + 1
            name, scope = variable_at(statement, index + 1)
            assigned = word(statement, 0) == "SET" and word(statement, last + 1) in {"=", ":="}
            if name == CONNECTION_ID and scope != "GLOBAL" and not assigned:
                found.append(_span(statement, index, last, in_list[-1]))
    return found


def _span(statement: Tokens, first: int, last: int, in_list: bool) -> Span:
    following = word(statement, last + 1)
    at_end = last + 1 >= len(statement) or following in {",", ")"} or following in _LIST_ENDS
    whole_item = in_list and word(statement, first - 1) in _LIST_BEGINS and at_end
    return statement[first].start, statement[last].end, whole_item
