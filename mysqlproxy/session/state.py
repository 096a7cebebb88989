"""What a session has set, so that every server connection it uses can be given the same.

Learned from the servers' session trackers (they report what really changed, also inside procedures), never from the
text of a SET; the one thing the trackers of MariaDB hide, the collation in SET NAMES ... COLLATE, is added by the
engine. Pure: ``commands_for`` says what to send, the engine sends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mysqlproxy.protocol.tracking import Change, ChangeKind
from mysqlproxy.sql.diagnostics import Target

# Values that belong to one connection or one statement: with one of these set, the session stays on the manager.
# (As with sql_auto_is_null, by which ``id IS NULL`` asks for the row that was inserted last.)
_NOT_CARRIED = frozenset(
    (
        "timestamp",
        "insert_id",
        "last_insert_id",
        "identity",
        "rand_seed1",
        "rand_seed2",
        "gtid_next",
        "gtid_domain_id",
        "gtid_seq_no",
        "server_id",
        "sql_log_bin",
        "skip_replication",
        "pseudo_thread_id",
        "pseudo_slave_mode",
        "pseudo_replica_mode",
    )
)
# The daemon's own business, or reported without having been set.
_IGNORED = frozenset(
    (
        "last_gtid",
        "gtid_executed",
        "statement_id",
        "warning_count",
        "error_count",
        "in_transaction",
        "session_track_system_variables",
        "session_track_schema",
        "session_track_gtids",
    )
)
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,10})?\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_NAMES = ("character_set_client", "character_set_connection", "character_set_results", "collation_connection")
# What the text of a statement is read by.
_READ_BY = frozenset(("sql_mode", "character_set_client", "character_set_connection", "collation_connection"))
MAX_VARIABLES = 256

Reading = tuple[tuple[str, str] | None, tuple[tuple[str, str], ...]]  # names and variables, of these only


class SessionState:
    """The carried state.

    Attributes:
        schema: default schema as bytes, or None.
        variables: system variable -> value as the tracker reported it, in the order of setting.
        names: charset and collation of the last SET NAMES ... COLLATE; what was set after it is in ``variables``.
        option: the last COM_SET_OPTION's argument, or None; what has a version in ``optional`` lacks only that.
        version: grows with every change.
        uncarried: why connections can no longer be given the same state, "" while they can.
        last_insert_id: LAST_INSERT_ID() of a connection that was given up, or None.
        assigned: by server: user variables, by name, that a GET DIAGNOSTICS has assigned on a worker; the manager's
            connection gets them before it runs anything else.
        last_values: LASTVAL() of sequences, as `schema`.`name`, of connections that were given up.
        sequences_lost: one of those may have known more than that.
        drawn_lost: one of those had drawn from a sequence, as far as statements showed.
        id_lost: LAST_INSERT_ID() went with one of those.
        role: the last SET ROLE as it was written, or None.
    """

    __slots__ = (
        "assigned",
        "drawn_lost",
        "id_lost",
        "last_insert_id",
        "last_values",
        "names",
        "option",
        "optional",
        "role",
        "schema",
        "sequences_lost",
        "uncarried",
        "variables",
        "version",
    )

    def __init__(self) -> None:
        self.schema: bytes | None = None
        self.variables: dict[str, str] = {}
        self.names: tuple[str, str] | None = None
        self.option: int | None = None
        self.optional = range(0)
        self.version = 0
        self.uncarried = ""
        self.assigned: dict[str, dict[str, Target]] = {}
        self.last_insert_id: int | None = None
        self.last_values: dict[str, int] = {}
        self.sequences_lost = False
        self.drawn_lost = False
        self.id_lost = False
        self.role: bytes | None = None

    def reset(self, schema: bytes | None) -> None:
        """COM_RESET_CONNECTION, COM_CHANGE_USER."""
        self.schema = schema
        self.variables = {}
        self.names = None
        self.option = None
        self.uncarried = ""
        self.assigned = {}
        self.last_insert_id = None
        self.last_values = {}
        self.sequences_lost = False
        self.drawn_lost = False
        self.id_lost = False
        self.role = None
        self.version += 1

    def set_option(self, option: int) -> None:
        """COM_SET_OPTION."""
        first = self.optional.start if self.version == self.optional.stop else self.version
        self.option = option
        self.version += 1
        self.optional = range(first, self.version)

    def learn(self, change: Change) -> str:
        """Take over one tracker report. Returns the GTIDs of a write if it told some, else ""."""
        if change.kind is ChangeKind.SCHEMA:
            self.schema = change.value.encode("utf-8", "surrogateescape") or None
            self.version += 1
        elif change.kind is ChangeKind.GTIDS:
            return change.value
        elif change.kind is ChangeKind.VARIABLE:
            name = change.name.lower()
            if name == "last_gtid":
                return change.value
            self.set_variable(name, change.value)
        return ""

    def set_variable(self, name: str, value: str) -> None:
        if name in _IGNORED:
            return
        if name in _NOT_CARRIED or (name == "sql_auto_is_null" and value.upper() not in ("0", "OFF")):
            self.uncarried = name
        elif len(self.variables) >= MAX_VARIABLES or not _NAME.match(name) or literal(name, value) is None:
            self.uncarried = "a variable that cannot be carried over"
        else:
            self.variables.pop(
                name, None
            )  # the order of setting matters: sql_mode's parts, NAMES and collations
            self.variables[name] = value
            if name == "character_set_connection":
                self.variables.pop("collation_connection", None)  # SET NAMES chose the charset's default
            self.version += 1

    def set_names(self, charset: str, collation: str) -> None:
        """SET NAMES charset COLLATE collation has happened."""
        self.names = (charset, collation)
        for name in _NAMES:
            self.variables.pop(name, None)
        self.version += 1

    def set_role(self, statement: bytes) -> None:
        """SET ROLE has happened."""
        self.role = statement
        self.version += 1

    @property
    def charset(self) -> str:
        """The client's character set as far as the session has set it, else ""."""
        return self.variables.get("character_set_client", self.names[0] if self.names else "")

    @property
    def reading(self) -> Reading:
        """What the session has set of that by which texts are read."""
        return self.names, tuple(item for item in self.variables.items() if item[0] in _READ_BY)

    def assignments(self, *, autocommit: bool = False) -> bytes | None:
        """One SET statement that makes a fresh login's variables this session's; None for nothing to set.

        Args:
            autocommit: whatever the session's is, this connection's is on.
        """
        variables = self.variables | {"autocommit": "1"} if autocommit else self.variables
        if not variables and self.names is None:
            return None
        return b"SET " + b",".join(_parts(self.names, variables.items()))


