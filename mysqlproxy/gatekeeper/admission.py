"""How many clients there are, and where an account may come from.

The session calls ``connect`` when a client arrives, ``enter`` when it has logged in, and releases both
tickets when it leaves; ``gatekeeper.login`` asks ``allowed``. Counts only: it never closes a client.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from mysqlproxy.config.schema import Limits
from mysqlproxy.errors import PolicyDenied, TooManyConnections
from mysqlproxy.gatekeeper.accounts import Account

Address = IPv4Address | IPv6Address

_LOOPBACK = IPv4Address("127.0.0.1")


def allowed(account: Account, peer: Address | None) -> bool:
    """Whether the account may come from this address.

    A client of a unix socket (``peer`` is None) is on this machine, and counts as 127.0.0.1. An IPv4 address
    that a dual-stack socket shows as ``::ffff:a.b.c.d`` matches IPv4 networks, and IPv6 ones written in that
    form.
    """
    if not account.allow_from:
        return True
    address = _LOOPBACK if peer is None else peer
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return any(address in network or (mapped and mapped in network) for network in account.allow_from)


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
    """Counts clients, in all and per account, against their limits.

    Attributes:
        connected: clients with a connection, logged in or not.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._per_account: dict[str, int] = {}
        self.connected = 0

    def reconfigure(self, limits: Limits) -> None:
        """New limits for who comes from now on; who is in stays."""
        self._limits = limits

    def connections(self, account_name: str) -> int:
        """How many clients are logged in to this account."""
        return self._per_account.get(account_name, 0)

    def connect(self) -> Ticket:
        """Counts a client that has just connected.

        Raises:
            TooManyConnections: 1040/08004, [limits] max_connections is reached.
        """
        if self.connected >= self._limits.max_connections:
            raise TooManyConnections("Too many connections")
        self.connected += 1
        return Ticket(self._disconnect)

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

    def _disconnect(self) -> None:
        self.connected -= 1

    def _leave(self, name: str) -> None:
        count = self._per_account[name] - 1
        if count:
            self._per_account[name] = count
        else:
            del self._per_account[name]
