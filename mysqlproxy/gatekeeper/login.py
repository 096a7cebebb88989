"""One client's login, step by step, without I/O: the session sends what a step says, feeds what comes back.

    start(user, plugin, auth) -> Switch | More -> answer(data) -> ... -> Accept | Deny

Client and account need not agree at first: a method that the account cannot do is switched to one it can
(``gatekeeper.methods``). An unknown account takes the steps of a real one (``Accounts.decoy``), and a refused
network or certificate is found out together with the password, so that nobody learns which was wrong. What
takes milliseconds is handed back as ``Costly``, for the session to run where it holds up nobody.

Protocol: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html. Used by the
session for the first login and for COM_CHANGE_USER. It never reads or writes a packet, and never logs.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from mysqlproxy.gatekeeper.accounts import Account, Accounts, Address, allowed
from mysqlproxy.gatekeeper.methods import (
    CLEAR,
    ED25519,
    NATIVE,
    PARSEC,
    SCRAMBLE_LENGTHS,
    SHA2,
    SHA256,
    Proof,
    can,
    choose,
    credential,
    parsec_salt,
    prove_parsec,
    prove_password,
    prove_scramble,
)
from mysqlproxy.gatekeeper.rsa import login_key
from mysqlproxy.gatekeeper.secrets import Secret
from mysqlproxy.protocol import ed25519, parsec
from mysqlproxy.protocol.assertion import Assertion
from mysqlproxy.protocol.credentials import ServerCredential

NONCE_LENGTH = 20
# Clients cut the nonce at NUL; servers never use '$' either, it separates the parts of their stored form.
_NOT_IN_NONCE = bytes(value for value in range(256) if not 0 < value < 128 or value == ord("$"))

FAST_AUTH_OK = b"\x03"  # AuthMoreData: the scramble was right, OK follows
FULL_AUTH = b"\x04"  # AuthMoreData: send the password
# What a client sends in place of a password that it will not send in clear.
REQUEST_PUBLIC_KEY = {SHA2: b"\x02", SHA256: b"\x01"}


def new_nonce() -> bytes:
    """20 random bytes of 1..127 without NUL and ``$``."""
    nonce = b""
    while len(nonce) < NONCE_LENGTH:  # one system call is enough but for one time in many thousands
        nonce += random.token_bytes(4 * NONCE_LENGTH).translate(None, _NOT_IN_NONCE)
    return nonce[:NONCE_LENGTH]


def default_plugin(accounts: Accounts, mariadb: bool) -> str:
    """The method to name in the greeting: the one most clients of such a cluster start with.

    Clients of MariaDB know mysql_native_password first; MySQL 9's have only caching_sha2_password.
    """
    if mariadb and (not len(accounts) or any(can(NATIVE, account, False) for account in accounts)):
        return NATIVE
    return SHA2


@dataclass(frozen=True, slots=True)
class Switch:
    """Send an AuthSwitchRequest with these bytes behind the method's name."""

    plugin: str
    data: bytes


