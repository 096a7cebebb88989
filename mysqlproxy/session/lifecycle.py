"""How a session begins: the login, and COM_CHANGE_USER, which is another one. Called by the engine.

``session.login`` holds the dialogue with the client; here is what a session becomes by it, or why it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from mysqlproxy.cluster.hop import PROBE, described
from mysqlproxy.errors import (
    AccessDenied,
    ClientFault,
    PolicyDenied,
    ProxyError,
    ServerFault,
    TooManyConnections,
)
from mysqlproxy.gatekeeper.login import Accept, default_plugin, new_nonce
from mysqlproxy.pool.login import Identity
from mysqlproxy.protocol.assertion import Assertion
from mysqlproxy.protocol.capabilities import SESSION_TRACK, STATUS_AUTOCOMMIT
from mysqlproxy.protocol.credentials import ServerCredential
from mysqlproxy.protocol.framing import frame
from mysqlproxy.protocol.handshake import ChangeUser, HandshakeResponse, parse_change_user
from mysqlproxy.protocol.packets import Ok, build_err, build_ok
from mysqlproxy.session import settle
from mysqlproxy.session.ending import close, refuse_and_close
from mysqlproxy.session.login import (
    Dialogue,
    LoginPackets,
    authenticate,
    channel_of,
    dialogue_for,
    greet,
    next_is_down,
    some_server,
    too_late,
)
from mysqlproxy.session.resetting import forget_state
from mysqlproxy.session.services import FIRST_ID, LAST_ID

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

log = logging.getLogger("mysqlproxy.login")

Request = HandshakeResponse | ChangeUser

_REASONS = {1129: "host_blocked", 1130: "host_not_allowed"}
_NO_FAILURES = (
    1159,
    1862,
    3118,
    4151,
)  # too late; the password was right, but the account is locked or expired
_MAX_ATTRIBUTE = 256  # characters of a client's program_name that are passed on


async def log_in(session: Session) -> None:
    """From the first byte to the OK, within [limits] login_timeout."""
    packets, services = session.login_packets, session.services
    assert packets is not None
    try:
        services.newcomers.come(session.id, lambda: _make_room(session))
        async with asyncio.timeout(services.config.limits.login_timeout):
            await packets.client.introduced.wait()
            peer = packets.client.peer
            session.tickets.append(services.admission.connect(peer))
            await asyncio.sleep(services.failures.wait(peer, session.loop.time()))
            response, session.capabilities, dialogue = await greet(packets, services, session.id)
            services.failures.check(peer, session.loop.time())
            session.charset = response.charset
            if response.plugin == PROBE and services.chain is not None and services.chain.has_hops_before:
                _answer_probe(session, packets)
                return
            await session.introduce(packets, dialogue, response, fresh=False)
    except TimeoutError:
        _fail(session, too_late(services), "error")
    except AccessDenied as error:
        services.counters.denied(error.reason)
        _fail(session, error, "denied", error.reason)
    except PolicyDenied as error:
        services.counters.denied(_REASONS.get(error.errno, "too_many_connections"))
        _fail(session, error, "denied", str(error))
    except ProxyError as error:
        _fail(session, error, "error", str(error))
    except (ConnectionError, OSError) as error:
        log.info("a login ended early: %s", error, extra={"session": session.id})
        close(session)
    else:
        _welcome(session, packets)


def _answer_probe(session: Session, packets: LoginPackets) -> None:
    """The hop before asks in place of a login whether this one is of use.

    Raises:
        AccessDenied: it has no certificate of a hop.
    """
    services = session.services
    chain = services.chain
    if chain is None or not chain.admits(channel_of(session.client).certificate):
        raise AccessDenied("Access denied", reason="a certificate of none that may connect")
    answer = build_ok(Ok(info=described(services.view, services.boot)), session.capabilities)
    if chain.next_hop and services.view.manager is None:
        down = next_is_down(services)
        answer = build_err(down.errno, down.sqlstate, str(down))
    packets.write(answer)
    close(session)


async def introduce(
    session: Session, packets: LoginPackets, dialogue: Dialogue, request: Request, *, fresh: bool
) -> None:
    """Who it is, and whether it may come in."""
    accepted = await authenticate(
        packets, session.services, dialogue, request, fresh, lambda asserted: take_over(session, asserted)
    )
    if not fresh:
        await _enter(session, accepted, request)
        return
    forget_state(session)
    session.tickets.pop().release()
    session.charset = request.charset or session.charset
    await _enter(session, accepted, request)


def take_over(session: Session, asserted: Assertion) -> None:
    """A gatekeeper says for whom it connects: the session is known by the id and the address of that client.

    Raises:
        ServerFault: another session has this id.
    """
    services, number = session.services, asserted.session
    if number != session.id:
        if number in services.sessions or not FIRST_ID <= number <= LAST_ID:
            raise ServerFault("The session's id is in use; connect again")
        services.newcomers.gone(session.id)
        del services.sessions[session.id]
        services.sessions[number] = session
        session.id = number
    session.client.peer = asserted.peer


def _make_room(session: Session) -> None:
    """There are too many that have not logged in, and this one is the first to go."""
    session.services.counters.denied("too_many_unauthenticated")
    refuse_and_close(session, TooManyConnections("Too many connections"))


def _fail(session: Session, error: ProxyError, result: str, reason: str = "") -> None:
    packets = session.login_packets
    assert packets is not None
    session.services.counters.login(result)
    peer = session.client.peer
    hops = session.services.chain is not None and session.services.chain.has_hops_before
    if isinstance(error, AccessDenied | ClientFault) and error.errno not in _NO_FAILURES and not hops:
        session.services.failures.note(peer, session.loop.time())
    log.warning(
        "login %s from %s: %s",
        result,
        "unix socket" if peer is None else peer,
        f"{error}: {reason}" if reason and reason != str(error) else error,
        extra={"session": session.id},
    )
    session.client.write(frame(build_err(error.errno, error.sqlstate, str(error)), packets.sequence))
    close(session)


async def _enter(session: Session, accepted: Accept, request: HandshakeResponse | ChangeUser) -> None:
    """Count the account, take over its settings, and check the schema it named at a server.

    Raises:
        PolicyDenied: too many of this account.
        ServerFault: 1049, 1044 for the schema; or no server could be asked.
    """
    services = session.services
    account = accepted.account
    session.tickets.append(services.admission.enter(account))
    session.account = account
    session.strategy = account.strategy
    session.consistency = account.read_consistency
    session.offload.setting = account.autocommit_reads
    session.cells = {}
    chain = services.chain
    session.identity = Identity(
        accepted.credential if chain is None or not chain.next_hop else _asserting(session, account.name),
        session.capabilities,
        session.charset,
        _attributes(session, request.attributes),
    )
    await some_server(services)
    session.offload.begin(services.view.isolation)
    session.relay.translate = not session.capabilities & SESSION_TRACK
    session.prepared.mariadb = services.view.mariadb
    session.login_schema = request.schema or None
    session.context_changed()
    session.login_status = session.status = STATUS_AUTOCOMMIT
    if request.schema:
        session.state.schema = request.schema
        session.state.version += 1
    if chain is not None and chain.next_hop:
        await _connect_next_hop(session)
    elif request.schema:
        await _check_schema(session)
        session.context_changed()
    elif (manager := services.view.manager) is not None and (manager.init_connect or not manager.autocommit):
        # Whether reads begin transactions must be known before the first one. Who cannot log in is told by that.
        with contextlib.suppress(ProxyError):
            await session.connection(manager)
    session.stay.manager_reads = settle.manager_reads(session)


def _asserting(session: Session, account: str) -> ServerCredential:
    async def prove(nonce: bytes) -> bytes:
        chain = session.services.chain  # as it is by then: keys change
        assert chain is not None
        if not session.held:
            session.shown = chain.fingerprint  # its one connection is being made
        return chain.sign(account, session.client.peer, session.id, nonce, session.shown)

    return ServerCredential(account, prove=prove)


async def _connect_next_hop(session: Session) -> None:
    """The one connection of this session, which it keeps: the proxy has a session of its own behind it.

    Raises:
        ServerFault: with the proxy's own number when it refuses.
    """
    manager = session.services.view.manager
    if manager is None:
        raise next_is_down(session.services)
    try:
        await session.connection(manager)
    except ServerFault as error:
        if isinstance(error.__cause__, OSError | TimeoutError):
            raise next_is_down(session.services) from error
        raise
    session.context_changed()


async def _check_schema(session: Session) -> None:
    """The first server that can be reached says whether the account may use it, the manager if there is one."""
    view = session.services.view
    first = () if view.manager is None else (view.manager,)
    servers = [*first, *(server for server in view.readers if server is not view.manager)]
    for server in servers:
        try:
            await session.connection(server)
            return
        except ServerFault as error:
            if error.errno != ServerFault.default_errno or server is servers[-1]:
                raise


def _welcome(session: Session, packets: LoginPackets) -> None:
    services = session.services
    services.counters.login("ok")
    services.newcomers.gone(session.id)
    log.info(
        "login of %s from %s",
        session.account.name,
        session.client.peer or "unix socket",
        extra={"session": session.id},
    )
    packets.write(build_ok(Ok(status=session.status), session.capabilities))
    session.task = None
    session.login_packets = None
    session.client.reader.limit = services.config.limits.max_packet
    session.since = session.loop.time()
    session.finish()


def _attributes(session: Session, of_client: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """What SHOW and performance_schema say of our connection: the daemon, and whom it works for."""
    program = of_client.get("program_name", of_client.get("_client_name", ""))[:_MAX_ATTRIBUTE]
    peer = "unix socket" if session.client.peer is None else str(session.client.peer)
    named = {"_client_name": "mysqlproxy", "program_name": program, "proxied_client": peer}
    return tuple((name, value) for name, value in named.items() if value)


def change_user(session: Session, raw_payload: bytes) -> None:
    """COM_CHANGE_USER: a full login on a connection that is open; a refused one is closed."""
    request = parse_change_user(raw_payload, session.capabilities)
    session.busy = True
    packets = LoginPackets(session.client, session)
    packets.sequence = 1
    session.login_packets = packets
    session.run(_change_user(session, request, packets), "change user")


async def _change_user(session: Session, request: ChangeUser, packets: LoginPackets) -> None:
    services = session.services
    plugin = default_plugin(services.accounts, services.view.mariadb)
    dialogue = dialogue_for(services, session.client, new_nonce(), plugin)
    try:
        async with asyncio.timeout(services.config.limits.login_timeout):
            await session.introduce(packets, dialogue, request, fresh=True)
    except TimeoutError:
        _fail(session, too_late(services), "error")
    except AccessDenied as error:
        services.counters.denied(error.reason)
        _fail(session, error, "denied", error.reason)
    except ProxyError as error:
        _fail(session, error, "error", str(error))
    except ConnectionError:
        close(session)
    else:
        _welcome(session, packets)
