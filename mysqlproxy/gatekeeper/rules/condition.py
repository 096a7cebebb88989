"""Whether a rule is about a statement: yes, no, or nobody can tell. Called by ``gatekeeper.rules.firewall``; pure.

Rules that refuse are about a statement that touches any of what they list. Rules that let through (allow, route) are
about one that touches nothing else, and that is certain. So what is not understood is refused by the first kind and
never let through by the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import TypeVar

from mysqlproxy.gatekeeper.rules.schema import Rule
from mysqlproxy.sql.use import Use, fold

T = TypeVar("T")

_KIND_WORDS = {
    "read": frozenset({"SELECT", "TABLE", "VALUES"}),
    "write": frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE", "LOAD", "CALL", "DO"}),
    "ddl": frozenset({"CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME"}),
    "accounts": frozenset({"GRANT", "REVOKE", "USER", "ROLE", "PASSWORD"}),
}


class Match(IntEnum):
    NO = 0
    MAYBE = 1
    YES = 2


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is of a text besides the use of each statement.

    Attributes:
        schema: the session's default schema.
        statements: how many are in the text.
        digests: of the text and of what it prepares; None for one that could not be made.
    """

    schema: str
    statements: int
    digests: tuple[str | None, ...]


class Condition:
    """What of a rule depends on the statement alone, made ready."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._certain = rule.action in {"allow", "route"}
        self._schemas = tuple(map(fold, rule.schemas))
        self._statements = frozenset(word.upper() for word in rule.statements)
        self._keywords = frozenset(word.upper() for word in rule.keywords)
        self._tables = tuple(_qualified(name) for name in rule.tables)
        self._columns = tuple(_column(name) for name in rule.columns)
        self._functions = tuple(map(fold, rule.functions))
        self._digests = frozenset(rule.digests)
        self._checks: list[Callable[[Use, Facts], Match]] = [
            check
            for given, check in (
                (rule.multi_statements is not None, self._multi),
                (bool(rule.schemas), self._schema),
                (bool(rule.kinds), self._kind),
                (bool(rule.statements), self._verb),
                (bool(rule.tables), self._only_tables if self._certain else self._any_table),
                (bool(rule.columns), self._any_column),
                (bool(rule.functions), self._function),
                (bool(rule.keywords), self._keyword),
                (bool(rule.missing), self._missing),
                (bool(rule.digests), self._digest),
                (rule.pattern is not None, self._pattern),
            )
            if given
        ]

    def match(self, use: Use, facts: Facts) -> Match:
        """Whether the rule is about the statement, its account and the time left aside."""
        found = Match.YES
        for check in self._checks:
            found = min(found, check(use, facts))
            if found is Match.NO:
                break
        return found

    def _multi(self, use: Use, facts: Facts) -> Match:
        return _yes((facts.statements > 1) == self._rule.multi_statements)

    def _schema(self, use: Use, facts: Facts) -> Match:
        schema = fold(facts.schema)
        return _yes(any(fnmatchcase(schema, pattern) for pattern in self._schemas))

    def _kind(self, use: Use, facts: Facts) -> Match:
        kinds = self._rule.kinds
        if use.unknown:
            return Match.MAYBE
        if use.verb and use.kind in kinds:
            return Match.MAYBE if self._certain and use.hidden else Match.YES
        hidden = any(use.hidden & _KIND_WORDS.get(kind, use.hidden) for kind in kinds)
        return Match.MAYBE if hidden or use.kind in kinds else Match.NO

    def _verb(self, use: Use, facts: Facts) -> Match:
        if use.verb in self._statements and not (self._certain and (use.hidden or use.unknown)):
            return Match.YES
        return Match.MAYBE if use.unknown or use.hidden & self._statements else Match.NO

    def _any_table(self, use: Use, facts: Facts) -> Match:
        access = self._rule.access
        touched = _of(access, use.reads, use.writes)
        for schema, table in self._tables:
            if any(fnmatchcase(name, table) and fnmatchcase(owner, schema) for owner, name in touched):
                return Match.YES
        return _maybe(use, access, self._tables)

    def _only_tables(self, use: Use, facts: Facts) -> Match:
        # As named: what a listed view shows is its definer's decision. Exact, as two names may be two tables.
        if use.unknown or use.candidates or use.hidden or not use.named:
            return Match.NO
        access = self._rule.access
        if (access == "read" and use.may_write) or (access == "write" and not use.may_write):
            return Match.NO
        patterns = [pattern if "." in pattern else f"*.{pattern}" for pattern in self._rule.tables]
        names = [".".join(name) for name in use.named]
        return _yes(all(any(fnmatchcase(name, pattern) for pattern in patterns) for name in names))

    def _any_column(self, use: Use, facts: Facts) -> Match:
        access = self._rule.access
        touched = _of(access, use.columns_read, use.columns_written)
        for schema, table, column in self._columns:
            for owner, name, own in touched:
                if (
                    (own == "*" or fnmatchcase(own, column))
                    and fnmatchcase(name, table)
                    and fnmatchcase(owner, schema)
                ):
                    return Match.YES
        return _maybe(use, access, [(schema, table) for schema, table, _ in self._columns])

    def _function(self, use: Use, facts: Facts) -> Match:
        for name in use.functions:
            last = name.rpartition(".")[2]
            for pattern in self._functions:
                own = last if "." not in pattern else name
                if fnmatchcase(own, pattern) or (
                    "." not in name and fnmatchcase(f"{fold(facts.schema)}.{name}", pattern)
                ):
                    return Match.YES
        return _maybe_unknown(use)

    def _keyword(self, use: Use, facts: Facts) -> Match:
        return Match.YES if use.keywords & self._keywords else _maybe_unknown(use)

    def _missing(self, use: Use, facts: Facts) -> Match:
        missing = self._rule.missing
        if (use.no_where and "where" in missing) or (use.no_limit and "limit" in missing):
            return Match.MAYBE if use.hidden or not use.verb else Match.YES
        return _maybe_unknown(use)

    def _digest(self, use: Use, facts: Facts) -> Match:
        # Each text: what a listed statement prepares has to be listed, too.
        listed = [digest is not None and digest in self._digests for digest in facts.digests]
        if all(listed) if self._certain else any(listed):
            return Match.YES
        return _maybe_otherwise(facts)

    def _pattern(self, use: Use, facts: Facts) -> Match:
        pattern = self._rule.pattern
        assert pattern is not None
        found = [digest is not None and pattern.search(digest) is not None for digest in facts.digests]
        if all(found) if self._certain else any(found):
            return Match.MAYBE if self._certain and _maybe_otherwise(facts) else Match.YES
        return _maybe_otherwise(facts)


def _maybe_otherwise(facts: Facts) -> Match:
    """Whether a text may be another one than its digest shows: to some servers a comment, to others code."""
    odd = any(digest is None or "/*!" in digest or "/*M!" in digest for digest in facts.digests)
    return Match.MAYBE if odd else Match.NO


def _yes(true: bool) -> Match:
    return Match.YES if true else Match.NO


def _maybe_unknown(use: Use) -> Match:
    return Match.MAYBE if use.unknown else Match.NO


def _of(access: str, read: frozenset[T], written: frozenset[T]) -> frozenset[T]:
    if access == "read":
        return read
    return written if access == "write" else read | written


def _maybe(use: Use, access: str, tables: Iterable[tuple[str, str]]) -> Match:
    """For tables that were not found by name: what is not understood may be one of them."""
    if access == "write" and not use.may_write:
        return Match.NO
    if use.unknown:
        return Match.MAYBE
    names = use.candidates
    for schema, table in tables:
        if any(fnmatchcase(name, table) for name in use.aliases):
            return Match.MAYBE
        if any(fnmatchcase(name, table) for name in names) and any(
            fnmatchcase(name, schema) for name in names
        ):
            return Match.MAYBE
    return Match.NO


def _qualified(name: str) -> tuple[str, str]:
    schema, _, table = name.rpartition(".")
    return fold(schema) or "*", fold(table)


def _column(name: str) -> tuple[str, str, str]:
    table, _, column = name.rpartition(".")
    return (*_qualified(table), fold(column))
