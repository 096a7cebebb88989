"""The firewall's step in a statement's life: first, before it goes anywhere. Called by ``commands``.

What rules a text meets is worked out once per verdict and account and kept with the verdict. What has to wait (a
limit, the catalog of names being read) runs in the session's task. A refusal is an ERR in the place of the answer:
nothing has been sent, so the transaction is as it was.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from mysqlproxy.errors import PolicyDenied, ProxyError
from mysqlproxy.gatekeeper.rules.firewall import ALLOW_LIST, Moment, Outcome, Plan, Selection
from mysqlproxy.gatekeeper.rules.limit import Count
from mysqlproxy.gatekeeper.rules.schema import SQLSTATES
from mysqlproxy.protocol.commands import Command, statement_offset
from mysqlproxy.protocol.framing import payload_of
from mysqlproxy.session.request import Request
from mysqlproxy.sql.digest import MAX_SHOWN
from mysqlproxy.sql.hints import Hint
from mysqlproxy.sql.uses import executed, uses_of
from mysqlproxy.sql.verdict import Kind, Needs, SqlContext

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

log = logging.getLogger("mysqlproxy.firewall")

GoOn = Callable[["Session", Request], None]

MAX_NAMED = 256  # statements that a session prepared by name
MAX_NAMED_TEXT = 16 * 1024  # bytes; a longer one is not known when it is executed
MAX_NOTES = 64  # accounts whose plan is kept with one verdict
_CATALOG_PATIENCE = 2.0  # seconds; reading it anew takes some 30 ms
_LOOK_AGAIN = 0.02

_NOT_EXECUTED = Command.STMT_PREPARE


class Admitted:
    """What the firewall knows of a session.

    Attributes:
        selection: the rules for its account and address, None without any.
        named: folded name -> text and context of the statements that it prepared by name.
        counts: limits in which the running statement is counted.
        preparing: what ``named`` learns if the running statement succeeds.
    """

    __slots__ = ("account", "counts", "firewall", "named", "preparing", "selection")

    def __init__(self) -> None:
        self.firewall: object = None
        self.account = ""
        self.selection: Selection | None = None
        self.named: dict[str, tuple[bytes, SqlContext]] = {}
        self.counts: tuple[Count, ...] = ()
        self.preparing: tuple[str, bytes, SqlContext] | None = None

    def leave(self) -> None:
        """The statement has ended: it is counted no longer."""
        counts, self.counts = self.counts, ()
        for count in counts:
            count.leave()

    def prepared(self) -> None:
        """What the statement prepared by name, if it did, has been accepted by the server."""
        preparing, self.preparing = self.preparing, None
        if preparing is not None and len(self.named) < MAX_NAMED:
            name, text, context = preparing
            self.named[name] = text, context


def admit(session: Session, request: Request, go_on: GoOn) -> bool:
    """Whether the request may go on now; if not, it was refused, or waits and goes on by itself."""
    services, known = session.services, session.admitted
    if known.firewall is not services.firewall or known.account != session.account.name:
        known.firewall, known.account = services.firewall, session.account.name
        known.selection = services.firewall.selection(known.account, session.client.peer)
        known.named.clear()
    known.preparing = None
    selection = known.selection
    if selection is None:
        return True
    plan = request.verdict.notes.get(selection)
    if plan is not None and plan.passes:
        return True
    if plan is None:
        plan = _plan(session, selection, request)
    if plan.doubtful and _outcome(plan).denied is not None:
        _wait(session, request, _judge_when_known(session, selection, request, go_on))
        return False
    return _apply(session, selection, plan, request, go_on)


def _apply(session: Session, selection: Selection, plan: Plan, request: Request, go_on: GoOn) -> bool:
    outcome = _outcome(plan)
    if outcome.noticed or outcome.applied or outcome.denied is not None or plan.unlearned:
        if outcome.noticed:
            _notice(session, outcome, request)
        if outcome.denied is not None:
            _deny(session, outcome, request)
            return False
        if plan.unlearned and outcome.allowed is None:
            _deny_unlearned(session, request)
            return False
    if request.code == _NOT_EXECUTED:
        return True
    if plan.records and selection.learned is not None:
        _learn(session, selection, plan)
    known = session.admitted
    if plan.uses.disturbs:
        known.named.clear()
    if plan.uses.prepares is not None:
        name, text = plan.uses.prepares
        known.named.pop(name, None)  # until it is known to have succeeded
        if len(text) <= MAX_NAMED_TEXT:
            known.preparing = name, text, _context(session, request)
    return not outcome.applied or _apply_others(session, outcome, request, go_on)


def _outcome(plan: Plan) -> Outcome:
    if plan.always is not None:
        return plan.always
    now = time.localtime()
    return plan.outcome(Moment(now.tm_wday, now.tm_hour * 60 + now.tm_min))


def _plan(session: Session, selection: Selection, request: Request) -> Plan:
    """What this text meets, kept with its verdict where it follows from text and context alone."""
    notes = request.verdict.notes
    context = _context(session, request)
    text = _text(session, request)
    full = replace(context, catalog=session.services.classifier.catalog)
    uses = uses_of(text, full)
    modes = _modes(context)
    plan = selection.plan(uses, context.schema, modes)
    if plan.executes:
        named = executed(uses, session.admitted.named, session.services.classifier.catalog)
        return selection.plan(named, context.schema, modes)
    if not plan.doubtful and request.code not in _NO_TEXT:
        if len(notes) >= MAX_NOTES:
            notes.clear()
        notes[selection] = plan
    return plan


_NO_TEXT = frozenset({Command.INIT_DB, Command.FIELD_LIST, Command.STATISTICS})


def _text(session: Session, request: Request) -> bytes:
    """The SQL of a request; for a command without any, the statement that does the same."""
    if request.prepared is not None:
        return request.prepared.request[1:]
    payload = payload_of(request.raw)
    if request.code == Command.QUERY:
        return payload[statement_offset(payload, 0, session.capabilities) :]
    name = payload[1:].split(b"\0")[0].replace(b"`", b"``")
    if request.code == Command.INIT_DB:
        return b"USE `%s`" % name
    if request.code == Command.PROCESS_KILL:
        return b"KILL %d" % int.from_bytes(payload[1:], "little")
    if request.code == Command.FIELD_LIST:
        return b"SHOW COLUMNS FROM `%s`" % name
    return b"SHOW STATUS"


def _context(session: Session, request: Request) -> SqlContext:
    return session.context if request.prepared is None else request.prepared.context


def _modes(context: SqlContext) -> str:
    modes = {
        "ANSI_QUOTES": context.ansi_quotes,
        "NO_BACKSLASH_ESCAPES": context.no_backslash_escapes,
        "PIPES_AS_CONCAT": context.pipes_as_concat,
        "IGNORE_SPACE": context.ignore_space,
    }
    return ",".join(name for name, on in modes.items() if on)


def _apply_others(session: Session, outcome: Outcome, request: Request, go_on: GoOn) -> bool:
    """Log, route and limit."""
    rules = session.services.counters
    counts: list[Count] = []
    for entry in outcome.applied:
        rule = entry.rule
        rules.rule_applied(rule.name, rule.action)
        if rule.action == "log":
            log.info(
                "rule %s: account %s: %s",
                rule.name,
                session.account.name,
                _shown(request),
                extra=_extra(session),
            )
        elif rule.action == "route":
            _route(request, entry.hint)
        elif entry.limiter is not None:
            counts.append(entry.limiter.count(session.account.name, request.verdict.digest))
    if not counts:
        return True
    for index, count in enumerate(counts):
        if not count.enter():
            _wait(session, request, _enter(session, request, counts, index, outcome, go_on))
            return False
        session.admitted.counts += (count,)
    return True


def _route(request: Request, hint: Hint) -> None:
    """Only where a plain read goes can be chosen; the rule comes before the client's own hint."""
    if request.verdict.kind is Kind.READ and request.verdict.needs is Needs.ANY:
        request.hint = hint
        request.ruled = True


