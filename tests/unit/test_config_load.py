"""The configuration's file: what is taken, and the sentence for each thing that is not."""

from __future__ import annotations

import logging
from ipaddress import ip_network
from pathlib import Path

import pytest

from mysqlproxy.config.load import MAX_FILE, load, read
from mysqlproxy.config.schema import Config, Consistency, SecretFrom, Strategy
from mysqlproxy.errors import ConfigFault

MINIMAL = """
[monitor]
user = "monitor"
[[servers]]
name = "manager"
address = "127.0.0.1:3306"
role = "manager"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "mysqlproxy.toml"
    file.write_text(text)
    file.chmod(0o600)
    return file


def faults(folder: Path, text: str) -> list[str]:
    """The faults without the file's name, which each must begin with."""
    file = written(folder, text)
    with pytest.raises(ConfigFault) as caught:
        load(file)
    assert all(fault.startswith(f"{file}: ") for fault in caught.value.faults)
    return [fault.removeprefix(f"{file}: ") for fault in caught.value.faults]


def test_defaults_are_the_contract(tmp_path: Path) -> None:
    config = load(written(tmp_path, MINIMAL))
    assert config.listen.mysql == ("127.0.0.1:6033",)
    assert config.listen.http == "127.0.0.1:9104"
    assert config.tls is None
    assert config.routing.strategy is Strategy.CUSTOMIZED
    assert config.routing.read_consistency is Consistency.SESSION
    assert (config.limits.login_timeout, config.limits.idle_timeout) == (10.0, 28800.0)
    assert config.limits.max_packet == 67108864
    assert config.servers[0].tls == "preferred"


def test_everything_of_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYSQLPROXY_TEST_SECRET", "geheim")
    (tmp_path / "secret").write_text("from the file\n")
    (tmp_path / "secret").chmod(0o600)
    text = (
        MINIMAL.replace("[monitor]", '[monitor]\npassword = { env = "MYSQLPROXY_TEST_SECRET" }\ninterval = 2')
        + """
[[servers]]
name = "worker1"
address = "[::1]:3307"
role = "worker"
max_connections = 20
weight = 3
tls = "off"
[[users]]
name = "app"
password = { file = "secret" }
server_user = "application"
server_password = "text"
allow_from = ["127.0.0.0/8", "10.1.2.3", "2001:db8::/32"]
max_connections = 5
strategy = "random"
read_consistency = "eventual"
[listen]
mysql = ["127.0.0.1:6033", "unix:run.sock"]
http = ""
[routing]
strategy = "direct"
consistency_wait = 0
[log]
level = "debug"
format = "json"
"""
    )
    config = load(written(tmp_path, text))
    user = config.users[0]
    assert config.monitor.password == SecretFrom(env="MYSQLPROXY_TEST_SECRET")
    assert config.monitor.interval == 2.0
    assert user.password == SecretFrom(file=tmp_path / "secret"), "paths are relative to the file"
    assert config.listen.mysql == ("127.0.0.1:6033", f"unix:{tmp_path}/run.sock")
    assert user.allow_from == (ip_network("127.0.0.0/8"), ip_network("10.1.2.3"), ip_network("2001:db8::/32"))
    assert (user.strategy, user.read_consistency) == (Strategy.RANDOM, Consistency.EVENTUAL)
    assert config.servers[1].weight == 3


def test_paths_are_absolute_from_a_relative_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, MINIMAL + '[tls]\ncertificate = "a/c.pem"\nkey = "/k.pem"\n')
    config = read(Path("mysqlproxy.toml"))
    assert config.tls is not None
    assert (config.tls.certificate, config.tls.key) == (tmp_path / "a/c.pem", Path("/k.pem"))


def test_no_secret_in_a_repr() -> None:
    config = Config.model_validate(
        {
            "monitor": {"user": "m", "password": "geheim1"},
            "servers": [{"name": "a", "address": "h", "role": "manager"}],
            "users": [
                {"name": "u", "password": "geheim2", "server_password": "geheim3", "verifier": "geheim4"}
            ],
        }
    )
    assert "geheim" not in repr(config)
    assert "geheim" not in str(config)


