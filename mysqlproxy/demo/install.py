"""Finds MariaDB's server program and makes a data directory with it, without the package's install script.

Called by ``LocalCluster``. The server's own SQL files are fed to ``mariadbd --bootstrap``, which takes a
third of a second; the cluster copies the result for each server.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mysqlproxy.demo.errors import LocalClusterError

CHECK_SECONDS = 0.1
REMEDY = "apt-get install mariadb-server-core mariadb-client"
_SCRIPTS = (
    "mysql_system_tables.sql",
    "mysql_performance_tables.sql",
    "mysql_system_tables_data.sql",
    "maria_add_gis_sp_bootstrap.sql",
)
# Nothing is forced to disk: the servers live as long as this program, a power failure ends both.
STORAGE = (
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=8M",
    "--innodb-flush-method=nosync",
    "--innodb-temp-data-file-path=ibtmp1:4M:autoextend",
    "--aria-log-file-size=8M",
    "--aria-pagecache-buffer-size=8M",
)


@dataclass(frozen=True, slots=True)
class Installation:
    """Where MariaDB is on this machine.

    Attributes:
        program: mariadbd.
        scripts: the folder with the SQL of the system tables.
    """

    program: Path
    scripts: Path

    @classmethod
    def find(cls) -> Installation:
        """Look on PATH and in the sbin folders, which an ordinary user's PATH lacks.

        Raises:
            LocalClusterError: it is not there; the sentence names the packages.
        """
        path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/usr/libexec"])
        program = shutil.which("mariadbd", path=path)
        if program is None:
            raise LocalClusterError(
                f"no MariaDB server program (mariadbd) was found on this machine; {REMEDY}"
            )
        prefix = Path(program).resolve().parent.parent
        for scripts in (prefix / "share/mysql", prefix / "share/mariadb", prefix / "share"):
            if all((scripts / name).is_file() for name in _SCRIPTS):
                return cls(Path(program), scripts)
        raise LocalClusterError(
            f"the SQL files of MariaDB's system tables are not below {prefix}/share; {REMEDY}"
        )

    def command(self, *arguments: str) -> list[str]:
        """The server's command line. It reads no option file of the machine."""
        user = ["--user=root"] if os.geteuid() == 0 else []
        return [str(self.program), "--no-defaults", *user, *STORAGE, *arguments]


def make_template(
    installation: Installation, directory: Path, statements: Sequence[str], check: Callable[[], None]
) -> None:
    """Make a data directory with the given statements applied; no account exists but those that they create.

    Args:
        check: called while the server works, which on a full disk waits for ever; what it raises ends that.

    Raises:
        LocalClusterError: with the server's last words.
        OSError: the files could not be made.
    """
    directory.mkdir(mode=0o700)
    # The bootstrap reader wants each statement to end its line.
    own = [
        "DELETE FROM mysql.global_priv WHERE User IN ('root', '')",
        "DELETE FROM mysql.proxies_priv",
        "FLUSH PRIVILEGES",
        *statements,
    ]
    script = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n"
    script += "\n".join((installation.scripts / name).read_text("utf-8") for name in _SCRIPTS)
    script += "\n" + "".join(f"{statement};\n" for statement in own)
    # A server that starts removes all temporary tables from its tmpdir, whoever made them: not the machine's.
    with (
        tempfile.TemporaryDirectory(dir=directory) as own_tmp,
        subprocess.Popen(
            installation.command(
                "--bootstrap", f"--datadir={directory}", f"--tmpdir={own_tmp}", "--silent-startup"
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process,
    ):
        said = _converse(process, script.encode(), check)
    if process.returncode:
        last = said.decode("utf-8", "replace").strip().splitlines()[-5:]
        raise LocalClusterError(
            "\n".join(["mariadbd could not make its system tables; its last words:", *last])
        )


def _converse(process: subprocess.Popen[bytes], text: bytes, check: Callable[[], None]) -> bytes:
    """Give the process its input; its standard error, when it has ended."""
    given: bytes | None = text
    try:
        while True:
            check()
            try:
                return process.communicate(given, timeout=CHECK_SECONDS)[1]
            except subprocess.TimeoutExpired:
                given = None  # it is on its way
    finally:
        process.kill()
