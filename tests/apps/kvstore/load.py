"""The load on the store: clients that write, read again over another connection, and remember what must be there."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mysqlproxy.demo.local import LocalCluster
from tests.apps.kvstore.client import Client, StoreError

SIZES = (0, 1, 20, 20, 20, 200, 200, 5_000, 100_000)  # bytes of values
ALPHABET = "ab 'é\"\\\0%\n☺𝄞"


@dataclass
class Figures:
    """What the clients noticed: requests, answers that said ERROR, reads that showed less than was written before,
    and the seconds of the slowest request."""

    requests: int = 0
    errors: int = 0
    stale: int = 0
    longest: float = 0.0


class Load:
    """Some clients at once, from ``with`` to its end.

    Attributes:
        known: what must be there, None for what must not, by key.
        doubtful: what may be there of keys whose last write was answered with ERROR.
    """

    def __init__(self, port: int, clients: int) -> None:
        self._port = port
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._figures = Figures()
        self._faults: list[BaseException] = []
        self.known: dict[str, bytes | None] = {}
        self.doubtful: dict[str, tuple[bytes | None, bytes | None]] = {}
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def take(self) -> Figures:
        """What was noticed since the last time; the error of a client that broke."""
        with self._lock:
            if self._faults:
                raise self._faults[0]
            taken, self._figures = self._figures, Figures()
        return taken

    def lost(self, cluster: LocalCluster) -> list[str]:
        """After the end: what some server does not have as the store has confirmed it."""
        cluster.wait_in_sync(60)
        faults = []
        for server in cluster.servers:
            there = {row["name"]: row["value"] for row in server.query("SELECT name, value FROM app.records")}
            faults += [
                f"{server.name}: {key!r} is wrong"
                for key, value in self.known.items()
                if there.get(key) != value
            ]
            faults += [
                f"{server.name}: {key!r} is wrong"
                for key, values in self.doubtful.items()
                if there.get(key) not in values
            ]
        return faults

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        try:
            with Client("127.0.0.1", self._port) as writer, Client("127.0.0.1", self._port) as reader:
                for turn in itertools.count():
                    if self._ended.is_set():
                        return
                    text = "".join(chance.choices(ALPHABET, k=chance.randrange(30)))
                    self._round(writer, reader, f"{number}.{turn % 50} {text}", chance)
        except BaseException as error:
            self._faults.append(error)
            raise

    def _round(self, writer: Client, reader: Client, key: str, chance: random.Random) -> None:
        for value in (chance.randbytes(chance.choice(SIZES)), chance.randbytes(20), None):
            before = self.known.pop(key, None)
            done = self._timed(partial(self._write, writer, key, value))
            if not done:
                self.doubtful[key] = (before, value)
                return
            self.known[key] = value
            self._timed(partial(self._look, reader, key, value))
            if value is not None and chance.random() < 0.5:
                return

    def _write(self, writer: Client, key: str, value: bytes | None) -> None:
        if value is None:
            writer.delete(key)
        else:
            writer.put(key, value)

    def _look(self, reader: Client, key: str, expected: bytes | None) -> None:
        found = reader.get(key)
        with self._lock:
            self._figures.stale += found != expected

    def _timed(self, work: Callable[[], None]) -> bool:
        begun = time.monotonic()
        try:
            work()
            done = True
        except StoreError:
            done = False
        with self._lock:
            self._figures.requests += 1
            self._figures.errors += not done
            self._figures.longest = max(self._figures.longest, time.monotonic() - begun)
        return done
