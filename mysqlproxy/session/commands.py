"""What each command of the protocol means to a session: one function per command, and the table that names them.

Called by the engine with a whole packet. A command ends in ``session.start`` (a server answers), in
``session.reply_ok``, in ``session.refuse``, or in nothing for those that have no answer.

Manual: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from mysqlproxy.errors import ClientFault, MalformedPacket, ProxyError
from mysqlproxy.pool.keep import STAY
from mysqlproxy.protocol import response
from mysqlproxy.protocol.commands import Command, statement_offset
from mysqlproxy.protocol.framing import HEADER, MAX_PAYLOAD, frame, payload_of
from mysqlproxy.protocol.prepared import cursor_requested, parameter_types, statement_id
from mysqlproxy.session import ending, hinting, kill, lifecycle, resetting, transfer
from mysqlproxy.session.admit import admit
from mysqlproxy.session.prepared import Prepared
from mysqlproxy.session.request import INIT_DB, MANAGER_COMMAND, Request
from mysqlproxy.sql.hints import MARK, WITHIN, Hint
from mysqlproxy.sql.rewrite import rewritten
from mysqlproxy.sql.verdict import KillTarget, Verdict

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

MULTI_STATEMENTS_ON, MULTI_STATEMENTS_OFF = 0, 1  # enum_mysql_set_option
_monotonic: Final = monotonic  # as in ``session.engine``
_UNKNOWN = ClientFault("Unknown command", errno=1047, sqlstate="08S01")


def dispatch(session: Session, raw: bytes) -> None:
    """Handle one command.

    Raises:
        ProxyError: the packet breaks the protocol; the client is closed for it.
    """
    if raw[3] != 0:
        raise ClientFault("Got packets out of order", errno=1156, sqlstate="08S01")
    code = raw[HEADER] if len(raw) > HEADER else -1
    handler = _HANDLERS.get(code)
    if handler is None:
        session.refuse(_UNKNOWN)
        return
    try:
        if code == Command.QUERY:
            _query(session, raw)  # not through the table: most commands are one
        else:
            handler(session, raw)
    except MalformedPacket:
        raise
    except ProxyError as error:
        session.refuse(error)


def _classify(session: Session, raw: bytes, code: int) -> tuple[bytes, Hint | None, Verdict]:
    """The packet for the server, the hint in its text, and the verdict."""
    base, packet = (HEADER, raw) if len(raw) <= MAX_PAYLOAD else (0, payload_of(raw))
    offset = statement_offset(packet, base, session.capabilities) if code == Command.QUERY else base + 1
    text = packet[offset:]
    verdict = session.services.classifier.verdict(text, session.context)
    hint = None
    if not session.services.classifier.plain and raw.find(MARK, 0, WITHIN) >= 0:
        hint = hinting.hint_in(session, text, verdict.digest)
    if verdict.connection_ids or verdict.edits:
        text = rewritten(text, verdict.connection_ids, verdict.edits, session.id)
        raw = frame(packet[base:offset] + text)
    return raw, hint, verdict


def _query(session: Session, raw: bytes) -> None:
    raw, hint, verdict = _classify(session, raw, Command.QUERY)
    if verdict.kill is not None and verdict.kill.id is None and verdict.connection_ids:
        raw, _, verdict = _classify(session, raw, Command.QUERY)  # KILL CONNECTION_ID(), now with its number
    request = Request(Command.QUERY, raw, response.QUERY, verdict, _monotonic())
    request.hint = hint
    _start(session, request)


def _kills_here(session: Session, verdict: Verdict) -> bool:
    """Begin a KILL of one of our ids; False when the statement is none."""
    if verdict.kill is None or verdict.kill.id is None or verdict.kill.id < 1 << 31:
        return False
    if _has_next_hop(session):
        return False  # the proxy knows its sessions by the same ids, those of other gatekeepers, too
    kill.begin(session, verdict.kill.target, verdict.kill.id)
    return True


def _has_next_hop(session: Session) -> bool:
    chain = session.services.chain
    return chain is not None and bool(chain.next_hop)


def _start(session: Session, request: Request) -> None:
    """Begin a request, if the firewall lets it."""
    if not session.services.firewall.active or admit(session, request, _go_on):
        _go_on(session, request)


def _go_on(session: Session, request: Request) -> None:
    prepared = request.prepared
    if request.code != Command.STMT_PREPARE:
        if request.verdict.kill is not None and _kills_here(session, request.verdict):
            return
        # Executing a statement again closes its cursor, wherever that is; it need not run there again.
        if prepared is not None:
            for connection in session.held.values():
                if prepared.id in connection.cursors:
                    transfer.forget(session, prepared)
                    break
    request.retained = len(request.raw) <= session.services.retain_request
    session.start(request)


def _init_db(session: Session, raw: bytes) -> None:
    _start(session, Request(Command.INIT_DB, raw, response.OK, INIT_DB, _monotonic()))


def _field_list(session: Session, raw: bytes) -> None:
    _start(session, Request(Command.FIELD_LIST, raw, response.FIELD_LIST, MANAGER_COMMAND, _monotonic()))


def _statistics(session: Session, raw: bytes) -> None:
    _start(session, Request(Command.STATISTICS, raw, response.STRING, MANAGER_COMMAND, _monotonic()))


def _set_option(session: Session, raw: bytes) -> None:
    if len(raw) != HEADER + 3:
        raise MalformedPacket("Malformed communication packet")
    option = int.from_bytes(raw[HEADER + 1 :], "little")
    if option not in (MULTI_STATEMENTS_ON, MULTI_STATEMENTS_OFF):
        raise _UNKNOWN
    session.state.set_option(option)  # every connection is told when it is used next
    session.reply_eof()


def _ping(session: Session, raw: bytes) -> None:
    """Answered here: it asks whether its peer is alive, and that is the daemon."""
    session.pinged = monotonic()
    session.reply_ok()


def _quit(session: Session, raw: bytes) -> None:
    ending.close(session)


def _process_kill(session: Session, raw: bytes) -> None:
    """To the firewall it is the statement that does the same; the hit is one of ours, whatever its id."""
    if len(raw) != HEADER + 5:
        raise MalformedPacket("Malformed communication packet")
    number = int.from_bytes(raw[HEADER + 1 :], "little")
    verdict = session.services.classifier.verdict(b"KILL %d" % number, session.context)
    request = Request(Command.PROCESS_KILL, raw, response.OK, verdict, _monotonic())
    if not session.services.firewall.active or admit(session, request, _kill):
        _kill(session, request)


def _kill(session: Session, request: Request) -> None:
    if _has_next_hop(session):
        session.start(request)
        return
    kill.begin(session, KillTarget.CONNECTION, int.from_bytes(request.raw[HEADER + 1 :], "little"))


def _reset_connection(session: Session, raw: bytes) -> None:
    if _has_next_hop(session):
        resetting.forget_state(session, session.login_schema)
        session.busy = True
        session.run(resetting.restart(session), "reset")
    elif held := [one for one in session.held.values() if one.keep & STAY and one.is_quiet()]:
        session.busy = True
        session.run(resetting.reset(session, held), "reset")
    else:
        resetting.forget_state(session, session.login_schema)
        session.reply_ok()


def _change_user(session: Session, raw: bytes) -> None:
    lifecycle.change_user(session, payload_of(raw))


def _prepare(session: Session, raw: bytes) -> None:
    raw, hint, verdict = _classify(session, raw, Command.STMT_PREPARE)
    request = Request(Command.STMT_PREPARE, raw, response.PREPARE, verdict, _monotonic())
    request.prepared = session.prepared.new(payload_of(raw), verdict, session.state)
    request.hint = request.prepared.hint = hint
    request.prepared.context = session.context
    request.prepared.catalog = session.services.classifier.catalog
    _start(session, request)


def _find(session: Session, raw: bytes, function: str) -> Prepared:
    return session.prepared.get(statement_id(raw), _named(session, function))


def _named(session: Session, function: str) -> str:
    """The function that a server's message names: MySQL checks all of them in one place."""
    return function if session.services.view.mariadb else "mysql_stmt_precheck"


