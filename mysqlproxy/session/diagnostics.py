"""GET DIAGNOSTICS on a worker, where the last statement ran. Its user variables belong to the manager's connection;
they come there with the next statement that this one gets. Not before: reading them is a statement, too, behind
which a second GET DIAGNOSTICS would find nothing.

Called by ``session.last_statement`` before such a statement runs, by ``session.settle`` and ``transfer`` after.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mysqlproxy.errors import ClientFault, MalformedPacket, ServerFault
from mysqlproxy.pool.connection import ServerConnection
from mysqlproxy.pool.keep import Keep
from mysqlproxy.protocol.commands import Command
from mysqlproxy.routing.route import RECALLED
from mysqlproxy.session import carry
from mysqlproxy.session.request import Request
from mysqlproxy.sql import diagnostics
from mysqlproxy.sql.verdict import LAST_STATEMENT, Effect

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

MAX_ASSIGNED = 256  # variables of a session that wait on workers


def prepare(session: Session, request: Request, last: str) -> None:
    """Let the request run on ``last``, a worker, if it is a GET DIAGNOSTICS whose variables can be carried over."""
    if request.verdict.digest[:4].upper() != "GET " or request.code == Command.STMT_PREPARE:
        return
    packet, offset, context = request.statement(session.capabilities, session.context)
    asked = diagnostics.asked(packet[offset:], context)
    assigned = session.state.assigned
    if asked is None or (asked.reads and asked.reads not in assigned.get(last, ())):
        return
    if sum(map(len, assigned.values())) + len(asked.targets) <= MAX_ASSIGNED:
        request.assigns = asked.targets
        request.verdict = replace(request.verdict, effects=Effect.NONE)


def learn(session: Session, connection: ServerConnection, assigns: dict[str, diagnostics.Target]) -> None:
    """It has run here: from now on the connection has something that no other one can be given.

    A warning is the server's way to say that there is no such condition; then nothing has been assigned.
    """
    if connection.walker.errno or connection.walker.warnings:
        return
    connection.keep |= Keep.USER_VARIABLES
    if connection.was_manager:
        return
    assigned = session.state.assigned
    here = assigned.pop(connection.name, {})
    for other, targets in list(assigned.items()):
        for name in assigns:
            targets.pop(name, None)
        if not targets:
            _let_go(session, other)
    assigned[connection.name] = here | assigns
    for held in session.held.values():
        if held.was_manager:
            hold_up(session, held)


def hold_up(session: Session, connection: ServerConnection) -> None:
    """What it gets next goes by ``transfer.bring_up_to_date``, which leaves the state alone that it has."""
    if connection.synced == session.state.version:
        connection.synced = held_up(session)


def held_up(session: Session) -> int:
    """``ServerConnection.synced`` of one that has this version of the session's state, and is held up."""
    return -2 - session.state.version


def may_be_brought(session: Session, request: Request) -> bool:
    """Whether the request asks for nothing that bringing variables to the manager would change.

    Raises:
        ClientFault: it does, and for user variables, too.
    """
    verdict = request.verdict
    if request.counts_nothing() or request.code == Command.INIT_DB:
        return False  # what it leaves standing would be forgotten
    if verdict.needs is not LAST_STATEMENT or request.carried:
        return True
    if verdict.effects & Effect.ASKS_MANAGER:
        raise ClientFault(
            "Ask for user variables and for what the last statement left in statements of their own"
        )
    return False


async def bring(session: Session, manager: ServerConnection) -> None:
    """Give the manager's connection what workers have assigned.

    Raises:
        ServerFault, MalformedPacket, TimeoutError: what could not be brought comes with the next statement.
    """
    assigned, stay = session.state.assigned, session.stay
    for name in list(assigned):
        held, targets = session.held.get(name), assigned[name].values()
        if held is None:
            raise ServerFault("Lost connection to server")
        rows = stay.found_on == name  # asking is a statement with one row
        columns = [target.shown() for target in targets]
        found_rows, *values = await carry.ask(session, held, (b"FOUND_ROWS()" if rows else b"NULL", *columns))
        try:
            if rows:
                stay.found_rows, stay.rows_server, stay.apart = int(found_rows or b"0"), RECALLED, True
            changes = [
                target.name + b"=" + target.literal(value)
                for target, value in zip(targets, values, strict=True)
            ]
        except ValueError as error:
            raise MalformedPacket("a number, or hexadecimal digits, expected") from error
        (await manager.query(b"SET " + b",".join(changes))).raise_error()
        manager.keep |= Keep.USER_VARIABLES
        _let_go(session, name)


def _let_go(session: Session, worker: str) -> None:
    del session.state.assigned[worker]
    session.held[worker].keep &= ~Keep.USER_VARIABLES
    session.held[worker].offer()
