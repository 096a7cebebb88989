"""The last to leave: a small process that ends the servers and removes their files when the program is gone.

``finally`` clauses do not run after SIGKILL, ``os._exit`` or a crash of the interpreter. The guardian reads
from a pipe whose other end only this program holds; end of file, however it came, makes it sweep. Called by
``LocalCluster``. It only touches processes whose command line names a file below the cluster's directory.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

# $1 is the directory; the names below it follow. "=$1/" is how our servers (--datadir=) and the demo's daemon
# (--config=) name their files; the third pattern is the benchmark's HAProxy. grep's own command line holds the
# words, too, but it has ended by then.
_SWEEP = r"""
cat >/dev/null
for command in $(grep -lsFa -e "--datadir=$1/" -e "--config=$1/" -e "$1/haproxy/haproxy.cfg" \
    /proc/[0-9]*/cmdline); do
    pid=${command#/proc/}
    kill -KILL "${pid%/cmdline}" 2>/dev/null
done
directory=$1
shift
for name; do rm -rf -- "${directory:?}/$name"; done
"""


class Guardian:
    """Starts at once; sweeps on ``finish`` or when this process ends in any way.

    Args:
        directory: absolute.
        names: what to remove below it.
        remove: whether the directory itself goes, too.
    """

    def __init__(self, directory: Path, names: Sequence[str], *, remove: bool = False) -> None:
        # A session of its own: Ctrl-C at the terminal is for the program, which then closes the pipe.
        self._process = subprocess.Popen(
            [
                "/bin/sh",
                "-c",
                _SWEEP,
                "mysqlproxy-guardian",
                str(directory),
                *names,
                *([""] if remove else []),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def finish(self) -> None:
        """Sweep now and wait for the end of it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
