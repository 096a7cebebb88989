"""Hints of clients: who may give them, what became of them. Called by ``commands`` and ``record``.

What a hint means is in ``sql.hints``, what it changes in ``routing.route`` and ``freshness``. A wrong one is counted
and logged, never told to the client: a warning would be one that no server gave.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mysqlproxy.pool.connection import ServerConnection
from mysqlproxy.protocol.commands import Command
from mysqlproxy.routing.route import Why
from mysqlproxy.session.request import Request
from mysqlproxy.sql.hints import Hint, read
from mysqlproxy.sql.verdict import Kind, Needs

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

log = logging.getLogger("mysqlproxy.hints")

_CHOSEN = (Why.STRATEGY, Why.HINT, Why.NO_WORKER, Why.ASKED_AGAIN, Why.DIRECT)
MAX_LOGGED = 1000  # faults that are logged once each; beyond that they are only counted


def hint_in(session: Session, text: bytes, digest: str) -> Hint | None:
    """The hint in a text, if it has one and the account may give it."""
    hint = read(text)
    if hint is not None and not session.account.hints:
        _report(session, "refused", f"account {session.account.name} may give none", digest)
        return None
    return hint


def record(session: Session, connection: ServerConnection, request: Request) -> None:
    """Count what became of a statement's hint, now that it has run on ``connection``."""
    hint, digest = request.hint, request.verdict.digest
    if hint is None or request.ruled or request.code == Command.STMT_PREPARE:
        return
    for fault in hint.wrong:
        _report(session, "wrong", fault, digest)
    view, verdict = session.services.view, request.verdict
    plain_read = verdict.kind is Kind.READ and verdict.needs is Needs.ANY
    asks_worker = hint.role == "worker" or hint.server not in ("", view.manager and view.manager.name)
    if hint.server and hint.server not in view.by_name:
        _report(session, "wrong", "a server that is not configured", digest)
    elif asks_worker and not plain_read:
        _report(session, "wrong", "a worker for what is no plain read", digest)
    elif (
        hint.server not in ("", connection.name)
        or (hint.role and connection.was_manager is not (hint.role == "manager"))
        or ((hint.strategy or hint.consistency) and session.why not in _CHOSEN)
    ):
        _report(session, "ignored", f"it could not be followed ({session.why})", digest)
    elif hint.server or hint.role or hint.strategy or hint.consistency:
        session.services.counters.hinted("applied")


def _report(session: Session, result: str, fault: str, digest: str) -> None:
    """Count it, and log it once per statement."""
    session.services.counters.hinted(result)
    logged = session.services.hints_logged
    if (digest, fault) not in logged and len(logged) < MAX_LOGGED:
        logged.add((digest, fault))
        log.warning("a hint is %s: %s: %s", result, fault, digest, extra={"session": session.id})
