"""The source distributions that hold the suites, unpacked below .cache of this checkout.

Wheels leave the tests out. The versions are pinned: a newer one may bring tests that fail anywhere.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache" / "suites"
VERSIONS = {"SQLAlchemy": "2.1.9", "Django": "5.2.19"}
_DOWNLOAD_SECONDS = 300


class NoSource(Exception):
    """The source distribution can't be had here; the message says what pip said."""


def source(project: str) -> Path:
    """The unpacked source distribution, downloaded when it is not there yet.

    Raises:
        NoSource: pip could not get it.
    """
    wanted = f"{project}-{VERSIONS[project]}".lower()
    folder = CACHE / wanted
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        work = Path(name)
        _download(project, work)
        archive = next(work.glob("*.tar.gz"), None)
        if archive is None:
            raise NoSource(f"pip downloaded no source distribution of {project}")
        with tarfile.open(archive) as tar:
            tar.extractall(work / "unpacked", filter="data")
        (unpacked,) = (work / "unpacked").iterdir()
        shutil.move(unpacked, folder)  # last, so that a folder that is there is whole
    return folder


def _download(project: str, folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # The project alone as source: pip takes what its build needs as wheels.
    what = ["--no-binary", project, f"--dest={folder}", f"{project}=={VERSIONS[project]}"]
    try:
        done = subprocess.run(
            [*pip, *what], capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoSource(f"pip did not get {project} within {_DOWNLOAD_SECONDS} s") from None
    if done.returncode:
        raise NoSource(f"pip could not get {project}: {done.stderr.strip()[-500:]}")
