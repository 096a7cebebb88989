"""KILL with a connection id of ours: it hits that client's statement and nothing else.

An id below 2^31 is a thread of a server and none of our business: the statement goes to the manager as it is. Within
one account anybody may kill, as on a server; for another account's client the server decides, asked with the killer's
own identity. Where the victim has no connection, one is made for that, logged in as the victim.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mysqlproxy.errors import ClientFault, Interrupted, PolicyDenied, ProxyError, ServerFault
from mysqlproxy.pool.connection import fault_of
from mysqlproxy.protocol.framing import frame
from mysqlproxy.protocol.packets import build_err
from mysqlproxy.session import ending, waiting
from mysqlproxy.sql.verdict import KillTarget

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

_NOT_OWNER = 1095  # ER_KILL_DENIED_ERROR
# ER_CONNECTION_KILLED: what the victim of KILL CONNECTION is told when it waits for an answer.
_KILLED = ClientFault("Connection was killed", errno=1927, sqlstate="70100")


def begin(session: Session, target: KillTarget, number: int) -> None:
    """Start the KILL of session ``number``; the answer follows."""
    session.busy = True
    session.run(_kill(session, target, number), "kill")


async def _kill(session: Session, target: KillTarget, number: int) -> None:
    try:
        victim = session.services.sessions.get(number)
        if victim is None or victim.login_packets is not None:
            raise ClientFault(f"Unknown thread id: {number}", errno=1094, sqlstate="HY000")
        if victim is session:
            _kill_itself(session, target)
            return
        if victim.account.name != session.account.name:
            waits = victim.request if victim.active is None else None
            await _ask_server(session, victim, number)
            if waits is not None and waits is victim.request and victim.active is None:
                waiting.interrupt(victim, waits)
        elif victim.request is not None:
            session.services.counters.killed("kill")
            if (killing := waiting.interrupt(victim, victim.request)) is not None:
                await asyncio.wait([killing])
        if target is KillTarget.CONNECTION and not victim.gone:
            end_victim(victim)
    except (ProxyError, TimeoutError) as error:
        session.task = None
        session.refuse(error if isinstance(error, ProxyError) else fault_of(error))
        return
    session.task = None
    if not session.gone:
        session.reply_ok()


def _kill_itself(session: Session, target: KillTarget) -> None:
    """The statement that is killed is the KILL."""
    session.task = None
    if target is KillTarget.QUERY:
        session.refuse(Interrupted())
        return
    error = _KILLED if session.services.view.mariadb else Interrupted()
    session.client.write(frame(build_err(error.errno, error.sqlstate, str(error)), 1))
    ending.close(session)


async def _ask_server(session: Session, victim: Session, number: int) -> None:
    """Let a server say whether this account may kill that one's statement, by doing it.

    Raises:
        PolicyDenied: 1095/HY000, with the number that the client knows.
        ServerFault: the server's refusal, or none can be asked.
    """
    services = session.services
    connection = victim.active or next(iter(victim.held.values()), None)
    stand_in = None
    try:
        if connection is None:
            server = services.view.manager or next(iter(services.view.readers), None)
            connection = stand_in = await services.pools["" if server is None else server.name].connect(
                victim.identity
            )
        await services.pools.kill_as(session.identity, connection)
    except ServerFault as error:
        if error.errno == _NOT_OWNER:
            raise PolicyDenied(
                f"You are not owner of thread {number}", errno=_NOT_OWNER, sqlstate="HY000"
            ) from None
        raise
    finally:
        if stand_in is not None:
            stand_in.close()


def end_victim(victim: Session) -> None:
    """Close another session; if it waits for an answer of which nothing has come, it is told why."""
    if victim.request is not None and not victim.request.relayed:
        sequence = victim.request.answer_sequence()
        victim.client.write(frame(build_err(_KILLED.errno, _KILLED.sqlstate, str(_KILLED)), sequence))
    ending.close(victim)