WRONG = [
    ("[listen]\nmysql = []", "listen.mysql: is empty; write at least one"),
    ("[listen]\nmysql = 'x'", 'listen.mysql: is not an array; write it in brackets, as in ["one", "two"]'),
    ("[listen]\nhttp = 1", 'listen.http: is not text; write it in quotes, as in "text"'),
    ("[listen]\nprocesses = -1", "listen.processes: is out of range; write at least 0"),
    ("[tls]\nkey = 'k'", "tls.certificate: is missing; add it"),
    ("tls = 3", "tls: is not a section; write it as in [name] followed by key = value"),
    (
        "[routing]\nread_consistency = 'sesion'",
        "routing.read_consistency: is none of its values; write one of "
        '"eventual", "session", "strong" or "global"',
    ),
    ("[routing]\nconsistency_wait = 61", "routing.consistency_wait: is out of range; write at most 60"),
    ("[routing]\nrules = [1]", 'routing.rules[1]: is not text; write it in quotes, as in "text"'),
    ("[limits]\nlogin_timeout = 0", "limits.login_timeout: is out of range; write more than 0"),
    ("[limits]\nlogin_timeout = inf", "limits.login_timeout: is not a finite number; write it as in 1.5"),
    ("[limits]\nlogin_timeout = '1'", "limits.login_timeout: is not a number; write it as in 1.5"),
    ("[limits]\nmax_connections = true", "limits.max_connections: is not a whole number; write it as in 100"),
    ("[limits]\nmax_packet = 1.5", "limits.max_packet: is not a whole number; write it as in 100"),
    ("[limits]\nmax_pakcet = 5", 'limits.max_pakcet: is not a known key; did you mean "max_packet"?'),
    ("[log]\nzzz = 5", "log.zzz: is not a known key; known here are format, level, slow_statement"),
    (
        "[log]\nlevel = 1979-01-01",
        'log.level: is none of its values; write one of "debug", "info", "warning" or "error"',
    ),
    ("[users]", "users: is not a list of sections; write [[users]] above each"),
    ("[[users]]", "users[1].name: is missing; add it"),
    ("[[users]]\nname = ''", "users[1].name: is empty; write a value"),
    (
        "[[users]]\nname = 'u'\npassword = 5",
        'users[u].password: is no secret; write "text", { env = "NAME" } or { file = "PATH" }',
    ),
    (
        "[[users]]\nname = 'u'\npassword = {}",
        'users[u].password: needs exactly one of env and file; write { env = "NAME" } or { file = "PATH" }',
    ),
    (
        "[[users]]\nname = 'u'\npassword = { evn = 'X' }",
        'users[u].password.evn: is not a known key; did you mean "env"?',
    ),
    (
        "[[users]]\nname = 'u'\npassword = 'p'\nallow_from = ['10.0.0.1/8']",
        "users[u].allow_from[1]: '10.0.0.1/8' has bits beyond its prefix; write 10.0.0.0/8",
    ),
    (
        "[[users]]\nname = 'u'\npassword = 'p'\nallow_from = ['intranet']",
        "users[u].allow_from[1]: 'intranet' is no network; write it as in 10.0.0.0/8 or 2001:db8::/32",
    ),
    (f"[[users]]\nname = '{'u' * 81}'", f"users[{'u' * 81}].name: is too long; write at most 80 characters"),
    (
        "[[servers]]\nname = 'a b'\naddress = 'h'\nrole = 'worker'",
        "servers[a b].name: has a character it may not have; use letters, digits, '_', '.' and '-'",
    ),
    (
        "[[servers]]\nname = 'a'\naddress = 'h'\nrole = 'master'",
        'servers[a].role: is none of its values; write one of "manager" or "worker"',
    ),
    ("[servesr]", 'servesr: is not a known key; did you mean "servers"?'),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG, ids=[sentence.split(": ")[0] for _, sentence in WRONG])
def test_each_fault_has_its_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    front, back = (text, "") if text == "tls = 3" else ("", text)
    found = faults(tmp_path, front + MINIMAL + back)
    assert sentence in found
    assert not any("Input should" in fault or "geheim" in fault for fault in found)


def test_all_faults_at_once_and_no_value_that_may_be_a_secret(tmp_path: Path) -> None:
    text = """
[monitor]
user = 5
passwort = "geheim"
[[servers]]
name = "a"
address = "h"
role = "geheim"
[limits]
max_connections = "geheim"
[log]
level = "geheim"
"""
    found = faults(tmp_path, text)
    assert {fault.split(": ")[0] for fault in found} == {
        "monitor.user",
        "monitor.passwort",
        "servers[a].role",
        "limits.max_connections",
        "log.level",
    }
    assert "geheim" not in "".join(found)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("[monitor]\nuser = \n", "line 2: Invalid value; "),
        ("a = 1\na = 2\n", "line 2: Cannot overwrite a value; "),
        ("[monitor", "at its end: Expected ']' at the end of a table declaration; "),
        ("a = " + "[" * 5000, "is nested too deeply; "),
        ("a = " + "9" * 5000, "syntax: "),
    ],
)
def test_what_is_no_toml(tmp_path: Path, text: str, start: str) -> None:
    (fault,) = faults(tmp_path, text)
    assert fault.startswith(start)


def test_other_bytes_and_sizes(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(b"[monitor]\nuser = 'm\xff'\n")
    with pytest.raises(ConfigFault, match=r"c\.toml: line 2: is not UTF-8; "):
        load(file)
    file.write_bytes(b"#" * (MAX_FILE + 1))
    with pytest.raises(ConfigFault, match=r"c\.toml: is larger than \d+ bytes; "):
        load(file)
    with pytest.raises(ConfigFault, match=r"none\.toml: cannot be read: No such file or directory; "):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigFault, match=r": cannot be read: Is a directory; "):
        load(tmp_path)


def test_warnings_are_logged_and_do_not_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load(written(tmp_path, MINIMAL))
    assert [record.getMessage().split(": ", 1)[1] for record in caplog.records] == [
        "users: there is none, so nobody can log in; add [[users]]"
    ]


def test_faults_of_the_schema_and_across_sections_are_told_together(tmp_path: Path) -> None:
    path = tmp_path / "mysqlproxy.toml"
    path.write_text(
        """
        listen.mysql = ["127.0.0.1:99999"]
        routing.strategy = "fastest"
        monitor = { user = "m" }
        [[servers]]
        name = "a"
        address = "h:1"
        role = "manager"
        [[servers]]
        name = "a"
        address = "h:2"
        role = "worker"
        [[users]]
        name = "u"
        password = "p"
        allow_from = ["10.0.0.0/8", "nonsense"]
        """
    )
    with pytest.raises(ConfigFault) as told:
        load(path)
    keys = [fault.split(": ")[1] for fault in told.value.faults]
    assert keys == ["routing.strategy", "users[u].allow_from[2]", "listen.mysql", "servers[a].name"]
