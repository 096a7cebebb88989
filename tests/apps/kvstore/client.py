"""The store's client: a class for programs, and ``python -m tests.apps.kvstore.client HOST:PORT get|put|delete KEY``.

``put`` reads the value from standard input, ``get`` writes it to standard output.
"""

from __future__ import annotations

import argparse
import socket
import sys
from types import TracebackType

from tests.apps.kvstore.protocol import MAX_LINE, ProtocolError, message, parse_line

TIMEOUT = 60.0  # seconds; longer than anything that the server waits for


class StoreError(Exception):
    """The server could not do it, in its own words; a write may have been done."""


class Client:
    """One connection. Keys are strings, values bytes.

    Raises:
        StoreError: from every method.
        OSError: the server cannot be reached, or not any more.
    """

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), TIMEOUT)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def get(self, key: str) -> bytes | None:
        """The value, or None."""
        return self._ask("GET", key.encode())

    def put(self, key: str, value: bytes) -> None:
        self._ask("PUT", key.encode(), value)

    def delete(self, key: str) -> bool:
        """Whether it was there."""
        return self._ask("DELETE", key.encode()) is not None

    def _ask(self, word: str, *parts: bytes) -> bytes | None:
        self._socket.sendall(message(word, *parts))
        answer, lengths = parse_line(self._file.readline(MAX_LINE))
        data = self._file.read(lengths[0]) if lengths else b""
        if len(data) != sum(lengths):
            raise ProtocolError("the answer ends too early")
        if answer == "ERROR":
            raise StoreError(data.decode("utf-8", "replace"))
        return data if answer == "OK" else None


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.apps.kvstore.client")
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("command", choices=("get", "put", "delete"))
    parser.add_argument("key")
    chosen = parser.parse_args(arguments)
    host, _, port = chosen.address.rpartition(":")
    with Client(host, int(port)) as client:
        if chosen.command == "put":
            client.put(chosen.key, sys.stdin.buffer.read())
            return 0
        if chosen.command == "delete":
            return int(not client.delete(chosen.key))
        value = client.get(chosen.key)
        sys.stdout.buffer.write(value or b"")
        return int(value is None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
