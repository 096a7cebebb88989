"""Which worker may answer a read without showing the past. Called by the engine before each read.

``eventual`` asks nothing. ``session``: a read sees every write of its session, and what it has seen once it does not
lose again: it stays with one worker, or changes to one that is known to have applied at least as much. ``strong``: it
sees every write that any client of this daemon was told of. ``global``: every write that was committed before.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mysqlproxy.cluster.gtid import GtidSet
from mysqlproxy.cluster.view import ServerView, version_of
from mysqlproxy.config.schema import Consistency
from mysqlproxy.pool.connection import ServerConnection
from mysqlproxy.routing.route import Why
from mysqlproxy.session.transfer import single_number

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session
    from mysqlproxy.session.request import Request

# For the path of every statement, as in ``sql.verdict``.
_EVENTUAL: Final = Consistency.EVENTUAL
_SESSION: Final = Consistency.SESSION
_STRONG: Final = Consistency.STRONG
_MONOTONIC = (_SESSION, _STRONG)  # never back in time
_SHORTEST_WAIT = 0.001  # seconds; to MySQL's function 0 means without end


def consistency(session: Session) -> Consistency:
    """What the session's current read is promised: by the hint in it, else by the account."""
    hint = None if session.request is None else session.request.hint
    return session.consistency if hint is None or hint.consistency is None else hint.consistency


def reader(session: Session, chosen: ServerView, excluded: frozenset[str]) -> ServerView:
    """The worker for a read: the strategy's choice, or the session's last one while it is not known for certain that
    the change would not go back in time."""
    position, request = session.position, session.request
    if request is not None and request.hint is not None and request.hint.server:
        return chosen
    if position.reader in ("", chosen.name) or consistency(session) not in _MONOTONIC:
        return chosen
    view = session.services.view
    last = view.by_name.get(position.reader)
    seen = position.seen_at_most(view.manager, last)
    if (
        seen is not None
        and chosen.position is not None
        and chosen.observed > position.read_at  # not from before GTIDs began anew, unlike what was seen
        and chosen.name not in session.services.strangers
        and chosen.position.covers(seen)
    ):
        position.reader = ""
        return chosen
    if last is not None and last in view.complete and last.name not in excluded:
        return last
    return chosen  # the last one takes no reads now: ``catch_up`` finds out what may have been seen there


def is_fresh(session: Session, connection: ServerConnection) -> bool:
    """Whether a connection's server is known to have applied all that the read must see."""
    if session.why != Why.STRATEGY:
        return True
    level = consistency(session)
    if level is _EVENTUAL:
        return True
    position = session.position
    if level is _SESSION:
        return (
            not position.unknown_since
            and (position.written is None or connection.caught_up == position.moves)
            and position.reader in ("", connection.name)
        )
    everybody = session.services.position
    return (
        level is _STRONG
        and position.reader in ("", connection.name)
        and not everybody.unknown_since
        and (everybody.written is None or connection.caught_up_all == everybody.moves)
    )


async def catch_up(session: Session, connection: ServerConnection) -> bool:
    """Wait until a worker has applied what the read must see; False when it has not within consistency_wait.

    The worker itself is asked: the monitor's last look at it may be from before its GTIDs began anew.
    """
    services = session.services
    position, everybody = session.position, services.position
    moves, all_moves = position.moves, everybody.moves
    required = None if connection.name in services.strangers else await _required(session, connection)
    if required is None or (not required.empty() and not await _wait_for(session, connection, required)):
        return False
    if connection.name in services.strangers:
        return False  # meanwhile
    connection.caught_up = moves
    connection.caught_up_all = all_moves if consistency(session) is not _SESSION else -1
    position.reader = ""
    return True


def told(session: Session, text: str, connection: ServerConnection, request: Request) -> None:
    """An OK packet named the GTID of a write: what reads must not be behind from now on.

    It may be an earlier statement's: an EOF (INSERT ... RETURNING) says that there is one, and the next OK which.

    Raises:
        ValueError: it is none.
    """
    services = session.services
    manager = services.view.manager
    known = None if manager is None else manager.position
    one_domain = known is not None and len(known.domains) <= 1
    gtids = session.position.told(text, connection.mariadb, one_domain=one_domain)
    services.position.add(gtids)
    # Who had it before it was written had another one of that name.
    began = connection.untold_since or request.started
    if any(
        server.observed_until < began and server.position is not None and server.position.covers(gtids)
        for server in services.view.servers
    ):
        services.begin_anew()


async def _manager_now(session: Session) -> GtidSet | None:
    """The manager's position, or None when it cannot be asked."""
    manager = session.services.view.manager
    now = await session.services.manager_position.ask(manager)
    known = None if manager is None else manager.position
    if now is not None and known is not None and not now.covers(known):
        session.services.begin_anew()  # before the monitor has noticed
    return now


async def _required(session: Session, connection: ServerConnection) -> GtidSet | None:
    """What the worker must have; None when nobody can tell."""
    services, position = session.services, session.position
    view = services.view
    level = consistency(session)
    if level is Consistency.GLOBAL:
        return await _manager_now(session)
    told = services.position if level is _STRONG else position
    required = told.written or GtidSet.parse("", view.mariadb)
    if told.unknown_since:
        since = told.unknown_since
        now = await _manager_now(session)
        if now is None:
            return None
        told.learned(now, since)
        required = required.merge(now)
    elif position.reader not in ("", connection.name):
        last = view.by_name.get(position.reader)
        seen = position.seen_at_most(view.manager, last)
        if seen is None:
            seen = await _manager_now(session)
        if seen is None:
            return None
        required = required.merge(seen)
    return required


async def _wait_for(session: Session, connection: ServerConnection, required: GtidSet) -> bool:
    seconds = max(_SHORTEST_WAIT, session.services.config.routing.consistency_wait)
    if required.place is not None:
        return await _wait_for_log(session, connection, required.place, seconds)
    function = b"MASTER_GTID_WAIT" if connection.mariadb else b"WAIT_FOR_EXECUTED_GTID_SET"
    text = b"SELECT %s('%s', %.3f)" % (function, str(required).encode("ascii"), seconds)
    return await _asked(session, connection, text, seconds) == 0


async def _wait_for_log(
    session: Session, connection: ServerConnection, place: tuple[str, str, int], seconds: float
) -> bool:
    """The servers' wait function counts in the log of whom the worker replicates from: that must be the manager, and
    the one whose log was asked."""
    origin, file, offset = place
    view = session.services.view
    worker, manager = view.by_name.get(connection.name), view.manager
    if worker is None or manager is None or not origin == worker.source == manager.origin:
        return False
    function = b"SOURCE" if version_of(worker.version) >= (8, 0, 26) else b"MASTER"
    text = b"SELECT %s_POS_WAIT('%s', %d, %.3f)" % (function, file.encode("ascii"), offset, seconds)
    events = await _asked(session, connection, text, seconds)
    return events is not None and events >= 0


async def _asked(session: Session, connection: ServerConnection, text: bytes, seconds: float) -> int | None:
    async with asyncio.timeout(seconds + session.services.config.limits.connect_timeout):
        reply = await connection.query(text)
    return None if reply.errno else single_number(reply.packets(), connection.capabilities)
