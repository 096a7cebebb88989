"""Which client certificates an account wants. Called by ``gatekeeper.login`` with what the TLS layer has verified.

That a CA of [tls] client_ca has signed it is OpenSSL's business, and done by then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from cryptography import x509

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class CertificateRule:
    """What must be true of it; all that is given. With nothing given any certificate will do.

    Attributes:
        subject, issuer: as RFC 4514 writes names ("CN=app,O=Example", what ``openssl x509 -nameopt RFC2253``
            prints), or as MySQL's REQUIRE SUBJECT does ("/O=Example/CN=app").
        fingerprint: SHA-256 of the certificate, 64 hexadecimal digits, colons allowed.
    """

    subject: str | None = None
    issuer: str | None = None
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        if self.fingerprint is not None and not _FINGERPRINT.fullmatch(_plain(self.fingerprint)):
            raise ValueError("certificate.fingerprint is no SHA-256 of 64 hexadecimal digits")
        for key, name in (("subject", self.subject), ("issuer", self.issuer)):
            if name is not None and not name.startswith("/"):
                try:
                    x509.Name.from_rfc4514_string(name)
                except ValueError:
                    raise ValueError(
                        f'certificate.{key} is no name; write it as in "CN=app,O=Example"'
                    ) from None

    def fits(self, certificate: bytes) -> bool:
        """Whether it is the one meant.

        Args:
            certificate: DER.
        """
        if self.fingerprint is not None:
            found = sha256(certificate).hexdigest()
            if not compare_digest(found, _plain(self.fingerprint)):
                return False
        if self.subject is None and self.issuer is None:
            return True
        try:
            parsed = x509.load_der_x509_certificate(certificate)
            subject, issuer = parsed.subject, parsed.issuer
        except ValueError:
            return False
        return _is(self.subject, subject) and _is(self.issuer, issuer)


def _is(wanted: str | None, name: x509.Name) -> bool:
    if wanted is None:
        return True
    if wanted.startswith("/"):
        return wanted == "".join(f"/{_attribute(part)}={part.value!s}" for part in name)
    return x509.Name.from_rfc4514_string(wanted) == name or wanted == name.rfc4514_string()


def _attribute(part: x509.NameAttribute[Any]) -> str:
    # OpenSSL's short name, which RFC 4514 does not have.
    return "emailAddress" if part.oid == x509.NameOID.EMAIL_ADDRESS else part.rfc4514_attribute_name


def _plain(fingerprint: str) -> str:
    return fingerprint.replace(":", "").lower()
