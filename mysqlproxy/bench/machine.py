"""Where a benchmark ran: the machine and the versions, for the results file and the line above the table."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from mysqlproxy import __version__
from mysqlproxy.bench import haproxy
from mysqlproxy.protocol.build import compiled


def describe(server_version: str) -> dict[str, str | int | float]:
    """Name to value; a program that is not there has none."""
    programs = {"sysbench": ["sysbench", "--version"]}
    executable = haproxy.program()
    if executable:
        programs["haproxy"] = [executable, "-v"]
    return {
        "mysqlproxy": __version__,
        "build": "compiled" if compiled() else "pure Python",
        "python": platform.python_version(),
        "uvloop": version("uvloop"),
        **{name: _version(command) for name, command in programs.items()},
        "server": server_version,
        "cpu": _first(r"model name\s*: (.*)", "/proc/cpuinfo"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_kib": int(_first(r"MemTotal:\s+(\d+)", "/proc/meminfo") or 0),
        "kernel": platform.release(),
        "load_average": os.getloadavg()[0],
    }


def _version(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    found = re.search(r"\d+\.\d+[^\s]*", result.stdout)
    return found[0] if found else ""


def _first(pattern: str, path: str) -> str:
    try:
        found = re.search(pattern, Path(path).read_text("utf-8", "replace"))
    except OSError:
        return ""
    return found[1].strip() if found else ""
