"""System variables: whose value a read sees, and what setting one does. Called by ``sql.calls`` and
``sql.setting``.

https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html and
https://mariadb.com/kb/en/server-system-variables/
"""

from __future__ import annotations

from mysqlproxy.sql.verdict import Effect, Needs
from mysqlproxy.sql.words import words

CONNECTION_ID = "PSEUDO_THREAD_ID"

_LAST_INSERT = frozenset({"IDENTITY", "LAST_INSERT_ID"})
_LAST_STATEMENT = frozenset({"WARNING_COUNT", "ERROR_COUNT"})

# Setting one of these changes what the next statements write, or how they are logged, in ways no tracker
# shows.
_UNTRACKED = words(
    """
        BINLOG_FORMAT BINLOG_ROW_IMAGE CHECK_CONSTRAINT_CHECKS DEBUG DEBUG_SYNC IDENTITY INSERT_ID
        LAST_INSERT_ID ORIGINAL_COMMIT_TIMESTAMP IMMEDIATE_SERVER_VERSION ORIGINAL_SERVER_VERSION
        PROXY_USER RAND_SEED1 RAND_SEED2 SERVER_ID SKIP_REPLICATION SQL_LOG_BIN SQL_LOG_OFF TIMESTAMP
        TRANSACTION_ALLOW_BATCHING XA_DETACH_ON_PREPARE
        """
)
_UNTRACKED_PREFIXES = ("GTID_", "PSEUDO_", "WSREP_", "DEBUG", "LAST_GTID")

# Without SESSION, SET @@transaction_isolation is for the next transaction alone.
ONE_TRANSACTION = frozenset(
    {"TRANSACTION_ISOLATION", "TX_ISOLATION", "TRANSACTION_READ_ONLY", "TX_READ_ONLY"}
)


def needs_of(name: str) -> Needs:
    """The connection whose value of ``@@name`` (upper case, without scope) counts."""
    if name in _LAST_INSERT:
        return Needs.LAST_INSERT
    if name in _LAST_STATEMENT:
        return Needs.LAST_STATEMENT
    # The manager is always right; on a worker even max_allowed_packet may differ.
    return Needs.MANAGER


def effect_of_setting(name: str, scoped: bool) -> int:
    """What ``SET [SESSION] name = ...`` leaves in the connection; ``scoped`` when SESSION or LOCAL was
    said.
    """
    if name in _UNTRACKED or name.startswith(_UNTRACKED_PREFIXES):
        return Effect.VARIABLES | Effect.UNTRACKED
    if name == "AUTOCOMMIT":
        return Effect.VARIABLES | Effect.TRANSACTION
    if name in ONE_TRANSACTION and not scoped:
        return Effect.VARIABLES | Effect.ONE_TRANSACTION
    return Effect.VARIABLES
