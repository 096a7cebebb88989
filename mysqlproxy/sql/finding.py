"""What is known of one statement while its verdict is being made. Made by the modules below
``sql.classify``, joined there.

Mutable on purpose: several looks at the same statement (its first words, its calls, its tree) add to one
finding, and only ever towards the manager.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mysqlproxy.sql.catalog import Name
from mysqlproxy.sql.lexer import Token
from mysqlproxy.sql.verdict import Effect, Kind, Needs

Tokens = Sequence[Token]

_SEVERITY = {Kind.READ: 0, Kind.OTHER: 1, Kind.WRITE: 2}
_STRENGTH = {Needs.ANY: 0, Needs.MANAGER: 1, Needs.LAST_INSERT: 2, Needs.LAST_STATEMENT: 3}


@dataclass(slots=True)
class Finding:
    """What one statement does so far.

    Attributes:
        kind: only ever raised: READ, then OTHER, then WRITE.
        reasons: why; what raised the kind stands first.
        views, stored: schema and name of the views it reads and of the stored functions it calls, as far as the
            catalog knows their bodies; ``sql.stored`` judges and removes them.
        procedures, fired: those it calls, and the tables whose triggers it may fire, likewise.
        fired_in_doubt: it may fire those of other tables, too: a name may have been defined anew.
        others: as in ``Verdict``.
    """

    kind: Kind = Kind.READ
    reasons: list[str] = field(default_factory=list)
    effects: int = Effect.NONE
    needs: Needs = Needs.ANY
    tables: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    cacheable: bool = True
    views: set[Name] = field(default_factory=set)
    stored: set[Name] = field(default_factory=set)
    procedures: set[Name] = field(default_factory=set)
    fired: set[Name] = field(default_factory=set)
    fired_in_doubt: bool = False

    def raise_to(self, kind: Kind, reason: str) -> None:
        """At least ``kind``; ``reason`` goes first when it is what decides."""
        if _SEVERITY[kind] > _SEVERITY[self.kind]:
            self.kind = kind
            self.reasons.insert(0, reason)
        elif reason not in self.reasons:
            self.reasons.append(reason)

    def require(self, needs: Needs, reason: str) -> None:
        """The answer depends on a connection: no longer a plain read."""
        both = {needs, self.needs}
        if len(both) == 2 and Needs.LAST_STATEMENT in both and Needs.ANY not in both:
            self.effects |= Effect.ASKS_MANAGER
        self.needs = stronger(self.needs, needs)
        if needs is not Needs.ANY:
            self.raise_to(Kind.OTHER, reason)


def stronger(one: Needs, other: Needs) -> Needs:
    """Of two needs the one that also serves the other, as far as any does."""
    return one if _STRENGTH[one] >= _STRENGTH[other] else other


def worst(kinds: Iterable[Kind]) -> Kind:
    """READ only when all are."""
    return max(kinds, key=_SEVERITY.__getitem__)


def simple(kind: Kind, reason: str, effects: int = Effect.NONE, needs: Needs = Needs.ANY) -> Finding:
    """The finding of a statement that its first words tell all about."""
    return Finding(kind=kind, reasons=[reason], effects=effects, needs=needs)


def word(tokens: Tokens, index: int) -> str:
    """The keyword or operator at ``index``, upper case; "" beyond the end and for quoted names and
    literals.
    """
    return tokens[index].upper if 0 <= index < len(tokens) else ""
