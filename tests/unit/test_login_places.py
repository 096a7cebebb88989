"""What logins cost is bounded: those that decrypt or compute, and those that fail, share a few places."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from mysqlproxy.errors import AccessDenied
from mysqlproxy.gatekeeper.login import Costly, Deny, Step
from mysqlproxy.session.login import authenticate
from mysqlproxy.session.services import COSTLY_LOGINS


class Counting:
    """How many run at once, at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.most = 0

    def run(self) -> Deny:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.01)  # what a decryption takes
        with self._lock:
            self.now -= 1
        return Deny("wrong password")


async def log_in(places: asyncio.Semaphore, step: Step) -> None:
    services: Any = SimpleNamespace(costly_logins=places, view=SimpleNamespace(mariadb=True))
    packets: Any = SimpleNamespace(client=SimpleNamespace(peer=None))
    dialogue: Any = SimpleNamespace(start=lambda *_, **__: step)
    request: Any = SimpleNamespace(user=b"app", plugin="", auth=b"x")
    with pytest.raises(AccessDenied):
        await authenticate(packets, services, dialogue, request, fresh=False)


async def test_no_more_than_a_few_compute_at_once() -> None:
    counting = Counting()
    places = asyncio.Semaphore(COSTLY_LOGINS)
    await asyncio.gather(*(log_in(places, Costly(counting.run)) for _ in range(3 * COSTLY_LOGINS)))
    assert counting.most == COSTLY_LOGINS


async def test_who_fails_waits_for_a_place_too() -> None:
    places = asyncio.Semaphore(COSTLY_LOGINS)
    for _ in range(COSTLY_LOGINS):
        await places.acquire()
    failing = asyncio.create_task(log_in(places, Deny("unknown account")))
    done, _ = await asyncio.wait([failing], timeout=0.2)
    assert not done
    places.release()
    await failing
