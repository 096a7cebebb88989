"""``mysqlproxy demo`` as a user runs it: the table, the login, every way to end it, and that nothing is left."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pymysql
import pytest

import mysqlproxy
from mysqlproxy.demo import command, install, local, network
from mysqlproxy.demo.daemon import Daemon, Metrics

CHECKOUT = Path(__file__).parent.parent.parent
PROGRAM = (sys.executable, "-P", "-m", "mysqlproxy", "demo", "--port=0", "--http-port=0")


class Demo:
    """The command as a process, with a temporary folder and ports of its own."""

    def __init__(self, folder: Path, *arguments: str, command: Sequence[str | Path] = PROGRAM) -> None:
        self.folder = folder
        environment = {
            **os.environ,
            "TMPDIR": str(folder),
            "PYTHONPATH": str(Path(mysqlproxy.__file__).parent.parent),
            "COLUMNS": "120",
        }
        if command is not PROGRAM:  # a script, which takes a program that is installed already
            program = folder.with_name(f"{folder.name}-mysqlproxy")
            program.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM[:-3])} "$@"\n')
            program.chmod(0o700)
            environment["MYSQLPROXY"] = str(program)
        self.process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
            text=True,
        )
        self.output = ""
        self._guard = threading.Timer(
            60 if command is PROGRAM and "--chain" not in arguments else 150, self.process.kill
        )
        self._guard.daemon = True
        self._guard.start()

    def read_until(self, text: str) -> str:
        """Read lines up to one that contains ``text``; all of the output so far."""
        assert self.process.stdout is not None
        while text not in self.output:
            line = self.process.stdout.readline()
            assert line, f"it ended before {text!r}:\n{self.output}"
            self.output += line
        return self.output

    def end(self) -> int:
        """Read the rest and wait; the exit status."""
        assert self.process.stdout is not None
        self.output += self.process.stdout.read()
        self.process.stdout.close()
        status = self.process.wait()
        self._guard.cancel()
        return status

    def left(self) -> list[str]:
        """Files below its folder and processes that name it."""
        commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path)]
        return [
            *map(str, self.folder.iterdir()),
            *(c.decode(errors="replace") for c in commands if str(self.folder).encode() in c),
        ]


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("demo")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def run(folder: Path) -> Iterator[Callable[..., Demo]]:
    """Starts demos; one that a failed test has left running is ended."""
    started: list[Demo] = []

    def start(*arguments: str, **options: Any) -> Demo:
        started.append(Demo(folder, *arguments, **options))
        return started[-1]

    yield start
    for demo in started:
        if demo.process.poll() is None:
            demo.process.terminate()
            demo.end()


def test_once_prints_the_table_and_leaves_nothing(run: Callable[..., Demo]) -> None:
    demo = run("--once")
    assert demo.end() == 0, demo.output
    assert "starting manager, worker1, worker2" in demo.output
    assert "The servers and the daemon agree, and every row is on every server." in demo.output
    lines = [re.findall(r"\w+", line) for line in demo.output.splitlines()]
    assert ["direct", "manager", "20", "20", "20", "20", "20"] in lines
    random = lines.index(["random", "manager", "20", "20", "0", "0", "20"])
    reads = [int(line[3]) for line in lines[random + 1 : random + 3]]
    assert sum(reads) == 20
    assert all(reads), "20 reads at random hit only one of two workers"
    assert ["customized", "manager", "20", "20", "0", "0", "20"] in lines
    assert demo.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stays_up_until_a_signal(run: Callable[..., Demo], number: signal.Signals) -> None:
    demo = run()
    text = demo.read_until("Ctrl-C ends it.")
    login = next(line for line in text.splitlines() if "-u random" in line)
    answer = subprocess.run(
        [*shlex.split(login), "--batch", "-N", "-e", "SELECT COUNT(*) FROM random_table"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout == "20\n", answer.stderr
    demo.process.send_signal(number)
    assert demo.end() == 0, demo.output
    assert demo.left() == []


@pytest.mark.parametrize(
    "moment", ["making the system tables", "starting manager", "starting the daemon", "random"]
)
def test_interrupted_on_the_way_nothing_is_left(run: Callable[..., Demo], moment: str) -> None:
    demo = run()
    demo.read_until(moment)
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 128 + signal.SIGINT, demo.output
    assert "Traceback" not in demo.output
    assert demo.left() == []


def test_a_second_interrupt_does_not_cut_the_clean_up_short(run: Callable[..., Demo]) -> None:
    demo = run()
    demo.read_until("starting the daemon")
    demo.process.send_signal(signal.SIGINT)
    demo.read_until("stopping")
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 128 + signal.SIGINT, demo.output
    assert demo.left() == []


def test_killed_it_leaves_nothing_either(run: Callable[..., Demo]) -> None:
    demo = run()
    demo.read_until("Ctrl-C ends it.")
    demo.process.kill()
    demo.end()
    for _ in range(600):
        if not demo.left():
            return
        threading.Event().wait(0.05)
    raise AssertionError(demo.left())


_NO_HOSTS = network.unavailable()
needs_hosts = pytest.mark.skipif(bool(_NO_HOSTS), reason=_NO_HOSTS)


def hosts_left(demo: Demo) -> list[str]:
    tag = re.search(r"making eight hosts, (mysqlproxy-\w+-)", demo.output)
    assert tag, demo.output
    return [path.name for path in Path("/run/netns").iterdir() if path.name.startswith(tag[1])]


@needs_hosts
@pytest.mark.timeout(200)
def test_the_chain_serves_shuts_its_doors_and_leaves_nothing(run: Callable[..., Demo]) -> None:
    """The script itself, with a program that is installed already."""
    demo = run("--once", command=[CHECKOUT / "deploy/chain.sh"])
    assert demo.end() == 0, demo.output
    assert "client: mysql -u random -h 10.77.0.20 -p app, the password typed at its prompt" in demo.output
    lines = [re.findall(r"[\w-]+", line) for line in demo.output.splitlines()]
    assert ["direct", "manager", "20", "20", "20", "20", "20"] in lines
    for hop in ("gatekeeper", "trusted-host", "proxy"):
        assert any(line[:3] == [hop, "120", "3"] for line in lines), hop
    assert ["2", "outsider", *["shut"] * 7] in lines
    assert ["1", "client", "shut", "open", *["shut"] * 5] in lines
    costs = demo.output.partition("What a read costs")[2]
    for hop in ("proxy", "trusted-host", "gatekeeper"):
        assert re.search(rf"{hop} +│ +\d+ │ +-?\d+ │ +\d+ │", costs), costs
    assert "Every statement was counted by every hop, and every door that must be closed is closed." in (
        demo.output
    )
    assert demo.left() == hosts_left(demo) == []


@needs_hosts
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGINT, "keys and certificates"), (signal.SIGKILL, "starting the trusted-host")],
)
def test_the_chain_interrupted_leaves_nothing(
    run: Callable[..., Demo], number: signal.Signals, moment: str
) -> None:
    demo = run("--chain")
    demo.read_until(moment)
    demo.process.send_signal(number)
    assert demo.end() == (128 + number if number is signal.SIGINT else -number), demo.output
    for _ in range(600):
        if demo.left() == hosts_left(demo) == []:
            return
        threading.Event().wait(0.05)
    raise AssertionError(demo.left() + hosts_left(demo))


def test_the_chains_script_says_what_it_needs() -> None:
    script = (CHECKOUT / "deploy/chain.sh").read_text()
    as_nobody = ["setpriv", "--reuid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    result = subprocess.run(
        [*as_nobody, "bash", "-s", "--", "--once"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert result.returncode == 1
    assert "chain.sh needs root" in result.stderr


@pytest.mark.parametrize("option", ["--port", "--http-port"])
def test_a_port_in_use_is_one_sentence(run: Callable[..., Demo], option: str) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        demo = run("--once", f"{option}={port}")
        assert demo.end() == 1
    assert f"mysqlproxy demo: port {port} on 127.0.0.1 is in use" in demo.output
    assert option in demo.output
    assert "Traceback" not in demo.output
    assert demo.left() == []


ON_A_SMALL_DISK = """
mount -t tmpfs -o size=48m none "$TMPDIR" || exit
echo mounted
"$@"
status=$?
ls -A "$TMPDIR"
exit $status
"""


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("", r"/\S+ has \d+ MiB of free disk space and the servers need \d+ MiB; free some or .+"),
        # The system tables fit, their copies do not.
        ("local.BYTES_PER_SERVER = 0", r"no disk space is left for /\S+; free some or .+"),
    ],
)
def test_a_small_disk_is_one_sentence(folder: Path, before: str, said: str) -> None:
    program = (
        f"from mysqlproxy.demo import command, local\n{before}\nexit(command.run_demo(True, None, 0, 0))"
    )
    demo = [sys.executable, "-P", "-c", program]
    ended = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh", *demo],
        env={
            **os.environ,
            "TMPDIR": str(folder),
            "PYTHONPATH": str(Path(mysqlproxy.__file__).parent.parent),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if not ended.stdout.startswith("mounted"):
        pytest.skip(f"no file system can be mounted here: {ended.stderr}")
    assert ended.returncode == 1
    assert re.fullmatch(rf"mysqlproxy demo: {said}\n", ended.stderr), ended.stderr
    assert ended.stdout.splitlines()[-1] == "stopping", "files are left"


def test_a_disk_that_is_full_is_told_whatever_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its servers wait for room, and the workload loses its connection."""

    def lost(*_: object) -> None:
        raise pymysql.OperationalError(1927, "Lost connection to server during query")

    monkeypatch.setattr(command.LocalCluster, "start", lost)
    assert command.run_demo(True, tmp_path, 0, 0) == 1
    assert "Lost connection" in capsys.readouterr().err
    monkeypatch.setattr(local, "BYTES_LEFT", 1 << 60)
    assert command.run_demo(True, tmp_path, 0, 0) == 1
    assert f"mysqlproxy demo: no disk space is left for {tmp_path}; free some" in capsys.readouterr().err


