"""The compiled modules and what becomes of an installation where they cannot be compiled."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wire import builds


def test_both_builds_are_what_they_say() -> None:
    assert (builds.load("pure").__file__ or "").endswith(".py")
    assert (builds.load("compiled").__file__ or "").endswith(".so")


def test_the_compiler_is_used_where_there_is_one(tmp_path: Path) -> None:
    out, _ = builds.compile_into(tmp_path)
    assert list(out.rglob("codec.*.so"))


@pytest.mark.parametrize(
    "environment", [{"CC": "/bin/false"}, {"MYSQLPROXY_PURE": "1"}], ids=["no compiler", "pure wanted"]
)
def test_without_a_compiler_the_modules_stay_python(tmp_path: Path, environment: dict[str, str]) -> None:
    """The build goes on, says so, and leaves no library behind that could be imported by half."""
    out, said = builds.compile_into(tmp_path, **environment)
    assert "stay plain Python" in said
    assert not list(out.rglob("*.so"))


def test_a_fault_that_mypy_finds_is_no_end_of_the_build(tmp_path: Path) -> None:
    source = builds.ROOT / "mysqlproxy" / "protocol" / "codec.py"
    broken = source.read_text(encoding="utf-8") + '\nwrong: int = "text"\n'
    out, said = builds.compile_into(tmp_path, changed={"mysqlproxy/protocol/codec.py": broken})
    assert "stay plain Python" in said
    assert not list(out.rglob("*.so"))
