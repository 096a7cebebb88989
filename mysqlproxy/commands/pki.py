"""``mysqlproxy pki``: a CA, and for each host of a chain a folder with what it needs: certificate, keys, CA.

Called by ``cli``. With --renew new certificates and signing keys; the public keys of the last signing keys stay
beside the new ones, so that hosts can be given theirs one after the other. With --renew-ca a new CA, too, which is
believed from then on, signs from the next --renew on, and is believed alone from the one after that on. Never
overwrites a file of a folder that it did not make, and never copies a CA's key.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from mysqlproxy.errors import ConfigFault

CA_DAYS = 3650
_CA = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mysqlproxy chain")])
_PHASES = {
    "next": "The new CA is believed beside the old one; once every host has its files, --renew signs with it.",
    "last": "The new CA has signed these; the old one is believed until the next --renew.",
}
_END = b"-----END PUBLIC KEY-----"
_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the chain.

    Attributes:
        name: of its folder and in its certificate (CN).
        addresses: names and addresses by which others reach it.
    """

    name: str
    addresses: tuple[str, ...]
    gatekeeper: bool = False


def pki(
    directory: Path,
    gatekeepers: Sequence[str],
    trusted_host: str,
    proxy: str,
    *,
    days: int,
    renew: bool,
    renew_ca: bool = False,
) -> int:
    """Make or renew everything, and print what goes where. Returns the exit status.

    Args:
        gatekeepers: for each of them its names and addresses, separated by commas; the others likewise.
        days: how long certificates are good, but never longer than their CA.
        renew_ca: ``renew``, and a new CA.

    Raises:
        ConfigFault: it is there already, or is not and shall be renewed, or cannot be written.
    """
    renew |= renew_ca
    if renew != (directory / "ca.key").exists():
        remedy = "run it without --renew to make it" if renew else "give --renew, or another folder"
        raise ConfigFault([f"{directory}: {'holds no CA' if renew else 'holds a CA already'}; {remedy}"])
    hosts = [
        Host("gatekeeper" if number == 1 else f"gatekeeper{number}", _addresses(text), gatekeeper=True)
        for number, text in enumerate(gatekeepers, 1)
    ]
    hosts += [Host("trusted-host", _addresses(trusted_host)), Host("proxy", _addresses(proxy))]
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority = _Authority(directory, renew=renew, renew_ca=renew_ca)
        _make(directory, hosts, days, authority)
    except OSError as error:
        raise ConfigFault(
            [f"{directory}: {error.strerror or error}; give a folder that can be written"]
        ) from None
    _explain(directory, hosts, authority, renew)
    return 0


