"""A program that asks for a password at its terminal, as ``mysql -p`` does, and what a person types there.

Called by ``demo.chain``. The program has a terminal of its own; what goes in and comes out beside that are pipes.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Sequence

PROMPT = b"assword: "
_PIECE = 1024


def run_typing(
    command: Sequence[str], password: str, given: str, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run it, type the password at its prompt, give it ``given`` as its standard input.

    Raises:
        subprocess.TimeoutExpired: it did not ask, or not end, in time; then it was killed.
    """
    deadline = time.monotonic() + seconds
    ours, theirs = pty.openpty()
    try:
        # The first terminal that a session's leader opens becomes its controlling one, where getpass(3) asks.
        process = subprocess.Popen(
            ["/bin/sh", "-c", 'exec "$@" 3<>"$0"', os.ttyname(theirs), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                if _wait_for_prompt(ours, process, deadline):
                    os.write(ours, password.encode() + b"\n")
                out, err = process.communicate(given, max(0.0, deadline - time.monotonic()))
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)
    finally:
        os.close(ours)
        os.close(theirs)


def _wait_for_prompt(terminal: int, process: subprocess.Popen[str], deadline: float) -> bool:
    """False when the program ended without one."""
    shown = b""
    while not shown.rstrip(b" ").endswith(PROMPT.rstrip()):
        if not select.select([terminal], [], [], 0.05)[0]:
            if process.poll() is not None:
                return False
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(process.args, 0)
            continue
        shown += os.read(terminal, _PIECE)
    return True
