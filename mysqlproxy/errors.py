"""Whose fault an error is: the client's, the policy's, a server's or our own.

Every layer raises these and only these across its border. Each carries the server's own error number and
SQLSTATE (https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html), so that the session can turn
any of them into an ERR packet without knowing where it came from. ``str(error)`` is safe to show to the client:
no secret, no literal of a statement, no address of a server.
"""

from __future__ import annotations


class ProxyError(Exception):
    """Base of all errors that may become an ERR packet.

    Attributes:
        errno: the server's error number (1..65535).
        sqlstate: five characters.
    """

    default_errno = 1105  # ER_UNKNOWN_ERROR
    default_sqlstate = "HY000"

    def __init__(self, message: str, *, errno: int | None = None, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.errno = self.default_errno if errno is None else errno
        self.sqlstate = self.default_sqlstate if sqlstate is None else sqlstate


class ClientFault(ProxyError):
    """The client broke the protocol or asked for what cannot be."""


class Interrupted(ClientFault):
    """The statement was killed (ER_QUERY_INTERRUPTED)."""

    default_errno = 1317
    default_sqlstate = "70100"

    def __init__(self) -> None:
        super().__init__("Query execution was interrupted")


class MalformedPacket(ClientFault):
    """Bytes that are no packet of the kind expected (ER_MALFORMED_PACKET); from either side."""

    default_errno = 1835


class PacketTooLarge(ClientFault):
    """A packet beyond max_packet (ER_NET_PACKET_TOO_LARGE)."""

    default_errno = 1153
    default_sqlstate = "08S01"


class PolicyDenied(ProxyError):
    """A rule or a limit says no (ER_SPECIFIC_ACCESS_DENIED_ERROR unless told otherwise)."""

    default_errno = 1227
    default_sqlstate = "42000"


class AccessDenied(PolicyDenied):
    """The login failed (ER_ACCESS_DENIED_ERROR); the reason is for the log, never for the client."""

    default_errno = 1045
    default_sqlstate = "28000"

    def __init__(
        self, message: str, *, reason: str, errno: int | None = None, sqlstate: str | None = None
    ) -> None:
        super().__init__(message, errno=errno, sqlstate=sqlstate)
        self.reason = reason


class TooManyConnections(PolicyDenied):
    """No connection became free within the deadline (ER_CON_COUNT_ERROR)."""

    default_errno = 1040
    default_sqlstate = "08004"


class ServerFault(ProxyError):
    """A server is unreachable, died, or broke the protocol.

    ER_CONNECTION_KILLED: MaxScale says the same, and SQLAlchemy knows it as "this connection is gone", as JDBC does
    SQLSTATE class 08. Not CR_SERVER_LOST: numbers from 2000 on are the clients' own, and libmariadb takes an ERR
    packet with one of them for malformed (2027).
    """

    default_errno = 1927
    default_sqlstate = "08S01"


class SessionLost(ServerFault):
    """State of this session was on a server that is no longer what it was."""


class NoServer(ServerFault):
    """No server can take this statement now: no manager for a write, no server at all for a read."""

    default_errno = 1290  # ER_OPTION_PREVENTS_STATEMENT: what a read-only server answers to a write
    default_sqlstate = "HY000"


class InternalBug(ProxyError):
    """We are wrong. The client gets a general error and is closed; the log has the traceback."""


class ConfigFault(Exception):
    """Configuration that cannot be used. Holds every fault found, not only the first.

    Attributes:
        faults: lines of the form ``file: key: reason; remedy``.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults
