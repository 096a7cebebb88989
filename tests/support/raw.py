"""A client that sends any bytes and sees every byte of the answer; its own reading of where an answer ends.

For tests that compare what the daemon sends with what a server sends. Shares with the product only the login's
packets; answers are walked anew here, packet by packet and simply, so that the product's walker is not its own judge.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.server import LocalServer
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.codec import lenenc, read_lenenc
from mysqlproxy.protocol.framing import frame
from mysqlproxy.protocol.handshake import Greeting, HandshakeResponse, parse_greeting
from mysqlproxy.protocol.packets import parse_err, parse_ok
from tests.support.answer import Answer, Prepared, ServerError
from tests.support.mysql import MysqlServer

BASE = (
    flags.LONG_FLAG
    | flags.PROTOCOL_41
    | flags.TRANSACTIONS
    | flags.SECURE_CONNECTION
    | flags.PLUGIN_AUTH
    | flags.MULTI_STATEMENTS
    | flags.MULTI_RESULTS
    | flags.PS_MULTI_RESULTS
    | flags.LOCAL_FILES
    | flags.CONNECT_WITH_DB
)
_MORE, _CURSOR = flags.STATUS_MORE_RESULTS_EXISTS, flags.STATUS_CURSOR_EXISTS
_FULL = 0xFFFFFF  # the length of a frame that another one follows
SECONDS = 8.0

INIT_DB, QUERY, FIELD_LIST, STATISTICS = 0x02, 0x03, 0x04, 0x09
PROCESS_KILL, PING, CHANGE_USER = 0x0C, 0x0E, 0x11
PREPARE, EXECUTE, LONG_DATA, CLOSE, STMT_RESET = 0x16, 0x17, 0x18, 0x19, 0x1A
SET_OPTION, FETCH, RESET_CONNECTION = 0x1B, 0x1C, 0x1F


class RawClient:
    """A connection to a server or to the daemon.

    Args:
        address: of ``socket.connect``: (host, port), or the path of a unix socket.
        capabilities: asked for, on top of ``BASE``; what is not offered is left out.
        without: taken out of ``BASE``.
        receive_buffer: bytes of SO_RCVBUF, to be a client that takes little at once; 0 for the system's.

    Raises:
        ServerError: the login is refused.
    """

    def __init__(
        self,
        address: tuple[str, int] | str,
        user: str,
        password: str,
        *,
        schema: str = "",
        capabilities: int = 0,
        without: int = 0,
        receive_buffer: int = 0,
        charset: int = 45,
    ) -> None:
        family = (
            socket.AF_UNIX
            if isinstance(address, str)
            else socket.AF_INET6
            if ":" in address[0]
            else socket.AF_INET
        )
        self.sock = socket.socket(family)
        self.sock.settimeout(SECONDS)
        self._buffer = bytearray()
        self._at = 0
        try:
            if receive_buffer:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.sock.connect(address)
            self._sequence = 0
            self.greeting: Greeting = parse_greeting(self.packet()[1])
            self.capabilities = (BASE & ~without | capabilities) & self.greeting.capabilities
            self._log_in(user, password, schema, charset)
        except BaseException:
            self.sock.close()
            raise

    def _log_in(self, user: str, password: str, schema: str, charset: int) -> None:
        greeting = self.greeting
        asked = self.capabilities
        login = HandshakeResponse(
            asked & ~flags.CONNECT_WITH_DB if not schema else asked,
            1 << 24,
            charset,
            user.encode(),
            scramble(greeting.plugin, password, greeting.nonce),
            schema.encode() or None,
            greeting.plugin,
            {},
        )
        self.send(login.build(), 1)
        while True:
            sequence, payload = self.packet()
            if payload[0] == 0xFF:
                raise ServerError(parse_err(payload, asked))
            if payload[0] == 0:
                self.login = parse_ok(payload, asked)
                return
            if payload[0] == 0xFE:
                plugin, _, nonce = payload[1:].partition(b"\0")
                self.send(scramble(plugin.decode(), password, nonce[:20]), sequence + 1)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    # --- bytes ------------------------------------------------------------------------------------------------

    def send(self, payload: bytes, sequence: int = 0) -> None:
        """One packet, in as many frames as it needs."""
        self.sock.sendall(frame(payload, sequence))

    def receive(self, size: int) -> bytes:
        """Exactly ``size`` bytes; EOFError at the end of the connection."""
        while len(self._buffer) - self._at < size:
            piece = self.sock.recv(max(1 << 16, min(size, 1 << 20)))
            if not piece:
                raise EOFError
            if self._at > 1 << 20:
                del self._buffer[: self._at]
                self._at = 0
            self._buffer += piece
        data = bytes(self._buffer[self._at : self._at + size])
        self._at += size
        if self._at == len(self._buffer):
            self._buffer.clear()
            self._at = 0
        return data

    def packet(self) -> tuple[int, bytes]:
        """The next packet: (sequence id of its first frame, payload)."""
        header = self.receive(4)
        length = int.from_bytes(header[:3], "little")
        payload = self.receive(length)
        if length < _FULL:
            return header[3], payload
        parts, sequence = [payload], header[3]
        while length == _FULL:
            header = self.receive(4)
            sequence = (sequence + 1) & 0xFF
            assert header[3] == sequence
            length = int.from_bytes(header[:3], "little")
            parts.append(self.receive(length))
        return (sequence - len(parts) + 1) & 0xFF, b"".join(parts)

    def ended(self, timeout: float = SECONDS) -> bool:
        """Whether the peer has closed; reads (and forgets) what still comes before."""
        self.sock.settimeout(timeout)
        try:
            while self.sock.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    # --- commands ---------------------------------------------------------------------------------------------

    def command(self, code: int, argument: bytes = b"") -> Answer:
        """A command that is answered by OK, EOF, ERR or a string: one packet."""
        self.send(bytes((code,)) + argument)
        return self.read_one()

    def read_one(self) -> Answer:
        answer = Answer(self.capabilities)
        answer.packets.append(self.packet())
        return answer

    def query(self, sql: str | bytes, file: Callable[[bytes], list[bytes]] | None = None) -> Answer:
        """COM_QUERY; ``file`` gives the packets of a file by its name."""
        self.send(self.query_payload(sql))
        return self.read_results(file)

    def query_payload(self, sql: str | bytes) -> bytes:
        attributes = b"\0\x01" if self.capabilities & flags.QUERY_ATTRIBUTES else b""
        return bytes((QUERY,)) + attributes + (sql.encode() if isinstance(sql, str) else sql)

    def read_results(self, file: Callable[[bytes], list[bytes]] | None = None) -> Answer:
        """The answer to COM_QUERY or COM_STMT_EXECUTE, all result sets of it."""
        answer = Answer(self.capabilities)
        more = True
        while more:
            payload = self._take(answer)
            if payload[0] == 0xFF:
                return answer
            if payload[0] == 0:
                answer.status = parse_ok(payload, self.capabilities).status
            elif payload[0] == 0xFB:
                assert file is not None, "a file is asked for"
                sequence = answer.packets[-1][0]
                for content in [*file(payload[1:]), b""]:
                    sequence += 1
                    self.send(content, sequence & 0xFF)
                    sequence += len(content) // _FULL
                continue
            elif not self._read_result_set(answer, read_lenenc(payload, 0)[0]):
                return answer
            more = bool(answer.status & _MORE)
        return answer

    def _take(self, answer: Answer) -> bytes:
        answer.packets.append(self.packet())
        return answer.packets[-1][1]

    def _read_result_set(self, answer: Answer, columns: int) -> bool:
        """False when an ERR ended it."""
        for _ in range(columns):
            self._take(answer)
        if not self.capabilities & flags.DEPRECATE_EOF:
            payload = self._take(answer)
            if payload[0] == 0xFF:
                return False
            answer.status = int.from_bytes(payload[3:5], "little")
            if answer.status & _CURSOR:
                return True
        return self.read_rows(answer)

    def read_rows(self, answer: Answer) -> bool:
        limit = _FULL if self.capabilities & flags.DEPRECATE_EOF else 9
        while True:
            payload = self._take(answer)
            if payload[:1] == b"\xff":
                return False
            if payload[:1] == b"\xfe" and len(payload) < limit:
                deprecated = self.capabilities & flags.DEPRECATE_EOF
                answer.status = (
                    parse_ok(payload, self.capabilities).status
                    if deprecated
                    else int.from_bytes(payload[3:5], "little")
                )
                return True
            answer.rows.append(payload)

    def field_list(self, table: bytes) -> Answer:
        self.send(bytes((FIELD_LIST,)) + table)
        answer = Answer(self.capabilities)
        self.read_rows(answer)
        return answer

    # --- prepared statements ----------------------------------------------------------------------------------

    def prepare(self, sql: str) -> Prepared:
        self.send(bytes((PREPARE,)) + sql.encode())
        answer = Answer(self.capabilities)
        first = self._take(answer)
        if first[0] == 0xFF:
            return Prepared(answer)
        columns, parameters = (int.from_bytes(first[at : at + 2], "little") for at in (5, 7))
        for count in (parameters, columns):
            for _ in range(count):
                self._take(answer)
            if count and not self.capabilities & flags.DEPRECATE_EOF:
                self._take(answer)
        return Prepared(answer, int.from_bytes(first[1:5], "little"), columns, parameters)

    def execute(
        self,
        number: int,
        values: list[bytes | None] | None = None,
        *,
        types: bool = True,
        cursor: bool = False,
    ) -> Answer:
        """COM_STMT_EXECUTE with strings and NULLs; ``types=False`` leaves the parameters' types out."""
        self.send(self.execute_payload(number, values, types=types, cursor=cursor))
        return self.read_results()

    def execute_payload(
        self,
        number: int,
        values: list[bytes | None] | None = None,
        *,
        types: bool = True,
        cursor: bool = False,
    ) -> bytes:
        named = bool(self.capabilities & flags.QUERY_ATTRIBUTES)
        payload = bytes((EXECUTE,)) + number.to_bytes(4, "little") + bytes((int(cursor),)) + b"\1\0\0\0"
        if not values:
            return payload
        nulls = bytearray((len(values) + 7) // 8)
        for index, value in enumerate(values):
            if value is None:
                nulls[index >> 3] |= 1 << (index & 7)
        payload += (lenenc(len(values)) if named else b"") + bytes(nulls) + bytes((int(types),))
        if types:
            payload += (b"\xfd\0" + (b"\0" if named else b"")) * len(values)
        return payload + b"".join(lenenc(len(value)) + value for value in values if value is not None)

    def fetch(self, number: int, rows: int) -> Answer:
        self.send(bytes((FETCH,)) + number.to_bytes(4, "little") + rows.to_bytes(4, "little"))
        answer = Answer(self.capabilities)
        self.read_rows(answer)
        return answer

    def long_data(self, number: int, parameter: int, data: bytes) -> None:
        self.send(bytes((LONG_DATA,)) + number.to_bytes(4, "little") + parameter.to_bytes(2, "little") + data)

    def close_statement(self, number: int) -> None:
        self.send(bytes((CLOSE,)) + number.to_bytes(4, "little"))

    def reset_statement(self, number: int) -> Answer:
        return self.command(STMT_RESET, number.to_bytes(4, "little"))

    def change_user(self, user: str, password: str, schema: str = "", charset: int = 45) -> Answer:
        """COM_CHANGE_USER with the method of the greeting."""
        plugin = self.greeting.plugin
        proof = scramble(plugin, password, self.greeting.nonce)
        self.send(
            bytes((CHANGE_USER,))
            + user.encode()
            + b"\0"
            + bytes((len(proof),))
            + proof
            + schema.encode()
            + b"\0"
            + charset.to_bytes(2, "little")
            + plugin.encode()
            + b"\0"
        )
        while True:
            answer = self.read_one()
            sequence, payload = answer.packets[0]
            if payload[0] == 0xFE:
                method, _, nonce = payload[1:].partition(b"\0")
                self.send(scramble(method.decode(), password, nonce[:20]), sequence + 1)
            elif payload[0] != 1:
                return answer


def scramble(plugin: str, password: str, nonce: bytes) -> bytes:
    """The proof of a password; empty for methods that are not known here (the server switches)."""
    secret = password.encode()
    if not secret:
        return b""
    if plugin == "mysql_native_password":
        once = hashlib.sha1(secret).digest()
        mask = hashlib.sha1(nonce + hashlib.sha1(once).digest()).digest()
    elif plugin == "caching_sha2_password":
        once = hashlib.sha256(secret).digest()
        mask = hashlib.sha256(hashlib.sha256(once).digest() + nonce).digest()
    else:
        return b""
    return bytes(a ^ b for a, b in zip(once, mask, strict=True))


def proxied(daemon: Daemon, user: str = "app", **options: Any) -> RawClient:
    """A client of a daemon, with the password of the daemon's configuration."""
    passwords = {account["name"]: account["password"] for account in daemon.config["users"]}
    return RawClient(("127.0.0.1", daemon.port), user, passwords[user], **options)


def direct(server: LocalServer | MysqlServer, password: str, user: str = "app", **options: Any) -> RawClient:
    """A client of a server."""
    return RawClient(("127.0.0.1", server.port), user, password, **options)
