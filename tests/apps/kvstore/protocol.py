r"""What client and server say: a line with a word and lengths, and so many bytes behind it.

    GET 3\nkey                    OK 5\nvalue  |  NONE\n
    PUT 3 5\nkeyvalue             OK 0\n
    DELETE 3\nkey                 OK 0\n  |  NONE\n
                                  ERROR 24\nwhat went wrong, a sentence

Keys and values are any bytes up to 1 MiB; a key's are UTF-8. Pure: no I/O.
"""

from __future__ import annotations

import re

MAX_BYTES = 1 << 20  # of a key, and of a value
MAX_LINE = 32  # bytes
PARTS = {"GET": 1, "PUT": 2, "DELETE": 1, "OK": 1, "NONE": 0, "ERROR": 1}
REQUESTS = ("GET", "PUT", "DELETE")
_LINE = re.compile(rb"([A-Z]+)((?: [0-9]{1,7})*)\n")


class ProtocolError(Exception):
    """What came is none of the above; the connection is of no more use."""


def parse_line(line: bytes) -> tuple[str, list[int]]:
    """The word and the lengths of what follows; ProtocolError when it is no such line."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ProtocolError("no line of this protocol")
    word, lengths = match[1].decode(), [int(length) for length in match[2].split()]
    if len(lengths) != PARTS.get(word):
        raise ProtocolError("no word of this protocol, or not with so many lengths")
    if any(length > MAX_BYTES for length in lengths):
        raise ProtocolError(f"longer than {MAX_BYTES} bytes")
    return word, lengths


def message(word: str, *parts: bytes) -> bytes:
    """The line and what follows it."""
    line = " ".join([word, *(str(len(part)) for part in parts)])
    return b"".join([line.encode(), b"\n", *parts])
