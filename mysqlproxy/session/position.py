"""What a session has written and seen, as GTIDs: what its next read must not be behind.

Fed by ``settle`` after each statement, asked by ``freshness`` before each read. Survives COM_RESET_CONNECTION and
COM_CHANGE_USER: what was written stays written. Pure; times are of ``time.monotonic``.
"""

from __future__ import annotations

from mysqlproxy.cluster.gtid import GtidSet
from mysqlproxy.cluster.view import ServerView
from mysqlproxy.protocol.capabilities import STATUS_IN_TRANS
from mysqlproxy.protocol.response import ResponseWalker
from mysqlproxy.sql.verdict import WRITE, Effect, Verdict


class Position:
    """One session's.

    Attributes:
        written: GTIDs of its writes, or None before the first.
        moves: how often ``written`` has grown; connections remember which move their server has caught up with.
        unknown_since: when something may have been written whose GTID was not told; 0.0 when all is known.
        wrote: the open transaction has written.
        reader: name of the worker that answered the last read; "" when any may answer the next one.
        read_at: when that answer ended.
        unlogged: sql_log_bin was set: what was written then comes to no worker, ever.
    """

    __slots__ = ("_settled", "moves", "read_at", "reader", "unknown_since", "unlogged", "written", "wrote")

    def __init__(self) -> None:
        self.written: GtidSet | None = None
        self.moves = 0
        self.unknown_since = 0.0
        self.wrote = False
        self.reader = ""
        self.read_at = 0.0
        self.unlogged = False
        self._settled = 0

    def rolled_back(self, now: float) -> None:
        """The open transaction was dropped; what it was told of rows may still be asked for."""
        if self.wrote:
            self.wrote = False
            self.unknown_since = now

    def told(self, text: str, mariadb: bool, *, one_domain: bool) -> GtidSet:
        """An OK packet named the GTID of a write of this session.

        Args:
            one_domain: the manager has GTIDs of no more than one domain.

        Raises:
            ValueError: it is none.
        """
        gtids = GtidSet.parse(text, mariadb)
        self.add(gtids)
        self.wrote = False
        if mariadb and one_domain and len(self.written.domains if self.written else ()) == 1:
            # One domain is one sequence: a worker that has this write has all that was committed before it, hence
            # what was not told, and everything that any server can have shown us until now.
            self.unknown_since = 0.0
            self.reader = ""
        return gtids

    def add(self, gtids: GtidSet) -> None:
        """A write that reads must see, whoever did it."""
        self.written = gtids if self.written is None else self.written.merge(gtids)
        self.moves += 1

    def void(self, now: float) -> None:
        """GTIDs have begun anew: what was told before means nothing any more."""
        self.written = None
        self.moves += 1
        self._settled = self.moves
        self.unknown_since = now

    def has_read(self, server: str, now: float) -> None:
        self.reader = server
        self.read_at = now

    def settle(
        self,
        verdict: Verdict,
        walker: ResponseWalker,
        status: int,
        *,
        on_manager: bool,
        tells: bool,
        now: float,
    ) -> bool:
        """Take in how a statement ended; where nobody tells what it wrote, the position is unknown.

        Args:
            tells: the manager names the GTID of what it commits.

        Returns:
            Whether this answer brought a GTID.
        """
        in_transaction = bool(status & STATUS_IN_TRANS)
        writes = verdict.kind is WRITE
        if self.moves != self._settled:
            self._settled = self.moves
            # In several statements, or beside a table without transactions, more may follow.
            self.wrote = in_transaction and writes
            if writes and (walker.errno or (verdict.statements > 1 and walker.result_sets)):
                self.unknown_since = now  # of one statement of several; an ERR and an EOF tell none
            return True
        may_commit = verdict.effects & (Effect.DDL | Effect.TABLE_LOCK | Effect.TRANSACTION)
        if self.wrote and not in_transaction and on_manager:
            # It has ended, perhaps by a statement that commits on the way (LOCK TABLES, a DDL that failed). Also one
            # that was rolled back: it may have been told how many rows of other sessions it has met.
            self.wrote = False
            self.unknown_since = now
        if (walker.errno or not tells) and self.wrote and may_commit:
            self.unknown_since = now  # it may have committed, also before it failed
        if not writes:
            if verdict.digest[:3].upper() == "XA " and not in_transaction and not walker.errno:
                self.unknown_since = now  # XA COMMIT may end what another session wrote
            return False
        if tells and not (
            walker.affected_rows or walker.errno or walker.result_sets or verdict.effects & Effect.DDL
        ):
            return False  # it wrote nothing (the number of rows alone is of the last statement)
        if in_transaction:
            self.wrote = True  # COMMIT will tell
        untold = walker.errno or walker.result_sets or not tells
        if not in_transaction or (untold and (may_commit or verdict.statements > 1)):
            self.unknown_since = now  # several statements, or a procedure, may have committed and begun again
        return False

    def learned(self, gtids: GtidSet, since: float) -> None:
        """The manager was asked after ``since``: what was not told until then is within ``gtids``."""
        self.add(gtids)
        self._settled = self.moves
        if self.unknown_since <= since:
            self.unknown_since = 0.0

    def seen_at_most(self, manager: ServerView | None, reader: ServerView | None) -> GtidSet | None:
        """A set that holds all that the last read can have shown, or None while nobody knows one.

        A worker never has more than the manager; either, asked after the read, has at least what was shown.
        """
        for server in (reader, manager):
            if server is not None and server.observed > self.read_at and server.position is not None:
                return server.position
        return None