def test_no_mariadb_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install.shutil, "which", lambda *_, **__: None)
    assert command.run_demo(True, folder / "cluster", 0, 0) == 1
    assert capsys.readouterr().err == (
        "mysqlproxy demo: no MariaDB server program (mariadbd) was found on this machine; "
        "apt-get install mariadb-server-core mariadb-client\n"
    )
    assert list(folder.iterdir()) == []


def test_a_given_directory_is_used_and_only_what_was_made_is_removed(
    run: Callable[..., Demo], folder: Path
) -> None:
    mine = folder / "mine"
    mine.mkdir()
    (mine / "notes").write_text("kept")
    demo = run("--once", "--dir", "mine")
    assert demo.end() == 0, demo.output
    assert [path.name for path in mine.iterdir()] == ["notes"]


def test_a_directory_that_cannot_be_is_one_sentence(run: Callable[..., Demo]) -> None:
    demo = run("--once", "--dir", "missing/below")
    assert demo.end() == 1
    assert "mysqlproxy demo: " in demo.output
    assert "missing/below" in demo.output
    assert "Traceback" not in demo.output


def test_metrics_that_disagree_end_with_status_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Daemon, "metrics", lambda _: Metrics())
    assert command.run_demo(True, folder / "cluster", 0, 0) == 1
    assert "wrong: direct: manager served 20 writes and 20 reads, the daemon's metrics say 0 and 0" in (
        capsys.readouterr().out
    )
    assert list(folder.iterdir()) == []


def test_the_script_names_what_to_install_on_another_system(tmp_path: Path) -> None:
    for program in ("bash", "dirname", "python3", "env"):
        found = shutil.which(program)
        assert found
        (tmp_path / program).symlink_to(found)
    result = subprocess.run(
        [CHECKOUT / "deploy/demo.sh", "--once"],
        env={"PATH": str(tmp_path), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "mariadb-client" in result.stderr
    assert "no Debian or Ubuntu" in result.stderr