def _make(directory: Path, hosts: Sequence[Host], days: int, authority: _Authority) -> None:
    believed: dict[str, bytes] = {}
    for host in hosts:
        folder = directory / host.name
        folder.mkdir(mode=0o700, exist_ok=True)
        write(folder / "ca.pem", authority.believed, 0o644)
        certificate, key = authority.issue(host, days)
        write(folder / "certificate.pem", certificate, 0o644)
        write(folder / "certificate.key", key, 0o600)
        if host.gatekeeper:
            signing = Ed25519PrivateKey.generate()
            public = signing.public_key().public_bytes(
                Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            believed[host.name] = public + _last_key(directory / f"{host.name}.pub")
            write(directory / f"{host.name}.pub", believed[host.name], 0o644)
            write(folder / "signing.key", _private(signing), 0o600)
        else:
            for name, keys in believed.items():
                write(folder / f"{name}.pub", keys, 0o644)


def _last_key(path: Path) -> bytes:
    """The first public key of the file as it was: the one that is in use until every host has the new one."""
    if not path.exists():
        return b""
    return path.read_bytes().partition(_END)[0] + _END + b"\n"


class _Authority:
    """The CA in ``ca.pem`` and ``ca.key``, made when there is none.

    While it is renewed there is ``ca.next.pem`` with its key, or after that ``ca.last.pem``.

    Attributes:
        believed: PEM, all CAs that hosts are to believe.
        end: when the certificate expires.
        phase: "", "next" or "last": which other one is believed.
    """

    def __init__(self, directory: Path, *, renew: bool, renew_ca: bool) -> None:
        self._directory = directory
        if not (directory / "ca.key").exists():
            self._create("ca")
        if renew_ca:
            if self._file("ca.next.pem").exists():
                raise ConfigFault(
                    [f"{directory}: has a new CA already; run it with --renew, which signs with it"]
                )
            self._create("ca.next")
        elif renew:
            self._promote()
        key = serialization.load_pem_private_key(self._file("ca.key").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigFault([f"{directory / 'ca.key'}: is no key of ours; give another folder"])
        self._key = key
        self.believed = self._file("ca.pem").read_bytes()
        certificate = x509.load_pem_x509_certificate(self.believed)
        self.end = certificate.not_valid_after_utc
        if self.end < datetime.now(UTC):
            raise ConfigFault(
                [f"{directory / 'ca.pem'}: has expired; make everything anew in another folder"]
            )
        others = [phase for phase in ("next", "last") if self._file(f"ca.{phase}.pem").exists()]
        self.believed += b"".join(self._file(f"ca.{phase}.pem").read_bytes() for phase in others)
        self.phase = others[0] if others else ""

    def _file(self, name: str) -> Path:
        return self._directory / name

    def _create(self, stem: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_CA, _CA, key.public_key(), datetime.now(UTC) + timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write(self._file(f"{stem}.key"), _private(key), 0o600)
        write(self._file(f"{stem}.pem"), certificate.public_bytes(Encoding.PEM), 0o644)

    def _promote(self) -> None:
        """The next one signs from now on; without one nobody needs the last one any more."""
        last, following = self._file("ca.last.pem"), self._file("ca.next.pem")
        if not following.exists():
            last.unlink(missing_ok=True)
            return
        write(last, self._file("ca.pem").read_bytes(), 0o644)
        if self._file("ca.next.key").exists():  # not when the last run was cut short right here
            self._file("ca.next.key").replace(self._file("ca.key"))
        following.replace(self._file("ca.pem"))

    def issue(self, host: Host, days: int) -> tuple[bytes, bytes]:
        """Certificate and key, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host.name)])
        purposes = [_SERVER] if host.name == "proxy" else [_SERVER, _CLIENT]
        end = min(datetime.now(UTC) + timedelta(days=days), self.end)
        certificate = (
            _builder(subject, _CA, key.public_key(), end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(list(map(_general, host.addresses))), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(Encoding.PEM), _private(key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(minutes=5))
        .not_valid_after(end)
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _addresses(text: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise ConfigFault(
            [f"{text!r}: is no list of names and addresses; write it as in db1.example.org,10.0.0.1"]
        )
    return found


def _general(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by more than ``mode`` says."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=mode)
    new.write_bytes(content)
    new.chmod(mode)
    new.replace(path)


def _explain(directory: Path, hosts: Sequence[Host], authority: _Authority, renew: bool) -> None:
    print(f"{directory}/ca.key stays here, or better where no host reaches it; it signs the next ones.")
    print(f"The CA is good until {authority.end:%Y-%m-%d}; --renew-ca makes the next one.")
    print("Copy each folder to its host, for the daemon's user to read, in this order:")
    for number, host in enumerate(reversed(hosts), 1):
        print(f"  {number}. {directory}/{host.name}/ to {', '.join(host.addresses)}: /etc/mysqlproxy/")
    if renew:
        print(
            "after each copy: systemctl reload mysqlproxy. The gatekeepers last: the others must know their keys."
        )
        print("What was signed with the key before this one is believed until the next --renew.")
        if authority.phase:
            print(_PHASES[authority.phase])
    else:
        print("deploy/examples/chain/ has the configurations that name these files.")
    sys.stdout.flush()