def _wait(session: Session, request: Request, work: object) -> None:
    session.busy = True
    session.request = request
    session.run(work, "firewall")  # type: ignore[arg-type]


async def _enter(
    session: Session, request: Request, counts: list[Count], first: int, outcome: Outcome, go_on: GoOn
) -> None:
    try:
        for count in counts[first:]:
            if not count.enter():
                await count.wait(session.account.name)
            session.admitted.counts += (count,)
        request.check_interrupted()
    except PolicyDenied as error:
        session.task = None
        limits = [entry for entry in outcome.applied if entry.limiter is not None]
        _count(session, limits[len(session.admitted.counts)].rule.name, "limit", "", request)
        session.refuse(error)
        return
    except (ProxyError, asyncio.CancelledError) as error:
        _interrupted(session, request, error)
        return
    session.task = None
    go_on(session, request)


async def _judge_when_known(session: Session, selection: Selection, request: Request, go_on: GoOn) -> None:
    """A definition has just passed: names mean something again as soon as the catalog has been read."""
    classifier = session.services.classifier
    deadline = session.loop.time() + _CATALOG_PATIENCE
    plan = None
    try:
        while plan is None or (plan.doubtful and session.loop.time() < deadline):
            seen = classifier.catalog
            while classifier.catalog is seen and session.loop.time() < deadline:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(_LOOK_AGAIN)
            request.check_interrupted()
            if request.code not in _NO_TEXT:
                request.verdict = classifier.verdict(_text(session, request), _context(session, request))
            plan = _plan(session, selection, request)
    except (ProxyError, asyncio.CancelledError) as error:
        _interrupted(session, request, error)
        return
    session.task = None
    if _apply(session, selection, plan, request, go_on):
        go_on(session, request)


