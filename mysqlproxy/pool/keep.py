"""Why a session must keep its connection to a server.

Set by the session after each statement, read by the pool when somebody waits for a connection: with no reason the
pool may hand it, reset, to another session. Each reason has a provable end, or lasts until the session is reset.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final


class Keep:
    """Plain integers; see ``sql.verdict.Effect``."""

    NONE: Final = 0
    TRANSACTION: Final = 1  # by the server's status flags
    AUTOCOMMIT_OFF: Final = (
        2  # the next statement begins a transaction that this connection's settings apply to
    )
    ONE_TRANSACTION: Final = 4  # SET TRANSACTION holds for the next transaction
    TEMPORARY_TABLE: Final = 8
    TABLE_LOCK: Final = 16
    NAMED_LOCK: Final = 32
    USER_VARIABLES: Final = 64
    PREPARED: Final = 128  # PREPARE by name
    CURSOR: Final = 256
    FOUND_ROWS: Final = 512  # after SQL_CALC_FOUND_ROWS
    WARNINGS: Final = 1024  # the last statement's warnings can still be asked for
    UNTRACKED: Final = 2048  # state that nobody reports
    HOP: Final = 4096  # behind it the next hop keeps a session for this one, with whatever state


# While one of these holds, the session's every statement runs on this connection. The other reasons keep the
# connection for the statements that need it and let plain reads go elsewhere.
STAY: Final = (
    Keep.TRANSACTION
    | Keep.ONE_TRANSACTION
    | Keep.TEMPORARY_TABLE
    | Keep.TABLE_LOCK
    | Keep.NAMED_LOCK
    | Keep.UNTRACKED
)

# What belongs to the last statement ends with the next one, wherever that runs.
OF_LAST_STATEMENT: Final = Keep.WARNINGS | Keep.FOUND_ROWS

# A connection with one of these cannot be replaced by another one without the client noticing.
IRREPLACEABLE: Final = ~(OF_LAST_STATEMENT | Keep.AUTOCOMMIT_OFF)


def names(keep: int) -> str:
    """The reasons for logs, as in ``TRANSACTION|WARNINGS``."""
    return "|".join(name for name, bit in vars(Keep).items() if name.isupper() and bit & keep)


@lru_cache(256)
def kept_for(keep: int) -> str:
    """The one reason for metrics, of those for which a session's every statement stays; "kept" for none."""
    return names(keep & STAY).rpartition("|")[2].lower() or "kept"
