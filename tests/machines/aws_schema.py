"""The AWS provider's schema, for a machine that cannot reach Terraform's registry. Run as a program it is downloaded.

Taken from the provider's generated bindings, cdktf-cdktf-provider-aws of PyPI (60 MB, downloaded with pip into
.cache/terraform): names, types, what is required, what is computed. Where the bindings keep less than the provider
knows (sets are lists there, any optional argument may be computed) this schema is the more lenient one.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGE = "cdktf-cdktf-provider-aws==21.22.1"  # of the provider's version 6
CACHE = Path(__file__).resolve().parents[2] / ".cache/terraform"
_BINDINGS = "@cdktf/provider-aws."
_MAPS = {"StringMap": "string", "NumberMap": "number", "BooleanMap": "bool", "AnyMap": "dynamic"}

Json = Mapping[str, Any]


def available() -> bool:
    """Whether the bindings have been downloaded."""
    return bool(list(CACHE.glob("cdktf_cdktf_provider_aws-*.whl")))


def download() -> None:
    if not available():
        CACHE.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={CACHE}", PACKAGE]
        subprocess.run(pip, check=True)


class Schema:
    """Blocks, as dictionaries of what Terraform's plugin protocol calls them: attributes and block_types by name."""

    def __init__(self) -> None:
        (wheel,) = CACHE.glob("cdktf_cdktf_provider_aws-*.whl")
        with zipfile.ZipFile(wheel) as files:
            (name,) = (name for name in files.namelist() if name.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=io.BytesIO(files.read(name))) as archive:
                member = archive.extractfile("package/.jsii")
                assert member is not None
                self._types: dict[str, Any] = json.load(member)["types"]
        self._configs = {
            name.rpartition(".")[2].lower(): name for name in self._types if name.endswith("Config")
        }

    def provider(self) -> dict[str, Any]:
        return self._block(f"{_BINDINGS}provider.AwsProviderConfig")

    def find(self, kind: str, label: str) -> dict[str, Any] | None:
        """Of a ``resource`` or ``data`` block called ``aws_...``; None when the provider has none."""
        name = ("data" + label if kind == "data" else label.removeprefix("aws_")).replace("_", "")
        # The bindings end a class in A where its name would collide with one of TypeScript's.
        config = self._configs.get(f"{name}config") or self._configs.get(f"{name}aconfig")
        if config is None:
            return None
        found = self._block(config)
        for one in self._types[config.removesuffix("Config")]["properties"]:
            name = _snake(one["name"])
            known = name in found["attributes"] or name in found["block_types"]
            if not (known or one.get("static") or one["name"].endswith("Input")):
                found["attributes"][name] = {"type": self._computed(one["type"]), "computed": True}
        return found

    def _block(self, config: str) -> dict[str, Any]:
        attributes: dict[str, Any] = {}
        blocks: dict[str, Any] = {}
        for one in self._properties(config):
            name, optional = _snake(one["name"]), bool(one.get("optional"))
            typed, many = self._type(one["type"])
            if typed.startswith(_BINDINGS):
                blocks[name] = {
                    "nesting": "SINGLE" if name == "timeouts" else "LIST",
                    "block": self._block(typed),
                    "min_items": 0 if optional else 1,
                    "max_items": 0 if many or name == "timeouts" else 1,
                }
            else:
                found: Any = ["list", typed] if many else json.loads(typed)
                use = {"optional": True, "computed": True} if optional else {"required": True}
                attributes[name] = {"type": found, **use}
        return {"attributes": attributes, "block_types": blocks}

    def _properties(self, name: str) -> list[Json]:
        found = self._types[name]
        own = list(found.get("properties", ()))
        for base in found.get("interfaces", ()):
            if base.startswith(_BINDINGS):
                own += self._properties(base)
        return own

    def _type(self, given: Json) -> tuple[str, bool]:
        """A struct of the bindings, or Terraform's type as JSON; and whether there may be several."""
        if "union" in given:
            (rest,) = (one for one in given["union"]["types"] if one.get("fqn") != "cdktf.IResolvable")
            return self._type(rest)
        if "collection" in given:
            typed, _ = self._type(given["collection"]["elementtype"])
            if given["collection"]["kind"] == "map":
                return json.dumps(["map", json.loads(typed)]), False
            return (
                (typed, True)
                if typed.startswith(_BINDINGS)
                else (json.dumps(["list", json.loads(typed)]), False)
            )
        if "primitive" in given:
            names = {"boolean": "bool", "any": "dynamic"}
            return json.dumps(names.get(given["primitive"], given["primitive"])), False
        return given["fqn"], False

    def _computed(self, given: Json) -> Any:
        """Terraform's type of what the provider tells."""
        name = given.get("fqn", "")
        if name == "cdktf.IResolvable":
            return "bool"
        if name.startswith("cdktf."):
            return ["map", _MAPS[name.removeprefix("cdktf.")]]
        if name.startswith(_BINDINGS):
            inner = self._types[name.removesuffix("List").removesuffix("OutputReference") + "OutputReference"]
            fields = {
                _snake(one["name"]): self._computed(one["type"])
                for one in inner["properties"]
                if one["name"] not in ("internalValue", "fqn") and not one["name"].endswith("Input")
            }
            return ["list", ["object", fields]]
        typed, _ = self._type(given)
        return json.loads(typed)


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), name)


if __name__ == "__main__":
    download()
