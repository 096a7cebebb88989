"""Addresses whose logins fail again and again: slowed, then refused for a while. Called by the session's login.

An IPv6 address counts with its /64, which is what one customer has. Bounded in memory: of more addresses than
``MAX_ADDRESSES`` those that failed longest ago are forgotten. Unix sockets are not counted.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from mysqlproxy.config.schema import Limits
from mysqlproxy.errors import PolicyDenied
from mysqlproxy.gatekeeper.accounts import Address

MAX_ADDRESSES = 10_000
_FIRST_PAUSE = 0.05  # seconds; each further failure doubles it
_LAST_PAUSE = 2.0
_SLOW_AFTER = 10  # this part of max_login_failures, people mistype

Place = IPv4Address | int


def place_of(peer: Address) -> Place:
    """What counts as one place: an IPv4 address, or the /64 of an IPv6 one."""
    if isinstance(peer, IPv6Address):
        return peer.ipv4_mapped or int(peer) >> 64
    return peer


@dataclass(slots=True)
class _Record:
    count: int = 0
    forgotten_at: float = 0.0
    next_turn: float = 0.0


class Failures:
    """The count of failed logins by address. Times are loop times in seconds."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._records: OrderedDict[Place, _Record] = OrderedDict()

    def note(self, peer: Address | None, now: float) -> None:
        """A login from there has failed."""
        if peer is None or not self.limits.max_login_failures:
            return
        place = place_of(peer)
        record = self._records.pop(place, None)
        if record is None or record.forgotten_at <= now:
            record = _Record()
        record.count += 1
        record.forgotten_at = now + self.limits.login_failure_window
        self._records[place] = record
        if len(self._records) > MAX_ADDRESSES:
            self._records.popitem(last=False)

    def wait(self, peer: Address | None, now: float) -> float:
        """How many seconds a login from there has to wait. Who has to wait takes turns.

        Raises:
            PolicyDenied: 1129/HY000 (ER_HOST_IS_BLOCKED), too many have failed.
        """
        record = self._record(peer, now)
        if record is None:
            return 0.0
        most = self.limits.max_login_failures
        turn = max(now, record.next_turn)
        if record.count >= most or turn - now >= self.limits.login_timeout:
            raise _blocked(peer)
        extra = record.count - most // _SLOW_AFTER
        if extra <= 0:
            return 0.0
        record.next_turn = turn + min(_LAST_PAUSE, _FIRST_PAUSE * 2 ** min(extra - 1, 10))
        return record.next_turn - now

    def check(self, peer: Address | None, now: float) -> None:
        """Once more when the client has said who it wants to be: many may have connected before any had failed.

        Raises:
            PolicyDenied: as ``wait``.
        """
        record = self._record(peer, now)
        if record is not None and record.count >= self.limits.max_login_failures:
            raise _blocked(peer)

    def _record(self, peer: Address | None, now: float) -> _Record | None:
        record = None if peer is None else self._records.get(place_of(peer))
        if record is None or record.forgotten_at <= now or not self.limits.max_login_failures:
            return None
        return record


def _blocked(peer: Address | None) -> PolicyDenied:
    return PolicyDenied(
        f"Host '{peer}' is blocked because of many failed logins; try again later",
        errno=1129,
        sqlstate="HY000",
    )
