"""Which tables and columns the tree of a query or of a change of data names. Called by ``sql.uses``; pure.

Only a tree of known nodes is looked into; there is no tree for anything else. Which columns a table has is not known
here, so a column without a qualifier counts for every table of the statement, and ``*`` for every column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlglot import exp

from mysqlproxy.sql import nodes, reading
from mysqlproxy.sql.finding import Tokens, word
from mysqlproxy.sql.lexer import Token, TokenKind
from mysqlproxy.sql.use import fold

EVERY = "*"

MAX_TABLES = 61
"""More than the servers join; in a statement with more, every column of each is taken to be touched."""

_CHANGES = {"INSERT": exp.Insert, "REPLACE": exp.Insert, "UPDATE": exp.Update, "DELETE": exp.Delete}
_CHANGE_NODES = (exp.Insert, exp.Update, exp.Delete, exp.Schema, exp.OnConflict, exp.Returning, exp.Lock)
_MODIFIERS = frozenset({"LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "IGNORE", "QUICK"})
_INSERT = Token(TokenKind.WORD, "INSERT", "INSERT", 0, 0, True)


@dataclass(slots=True)
class Touched:
    """As named in the statement: schema ("" where none stands there), table, and whether it is written.

    Attributes:
        columns_read, columns_written: (schema, table, folded column), the table as named.
        aliases: folded; where a parser was wrong about what is an alias, the table may be among these.
    """

    tables: set[tuple[str, str, bool]] = field(default_factory=set)
    columns_read: set[tuple[str, str, str]] = field(default_factory=set)
    columns_written: set[tuple[str, str, str]] = field(default_factory=set)
    aliases: frozenset[str] = frozenset()


def tree_of(tokens: Tokens, verb: str) -> exp.Expr | None:
    """The tree of a query or change of data, None when it is not understood."""
    if verb in _CHANGES:
        start = next((i for i, token in enumerate(tokens) if token.upper == verb), 0)
        end = start + 1
        while word(tokens, end) in _MODIFIERS:
            end += 1
        # To sqlglot a modifier is a table, and REPLACE nothing at all; both touch what an INSERT does.
        lead = _INSERT if verb == "REPLACE" else tokens[start]
        tokens = [*tokens[:start], lead, *tokens[end:]]
    tree = reading.tree_of(tokens)
    if isinstance(tree, str) or not isinstance(tree, _CHANGES.get(verb, nodes.QUERIES)):
        return None
    for node in tree.walk():
        if not nodes.allowed(node) and not isinstance(node, _CHANGE_NODES):
            return None
        if isinstance(node, exp.Dot):
            return None
        if isinstance(node, exp.Table) and (node.catalog or not _plain(node)):
            return None
    return tree


def where_names_nothing(tree: exp.Expr) -> bool:
    """Whether the change of data has a WHERE without any column: it holds for every row, or for none."""
    where = tree.args.get("where")
    return where is not None and where.find(exp.Column) is None


def _plain(table: exp.Table) -> bool:
    """A table's name, or a table function whose parts are walked."""
    return isinstance(table.this, exp.Identifier | exp.JSONTable)


def touched_by(tree: exp.Expr, *, natural: bool) -> Touched:
    """What it touches; ``natural``: a NATURAL JOIN compares all columns of its tables."""
    found = Touched()
    targets = _Targets(tree)
    by_alias: dict[str, set[tuple[str, str]]] = {}
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier) or targets.is_alias(table):
            continue
        schema, name = table.db, table.name
        if not schema and (name.upper() == "DUAL" or reading.is_cte(table, name)):
            continue
        if not (isinstance(tree, exp.Insert) and targets.writes(table)):
            found.tables.add((schema, name, False))
        by_alias.setdefault(fold(table.alias_or_name), set()).add((schema, name))
        if targets.writes(table):
            found.tables.add((schema, name, True))
    every = {(schema, name) for schema, name, _ in found.tables}
    written = {(schema, name) for schema, name, write in found.tables if write}
    found.aliases = frozenset(
        fold(alias.name) for alias in tree.find_all(exp.TableAlias) if alias.name and alias.this is not None
    )
    if len(every) > MAX_TABLES:
        found.columns_read = {(schema, name, EVERY) for schema, name in every}
        found.columns_written = {(schema, name, EVERY) for schema, name in written}
        return found
    for column, write in _columns(tree, targets):
        _add(found, column, write, by_alias, every, written)
    for select in tree.find_all(exp.Select):
        if any(isinstance(item, exp.Star) for item in select.expressions):
            for schema, name in _sources(select):
                found.columns_read.add((schema, name, EVERY))
    if targets.every_column:
        found.columns_written.update((schema, name, EVERY) for schema, name in written)
    if natural:
        found.columns_read.update((schema, name, EVERY) for schema, name in every)
    for returning in tree.find_all(exp.Returning):
        if any(isinstance(item, exp.Star) for item in returning.expressions):
            found.columns_read.update((schema, name, EVERY) for schema, name in every)
    return found


