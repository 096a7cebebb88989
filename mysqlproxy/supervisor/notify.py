"""What the daemon tells systemd (Type=notify): ready, reloading, stopping, and that it is alive.

Called by ``app``. Without NOTIFY_SOCKET everything here does nothing; a socket that refuses is no error
either, because the daemon's work does not depend on it.
https://www.freedesktop.org/software/systemd/man/sd_notify.html
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

_log = logging.getLogger(__name__)


class Notifier:
    """One socket to the service manager, kept for the life of the process.

    Attributes:
        watchdog: seconds between two signs of life that keep the manager content (half of what it allows), or
            None when it watches nothing or another process.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        env = os.environ if environment is None else environment
        path = env.get("NOTIFY_SOCKET", "")
        self.watchdog = _watchdog(env)
        self._socket: socket.socket | None = None
        if not path.startswith(("/", "@")):
            return
        # "@" stands for the NUL of Linux's abstract names.
        address = "\0" + path[1:] if path.startswith("@") else path
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            channel.connect(address)
        except OSError as error:
            _log.warning("cannot reach the service manager: %s", error.strerror)
            channel.close()
            return
        channel.setblocking(False)
        self._socket = channel

    def ready(self, status: str = "") -> None:
        """Started, or done with a reload."""
        self._send("READY=1", status)

    def reloading(self) -> None:
        """Before a reload; ``ready`` ends it. Type=notify-reload wants the moment."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str = "") -> None:
        self._send("STOPPING=1", status)

    def status(self, status: str) -> None:
        """One line for ``systemctl status``."""
        self._send("", status)

    def alive(self) -> None:
        """To be called every ``watchdog`` seconds, from the event loop, whose stop it shall betray."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, state: str, status: str = "") -> None:
        if self._socket is None:
            return
        if status:
            line = " ".join(status.split())
            state = f"{state}\nSTATUS={line}" if state else f"STATUS={line}"
        try:
            self._socket.send(state.encode())
        except OSError as error:
            _log.debug("the service manager did not take a message: %s", error.strerror)


def _watchdog(environment: Mapping[str, str]) -> float | None:
    try:
        microseconds = int(environment.get("WATCHDOG_USEC", "0"))
        process = int(environment.get("WATCHDOG_PID", str(os.getpid())))
    except ValueError:
        return None
    return microseconds / 2_000_000 if microseconds > 0 and process == os.getpid() else None
