"""What the tokens of a statement call and touch, at any depth: functions, variables, sequences, locks,
INTO. Called by ``sql.classify`` for every statement but the definitions of routines.

It looks at tokens, not at a tree: nothing that a parser overlooks can hide here.
"""

from __future__ import annotations

from mysqlproxy.sql import variables
from mysqlproxy.sql.finding import Finding, Tokens, word
from mysqlproxy.sql.functions import (
    ADJACENT,
    KEYWORDS,
    NAMES_ALONE,
    OF_THE_PAST,
    WRITE_KEYWORDS,
    Meaning,
    effect_of,
    is_built_in,
    meaning_of,
    needs_of,
)
from mysqlproxy.sql.lexer import TokenKind
from mysqlproxy.sql.verdict import Effect, Kind, Needs, SqlContext

_SCOPES = frozenset({"GLOBAL", "SESSION", "LOCAL", "PERSIST", "PERSIST_ONLY"})
_LOCKING = {("FOR", "UPDATE"), ("FOR", "SHARE"), ("LOCK", "IN")}


def scan(tokens: Tokens, finding: Finding, context: SqlContext, start: int = 0) -> None:
    """Raise ``finding`` by all that stands in ``tokens`` from ``start`` on. A plain read raises nothing."""
    only_reads = finding.kind is Kind.READ
    for index in range(start, len(tokens)):
        token = tokens[index]
        kind = token.kind
        if kind is TokenKind.WORD or kind is TokenKind.QUOTED:
            if word(tokens, index + 1) == "(":
                _call(tokens, index, finding, context, only_reads)
            elif kind is TokenKind.WORD:
                _keyword(tokens, index, finding)
        elif kind is TokenKind.OPERATOR:
            _operator(tokens, index, finding)
        elif kind is TokenKind.BAD or kind is TokenKind.SPECIAL:
            finding.raise_to(Kind.WRITE, "holds characters that are not understood")


def is_exactly_call(tokens: Tokens, *names: str) -> bool:
    """Whether the statement is ``SELECT name()`` or ``DO name()`` and nothing else: then it surely is
    executed.
    """
    return (
        len(tokens) == 4
        and word(tokens, 0) in {"SELECT", "DO"}
        and word(tokens, 1) in names
        and word(tokens, 2) == "("
        and word(tokens, 3) == ")"
    )


def _keyword(tokens: Tokens, index: int, finding: Finding) -> None:
    if word(tokens, index - 1) == "." and index > 1 and tokens[index - 2].kind in _NAMES:
        return  # a column or table of that name
    name, following = tokens[index].upper, word(tokens, index + 1)
    if (name, following) in _LOCKING:
        finding.raise_to(Kind.WRITE, "takes row locks")
    elif name == "SQL_CALC_FOUND_ROWS":
        finding.effects |= Effect.FOUND_ROWS
    elif name == "INTO":
        if following == "@":
            finding.effects |= Effect.USER_VARIABLES
        finding.raise_to(Kind.WRITE, "writes its result somewhere (INTO)")
    elif name == "PROCEDURE":
        finding.raise_to(Kind.WRITE, "hands its result to a procedure")
    elif name == "NEXT" and following == "VALUE":
        finding.effects |= Effect.SEQUENCE
        finding.raise_to(Kind.WRITE, "uses a sequence")
    elif name == "PREVIOUS" and following == "VALUE":
        finding.functions.add("lastval")
        finding.require(Needs.LAST_INSERT, "asks for a sequence's last value")
    elif name in NAMES_ALONE:
        finding.require(Needs.MANAGER, f"asks for {name.lower()}, whose answer depends on the connection")


def _operator(tokens: Tokens, index: int, finding: Finding) -> None:
    operator = tokens[index].upper
    if operator == "@":
        if word(tokens, index + 2) == ":=":
            finding.effects |= Effect.USER_VARIABLES
        finding.require(Needs.MANAGER, "uses a user variable")
    elif operator == ":=":
        finding.effects |= Effect.USER_VARIABLES
        finding.raise_to(Kind.WRITE, "assigns a user variable")
    elif operator == "@@":
        name, scope = variable_at(tokens, index + 1)
        if name == variables.CONNECTION_ID and scope != "GLOBAL":
            finding.cacheable = False
            return
        shown = name.lower() if name else "of no name"
        finding.require(variables.needs_of(name), f"reads the variable {shown}")
    elif operator in {"{", "[", ":"}:
        finding.raise_to(Kind.WRITE, "holds characters that are not understood")


