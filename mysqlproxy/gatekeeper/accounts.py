"""The accounts that may log in, as the configuration lists them. Built whole at start and at every reload.

With [accounts] from = "servers" those of the manager come to them (``gatekeeper.server_accounts``).

Read by ``gatekeeper.login`` at each login and by the session for limits and routing. Never changed in place;
sessions that logged in before a reload keep the account they had.
"""

from __future__ import annotations

import hmac
import secrets as random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address

from mysqlproxy.config.schema import AutocommitReads, ChainRole, Config, Consistency, Network, Strategy, User
from mysqlproxy.config.schema import Secret as ConfiguredSecret
from mysqlproxy.errors import ConfigFault
from mysqlproxy.gatekeeper.certificates import CertificateRule
from mysqlproxy.gatekeeper.secrets import Secret
from mysqlproxy.protocol import parsec

Resolve = Callable[[ConfiguredSecret], str]
Address = IPv4Address | IPv6Address

# Decoys keep their method over reloads.
PROCESS_DECOY_KEY = random.token_bytes(32)


@dataclass(frozen=True, slots=True)
class Account:
    """One account; defaults of [routing] are already filled in.

    Attributes:
        name: as clients log in.
        secrets: its passwords; any one of them will do. The first is the one that the servers know, too.
        methods: that it may log in with, the preferred one first; empty: all that its secrets can do, except
            mysql_clear_password.
        allow_from: networks it may come from; empty: anywhere.
        tls_required: it comes with TLS or over a unix socket only.
        certificate: what its client certificate must be; None: none is needed.
        expires: from when on it is refused; ``expired``: a server says so. ``locked``: it is refused.
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
    autocommit_reads: AutocommitReads = AutocommitReads.STRICT
    hints: bool = True
    statement_timeout: float | None = None
    transaction_timeout: float | None = None
    idle_transaction_timeout: float | None = None
    methods: tuple[str, ...] = ()
    tls_required: bool = False
    certificate: CertificateRule | None = None
    expires: datetime | None = None
    expired: bool = False
    locked: bool = False

    @property
    def stored_password(self) -> str | None:
        """With which it logs in to the servers; None: with what the client's own login shows."""
        return self.secrets[0].password if self.server_password is None else self.server_password

    @property
    def has_expired(self) -> bool:
        return self.expired or (self.expires is not None and self.expires <= datetime.now(UTC))


_LOOPBACK = IPv4Address("127.0.0.1")


def allowed(networks: tuple[Network, ...], peer: Address | None) -> bool:
    """Whether one may come from this address; with no networks from anywhere.

    A client of a unix socket (``peer`` is None) is on this machine, and counts as 127.0.0.1. An IPv4 address
    that a dual-stack socket shows as ``::ffff:a.b.c.d`` matches IPv4 networks, and IPv6 ones written in that
    form.
    """
    if not networks:
        return True
    address = _LOOPBACK if peer is None else peer
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return any(address in network or (mapped and mapped in network) for network in networks)


