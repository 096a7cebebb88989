"""Secrets by text, environment or file, resolved at the moment they are needed and never kept in the model.

Called by ``config.crosscheck``, the monitor, the gatekeeper and the pool, at start and at each reload. Never
logs or shows a secret's value; its faults name the variable or the file.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mysqlproxy.config.schema import Secret
from mysqlproxy.errors import ConfigFault

MAX_SECRET = 64 * 1024  # bytes


def resolve_secret(secret: Secret) -> str:
    """The secret's text; one trailing newline of a file is no part of it.

    Raises:
        ConfigFault: ``reason; remedy``, without file and key, which the caller knows.
    """
    if isinstance(secret, str):
        return secret
    if secret.env is not None:
        value = os.environ.get(secret.env)
        if value is None:
            raise ConfigFault([f"the environment variable {secret.env} is not set; set it for the daemon"])
        return value
    assert secret.file is not None
    return _read(secret.file)


def exposed(path: Path) -> str:
    """A warning when others than the owner may read ``path``, else ""; "" too when it cannot be looked at."""
    if _is_credential(path):
        return ""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        return f"{path} holds a secret and others than its owner may read it; run chmod go-rwx {path}"
    return ""


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigFault([f"cannot read {path}: {reason}; let the daemon's user read it"]) from None
    if len(data) > MAX_SECRET:
        raise ConfigFault([f"{path} is larger than {MAX_SECRET} bytes; name the file of one secret"])
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ConfigFault([f"{path} is not UTF-8; write the secret as text"]) from None
    return text.removesuffix("\n").removesuffix("\r")


def _is_credential(path: Path) -> bool:
    """systemd hands credentials over with an access control list, whose mask shows as the group's bits."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and path.is_relative_to(Path(folder or ""))
