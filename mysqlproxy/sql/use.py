"""What one statement uses: the tables, columns and functions that rules are about. Made by ``sql.uses``, read by
``gatekeeper.rules``. Values; pure.

Names are folded, so that two names that any server takes for the same one are the same here. What a name in a
statement may reach by way of views and routines is included; what cannot be told is said in ``unknown``.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache

Table = tuple[str, str]
"""Schema and name, folded; the schema is "" where none was chosen."""

Column = tuple[str, str, str]
"""Schema, table and column, folded; the column "*" is every one."""

# utf8mb3_general_ci, by which column and routine names are compared, takes these for ASCII letters as well.
_ALIKE = str.maketrans({"ı": "i", "ß": "s", "ẞ": "s"})


@lru_cache(maxsize=8192)
def fold(name: str) -> str:
    """The name in a form in which all that the servers take for equal is equal: case, accents, look-alikes.

    It makes more equal than the servers do, never less.
    """
    if name.isascii():
        return name.lower()
    plain = unicodedata.normalize("NFKD", name.translate(_ALIKE).casefold())
    bare = "".join(sign for sign in plain if not unicodedata.combining(sign))
    return bare.translate(_ALIKE).casefold()


@dataclass(frozen=True, slots=True)
class Use:
    """What one statement may touch.

    Attributes:
        verb: its first word that counts, upper case; "" when that cannot be told.
        hidden: words, upper case, with which a further statement inside of it may begin (a block, a routine's body,
            an executable comment).
        kind: read, write, other, ddl or accounts.
        named: the tables and views it names, schema and name as written.
        reads, writes: the tables and views it touches, those behind views and routines too.
        columns_read, columns_written: as far as they are known; of what is touched otherwise, "*".
        functions: names of what it may call, "schema.name" where qualified.
        keywords: all its unquoted words, upper case.
        candidates: words of which each may be a table that it reads, and with ``may_write`` one that it writes, or
            the schema of one; all of its columns are touched then. Empty for what was understood.
        aliases: of tables in a change of data; the parser may have taken a table for one.
        no_where, no_limit: an UPDATE or DELETE, or with ``no_limit`` a SELECT from a table, without it.
        unknown: why it may do anything beyond what is said here, or "".
        doubtful: ``unknown`` will be known as soon as the catalog has been read again.
        executes: folded name of the statement it executes, which was prepared by name before, or "".
    """

    verb: str = ""
    hidden: frozenset[str] = frozenset()
    kind: str = "other"
    named: frozenset[Table] = frozenset()
    reads: frozenset[Table] = frozenset()
    writes: frozenset[Table] = frozenset()
    columns_read: frozenset[Column] = frozenset()
    columns_written: frozenset[Column] = frozenset()
    functions: frozenset[str] = frozenset()
    keywords: frozenset[str] = frozenset()
    candidates: frozenset[str] = frozenset()
    may_write: bool = False
    aliases: frozenset[str] = frozenset()
    no_where: bool = False
    no_limit: bool = False
    unknown: str = ""
    doubtful: bool = False
    executes: str = ""

    def hiding(self) -> Use:
        """The same as what may hold any number of statements, each with any of its words first."""
        changes = bool(self.keywords & {"UPDATE", "DELETE"})
        return replace(
            self,
            verb="",
            hidden=self.keywords,
            may_write=True,
            no_where=changes,
            no_limit=changes or "SELECT" in self.keywords,
        )

    def reaching(self, inner: Use, *, write: bool = False) -> Use:
        """This, and with it what a view or routine that it uses reaches; ``write``: the view is written, too."""
        written = inner.reads if write else frozenset()
        columns = inner.columns_read if write else frozenset()
        return replace(
            self,
            reads=self.reads | inner.reads,
            writes=self.writes | inner.writes | written,
            columns_read=self.columns_read | inner.columns_read,
            columns_written=self.columns_written | inner.columns_written | columns,
            functions=self.functions | inner.functions,
            hidden=self.hidden | inner.hidden,
            keywords=self.keywords | inner.keywords,
            no_where=self.no_where or (inner.no_where and bool(inner.hidden)),
            no_limit=self.no_limit or (inner.no_limit and bool(inner.hidden)),
            candidates=self.candidates | inner.candidates,
            aliases=self.aliases | inner.aliases,
            may_write=self.may_write or inner.may_write or (write and bool(inner.candidates)),
            unknown=self.unknown or inner.unknown,
            doubtful=self.doubtful or inner.doubtful,
        )
