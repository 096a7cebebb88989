"""``python -m tests.machines.terraform``: Terraform's own checks of deploy/terraform, its registry out of reach.

In place of the AWS provider, which only the registry has, stands one that serves the provider's schema
(``aws_schema``) and finds nothing wrong itself. `terraform validate` then judges each block, argument, type and
reference, and `terraform test` runs deploy/terraform/tests: the module applied to made-up answers of AWS. Needs
terraform, and of PyPI: tf.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from tf.gen import tfplugin_pb2 as messages
from tf.gen import tfplugin_pb2_grpc as service

from tests.machines import aws_schema
from tests.machines.module import MODULE, blocks


class Provider(service.ProviderServicer):  # type: ignore[misc]
    """What Terraform asks of a provider before anything is made."""

    def __init__(self, schema: aws_schema.Schema) -> None:
        self._schema = messages.GetProviderSchema.Response(provider=_schema(schema.provider()))
        used = {(kind, label.split(".")[0]) for _, kind, label, _ in blocks() if kind in ("resource", "data")}
        for kind, label in used:
            found = schema.find(kind, label)
            if found is not None:  # Terraform says what is missing
                schemas = (
                    self._schema.data_source_schemas if kind == "data" else self._schema.resource_schemas
                )
                schemas[label].CopyFrom(_schema(found))

    def GetProviderSchema(self, request: Any, context: Any) -> Any:
        return self._schema

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:
        return messages.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        return messages.ValidateResourceConfig.Response()

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:
        return messages.ValidateDataResourceConfig.Response()


def _schema(block: dict[str, Any]) -> Any:
    return messages.Schema(block=_block(block))


def _block(block: dict[str, Any]) -> Any:
    attributes = [
        messages.Schema.Attribute(name=name, **(found | {"type": json.dumps(found["type"]).encode()}))
        for name, found in block["attributes"].items()
    ]
    nested = [
        messages.Schema.NestedBlock(type_name=name, **(found | {"block": _block(found["block"])}))
        for name, found in block["block_types"].items()
    ]
    return messages.Schema.Block(attributes=attributes, block_types=nested)


@contextmanager
def provider() -> Iterator[dict[str, str]]:
    """Serve it; gives the environment in which Terraform finds it."""
    server = grpc.server(ThreadPoolExecutor(4))
    service.add_ProviderServicer_to_server(Provider(aws_schema.Schema()), server)
    address = {"Network": "tcp", "String": f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"}
    found = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True, "Addr": address}
    server.start()
    try:
        yield {
            **os.environ,
            "TF_REATTACH_PROVIDERS": json.dumps({"hashicorp/aws": found}),
            "TF_CLI_CONFIG_FILE": os.devnull,
        }
    finally:
        server.stop(None).wait()


CHECKS = (
    (".", "fmt -check -diff -recursive"),
    (".", "validate"),
    ("examples/chain", "validate"),
    ("examples/managed", "validate"),
    (".", "test"),
)


def main() -> int:
    """All checks in a copy of the module; the status of the first that fails."""
    with tempfile.TemporaryDirectory(prefix="mysqlproxy-terraform-") as name, provider() as environment:
        copy = Path(name, "module")
        shutil.copytree(MODULE, copy, ignore=shutil.ignore_patterns(".terraform*", "*.tar.gz"))
        for folder, check in CHECKS:
            for command in ("init -backend=false", check):
                done = subprocess.run(
                    ["terraform", *command.split(), "-no-color"],
                    cwd=copy / folder,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    check=False,
                )
                if done.returncode or command == check:
                    print(f"== {folder}: terraform {command}\n{done.stdout}", flush=True)
                if done.returncode:
                    return done.returncode
    return 0


if __name__ == "__main__":
    aws_schema.download()
    sys.exit(main())
