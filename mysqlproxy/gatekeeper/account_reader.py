"""Reads the servers' accounts from one of them again and again. Made and run by the composition root.

Asks as the monitor's account, which needs SELECT on mysql.user (MySQL) or mysql.global_priv (MariaDB). While it
cannot, the accounts that were read last stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import NamedTuple

from mysqlproxy.cluster.probe import describe
from mysqlproxy.cluster.pymysql_adapter import LimitedConnection
from mysqlproxy.config.schema import Server
from mysqlproxy.gatekeeper.server_accounts import (
    QUESTION_MARIADB,
    QUESTION_MYSQL,
    ServerAccount,
    of_mariadb,
    of_mysql,
)

DEADLINE = 5.0  # seconds for one reading
MOST = 64 * 1024 * 1024  # bytes of one answer: some 100,000 accounts

log = logging.getLogger("mysqlproxy.login")


class Place(NamedTuple):
    """Whom to ask, as whom."""

    server: Server
    mariadb: bool
    user: str
    password: str


class AccountReader:
    """All methods are for the event loop.

    Args:
        interval: seconds between two readings.
        on_read: called with the accounts whenever they are others than before, and with None when they could not
            be read for the first time.
    """

    def __init__(self, interval: float, on_read: Callable[[tuple[ServerAccount, ...] | None], None]) -> None:
        self.interval = interval
        self._on_read = on_read
        self._place: Place | None = None
        self._moved = asyncio.Event()
        self._connection: LimitedConnection | None = None
        self._connected: Place | None = None
        self._last: tuple[ServerAccount, ...] | None = None
        self._fault = ""

    def follow(self, place: Place | None) -> None:
        """Ask this server from now on; with None nobody."""
        if place != self._place:
            self._place = place
            self._moved.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                self._moved.clear()
                if self._place is not None:
                    await self._look(self._place)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.interval):
                        await self._moved.wait()
        finally:
            if self._connection is not None:
                self._connection.abort()

    async def _look(self, place: Place) -> None:
        try:
            rows = await asyncio.to_thread(self._read, place)
        except Exception as error:  # whatever a broken server makes PyMySQL stumble over
            self._connection = None
            if describe(error) != self._fault:
                self._fault = describe(error)
                log.warning("the accounts of %s could not be read: %s", place.server.name, self._fault)
            if self._last is None:
                self._on_read(None)
            return
        self._fault = ""
        if rows != self._last:
            self._last = rows
            self._on_read(rows)

    def _read(self, place: Place) -> tuple[ServerAccount, ...]:
        """In a thread."""
        if self._connection is None or self._connected != place:
            if self._connection is not None:
                self._connection.close()
            self._connection = LimitedConnection(place.server, place.user, place.password, DEADLINE)
            self._connection.login()
            self._connected = place
        self._connection.begin(DEADLINE, MOST)
        if not place.mariadb:
            return tuple(map(of_mysql, self._connection.rows(QUESTION_MYSQL)))
        found = map(of_mariadb, self._connection.rows(QUESTION_MARIADB))
        return tuple(account for account in found if account is not None)
