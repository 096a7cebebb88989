"""Is this a plain read? Called by ``sql.statement`` for SELECT, WITH, TABLE, VALUES and what is in
parentheses.

Yes only if ``sql.calls`` objected to nothing, sqlglot understood the whole, its tree consists of nodes from
a list, and every table holds the same on every server. sqlglot never sees the client's text: it gets the
tokens back as text, with the literals replaced, so that where its own lexer disagrees with the servers'
(``--1``, backslashes, character sets, white space) makes no difference.
"""

from __future__ import annotations

from sqlglot import exp

from mysqlproxy.sql import calls, nodes, parsing, schemas
from mysqlproxy.sql.catalog import SYSTEM, What
from mysqlproxy.sql.finding import Finding, Tokens, word
from mysqlproxy.sql.functions import WRITE_KEYWORDS, is_built_in
from mysqlproxy.sql.lexer import Token, TokenKind, measure
from mysqlproxy.sql.verdict import Effect, Kind, Needs, SqlContext
from mysqlproxy.sql.words import words

PLAIN = "a plain read"
TOO_LARGE = "too large to be parsed"
NOT_UNDERSTOOD = "is not understood"

MAX_TOKENS = 4000
MAX_DEPTH = 100

# No expression and no query begins with one of these: where a parenthesis does, nothing is worth parsing.
_NEVER_FIRST = words(
    """UNION EXCEPT INTERSECT FROM WHERE HAVING LIMIT AND OR XOR AS ON JOIN IN LIKE BETWEEN IS DIV
    THEN ELSE WHEN END = < > <= >= <> != , . / % ^ | & || &&"""
)

LEADS = frozenset({"(", "SELECT", "WITH", "TABLE", "VALUES"})


def judge(tokens: Tokens, context: SqlContext, parse: bool) -> Finding:
    """The finding of a query; with ``parse`` False it is not parsed and therefore no plain read."""
    finding = Finding()
    verb = verb_after_with(tokens) if word(tokens, 0) == "WITH" else ""
    if verb in {"INSERT", "REPLACE", "UPDATE", "DELETE"}:
        finding.raise_to(Kind.WRITE, f"{verb} after a WITH clause")
    calls.scan(tokens, finding, context)
    if finding.kind is Kind.WRITE:
        return finding
    if not parse:
        finding.raise_to(Kind.WRITE, TOO_LARGE)
        return finding
    _look_into(tokens, finding, context)
    if finding.kind is Kind.READ:
        finding.reasons.append(PLAIN)
    return finding


# To sqlglot FROM t is a query: FROM FROM FROM t is three, in one another without a parenthesis.
_NEVER_BEFORE_FROM = frozenset({"FROM", "UNION", "ALL", "EXCEPT", "INTERSECT", "JOIN", "STRAIGHT_JOIN", ","})


def tree_of(tokens: Tokens) -> exp.Expr | str:
    """What sqlglot makes of the one statement, or why it does not: no other way leads to its parser."""
    size = measure(tokens)
    if size.tokens > MAX_TOKENS or size.depth > MAX_DEPTH:
        return TOO_LARGE
    if any(word(tokens, i) in _NEVER_FIRST for i, t in enumerate(tokens, 1) if t.upper == "("):
        return NOT_UNDERSTOOD
    for i, token in enumerate(tokens):
        if token.upper == "." and not _joins_names(tokens, i):
            return NOT_UNDERSTOOD
        if token.upper == "FROM" and word(tokens, i - 1) in _NEVER_BEFORE_FROM:
            return NOT_UNDERSTOOD
    tree = parsing.parse(render(tokens), len(tokens))
    return NOT_UNDERSTOOD if tree is None else tree


def _joins_names(tokens: Tokens, dot: int) -> bool:
    """Whether at most three names stand here. Of ``f(1).f(1).f(1)`` sqlglot copies what it has for each dot."""
    if dot == 0 or tokens[dot - 1].kind not in _NAMES:
        return False
    return word(tokens, dot - 2) != "." or word(tokens, dot - 4) != "."


