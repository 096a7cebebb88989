"""Views, stored functions, procedures and triggers: what a statement that uses one does. Called by
``sql.statement``, ``sql.classify`` and ``sql.definition``.

Declarations lie (READS SQL DATA may INSERT, NO SQL may lock), so the body decides, and the bodies of what it
uses in turn. A body that is not positively understood may do anything. Each is read once per catalog.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from mysqlproxy.sql import body, leading, reading, triggers, unseen
from mysqlproxy.sql.body import lex
from mysqlproxy.sql.catalog import Catalog, Name, Relation, Routine, What
from mysqlproxy.sql.finding import Finding, Tokens, stronger, word
from mysqlproxy.sql.lexer import TokenKind
from mysqlproxy.sql.verdict import Effect, Kind, Needs, SqlContext

MAX_DEPTH: Final = 32
"""Views and functions inside of one another."""

MAX_NEW: Final = 100
"""Bodies read for one statement; the others are left to the next one."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What using a view or calling a function does, as in ``Finding``; ``why`` is "" for a plain read.

    Attributes:
        asks: the functions by which it asks for what the last statement or insert has left.
    """

    kind: Kind = Kind.READ
    needs: Needs = Needs.ANY
    effects: int = Effect.NONE
    why: str = ""
    asks: frozenset[str] = frozenset()


_LEFT_BY_TRIGGERS: Final = (
    Effect.UNTRACKED | Effect.USER_VARIABLES | Effect.TEMPORARY_TABLE | Effect.NAMED_LOCK | Effect.SEQUENCE
)

_OF_THE_PAST = frozenset({Needs.LAST_STATEMENT, Needs.LAST_INSERT})

_ASKS = re.compile(
    r"found_rows|row_count|warning_count|error_count|last_insert_id|identity|lastval|previous value"
)
_READS_VIEWS = frozenset(
    {"INSERT", "REPLACE", "UPDATE", "DELETE", "SELECT", "WITH", "(", "SET", "DO", "CREATE", "CALL", "VALUES"}
)

_DOUBTFUL = Judgement(Kind.WRITE, effects=Effect.ASKS_UNSEEN, why="may have been defined anew")


def resolve(finding: Finding, context: SqlContext) -> None:
    """Raise ``finding`` by the views, routines and triggers that were found in it."""
    if finding.views or finding.stored or finding.procedures or finding.fired or finding.fired_in_doubt:
        _resolve(finding, context, _Look(context))


def find_views(tokens: Tokens, finding: Finding, context: SqlContext) -> None:
    """Note the views that ask for what the last statement has left, in a statement that is no plain read.

    Others do nothing that a write may not; and only the tree of a plain read tells which names are views.
    """
    asking = _asking_views(context.catalog)
    if not asking or finding.kind is Kind.READ or word(tokens, 0) not in _READS_VIEWS:
        return
    for index, token in enumerate(tokens):
        if token.kind in _NAMES and token.text.lower() in asking:
            qualified = index > 1 and word(tokens, index - 1) == "."
            name = (tokens[index - 2].text if qualified else context.schema, token.text)
            if context.catalog.words_of(context.catalog.relations, name) is not None:
                finding.views.add(name)


def _asking_views(catalog: Catalog) -> frozenset[str]:
    """Names, lower case, of the views that may ask for what the last statement or insert has left."""
    if not catalog.asking:
        bodies = {name[1].lower(): view.body.lower() for name, view in catalog.relations.items() if view.body}
        names = {name for name, body in bodies.items() if _ASKS.search(body)}
        for _ in range(MAX_DEPTH):
            over = {name for name, body in bodies.items() if any(one in body for one in names)} - names
            if not over or len(names) > MAX_NEW:
                break
            names |= over
        catalog.asking.append(frozenset(names))
    return catalog.asking[0]


def some_trigger_leaves_state(context: SqlContext) -> bool:
    """Whether there is a table that a write to may leave something behind in the session by its triggers."""
    known = context.catalog.triggers
    if known is None or context.catalog.fired_anew:
        return True
    return _some_leaves_state(_Look(context), context)


def _some_leaves_state(look: _Look, context: SqlContext) -> bool:
    for name in context.catalog.triggers or ():
        if look.judge(_Kind.TRIGGER, name, context).effects & ~(Effect.SEQUENCE | Effect.ASKS_UNSEEN):
            return True
    return False


def names_defined_in(catalog: Catalog, schema: str, name: str) -> frozenset[str] | None:
    """The names that a procedure may define anew when it is called; None for any name."""
    procedure = catalog.procedure(schema, name)
    if procedure is None or procedure.body is None or "ORACLE" in procedure.sql_mode:
        return None
    tokens = lex(procedure.body, procedure.sql_mode)
    if tokens is None or any(token.upper in _OPAQUE for token in tokens):
        return None
    for index, token in enumerate(tokens):
        if token.upper in _DEFINES and word(tokens, index + 1) != "TEMPORARY":
            return frozenset(token.text.lower() for token in tokens if token.kind in _NAMES)
    return frozenset()


_DEFINES = frozenset({"CREATE", "ALTER", "DROP", "RENAME"})
_OPAQUE = frozenset({"CALL", "EXECUTE", "INSTALL", "UNINSTALL", "IMPORT"})
_NAMES = frozenset({TokenKind.WORD, TokenKind.QUOTED})


class _Kind(Enum):
    VIEW = "view"
    FUNCTION = "function"
    PROCEDURE = "procedure"
    TRIGGER = "trigger"  # all of one table


class _Look:
    """One statement's look into the catalog: where it stands, and how much more it may read."""

    def __init__(self, context: SqlContext) -> None:
        self.catalog = context.catalog
        self.server = (context.mariadb, context.version)
        self.under_way: set[object] = set()
        self.left = MAX_NEW
        self.cut_short = False

    def judge(self, kind: _Kind, name: Name, context: SqlContext) -> Judgement:
        catalog = self.catalog
        # One key for all spellings of a name, or a client could fill the memory with them.
        fold = bool(catalog.lower_case_table_names)
        folded = (
            name[0].lower() if fold else name[0],
            name[1].lower() if fold or kind in {_Kind.FUNCTION, _Kind.PROCEDURE} else name[1],
        )
        key = (kind, folded, self.server)
        known: Judgement | None = catalog.judgements.get(key)
        if known is not None:
            return known
        if key in self.under_way:
            return _anything("uses itself")
        if self.left <= 0 or len(self.under_way) >= MAX_DEPTH:
            self.cut_short = True
            return _anything("uses more views and routines than are looked into at once")
        self.left -= 1
        self.under_way.add(key)
        if kind is _Kind.VIEW:
            judgement = self._view(name, context)
        elif kind is _Kind.TRIGGER:
            judgement = self._triggers(name, context)
        else:
            judgement = self._routine(kind, name, context)
        self.under_way.discard(key)
        if not self.cut_short:
            catalog.judgements[key] = judgement
        return judgement

    def _view(self, name: Name, context: SqlContext) -> Judgement:
        relation = self.catalog.relation(*name)
        if relation is None or relation.what is What.DOUBTFUL:
            return self._in_doubt(_DOUBTFUL, self.catalog.relations, name)
        if relation.body is None:
            return _anything("has a body that may not be read")
        # The servers keep views in a form that does not depend on the sql_mode.
        tokens = lex(relation.body, "")
        if tokens is None:
            return _anything("is not understood")
        inner = inside(context, name[0], "")
        finding = reading.judge(tokens, inner, parse=True)
        _resolve(finding, inner, self)
        return _asking(_outcome(finding), tokens)

    def _routine(self, kind: _Kind, name: Name, context: SqlContext) -> Judgement:
        procedure = kind is _Kind.PROCEDURE
        found = self.catalog.procedure(*name) if procedure else self.catalog.function(*name, qualified=True)
        if found is None or found.doubtful:
            if procedure:
                anything = _anything("may have been defined anew")
                return self._in_doubt(anything, self.catalog.procedures, name)
            return self._in_doubt(_DOUBTFUL, self.catalog.functions, name)
        if found.body is None:
            return _anything("has a body that may not be read")
        tokens = lex(found.body, found.sql_mode)
        if tokens is None:
            return _anything("is not understood")
        whole = self._body(found, tokens, name[0], context, can_write=procedure)
        return _asking(_anything("is not understood") if whole is None else _outcome(whole), tokens)

    def _in_doubt(
        self, judgement: Judgement, entries: Mapping[Name, Relation | Routine], name: Name
    ) -> Judgement:
        """What a definition may have changed most likely still asks for what it did."""
        words = self.catalog.words_of(entries, name)
        tokens = None if words is None else lex(*words)
        return judgement if tokens is None else _asking(judgement, tokens)

    def _triggers(self, name: Name, context: SqlContext) -> Judgement:
        """What is left in the session, and asked for; all that they do else is the statement's own."""
        left = Judgement(Kind.WRITE)
        for trigger in self.catalog.triggers_of(name):
            tokens = None if trigger.body is None else lex(trigger.body, trigger.sql_mode)
            whole = None if tokens is None else self._body(trigger, tokens, name[0], context, can_write=True)
            if tokens is None or whole is None:
                return _anything("is not understood")
            one = _asking(Judgement(Kind.WRITE, effects=whole.effects & _LEFT_BY_TRIGGERS), tokens)
            needs, effects = stronger(left.needs, one.needs), left.effects | one.effects
            left = replace(left, needs=needs, effects=effects, asks=left.asks | one.asks)
        if left.effects & ~Effect.ASKS_UNSEEN:
            left = replace(left, why="leaves something behind in the session")
        return left

    def _body(
        self, found: Routine, tokens: Tokens, schema: str, context: SqlContext, *, can_write: bool
    ) -> Finding | None:
        take_apart = body.statements if can_write else body.queries
        statements = None if "ORACLE" in found.sql_mode else take_apart(tokens)
        if statements is None:
            return None
        inner = inside(context, schema, found.sql_mode)
        whole = Finding()
        for statement in statements:
            if word(statement, 0) in reading.LEADS:
                finding = reading.judge(statement, inner, parse=True)
            else:
                finding = leading.judge(statement, inner)
            triggers.find(statement, finding, inner)
            _resolve(finding, inner, self)
            if finding.kind is not Kind.READ:
                whole.require(finding.needs, finding.reasons[0])
                whole.raise_to(finding.kind, finding.reasons[0])
            whole.effects |= finding.effects
            whole.functions |= finding.functions
            whole.cacheable = whole.cacheable and finding.cacheable
        return whole


