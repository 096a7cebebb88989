"""Whether certificate, key and CA files can be used: loaded as the daemon will load them, and then forgotten.

Called by ``config.crosscheck``. Never prompts for a pass phrase and never shows a key.
"""

from __future__ import annotations

import ssl
from pathlib import Path


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
