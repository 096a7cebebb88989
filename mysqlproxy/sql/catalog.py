"""What names mean on the servers: tables with their triggers, views with their bodies, stored functions with theirs.

Made by ``cluster.catalog_reader``, asked by ``sql.reading``, ``sql.calls`` and ``sql.stored`` through
``SqlContext.catalog``. A value: it never changes, but for the judgements that ``sql.stored`` remembers in it.
A name that is not in it, or in doubt since a definition was seen to pass, may mean anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple

MAX_NAMES: Final = 200_000
"""Relations and routines together; what comes beyond is not known."""

MAX_BODY: Final = 64 * 1024
"""Characters; a longer body counts as one that may not be read."""

MAX_DOUBTS: Final = 10_000
"""Names; with more, everything is in doubt."""

SYSTEM: Final = frozenset({"information_schema", "mysql", "performance_schema", "sys", "ndbinfo"})
"""Schemas that ``sql.schemas`` judges, lower case; they are in no catalog."""


class What(Enum):
    """What a name in FROM is."""

    TABLE = "table"
    VIEW = "view"
    # A sequence, a table with columns that depend on the connection, or what a newer server has.
    OTHER = "other"
    DOUBTFUL = "doubtful"  # may have been defined anew


class Relation(NamedTuple):
    """A name in FROM. ``body`` is a view's SELECT, None when it may not be read."""

    what: What
    body: str | None = None


class Routine(NamedTuple):
    """A stored function or procedure, or a trigger.

    Attributes:
        body: what it runs; None when it may not be read.
        sql_mode: what it was defined under, and is executed under.
        doubtful: it may have been defined anew.
    """

    body: str | None
    sql_mode: str = ""
    doubtful: bool = False


Name = tuple[str, str]
"""Schema and name."""

_TABLE = Relation(What.TABLE)
_DOUBTFUL = Relation(What.DOUBTFUL)

# MariaDB's SEQUENCE engine: these exist in every schema without being created, and no list has them.
_SEQUENCE_TABLE = re.compile(r"seq_[0-9]{1,19}_to_[0-9]{1,19}(_step_[0-9]{1,19})?", re.IGNORECASE)
_DOUBTFUL_ROUTINE = Routine(None, doubtful=True)


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """The names of one cluster at one time. Compared by identity.

    Attributes:
        generation: grows with each catalog that is put in another's place; 0 for ``NO_CATALOG``.
        available: False when the monitor may not read it, or has not yet: then nothing is said of any name.
        lower_case_table_names: of the server it was read from.
        relations, functions, procedures: by folded schema and name.
        triggers: those of each table, by folded schema and name. None when they may not be read: then any write may
            fire any.
        fired_by: the keys of ``triggers`` and of views in ``relations``, by their name alone; ``schemas``: all
            there are. Both empty without triggers.
        loadable: names of loadable functions, lower case; they come before stored ones. None when they may
            not be read.
        doubtful: names, lower case, that were in a definition that passed since it was read.
        fired_anew: of these, those that a definition named which may have made or moved a trigger; ``views_anew``:
            or a view.
        all_doubtful: anything may have been defined since.
        base: the catalog that this one is, but for the doubts; None for itself.
        judgements: what ``sql.stored`` found out about bodies, so that each is read once; ``asking``: which views
            may ask for what the last statement has left, in a list of one when that has been looked for.
    """

    generation: int = 0
    available: bool = False
    lower_case_table_names: int = 0
    relations: dict[Name, Relation] = field(default_factory=dict)
    functions: dict[Name, Routine] = field(default_factory=dict)
    procedures: dict[Name, Routine] = field(default_factory=dict)
    triggers: dict[Name, tuple[Routine, ...]] | None = field(default_factory=dict)
    fired_by: dict[str, tuple[Name, ...]] = field(default_factory=dict)
    schemas: frozenset[str] = frozenset()
    loadable: frozenset[str] | None = frozenset()
    doubtful: frozenset[str] = frozenset()
    fired_anew: frozenset[str] = frozenset()
    views_anew: frozenset[str] = frozenset()
    all_doubtful: bool = False
    base: Catalog | None = None
    judgements: dict[Any, Any] = field(default_factory=dict)
    asking: list[frozenset[str]] = field(default_factory=list)

    def relation(self, schema: str, name: str) -> Relation | None:
        """What ``schema.name`` is in FROM; None when it is not known."""
        if self.all_doubtful or name.lower() in self.doubtful:
            return _DOUBTFUL
        if self.lower_case_table_names:
            name = name.lower()
        known = self.relations.get((self._schema(schema), name))
        return _TABLE if known is None and _SEQUENCE_TABLE.fullmatch(name) else known

    def function(self, schema: str, name: str, qualified: bool) -> Routine | None:
        """The stored function that ``schema.name()`` calls; None when it is not known.

        Args:
            qualified: the schema stands in the text. If not, a loadable function of that name is called
                first, and who may not read which there are knows nothing.
        """
        folded = name.lower()
        if not qualified and (self.loadable is None or folded in self.loadable):
            return None
        found = self.functions.get((self._schema(schema), folded))
        if found is not None and (self.all_doubtful or folded in self.doubtful):
            return _DOUBTFUL_ROUTINE
        return found

    def procedure(self, schema: str, name: str) -> Routine | None:
        """The stored procedure of that name; None when it is not known, or in doubt."""
        if self.all_doubtful or name.lower() in self.doubtful:
            return None
        return self.procedures.get((self._schema(schema), name.lower()))

    def words_of(self, entries: Mapping[Name, Relation | Routine], name: Name) -> tuple[str, str] | None:
        """Body and sql_mode of one of ``relations``, ``functions`` or ``procedures`` as they were read, whatever has
        been defined since; None when there are none.
        """
        fold = bool(self.lower_case_table_names) or entries is not self.relations
        found = entries.get((self._schema(name[0]), name[1].lower() if fold else name[1]))
        if found is None or found.body is None:
            return None
        return found.body, found.sql_mode if isinstance(found, Routine) else ""

    def may_fire(self, schema: str, name: str) -> tuple[Name, ...] | None:
        """The tables with triggers and the views of that name; None when they are not known.

        Args:
            schema: what stands before it; those of every schema count when that is none.
        """
        if self.triggers is None or name.lower() in self.fired_anew:
            return None
        found = self.fired_by.get(name.lower() if self.lower_case_table_names else name, ())
        schema = self._schema(schema)
        return tuple(one for one in found if one[0] == schema) if schema in self.schemas else found

    def triggers_of(self, table: Name) -> tuple[Routine, ...]:
        """The triggers of a table as ``may_fire`` names it, whatever they wait for."""
        return () if self.triggers is None else self.triggers.get(table, ())

    def _schema(self, schema: str) -> str:
        return schema.lower() if self.lower_case_table_names else schema


