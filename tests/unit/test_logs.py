"""The log: one record a line in either form, with the session's id, and nothing leaves its line."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from mysqlproxy.config.schema import Log
from mysqlproxy.supervisor.logs import MAX_MESSAGE, for_session, set_up

logger = logging.getLogger("mysqlproxy.session.engine")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("mysqlproxy")
    kept = list(root.handlers), root.level, ours.level
    yield
    for handler in set(root.handlers) - set(kept[0]):
        root.removeHandler(handler)
    root.setLevel(kept[1])
    ours.setLevel(kept[2])


def begin(**section: str) -> io.StringIO:
    stream = io.StringIO()
    set_up(Log.model_validate(section), stream)
    return stream


def test_text() -> None:
    stream = begin()
    logger.warning("slow statement %s", "select ?")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning session\.engine slow statement select \?\n",
        stream.getvalue(),
    )


def test_text_with_a_session() -> None:
    stream = begin()
    for_session(logger, 2147483649).info("login of app")
    logger.info("again", extra={"session": 7})
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith(" info session.engine [2147483649] login of app")
    assert lines[1].endswith(" info session.engine [7] again")


def test_json() -> None:
    stream = begin(format="json")
    for_session(logger, 2147483649).error("denied: %s", "ä\nb", extra={"other": 1})
    logger.info("plain")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first.pop("ts").endswith("Z")
    assert first == {
        "level": "error",
        "logger": "mysqlproxy.session.engine",
        "message": "denied: ä\nb",
        "session": 2147483649,
    }
    assert "session" not in second


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_record_stays_on_its_line(form: str) -> None:
    stream = begin(format=form)
    hostile = "app\n2025-01-01T00:00:00.000Z info session login of root\r\x1b[2J\u2028\u2029\x85\x00"
    logger.warning("login of %s", hostile)
    try:
        raise ValueError(hostile)
    except ValueError:
        logger.exception("internal error")
    text = stream.getvalue()
    assert len(text.splitlines()) == 2
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)


def test_tracebacks() -> None:
    stream = begin(format="json")
    try:
        raise ValueError("reason")
    except ValueError:
        logger.exception("internal error")
    record = json.loads(stream.getvalue())
    assert "ValueError: reason" in record["exception"]
    assert "test_logs.py" in record["exception"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_message_is_bounded(form: str) -> None:
    stream = begin(format=form)
    logger.warning("%s", "x" * 10_000_000)
    assert len(stream.getvalue()) < MAX_MESSAGE + 200


def test_levels() -> None:
    stream = begin(level="warning")
    logger.info("not this")
    logger.warning("this")
    logging.getLogger("aiohttp").info("nor this")
    logging.getLogger("aiohttp").warning("and this")
    assert [line.rsplit(" ", 2)[-1] for line in stream.getvalue().splitlines()] == ["this", "this"]
    assert "nor" not in stream.getvalue()


def test_a_reload_replaces_the_handler() -> None:
    old = begin()
    new = begin(level="debug", format="json")
    logger.debug("only there")
    assert old.getvalue() == ""
    assert json.loads(new.getvalue())["message"] == "only there"
