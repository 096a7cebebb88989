"""What a session forgets when its client resets it: COM_RESET_CONNECTION and COM_CHANGE_USER. Called by the engine's
commands and by ``session.lifecycle``. What was written stays known.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from mysqlproxy.errors import ProxyError
from mysqlproxy.pool.connection import ServerConnection
from mysqlproxy.routing.route import Stay
from mysqlproxy.session import settle
from mysqlproxy.session.ending import close, release_all
from mysqlproxy.session.trackers import Trackers

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

log = logging.getLogger("mysqlproxy.session")


def forget_state(session: Session, schema: bytes | None = None) -> None:
    """As after a new login: COM_RESET_CONNECTION and COM_CHANGE_USER. What was written stays known.

    All connections go back and are reset there; MariaDB's own COM_RESET_CONNECTION would keep the default schema and
    forget the trackers and the login's charset.
    """
    session.prepared.clear()
    release_all(session)
    session.state.reset(schema)
    session.trackers = Trackers()
    session.position.rolled_back(session.loop.time())
    session.recall = None
    session.stay = Stay()
    session.offload.begin(session.services.view.isolation)
    session.barred = frozenset()
    session.status = session.login_status
    session.stay.manager_reads = settle.manager_reads(session)
    session.transaction_since = 0.0
    session.context_changed()


async def reset(session: Session, connections: list[ServerConnection]) -> None:
    """COM_RESET_CONNECTION while something is open: the OK says that transaction and locks have ended."""
    for connection in connections:
        with contextlib.suppress(ProxyError, TimeoutError):  # one that breaks tells its session itself
            async with asyncio.timeout(session.services.config.limits.connect_timeout):
                await connection.claim(connection.reset(session.identity))
    if not session.gone:
        session.task = None
        forget_state(session, session.login_schema)
        session.reply_ok()


async def restart(session: Session) -> None:
    """COM_RESET_CONNECTION where the next hop keeps the state: told at once, so that locks end."""
    try:
        for connection in list(session.held.values()):
            async with asyncio.timeout(session.services.config.limits.connect_timeout):
                await connection.reset_hop()
    except (ProxyError, TimeoutError) as error:
        log.warning("a reset failed: %s", error, extra={"session": session.id})
        close(session)
        return
    session.task = None
    session.reply_ok()
