"""What a hop of a chain must have, and must not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from mysqlproxy.commands.explain import Question, answer_to
from mysqlproxy.commands.explain_text import ONWARD, as_text
from mysqlproxy.config.crosscheck import crosscheck
from mysqlproxy.config.load import read
from mysqlproxy.demo import toml
from mysqlproxy.demo.chain_config import Place, chain_configs
from tests.conftest import merge
from tests.support.chain import make_pki

PLACES = [Place(f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}", "127.0.0.1/32") for port in (7001, 7003, 7005)]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pki(tmp_path_factory.mktemp("chain") / "pki")


def written(pki: Path, role: str, changes: dict[str, object]) -> Path:
    configs = chain_configs(
        pki,
        *PLACES,
        monitor={"user": "monitor", "password": "x"},
        servers=[{"name": "manager", "address": "127.0.0.1:3306", "role": "manager"}],
        logins={"app": "x"},
        accounts=[{"name": "app", "server_password": "x"}],
    )
    path = pki.parent / f"{role}.toml"
    path.write_text(toml.dumps(merge(configs[role], changes)))
    return path


def faults(pki: Path, role: str, changes: dict[str, object]) -> list[str]:
    path = written(pki, role, changes)
    return [fault.removeprefix(f"{path}: ") for fault in crosscheck(read(path), path).faults]


def test_explain_at_a_hop_says_what_a_hop_knows(pki: Path) -> None:
    path = written(pki, "gatekeeper", {})
    answer = answer_to(read(path), path, Question("INSERT INTO t VALUES (1)", user="app", offline=True))
    assert (answer["server"], answer["why"]) == ("trusted-host", ONWARD)
    text = as_text(answer)
    assert "manager" not in text and "strategy" not in text, text
    path = written(pki, "proxy", {})
    text = as_text(answer_to(read(path), path, Question("SELECT 1", offline=True)))
    assert "manager" in text and "strategy" in text


@pytest.mark.parametrize("role", ["gatekeeper", "trusted_host", "proxy"])
def test_what_is_right_has_no_faults(pki: Path, role: str) -> None:
    assert faults(pki, role, {}) == []


USER = {"name": "app", "password": "x"}
WRONG = [
    (
        "gatekeeper",
        {"users": [{**USER, "server_password": "y"}]},
        "users[app].server_password: is the proxy's",
    ),
    ("gatekeeper", {"users": [{**USER, "strategy": "direct"}]}, "users[app].strategy: is the proxy's"),
    (
        "gatekeeper",
        {"users": [{**USER, "statement_timeout": 1.0}]},
        "users[app].statement_timeout: is the proxy's",
    ),
    ("gatekeeper", {"monitor": {"user": "monitor"}}, "monitor: needs no user here"),
    ("gatekeeper", {"chain": {"signing_key": None}}, "chain.signing_key: is the gatekeeper's"),
    ("gatekeeper", {"accounts": {"from": "servers"}}, "accounts.from: cannot be used in a chain"),
    ("trusted_host", {"users": [USER]}, "users: belong to the gatekeeper"),
    ("trusted_host", {"chain": {"gatekeepers": []}}, "chain.gatekeepers: is empty"),
    ("trusted_host", {"listen": {"allow_from": []}}, "listen.allow_from: is empty"),
    ("trusted_host", {"tls": {"client_ca": None}}, "tls.client_ca: is missing"),
    (
        "trusted_host",
        {"limits": {"max_connections_per_address": 9}},
        "limits.max_connections_per_address: would",
    ),
    ("proxy", {"users": [{**USER, "server_password": "y"}]}, "users[app].password: is the gatekeeper's"),
    ("proxy", {"users": [{"name": "app"}]}, "users[app].server_password: is missing"),
    ("proxy", {"chain": {"trusted_host": None}}, "chain.trusted_host: is missing"),
    ("proxy", {"monitor": {"user": None}}, "monitor.user: is missing"),
    ("proxy", {"tls": None}, "tls.client_ca: is missing"),
]


@pytest.mark.parametrize(("role", "changes", "sentence"), WRONG, ids=[f"{w[0]}-{w[2]}" for w in WRONG])
def test_what_a_role_must_have_and_must_not_know(
    pki: Path, role: str, changes: dict[str, object], sentence: str
) -> None:
    found = faults(pki, role, changes)
    assert any(fault.startswith(sentence) for fault in found), found


def test_the_next_hop_is_one_and_is_verified(pki: Path) -> None:
    hop = {"name": "a", "address": "127.0.0.1:1", "max_connections": 10000}
    assert any(
        fault.startswith("servers[a].tls: must be") for fault in faults(pki, "gatekeeper", {"servers": [hop]})
    )
    two = {"servers": [hop, {**hop, "name": "b", "address": "127.0.0.1:2"}]}
    assert any(fault.startswith("servers: is the next hop here") for fault in faults(pki, "gatekeeper", two))
