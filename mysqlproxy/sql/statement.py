"""The finding of one statement, given as tokens. Called by ``sql.classify`` and ``sql.special``."""

from __future__ import annotations

from dataclasses import replace

from mysqlproxy.sql import calls, leading, reading, show, stored, triggers
from mysqlproxy.sql.finding import Finding, Tokens, simple, word
from mysqlproxy.sql.lexer import TokenKind
from mysqlproxy.sql.verdict import Effect, Kind, Needs, SqlContext

_EXPLAIN = frozenset({"EXPLAIN", "DESCRIBE", "DESC"})
_EXPLAINABLE = reading.LEADS | {"INSERT", "REPLACE", "UPDATE", "DELETE"}
_MAINTAINED = frozenset({"TABLE", "TABLES", "LOCAL", "NO_WRITE_TO_BINLOG"})


def judge(tokens: Tokens, context: SqlContext, parse: bool = True, inner: bool = False) -> Finding:
    """What one statement does.

    Args:
        tokens: of the text or of its digest, without the semicolon; not empty.
        parse: whether a query may be given to the parser; if not, it is no plain read.
        inner: it stands inside of an EXPLAIN or SET STATEMENT, where no further one may stand.
    """
    lead = word(tokens, 0)
    if lead in reading.LEADS:
        finding = reading.judge(tokens, context, parse)
        if calls.is_exactly_call(tokens, "RELEASE_ALL_LOCKS"):
            finding.effects |= Effect.UNLOCK_NAMES
    elif lead in _EXPLAIN and not inner:
        finding = _explain(tokens, context, parse)
    elif lead == "ANALYZE" and not inner and word(tokens, 1) not in _MAINTAINED:
        finding = _executed(tokens, 1, context, parse, "ANALYZE executes the statement")
    elif lead == "SET" and word(tokens, 1) == "STATEMENT" and not inner:
        finding = _set_statement(tokens, context)
    else:
        finding = leading.judge(tokens, context)
        if calls.is_exactly_call(tokens, "RELEASE_ALL_LOCKS"):
            finding.effects |= Effect.UNLOCK_NAMES
    triggers.find(tokens, finding, context)
    stored.find_views(tokens, finding, context)
    stored.resolve(finding, context)
    if context.oracle:
        # Packages, seq.nextval, blocks without BEGIN NOT ATOMIC: another language.
        finding.raise_to(Kind.WRITE, "the sql_mode ORACLE is not understood")
    return finding


def judge_each(statements: list[Tokens], context: SqlContext, parse: bool = True) -> list[Finding]:
    """What each statement of one text does. Behind a USE, whose schema may not be there, none is the default."""
    findings = []
    for tokens in statements:
        findings.append(judge(tokens, context, parse))
        if word(tokens, 0) == "USE":
            context = replace(context, schema="")
    return findings


def _explain(tokens: Tokens, context: SqlContext, parse: bool) -> Finding:
    index, executed = 1, False
    while True:
        upper = word(tokens, index)
        if upper in {"EXTENDED", "PARTITIONS"} and word(tokens, index + 1) in _EXPLAINABLE:
            index += 1
        elif upper == "ANALYZE":
            executed, index = True, index + 1
        elif upper == "FORMAT" and word(tokens, index + 1) == "=":
            index += 3
        else:
            break
    if word(tokens, index) not in _EXPLAINABLE:
        if index == 1 and len(tokens) > 1 and word(tokens, 1) != "FOR":
            return show.judge_describe(tokens[1:], context)
        finding = simple(Kind.OTHER, "explains what runs elsewhere", needs=Needs.MANAGER)
        calls.scan(tokens, finding, context, index)  # MySQL: INTO @variable, FOR SCHEMA name statement
        return finding
    if executed:
        return _executed(tokens, index, context, parse, "EXPLAIN ANALYZE executes the statement")
    explained = judge(tokens[index:], context, parse, inner=True)
    if explained.kind is Kind.READ:
        explained.reasons.insert(0, "explains a plain read")
        return explained
    # Nothing is changed, but subqueries may be executed for the plan, and with them functions.
    finding = simple(Kind.OTHER, "explains what is no plain read", needs=Needs.MANAGER)
    finding.effects = explained.effects & (Effect.UNTRACKED | Effect.NAMED_LOCK | Effect.USER_VARIABLES)
    if finding.effects:
        finding.raise_to(Kind.WRITE, explained.reasons[0])
    finding.functions, finding.cacheable = explained.functions, explained.cacheable
    return finding


def _executed(tokens: Tokens, index: int, context: SqlContext, parse: bool, reason: str) -> Finding:
    if word(tokens, index) == "FORMAT" and word(tokens, index + 1) == "=":
        index += 3
    if word(tokens, index) not in _EXPLAINABLE:
        return simple(Kind.WRITE, "is not understood", Effect.UNTRACKED)
    finding = judge(tokens[index:], context, parse, inner=True)
    finding.reasons.append(reason)
    return finding


def _set_statement(tokens: Tokens, context: SqlContext) -> Finding:
    """SET STATEMENT variable = value, ... FOR statement: the variables hold for that statement only."""
    depth = 0
    finding = simple(Kind.WRITE, "SET STATEMENT runs another statement under other variables")
    finding.cacheable = False
    for index, token in enumerate(tokens):
        if token.upper == "(":
            depth += 1
        elif token.upper == ")":
            depth -= 1
        elif token.upper == "FOR" and depth == 0 and index + 1 < len(tokens):
            calls.scan(tokens[2:index], finding, context)
            inner = judge(tokens[index + 1 :], context, parse=False, inner=True)
            finding.effects |= inner.effects
            finding.functions |= inner.functions
            finding.require(inner.needs, "runs what depends on the connection")
            return finding
    finding.effects |= Effect.UNTRACKED
    return finding


def split(tokens: Tokens) -> list[Tokens]:
    """The statements of a text, without semicolons and without empty ones.

    The body of a stored program is split, too: what is in it then counts as if it were executed, which is
    harmless.
    """
    statements: list[Tokens] = []
    begin = 0
    for index, token in enumerate(tokens):
        if token.kind is TokenKind.OPERATOR and token.upper == ";":
            if index > begin:
                statements.append(tokens[begin:index])
            begin = index + 1
    if begin < len(tokens):
        statements.append(tokens[begin:])
    return statements
