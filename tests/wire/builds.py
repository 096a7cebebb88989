"""Both builds of the modules that mypyc compiles, side by side in one process, for tests that run on each.

``load("pure")`` is the source as it stands, even where a compiled module lies beside it; ``load("compiled")`` is the
compiled module that this process runs, and skips where that is none. ``KINDS`` are those there are.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from mysqlproxy import protocol
from mysqlproxy.protocol import response
from mysqlproxy.protocol.build import compiled

ROOT = Path(__file__).parents[2]
KINDS = ("pure", "compiled") if compiled() else ("pure",)


@cache
def load(kind: str) -> ModuleType:
    """``mysqlproxy.protocol.response`` in one build."""
    if kind == "pure":
        return _pure()
    if not compiled():
        pytest.skip("the modules here are plain Python; tests/run.sh runs this again beside compiled ones")
    return response


def _pure() -> ModuleType:
    source = Path(protocol.__file__ or "").with_name("response.py")
    spec = importlib.util.spec_from_file_location("pure_response", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compile_into(work: Path, changed: dict[str, str] | None = None, **environment: str) -> tuple[Path, str]:
    """Runs setup.py's build_ext for one module on a copy of the sources below ``work``, some of them changed.

    Returns:
        The folder it built into, and what it said.
    """
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, work)
    sources = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "mysqlproxy", work / "mysqlproxy", ignore=sources)
    script = (ROOT / "setup.py").read_text(encoding="utf-8")
    only = 'FILES = ["mysqlproxy/protocol/codec.py"]'
    (work / "setup.py").write_text(
        re.sub(r"^FILES = .*$", only, script, flags=re.MULTILINE), encoding="utf-8"
    )
    for name, text in (changed or {}).items():
        (work / name).write_text(text, encoding="utf-8")
    out = work / "out"
    arguments = ["-q", "build_ext", "--build-lib", str(out), "--build-temp", str(work / "temp")]
    done = subprocess.run(
        [sys.executable, "setup.py", *arguments],
        cwd=work,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out, done.stderr
