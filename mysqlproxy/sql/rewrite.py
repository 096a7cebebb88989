"""Puts the client's connection id in place of CONNECTION_ID(). Called by the session for texts whose
verdict has spans.
"""

from __future__ import annotations

from collections.abc import Sequence


def replace_connection_ids(text: bytes, spans: Sequence[tuple[int, int, bool]], id: int) -> bytes:
    """``text`` with each span replaced by the number ``id``.

    Args:
        spans: ``Verdict.connection_ids`` of this very text: (start, end, whole_item), ascending. A whole
            select item gets its own text as alias, so that the column keeps its name.
    """
    parts: list[bytes] = []
    done = 0
    for start, end, whole_item in spans:
        parts.append(text[done:start])
        parts.append(b"%d" % id)
        if whole_item:
            parts.append(b" AS `" + text[start:end].replace(b"`", b"``") + b"`")
        done = end
    parts.append(text[done:])
    return b"".join(parts)