def _resolve(finding: Finding, context: SqlContext, look: _Look) -> None:
    for kind, names in ((_Kind.VIEW, finding.views), (_Kind.FUNCTION, finding.stored)):
        for name in sorted(names):
            judgement = look.judge(kind, name, context)
            if judgement.kind is Kind.READ:
                continue
            shown = ".".join(name)
            reason = f"{'reads the view' if kind is _Kind.VIEW else 'calls'} {shown}, which {judgement.why}"
            finding.effects |= judgement.effects
            finding.functions |= judgement.asks
            finding.require(judgement.needs, reason)
            finding.raise_to(judgement.kind, reason)
    for name in sorted(finding.procedures):
        judgement = look.judge(_Kind.PROCEDURE, name, context)
        _take(finding, judgement)
        if judgement.effects & Effect.UNTRACKED:
            finding.reasons.append(f"calls {'.'.join(name)}, which {judgement.why}")
    for name in sorted(finding.fired):
        judgement = look.judge(_Kind.TRIGGER, name, context)
        _take(finding, judgement)
        if judgement.why:
            finding.reasons.append(f"may fire a trigger of {'.'.join(name)}, which {judgement.why}")
    if finding.fired_in_doubt and _some_leaves_state(look, context):
        finding.effects |= Effect.UNTRACKED
        finding.reasons.append(triggers.NOT_KNOWN)
    finding.fired_in_doubt = False
    if look.cut_short:
        finding.cacheable = False
    finding.views, finding.stored, finding.procedures, finding.fired = set(), set(), set(), set()
    if finding.kind is not Kind.READ and reading.PLAIN in finding.reasons:
        finding.reasons.remove(reading.PLAIN)