class Accounts:
    """All accounts by name, and for every other name a decoy that no password opens.

    A server has several accounts of one name for different hosts; they are here in its order, the most specific
    host first. Of the configuration there is one of each name, and it hides the server's.
    """

    __slots__ = ("_by_name", "_decoy_key", "_templates")

    def __init__(self, accounts: Iterable[Account], decoy_key: bytes = PROCESS_DECOY_KEY) -> None:
        self._by_name: dict[str, list[Account]] = {}
        for account in accounts:
            self._by_name.setdefault(account.name, []).append(account)
        self._decoy_key = decoy_key
        # What a stranger could tell from a login's steps: one account of each kind.
        templates = {_shape(account): account for account in self}
        self._templates = [templates[shape] for shape in sorted(templates)] or [_ORDINARY]

    def beside(self, others: Iterable[Account]) -> Accounts:
        """These, and of the others those with other names."""
        more = [account for account in others if account.name not in self._by_name]
        return Accounts([*self, *more], self._decoy_key)

    @classmethod
    def from_config(cls, config: Config, resolve: Resolve) -> Accounts:
        """Builds the accounts of ``[[users]]``.

        Args:
            resolve: turns a configured secret (text, environment, file) into its text, or raises ConfigFault:
                ``config.secrets.resolve_secret``.

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
                accounts.append(account_of(user, config, resolve))
            except (ValueError, ConfigFault) as error:
                faults.append(f"users[{user.name}]: {error}")
        if faults:
            raise ConfigFault(faults)
        return cls(accounts, _decoy_key(config))

    def get(self, name: str, peer: Address | None = None) -> Account | None:
        """The account of exactly this name for a client of this address.

        When there is none for the address, another of that name, whose ``allow_from`` will refuse it.
        """
        accounts = self._by_name.get(name)
        if accounts is None:
            return None
        return next((account for account in accounts if allowed(account.allow_from, peer)), accounts[0])

    def __iter__(self) -> Iterator[Account]:
        return (account for accounts in self._by_name.values() for account in accounts)

    def __len__(self) -> int:
        return sum(map(len, self._by_name.values()))

    def decoy(self, name: str) -> Account:
        """Stands in for an unknown account, so that its login takes the steps of a real one.

        It is like some real account, always the same one for the same name and key, and no password opens it.
        """
        draw = hmac.digest(self._decoy_key, name.encode("utf-8", "surrogateescape"), "sha256")
        template = self._templates[int.from_bytes(draw[:8]) % len(self._templates)]
        salt = self.parsec_salt(name)
        secrets = tuple(Secret.decoy_of(secret, salt) for secret in template.secrets)
        return replace(template, name=name, secrets=secrets, server_user="")

    def parsec_salt(self, name: str) -> bytes:
        """The salt that parsec shows for an account, known or not, which has no verifier with one of its own."""
        text = b"parsec\0" + name.encode("utf-8", "surrogateescape")
        return hmac.digest(self._decoy_key, text, "sha256")[: parsec.SALT_SIZE]


def _decoy_key(config: Config) -> bytes:
    """As lasting as the secrets that nobody can guess: with [tls] a restart, too, leaves the decoys as they are.

    Whoever sees an unknown name change its method when a real one does not can tell the two apart.
    """
    if config.tls is None:
        return PROCESS_DECOY_KEY
    try:
        return hmac.digest(config.tls.key.read_bytes(), b"decoys of mysqlproxy", "sha256")
    except OSError:  # said elsewhere
        return PROCESS_DECOY_KEY


_ORDINARY = Account("", (Secret.from_password("ordinary"),), server_user="")


def _shape(account: Account) -> tuple[object, ...]:
    secrets = tuple(
        (
            secret.password == "" or secret.sha1_stage2 is not None,
            secret.password == "" or secret.sha256_stage2 is not None,
            secret.ed25519_key is not None,
            0 if secret.crypt is None else secret.crypt.rounds,
            -1 if secret.parsec is None else secret.parsec.factor,
        )
        for secret in account.secrets
    )
    return secrets, account.methods, account.stored_password is not None


def account_of(user: User, config: Config, resolve: Resolve) -> Account:
    """One of ``[[users]]``.

    Raises:
        ValueError, ConfigFault: with a sentence.
    """
    if user.password is not None and user.verifier is not None:
        raise ValueError("give only one of password and verifier")
    passwords = [user.password] if user.password is not None else []
    verifiers = [user.verifier] if user.verifier is not None else []
    secrets = [Secret.from_password(resolve(password)) for password in (*passwords, *user.passwords)]
    secrets += [Secret.from_verifier(verifier) for verifier in (*verifiers, *user.verifiers)]
    certificate = None
    if user.certificate is not None:
        certificate = CertificateRule(
            user.certificate.subject, user.certificate.issuer, user.certificate.fingerprint
        )
        secrets = secrets or [Secret("")]
    role = None if config.chain is None else config.chain.role
    if not secrets and role is not ChainRole.PROXY:
        raise ValueError("give a password, a verifier or a certificate")
    routing = config.routing
    return Account(
        name=user.name,
        secrets=tuple(secrets),
        server_user=user.name if user.server_user is None else user.server_user,
        server_password=_server_password(user, role, resolve),
        allow_from=user.allow_from,
        max_connections=user.max_connections,
        strategy=user.strategy or routing.strategy,
        read_consistency=user.read_consistency or routing.read_consistency,
        autocommit_reads=user.autocommit_reads or routing.autocommit_reads,
        hints=user.hints,
        statement_timeout=user.statement_timeout,
        transaction_timeout=user.transaction_timeout,
        idle_transaction_timeout=user.idle_transaction_timeout,
        methods=user.methods,
        tls_required=user.tls_required,
        certificate=certificate,
        expires=user.expires,
        locked=user.locked,
    )


def _server_password(user: User, role: ChainRole | None, resolve: Resolve) -> str | None:
    """A gatekeeper logs in nowhere with a password: no login need show one."""
    if role is ChainRole.GATEKEEPER:
        return ""
    return None if user.server_password is None else resolve(user.server_password)
