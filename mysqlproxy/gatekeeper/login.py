"""One client's login, step by step, without I/O: the session sends what a step says, feeds what comes back.

    start(user, plugin, auth) -> Switch | More -> answer(data) -> ... -> Accept | Deny

Methods: mysql_native_password and caching_sha2_password. Client and account need not agree at first: a method
that the account cannot do is switched to one it can. An unknown account takes the steps of a real one
(``Accounts.decoy``), and a refused network is found out together with the password, so that nobody learns
which of the three was wrong.

Protocol: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html. Used by the
session for the first login and for COM_CHANGE_USER. It never reads or writes a packet, and never logs.
"""

from __future__ import annotations

import secrets as random
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha1, sha256
from hmac import compare_digest

from mysqlproxy.gatekeeper.accounts import Account, Accounts
from mysqlproxy.gatekeeper.admission import Address, allowed
from mysqlproxy.gatekeeper.rsa import login_key
from mysqlproxy.gatekeeper.secrets import Secret, sha1_twice, sha256_twice
from mysqlproxy.protocol.credentials import ServerCredential

NATIVE = "mysql_native_password"
SHA2 = "caching_sha2_password"

NONCE_LENGTH = 20
# Clients cut the nonce at NUL; servers never use '$' either, it separates the parts of their stored form.
_NONCE_BYTES = bytes(value for value in range(1, 128) if value != ord("$"))

FAST_AUTH_OK = b"\x03"  # AuthMoreData: the scramble was right, OK follows
FULL_AUTH = b"\x04"  # AuthMoreData: send the password
REQUEST_PUBLIC_KEY = b"\x02"  # the client's answer to FULL_AUTH when it will not send a clear password


def new_nonce() -> bytes:
    """20 random bytes of 1..127 without NUL and ``$``."""
    return bytes(random.choice(_NONCE_BYTES) for _ in range(NONCE_LENGTH))


def default_plugin(accounts: Accounts, mariadb: bool) -> str:
    """The method to name in the greeting: the one most clients of such a cluster start with.

    Clients of MariaDB know mysql_native_password first; MySQL 9's have only caching_sha2_password.
    """
    if mariadb and (not len(accounts) or any(_can(NATIVE, account) for account in accounts)):
        return NATIVE
    return SHA2


@dataclass(frozen=True, slots=True)
class Switch:
    """Send an AuthSwitchRequest."""

    plugin: str
    nonce: bytes


