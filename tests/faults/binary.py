"""Prepared statements and cursors of the binary protocol over a PyMySQL connection, one INT column at most."""

from __future__ import annotations

import struct
from typing import Any

import pymysql

from mysqlproxy.protocol.commands import Command

_CURSOR_READ_ONLY = 1
_LAST_ROW_SENT = 0x80


class Binary:
    """One client's binary protocol.

    https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase_ps.html
    """

    def __init__(self, connection: pymysql.Connection[Any]) -> None:
        self.connection: Any = connection

    def prepare(self, sql: str) -> int:
        """The statement's id."""
        self.connection._execute_command(Command.STMT_PREPARE, sql)
        data = self.connection._read_packet().get_all_data()
        statement, columns, parameters = struct.unpack_from("<IHH", data, 1)
        for count in (parameters, columns):
            for _ in range(count + 1 if count else 0):
                self.connection._read_packet()
        return int(statement)

    def execute(self, statement: int, *values: int, cursor: bool = False) -> list[int]:
        """Run it with these integers; the rows, none when a cursor is asked for (``fetch`` has them)."""
        packet = struct.pack("<IBI", statement, _CURSOR_READ_ONLY if cursor else 0, 1)
        if values:
            packet += b"\0\1" + b"\3\0" * len(values) + struct.pack(f"<{len(values)}i", *values)
        self.connection._execute_command(Command.STMT_EXECUTE, packet)
        first = self.connection._read_packet()
        if first.is_ok_packet():
            return []
        for _ in range(first.get_all_data()[0] + 1):
            self.connection._read_packet()  # definitions and EOF
        return [] if cursor else self._rows()[0]

    def fetch(self, statement: int, count: int) -> tuple[list[int], bool]:
        """The next rows of a cursor, and whether there are more."""
        self.connection._execute_command(Command.STMT_FETCH, struct.pack("<II", statement, count))
        rows, status = self._rows()
        return rows, not status & _LAST_ROW_SENT

    def _rows(self) -> tuple[list[int], int]:
        rows = []
        while not (packet := self.connection._read_packet()).is_eof_packet():
            rows.append(int.from_bytes(packet.get_all_data()[2:6], "little"))
        return rows, int.from_bytes(packet.get_all_data()[3:5], "little")
