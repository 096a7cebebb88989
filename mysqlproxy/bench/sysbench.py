"""Runs sysbench and reads what it prints.

Called by ``bench.runner`` and ``bench.tables``. The password goes into a file, not into the list of processes.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mysqlproxy.bench.errors import BenchError, Interrupted

REMEDY = "sysbench is not installed; on Debian and Ubuntu: apt-get install sysbench"
SCRIPT = Path(__file__).parent / "scripts" / "statement.lua"
GRACE_SECONDS = 60.0  # for one event that is under way when the time is up
STARTED = "Threads started!"
_BUCKET = re.compile(r"^\s*([\d.]+) \|\**\s+(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What sysbench counted.

    Attributes:
        seconds: from the first event to the last.
        statements, reads, events, errors: how many; reads are the SELECTs, an event of read_only is a transaction.
        p50, p95, p99: milliseconds of an event, by sysbench's histogram (its steps are 2 %).
    """

    seconds: float
    statements: int
    reads: int
    events: int
    errors: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Login:
    """Where sysbench connects and as whom; ``tls`` needs client-cert.pem, client-key.pem and cacert.pem in the
    working directory."""

    host: str
    port: int
    user: str
    password: str
    schema: str
    tls: bool = False


class Sysbench:
    """Runs in ``directory``, as many at a time as one likes; ``cancel`` ends all of them.

    Raises:
        BenchError: it is not installed.
    """

    def __init__(self, directory: Path) -> None:
        if shutil.which("sysbench") is None:
            raise BenchError(REMEDY)
        self._directory = directory
        self._running: set[subprocess.Popen[str]] = set()
        self._cancelled = threading.Event()
        self._files = 0

    def cancel(self) -> None:
        """End what runs; whatever is asked from now on raises Interrupted. Safe in a signal handler."""
        self._cancelled.set()
        for process in list(self._running):
            process.kill()

    def run(
        self,
        login: Login,
        script: str,
        options: Sequence[str] = (),
        *,
        seconds: float = 0.0,
        started: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """One run.

        Args:
            login: for all of its connections.
            script: one of sysbench's own, or "statement".
            options: more of them.
            seconds: how long.
            started: called when all clients are connected, before or with the first statement.

        Raises:
            BenchError: sysbench failed; with its last words.
            Interrupted: ``cancel`` was called.
        """
        arguments = [f"--time={max(1, round(seconds))}", "--histogram=on", *options]
        return parse(self._call(login, script, arguments, "run", seconds + GRACE_SECONDS, started))

    def prepare(self, login: Login, tables: int, size: int) -> None:
        """Make sysbench's tables; the same errors as ``run``."""
        self._call(login, "oltp_read_write", [f"--tables={tables}", f"--table_size={size}"], "prepare")

    def _call(
        self,
        login: Login,
        script: str,
        options: Sequence[str],
        command: str,
        limit: float = 10 * GRACE_SECONDS,
        started: Callable[[], None] = lambda: None,
    ) -> str:
        path = str(SCRIPT) if script == "statement" else script
        arguments = ["sysbench", f"--config-file={self._login_file(login)}", path, *options, command]
        # A session of its own: Ctrl-C at the terminal is for the program, which then calls cancel.
        with subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._directory,
            text=True,
            start_new_session=True,
        ) as process:
            self._running.add(process)
            timer = threading.Timer(limit, process.kill)
            timer.start()
            try:
                if self._cancelled.is_set():
                    process.kill()
                assert process.stdout is not None
                lines = []
                for line in process.stdout:
                    lines.append(line)
                    if line.startswith(STARTED):
                        started()
            except BaseException:
                process.kill()
                raise
            finally:
                timer.cancel()
                process.wait()
                self._running.discard(process)
        if self._cancelled.is_set():
            raise Interrupted
        if process.returncode:
            raise BenchError(_last_words(lines, process.returncode, limit))
        return "".join(lines)

    def _login_file(self, login: Login) -> Path:
        path = self._directory / f"login-{login.user}-{login.port}-{'tls' if login.tls else 'plain'}"
        path.touch(mode=0o600)
        path.write_text(
            f"mysql-host={login.host}\nmysql-port={login.port}\nmysql-user={login.user}\n"
            f"mysql-password={login.password}\nmysql-db={login.schema}\n" + ("mysql-ssl=on\n" * login.tls),
            encoding="utf-8",
        )
        return path


def parse(text: str) -> Outcome:
    """What sysbench 1.0 printed at the end of a run with ``--histogram=on``; BenchError when that is missing."""

    def number(pattern: str) -> float:
        match = re.search(pattern, text)
        if match is None:
            raise BenchError(f"sysbench's report has no line like {pattern!r}; is it sysbench 1.0?")
        return float(match[1])

    buckets = [(float(value), int(count)) for value, count in _BUCKET.findall(text)]
    return Outcome(
        seconds=number(r"total time:\s+([\d.]+)s"),
        statements=int(number(r"queries:\s+(\d+)")),
        reads=int(number(r"read:\s+(\d+)")),
        events=int(number(r"total number of events:\s+(\d+)")),
        errors=int(number(r"ignored errors:\s+(\d+)")),
        p50=percentile(buckets, 0.50),
        p95=percentile(buckets, 0.95),
        p99=percentile(buckets, 0.99),
    )


def percentile(buckets: Sequence[tuple[float, int]], share: float) -> float:
    """The value below which ``share`` of the counts lie; 0.0 when there are none."""
    wanted, seen = share * sum(count for _, count in buckets), 0
    for value, count in buckets:
        seen += count
        if seen >= wanted:
            return value
    return 0.0


def _last_words(lines: Sequence[str], status: int, limit: float) -> str:
    if status == -signal.SIGKILL:
        return f"sysbench did not end within {limit:g} s"
    telling = [line.removeprefix("FATAL: ").strip() for line in lines if "FATAL" in line]
    return f"sysbench ended with status {status}: {'; '.join(telling[:2]) or ''.join(lines[-2:]).strip()}"
