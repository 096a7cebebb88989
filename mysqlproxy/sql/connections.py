"""Where a text asks for the id of its connection. Called by ``sql.classify``; the places are for
``sql.rewrite``.

Clients know the id that the daemon gave them in its greeting, servers know their own: CONNECTION_ID() and
@@pseudo_thread_id are replaced before the text is sent on. A select item without an alias gets its own text
as one, because that is its column's name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from mysqlproxy.sql.calls import variable_at
from mysqlproxy.sql.finding import Tokens, word
from mysqlproxy.sql.lexer import Token, TokenKind
from mysqlproxy.sql.variables import CONNECTION_ID
from mysqlproxy.sql.words import words

Span = tuple[int, int, bool]
Edit = tuple[int, int, bytes]

MAX_NAME = 255
"""Characters of a column's name on either kind of server."""

# Where one of these tells ids of connections, the text compares them with its own: all are the server's then.
_OF_SERVER = words(
    "IS_USED_LOCK PROCESSLIST INNODB_TRX INNODB_LOCKS INNODB_LOCK_WAITS METADATA_LOCK_INFO PERFORMANCE_SCHEMA SYS"
)
# Behind these a definition or another connection's text is stored, and a number would be stored with it.
_STORED = frozenset({"CREATE", "ALTER", "PREPARE"})
_LIST_BEGINS = frozenset({"SELECT", "RETURNING"})
_BEFORE_ITEMS = words("ALL DISTINCT DISTINCTROW HIGH_PRIORITY STRAIGHT_JOIN SQL_CACHE SQL_NO_CACHE") | words(
    "SQL_SMALL_RESULT SQL_BIG_RESULT SQL_BUFFER_RESULT SQL_CALC_FOUND_ROWS"
)
_LIST_ENDS = words(
    "FROM WHERE GROUP HAVING ORDER LIMIT UNION EXCEPT INTERSECT INTO FOR LOCK ON WINDOW PROCEDURE"
)
# What follows one of these is no alias.
_OPERATORS = words("AND OR XOR NOT IS LIKE IN BETWEEN DIV MOD REGEXP RLIKE COLLATE CASE THEN ELSE WHEN")
_NAMES = frozenset({TokenKind.WORD, TokenKind.QUOTED})


class Found(NamedTuple):
    """In one statement of a text; offsets are bytes of it.

    Attributes:
        spans: (start, end, whether nothing but a number may stand there), in order.
        aliases: what to put in where, so that columns keep their names.
    """

    spans: list[Span]
    aliases: list[Edit]


def find(statement: Tokens, text: bytes) -> Found:
    """The places in one statement of ``text``."""
    reader = Reader(statement, text)
    if any(token.text.upper() in _OF_SERVER for token in statement if token.kind in _NAMES):
        return reader.found
    if word(statement, 0) in _STORED:
        # Of CREATE TABLE ... AS SELECT only the rows are stored, not the text.
        upper = [token.upper for token in statement]
        if "TABLE" not in upper[1:4] or "SELECT" not in upper:
            return reader.found
        reader.read(upper.index("SELECT"))
    else:
        reader.read(0)
    return reader.found


class _Level:
    """What is open between two parentheses.

    Attributes:
        item: where the current select item begins, -1 outside of lists.
        item_asks, asks: whether it asks for the id, and whether anything here does.
    """

    __slots__ = ("asks", "item", "item_asks")

    def __init__(self) -> None:
        self.begin(-1)
        self.asks = False

    def begin(self, item: int) -> None:
        self.item = item
        self.item_asks = False


class Reader:
    """Goes through the select lists of one statement."""

    def __init__(self, statement: Tokens, text: bytes) -> None:
        self.statement = statement
        self.text = text
        self.found = Found([], [])
        self.levels = [_Level()]

    def read(self, start: int) -> None:
        statement = self.statement
        for index in range(start, len(statement)):
            upper = statement[index].upper
            level = self.levels[-1]
            if upper == "(":
                self.levels.append(_Level())
            elif upper == ")" and len(self.levels) > 1:
                self._item_ends(index)
                self.levels.pop()
                self.levels[-1].asks |= level.asks
                self.levels[-1].item_asks |= level.asks
            elif upper in _LIST_BEGINS:
                level.begin(index + 1)
            elif upper in _BEFORE_ITEMS and level.item == index:
                level.item = index + 1
            elif upper == "," and level.item >= 0:
                self._item_ends(index)
                level.begin(index + 1)
            elif upper in _LIST_ENDS and level.item >= 0:
                self._item_ends(index)
                level.begin(-1)
            elif (last := self.asks_at(index)) is not None:
                number_only = word(statement, 0) == "KILL"
                self.found.spans.append((statement[index].start, statement[last].end, number_only))
                level.asks = level.item_asks = True
        while self.levels:
            self._item_ends(len(statement))
            self.levels.pop()

    def asks_at(self, index: int) -> int | None:
        """The last token of what asks for the id and begins at ``index``."""
        statement = self.statement
        upper = statement[index].upper
        if upper == "CONNECTION_ID" and word(statement, index - 1) != ".":
            called = word(statement, index + 1) == "(" and word(statement, index + 2) == ")"
            return index + 2 if called else None
        if upper != "@@":
            return None
        last = index + 3 if word(statement, index + 2) == "." else index + 1
        name, scope = variable_at(statement, index + 1)
        assigned = word(statement, 0) == "SET" and word(statement, last + 1) in {"=", ":="}
        return last if name == CONNECTION_ID and scope != "GLOBAL" and not assigned else None

    def _item_ends(self, end: int) -> None:
        level, statement = self.levels[-1], self.statement
        if level.item < 0 or not level.item_asks or _may_have_alias(statement[level.item : end]):
            return
        place = statement[end - 1].end
        name = self.text[statement[level.item].start : place]
        if len(name) <= MAX_NAME and name.isascii():  # else a character set may hide a backtick in it
            self.found.aliases.append((place, place, b" AS `" + name.replace(b"`", b"``") + b"`"))


def exchanged(statement: Tokens, text: bytes, places: Mapping[int, tuple[int, bytes]]) -> list[Edit]:
    """What to change in ``text`` so that something else stands in these places, under the same columns' names.

    Args:
        places: index of a first token -> that of the last one, and what to put in.
    """
    edits: list[Edit] = []
    merged: list[Token] = []
    index = 0
    while index < len(statement):
        token = statement[index]
        if index in places:
            index, change = places[index]
            edits.append((token.start, statement[index].end, change))
            token = Token(TokenKind.NUMBER, "", "", token.start, statement[index].end, token.spaced)
        merged.append(token)
        index += 1
    reader = _Merged(merged, text, {start for start, _, _ in edits})
    reader.read(0)
    return edits + reader.found.aliases


class _Merged(Reader):
    def __init__(self, statement: Tokens, text: bytes, starts: Collection[int]) -> None:
        super().__init__(statement, text)
        self.starts = starts

    def asks_at(self, index: int) -> int | None:
        return index if self.statement[index].start in self.starts else None


def _may_have_alias(item: Tokens) -> bool:
    last = item[-1]
    if last.kind is TokenKind.NUMBER or last.text == "?" or last.upper in {")", "NULL", "TRUE", "FALSE"}:
        return False
    if last.kind not in _NAMES or len(item) < 2:
        return True
    before = item[-2]
    operator = before.kind is TokenKind.OPERATOR and before.upper != ")"
    return not (operator or before.upper in _OPERATORS)
