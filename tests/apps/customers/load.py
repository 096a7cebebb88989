"""The load on the customers API, from outside: what it was told it had done, and what it then finds.

Every client writes, and reads what it wrote over another HTTP connection, which mostly another process answers. A
read that shows less than the client was told before is stale; a write that the API confirmed and that the servers do
not have is lost.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mysqlproxy.demo.local import LocalCluster
from tests.apps.customers.api import FIELDS

Customer = tuple[str, str, str | None]
TIMEOUT = 60.0  # seconds; longer than anything that the API waits for


@dataclass
class Figures:
    """What the clients noticed.

    Attributes:
        requests, errors: all, and those that were answered 503 or not at all.
        reads, elsewhere: of what had just been written; those that another process answered than the write.
        stale: of these reads, how many did not show it.
        longest: seconds that the slowest request took.
        wrong: answers that are neither an error nor what the API should say.
    """

    requests: int = 0
    errors: int = 0
    reads: int = 0
    elsewhere: int = 0
    stale: int = 0
    longest: float = 0.0
    wrong: Counter[str] = field(default_factory=Counter)

    def add(self, other: Figures) -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.reads += other.reads
        self.elsewhere += other.elsewhere
        self.stale += other.stale
        self.longest = max(self.longest, other.longest)
        self.wrong += other.wrong


class Client(threading.Thread):
    """One client with customers of its own, until ``stop`` is set.

    Attributes:
        known: the customers that must be there, by id.
        doubtful: by email, what may be there of customers whose last write was answered with an error; None for
        nothing. They are not touched any more: such a write may still be done later.
    """

    def __init__(self, port: int, name: str, stop: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._port = port
        self._ended = stop
        self._lock = threading.Lock()
        self._figures = Figures()
        self._process = ""
        self.known: dict[int, Customer] = {}
        self.doubtful: dict[str, set[Customer | None]] = {}
        self.fault: BaseException | None = None

    def take(self) -> Figures:
        """What was noticed since the last time."""
        with self._lock:
            taken, self._figures = self._figures, Figures()
        return taken

    def run(self) -> None:
        try:
            for number in itertools.count():
                if self._ended.is_set():
                    return
                self._round(number)
        except BaseException as error:
            self.fault = error
            raise

    def _round(self, number: int) -> None:
        customer: Customer = (f"{self.name} ☺ {number}", f"{self.name}.{number}@example.org", None)
        status, body = self._call("POST", "/create", customer)
        if status != 201:
            self._doubt(status, customer, None)
            return
        identity = int(body["id"])
        self.known[identity] = customer
        self._look(identity, customer)
        changed: Customer = (customer[0], customer[1], f"+49 {number:05d}")
        status, _ = self._call("PUT", f"/update/{identity}", changed)
        if status != 200:
            del self.known[identity]
            self._doubt(status, changed, customer)
            return
        self.known[identity] = changed
        self._look(identity, changed)
        if number % 4 == 1:
            status, _ = self._call("POST", "/create", changed)
            self._expect("a duplicate", status, 409)
        if number % 4 == 2:
            del self.known[identity]
            status, _ = self._call("DELETE", f"/delete/{identity}")
            if status == 204:
                self._look(identity, None)
            else:
                self._doubt(status, changed, None)

    def _look(self, identity: int, expected: Customer | None) -> None:
        """Read what was just written."""
        writer = self._process
        status, body = self._call("GET", f"/read/{identity}")
        if status in (200, 404):
            found = tuple(body[name] for name in FIELDS) if status == 200 else None
            with self._lock:
                self._figures.reads += 1
                self._figures.elsewhere += self._process != writer
                self._figures.stale += found != expected
        else:
            self._expect("a read", status, 200)

    def _doubt(self, status: int, *states: Customer | None) -> None:
        (email,) = {state[1] for state in states if state}
        self.doubtful[email] = set(states)
        self._expect("a write", status, 201)

    def _expect(self, what: str, status: int, expected: int) -> None:
        if status not in (expected, 503, 0):
            with self._lock:
                self._figures.wrong[f"{what} was answered {status}"] += 1

    def _call(self, method: str, path: str, customer: Customer | None = None) -> tuple[int, dict[str, Any]]:
        """Status and body over a connection of its own; 0 when there was no answer."""
        body = None if customer is None else json.dumps(dict(zip(FIELDS, customer, strict=True)))
        headers = {"Content-Type": "application/json"} if body else {}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
        begun = time.monotonic()
        try:
            connection.request(method, path, body, headers | {"Connection": "close"})
            response = connection.getresponse()
            status, text = response.status, response.read()
            self._process = response.headers.get("X-Process", "")
        except (OSError, http.client.HTTPException):
            status, text = 0, b""
        finally:
            connection.close()
        with self._lock:
            self._figures.requests += 1
            self._figures.errors += status in (0, 503)
            self._figures.longest = max(self._figures.longest, time.monotonic() - begun)
        return status, json.loads(text) if text else {}


class Load:
    """Several clients at once."""

    def __init__(self, port: int, clients: int, name: str) -> None:
        self._stop = threading.Event()
        self._clients = [Client(port, f"{name}.{number}", self._stop) for number in range(clients)]

    def start(self) -> None:
        for client in self._clients:
            client.start()

    def stop(self) -> None:
        self._stop.set()
        for client in self._clients:
            client.join()

    def take(self) -> Figures:
        """What all clients noticed since the last time; the error of a client that broke."""
        total = Figures()
        for client in self._clients:
            if client.fault is not None:
                raise client.fault
            total.add(client.take())
        return total

    def lost(self, cluster: LocalCluster) -> list[str]:
        """After ``stop``: what some server does not have as the API has confirmed it."""
        cluster.wait_in_sync(60)
        faults = []
        for server in cluster.servers:
            rows = server.query(f"SELECT id, {', '.join(FIELDS)} FROM app.customers")
            there = {int(row["id"]): tuple(row[name] for name in FIELDS) for row in rows}
            for client in self._clients:
                faults += [f"{server.name}: {fault}" for fault in _differences(client, there)]
        return faults


def _differences(client: Client, there: dict[int, tuple[Any, ...]]) -> Iterator[str]:
    own = {number: row for number, row in there.items() if row[0].startswith(f"{client.name} ")}
    for number, customer in client.known.items():
        if own.get(number) != customer:
            yield f"customer {number} is {own.get(number)} and not {customer}"
    for number, row in own.items():
        if number not in client.known and row not in client.doubtful.get(row[1], ()):
            yield f"customer {number} is {row} and should not be there"
    emails = {row[1] for row in own.values()}
    for email, states in client.doubtful.items():
        if None not in states and email not in emails:
            yield f"the customer with {email} is gone"


@contextmanager
def load(port: int, clients: int, name: str) -> Iterator[Load]:
    """Clients that run until the end of the block."""
    made = Load(port, clients, name)
    made.start()
    try:
        yield made
    finally:
        made.stop()