@dataclass(frozen=True, slots=True)
class More:
    """Send an AuthMoreData packet with this data."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Accept:
    """Let the client in: send OK, after AuthMoreData ``FAST_AUTH_OK`` where ``fast_path`` is set."""

    account: Account
    credential: ServerCredential
    fast_path: bool


@dataclass(frozen=True, slots=True)
class Deny:
    """Send 1045/28000 and close. ``reason`` is for the log only."""

    reason: str


Step = Switch | More | Accept | Deny


class _State(Enum):
    NEW = "new"
    SCRAMBLE = "waiting for the scramble after a switch"
    FULL = "waiting for the password"
    ENCRYPTED = "waiting for the encrypted password"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class _Proof:
    """What a right answer proved about the password; the secret it matched is ``secret``."""

    secret: Secret = field(repr=False)
    password: str | None = field(default=None, repr=False)
    sha1: bytes | None = field(default=None, repr=False)
    sha256: bytes | None = field(default=None, repr=False)


class LoginDialogue:
    """One login. Call ``start`` once, then ``answer`` for each packet of the client until Accept or Deny.

    Args:
        accounts: who may log in.
        nonce: the greeting's 20 bytes.
        offered_plugin: the method the greeting named.
        secure: TLS or a unix socket: a clear password may be asked for.
        peer: the client's address; None for unix sockets.
    """

    def __init__(
        self, accounts: Accounts, nonce: bytes, offered_plugin: str, secure: bool, peer: Address | None
    ) -> None:
        self._accounts = accounts
        self._nonce = nonce
        self._offered = offered_plugin
        self._secure = secure
        self._peer = peer
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
        account = self._accounts.get(name)
        decoy = self._accounts.decoy(name)  # made for known accounts too: it takes time
        self._known = account is not None
        self._account = decoy if account is None else account
        plugin = plugin or NATIVE
        if plugin not in _LENGTHS or not _can(plugin, self._account):
            preferred = self._offered if self._offered in _LENGTHS else NATIVE
            return self._switch(next(name for name in (preferred, NATIVE, SHA2) if _can(name, self._account)))
        if fresh or (plugin != self._offered and len(auth) != _LENGTHS[plugin]):
            # Asked for another method than the greeting's, libmysqlclient sends an empty answer and waits for
            # a switch.
            return self._switch(plugin)
        self._plugin = plugin
        return self._check_scramble(auth)

    def answer(self, data: bytes) -> Step:
        """The client's next packet (its payload)."""
        if self._state is _State.SCRAMBLE:
            return self._check_scramble(data)
        if self._state is _State.FULL:
            if data == REQUEST_PUBLIC_KEY:  # on secure ones too: not every driver counts a unix socket as one
                self._state = _State.ENCRYPTED
                return More(login_key().public_pem)
            if self._secure:
                return self._check_password(data.removesuffix(b"\0"))
            return self._check_encrypted(data)  # a client that has the public key from before
        self._expect(_State.ENCRYPTED)
        return self._check_encrypted(data)

    def _expect(self, state: _State) -> None:
        if self._state is not state:
            raise RuntimeError(f"a login that is {self._state.value} cannot go on as if {state.value}")

    def _switch(self, plugin: str) -> Switch:
        self._state = _State.SCRAMBLE
        self._plugin = plugin
        self._nonce = new_nonce()
        return Switch(plugin, self._nonce)

    def _check_scramble(self, auth: bytes) -> Step:
        if auth in (b"", b"\0"):  # libmysqlclient says an empty password in caching_sha2_password as one NUL
            return self._check_password(b"")
        check = _check_native if self._plugin == NATIVE else _check_sha2
        proofs = [proof for secret in self._account.secrets if (proof := check(secret, auth, self._nonce))]
        if (
            not proofs
            and self._plugin == SHA2
            and any(_needs_full(secret) for secret in self._account.secrets)
        ):
            self._state = _State.FULL
            return More(FULL_AUTH)
        return self._end(proofs, fast_path=self._plugin == SHA2)

    def _check_encrypted(self, data: bytes) -> Step:
        password = login_key().decrypt(data, self._nonce)
        if password is None:
            # MariaDB's Connector/C 3.3 may send it in clear here. What everybody could read must not open the
            # door.
            return self._end([], wrong="no password that was encrypted with our key; use TLS")
        return self._check_password(password)

    def _check_password(self, password: bytes) -> Step:
        proofs = [proof for secret in self._account.secrets if (proof := _check_clear(secret, password))]
        return self._end(proofs)

    def _end(
        self, proofs: list[_Proof], *, fast_path: bool = False, wrong: str = "wrong password"
    ) -> Accept | Deny:
        self._state = _State.ENDED
        account = self._account
        from_here = allowed(account, self._peer)
        if not self._known:
            return Deny("unknown account")
        if not proofs:
            return Deny(wrong if from_here else f"{wrong}, and from a network not in allow_from")
        if not from_here:
            return Deny("from a network not in allow_from")
        return Accept(account, _credential(account, proofs[0]), fast_path)


_LENGTHS = {NATIVE: 20, SHA2: 32}


def _can(plugin: str, account: Account) -> bool:
    """Whether the method can check any of the account's secrets; caching_sha2_password can check all."""
    return plugin == SHA2 or any(
        secret.sha1_stage2 is not None or secret.password == "" for secret in account.secrets
    )


def _needs_full(secret: Secret) -> bool:
    return secret.sha256_stage2 is None and secret.sha1_stage2 is not None


def _check_native(secret: Secret, auth: bytes, nonce: bytes) -> _Proof | None:
    """SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password)))."""
    stage2 = secret.sha1_stage2
    if stage2 is None or len(auth) != 20:
        return None
    stage1 = _xor(auth, sha1(nonce + stage2).digest())
    return _Proof(secret, sha1=stage1) if compare_digest(sha1(stage1).digest(), stage2) else None


def _check_sha2(secret: Secret, auth: bytes, nonce: bytes) -> _Proof | None:
    """SHA256(password) XOR SHA256(SHA256(SHA256(password)) + nonce)."""
    stage2 = secret.sha256_stage2
    if stage2 is None or len(auth) != 32:
        return None
    stage1 = _xor(auth, sha256(stage2 + nonce).digest())
    return _Proof(secret, sha256=stage1) if compare_digest(sha256(stage1).digest(), stage2) else None


def _check_clear(secret: Secret, password: bytes) -> _Proof | None:
    if secret.sha256_stage2 is not None:
        right = compare_digest(sha256_twice(password), secret.sha256_stage2)
    elif secret.sha1_stage2 is not None:
        right = compare_digest(sha1_twice(password), secret.sha1_stage2)
    else:
        right = secret.password == "" and not password
    if not right:
        return None
    return _Proof(secret, password=password.decode("utf-8", "surrogateescape"))


def _credential(account: Account, proof: _Proof) -> ServerCredential:
    """Who to be on the servers: the configured password, else the account's own, else the client's proof."""
    password = account.server_password
    if password is None:
        password = proof.secret.password
    if password is None:
        password = proof.password
    if password is not None:
        return ServerCredential(account.server_user, password)
    return ServerCredential(account.server_user, sha1=proof.sha1, sha256=proof.sha256)


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(len(left))