NO_CATALOG: Final = Catalog()

UNREAD: Final = Catalog(triggers=None)
"""Of servers that have not been asked."""


def make(
    relations: Iterable[tuple[str, str, Relation]],
    functions: Iterable[tuple[str, str, Routine]] = (),
    procedures: Iterable[tuple[str, str, Routine]] = (),
    triggers: Iterable[tuple[str, str, Routine]] | None = (),
    *,
    generation: int = 1,
    lower_case_table_names: int = 0,
    loadable: Iterable[str] | None = (),
) -> Catalog:
    """A catalog of (schema, name, what it is). Names that are one when folded are not known."""
    fold = bool(lower_case_table_names)
    left = MAX_NAMES
    held: list[dict[Name, Any]] = []
    for entries, fold_name in ((relations, fold), (functions, True), (procedures, True)):
        found: dict[Name, Any] = {}
        twice: set[Name] = set()
        for schema, name, entry in entries:
            if left <= 0:
                break
            left -= 1
            key = (schema.lower() if fold else schema, name.lower() if fold_name else name)
            if key in found:
                twice.add(key)
            found[key] = entry
        for key in twice:
            del found[key]
        held.append(found)
    fired: dict[Name, tuple[Routine, ...]] = {}
    for schema, table_, trigger in triggers or ():
        left -= 1
        key = (schema.lower() if fold else schema, table_.lower() if fold else table_)
        fired[key] = (*fired.get(key, ()), trigger)
    fired_by: dict[str, tuple[Name, ...]] = {}
    views = (name for name, found in held[0].items() if found.what is What.VIEW) if fired else ()
    for name in (*fired, *views):
        fired_by[name[1]] = (*fired_by.get(name[1], ()), name)
    return Catalog(
        generation=generation,
        available=True,
        lower_case_table_names=lower_case_table_names,
        relations=held[0],
        functions=held[1],
        procedures=held[2],
        triggers=None if triggers is None or left <= 0 else fired,
        fired_by=fired_by,
        schemas=frozenset(schema for schema, _ in held[0]) if fired else frozenset(),
        loadable=None if loadable is None else frozenset(name.lower() for name in loadable),
    )


def table() -> Relation:
    """The entry of a base table."""
    return _TABLE


def doubting(catalog: Catalog, names: frozenset[str] | None, generation: int) -> Catalog:
    """``catalog`` with more names in doubt; all of them for None."""
    doubtful = catalog.doubtful if names is None else catalog.doubtful | names
    views = names if names is not None and "view" in names else frozenset()
    return Catalog(
        generation=generation,
        available=catalog.available,
        lower_case_table_names=catalog.lower_case_table_names,
        relations=catalog.relations,
        functions=catalog.functions,
        procedures=catalog.procedures,
        triggers=catalog.triggers,
        fired_by=catalog.fired_by,
        schemas=catalog.schemas,
        loadable=catalog.loadable,
        doubtful=doubtful,
        fired_anew=catalog.fired_anew | names if names and names & _MOVES_TRIGGERS else catalog.fired_anew,
        views_anew=catalog.views_anew | views,
        base=catalog.base or catalog,
        asking=catalog.asking,
        all_doubtful=catalog.all_doubtful or names is None or len(doubtful) > MAX_DOUBTS,
    )


# Words of CREATE TRIGGER, and of RENAME TABLE and ALTER TABLE ... RENAME, which take a table's triggers along.
_MOVES_TRIGGERS = frozenset({"trigger", "rename"})

_NAMES = re.compile(r"`((?:[^`]|``)*+)`|\"((?:[^\"]|\"\")*+)\"|([\w$]++)")


def names_in(text: str) -> frozenset[str]:
    """All words and quoted names of a digest, lower case: a definition names whatever it changes."""
    found: set[str] = set()
    for back, double, plain in _NAMES.findall(text):
        found.add((back.replace("``", "`") or double.replace('""', '"') or plain).lower())
    return frozenset(found)
