"""The command line: its arguments, its exit statuses and what it prints without a server."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from mysqlproxy.cli import METHODS, main
from mysqlproxy.commands import user as user_command
from mysqlproxy.gatekeeper.secrets import Secret, native_verifier, sha2_verifier

GOOD = """
[monitor]
user = "monitor"
[[servers]]
name = "manager"
address = "127.0.0.1:1"
role = "manager"
[[servers]]
name = "worker1"
address = "127.0.0.1:2"
role = "worker"
[[servers]]
name = "worker2"
address = "127.0.0.1:3"
role = "worker"
maintenance = true
[[users]]
name = "app"
verifier = "{verifier}"
strategy = "random"
""".format(verifier=sha2_verifier("geheim"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "mysqlproxy.toml"
    file.write_text(GOOD)
    file.chmod(0o600)
    return file


def test_check_says_what_there_is(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(config)]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("ok: 3 servers, 1 user\n", "")


def test_check_prints_every_fault(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(
        GOOD.replace("$caching_sha2_password$", "$A$005$").replace(":3", ":1") + "[listen]\nprocesses = 4\n"
    )
    assert main(["check", "--config", str(config)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{config}: ") for line in lines)
    assert "listen.processes: only 1 process is supported in this version; write 1" in lines[0]
    assert "servers[worker2].address: 127.0.0.1:1 is the address of manager, too" in lines[1]
    assert "users[app].verifier: a verifier is * and 40 hexadecimal digits, $" in lines[2]


def test_check_of_what_is_no_configuration(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("[monitor\n")
    assert main(["check", "--config", str(config)]) == 1
    assert capsys.readouterr().err == (
        f"{config}: line 1: Expected ']' at the end of a table declaration; write it as TOML (https://toml.io)\n"
    )


def test_check_prints_warnings_and_goes_on(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(GOOD.partition("[[users]]")[0])
    assert main(["check", "--config", str(config)]) == 0
    out, err = capsys.readouterr()
    assert out == "ok: 3 servers, 0 users\n"
    assert err == f"warning: {config}: users: there is none, so nobody can log in; add [[users]]\n"


def test_check_connect_names_every_server_that_does_not_answer(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--connect", "--config", str(config)]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: ")]
    assert [line.split(": ")[1] for line in lines] == [
        "servers[manager]",
        "servers[worker1]",
        "servers[worker2]",
    ]
    assert all("; see that it runs" in line for line in lines)


def explained(config: Path, capsys: pytest.CaptureFixture[str], sql: str, *options: str) -> dict[str, object]:
    assert main(["explain", "--offline", "--json", "--config", str(config), *options, sql]) == 0
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_explain_a_read(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = explained(config, capsys, "SELECT name FROM app.people WHERE id = 4711", "--user", "app")
    assert answer["kind"] == "read"
    assert answer["server"] == "worker1", "the only worker that is not in maintenance"
    assert (answer["strategy"], answer["read_consistency"]) == ("random", "session")
    assert answer["tables"] == ["app.people"]
    assert "4711" not in json.dumps(answer)
    assert answer["candidates"] == [
        {"server": "manager", "role": "manager", "chosen": False, "reason": "it is the manager"},
        {"server": "worker1", "role": "worker", "chosen": True, "reason": "chosen"},
        {"server": "worker2", "role": "worker", "chosen": False, "reason": "in maintenance"},
    ]


def test_explain_a_write(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = explained(config, capsys, "UPDATE people SET name = 'geheim' WHERE id = 1", "--schema", "app")
    assert (answer["kind"], answer["server"]) == ("write", "manager")
    assert answer["why"] == "kind write: the manager takes writes and what is not understood"
    assert [candidate["reason"] for candidate in answer["candidates"]] == [  # type: ignore[attr-defined]
        "chosen",
        "only the manager takes it",
        "only the manager takes it",
    ]
    assert "geheim" not in json.dumps(answer)


def test_explain_as_text(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--offline", "--config", str(config), "SELECT 'geheim' FROM app.t"]) == 0
    out = capsys.readouterr().out
    titles = [line[:13].strip() for line in out.splitlines() if line[:13].strip()]
    assert titles == [
        "statement", "kind", "because", "tables", "functions", "leaves", "rule", "strategy",
        "server", "candidates",
    ]  # fmt: skip
    assert "server       worker1: strategy customized: the reader with the lowest ping" in out
    assert "geheim" not in out


def test_explain_without_a_manager(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(GOOD.replace('role = "manager"', 'role = "manager"\nmaintenance = true'))
    answer = explained(config, capsys, "DELETE FROM t")
    assert answer["server"] is None
    assert "the manager is in maintenance" in str(answer["why"])
    assert explained(config, capsys, "SELECT 1 FROM t")["server"] == "worker1"


def test_explain_for_an_account_that_is_not_there(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--offline", "--config", str(config), "--user", "nobody", "SELECT 1"]) == 1
    assert capsys.readouterr().err == f"{config}: users: has no account 'nobody'; those there are: app\n"


@pytest.mark.parametrize("method", METHODS)
def test_user_hash_for_one_method_prints_the_verifier_alone(method: str) -> None:
    command = [sys.executable, "-m", "mysqlproxy", "user", "hash", "--method", method]
    done = subprocess.run(command, input="pässwort\n", capture_output=True, text=True, check=True)
    assert Secret.from_verifier(done.stdout.removesuffix("\n")).matches("pässwort".encode())


def test_user_hash_from_a_pipe() -> None:
    command = [sys.executable, "-m", "mysqlproxy", "user", "hash"]
    done = subprocess.run(command, input="pässwort\nmore\n", capture_output=True, text=True, check=True)
    assert f'verifier = "{native_verifier("pässwort")}"' in done.stdout
    assert f'verifier = "{sha2_verifier("pässwort")}"' in done.stdout
    assert "pässwort" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (b"", "an empty password has no verifier"),
        (b"\n", "an empty password has no verifier"),
        (b"\xff\n", "the password is not UTF-8"),
        (b"x" * 5000, "a password has at most 256 bytes"),
    ],
)
def test_user_hash_refuses(
    given: bytes, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert main(["user", "hash"]) == 1
    assert sentence in capsys.readouterr().err


def test_user_hash_asks_unseen_on_a_terminal() -> None:
    terminal, inside = pty.openpty()
    # getpass asks on the controlling terminal, which setsid gives to the child.
    command = ["setsid", "--ctty", "--wait", sys.executable, "-m", "mysqlproxy", "user", "hash"]
    child = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    shown = b""
    for prompt in (b"Password: ", b"Again: "):
        while not shown.endswith(prompt):
            shown += os.read(terminal, 1024)
        os.write(terminal, b"geheim\n")
    while sha2_verifier("geheim").encode() not in shown:
        shown += os.read(terminal, 1024)
    assert child.wait(10) == 0
    os.close(terminal)
    assert b"geheim" not in shown


def test_user_hash_wants_the_same_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter(["one", "two"])
    monkeypatch.setattr(user_command.getpass, "getpass", lambda _: next(answers))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert main(["user", "hash"]) == 1
    assert capsys.readouterr().err == "the two are not the same; try again\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out in (
        "mysqlproxy 0.1.0 (compiled)\n",
        "mysqlproxy 0.1.0 (pure Python)\n",
    )


@pytest.mark.parametrize(
    "arguments", [[], ["serve"], ["check"], ["explain", "--config", "x"], ["user"], ["nonsense"]]
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: mysqlproxy")


def test_help_needs_none_of_the_heavy_modules() -> None:
    script = (
        "import sys\n"
        "from mysqlproxy.cli import METHODS, main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('pydantic', 'sqlglot', 'aiohttp', 'pymysql') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for command in ("serve", "check", "explain", "user", "demo"):
        assert f"    {command}" in done.stdout