@dataclass(frozen=True, slots=True)
class More:
    """Send an AuthMoreData packet with this data."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Bare:
    """Send a packet that is this data and nothing else (parsec's salt)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Accept:
    """Let the client in: send OK, after AuthMoreData ``FAST_AUTH_OK`` where ``fast_path`` is set.

    ``asserted`` is what a gatekeeper says of it (``gatekeeper.chain``).
    """

    account: Account
    credential: ServerCredential
    fast_path: bool
    asserted: Assertion | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """Send 1045/28000 and close, or the error given: only to who has shown the password.

    ``reason`` is for the log only; ``asserted`` is who it is behind a chain's hops.
    """

    reason: str
    errno: int = 1045
    message: str = ""
    asserted: Assertion | None = None


@dataclass(frozen=True, slots=True)
class Costly:
    """``run`` gives the next step and takes milliseconds; it may run in a thread."""

    run: Callable[[], Accept | Deny]


Step = Switch | More | Bare | Accept | Deny | Costly


class _State(Enum):
    NEW = "new"
    ANSWER = "waiting for the answer to the nonce"
    FULL = "waiting for the password"
    SIGNED = "waiting for the signature"
    ENCRYPTED = "waiting for the encrypted password"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Channel:
    """How the client comes.

    Attributes:
        peer: its address; None for unix sockets.
        secure: TLS or a unix socket: a clear password may be asked for.
        certificate: the client's, verified, DER; None when it showed none.
    """

    peer: Address | None
    secure: bool
    certificate: bytes | None = field(default=None, repr=False)


class LoginDialogue:
    """One login. Call ``start`` once, then ``answer`` for each packet of the client until Accept or Deny.

    Args:
        accounts: who may log in.
        nonce: the greeting's 20 bytes.
        offered_plugin: the method the greeting named.
        channel: how the client comes.
    """

    def __init__(self, accounts: Accounts, nonce: bytes, offered_plugin: str, channel: Channel) -> None:
        self._accounts = accounts
        self._nonce = nonce
        self._offered = offered_plugin
        self._channel = channel
        self._state = _State.NEW
        self._known = False
        self._account: Account  # from start on
        self._plugin = offered_plugin

    def start(self, user: bytes, plugin: str, auth: bytes, *, fresh: bool = False) -> Step:
        """The client's HandshakeResponse or COM_CHANGE_USER.

        Args:
            user: the account's name as sent (UTF-8; anything else is no account).
            plugin: the method the client used; "" (no PLUGIN_AUTH) is mysql_native_password.
            auth: its answer to the greeting's nonce.
            fresh: do not take ``auth``, ask again with a new nonce: for COM_CHANGE_USER, whose client may
                have scrambled with any nonce it saw in this connection.
        """
        self._expect(_State.NEW)
        name = user.decode("utf-8", "surrogateescape")
        account = self._accounts.get(name, self._channel.peer)
        decoy = self._accounts.decoy(name)  # made for known accounts too: it takes time
        self._known = account is not None
        self._account = decoy if account is None else account
        plugin = plugin or NATIVE
        method = choose(plugin, self._offered, self._account, self._channel.secure)
        if method is None:
            return self._end([], wrong="none of its methods can be done here; use TLS")
        # Asked for another method than the greeting's, libmysqlclient sends an empty answer and waits for a switch.
        asked_too = method == plugin and (
            len(auth) == SCRAMBLE_LENGTHS.get(method)
            or (method in SCRAMBLE_LENGTHS and plugin == self._offered)
        )
        if fresh or not asked_too:
            return self._switch(method)
        self._plugin = method
        return self._check_scramble(auth)

    def answer(self, data: bytes) -> Step:
        """The client's next packet (its payload)."""
        match self._state:
            case _State.ANSWER if self._plugin in (SHA256, CLEAR):
                return self._take_password(data)
            case _State.ANSWER if self._plugin == PARSEC:
                return self._give_salt(data)
            case _State.SIGNED:
                return self._check_signed(data)
            case _State.ANSWER:
                return self._check_scramble(data)
            case _State.FULL:
                return self._take_password(data)
        self._expect(_State.ENCRYPTED)
        return self._check_encrypted(data)

    def _expect(self, state: _State) -> None:
        if self._state is not state:
            raise RuntimeError(f"a login that is {self._state.value} cannot go on as if {state.value}")

    def _switch(self, plugin: str) -> Switch:
        self._state = _State.ANSWER
        self._plugin = plugin
        if plugin in (ED25519, PARSEC):
            self._nonce = random.token_bytes(ed25519.NONCE_SIZE if plugin == ED25519 else parsec.NONCE_SIZE)
            return Switch(plugin, self._nonce)
        self._nonce = new_nonce()
        return Switch(plugin, self._nonce + b"\0")

    def _check_scramble(self, auth: bytes) -> Step:
        account = self._account
        if auth in (b"", b"\0"):  # libmysqlclient says an empty password in caching_sha2_password as one NUL
            return self._check_password(b"")
        proofs = prove_scramble(self._plugin, account.secrets, auth, self._nonce)
        if self._plugin != SHA2:
            return self._end(proofs)
        # SHA256(password) opens a server only while that server has the account in its cache: ask for the password
        # where it is stored nowhere. And for secrets that nothing else can check.
        enough = account.stored_password is not None
        if (not enough) if proofs else any(_needs_password(secret) for secret in account.secrets):
            self._state = _State.FULL
            return More(FULL_AUTH)
        return self._end(proofs, fast_path=True)

    def _give_salt(self, data: bytes) -> Step:
        if data:
            return self._end([], wrong="no request for the salt")
        self._salt = parsec_salt(self._account, self._accounts.parsec_salt(self._account.name))
        self._state = _State.SIGNED
        return Bare(parsec.ext_salt(*self._salt))

    def _check_signed(self, data: bytes) -> Step:
        self._state = _State.ENDED
        secrets = self._account.secrets
        return Costly(lambda: self._end(prove_parsec(secrets, self._salt, data, self._nonce)))

    def _take_password(self, data: bytes) -> Step:
        if data == REQUEST_PUBLIC_KEY.get(self._plugin):
            # On secure channels too: not every driver counts a unix socket as one.
            self._state = _State.ENCRYPTED
            return More(login_key().public_pem)
        if self._channel.secure:
            return self._check_password(data.removesuffix(b"\0"))
        if self._plugin == SHA256 and data == b"\0":
            return self._check_password(b"")  # which has nothing to hide
        return self._check_encrypted(data)  # a client that has the public key from before

    def _check_encrypted(self, data: bytes) -> Step:
        self._state = _State.ENDED
        return Costly(lambda: self._decrypt(data))

    def _decrypt(self, data: bytes) -> Accept | Deny:
        password = login_key().decrypt(data, self._nonce)
        if password is None:
            # MariaDB's Connector/C 3.3 may send it in clear here. What everybody could read must not open the
            # door.
            return self._end([], wrong="no password that was encrypted with our key; use TLS")
        return self._end(prove_password(self._account.secrets, password))

    def _check_password(self, password: bytes) -> Step:
        self._state = _State.ENDED
        secrets = self._account.secrets
        if any(secret.is_slow for secret in secrets):
            return Costly(lambda: self._end(prove_password(secrets, password)))
        return self._end(prove_password(secrets, password))

    def _end(
        self, proofs: list[Proof], *, fast_path: bool = False, wrong: str = "wrong password"
    ) -> Accept | Deny:
        self._state = _State.ENDED
        account, channel = self._account, self._channel
        reasons = [] if proofs else [wrong]
        if not allowed(account.allow_from, channel.peer):
            reasons.append("from a network not in allow_from")
        if account.tls_required and not channel.secure:
            reasons.append("without TLS")
        if account.certificate is not None and not (
            channel.certificate is not None and account.certificate.fits(channel.certificate)
        ):
            reasons.append("without the client certificate it needs")
        if not self._known:
            return Deny("unknown account")
        if reasons:
            return Deny(", and ".join(reasons))
        if account.locked:
            return Deny("the account is locked", 3118, "Access denied. Account is locked.")
        if account.has_expired:
            return Deny("the account has expired", 1862, "Your password has expired.")
        return Accept(account, credential(account, proofs[0]), fast_path)


def _needs_password(secret: Secret) -> bool:
    """Whether no scramble of caching_sha2_password can check it, or none before it was right once."""
    return secret.sha256_stage2 is None and secret.password is None
