"""Which statements an account may run, and how: all rules of one configuration, in order. Built whole at start and at
every reload; asked by ``session.admit`` for each statement, by ``check`` and ``replay``.

What a text meets is worked out once per verdict and account (``Selection.plan``) and kept with the verdict; what
is left at each execution is the time of day and the limits. In each priority, lowest number first, the first rule
that is about a statement counts, in the order of the files; allow and deny end the search, the others let it go on
with the next priority.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NamedTuple

from mysqlproxy.gatekeeper.accounts import Address, allowed
from mysqlproxy.gatekeeper.rules.condition import Condition, Facts, Match
from mysqlproxy.gatekeeper.rules.learned import Learned, Record
from mysqlproxy.gatekeeper.rules.limit import Limiter
from mysqlproxy.gatekeeper.rules.schema import DAYS, Rule, RulesFile
from mysqlproxy.sql.hints import Hint
from mysqlproxy.sql.use import Use
from mysqlproxy.sql.uses import Uses

ALLOW_LIST = "allow-list"
"""The rule that a statement met which is not among those learned, in metrics and logs."""

Reason = Literal["matched", "not_understood", "not_learned", "limit"]


class Loaded(NamedTuple):
    """One rules file."""

    path: Path
    content: RulesFile


class Moment(NamedTuple):
    """Local time: day of the week from Monday = 0 on, minute of the day."""

    day: int
    minute: int


class Entry:
    """One rule in its place.

    Attributes:
        closed: it refuses what is not understood, too.
        hint: where a ``route`` sends reads.
        limiter: of a ``limit``, else None.
    """

    def __init__(self, rule: Rule, *, closed: bool) -> None:
        self.rule = rule
        self.closed = closed
        self.condition = Condition(rule)
        self.limiter = Limiter(rule) if rule.action == "limit" else None
        self.hint = Hint(rule.server or "", rule.role or "", rule.strategy, rule.consistency)
        self.timed = rule.hours is not None or bool(rule.days)

    def concerns(self, account: str, peer: Address | None) -> bool:
        """Whether it may be about statements of this account from there at all."""
        rule = self.rule
        if rule.accounts and not _named(account, rule.accounts):
            return False
        if rule.except_accounts and _named(account, rule.except_accounts):
            return False
        return allowed(rule.networks, peer)

    def is_on(self, now: Moment) -> bool:
        """Whether it is its time. A span over midnight belongs to the day on which it begins."""
        rule, day = self.rule, now.day
        if rule.hours is not None:
            first, end = rule.hours
            if first < end:
                if not first <= now.minute < end:
                    return False
            elif end <= now.minute < first:
                return False
            elif now.minute < end:
                day = (day - 1) % 7
        return not rule.days or DAYS[day] in rule.days


class Step(NamedTuple):
    """A rule that may be about a statement."""

    entry: Entry
    certain: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happens to a text.

    Attributes:
        denied: the rule that refuses it, or None.
        allowed: a rule lets it through; no later one was asked.
        reason: of the denial.
        detail: in words, without a literal.
        applied: rules of the other actions that it met.
        noticed: rules that would refuse it if what it does were understood (``not_understood = "pass"``).
    """

    denied: Entry | None = None
    allowed: Entry | None = None
    reason: Reason = "matched"
    detail: str = ""
    applied: tuple[Entry, ...] = ()
    noticed: tuple[Entry, ...] = ()


