"""A session's prepared statements of the binary protocol: ids, parameter types, long data, cursors.

The client knows ids of ours; each server connection has its own (``ServerConnection.statements``). A statement
is prepared where it is executed, again on another server when the strategy or a fault asks for it. Pure: the
engine sends.

Manual: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase_ps.html
"""

from __future__ import annotations

from collections.abc import Iterator

from mysqlproxy.errors import ClientFault, PacketTooLarge
from mysqlproxy.protocol.commands import Command
from mysqlproxy.protocol.framing import frame
from mysqlproxy.session.state import Reading, SessionState
from mysqlproxy.sql.catalog import NO_CATALOG
from mysqlproxy.sql.hints import Hint
from mysqlproxy.sql.verdict import SqlContext, Verdict

MAX_STATEMENTS = 4096  # a session; the servers' own bound is 16382 for all connections together
LAST_PREPARED = 0xFFFFFFFF  # MariaDB: the id of "the last one prepared"
_LONG_DATA_CHUNK = 1 << 20


class Prepared:
    """One prepared statement.

    Attributes:
        id: what the client calls it.
        request: the payload of its COM_STMT_PREPARE.
        verdict: made at prepare, and anew when the catalog has changed since.
        context, catalog: what it was made by.
        schema: the default schema at prepare, or None.
        reading: what the session had set then of that by which texts are read.
        parameters: how many.
        types: the last type block an EXECUTE brought, or None.
        hint: in the comments of its text, or None.
        long_data: parameter index -> data sent ahead of the next EXECUTE.
        refused: the error the next EXECUTE gets, because its long data was too much (COM_STMT_SEND_LONG_DATA has no
            answer of its own).
    """

    __slots__ = (
        "catalog", "context", "hint", "id", "long_data", "parameters", "reading", "refused", "request", "schema",
        "types", "verdict",
    )  # fmt: skip

    def __init__(
        self, number: int, request: bytes, verdict: Verdict, schema: bytes | None, reading: Reading
    ) -> None:
        self.id = number
        self.request = request
        self.verdict = verdict
        self.schema = schema
        self.reading = reading
        self.context = SqlContext()
        self.catalog = NO_CATALOG
        self.hint: Hint | None = None
        self.parameters = 0
        self.types: bytes | None = None
        self.long_data: dict[int, bytearray] = {}
        self.refused: ClientFault | None = None

    def reset(self) -> None:
        self.long_data = {}
        self.refused = None

    def long_data_packets(self, statement_id: int) -> Iterator[bytes]:
        """The held data as COM_STMT_SEND_LONG_DATA packets for one server connection."""
        for parameter, data in self.long_data.items():
            head = (
                bytes((Command.STMT_SEND_LONG_DATA,))
                + statement_id.to_bytes(4, "little")
                + parameter.to_bytes(2, "little")
            )
            for start in range(0, max(len(data), 1), _LONG_DATA_CHUNK):
                yield frame(head + bytes(data[start : start + _LONG_DATA_CHUNK]))


class PreparedStatements:
    """All of a session, bounded in number, in the bytes of their texts, and in the long data they hold together.

    Attributes:
        mariadb: ``LAST_PREPARED`` is understood.
    """

    def __init__(self, max_bytes: int) -> None:
        self._by_id: dict[int, Prepared] = {}
        self._next = self._once = 0  # what is prepared for once counts down
        self._last: Prepared | None = None
        self._max_bytes = max_bytes
        self._text_bytes = 0
        self._long_data = 0  # bytes held, counted again when they seem too many
        self.mariadb = True

    def new(self, request: bytes, verdict: Verdict, state: SessionState) -> Prepared:
        """A statement about to be prepared; ``add`` it once a server has accepted it.

        Raises:
            ClientFault: 1461/42000, too many.
        """
        too_long = bool(self._by_id) and self._text_bytes + len(request) > self._max_bytes
        if len(self._by_id) >= MAX_STATEMENTS or too_long:
            raise ClientFault(
                "Can't create more than max_prepared_stmt_count statements "
                f"(current value: {len(self._by_id)})",
                errno=1461,
                sqlstate="42000",
            )
        self._last = None  # a PREPARE that fails leaves no last statement
        self._next = self._next % 0x7FFFFFFF + 1
        while self._next in self._by_id:
            self._next = self._next % 0x7FFFFFFF + 1
        return Prepared(self._next, request, verdict, state.schema, state.reading)

    def once(self, prepared: Prepared, request: bytes) -> Prepared:
        """Another text in the place of a statement's, for one execution, which takes the long data."""
        self._once -= 1
        found = Prepared(self._once, request, prepared.verdict, prepared.schema, prepared.reading)
        found.context, found.catalog, found.hint = prepared.context, prepared.catalog, prepared.hint
        found.parameters, found.types = prepared.parameters, prepared.types
        found.long_data = prepared.long_data
        prepared.reset()
        return found

    def add(self, prepared: Prepared) -> None:
        self._by_id[prepared.id] = prepared
        self._text_bytes += len(prepared.request)
        self._last = prepared

    def get(self, number: int, function: str) -> Prepared:
        """The statement of this id.

        Raises:
            ClientFault: 1243/HY000, there is none.
        """
        found = self._find(number)
        if found is None:
            raise ClientFault(
                f"Unknown prepared statement handler ({number}) given to {function}",
                errno=1243,
                sqlstate="HY000",
            )
        return found

    def _find(self, number: int) -> Prepared | None:
        return self._last if number == LAST_PREPARED and self.mariadb else self._by_id.get(number)

    def remove(self, number: int) -> Prepared | None:
        found = self._find(number)
        if found is not None:
            del self._by_id[found.id]
            self._text_bytes -= len(found.request)
        if found is self._last:
            self._last = None
        return found

    def add_long_data(self, number: int, parameter: int, data: bytes, function: str) -> None:
        """Hold data for the next EXECUTE. Never raises for too much or a wrong id: the command has no answer."""
        prepared = self._find(number)
        if prepared is None or prepared.refused is not None:
            return
        if parameter >= prepared.parameters:
            prepared.refused = ClientFault(f"Incorrect arguments to {function}", errno=1210)
            return
        if self._long_data + len(data) > self._max_bytes:
            self._long_data = sum(
                len(part) for other in self._by_id.values() for part in other.long_data.values()
            )
        if self._long_data + len(data) > self._max_bytes:
            prepared.reset()
            prepared.refused = PacketTooLarge(
                "Parameter of prepared statement which is set through mysql_send_long_data() is longer than "
                "'max_allowed_packet' bytes"
            )
            return
        prepared.long_data.setdefault(parameter, bytearray()).extend(data)
        self._long_data += len(data)

    def clear(self) -> None:
        self._by_id.clear()
        self._text_bytes = self._long_data = 0
        self._last = None