class _Targets:
    """What a change of data changes.

    Attributes:
        every_column: the change names no columns.
    """

    def __init__(self, tree: exp.Expr) -> None:
        self.tree = tree
        self.assigned: set[int] = set()
        self.every_column = isinstance(tree, exp.Delete)
        self._named: set[str] = set()
        if isinstance(tree, exp.Insert):
            self.every_column = not isinstance(tree.this, exp.Schema)
            conflict = tree.args.get("conflict")
            assignments = conflict.expressions if conflict is not None else []
        else:
            assignments = tree.expressions if isinstance(tree, exp.Update) else []
        for assignment in assignments:
            self.assigned.add(id(assignment.this))
        if isinstance(tree, exp.Delete):
            using = tree.args.get("using") or []
            self._named = {fold(table.name) for table in tree.args.get("tables") or []}
            if using and isinstance(tree.this, exp.Table):
                self._named.add(fold(tree.this.name))
            self._labels = {id(table) for table in tree.args.get("tables") or []}
            if using:
                self._labels.add(id(tree.this))
        else:
            self._labels = set()

    def is_alias(self, table: exp.Table) -> bool:
        """It only repeats a name or alias of another place, as in DELETE t FROM ... and DELETE FROM t USING ..."""
        return id(table) in self._labels and not table.db

    def writes(self, table: exp.Table) -> bool:
        tree = self.tree
        if isinstance(tree, exp.Insert):
            target = tree.this
            return (target.this if isinstance(target, exp.Schema) else target) is table
        if isinstance(tree, exp.Delete) and self._named:
            return id(table) in self._labels or fold(table.alias_or_name) in self._named
        if isinstance(tree, exp.Delete | exp.Update):
            # UPDATE may change any table that it joins, outside of subqueries.
            return table.find_ancestor(exp.Select, exp.Subquery, exp.Where) is None
        return False


def _columns(tree: exp.Expr, targets: _Targets) -> Iterator[tuple[exp.Column, bool]]:
    for column in tree.find_all(exp.Column):
        yield column, id(column) in targets.assigned
    # What the tree holds as bare names is a column for all we know: INSERT INTO t (a), VALUES(a), USING (a).
    for name in tree.find_all(exp.Identifier):
        parent = name.parent
        if isinstance(parent, exp.Column | exp.Table | exp.TableAlias) or name.arg_key == "alias":
            continue
        yield exp.Column(this=exp.to_identifier(name.name)), isinstance(parent, exp.Schema)


def _add(
    found: Touched,
    column: exp.Column,
    write: bool,
    by_alias: dict[str, set[tuple[str, str]]],
    every: set[tuple[str, str]],
    written: set[tuple[str, str]],
) -> None:
    name = EVERY if isinstance(column.this, exp.Star) or column.name == "*" else fold(column.name)
    tables = written if write else every
    if column.table:
        # A qualifier that is no table's is a derived table's, whose own columns are looked at where they stand.
        tables = by_alias.get(fold(column.table), set())
    into = found.columns_written if write else found.columns_read
    into.update((schema, table, name) for schema, table in tables)


def _sources(select: exp.Select) -> Iterator[tuple[str, str]]:
    """The tables of which ``*`` shows all columns."""
    places = [select.args.get("from_") or select.args.get("from"), *(select.args.get("joins") or [])]
    for place in places:
        if place is None:
            continue
        for table in place.find_all(exp.Table):
            if not isinstance(table.this, exp.Identifier) or table.parent_select is not select:
                continue
            if table.db or not reading.is_cte(table, table.name):
                yield table.db, table.name
