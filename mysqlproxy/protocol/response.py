"""Where a server's answer ends: walks the packet headers of one command's answer, chunk by chunk.

Called by the session's relay and the pool's own commands with every chunk a server sends: the hottest code of
the daemon. Only headers, and the control packets (column count, OK, EOF, ERR, LOCAL INFILE, PREPARE_OK), are
looked into; rows and column definitions are counted past, never decoded or held. Compiled by mypyc, with
native integers where a loop runs over bytes.

Over 400 lines because it is one state machine: control packets are read straight into the walker's native
attributes; in a module of their own each answer's OK would cost an object more.

Manual: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html, beside it
page_protocol_com_query_response.html, page_protocol_com_stmt_prepare.html, page_protocol_com_stmt_fetch.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mysqlproxy.errors import InternalBug, MalformedPacket
from mysqlproxy.protocol.capabilities import (
    COMPRESS,
    DEPRECATE_EOF,
    MARIADB_CACHE_METADATA,
    MARIADB_PROGRESS,
    OPTIONAL_RESULTSET_METADATA,
    PROTOCOL_41,
    SESSION_TRACK,
    STATUS_CURSOR_EXISTS,
    STATUS_MORE_RESULTS_EXISTS,
    STATUS_PS_OUT_PARAMS,
    STATUS_SESSION_STATE_CHANGED,
)
from mysqlproxy.protocol.codec import read_lenenc, read_lenenc_bytes
from mysqlproxy.protocol.framing import HEADER, MAX_PAYLOAD

if TYPE_CHECKING:
    from mypy_extensions import i64  # known to the compiler, not needed when running

# The forms an answer can have.
QUERY: Final = 0  # COM_QUERY, COM_STMT_EXECUTE, COM_STMT_BULK_EXECUTE: OK, ERR, LOCAL INFILE or result sets
PREPARE: Final = 1  # COM_STMT_PREPARE
FIELD_LIST: Final = 2  # COM_FIELD_LIST: definitions up to EOF or ERR
FETCH: Final = 3  # COM_STMT_FETCH: rows up to EOF or ERR
STRING: Final = 4  # COM_STATISTICS: one packet, or ERR
OK: Final = 5  # one OK, EOF or ERR
CURSOR: Final = 6  # COM_STMT_EXECUTE for a cursor: as QUERY, but the definitions may be all there is

MAX_COLUMNS: Final = 65535  # the number is two bytes wide in PREPARE_OK; tables have at most 4096
MAX_CONTROL: Final = 1 << 20  # bytes of one control packet or column definition; real ones have some hundred
MAX_SESSION_STATE: Final = 1 << 20  # bytes of all session-state blocks of one response
MAX_MESSAGE: Final = 4096  # bytes kept of an ERR's message; the servers' own limit is 512

# States, each named for what is expected next.
_DONE: Final = 0
_FIRST: Final = 1  # of a result: OK, ERR, LOCAL INFILE or the number of columns
_DEFINITIONS: Final = 2
_DEFINITIONS_END: Final = 3  # the EOF behind them
_ROWS: Final = 4
_PREPARED: Final = 5  # PREPARE_OK or ERR
_FIELDS: Final = 6
_ONE: Final = 7
_STRING: Final = 8
_FILE: Final = 9  # nothing, before the client has sent its file
_BEGIN: Final = (_FIRST, _PREPARED, _FIELDS, _ROWS, _STRING, _ONE, _FIRST)  # by form

_NULL: Final = 0xFB  # at the front of an answer: LOCAL INFILE
_EOF: Final = 0xFE
_ERR: Final = 0xFF
_EOF_SIZE: Final = 5
_EOF_BELOW: Final = 9  # bytes; an 0xFE packet of that size is a row (page_protocol_basic_eof_packet.html)
_OK_SIZE: Final = 7  # of the shortest
_PREPARE_OK_SIZE: Final = 12
_PROGRESS: Final = 0xFFFF  # MariaDB: an ERR with this number reports progress and ends nothing


class ResponseWalker:
    """Walks the answer of one command after the other on one connection.

    ``begin`` with each command, then ``feed`` with what the server sent until ``done``. After MalformedPacket
    the connection is of no more use.

    Attributes:
        done: the answer is complete.
        local_infile: the name of the file that the server asks for, or None. The request is the last packet
            passed on (``5 + len(local_infile)`` bytes); nothing more is before ``resume_after_infile``.
        errno, sqlstate, message: of the ERR that ended the answer; 0, "" and b"" without one. The message is
            cut at 4 KiB.
        status: the last status flags seen on this connection (an ERR has none, and leaves these).
        warnings, affected_rows, last_insert_id: of the last OK (``warnings`` of the last EOF, too).
        result_sets: how many have begun.
        rows_seen: a row was passed on, or its beginning.
        oks: (start, end, sequence) of each OK packet with its header, in the data of the last ``feed``, those
            headed 0xFE included, and of each EOF whose flags tell of a changed session state: what has to be
            translated for a client without SESSION_TRACK.
        marks: set it to have ``statuses`` filled: where the status flags (two bytes, little-endian) of each OK
            and EOF are, in the data of the last ``feed``.
        state_changed: one of the flags of this answer told so.
        session_state: the session-state blocks of all OK packets of this answer, at most 1 MiB.
        statement_id, columns, parameters: of the PREPARE_OK; ``prepare_ok`` is its (start, end) in the data
            of the ``feed`` that passed it on, (0, 0) in all others.
    """

    def __init__(self, capabilities: int) -> None:
        """For a connection with the agreed ``capabilities``.

        Raises:
            InternalBug: one of them changes the bytes in ways that are not walked.
        """
        unknown = COMPRESS | OPTIONAL_RESULTSET_METADATA | MARIADB_CACHE_METADATA
        if capabilities & unknown or not capabilities & PROTOCOL_41:
            raise InternalBug(f"Answers with capabilities {capabilities:#x} cannot be walked")
        self._deprecate_eof: bool = capabilities & DEPRECATE_EOF != 0
        self._track: bool = capabilities & SESSION_TRACK != 0
        self._progress: bool = capabilities & MARIADB_PROGRESS != 0
        # From this size on a packet that begins with 0xFE is a row: its first value has 16 MiB or more.
        self._row_size: i64 = MAX_PAYLOAD if self._deprecate_eof else _EOF_BELOW
        self._form: i64 = OK
        self._state: i64 = _DONE
        self._sequence: i64 = 0
        self._skip: i64 = 0  # bytes of the current packet that have not come yet
        self._continued: bool = False  # the next frame goes on with the current row, whatever its first byte
        self._remaining: i64 = 0  # definitions to come
        self._then: i64 = 0  # definitions to come after those (a prepared statement's columns)
        self._out_parameters: bool = False  # the current result set holds them: another result follows
        self._blocks: bytearray | None = None
        self.done: bool = True
        self.local_infile: bytes | None = None
        self.errno: int = 0
        self.sqlstate: str = ""
        self.message: bytes = b""
        self.status: int = 0
        self.warnings: int = 0
        self.affected_rows: int = 0
        self.last_insert_id: int = 0
        self.result_sets: int = 0
        self.rows_seen: bool = False
        self.state_changed: bool = False
        self.oks: list[tuple[int, int, int]] = []
        self.marks: bool = False
        self.statuses: list[int] = []
        self.statement_id: int = 0
        self.columns: int = 0
        self.parameters: int = 0
        self.prepare_ok: tuple[int, int] = (0, 0)

    @property
    def session_state(self) -> bytes:
        return b"" if self._blocks is None else bytes(self._blocks)

    def begin(self, form: int, first_sequence: int = 1) -> None:
        """The next bytes answer a new command.

        Args:
            form: of the answer (QUERY, PREPARE, ...).
            first_sequence: id of the answer's first packet: one more than the command's last frame had.
        """
        self._form = form
        self._state = _BEGIN[form]
        self._sequence = first_sequence & 0xFF
        self._skip = 0
        self._continued = False
        self._then = 0
        self._out_parameters = False
        self._blocks = None
        self.done = False
        self.local_infile = None
        self.errno = 0
        self.sqlstate = ""
        self.message = b""
        self.warnings = 0
        self.affected_rows = 0
        self.last_insert_id = 0
        self.result_sets = 0
        self.rows_seen = False
        self.state_changed = False
        self.statement_id = 0
        self.columns = 0
        self.parameters = 0

    def resume_after_infile(self, client_sequence: int) -> None:
        """The client's file has been passed on; ``client_sequence`` is the id of its last (empty) packet.

        Raises:
            InternalBug: no file was asked for.
        """
        if self._state != _FILE:
            raise InternalBug("The server asked for no file")
        self.local_infile = None
        self._state = _FIRST
        self._sequence = (client_sequence + 1) & 0xFF

    def feed(self, data: bytes) -> int:
        """Walks on.

        Args:
            data: the bytes that the last call left, and what came since.

        Returns:
            How many bytes may be passed on. The rest is to be fed again in front of what comes next, unless
            ``done``: then it is no part of this answer. At most one control packet is held back (1 MiB), or
            the beginning of a packet header.

        Raises:
            MalformedPacket: this is no answer of the expected form, or its sequence ids do not follow.
        """
        size: i64 = len(data)
        position: i64 = self._skip
        state: i64 = self._state
        sequence: i64 = self._sequence
        continued = self._continued
        rows = False
        if self.oks:
            self.oks = []
        if self.statuses:
            self.statuses = []
        if self.prepare_ok[1]:
            self.prepare_ok = (0, 0)
        if state == _FILE:
            if size > MAX_CONTROL:
                raise MalformedPacket("Malformed packet: the server does not wait for the file")
            return 0
        while state != _DONE:
            start: i64 = position + HEADER
            if start > size:
                break
            length: i64 = data[position] | data[position + 1] << 8 | data[position + 2] << 16
            if data[position + 3] != sequence:
                raise MalformedPacket("Got packets out of order", errno=1156, sqlstate="08S01")
            if continued:
                continued = length == MAX_PAYLOAD
            else:
                if start >= size and length > 0:
                    break
                first: i64 = data[start] if length > 0 else -1
                if state == _ROWS and (0 <= first < _EOF or (first == _EOF and length >= self._row_size)):
                    rows = True
                    continued = length == MAX_PAYLOAD
                elif state in (_DEFINITIONS, _FIELDS) and 0 <= first < _EOF:
                    if length > MAX_CONTROL:
                        raise MalformedPacket("Malformed packet: a column definition is too large")
                    if state == _DEFINITIONS:
                        self._remaining -= 1
                        if self._remaining == 0:
                            state = self._after_definitions() if self._deprecate_eof else _DEFINITIONS_END
                else:
                    end: i64 = start + length
                    if length > MAX_CONTROL:
                        raise MalformedPacket("Malformed packet: a control packet is too large")
                    if end > size:
                        break
                    self._sequence = sequence
                    state = self._control(data, start, end, state)
                    sequence = (sequence + 1) & 0xFF
                    position = end
                    if state == _FILE:
                        break
                    continue
            sequence = (sequence + 1) & 0xFF
            position = start + length
        self._state = state
        self._sequence = sequence
        self._continued = continued
        if rows:
            self.rows_seen = True
        if position > size:
            self._skip = position - size
            return size
        self._skip = 0
        self.done = state == _DONE
        return position

    def _control(self, data: bytes, start: i64, end: i64, state: i64) -> i64:
        """Reads the packet at ``data[start:end]``, which is no row and no definition; the state behind it."""
        first: i64 = data[start] if end > start else -1
        if first == _ERR:
            return self._error(data[start:end], state)
        if state == _FIRST:
            if first == 0:
                self._ok(data, start, end)
                return _FIRST if self.status & STATUS_MORE_RESULTS_EXISTS else _DONE
            if first == _NULL:
                self.local_infile = data[start + 1 : end]
                return _FILE
            count, after = read_lenenc(data[start:end], 0)
            if after != end - start or not 0 < count <= MAX_COLUMNS:
                raise MalformedPacket("Malformed packet: not a number of columns")
            self._remaining = count
            self.result_sets += 1
            return _DEFINITIONS
        if state == _DEFINITIONS_END:
            if first != _EOF:
                raise MalformedPacket("Malformed packet: no EOF behind the column definitions")
            self._eof(data, start, end)
            # With a cursor there are no rows yet. Where none was asked for the flag says nothing: a cursor
            # inside a stored function or procedure sets it, too, and the rows follow (seen on both kinds of
            # server). In a procedure's results MORE_RESULTS_EXISTS always stands beside it.
            flags = self.status & (STATUS_CURSOR_EXISTS | STATUS_MORE_RESULTS_EXISTS)
            if self._form == CURSOR and flags == STATUS_CURSOR_EXISTS:
                return _DONE
            # MySQL says in the first EOF only that a result follows the one of the OUT parameters.
            out = STATUS_PS_OUT_PARAMS | STATUS_MORE_RESULTS_EXISTS
            self._out_parameters = self.status & out == out
            return self._after_definitions()
        if state in (_ROWS, _FIELDS):
            if first != _EOF:
                raise MalformedPacket("Malformed packet: an empty row")
            if self._deprecate_eof:
                self._ok(data, start, end)
            else:
                self._eof(data, start, end)
            more = self._out_parameters or self.status & STATUS_MORE_RESULTS_EXISTS != 0
            self._out_parameters = False
            return _FIRST if more and self._form in (QUERY, CURSOR) else _DONE
        if state == _PREPARED:
            return self._prepared(data, start, end)
        if state == _ONE:
            if first == _EOF and end - start == _EOF_SIZE:
                self._eof(data, start, end)
            elif first in (0, _EOF):
                self._ok(data, start, end)
            else:
                raise MalformedPacket("Malformed packet: neither OK nor EOF nor ERR")
            return _DONE
        if state == _STRING:
            return _DONE
        raise MalformedPacket("Malformed packet: not a column definition")

    def _after_definitions(self) -> i64:
        if self._form != PREPARE:
            return _ROWS
        if self._then > 0:
            self._remaining, self._then = self._then, 0
            return _DEFINITIONS
        return _DONE

    def _ok(self, data: bytes, start: i64, end: i64) -> None:
        """page_protocol_basic_ok_packet.html"""
        size = end - start
        if size < _OK_SIZE:
            raise MalformedPacket("Malformed packet: an OK is cut off")
        if self._track:
            self.oks.append((start - HEADER, end, self._sequence))
        affected: i64 = data[start + 1]
        inserted: i64 = data[start + 2]
        if size == _OK_SIZE and affected < _NULL and inserted < _NULL:
            self.affected_rows = affected
            self.last_insert_id = inserted
            if self.marks:
                self.statuses.append(start + 3)
            self.status = data[start + 3] | data[start + 4] << 8
            self.warnings = data[start + 5] | data[start + 6] << 8
            if self._track and self.status & STATUS_SESSION_STATE_CHANGED:
                raise MalformedPacket("Malformed packet: an OK without the session state it announces")
        else:
            self._long_ok(data[start:end], start)

    def _long_ok(self, payload: bytes, start: i64) -> None:
        self.affected_rows, position = read_lenenc(payload, 1)
        self.last_insert_id, position = read_lenenc(payload, position)
        if position + 4 > len(payload):
            raise MalformedPacket("Malformed packet: an OK is cut off")
        if self.marks:
            self.statuses.append(start + position)
        self.status = payload[position] | payload[position + 1] << 8
        self.warnings = payload[position + 2] | payload[position + 3] << 8
        position += 4
        if not self._track or not self.status & STATUS_SESSION_STATE_CHANGED:
            return
        self.state_changed = True
        position = read_lenenc_bytes(payload, position)[1]  # info
        if self._blocks is None:
            self._blocks = bytearray()
        self._blocks += read_lenenc_bytes(payload, position)[0]
        if len(self._blocks) > MAX_SESSION_STATE:
            raise MalformedPacket("Malformed packet: too much session state in one response")

    def _eof(self, data: bytes, start: i64, end: i64) -> None:
        """page_protocol_basic_eof_packet.html"""
        if end - start != _EOF_SIZE:
            raise MalformedPacket("Malformed packet: an EOF of the wrong size")
        if self.marks:
            self.statuses.append(start + 3)
        self.warnings = data[start + 1] | data[start + 2] << 8
        self.status = data[start + 3] | data[start + 4] << 8
        if self._track and self.status & STATUS_SESSION_STATE_CHANGED:
            self.state_changed = True
            self.oks.append((start - HEADER, end, self._sequence))

    def _error(self, payload: bytes, state: i64) -> i64:
        """page_protocol_basic_err_packet.html; progress: https://mariadb.com/kb/en/err_packet/"""
        if len(payload) < 3:
            raise MalformedPacket("Malformed packet: an ERR is cut off")
        number = payload[1] | payload[2] << 8
        marked = payload[3:4] == b"#"
        if number == _PROGRESS and self._progress and not marked:
            return state
        if number == 0 or (marked and len(payload) < 9):
            raise MalformedPacket("Malformed packet: an ERR without a number or with half an SQLSTATE")
        self.errno = number
        self.sqlstate = payload[4:9].decode("latin-1") if marked else "HY000"
        self.message = payload[9 if marked else 3 :][:MAX_MESSAGE]
        return _DONE

    def _prepared(self, data: bytes, start: i64, end: i64) -> i64:
        """page_protocol_com_stmt_prepare.html#sect_protocol_com_stmt_prepare_response"""
        if end - start < _PREPARE_OK_SIZE or data[start] != 0:
            raise MalformedPacket("Malformed packet: a COM_STMT_PREPARE_OK expected")
        self.statement_id = int.from_bytes(data[start + 1 : start + 5], "little")
        self.columns = data[start + 5] | data[start + 6] << 8
        self.parameters = data[start + 7] | data[start + 8] << 8
        self.warnings = data[start + 10] | data[start + 11] << 8
        self.prepare_ok = (start - HEADER, end)
        self._remaining = self.parameters
        self._then = self.columns
        return _DEFINITIONS if self._remaining > 0 else self._after_definitions()
