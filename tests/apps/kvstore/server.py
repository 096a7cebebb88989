"""The store's server: ``python -m tests.apps.kvstore.server HOST:PORT``, its database in DB_HOST and so on.

SIGTERM ends it. Whoever says something that is not of the protocol is told so and closed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.apps.database import LOST, Database
from tests.apps.kvstore.protocol import MAX_LINE, REQUESTS, ProtocolError, message, parse_line
from tests.apps.kvstore.storage import Storage

IDLE_SECONDS = 600.0
REQUEST_SECONDS = 30.0  # for the bytes that a line has announced, and for a client to take its answer
MAX_CLIENTS = 200
THREADS = 8  # each with a connection to the database
log = logging.getLogger("kvstore")


class Server:
    """Clients on one side, the storage on the other."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._threads = ThreadPoolExecutor(THREADS, "database")
        self._clients = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until it leaves."""
        self._clients += 1
        try:
            if self._clients > MAX_CLIENTS:
                raise ProtocolError(f"more than {MAX_CLIENTS} clients")
            while await self._request(reader, writer):
                pass
        except ProtocolError as error:
            writer.write(message("ERROR", str(error).encode()))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # it has left, or says nothing any more
        finally:
            self._clients -= 1
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        async with asyncio.timeout(IDLE_SECONDS):
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.LimitOverrunError:
                raise ProtocolError("too long a line") from None
            except asyncio.IncompleteReadError:
                return False
        word, lengths = parse_line(line)
        if word not in REQUESTS:
            raise ProtocolError(f"{word} is no request")
        async with asyncio.timeout(REQUEST_SECONDS):
            parts = [await reader.readexactly(length) for length in lengths]
        writer.write(await self._answer(word, parts))
        async with asyncio.timeout(REQUEST_SECONDS):
            await writer.drain()
        return True

    async def _answer(self, word: str, parts: list[bytes]) -> bytes:
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, partial(self._do, word, *parts)
            )
        except UnicodeDecodeError:
            return message("ERROR", b"the key is no UTF-8")
        except LOST as error:
            log.warning("the database: %s", error)
            return message("ERROR", b"the database did not answer")

    def _do(self, word: str, key: bytes, value: bytes = b"") -> bytes:
        name = key.decode()
        match word:
            case "GET":
                found = self._storage.get(name)
                return message("NONE") if found is None else message("OK", found)
            case "PUT":
                self._storage.put(name, value)
                return message("OK", b"")
            case _:
                return message("OK", b"") if self._storage.delete(name) else message("NONE")


async def run(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = await asyncio.start_server(
        Server(Storage(Database(os.environ))).serve, host, port, limit=MAX_LINE
    )
    await ended.wait()
    server.close()


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    address, _, number = sys.argv[1].rpartition(":")
    asyncio.run(run(address, int(number)))
