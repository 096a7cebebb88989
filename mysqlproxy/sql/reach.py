"""What one statement uses, given as tokens. Called by ``sql.uses`` for each statement of a text; pure.

A query, INSERT, REPLACE, UPDATE or DELETE whose tree is understood is known to the column (``sql.columns``); of
everything else each word may be a table. ``Look`` finds what is behind the views and routines that it names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mysqlproxy.sql import calls, columns, leading, reading
from mysqlproxy.sql.body import lex
from mysqlproxy.sql.catalog import SYSTEM, Name, What
from mysqlproxy.sql.finding import Finding, Tokens, word
from mysqlproxy.sql.lexer import TokenKind
from mysqlproxy.sql.stored import MAX_DEPTH, MAX_NEW, inside
from mysqlproxy.sql.use import Table, Use, fold
from mysqlproxy.sql.verdict import Effect, Kind, SqlContext
from mysqlproxy.sql.words import words

_NAMES = frozenset({TokenKind.WORD, TokenKind.QUOTED})
_EXPLAIN = frozenset({"EXPLAIN", "DESCRIBE", "DESC"})
_EXPLAINABLE = reading.LEADS | {"INSERT", "REPLACE", "UPDATE", "DELETE"}
_SEQUENCE = frozenset({"nextval", "lastval", "setval"})
_DML = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE"})
_QUERY = frozenset({"SELECT", "TABLE", "VALUES", "WITH"})
# These read names or nothing; what they write is no table.
_WRITE_NO_TABLE = _QUERY | words(
    """SHOW EXPLAIN DESCRIBE DESC HELP CHECKSUM SET USE BEGIN START COMMIT ROLLBACK SAVEPOINT RELEASE XA DEALLOCATE
    UNLOCK KILL GET SIGNAL RESIGNAL PREPARE"""
)
# None of these names a table, unless a query stands inside.
_NO_TABLES = words(
    "SET USE BEGIN START COMMIT ROLLBACK SAVEPOINT RELEASE XA DEALLOCATE UNLOCK KILL GET SIGNAL RESIGNAL HELP SHOW"
)
_QUERIES_INSIDE = words(
    "SELECT TABLE VALUES FROM IN CREATE INDEX INDEXES KEYS COLUMNS FIELDS DELETE UPDATE INSERT REPLACE CALL"
)
_DDL = frozenset({"CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME", "IMPORT", "INSTALL", "UNINSTALL"})
_ACCOUNTS = frozenset({"USER", "ROLE"})
_ACCOUNT_WORDS = frozenset({"OR", "REPLACE", "CURRENT"})
# A table may stand for another one that only a string names.
_FOREIGN = frozenset({"FEDERATED", "CONNECT", "SPIDER", "CONNECTION"})
_TOUCHES = _DML | _DDL | {"SELECT", "TABLE", "CALL", "HANDLER", "LOAD", "LOCK", "DO"}
# A WHERE of these alone holds for every row or for none.
_NO_COLUMN = words(
    """TRUE FALSE NULL NOT AND OR XOR IS LIKE IN BETWEEN DIV MOD REGEXP RLIKE UNKNOWN BINARY EXISTS SELECT CASE WHEN
    THEN ELSE INTERVAL CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER LOCALTIME LOCALTIMESTAMP UTC_DATE
    UTC_TIME UTC_TIMESTAMP"""
)
_AFTER_WHERE = frozenset({"ORDER", "LIMIT", "RETURNING", "GROUP", "HAVING", "WINDOW"})


class Look:
    """One text's look into the catalog: where it stands, and how much more it may read."""

    def __init__(self, context: SqlContext) -> None:
        self.catalog = context.catalog
        self.under_way: set[object] = set()
        self.left = MAX_NEW

    def view(self, name: Name, context: SqlContext) -> Use:
        """What reading a view reaches."""
        return self._once("view", name, context, self._view)

    def function(self, name: Name, context: SqlContext) -> Use:
        """What calling a stored function reaches."""
        return self._once("function", name, context, self._function)

    def procedure(self, name: Name, context: SqlContext) -> Use:
        """What calling a stored procedure reaches."""
        return self._once("procedure", name, context, self._procedure)

    def _once(
        self, what: str, name: Name, context: SqlContext, make: Callable[[Name, SqlContext], Use]
    ) -> Use:
        judgements, fold_all = self.catalog.judgements, bool(self.catalog.lower_case_table_names)
        # One key for all spellings of a name, or a client could fill the memory with them.
        schema = name[0].lower() if fold_all else name[0]
        own = name[1].lower() if fold_all or what != "view" else name[1]
        key = ("use", what, schema, own, context.mariadb, context.version)
        known = judgements.get(key)
        if isinstance(known, Use):
            return known
        if key in self.under_way:
            return Use()  # what it uses besides itself is found where it began
        if self.left <= 0 or len(self.under_way) >= MAX_DEPTH:
            return Use(unknown="uses more views and routines than are looked into at once", may_write=True)
        self.left -= 1
        outermost = not self.under_way
        self.under_way.add(key)
        use = make(name, context)
        self.under_way.discard(key)
        if outermost and not use.doubtful:  # further in, one that uses itself is not whole
            judgements[key] = use
        return use

    def _view(self, name: Name, context: SqlContext) -> Use:
        relation = self.catalog.relation(*name)
        if relation is None or relation.what is What.DOUBTFUL:
            return _DOUBTFUL
        tokens = None if relation.body is None else lex(relation.body, "")
        if tokens is None:
            return Use(unknown=f"uses the view {'.'.join(name)}, whose body cannot be read")
        return use_of(tokens, inside(context, name[0], ""), self)

    def _function(self, name: Name, context: SqlContext) -> Use:
        function = self.catalog.function(*name, qualified=True)
        if function is None or function.doubtful:
            return _DOUBTFUL
        return self._body(name, function.body, function.sql_mode, context)

    def _procedure(self, name: Name, context: SqlContext) -> Use:
        procedure = self.catalog.procedure(*name)
        if procedure is None:
            return Use(unknown=f"calls {'.'.join(name)}, which is not known", may_write=True)
        return self._body(name, procedure.body, procedure.sql_mode, context)

    def _body(self, name: Name, body: str | None, sql_mode: str, context: SqlContext) -> Use:
        oracle = "ORACLE" in sql_mode.upper()
        tokens = None if body is None or oracle else lex(body, sql_mode)
        if tokens is None:
            return Use(unknown=f"calls {'.'.join(name)}, whose body cannot be read", may_write=True)
        use = loosely(tokens, inside(context, name[0], sql_mode), self)
        return use.hiding()


