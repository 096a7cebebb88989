"""One client command on its way: what was asked, and how far it has come. Made by the engine, read by the relay."""

from __future__ import annotations

from typing import Final

from mysqlproxy.errors import Interrupted
from mysqlproxy.protocol.commands import Command, statement_offset
from mysqlproxy.protocol.framing import HEADER, MAX_PAYLOAD, payload_of
from mysqlproxy.session.prepared import Prepared
from mysqlproxy.sql.diagnostics import Target
from mysqlproxy.sql.hints import Hint
from mysqlproxy.sql.verdict import Effect, Kind, SqlContext, Verdict

# Commands that carry no SQL behave like these statements.
INIT_DB = Verdict(Kind.OTHER, ("COM_INIT_DB",), "USE ?", effects=Effect.SCHEMA)
# Commands that leave ROW_COUNT() and FOUND_ROWS() as they are where they end well; so does GET DIAGNOSTICS.
_COUNT_NOTHING: Final = frozenset((Command.STMT_PREPARE, Command.STATISTICS))
MANAGER_COMMAND = Verdict(Kind.OTHER, ("a command that only the manager answers",), "")


class Request:
    """One command.

    Attributes:
        raw: the packet as the client sent it, headers included, or as rewritten for the server.
        form: of its answer (``protocol.response``).
        verdict: what it does.
        prepared: the prepared statement it runs, or None.
        started: loop time at which it arrived.
        excluded: servers that failed it.
        again: the last server that could take it has got it a second time.
        ruled: ``hint`` is a rule's, not the client's.
        hint: in the comments of its text, if the account may give one, or None.
        relayed: bytes of its answer have reached the client: it cannot be asked again elsewhere.
        retained: ``raw`` may be sent again.
        pinned: name of the server that must answer (a cursor's), or "".
        interrupted: by a KILL or its time limit: it is sent to no server any more.
        interrupted_since: when the sweep first saw that it is, or 0.
        counts_of: name of the server whose connection knows the counts that it asks for, while they are not carried
            into its text; ``carried`` when they are.
        assigns: the user variables of a GET DIAGNOSTICS that runs on a worker, by their names in capitals, or None.
        killed_at: when the sweep last had it killed again, or first saw that it is interrupted.
    """

    __slots__ = (
        "again",
        "assigns",
        "carried",
        "code",
        "counts_of",
        "excluded",
        "form",
        "hint",
        "interrupted",
        "interrupted_since",
        "killed_at",
        "pinned",
        "prepared",
        "raw",
        "relayed",
        "retained",
        "ruled",
        "started",
        "verdict",
    )

    def __init__(self, code: int, raw: bytes, form: int, verdict: Verdict, started: float) -> None:
        self.code = code
        self.raw = raw
        self.form = form
        self.verdict = verdict
        self.started = started
        self.prepared: Prepared | None = None
        self.hint: Hint | None = None
        self.ruled = False
        self.excluded: frozenset[str] = frozenset()
        self.again = False
        self.relayed = False
        self.retained = True
        self.pinned = ""
        self.interrupted = False
        self.interrupted_since = 0.0
        self.killed_at = 0.0
        self.counts_of: str | None = None
        self.carried = False
        self.assigns: dict[str, Target] | None = None

    def statement(self, capabilities: int, context: SqlContext) -> tuple[bytes, int, SqlContext]:
        """The packet that brought the text, where that begins in it, and what it is read by.

        Args:
            capabilities, context: the session's.
        """
        if self.prepared is not None and self.code != Command.STMT_PREPARE:
            return self.prepared.request, 1, self.prepared.context
        packet = payload_of(self.raw)
        offset = statement_offset(packet, 0, capabilities) if self.code == Command.QUERY else 1
        return packet, offset, context

    def counts_nothing(self) -> bool:
        """Whether ROW_COUNT() and FOUND_ROWS() stay those of the statement before it, unless it fails or warns."""
        verdict = self.verdict
        return self.code in _COUNT_NOTHING or (
            verdict.statements == 1 and verdict.digest[:4].upper() == "GET "
        )

    def check_interrupted(self) -> None:
        """Raises Interrupted if it must not be sent any more."""
        if self.interrupted:
            raise Interrupted

    def answer_sequence(self) -> int:
        """The sequence id of the answer's first packet: one more than the command's last frame had."""
        return len(self.raw) // (HEADER + MAX_PAYLOAD) + 1
