"""Reads deploy/terraform as HCL, for the tests of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hcl2

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
MODULE = DEPLOY / "terraform"
USER_DATA = MODULE / "user_data.yaml.tftpl"


def blocks(folder: Path = MODULE) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """File, kind (resource, data, variable, ...), label ("aws_vpc.chain") and body of each block."""
    for path in sorted(folder.glob("*.tf")):
        with path.open(encoding="utf-8") as file:
            parsed = hcl2.load(file)
        for kind, found in parsed.items():
            for block in found if isinstance(found, list) else ():
                labels, body = [], block
                while len(body) == 1 and kind in (
                    "resource",
                    "data",
                    "variable",
                    "output",
                    "module",
                    "provider",
                ):
                    ((label, body),) = body.items()
                    labels.append(label.strip('"'))
                    if len(labels) == (2 if kind in ("resource", "data") else 1):
                        break
                yield path.name, kind, ".".join(labels), body


def edges() -> list[dict[str, Any]]:
    """security.tf's: which group may reach which, and on what port."""
    with (MODULE / "security.tf").open(encoding="utf-8") as file:
        found = hcl2.load(file)["locals"][0]["edges"]
    return [
        {key: value.strip('"') if isinstance(value, str) else value for key, value in edge.items()}
        for edge in found.values()
        if isinstance(edge, dict)
    ]


def user_data(values: Mapping[str, str]) -> str:
    """What Terraform's templatefile() makes of the template."""
    return re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], USER_DATA.read_text())