_DOUBTFUL = Use(unknown="names something that may have been defined anew", doubtful=True, may_write=True)


def use_of(tokens: Tokens, context: SqlContext, look: Look, *, nested: bool = False) -> Use:
    """What one statement uses; PREPARE and EXECUTE count as not understood here."""
    lead = word(tokens, 0)
    if lead in _EXPLAIN and not nested:
        return _explained(tokens, context, look)
    if lead == "ANALYZE" and not nested:
        inner = _after_format(tokens, 1)
        if word(tokens, inner) in _EXPLAINABLE:
            return use_of(tokens[inner:], context, look, nested=True)
    if lead == "SET" and word(tokens, 1) == "STATEMENT":
        use = loosely(tokens, context, look)
        return use.hiding()
    verb = lead
    if lead == "WITH":
        verb = reading.verb_after_with(tokens) or "WITH"
    elif lead == "(":
        verb = "SELECT"
    if verb in _DML or verb in _QUERY:
        use = _parsed(tokens, verb, context, look)
    else:
        use = loosely(tokens, context, look)
        if lead not in leading.KNOWN or _is_block(tokens) or leading.is_routine(tokens):
            return replace(use.hiding(), kind=_kind(tokens, lead))
    return _with_missing(replace(use, verb=verb, kind=_kind(tokens, verb)), tokens)


def _explained(tokens: Tokens, context: SqlContext, look: Look) -> Use:
    index, executed = 1, False
    while word(tokens, index) in {"EXTENDED", "PARTITIONS", "ANALYZE"}:
        executed = executed or word(tokens, index) == "ANALYZE"
        index += 1
    index = _after_format(tokens, index)
    if executed and word(tokens, index) in _EXPLAINABLE:
        return use_of(tokens[index:], context, look, nested=True)
    use = loosely(tokens, context, look)
    return replace(use, verb="EXPLAIN", may_write=executed)


