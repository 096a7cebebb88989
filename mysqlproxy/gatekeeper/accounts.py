"""The accounts that may log in, as the configuration lists them. Built whole at start and at every reload.

Read by ``gatekeeper.login`` at each login and by the session for limits and routing. Never changed in place;
sessions that logged in before a reload keep the account they had.
"""

from __future__ import annotations

import hmac
import secrets as random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from mysqlproxy.config.schema import Config, Consistency, Network, Strategy, User
from mysqlproxy.config.schema import Secret as ConfiguredSecret
from mysqlproxy.errors import ConfigFault
from mysqlproxy.gatekeeper.secrets import Secret

Resolve = Callable[[ConfiguredSecret], str]

# Decoys keep their method over reloads. Several processes are handed the same key by their parent.
PROCESS_DECOY_KEY = random.token_bytes(32)


@dataclass(frozen=True, slots=True)
class Account:
    """One account; defaults of [routing] are already filled in.

    Attributes:
        name: as clients log in.
        secrets: its passwords; any one of them will do.
        allow_from: networks it may come from; empty: anywhere.
        max_connections: clients at the same time; None: only [limits] counts.
        server_user, server_password: who it is on the servers; None: the password it logged in with.
        hints: its statements' hints count.
        statement_timeout, transaction_timeout, idle_transaction_timeout: seconds; None: no limit.
    """

    name: str
    secrets: tuple[Secret, ...] = field(repr=False)
    server_user: str
    server_password: str | None = field(default=None, repr=False)
    allow_from: tuple[Network, ...] = ()
    max_connections: int | None = None
    strategy: Strategy = Strategy.CUSTOMIZED
    read_consistency: Consistency = Consistency.SESSION
    hints: bool = True
    statement_timeout: float | None = None
    transaction_timeout: float | None = None
    idle_transaction_timeout: float | None = None


class Accounts:
    """All accounts by name, and for every other name a decoy that no password opens."""

    __slots__ = ("_by_name", "_decoy_key", "_shapes")

    def __init__(self, accounts: Iterable[Account], decoy_key: bytes = PROCESS_DECOY_KEY) -> None:
        self._by_name = {account.name: account for account in accounts}
        self._decoy_key = decoy_key
        # What a stranger could tell from a login's steps: how many secrets there are, and of which kinds.
        shapes = {tuple(_kinds(secret) for secret in account.secrets) for account in self._by_name.values()}
        self._shapes = sorted(shapes) or [((True, True),)]

    @classmethod
    def from_config(cls, config: Config, resolve: Resolve, decoy_key: bytes = PROCESS_DECOY_KEY) -> Accounts:
        """Builds the accounts of ``[[users]]``.

        Args:
            resolve: turns a configured secret (text, environment, file) into its text, or raises ConfigFault:
                ``config.secrets.resolve_secret``.
            decoy_key: see ``decoy``.

        Raises:
            ConfigFault: with every fault of every user.
        """
        accounts: list[Account] = []
        faults: list[str] = []
        seen: set[str] = set()
        for user in config.users:
            try:
                if user.name in seen:
                    raise ValueError("another user has this name")
                seen.add(user.name)
                accounts.append(_account(user, config, resolve))
            except (ValueError, ConfigFault) as error:
                faults.append(f"users[{user.name}]: {error}")
        if faults:
            raise ConfigFault(faults)
        return cls(accounts, decoy_key)

    def get(self, name: str) -> Account | None:
        """The account of exactly this name, or None."""
        return self._by_name.get(name)

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def decoy(self, name: str) -> Account:
        """Stands in for an unknown account, so that its login takes the steps of a real one.

        Its secrets have the kinds of some real account's, always the same ones for the same name and key, and
        the digests are random: no password opens it.
        """
        draw = hmac.digest(self._decoy_key, name.encode("utf-8", "surrogateescape"), "sha256")
        shape = self._shapes[int.from_bytes(draw[:8]) % len(self._shapes)]
        secrets = tuple(
            Secret(
                sha1_stage2=random.token_bytes(20) if native else None,
                sha256_stage2=random.token_bytes(32) if sha2 else None,
            )
            for native, sha2 in shape
        )
        return Account(name=name, secrets=secrets, server_user="")


def _kinds(secret: Secret) -> tuple[bool, bool]:
    empty = (
        secret.password == ""
    )  # answers of any method prove an empty password wrong at once, as a full secret's do
    return empty or secret.sha1_stage2 is not None, empty or secret.sha256_stage2 is not None


def _account(user: User, config: Config, resolve: Resolve) -> Account:
    if (user.password is None) == (user.verifier is None):
        raise ValueError("give exactly one of password and verifier")
    if user.verifier is not None:
        secret = Secret.from_verifier(user.verifier)
    else:
        assert user.password is not None
        secret = Secret.from_password(resolve(user.password))
    routing = config.routing
    return Account(
        name=user.name,
        secrets=(secret,),
        server_user=user.name if user.server_user is None else user.server_user,
        server_password=None if user.server_password is None else resolve(user.server_password),
        allow_from=user.allow_from,
        max_connections=user.max_connections,
        strategy=user.strategy or routing.strategy,
        read_consistency=user.read_consistency or routing.read_consistency,
        hints=user.hints,
        statement_timeout=user.statement_timeout,
        transaction_timeout=user.transaction_timeout,
        idle_transaction_timeout=user.idle_transaction_timeout,
    )
