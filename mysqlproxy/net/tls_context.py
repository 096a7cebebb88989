"""The settings of TLS towards clients and towards servers. Built at start and at each reload, in ``net.tls``
used.

TLS 1.2 and 1.3 only; no renegotiation, no compression, no session tickets (processes share no keys for them).
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

ServerTls = Literal["preferred", "required", "verify"]


def server_context(
    certificate: Path, key: Path, client_ca: Path | None = None, *, hops: bool = False
) -> ssl.SSLContext:
    """For clients.

    Args:
        certificate: PEM, the certificate followed by its chain.
        key: PEM, without a passphrase.
        client_ca: PEM; a client is asked for a certificate, and may show none or one that these have signed.
        hops: the clients are hops of a chain: TLS 1.3, and no connection without a certificate.

    Raises:
        OSError: a file cannot be read; ssl.SSLError, which is one: it is no certificate or key, or they do
            not match.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if hops else ssl.CERT_OPTIONAL
    if hops:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    _load_chain(context, certificate, key)
    return context


def client_context(
    mode: ServerTls, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """For one server.

    Args:
        mode: "preferred" and "required" encrypt to whoever answers; "verify" wants a certificate that the CA
            has signed and that names the host.
        ca: PEM; None: the system's.
        certificate, key: ours, where the server asks for one; the key may be in the certificate's file.

    Raises:
        OSError: as in ``server_context``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    if mode == "verify":
        if ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(ca)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        _load_chain(context, certificate, key)
    return context


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


def _load_chain(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    # With a password given OpenSSL does not ask the terminal for the passphrase of an encrypted key.
    context.load_cert_chain(certificate, key, password=b"")