def _take(finding: Finding, judgement: Judgement) -> None:
    """What a write runs. It is at the manager anyway, and there is what else a body may need of a connection."""
    finding.effects |= judgement.effects
    finding.functions |= judgement.asks
    if judgement.needs in _OF_THE_PAST:
        finding.require(judgement.needs, unseen.REASON)


def _asking(judgement: Judgement, tokens: Tokens) -> Judgement:
    """``judgement`` with what the body asks of the statements before it, and not of its own."""
    needs, functions = unseen.asked(tokens)
    if not functions:
        return judgement
    if judgement.needs not in _OF_THE_PAST:
        needs = stronger(judgement.needs, needs)
    elif needs is Needs.ANY:
        needs = Needs.MANAGER
    return replace(
        judgement,
        needs=needs,
        effects=judgement.effects | Effect.ASKS_UNSEEN,
        asks=functions | judgement.asks,
    )


def _outcome(finding: Finding) -> Judgement:
    if not finding.cacheable:
        finding.require(Needs.MANAGER, "depends on the connection's id")
    why = "" if finding.kind is Kind.READ else finding.reasons[0]
    asks = (
        frozenset(finding.functions & unseen.FUNCTIONS)
        if finding.effects & Effect.ASKS_UNSEEN
        else frozenset()
    )
    return Judgement(finding.kind, finding.needs, finding.effects, why, asks)


def _anything(why: str) -> Judgement:
    return Judgement(Kind.WRITE, effects=Effect.UNTRACKED, why=why)


def inside(context: SqlContext, schema: str, sql_mode: str) -> SqlContext:
    """What the text of a body is read by: its own sql_mode and schema, in UTF-8."""
    modes = sql_mode.upper().split(",")
    return replace(
        context,
        schema=schema,
        charset="utf8mb4",
        ansi_quotes="ANSI_QUOTES" in modes,
        no_backslash_escapes="NO_BACKSLASH_ESCAPES" in modes,
        pipes_as_concat="PIPES_AS_CONCAT" in modes,
        ignore_space="IGNORE_SPACE" in modes,
        oracle=False,
    )
