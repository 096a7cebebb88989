"""What a text must be changed in before a server gets it: the client's connection id in place of CONNECTION_ID(), and
what ``Verdict.edits`` says. Called by the session for texts whose verdict has such places.
"""

from __future__ import annotations

from collections.abc import Sequence


def rewritten(
    text: bytes, spans: Sequence[tuple[int, int, bool]], edits: Sequence[tuple[int, int, bytes]], id: int
) -> bytes:
    """``text`` with ``Verdict.connection_ids`` replaced by the number ``id``, and ``Verdict.edits``.

    Args:
        spans: of this very text: (start, end, whether only a number may stand there). Elsewhere it is cast: to the
            function's own type, and a number in ORDER BY would mean a column.
        edits: of this very text, too.
    """
    changes = list(edits)
    changes += [
        (start, end, b"%d" % id if number_only else b"CAST(%d AS UNSIGNED)" % id)
        for start, end, number_only in spans
    ]
    parts: list[bytes] = []
    done = 0
    for start, end, change in sorted(changes):
        parts += (text[done:start], change)
        done = end
    parts.append(text[done:])
    return b"".join(parts)