def variable_at(tokens: Tokens, index: int) -> tuple[str, str]:
    """Name and scope (upper case, "" when not said) of the system variable whose name begins at ``index``."""
    scope = ""
    if word(tokens, index) in _SCOPES and word(tokens, index + 1) == ".":
        scope = tokens[index].upper
        index += 2
    if index < len(tokens) and tokens[index].kind in _NAMES and word(tokens, index + 1) != ".":
        return tokens[index].text.upper(), scope
    return "", scope


_NAMES = frozenset({TokenKind.WORD, TokenKind.QUOTED})


def _call(tokens: Tokens, index: int, finding: Finding, context: SqlContext, only_reads: bool) -> None:
    token = tokens[index]
    previous = word(tokens, index - 1)
    if token.kind is TokenKind.WORD and previous != ".":
        name = token.upper
        if name in (KEYWORDS if only_reads else WRITE_KEYWORDS):
            return
        parted = tokens[index + 1].spaced and not context.ignore_space and name in ADJACENT
        meaning = Meaning.UNKNOWN if parted else meaning_of(name, context)
    else:
        meaning = Meaning.UNKNOWN
    if meaning is Meaning.UNKNOWN:
        if _names_columns(tokens, index):
            return
        if previous != "." and token.text.upper() in OF_THE_PAST:  # in quotes it is that function, too
            finding.effects |= Effect.ASKS_UNSEEN
            finding.functions.add(token.text.lower())
            finding.require(needs_of(meaning_of(token.text.upper(), context)), "calls a function in quotes")
        _stored(tokens, index, finding, context)
        return
    finding.functions.add(name.lower())
    if meaning is Meaning.CONNECTION_ID:
        finding.cacheable = False
    elif meaning is Meaning.EFFECT:
        finding.effects |= effect_of(name)
        finding.raise_to(Kind.WRITE, f"calls {name.lower()}, which has an effect or depends on the server")
    elif meaning is Meaning.LAST_INSERT and word(tokens, index + 2) != ")":
        finding.effects |= Effect.INSERT
        finding.raise_to(Kind.WRITE, "sets last_insert_id")
    elif meaning is not Meaning.PURE:
        finding.require(needs_of(meaning), f"calls {name.lower()}, whose answer depends on the connection")


def _stored(tokens: Tokens, index: int, finding: Finding, context: SqlContext) -> None:
    """A call of what is no built-in function: the catalog may know what is behind the name."""
    token = tokens[index]
    qualified = word(tokens, index - 1) == "." and index > 1
    schema = tokens[index - 2].text if qualified else context.schema
    # In quotes or before a space, a name that some server has built in is left to that server.
    own = qualified or not is_built_in(token.text.upper())
    function = context.catalog.function(schema, token.text, qualified) if own else None
    if function is None:
        _unknown(tokens, index, finding)
    else:
        finding.functions.add(f"{schema}.{token.text}" if qualified else token.text)
        finding.stored.add((schema, token.text))


def _unknown(tokens: Tokens, index: int, finding: Finding) -> None:
    name = tokens[index].text
    if word(tokens, index - 1) == "." and index > 1:
        name = f"{tokens[index - 2].text}.{name}"
    finding.functions.add(name)
    finding.effects |= Effect.UNTRACKED
    finding.raise_to(Kind.WRITE, f"calls {name}, which is no built-in function known here")


def _names_columns(tokens: Tokens, index: int) -> bool:
    """Whether ``name (a, b)`` gives columns names: after WITH, AS or a closing parenthesis nothing can be
    called.
    """
    before = word(tokens, index - 1)
    if before in {"WITH", "RECURSIVE", "AS", ")"}:
        return True
    if before != ",":
        return False
    # A further CTE: name (a, b) AS (
    index += 2
    while index < len(tokens) and (tokens[index].kind in _NAMES or tokens[index].upper == ","):
        index += 1
    return [word(tokens, index + i) for i in range(3)] == [")", "AS", "("]
