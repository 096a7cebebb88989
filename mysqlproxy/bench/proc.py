"""What /proc says of a target's processes: CPU time and memory. See proc(5).

Called by ``bench.runner`` before and after each turn. A process that has ended counts as nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_PROC = Path("/proc")
_TICK = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for parent in found:
        for task in _PROC.glob(f"{parent}/task/[0-9]*/children"):
            found += [int(child) for child in _read(task).split()]
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of all their threads together, to the nanosecond where the kernel counts so."""
    return sum(_cpu_seconds(pid) for pid in pids)


def pss_kib(pids: Sequence[int]) -> float:
    """Their memory, each shared page counted once over all that share it; 0.0 when it cannot be read."""
    return sum(_field(_PROC / str(pid) / "smaps_rollup", "Pss") for pid in pids)


def begin_peak(pids: Sequence[int]) -> float | None:
    """Let the kernel forget the peak of their resident memory. Returns what is resident now, in KiB; None when
    they are somebody else's."""
    try:
        for pid in pids:
            (_PROC / str(pid) / "clear_refs").write_text("5")
    except OSError:
        return None
    return peak_kib(pids)


def peak_kib(pids: Sequence[int]) -> float:
    """The peak of their resident memory since ``begin_peak``."""
    return sum(_field(_PROC / str(pid) / "status", "VmHWM") for pid in pids)


def _cpu_seconds(pid: int) -> float:
    nanoseconds = [_read(path).split() for path in _PROC.glob(f"{pid}/task/[0-9]*/schedstat")]
    total = sum(int(fields[0]) for fields in nanoseconds if fields)
    if total:
        return total / 1e9
    # The name in parentheses may hold blanks; utime and stime are fields 14 and 15.
    fields = _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK if fields else 0.0


def _field(path: Path, name: str) -> float:
    for line in _read(path).splitlines():
        if line.startswith(f"{name}:"):
            return float(line.split()[1])
    return 0.0


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
