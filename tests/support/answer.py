"""What a server or the daemon answered, packet by packet. Filled by ``tests.support.raw``."""

from __future__ import annotations

from dataclasses import dataclass, field

from mysqlproxy.protocol.codec import read_lenenc_bytes
from mysqlproxy.protocol.packets import Err, Ok, parse_err, parse_ok


class ServerError(Exception):
    """An ERR where none was expected."""

    def __init__(self, err: Err) -> None:
        super().__init__(f"{err.errno} ({err.sqlstate}): {err.message}")
        self.err = err


@dataclass
class Answer:
    """One command's whole answer.

    Attributes:
        packets: (sequence id of the first frame, payload), in order.
        rows: the payloads of all rows.
        status: of the last OK or EOF.
    """

    capabilities: int
    packets: list[tuple[int, bytes]] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)
    status: int = 0

    @property
    def last(self) -> bytes:
        return self.packets[-1][1]

    @property
    def err(self) -> Err | None:
        return parse_err(self.last, self.capabilities) if self.last[:1] == b"\xff" else None

    @property
    def ok(self) -> Ok:
        """The last packet as OK; ServerError when it is an ERR."""
        self.check()
        return parse_ok(self.last, self.capabilities)

    def check(self) -> Answer:
        """The answer itself; ServerError when it ends in an ERR."""
        if (err := self.err) is not None:
            raise ServerError(err)
        return self

    def texts(self) -> list[list[bytes | None]]:
        """The rows of the text protocol."""
        self.check()
        return [_text_row(row) for row in self.rows]

    @property
    def value(self) -> bytes | None:
        """The first column of the first row of the text protocol."""
        return self.texts()[0][0]


def _text_row(payload: bytes) -> list[bytes | None]:
    values: list[bytes | None] = []
    position = 0
    while position < len(payload):
        if payload[position] == 0xFB:
            values.append(None)
            position += 1
        else:
            value, position = read_lenenc_bytes(payload, position)
            values.append(value)
    return values


@dataclass
class Prepared:
    """The answer to COM_STMT_PREPARE. ``id`` is 0 after an ERR."""

    answer: Answer
    id: int = 0
    columns: int = 0
    parameters: int = 0
