"""How many clients there are, in all, of an address and of an account, and from where any may come at all.

The session calls ``connect`` when a client arrives, ``enter`` when it has logged in, and releases both
tickets when it leaves. Counts only: it never closes a client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mysqlproxy.config.schema import Limits, Network
from mysqlproxy.errors import PolicyDenied, TooManyConnections
from mysqlproxy.gatekeeper.accounts import Account, Address, allowed
from mysqlproxy.gatekeeper.failures import Place, place_of

_Key = TypeVar("_Key")


class Ticket:
    """One counted place; gives it back once, however often ``release`` is called."""

    __slots__ = ("_give_back",)

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def release(self) -> None:
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class Admission:
    """Counts clients against their limits.

    Args:
        allow_from: [listen] allow_from.

    Attributes:
        connected: clients with a connection, logged in or not.
    """

    def __init__(self, limits: Limits, allow_from: tuple[Network, ...] = ()) -> None:
        self._limits = limits
        self._allow_from = allow_from
        self._per_account: dict[str, int] = {}
        self._per_place: dict[Place, int] = {}
        self.connected = 0

    def reconfigure(self, limits: Limits, allow_from: tuple[Network, ...] = ()) -> None:
        """New limits for who comes from now on; who is in stays."""
        self._limits = limits
        self._allow_from = allow_from

    def connections(self, account_name: str) -> int:
        """How many clients are logged in to this account."""
        return self._per_account.get(account_name, 0)

    def connect(self, peer: Address | None = None) -> Ticket:
        """Counts a client that has just connected; one of a unix socket (None) has no address to count.

        Raises:
            PolicyDenied: 1130/HY000, from a network that may not; 1203/42000, too many from its address.
            TooManyConnections: 1040/08004, [limits] max_connections is reached.
        """
        if not allowed(self._allow_from, peer):
            host = "localhost" if peer is None else peer
            raise PolicyDenied(
                f"Host '{host}' is not allowed to connect to this server", errno=1130, sqlstate="HY000"
            )
        if self.connected >= self._limits.max_connections:
            raise TooManyConnections("Too many connections")
        place = None if peer is None else place_of(peer)
        if place is not None:
            most, count = self._limits.max_connections_per_address, self._per_place.get(place, 0)
            if most is not None and count >= most:
                raise PolicyDenied(f"Host '{peer}' already has {count} active connections", errno=1203)
            self._per_place[place] = count + 1
        self.connected += 1
        return Ticket(lambda: self._disconnect(place))

    def enter(self, account: Account) -> Ticket:
        """Counts a client that has just logged in to this account.

        Raises:
            PolicyDenied: 1226/42000 (ER_USER_LIMIT_REACHED), the account's max_connections is reached.
        """
        name = account.name
        count = self._per_account.get(name, 0)
        if account.max_connections is not None and count >= account.max_connections:
            raise PolicyDenied(
                f"User '{name}' has exceeded the 'max_connections' resource (current value: {count})",
                errno=1226,
            )
        self._per_account[name] = count + 1
        return Ticket(lambda: self._leave(name))

    def _disconnect(self, place: Place | None) -> None:
        self.connected -= 1
        if place is not None:
            _count_off(self._per_place, place)

    def _leave(self, name: str) -> None:
        _count_off(self._per_account, name)


def _count_off(counts: dict[_Key, int], key: _Key) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
