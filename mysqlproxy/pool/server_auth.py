"""The client's side of a login to a server, without I/O: what to answer to each step of its authentication.

Used by the pool's login, which reads and writes the packets. Methods: mysql_native_password,
caching_sha2_password, sha256_password, client_ed25519 and parsec of MariaDB, and mysql_clear_password where
the connection is secure. A password is never sent in clear over a connection that is not, and never appears in an
error.

Protocol:
    https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_authentication_methods.html.
"""

from __future__ import annotations

from hashlib import sha1, sha256
from itertools import cycle

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from mysqlproxy.errors import ServerFault
from mysqlproxy.protocol import ed25519, parsec
from mysqlproxy.protocol.assertion import PLUGIN
from mysqlproxy.protocol.credentials import ServerCredential

NATIVE = "mysql_native_password"
SHA2 = "caching_sha2_password"
SHA256 = "sha256_password"
ED25519 = "client_ed25519"
PARSEC = "parsec"
CLEAR = "mysql_clear_password"

FAST_AUTH_OK = b"\x03"
FULL_AUTH = b"\x04"
REQUEST_SHA2_KEY = b"\x02"
REQUEST_SHA256_KEY = b"\x01"
MAX_PUBLIC_KEY = 8192  # bytes of PEM; the servers' own has 451
MAX_KEY_SIZE = 8192  # bits; the servers' own has 2048


class ServerAuth:
    """One login to one server.

    Args:
        credential: who to be there.
        secure: the connection is TLS or a unix socket.

    Attributes:
        plugin: the method in use, to be named in the HandshakeResponse after ``initial``.
    """

    def __init__(self, credential: ServerCredential, secure: bool) -> None:
        self._credential = credential
        self._secure = secure
        self._nonce = b""
        self._asked_for_key = False
        self.plugin = NATIVE

    def initial(self, plugin: str, nonce: bytes) -> bytes:
        """The answer to the greeting, whose method is the server's default and need not be the account's.

        Never fails: a method that cannot be done is answered by another one (``plugin`` tells which), and the
        server switches to the account's own.
        """
        if self._credential.prove is not None:
            self.plugin = PLUGIN  # the next hop asks first
            return b""
        for candidate in (plugin, NATIVE, SHA2):
            if candidate == CLEAR:
                continue  # only for an account that really has it
            try:
                return self.switch(candidate, nonce)
            except ServerFault:
                continue
        return b""

    def switch(self, plugin: str, nonce: bytes) -> bytes:
        """The answer to an AuthSwitchRequest.

        Raises:
            ServerFault: a method that is unknown, that would show the password, or that this credential
                cannot do.
        """
        self.plugin = plugin
        self._nonce = nonce[:20]
        self._asked_for_key = False
        if self._credential.password == "":
            return b""
        if plugin == NATIVE:
            return self._native()
        if plugin == SHA2:
            return self._sha2()
        if plugin == SHA256:
            if self._secure:
                return self._clear()
            self._password()
            self._asked_for_key = True
            return REQUEST_SHA256_KEY
        if plugin == ED25519:
            if len(nonce) != ed25519.NONCE_SIZE:
                raise self._cannot("the server sent no nonce of 32 bytes")
            return ed25519.sign(self._password(), nonce)
        if plugin == PARSEC:
            self._password()
            self._nonce = nonce
            return b""  # asks for the salt
        if plugin == CLEAR:
            if not self._secure:
                raise self._cannot('it would send the password in clear; give the server tls = "required"')
            return self._clear()
        raise self._cannot("the method is not supported")

    def more(self, data: bytes) -> bytes | None:
        """The answer to AuthMoreData, given without its leading 0x01; None when nothing is to be sent.

        Raises:
            ServerFault: data out of place, a key that is none, or a password is needed and not known.
        """
        if self._asked_for_key:
            self._asked_for_key = False
            return self._encrypted(data)
        if self.plugin == SHA2 and data == FAST_AUTH_OK:
            return None
        if self.plugin == SHA2 and data == FULL_AUTH:
            if self._secure:
                return self._clear()
            self._password()
            self._asked_for_key = True
            return REQUEST_SHA2_KEY
        raise self._cannot("the server sent authentication data that the method does not have")

    def signed(self, ext_salt: bytes) -> bytes:
        """The answer to parsec's salt, which comes as a packet of its own. Takes milliseconds.

        Raises:
            ServerFault: no salt, more rounds than are bearable, or a method that has none.
        """
        if self.plugin != PARSEC or len(self._nonce) != parsec.NONCE_SIZE:
            raise self._cannot("the server sent authentication data that the method does not have")
        try:
            salt = parsec.parse_ext_salt(ext_salt)
        except ValueError as error:
            raise self._cannot(f"the server sent {error}") from None
        return parsec.sign(self._password(), *salt, self._nonce)

    def _native(self) -> bytes:
        stage1 = self._credential.sha1
        if self._credential.password is not None:
            stage1 = sha1(self._password()).digest()
        if stage1 is None:
            raise self._cannot("neither the password nor SHA1 of it is known")
        return _xor(stage1, sha1(self._nonce + sha1(stage1).digest()).digest())

    def _sha2(self) -> bytes:
        stage1 = self._credential.sha256
        if self._credential.password is not None:
            stage1 = sha256(self._password()).digest()
        if stage1 is None:
            raise self._cannot("neither the password nor SHA256 of it is known")
        return _xor(stage1, sha256(sha256(stage1).digest() + self._nonce).digest())

    def _password(self) -> bytes:
        if self._credential.password is None:
            raise self._cannot("it needs the password, and only a digest is known")
        return self._credential.password.encode("utf-8", "surrogateescape")

    def _clear(self) -> bytes:
        return self._password() + b"\0"

    def _encrypted(self, pem: bytes) -> bytes:
        if len(pem) > MAX_PUBLIC_KEY or not self._nonce:
            raise self._cannot("the server sent no usable public key")
        try:
            key = serialization.load_pem_public_key(pem)
            if not isinstance(key, rsa.RSAPublicKey) or key.key_size > MAX_KEY_SIZE:
                raise ValueError
            return key.encrypt(_xor(self._clear(), self._nonce), _OAEP)
        except (ValueError, UnsupportedAlgorithm):  # also: the password is longer than the key has room for
            raise self._cannot("the server sent no usable public key") from None

    def _cannot(self, reason: str) -> ServerFault:
        # The plugin's name is the server's bytes and goes into a log line.
        name = "".join(c if c.isascii() and c.isprintable() else "?" for c in self.plugin[:64])
        return ServerFault(f"cannot log in with {name}: {reason}")


# The servers' choice; SHA-1 inside OAEP rests on no collision resistance.
_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303


def _xor(data: bytes, mask: bytes) -> bytes:
    """Each byte of ``data`` with one of ``mask``, which repeats."""
    return bytes(left ^ right for left, right in zip(data, cycle(mask), strict=False))