def _look_into(tokens: Tokens, finding: Finding, context: SqlContext) -> None:
    tree = tree_of(tokens)
    if not isinstance(tree, nodes.QUERIES):
        finding.raise_to(Kind.WRITE, tree if isinstance(tree, str) else NOT_UNDERSTOOD)
        return
    for node in tree.walk():
        if not nodes.allowed(node) or _json_table_outside_from(node):
            finding.raise_to(Kind.WRITE, f"has a part that is not understood ({type(node).__name__})")
            return
        if isinstance(node, exp.Select) and not node.expressions:
            finding.raise_to(Kind.WRITE, NOT_UNDERSTOOD)
            return
        if isinstance(node, exp.Table):
            _table(node, finding, context)


def _json_table_outside_from(node: exp.Expr) -> bool:
    """As a function JSON_TABLE would be a stored one."""
    if isinstance(node, exp.JSONTable):
        return not isinstance(node.parent, exp.Table)
    return isinstance(node, exp.Anonymous) and node.name.upper() == "JSON_TABLE"


def _table(node: exp.Table, finding: Finding, context: SqlContext) -> None:
    if not isinstance(node.this, exp.Identifier):
        return  # a table function: its parts are walked
    name, schema = node.name, node.db
    if node.catalog:
        finding.raise_to(Kind.WRITE, "names a table in three parts")
        return
    if not schema and (name.upper() == "DUAL" or is_cte(node, name)):
        return
    shown = f"{schema}.{name}" if schema else name
    finding.tables.add(shown)
    owner = schema or context.schema
    why = schemas.why_manager(schema, name, context.schema)
    if why:
        finding.require(Needs.MANAGER, why)
    elif context.catalog.available and owner.lower() not in SYSTEM:
        _look_up(owner, name, shown, finding, context)


def _look_up(owner: str, name: str, shown: str, finding: Finding, context: SqlContext) -> None:
    relation = context.catalog.relation(owner, name)
    if relation is None:
        finding.effects |= Effect.ASKS_UNSEEN  # it may be a view
        finding.raise_to(Kind.WRITE, f"{shown} is not a table or view that is known")
    elif relation.what is What.VIEW:
        finding.views.add((owner, name))
    elif relation.what is What.DOUBTFUL:
        finding.raise_to(Kind.WRITE, f"{shown} may have been defined anew")
        if context.catalog.words_of(context.catalog.relations, (owner, name)) is not None:
            finding.views.add((owner, name))
    elif relation.what is not What.TABLE:
        finding.raise_to(Kind.WRITE, f"{shown} is no plain table and no view")


def is_cte(node: exp.Expr, name: str) -> bool:
    """Whether a CTE of that name is visible at ``node``.

    CTEs see the ones before them, and themselves only under RECURSIVE.
    """
    folded = name.lower()
    inside: exp.Expr = node
    above = node.parent
    while above is not None:
        if isinstance(above, exp.With):
            for cte in above.expressions:
                if cte is inside and not above.args.get("recursive"):
                    break
                if cte.alias.lower() == folded:
                    return True
                if cte is inside:
                    break
        elif not isinstance(inside, exp.With):
            clause = above.args.get("with_") or above.args.get("with")
            if clause is not None and any(cte.alias.lower() == folded for cte in clause.expressions):
                return True
        inside, above = above, above.parent
    return False


def verb_after_with(tokens: Tokens) -> str:
    """The verb of the statement that a WITH clause belongs to: the first word at depth 0 that begins one."""
    depth = 0
    for token in tokens[1:]:
        if token.upper == "(":
            depth += 1
        elif token.upper == ")":
            depth -= 1
        elif depth == 0 and token.upper in {
            "SELECT",
            "TABLE",
            "VALUES",
            "INSERT",
            "REPLACE",
            "UPDATE",
            "DELETE",
        }:
            return token.upper
    return ""