NOTHING = Outcome()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a text of one account meets, the time of day left open.

    Attributes:
        uses: what the text uses.
        steps: for each of its statements, the rules that it may meet, in order.
        always: the outcome, when it does not depend on the time.
        unlearned: it is not among the statements that the account may run.
        records: to be learned.
        passes: nothing of this has to be looked at when the text is executed again.
    """

    uses: Uses
    steps: tuple[tuple[Step, ...], ...] = ()
    always: Outcome | None = NOTHING
    unlearned: bool = False
    records: tuple[Record | None, ...] = ()
    passes: bool = False

    @property
    def doubtful(self) -> bool:
        """Whether it may be another one as soon as the catalog has been read again."""
        return any(use.doubtful for use in self.uses.each)

    @property
    def executes(self) -> tuple[str, ...]:
        """Names of statements prepared before, of which this says nothing."""
        return tuple(use.executes for use in self.uses.each if use.executes)

    def outcome(self, now: Moment) -> Outcome:
        """What happens at this time."""
        return self.always if self.always is not None else _outcome(self.steps, self.uses, now)


class Selection:
    """The rules that may be about one account from one network, in order. None of the others is looked at."""

    def __init__(
        self, firewall: Firewall, account: str, entries: Sequence[Entry], learned: tuple[bool, Learned] | None
    ) -> None:
        self.firewall = firewall
        self.account = account
        self.entries = tuple(entries)
        self._enforced = learned is not None and learned[0]
        self.learned = None if learned is None else learned[1]

    def plan(self, uses: Uses, schema: str, modes: str = "") -> Plan:
        """What a text meets that uses this, with this default schema and these modes of sql_mode."""
        facts = Facts(schema, uses.statements, uses.digests)
        steps = tuple(tuple(self._steps(use, facts)) for use in uses.each)
        timed = any(step.entry.timed for part in steps for step in part)
        records: tuple[Record | None, ...] = ()
        unlearned = False
        if self.learned is not None:
            records = tuple(
                None if digest is None else Record(self.account, schema, modes, digest)
                for digest in uses.digests
            )
            if self._enforced:
                unlearned = any(record is None or not self.learned.knows(record) for record in records)
                records = ()
        always = None if timed else _outcome(steps, uses, Moment(0, 0))
        plan = Plan(uses, steps, always, unlearned, records)
        leaves_something = bool(records) or unlearned or uses.disturbs or uses.prepares is not None
        passes = always is NOTHING and not leaves_something and not plan.doubtful and not plan.executes
        return replace(plan, passes=passes)

    def _steps(self, use: Use, facts: Facts) -> Iterable[Step]:
        for entry in self.entries:
            found = entry.condition.match(use, facts)
            if found is Match.NO or (found is Match.MAYBE and entry.rule.action in {"allow", "route"}):
                continue
            certain = found is Match.YES
            yield Step(entry, certain)
            ends = entry.rule.action in {"allow", "deny"} and (certain or entry.closed)
            if ends and not entry.timed:
                return


class Firewall:
    """All rules.

    Attributes:
        active: there is anything to ask.
        entries: in the order in which they are asked.
    """

    def __init__(
        self, files: Sequence[Loaded] = (), learned: Mapping[str, tuple[bool, Learned]] | None = None
    ) -> None:
        entries = [
            Entry(rule, closed=file.content.not_understood == "deny")
            for file in files
            for rule in file.content.rule
        ]
        self.entries = tuple(sorted(entries, key=lambda entry: entry.rule.priority))
        self._learned = dict(learned or {})
        self.active = bool(self.entries or self._learned)
        self._selections: dict[tuple[str, tuple[Entry, ...]], Selection] = {}

    def selection(self, account: str, peer: Address | None) -> Selection | None:
        """The rules for a session; None when there are none. The same object for the same account and rules."""
        entries = tuple(entry for entry in self.entries if entry.concerns(account, peer))
        learned = self._learned.get(account)
        if not entries and learned is None:
            return None
        key = account, entries
        found = self._selections.get(key)
        if found is None:
            found = self._selections[key] = Selection(self, account, entries, learned)
        return found


@dataclass(slots=True)
class _Found:
    applied: list[Entry] = field(default_factory=list)
    noticed: list[Entry] = field(default_factory=list)


def _outcome(steps: Sequence[Sequence[Step]], uses: Uses, now: Moment) -> Outcome:
    """One statement that is refused refuses the whole text."""
    found = _Found()
    passed: list[Entry | None] = []
    for use, part in zip(uses.each, steps, strict=True):
        ended = _walk(part, now, found)
        if ended is None or ended.entry.rule.action == "allow":
            passed.append(None if ended is None else ended.entry)
            continue
        detail = "" if ended.certain else use.unknown or "it is not understood as far as the rule asks"
        return Outcome(
            denied=ended.entry,
            reason="matched" if ended.certain else "not_understood",
            detail=detail,
            noticed=tuple(dict.fromkeys(found.noticed)),
        )
    applied = dict.fromkeys(found.applied)
    # A route counts when all statements of the text have it.
    routes = [[step.entry for step in part if step.entry.rule.action == "route"] for part in steps]
    for entry in list(applied):
        if entry.rule.action == "route" and not all(entry in part for part in routes):
            del applied[entry]
    if not applied and not found.noticed and not any(passed):
        return NOTHING
    return Outcome(
        allowed=next((entry for entry in passed if entry is not None), None),
        applied=tuple(applied),
        noticed=tuple(dict.fromkeys(found.noticed)),
    )


def _walk(steps: Sequence[Step], now: Moment, found: _Found) -> Step | None:
    """The step that allows or refuses, or None; what it meets before goes to ``found``."""
    done: int | None = None  # the priority in which a rule was found
    for step in steps:
        rule = step.entry.rule
        if rule.priority == done or (step.entry.timed and not step.entry.is_on(now)):
            continue
        if not step.certain and not step.entry.closed and rule.action in {"deny", "limit"}:
            found.noticed.append(step.entry)
            continue
        if rule.action in {"allow", "deny"}:
            return step
        found.applied.append(step.entry)
        done = rule.priority
    return None


def _named(account: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(account, pattern) for pattern in patterns)