def _after_format(tokens: Tokens, index: int) -> int:
    return index + 3 if word(tokens, index) == "FORMAT" and word(tokens, index + 1) == "=" else index


def _parsed(tokens: Tokens, verb: str, context: SqlContext, look: Look) -> Use:
    """A query or a change of data, by its tree where that is understood."""
    called = Finding(kind=Kind.READ if verb in _QUERY else Kind.WRITE)
    start = leading.after_target(tokens) if word(tokens, 0) in {"INSERT", "REPLACE"} else 0
    calls.scan(tokens, called, context, start)
    sequence = _called(tokens) & _SEQUENCE  # its argument is a table
    tree = None if sequence else columns.tree_of(tokens, verb)
    if tree is None:
        use = replace(loosely(tokens, context, look), may_write=verb in _DML)
    else:
        touched = columns.touched_by(tree, natural=any(t.upper == "NATURAL" for t in tokens))
        use = _of_tables(touched, context, look)
        use = replace(
            use,
            keywords=use.keywords | keywords_of(tokens),
            aliases=use.aliases | touched.aliases if verb in _DML else use.aliases,
            may_write=use.may_write or verb in _DML,
            no_where=use.no_where or columns.where_names_nothing(tree),
        )
    use = replace(use, functions=use.functions | {fold(name) for name in called.functions} | _called(tokens))
    for name in sorted(called.stored):
        use = use.reaching(look.function(name, context))
    if called.effects & Effect.UNTRACKED:
        why = next((reason for reason in called.reasons if reason.startswith("calls ")), called.reasons[0])
        use = replace(use, unknown=use.unknown or why, may_write=True)
    return use


def _of_tables(touched: columns.Touched, context: SqlContext, look: Look) -> Use:
    """The tables in their schemas, and what the views among them reach."""
    use = Use()
    named: set[Table] = set()
    reads: set[Table] = set()
    writes: set[Table] = set()
    read_columns = {
        (fold(schema or context.schema), fold(name), column) for schema, name, column in touched.columns_read
    }
    written_columns = {
        (fold(schema or context.schema), fold(name), column)
        for schema, name, column in touched.columns_written
    }
    for schema, name, write in sorted(touched.tables):
        owner = schema or context.schema
        named.add((owner, name))
        (writes if write else reads).add((fold(owner), fold(name)))
        use = _relation(use, owner, name, context, look, write=write)
    return replace(
        use,
        named=frozenset(named),
        reads=use.reads | reads,
        writes=use.writes | writes,
        columns_read=use.columns_read | read_columns,
        columns_written=use.columns_written | written_columns,
    )


def _relation(use: Use, owner: str, name: str, context: SqlContext, look: Look, *, write: bool) -> Use:
    """``use``, and what is behind the name if it is a view."""
    if owner.lower() in SYSTEM:
        return use
    if not context.catalog.available:
        why = "which names are views is not known (the monitor's account needs SELECT and SHOW VIEW)"
        return replace(use, unknown=use.unknown or why)
    relation = context.catalog.relation(owner, name)
    if relation is not None and relation.what is What.VIEW:
        return use.reaching(look.view((owner, name), context), write=write)
    if relation is not None and relation.what is What.DOUBTFUL:
        return use.reaching(_DOUBTFUL)
    return use  # a table; what is not known is a temporary one, or an error