def _interrupted(session: Session, request: Request, error: BaseException) -> None:
    """Killed while it waited."""
    if not request.interrupted:
        raise error
    session.task = None
    try:
        request.check_interrupted()
    except ProxyError as killed:
        session.refuse(killed)


def _deny(session: Session, outcome: Outcome, request: Request) -> None:
    assert outcome.denied is not None
    rule = outcome.denied.rule
    _count(session, rule.name, outcome.reason, outcome.detail, request)
    number = rule.errno or (1142 if rule.tables or rule.columns else 1227)
    message = rule.message or f"Access denied; the rule '{rule.name}' does not permit this statement"
    session.request = request
    session.refuse(PolicyDenied(message, errno=number, sqlstate=SQLSTATES[number]))


def _deny_unlearned(session: Session, request: Request) -> None:
    _count(session, ALLOW_LIST, "not_learned", "", request)
    session.request = request
    session.refuse(PolicyDenied("Access denied; this statement is not among those learned for the account"))


def _count(session: Session, rule: str, reason: str, detail: str, request: Request) -> None:
    session.services.counters.statement_denied(session.account.name, rule, reason)
    log.warning(
        "denied: account %s, rule %s, %s%s: %s",
        session.account.name,
        rule,
        reason,
        f" ({detail})" if detail else "",
        _shown(request),
        extra=_extra(session),
    )


def _notice(session: Session, outcome: Outcome, request: Request) -> None:
    for entry in outcome.noticed:
        session.services.counters.rule_applied(entry.rule.name, "noticed")
        log.warning(
            "passed, though it is not understood whether rule %s refuses it: account %s: %s",
            entry.rule.name,
            session.account.name,
            _shown(request),
            extra=_extra(session),
        )


def _learn(session: Session, selection: Selection, plan: Plan) -> None:
    assert selection.learned is not None
    for record in plan.records:
        if record is not None:
            selection.learned.learn(record)
        else:
            log.warning(
                "a statement of account %s cannot be learned: it runs what is not in its text",
                session.account.name,
                extra=_extra(session),
            )


def _shown(request: Request) -> str:
    return request.verdict.digest[:MAX_SHOWN] or "(not shown)"


def _extra(session: Session) -> dict[str, int]:
    return {"session": session.id}