_JOIN_WORDS = frozenset({"NATURAL", "INNER", "CROSS", "LEFT", "RIGHT", "OUTER", "FULL"})
_JOIN_SELECT_OPTIONS = frozenset(
    {"SELECT", "ALL", "DISTINCT", "DISTINCTROW", "HIGH_PRIORITY", "SQL_CALC_FOUND_ROWS", "SQL_NO_CACHE"}
)


def _join(tokens: Tokens, index: int) -> str | None:
    """The piece for a word of a join; None for all other words.

    Every join becomes a CROSS JOIN, ON and USING stay: the same tables and expressions. Other joins make
    sqlglot try what follows twice when they have no ON, which for n of them takes 2**n steps.
    """
    before = word(tokens, index - 1)
    if before == ".":
        return None
    upper = tokens[index].upper
    if upper == "JOIN":
        return None if before == "FOR" else "CROSS JOIN"
    if upper == "STRAIGHT_JOIN":
        return None if before in _JOIN_SELECT_OPTIONS else "CROSS JOIN"
    if upper in _JOIN_WORDS:
        while word(tokens, index) in _JOIN_WORDS:
            index += 1
        return "" if word(tokens, index) == "JOIN" else None
    return None


def render(tokens: Tokens) -> str:
    """The tokens as text for sqlglot: literals replaced, names that it might read differently in backticks."""
    parts: list[str] = []
    glue = True
    rows = word(tokens, 0) == "VALUES"
    depth = after_variable = 0
    for index, token in enumerate(tokens):
        kind, upper = token.kind, token.upper
        if index < after_variable:
            continue
        if upper in {"@", "@@"}:
            piece, after_variable = "1", _end_of_variable(tokens, index)
        else:
            piece = _piece(tokens, index, token)
        if not piece:
            continue
        if upper == "(":
            if rows and depth == 0 and word(tokens, index - 1) in {"VALUES", ","}:
                piece = "ROW("  # MariaDB's VALUES (1), (2)
            depth += 1
            glue = glue or not token.spaced
        elif upper == ")":
            depth -= 1
        if upper == "." or glue or kind is TokenKind.BAD:
            parts.append(piece)
        else:
            parts.append(" " + piece)
        glue = upper == "."
    return "".join(parts)


def _end_of_variable(tokens: Tokens, index: int) -> int:
    """Where a variable that begins with @ or @@ ends; its name may hold dots."""
    index += 2
    while word(tokens, index) == ".":
        index += 2
    return index


def _piece(tokens: Tokens, index: int, token: Token) -> str:
    kind = token.kind
    if kind is TokenKind.NUMBER or token.upper == "...":
        return "1"
    if kind is TokenKind.STRING:
        # 'a' 'b' is one string
        return "" if index and tokens[index - 1].kind is TokenKind.STRING else "'s'"
    if kind is TokenKind.WORD:
        text = token.text
        if text[0] == "_" and index + 1 < len(tokens) and tokens[index + 1].kind in _LITERALS:
            return ""  # _utf8'a' is a string
        join = _join(tokens, index)
        if join is not None:
            return join
        if text[0].isdigit() or not text.isascii() or _is_name(tokens, index):
            return f"`{text}`"
        return text
    if kind is TokenKind.QUOTED:
        return "`" + token.text.replace("`", "``") + "`"
    return token.text


def _is_name(tokens: Tokens, index: int) -> bool:
    """Whether what stands before a parenthesis means nothing to MySQL and MariaDB: to sqlglot it may be a type of
    another database. ``OBJECT (OBJECT (...`` takes it 2**n steps in which it asks for nothing.
    """
    upper = tokens[index].upper
    return word(tokens, index + 1) == "(" and upper not in WRITE_KEYWORDS and not is_built_in(upper)


_NAMES = frozenset({TokenKind.WORD, TokenKind.QUOTED})
_LITERALS = frozenset({TokenKind.STRING, TokenKind.NUMBER})
