"""``python -m tests.machines.arguments``: the module's blocks and arguments against the AWS provider's own schema.

In place of ``terraform validate`` where Terraform's registry cannot be reached: the schema is that of the provider's
bindings, cdktf-cdktf-provider-aws of PyPI (60 MB, downloaded with pip into .cache/terraform). Tells of blocks and
arguments that do not exist and of required ones that are missing; types of values it does not judge.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.machines.module import MODULE, blocks

PACKAGE = "cdktf-cdktf-provider-aws==21.22.1"  # of the provider's version 6
CACHE = Path(__file__).resolve().parents[2] / ".cache/terraform"
META = {"for_each", "count", "provider", "depends_on", "lifecycle", "connection", "provisioner"}
_NAME = "@cdktf/provider-aws"


def schema() -> Mapping[str, Any]:
    """The bindings' types, by name."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if not list(CACHE.glob("*.whl")):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={CACHE}", PACKAGE]
        subprocess.run(pip, check=True)
    (wheel,) = CACHE.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(files.read(name))) as archive:
            member = archive.extractfile("package/.jsii")
            assert member is not None
            types: dict[str, Any] = json.load(member)["types"]
    return types


def faults(types: Mapping[str, Any]) -> Iterator[str]:
    """What the provider would refuse."""
    configs = {name.rsplit(".", 1)[1].lower(): name for name in types if name.endswith("Config")}
    for where, kind, label, body in blocks():
        if kind not in ("resource", "data"):
            continue
        name = label.split(".")[0]
        name = f"data_{name}" if kind == "data" else name.removeprefix("aws_")
        name = name.replace("_", "")
        config = configs.get(f"{name}config") or configs.get(
            f"{name}aconfig"
        )  # an A where names would collide
        if config is None:
            yield f"{where}: the provider has no {kind} {label}"
        else:
            yield from _compare(types, config, body, f"{where}: {label}", META)


def _compare(
    types: Mapping[str, Any], config: str, body: Mapping[str, Any], where: str, meta: set[str]
) -> Iterator[str]:
    known = {_snake(p["name"]): p for p in _properties(types, config)}
    given = {name: value for name, value in body.items() if name not in meta and not name.startswith("__")}
    for name in given.keys() - known.keys():
        yield f"{where}: no argument is called {name}"
    for name, found in known.items():
        if not found.get("optional") and name not in given:
            yield f"{where}: {name} is missing"
    for name in given.keys() & known.keys():
        nested = next(
            (
                t
                for t in re.findall(r'"fqn": "([^"]+)"', json.dumps(known[name]["type"]))
                if t.startswith(_NAME)
            ),
            "",
        )
        values = given[name] if isinstance(given[name], list) else [given[name]]
        for value in values:
            if nested and isinstance(value, dict):
                yield from _compare(types, nested, value, f"{where}.{name}", set())


def _properties(types: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = types[name]
    own = list(found.get("properties", ()))
    for base in found.get("interfaces", ()):
        if base.startswith(_NAME):
            own += _properties(types, base)
    return own


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), name)


if __name__ == "__main__":
    found = list(faults(schema()))
    print("\n".join(found) or f"all arguments of {MODULE} are the provider's")
    sys.exit(bool(found))
