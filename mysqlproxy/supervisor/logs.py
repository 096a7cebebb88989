"""The log: one record a line on standard error, as text or as one JSON object.

Set up by ``app`` at start and at each reload; everybody else calls ``logging.getLogger(__name__)``. A
session's id is given with ``for_session`` or ``extra={"session": id}``. Statements are logged by digest and
secrets not at all: that is the caller's duty. The formatters' is to keep a record on its line, and bounded.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

from mysqlproxy.config.schema import Log

ROOT = "mysqlproxy"
MAX_MESSAGE = 16 * 1024  # characters; a client's name or a server's error may be of any length

_OURS = "mysqlproxy_handler"
# What must not break a line or move a terminal's cursor: C0, DEL, C1, and Unicode's own line ends.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


def set_up(config: Log, stream: TextIO | None = None) -> None:
    """Replaces the handler of the package's loggers; safe to call again with another level or format.

    Args:
        config: the section [log].
        stream: standard error when None.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.set_name(_OURS)
    handler.setFormatter(JsonFormatter() if config.format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        if old.get_name() == _OURS:
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)  # libraries
    logging.getLogger(ROOT).setLevel(config.level.upper())


class SessionLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the session's id to each record, and keeps what the call itself gives as ``extra``."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


def for_session(logger: logging.Logger, session: int) -> SessionLogger:
    """``session`` is the connection id that the client was greeted with."""
    return SessionLogger(logger, {"session": session})


class TextFormatter(logging.Formatter):
    """``2025-01-31T12:00:00.123Z warning session.engine [2147483649] message``"""

    def format(self, record: logging.LogRecord) -> str:
        session = getattr(record, "session", None)
        name = record.name.removeprefix(f"{ROOT}.")
        who = "" if session is None else f" [{session}]"
        line = f"{_time(record)} {record.levelname.lower()} {name}{who} {_message(record)}"
        trace = _trace(self, record)
        return (line + (f" | {trace}" if trace else "")).translate(_CONTROL)


class JsonFormatter(logging.Formatter):
    """``ts`` (RFC 3339, UTC), ``level``, ``logger``, ``message``; ``session``, ``exception`` if any."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "ts": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        session = getattr(record, "session", None)
        if session is not None:
            fields["session"] = session
        trace = _trace(self, record)
        if trace:
            fields["exception"] = trace
        return json.dumps(fields, default=str)


def _time(record: logging.LogRecord) -> str:
    seconds = int(record.created)
    return f"{_second(seconds)}.{int((record.created - seconds) * 1000):03d}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def _message(record: logging.LogRecord) -> str:
    message = record.getMessage()
    return message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}..."


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info else ""