def reread(before: Reading, after: Reading, collation: int) -> bytes:
    """The SET statement after which a connection that read texts by ``before`` reads them by ``after``.

    Args:
        collation: id of the login's, which rules while nothing is set.
    """
    names, variables = before
    set_before = {name for name, _ in variables}
    parts = [b"@@session.sql_mode=DEFAULT"] if "sql_mode" in set_before else []
    if names is not None or set_before - {"sql_mode"}:
        parts.append(
            b"@@session.character_set_client=%d,@@session.collation_connection=%d" % (collation, collation)
        )
    return b"SET " + b",".join(parts + _parts(*after))


def _parts(names: tuple[str, str] | None, variables: Iterable[tuple[str, str]]) -> list[bytes]:
    parts = [] if names is None else [b"NAMES '%s' COLLATE '%s'" % tuple(n.encode() for n in names)]
    for name, value in variables:
        text = literal(name, value)
        assert text is not None  # set_variable saw to it
        parts.append(b"@@session.%s=%s" % (name.encode("ascii"), text))
    return parts


def literal(name: str, value: str) -> bytes | None:
    """A tracked value as SQL, or None when no spelling is safe under every sql_mode and charset."""
    if name.startswith("character_set_") and not value:
        return b"NULL"
    if _NUMBER.match(value):
        return value.encode()
    if "\\" in value or "\0" in value or not value.isascii():
        return None
    return b"'" + value.replace("'", "''").encode() + b"'"