def _execute(session: Session, raw: bytes) -> None:
    prepared = _find(session, raw, "mysqld_stmt_execute")
    if prepared.refused is not None:
        refused = prepared.refused
        prepared.reset()
        raise refused
    payload = raw[HEADER:] if len(raw) <= MAX_PAYLOAD else payload_of(raw)
    types = parameter_types(payload, prepared.parameters, session.capabilities)
    if types is not None:
        prepared.types = types
    form = response.CURSOR if cursor_requested(payload) else response.QUERY
    _judge_anew(session, prepared)
    _send_to_prepared(session, prepared, Request(raw[HEADER], raw, form, prepared.verdict, _monotonic()))


def _bulk_execute(session: Session, raw: bytes) -> None:
    prepared = _find(session, raw, "mysqld_stmt_bulk_execute")
    _judge_anew(session, prepared)
    request = Request(Command.STMT_BULK_EXECUTE, raw, response.QUERY, prepared.verdict, _monotonic())
    _send_to_prepared(session, prepared, request)


def _judge_anew(session: Session, prepared: Prepared) -> None:
    """Names may mean something else than when it was prepared."""
    classifier = session.services.classifier
    if prepared.catalog is not classifier.catalog:
        prepared.catalog = classifier.catalog
        prepared.verdict = classifier.verdict(prepared.request[1:], prepared.context)


