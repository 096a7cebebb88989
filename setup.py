"""The compiled modules and the shipped rules, and nothing else: setup.cfg holds the metadata.

mypyc compiles the modules on the path of every statement. Where that cannot be (no compiler, no mypyc,
MYSQLPROXY_PURE=1, an editable install) the same files run as plain Python, only slower; ``mysqlproxy --version`` says
which.
"""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

COMPILED = {
    "cluster": ("gtid", "view"),
    "metrics": ("counters",),
    "net": ("tls",),
    "pool": ("connection", "wire"),
    "protocol": ("codec", "commands", "framing", "prepared", "response", "tracking"),
    "routing": ("offload", "route", "strategies"),
    "session": (
        "admit", "client", "commands", "engine", "faults", "freshness", "last_statement", "passage", "position",
        "prepared", "record", "relay", "request", "services", "settle", "state", "trackers", "transfer",
    ),
    "sql": ("charsets", "classifier", "digest", "verdict"),
}  # fmt: skip
FILES = [f"mysqlproxy/{folder}/{name}.py" for folder, names in COMPILED.items() for name in names]
# What they import may be missing while they are built; CI checks the types of all.
LENIENT = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
BUILDS = {"build", "build_ext", "bdist_wheel", "install"}  # asking for metadata needs no compiler


def pure(reason: object) -> list[Any]:
    print(f"mysqlproxy: the modules stay plain Python: {reason}", file=sys.stderr)
    return []


def extensions() -> list[Any]:
    if not BUILDS.intersection(sys.argv):
        return []
    if os.environ.get("MYSQLPROXY_PURE", "0") not in {"", "0"}:
        return pure("MYSQLPROXY_PURE is set")
    try:
        from mypyc.build import mypycify  # noqa: PLC0415 - may be missing

        modules = mypycify([*LENIENT, *FILES], opt_level="2", debug_level="0")
    except (Exception, SystemExit) as error:  # mypycify leaves by SystemExit when mypy finds a fault
        return pure(error)
    for module in modules:
        module.extra_compile_args.append("-fvisibility=hidden")  # so that calls within the library are direct
    return modules


class BuildOrDoWithout(build_ext):
    """All or nothing: the modules share one library, and one of them without it could not be imported."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            for output in self.get_outputs():
                with suppress(OSError):
                    Path(output).unlink()
            self.extensions = self.distribution.ext_modules = pure(error)


class WithRules(build_py):
    """rules/ lies beside the package; installed it lies in it, where routing.rules = ["builtin:default"] looks."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copytree("rules", Path(self.build_lib, "mysqlproxy/rules"), dirs_exist_ok=True)


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildOrDoWithout, "build_py": WithRules})
