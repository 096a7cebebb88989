"""The session trackers as the client set them: what it is shown of those that the daemon has on towards servers.

Asked by the relay for each OK with a session state, told by ``settle`` what a SET asked for. Pure.

Manual: https://dev.mysql.com/doc/refman/8.4/en/session-state-tracking.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mysqlproxy.protocol.packets import with_session_state
from mysqlproxy.protocol.tracking import ChangeKind, only_kinds
from mysqlproxy.sql.trackers import CURRENT, DEFAULT, GTIDS, SCHEMA, VARIABLES

# Of both kinds of server; redirect_url is MariaDB's.
DEFAULT_VARIABLES: Final = (
    "autocommit,character_set_client,character_set_connection,character_set_results,redirect_url,time_zone"
)
# The daemon leaves these to the client: a server sends what that has asked for.
_OF_THE_SERVER: Final = (
    ChangeKind.STATE_CHANGE,
    ChangeKind.TRANSACTION_CHARACTERISTICS,
    ChangeKind.TRANSACTION_STATE,
)
MAX_LIST: Final = 16 * 1024  # characters of a list of names that is kept


class Trackers:
    """One session's.

    Attributes:
        schema, gtids: whether the client is told of them.
        variables: the names it is told of, comma-separated as it set them.
    """

    __slots__ = ("_names", "gtids", "schema", "variables")

    def __init__(self) -> None:
        self.schema = True
        self.gtids = False
        self.variables = DEFAULT_VARIABLES
        self._names: frozenset[bytes] | None = _names(DEFAULT_VARIABLES)

    def ask(self, wishes: Iterable[tuple[str, str]]) -> None:
        """The client has set these (``Verdict.trackers``)."""
        for name, value in wishes:
            if name == SCHEMA:
                self.schema = bool(value)
            elif name == GTIDS:
                self.gtids = bool(value)
            elif name == VARIABLES:
                text = value.replace(CURRENT, self.variables).replace(DEFAULT, DEFAULT_VARIABLES)
                self.variables = text[:MAX_LIST]
                self._names = _names(self.variables)

    def shown(self, payload: bytes) -> bytes:
        """An OK or EOF packet from a server as the client gets it.

        Raises:
            MalformedPacket: no OK packet, or lengths that do not fit.
        """
        kinds = set(_OF_THE_SERVER)
        if self.schema:
            kinds.add(ChangeKind.SCHEMA)
        if self.gtids:
            kinds.add(ChangeKind.GTIDS)
        return with_session_state(payload, lambda state: only_kinds(state, kinds, self._names))


def _names(text: str) -> frozenset[bytes] | None:
    """None for all."""
    names = frozenset(name.strip().lower().encode() for name in text.split(","))
    return None if b"*" in names else names