def loosely(tokens: Tokens, context: SqlContext, look: Look) -> Use:
    """Each word may be anything that its name stands for somewhere."""
    keywords = keywords_of(tokens)
    lead = word(tokens, 0)
    names = frozenset[str]()
    if lead not in _NO_TABLES or keywords & _QUERIES_INSIDE:
        names = frozenset(fold(token.text) for token in tokens if token.kind in _NAMES) | {
            fold(context.schema)
        }
    use = Use(
        keywords=keywords,
        candidates=names,
        functions=_called(tokens),
        may_write=lead not in _WRITE_NO_TABLE,
    )
    if not context.catalog.available and keywords & _TOUCHES:
        use = _relation(use, "", "", context, look, write=False)
    if keywords & _FOREIGN and lead in {"CREATE", "ALTER"}:
        use = replace(use, unknown="may define a table that stands for another one")
    granting = lead in {"GRANT", "REVOKE", "SHOW"}
    dynamic = keywords & {"EXECUTE", "PREPARE", "BINLOG"}
    if dynamic and not granting and lead not in {"DEALLOCATE", "DROP"}:
        use = replace(use, unknown="runs a statement that is not in the text", may_write=True)
    for index, token in enumerate(tokens):
        if token.kind not in _NAMES:
            continue
        qualified = word(tokens, index - 1) == "." and index > 1
        owner = tokens[index - 2].text if qualified else context.schema
        if context.catalog.available:
            use = _relation(use, owner, token.text, context, look, write=use.may_write)
        called = word(tokens, index + 1) == "(" and word(tokens, index - 1) != "CALL"
        if called and context.catalog.function(owner, token.text, qualified) is not None:
            use = use.reaching(look.function((owner, token.text), context))
        if token.upper == "CALL" and not granting:
            use = use.reaching(look.procedure(_called_procedure(tokens, index, context), context))
    return use


def _called_procedure(tokens: Tokens, index: int, context: SqlContext) -> Name:
    first = tokens[index + 1].text if index + 1 < len(tokens) else ""
    if word(tokens, index + 2) == "." and index + 3 < len(tokens):
        return first, tokens[index + 3].text
    return context.schema, first


def keywords_of(tokens: Tokens) -> frozenset[str]:
    return frozenset(token.upper for token in tokens if token.kind is TokenKind.WORD)


def _called(tokens: Tokens) -> frozenset[str]:
    """Whatever stands before a parenthesis."""
    found = set()
    for index, token in enumerate(tokens):
        if token.kind in _NAMES and word(tokens, index + 1) == "(":
            qualified = word(tokens, index - 1) == "." and index > 1
            name = f"{tokens[index - 2].text}.{token.text}" if qualified else token.text
            found.add(fold(name))
    return frozenset(found)


def _is_block(tokens: Tokens) -> bool:
    return word(tokens, 0) == "BEGIN" and len(tokens) > 1 and word(tokens, 1) != "WORK"


def _kind(tokens: Tokens, verb: str) -> str:
    if verb in _QUERY:
        return "read"
    if verb in {"GRANT", "REVOKE"}:
        return "accounts"
    if verb == "SET":
        second = word(tokens, 1)
        password = second == "PASSWORD" or (second == "DEFAULT" and word(tokens, 2) == "ROLE")
        return "accounts" if password else "other"
    if verb in _DDL:
        index = 1
        while word(tokens, index) in _ACCOUNT_WORDS:
            index += 1
        return "accounts" if word(tokens, index) in _ACCOUNTS else "ddl"
    writes = _DML | {"LOAD", "CALL", "EXECUTE", "DO", "OPTIMIZE", "REPAIR", "ANALYZE", "CHECK", "BINLOG", ""}
    return "write" if verb in writes or verb not in leading.KNOWN else "other"


def _with_missing(use: Use, tokens: Tokens) -> Use:
    """``use``, and whether a WHERE or LIMIT is missing at the statement's own level."""
    changes = use.verb in {"UPDATE", "DELETE"}
    if not changes and use.verb not in {"SELECT", "TABLE", "WITH"}:
        return use
    depth = 0
    where: int | None = None
    limit = reads = False
    for index, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.upper, 0)
        reads = reads or token.upper in {"FROM", "TABLE"}
        if depth == 0 and token.upper == "WHERE" and where is None:
            where = index
        limit = limit or (depth == 0 and token.upper in {"LIMIT", "FETCH"})
    no_where = changes and (where is None or not _names_something(tokens, where + 1))
    return replace(
        use,
        no_where=use.no_where or no_where,
        no_limit=use.no_limit or (not limit and (changes or reads)),
    )


def _names_something(tokens: Tokens, start: int) -> bool:
    depth = 0
    for index, token in enumerate(tokens[start:], start):
        depth += {"(": 1, ")": -1}.get(token.upper, 0)
        if depth == 0 and token.upper in _AFTER_WHERE:
            break
        if word(tokens, index + 1) == "(":
            continue  # a function, which names something by what it is given
        if token.kind is TokenKind.QUOTED or (token.kind is TokenKind.WORD and token.upper not in _NO_COLUMN):
            return True
    return False
