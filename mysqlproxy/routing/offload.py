"""Which reads may leave the manager although autocommit is off, or a transaction is open there.

For accounts with ``autocommit_reads = "offload"``. A transaction at READ COMMITTED sees with each read what is
committed by then, so that its reads before its first write or lock may be answered by a worker that is fresh enough,
outside of any transaction: what a worker answers leaves nothing open there. The manager's connection holds whatever
transaction there is, and from the first statement on that is no plain read everything goes to it until the end.

Clients go by the status flags: some send no COMMIT where no transaction is shown. They are told what the manager
alone would tell them. Kept by the session, asked by ``settle``, ``engine`` and ``transfer``. Pure.
"""

from __future__ import annotations

from mysqlproxy.config.schema import AutocommitReads
from mysqlproxy.protocol.capabilities import STATUS_AUTOCOMMIT, STATUS_IN_TRANS, STATUS_IN_TRANS_READONLY
from mysqlproxy.sql.verdict import Effect, Kind, Verdict

# The names of either kind of server, and of their versions.
ISOLATION = ("transaction_isolation", "tx_isolation")
READ_ONLY = ("transaction_read_only", "tx_read_only")
ALL = 0xFFFF

OF_THE_TRANSACTION = STATUS_IN_TRANS | STATUS_AUTOCOMMIT | STATUS_IN_TRANS_READONLY
_EACH_READ_ANEW = frozenset(("READ-COMMITTED", "READ-UNCOMMITTED"))
# Whatever else begins a transaction is strict: WITH CONSISTENT SNAPSHOT promises one point in time.
_BEGINS = frozenset(
    (
        "BEGIN",
        "BEGIN WORK",
        "START TRANSACTION",
        "START TRANSACTION READ WRITE",
        "START TRANSACTION READ ONLY",
    )
)
_ENDS = frozenset(("COMMIT", "COMMIT WORK", "ROLLBACK", "ROLLBACK WORK"))
_MAY_END = Effect.TRANSACTION | Effect.DDL | Effect.TABLE_LOCK | Effect.UNLOCK_TABLES


class Offload:
    """What one session's account allows, and whether its transaction still allows it.

    Attributes:
        setting: the account's.
        accepted: the setting allows it at the session's isolation level.
        inherited: the server's global isolation level when the session began; it keeps that one.
        read_only: the session's transactions are, unless they say otherwise.
        touched: the open transaction has done something else than plain reads, or it cannot be told.
    """

    __slots__ = ("accepted", "inherited", "read_only", "setting", "touched")

    def __init__(self) -> None:
        self.setting = AutocommitReads.STRICT
        self.accepted = False
        self.inherited = ""
        self.read_only = False
        self.touched = False

    def begin(self, isolation: str) -> None:
        """As after a login; ``isolation`` is the server's global level."""
        self.inherited = isolation
        self.touched = False

    def judge(self, isolation: str, read_only: str) -> None:
        """The session's transactions may be of another kind now; "" for what is not known."""
        self.read_only = read_only.upper() in ("ON", "1")
        self.accepted = self.setting is AutocommitReads.OFFLOAD_ANY_ISOLATION or (
            self.setting is AutocommitReads.OFFLOAD and isolation.upper() in _EACH_READ_ANEW
        )

    @property
    def reads_may_leave(self) -> bool:
        return self.accepted and not self.touched

    def settle(self, verdict: Verdict, status: int, errno: int) -> None:
        """Take in how a statement ended on the manager; ``status`` is of its answer, an ERR has none."""
        if errno:
            # It may have begun a transaction, and locked rows in it, before it failed.
            self.touched |= verdict.kind is not Kind.READ
        elif not status & STATUS_IN_TRANS:
            # A savepoint or an XA transaction may be there without the flag.
            self.touched = (
                bool(verdict.effects & Effect.TRANSACTION)
                and not verdict.effects & Effect.VARIABLES
                and not ends(verdict)
            )
        elif _text(verdict) in _BEGINS:
            self.touched = False
        elif verdict.kind is not Kind.READ:
            self.touched = True

    def flags(self, verdict: Verdict, *, executes: bool, told: int, manager: int | None) -> tuple[int, int]:
        """Which flags of an answer to keep, and which to add, so that they are the manager's alone.

        Args:
            executes: the command runs its statement, and does not only prepare it.
            told: the flags the client was last told.
            manager: the last flags of the connection that will answer when it is the manager's, None for a worker's.
        """
        if not self.accepted:
            return ALL, 0
        if manager is None:
            added = told & OF_THE_TRANSACTION
            if executes and not added & STATUS_AUTOCOMMIT:
                if ends(verdict):
                    added &= ~(STATUS_IN_TRANS | STATUS_IN_TRANS_READONLY)
                elif verdict.tables:
                    # Reading a table begins a transaction.
                    added |= STATUS_IN_TRANS | (STATUS_IN_TRANS_READONLY if self.read_only else 0)
            if added == STATUS_AUTOCOMMIT:
                return ALL, 0  # as the worker says itself
            return ALL & ~OF_THE_TRANSACTION, added
        begun_elsewhere = told & STATUS_IN_TRANS and not manager & STATUS_IN_TRANS
        may_end = verdict.kind is Kind.WRITE or verdict.effects & _MAY_END
        if begun_elsewhere and (not may_end or not executes or _text(verdict).startswith("SAVEPOINT ")):
            return ALL, told & (STATUS_IN_TRANS | STATUS_IN_TRANS_READONLY)
        return ALL, 0


def ends(verdict: Verdict) -> bool:
    """Whether this is a COMMIT or ROLLBACK of all there is, and nothing more."""
    return _text(verdict) in _ENDS


def _text(verdict: Verdict) -> str:
    return verdict.digest.upper().rstrip("; ") if verdict.effects & Effect.TRANSACTION else ""
