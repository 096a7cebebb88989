"""Looks for texts that keep the event loop: statements of the corpus in which a piece comes again and again.

    python -m tests.fuzz.slow_texts [--seconds 300] [--seed 1] [--limit 0.3]

Each text is given to what reads every client's texts (hints, verdict, what rules ask for), in a child: sqlglot's
compiled parser cannot be interrupted. One that has no end after ``PATIENCE`` ends its child and is told. Exit status
1 when anything was found. A time is the machine's as much as the text's: what was found goes into ``HOSTILE`` of
tests/unit/test_verdicts.py, where work is counted.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Callable

from mysqlproxy.sql import hints
from mysqlproxy.sql.classify import classify
from mysqlproxy.sql.uses import uses_of
from mysqlproxy.sql.verdict import SqlContext
from tests.unit.firewall_evasions import PASSES, REFUSED
from tests.unit.verdict_corpus import CASES

PATIENCE = 6.0  # seconds
SIZES = (300, 1000, 4000, 15_000, 60_000, 200_000)  # bytes, about
PIECES = (1, 2, 3, 4, 6, 8, 12, 20, 40)

READERS: dict[str, Callable[[bytes], object]] = {
    "hint": hints.read,
    "verdict": lambda text: classify(text, SqlContext()),
    "uses": lambda text: uses_of(text, SqlContext()),
}


def corpus() -> list[bytes]:
    evasions = [one if isinstance(one, str) else one[0] for one in (*PASSES, *REFUSED)]
    return [case.text for case in CASES] + [sql.encode() for sql in evasions]


def damaged(texts: list[bytes], chance: random.Random) -> bytes:
    text = chance.choice(texts)
    if chance.random() < 0.3:
        text += b" " + chance.choice(texts)
    begin = chance.randrange(len(text) + 1)
    piece = text[begin : begin + chance.choice(PIECES)] or b" "
    times = max(1, chance.choice(SIZES) // len(piece))
    closing = b")" * (piece.count(b"(") * times) if chance.random() < 0.5 else b""
    return text[:begin] + piece * times + closing + text[begin + len(piece) :]


def child(texts: list[bytes], chance: random.Random, until: float, limit: float, told: int) -> None:
    """Tells of every text before it is read, so that the parent knows the last one."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    while time.monotonic() < until:
        text = damaged(texts, chance)
        os.write(told, b"%d %s" % (len(text), text[:2000]) + b"\0")
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        for name, read in READERS.items():
            begun = time.process_time()
            read(text)
            if (took := time.process_time() - begun) > limit:
                os.write(told, b"\1%s: %.2f s\0" % (name.encode(), took))
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.slow_texts")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=0.3, help="CPU seconds that a text may take")
    options = parser.parse_args()
    texts, chance, until = corpus(), random.Random(options.seed), time.monotonic() + options.seconds
    count = found = 0
    while time.monotonic() < until:
        ours, theirs = os.pipe()
        seed = chance.random()
        pid = os.fork()
        if pid == 0:
            child(texts, random.Random(seed), until, options.limit, theirs)
            os._exit(0)
        os.close(theirs)
        last, rest = b"", b""
        while data := os.read(ours, 1 << 20):
            *lines, rest = (rest + data).split(b"\0")
            for line in lines:
                if line.startswith(b"\1"):
                    found += 1
                    print(line[1:].decode(), repr(last[:200]), flush=True)
                else:
                    count, last = count + 1, line
        os.close(ours)
        if os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
            found += 1
            print(f"no end after {PATIENCE:g} s:", repr(last[:200]), flush=True)
    print(f"{count} texts, {found} slow")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
