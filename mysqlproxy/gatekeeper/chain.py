"""The chain of daemons, gatekeeper -> trusted host -> proxy: what each of them signs, and whom it believes.

Built from [chain] at start and at every reload. Pure but for reading the keys; called by the session's login. A
gatekeeper signs for each login who has logged in (``protocol.assertion``); the trusted host and the proxy check it,
each for itself. It never sees a database password.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from secrets import token_bytes

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, load_pem_public_key

from mysqlproxy.config.schema import Certificate, ChainRole, Config
from mysqlproxy.errors import ConfigFault, MalformedPacket
from mysqlproxy.gatekeeper.accounts import Accounts, Address, allowed
from mysqlproxy.gatekeeper.certificates import CertificateRule
from mysqlproxy.gatekeeper.login import Accept, Channel, Deny, Step, Switch
from mysqlproxy.protocol.assertion import CONTEXT, NONCE_SIZE, PLUGIN, Assertion, parse_assertion
from mysqlproxy.protocol.credentials import ServerCredential

LIFETIME = 30.0  # seconds from signing to expiry: a login takes milliseconds, clocks differ by seconds
_FURTHEST = 2 * LIFETIME  # an expiry further away was not made by us
MAX_KEYS = 16  # in one file
_BEGIN = b"-----BEGIN PUBLIC KEY-----"

NEXT = {ChainRole.GATEKEEPER: "trusted host", ChainRole.TRUSTED_HOST: "proxy"}


class Refused(Exception):
    """An assertion that is not believed. The reason is for the log, never for the other side."""


@dataclass(frozen=True, slots=True)
class Gatekeeper:
    """One whose assertions are believed.

    Attributes:
        keys: any of them may have signed.
        certificate: what it shows; None where that is another hop's business.
    """

    name: str
    keys: tuple[Ed25519PublicKey, ...]
    certificate: CertificateRule | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """This daemon's place in the chain.

    Attributes:
        key: signs, the gatekeeper's only.
        fingerprint: of the certificate that the gatekeeper shows.
        gatekeepers: who is believed, on the trusted host and on the proxy.
        trusted_host: the certificate of who may connect to the proxy.
    """

    role: ChainRole
    key: Ed25519PrivateKey | None = field(default=None, repr=False)
    fingerprint: bytes = b""
    gatekeepers: tuple[Gatekeeper, ...] = ()
    trusted_host: CertificateRule | None = None

    @property
    def next_hop(self) -> str:
        """What comes behind; "" on the proxy, where the servers come."""
        return NEXT.get(self.role, "")

    @property
    def has_hops_before(self) -> bool:
        """Clients are hops, with certificates and assertions."""
        return self.role is not ChainRole.GATEKEEPER

    def admits(self, certificate: bytes | None) -> bool:
        """Whether who shows this certificate may connect at all."""
        if certificate is None:
            return False
        rules = [self.trusted_host, *(one.certificate for one in self.gatekeepers)]
        return any(rule.fits(certificate) for rule in rules if rule is not None)

    def sign(
        self, account: str, peer: Address | None, session: int, nonce: bytes, shown: bytes = b""
    ) -> bytes:
        """The assertion that this client has logged in to this account.

        Args:
            shown: fingerprint of the certificate that the connection was made with, where it is an older one.
        """
        assert self.key is not None
        expires = int((time.time() + LIFETIME) * 1000)
        body = Assertion(account, peer, session, expires, shown or self.fingerprint, nonce).build()
        return body + self.key.sign(CONTEXT + body)

    def check(
        self,
        data: bytes,
        *,
        account: str,
        nonce: bytes,
        certificate: bytes | None = None,
        now: Callable[[], float] = time.time,
    ) -> Assertion:
        """The assertion, if all of it is right.

        Args:
            account: the name in the login it came with.
            nonce: of this login.
            certificate: that the gatekeeper has shown to us, DER; None when it is not our peer.

        Raises:
            Refused: with the reason.
        """
        try:
            found, signed, signature = parse_assertion(data)
        except MalformedPacket as error:
            raise Refused(str(error)) from None
        signer = next((one for one in self.gatekeepers if _signed_by(one, CONTEXT + signed, signature)), None)
        if signer is None:
            raise Refused("an assertion that no known gatekeeper has signed")
        if not compare_digest(found.nonce, nonce):
            raise Refused("an assertion for another login")
        left = found.expires / 1000 - now()
        if left <= 0:
            raise Refused("an assertion that has expired; compare the clocks of the hosts")
        if left > _FURTHEST:
            raise Refused("an assertion that expires too late; compare the clocks of the hosts")
        if found.account != account:
            raise Refused("an assertion for another account")
        if certificate is not None and (
            not compare_digest(found.fingerprint, sha256(certificate).digest())
            or signer.certificate is None
            or not signer.certificate.fits(certificate)
        ):
            raise Refused(f"an assertion of gatekeeper {signer.name} by who shows another certificate")
        return found


def _signed_by(gatekeeper: Gatekeeper, signed: bytes, signature: bytes) -> bool:
    for key in gatekeeper.keys:
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            continue
        return True
    return False


class AssertionDialogue:
    """One login at the proxy, in the steps of ``gatekeeper.login.LoginDialogue``: one question, one answer.

    Args:
        accounts: who may log in.
        channel: how the trusted host comes.
    """

    def __init__(self, accounts: Accounts, chain: Chain, channel: Channel) -> None:
        self._accounts = accounts
        self._chain = chain
        self._channel = channel
        self._nonce = b""
        self._name = ""

    def start(self, user: bytes, plugin: str, auth: bytes, *, fresh: bool = False) -> Step:
        """The question, whatever method was named and whatever came with it."""
        if not self._chain.admits(self._channel.certificate):
            return Deny("a certificate of none that may connect")
        self._name = user.decode("utf-8", "surrogateescape")
        self._nonce = token_bytes(NONCE_SIZE)
        return Switch(PLUGIN, self._nonce)

    def answer(self, data: bytes) -> Step:
        """The answer; each nonce is good for one."""
        nonce, self._nonce = self._nonce, b""
        if not nonce:
            return Deny("a second answer to one nonce")
        try:
            asserted = self._chain.check(data, account=self._name, nonce=nonce)
        except Refused as error:
            return Deny(str(error))
        account = self._accounts.get(asserted.account, asserted.peer)
        if account is None:
            return Deny("unknown account", asserted=asserted)
        if not allowed(account.allow_from, asserted.peer):
            return Deny("from a network not in allow_from", asserted=asserted)
        if account.locked:
            return Deny("the account is locked", 3118, "Access denied. Account is locked.", asserted)
        if account.has_expired:
            return Deny("the account has expired", 1862, "Your password has expired.", asserted)
        credential = ServerCredential(account.server_user, account.stored_password)
        return Accept(account, credential, fast_path=False, asserted=asserted)


def chain_of(config: Config) -> Chain | None:
    """What [chain] says; None without it.

    Raises:
        ConfigFault: a key or certificate cannot be used.
    """
    section = config.chain
    if section is None:
        return None
    faults: list[str] = []
    key, fingerprint = None, b""
    if section.role is ChainRole.GATEKEEPER:
        try:
            if section.signing_key is None:
                raise ValueError("is missing; a gatekeeper signs who has logged in")
            key = private_key(section.signing_key)
        except (OSError, ValueError) as error:
            faults.append(f"chain.signing_key: {error}")
        certificate = config.servers[0].tls_certificate
        try:
            fingerprint = b"" if certificate is None else sha256(_der(certificate)).digest()
        except (OSError, ValueError) as error:
            faults.append(f"servers[{config.servers[0].name}].tls_certificate: {error}")
    known = []
    for one in section.gatekeepers:
        try:
            known.append(Gatekeeper(one.name, public_keys(one.keys), _rule(one.certificate)))
        except (OSError, ValueError) as error:
            faults.append(f"chain.gatekeepers[{one.name}].keys: {error}")
    if faults:
        raise ConfigFault(faults)
    return Chain(section.role, key, fingerprint, tuple(known), _rule(section.trusted_host))


def private_key(path: Path) -> Ed25519PrivateKey:
    """An Ed25519 key in PEM.

    Raises:
        OSError, ValueError: it cannot be read, or is none.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError):
        raise ValueError(f"{path} holds no private key in PEM without a pass phrase") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path} holds a key that is not Ed25519; mysqlproxy pki makes one")
    return key


def public_keys(path: Path) -> tuple[Ed25519PublicKey, ...]:
    """The Ed25519 keys of a PEM file that holds one or, while they are changed, several.

    Raises:
        OSError, ValueError: it cannot be read, or holds something else.
    """
    blocks = path.read_bytes().split(_BEGIN)[1:]
    if not 0 < len(blocks) <= MAX_KEYS:
        raise ValueError(f"{path} holds no public key in PEM, or more than {MAX_KEYS}")
    found = []
    for block in blocks:
        try:
            key = load_pem_public_key(_BEGIN + block)
        except ValueError:
            raise ValueError(f"{path} holds a public key that cannot be read") from None
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError(f"{path} holds a key that is not Ed25519; mysqlproxy pki makes one")
        found.append(key)
    return tuple(found)


def _der(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


def _rule(certificate: Certificate | None) -> CertificateRule | None:
    if certificate is None:
        return None
    return CertificateRule(certificate.subject, certificate.issuer, certificate.fingerprint)