def _send_to_prepared(session: Session, prepared: Prepared, request: Request) -> None:
    request.prepared = prepared
    request.hint = prepared.hint
    _start(session, request)


def _fetch(session: Session, raw: bytes) -> None:
    prepared = _find(session, raw, "mysqld_stmt_fetch")
    for connection in session.held.values():
        if prepared.id in connection.cursors:
            request = Request(Command.STMT_FETCH, raw, response.FETCH, prepared.verdict, _monotonic())
            request.prepared = prepared
            request.pinned = connection.name
            request.retained = False
            session.start(request)
            return
    end = "" if session.services.view.mariadb else "."
    raise ClientFault(
        f"The statement ({prepared.id}) has no open cursor{end}", errno=1421, sqlstate="HY000"
    )  # ER_STMT_HAS_NO_OPEN_CURSOR


def _stmt_reset(session: Session, raw: bytes) -> None:
    prepared = _find(session, raw, "mysqld_stmt_reset")
    prepared.reset()
    for connection in session.held.values():
        if prepared.id in connection.cursors:
            request = Request(Command.STMT_RESET, raw, response.OK, prepared.verdict, _monotonic())
            request.prepared = prepared
            request.pinned = connection.name
            request.retained = False
            session.start(request)
            return
    session.reply_ok()


def _stmt_close(session: Session, raw: bytes) -> None:
    """No answer. An unknown id is nobody's business."""
    prepared = session.prepared.remove(statement_id(raw))
    if prepared is not None:
        transfer.forget(session, prepared)


def _send_long_data(session: Session, raw: bytes) -> None:
    """No answer: held until an EXECUTE picks a server; what is wrong with it, the EXECUTE is told."""
    payload = payload_of(raw)
    if len(payload) < 7:
        raise MalformedPacket("Malformed communication packet")
    parameter = int.from_bytes(payload[5:7], "little")
    function = _named(session, "mysqld_stmt_send_long_data")
    session.prepared.add_long_data(statement_id(raw), parameter, payload[7:], function)


_HANDLERS: Final[dict[int, Callable[[Session, bytes], None]]] = {
    Command.QUIT: _quit,
    Command.INIT_DB: _init_db,
    Command.QUERY: _query,
    Command.FIELD_LIST: _field_list,
    Command.STATISTICS: _statistics,
    Command.PROCESS_KILL: _process_kill,
    Command.PING: _ping,
    Command.CHANGE_USER: _change_user,
    Command.STMT_PREPARE: _prepare,
    Command.STMT_EXECUTE: _execute,
    Command.STMT_SEND_LONG_DATA: _send_long_data,
    Command.STMT_CLOSE: _stmt_close,
    Command.STMT_RESET: _stmt_reset,
    Command.SET_OPTION: _set_option,
    Command.STMT_FETCH: _fetch,
    Command.RESET_CONNECTION: _reset_connection,
    Command.STMT_BULK_EXECUTE: _bulk_execute,
}
