"""Answers recorded and made up, and a client that walks them in any chunks: what the walker's tests share."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from mysqlproxy.protocol import capabilities as cap

BASE = cap.PROTOCOL_41 | cap.SESSION_TRACK
MODERN = BASE | cap.DEPRECATE_EOF
DEFINITION = b"\x03def" + bytes(20)
RECORDED = Path(__file__).parent / "recorded"
FIELDS = (
    "done", "errno", "sqlstate", "message", "status", "warnings", "affected_rows", "last_insert_id", "result_sets",
    "rows_seen", "session_state", "statement_id", "columns", "parameters", "local_infile",
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """One recorded answer: what the server sent, in two parts when the client sent a file between them."""

    server: str  # the recording: "mysql_eof", ...
    name: str
    capabilities: int
    form: str
    parts: tuple[bytes, ...]
    client_sequence: int

    def __str__(self) -> str:
        return f"{self.server}: {self.name}"


@cache
def recorded() -> tuple[Answer, ...]:
    answers = []
    for file in sorted(RECORDED.glob("*.json")):
        content = json.loads(file.read_text(encoding="ascii"))
        for name, answer in content["answers"].items():
            parts = tuple(bytes.fromhex(part) for part in answer["server"])
            answers.append(
                Answer(
                    file.stem, name, content["capabilities"], answer["form"], parts, answer.get("client", 0)
                )
            )
    return tuple(answers)


def packets(data: bytes) -> Iterator[tuple[int, int]]:
    """(start, end) of each frame, header included."""
    position = 0
    while position < len(data):
        end = position + 4 + int.from_bytes(data[position : position + 3], "little")
        yield position, end
        position = end


def cut(data: bytes, points: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(point for point in points if 0 < point < len(data)), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


class Client:
    """Feeds a walker as the relay does: what was held back in front of what comes next.

    Attributes:
        passed: all bytes passed on.
        held: the bytes held back.
        oks: spans of OK packets, in ``passed``.
    """

    def __init__(self, walker: Any) -> None:
        self.walker = walker
        self.passed = b""
        self.held = b""
        self.oks: list[tuple[int, int, int]] = []
        self.prepare_ok = (0, 0)

    def feed(self, chunk: bytes) -> int:
        data = self.held + chunk
        count: int = self.walker.feed(data)
        assert 0 <= count <= len(data)
        base = len(self.passed)
        self.oks += [(base + start, base + end, sequence) for start, end, sequence in self.walker.oks]
        if self.walker.prepare_ok != (0, 0):
            self.prepare_ok = tuple(base + at for at in self.walker.prepare_ok)
        self.passed += data[:count]
        self.held = data[count:]
        return count

    def seen(self) -> dict[str, Any]:
        seen = {field: getattr(self.walker, field) for field in FIELDS}
        return {
            **seen,
            "oks": self.oks,
            "prepare_ok": self.prepare_ok,
            "passed": self.passed,
            "held": self.held,
        }


def walk(module: ModuleType, answer: Answer, chunks: list[list[bytes]]) -> Client:
    """Walks a recorded answer whose parts come in these chunks; it must not be complete before the last one."""
    client = Client(module.ResponseWalker(answer.capabilities))
    client.walker.begin(getattr(module, answer.form))
    for index, part in enumerate(chunks):
        if index:
            assert client.walker.local_infile is not None and not client.held
            client.walker.resume_after_infile(answer.client_sequence)
        for chunk in part:
            assert not client.walker.done
            client.feed(chunk)
    return client


def frames(*payloads: bytes, first: int = 1) -> bytes:
    return b"".join(
        len(payload).to_bytes(3, "little") + bytes([(first + index) & 0xFF]) + payload
        for index, payload in enumerate(payloads)
    )


def eof(status: int = 2, warnings: int = 0) -> bytes:
    return b"\xfe" + struct.pack("<HH", warnings, status)


def ok(status: int = 2, head: bytes = b"\0", tail: bytes = b"") -> bytes:
    return head + b"\0\0" + struct.pack("<HH", status, 0) + tail


def end_of(capabilities: int, status: int = 2) -> bytes:
    return ok(status, b"\xfe") if capabilities & cap.DEPRECATE_EOF else eof(status)


def begun(response: ModuleType, form: str = "QUERY", capabilities: int = BASE) -> Any:
    walker = response.ResponseWalker(capabilities)
    walker.begin(getattr(response, form))
    return walker
