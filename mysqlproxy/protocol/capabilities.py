"""Capability and status flags, and three decisions: what to offer, what was agreed, what to ask of a server.

Called by the session's login (``offer``, ``negotiate``), the pool's login (``for_server``) and every parser
that depends on a flag. Never keeps state; a set of flags is one int of 64 bits, the upper 32 MariaDB's own.

Manual: https://dev.mysql.com/doc/dev/mysql-server/latest/group__group__cs__capabilities__flags.html and
https://mariadb.com/kb/en/connection/#capabilities.
"""

from __future__ import annotations

from typing import Final

from mysqlproxy.errors import ClientFault, ServerFault

LONG_PASSWORD: Final = 1 << 0  # MariaDB calls it CLIENT_MYSQL: cleared by whoever speaks its extended flags
FOUND_ROWS: Final = 1 << 1
LONG_FLAG: Final = 1 << 2
CONNECT_WITH_DB: Final = 1 << 3
NO_SCHEMA: Final = 1 << 4
COMPRESS: Final = 1 << 5
ODBC: Final = 1 << 6
LOCAL_FILES: Final = 1 << 7
IGNORE_SPACE: Final = 1 << 8
PROTOCOL_41: Final = 1 << 9
INTERACTIVE: Final = 1 << 10
SSL: Final = 1 << 11
IGNORE_SIGPIPE: Final = 1 << 12
TRANSACTIONS: Final = 1 << 13
RESERVED: Final = 1 << 14
SECURE_CONNECTION: Final = 1 << 15
MULTI_STATEMENTS: Final = 1 << 16
MULTI_RESULTS: Final = 1 << 17
PS_MULTI_RESULTS: Final = 1 << 18
PLUGIN_AUTH: Final = 1 << 19
CONNECT_ATTRS: Final = 1 << 20
PLUGIN_AUTH_LENENC_CLIENT_DATA: Final = 1 << 21
CAN_HANDLE_EXPIRED_PASSWORDS: Final = 1 << 22
SESSION_TRACK: Final = 1 << 23
DEPRECATE_EOF: Final = 1 << 24
OPTIONAL_RESULTSET_METADATA: Final = 1 << 25
ZSTD_COMPRESSION_ALGORITHM: Final = 1 << 26
QUERY_ATTRIBUTES: Final = 1 << 27  # MySQL only
MULTI_FACTOR_AUTHENTICATION: Final = 1 << 28
CAPABILITY_EXTENSION: Final = 1 << 29
SSL_VERIFY_SERVER_CERT: Final = 1 << 30
REMEMBER_OPTIONS: Final = 1 << 31

MARIADB_PROGRESS: Final = 1 << 32
MARIADB_COM_MULTI: Final = 1 << 33
MARIADB_STMT_BULK: Final = 1 << 34
MARIADB_EXTENDED_METADATA: Final = 1 << 35
MARIADB_CACHE_METADATA: Final = 1 << 36
MARIADB_BULK_UNIT_RESULTS: Final = 1 << 37

CLASSIC: Final = (1 << 32) - 1  # the flags both kinds of server know; the rest is MariaDB's

# Status flags (OK, EOF and greeting), SERVER_* in the manual.
STATUS_IN_TRANS: Final = 0x0001
STATUS_AUTOCOMMIT: Final = 0x0002
STATUS_MORE_RESULTS_EXISTS: Final = 0x0008
STATUS_NO_GOOD_INDEX_USED: Final = 0x0010
STATUS_NO_INDEX_USED: Final = 0x0020
STATUS_CURSOR_EXISTS: Final = 0x0040
STATUS_LAST_ROW_SENT: Final = 0x0080
STATUS_DB_DROPPED: Final = 0x0100
STATUS_NO_BACKSLASH_ESCAPES: Final = 0x0200
STATUS_METADATA_CHANGED: Final = 0x0400
STATUS_QUERY_WAS_SLOW: Final = 0x0800
STATUS_PS_OUT_PARAMS: Final = 0x1000
STATUS_IN_TRANS_READONLY: Final = 0x2000
STATUS_SESSION_STATE_CHANGED: Final = 0x4000
STATUS_ANSI_QUOTES: Final = 0x8000  # MariaDB

# Concern the daemon's own conversation with one side; offered and asked whatever the other side has.
_ALWAYS: Final = (
    PROTOCOL_41
    | LONG_FLAG
    | TRANSACTIONS
    | SECURE_CONNECTION
    | PLUGIN_AUTH
    | PLUGIN_AUTH_LENENC_CLIENT_DATA
    | CONNECT_ATTRS
    | SESSION_TRACK
)

# Change the bytes or what a statement means: a client that has one needs a server connection that has it too.
_MUST_AGREE: Final = (
    FOUND_ROWS
    | IGNORE_SPACE
    | MULTI_STATEMENTS
    | MULTI_RESULTS
    | PS_MULTI_RESULTS
    | DEPRECATE_EOF
    | QUERY_ATTRIBUTES
    | MARIADB_PROGRESS
    | MARIADB_STMT_BULK
    | MARIADB_EXTENDED_METADATA
)

# A server that lacks one answers for itself (1148 to LOAD DATA LOCAL, its wait_timeout), in the same bytes.
_MAY_DIFFER: Final = LOCAL_FILES | INTERACTIVE

# All that can be relayed. Compression and OPTIONAL_RESULTSET_METADATA would change every packet; cached
# metadata needs the client's and the server's prepared statements to be the same ones.
OFFER: Final = _ALWAYS | _MUST_AGREE | _MAY_DIFFER | LONG_PASSWORD | CONNECT_WITH_DB

# What a server must have. The trackers are how the daemon knows a session's state.
REQUIRED_OF_SERVERS: Final = (
    PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH | CONNECT_WITH_DB | SESSION_TRACK
)


def offer(cluster: int, tls: bool) -> int:
    """The capabilities for the greeting.

    Args:
        cluster: what every server of the cluster has (the intersection of their greetings).
        tls: whether this listener can do TLS.
    """
    offered = (OFFER & cluster) | _ALWAYS | CONNECT_WITH_DB
    if offered & LONG_PASSWORD:
        offered &= CLASSIC  # the extended flags' bytes mean nothing while this bit is set
    if tls:
        offered |= SSL
    return offered


def negotiate(offered: int, client: int) -> int:
    """The flags a client's connection has from now on: what it asked for, as far as it was offered.

    Some clients (Node's mysql2) ask for flags that were not offered; those never count.

    Raises:
        ClientFault: a client from before MySQL 4.1 (ER_NOT_SUPPORTED_AUTH_MODE, 1251/08004).
    """
    if not client & PROTOCOL_41:
        raise ClientFault(
            "Client does not support authentication protocol requested by server;"
            " consider upgrading MySQL client",
            errno=1251,
            sqlstate="08004",
        )
    return offered & client


def for_server(client: int, server: int) -> int:
    """The flags to log in to a server with, so that bytes and meaning are those the client agreed to.

    TLS and a schema are the login's own matter: ``SSL`` and ``CONNECT_WITH_DB`` are not in the result.

    Args:
        client: as ``negotiate`` returned it.
        server: the capabilities of the server's greeting.

    Raises:
        ServerFault: the server lacks what the client was promised, or what the daemon needs.
    """
    missing = (REQUIRED_OF_SERVERS | (client & _MUST_AGREE)) & ~server
    if missing:
        raise ServerFault(f"The server lacks capabilities that are needed ({missing:#x})")
    flags = _ALWAYS | (client & (_MUST_AGREE | _MAY_DIFFER))
    return (flags | LONG_PASSWORD) & server
