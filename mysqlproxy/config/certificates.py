"""Whether certificate, key and CA files can be used: loaded as the daemon will load them, and then forgotten.

Called by ``config.crosscheck``, and for the metric by ``app``. Never prompts for a pass phrase and never shows a key.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cryptography import x509

from mysqlproxy.config.schema import Config


class _EncryptedKeyError(Exception):
    pass


def _no_pass_phrase() -> str:
    """Without this OpenSSL would ask on the terminal, and wait."""
    raise _EncryptedKeyError


def chain_fault(certificate: Path, key: Path) -> tuple[str, str] | None:
    """(``certificate`` or ``key``, ``reason; remedy``), or None when both are good and belong together."""
    for name, path in (("certificate", certificate), ("key", key)):
        if fault := _unreadable(path):
            return name, fault
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_no_pass_phrase)
    except _EncryptedKeyError:
        return (
            "key",
            f"{key} is protected by a pass phrase; store it without one, readable by the daemon only",
        )
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "key", f"{key} is not the key of {certificate}; name the two that belong together"
        which = "certificate" if not _is_certificate(certificate) else "key"
        path = certificate if which == "certificate" else key
        return which, f"{path} holds no usable {which} ({error.reason}); write it in PEM form"
    return None


def trust_fault(authority: Path) -> str:
    """``reason; remedy``, or "" when ``authority`` holds certificates to verify a server with."""
    if fault := _unreadable(authority):
        return fault
    if not _is_certificate(authority):
        return f"{authority} holds no certificate; write the authority's certificates in PEM form"
    return ""


def expiries(config: Config) -> Iterator[tuple[str, Path, datetime]]:
    """(key, file, when it expires) of each file with certificates; what cannot be read is left to the checks.

    A certificate's file expires with the first in it, for the other side needs all; a CA's with the last, for the old
    one stands beside the new one while they change.
    """
    files: list[tuple[str, Path | None]] = []
    if config.tls is not None:
        files += [("tls.certificate", config.tls.certificate), ("tls.client_ca", config.tls.client_ca)]
    for server in config.servers:
        key = f"servers[{server.name}]"
        files += [(f"{key}.tls_certificate", server.tls_certificate), (f"{key}.tls_ca", server.tls_ca)]
    for key, path in files:
        if path is None:
            continue
        try:
            found = x509.load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError):
            continue
        ends = [one.not_valid_after_utc for one in found]
        yield key, path, max(ends) if key.endswith("_ca") else min(ends)


def _is_certificate(path: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return False
    return True


def _unreadable(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return f"cannot read {path}: {reason}; name a file that the daemon's user may read"
    return ""
