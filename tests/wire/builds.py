"""Both builds of the modules that mypyc compiles, side by side in one process, for tests that run on each.

``load("pure")`` is the source as it stands, even where a compiled module lies beside it; ``load("compiled")`` is the
installed compiled module, or one compiled now into a temporary folder. Skips where nothing can be compiled.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from mysqlproxy import protocol
from mysqlproxy.protocol import response
from mysqlproxy.protocol.build import compiled

ROOT = Path(__file__).parents[2]
KINDS = ("pure", "compiled")
NAMES = ("codec", "framing", "response")  # as in setup.py: they share one library


@cache
def load(kind: str) -> ModuleType:
    """``mysqlproxy.protocol.response`` in one build."""
    if kind == "pure":
        return _pure()
    if compiled():
        return response
    return _compiled_now()


def _pure() -> ModuleType:
    source = Path(protocol.__file__ or "").with_name("response.py")
    spec = importlib.util.spec_from_file_location("pure_response", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compile_into(work: Path, changed: dict[str, str] | None = None, **environment: str) -> tuple[Path, str]:
    """Runs setup.py's build_ext on a copy of the sources below ``work``, some of them changed.

    Returns:
        The folder it built into, and what it said.
    """
    for name in ("setup.py", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, work)
    sources = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "mysqlproxy", work / "mysqlproxy", ignore=sources)
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


def _compiled_now() -> ModuleType:
    if not (ROOT / "setup.py").exists():
        pytest.skip("no checkout to compile")
    work = Path(tempfile.mkdtemp(prefix="mysqlproxy-build-"))
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    out, said = compile_into(work)
    folder = out / "mysqlproxy" / "protocol"
    if not list(folder.glob("*.so")):
        pytest.skip(f"cannot be compiled here: {said.strip()[-200:]}")
    full = [f"mysqlproxy.protocol.{name}" for name in NAMES]
    before = {name: sys.modules.pop(name) for name in full if name in sys.modules}
    sys.path.insert(0, str(out))  # the shared library
    protocol.__path__.insert(0, str(folder))
    try:
        for name in full:
            importlib.import_module(name)
        module = sys.modules[full[-1]]
    finally:
        protocol.__path__.remove(str(folder))
        sys.path.remove(str(out))
        sys.modules.update(before)
        for name, original in before.items():
            setattr(protocol, name.rpartition(".")[2], original)
    return module
