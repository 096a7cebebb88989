"""A certificate for the daemon's side towards clients, valid for a day; sysbench wants three files of fixed names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def make(folder: Path) -> dict[str, str]:
    """The section ``tls`` for a daemon; ``folder`` gets the files that sysbench looks for where it runs."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mysqlproxy bench")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=60))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_pem = certificate.public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for name, content in (
        ("client-cert.pem", certificate_pem),
        ("client-key.pem", key_pem),
        ("cacert.pem", certificate_pem),
    ):
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
    return {"certificate": str(folder / "client-cert.pem"), "key": str(folder / "client-key.pem")}
