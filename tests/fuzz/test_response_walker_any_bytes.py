"""The response walker on any bytes, in any chunks, in both builds: a value or MalformedPacket, the same always."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mysqlproxy.errors import MalformedPacket
from mysqlproxy.protocol import capabilities as cap
from tests.wire import builds
from tests.wire.answers import BASE, DEFINITION, MODERN, Client, begun, cut, eof, frames, ok, recorded

MORE = cap.STATUS_MORE_RESULTS_EXISTS


@pytest.fixture(params=builds.KINDS, scope="module")
def response(request: pytest.FixtureRequest) -> ModuleType:
    return builds.load(request.param)


FORMS = st.sampled_from(["QUERY", "PREPARE", "FIELD_LIST", "FETCH", "STRING", "OK", "CURSOR"])
CAPABILITIES = st.sampled_from([BASE, MODERN, cap.PROTOCOL_41, BASE | cap.MARIADB_PROGRESS])
PAYLOADS = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [b"\1", b"\2", DEFINITION, eof(), eof(MORE), ok(), ok(MORE), ok(2, b"\xfe"), b"\xff\1\4#00000"]
    ),
    st.builds(ok, st.integers(0, 65535), st.sampled_from([b"\0", b"\xfe"])),
    st.builds(lambda tail: b"\0\0\0\0\x40\0\0" + tail, st.binary(max_size=20)),
)
STREAMS = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda payloads: frames(*payloads), st.lists(PAYLOADS, max_size=12)),
    st.builds(
        lambda answer, at, byte: answer[: at % len(answer)] + byte + answer[at % len(answer) + 1 :],
        st.sampled_from([part for answer in recorded() for part in answer.parts]),
        st.integers(0, 5000),
        st.binary(max_size=2),
    ),
)


def outcome(response: ModuleType, form: str, capabilities: int, chunks: list[bytes]) -> Any:
    """What was seen, or that it was refused."""
    client = Client(begun(response, form, capabilities))
    try:
        for chunk in chunks:
            client.feed(chunk)
            if client.walker.done:
                client.held = b""  # belongs to nobody
    except MalformedPacket:
        return "refused"
    assert client.walker.done or len(client.held) <= response.MAX_CONTROL + 4
    seen = client.seen()
    if client.walker.local_infile is not None:
        seen["held"] = b""
    return seen


@settings(max_examples=600, deadline=None)
@given(
    form=FORMS, capabilities=CAPABILITIES, stream=STREAMS, points=st.lists(st.integers(1, 250), max_size=8)
)
def test_any_bytes_in_any_chunks(
    response: ModuleType, form: str, capabilities: int, stream: bytes, points: list[int]
) -> None:
    """A value or MalformedPacket, and the same one however the bytes arrive."""
    whole = outcome(response, form, capabilities, [stream])
    assert outcome(response, form, capabilities, cut(stream, points)) == whole
    assert outcome(response, form, capabilities, cut(stream, range(1, len(stream)))) == whole


@settings(max_examples=400, deadline=None)
@given(form=FORMS, capabilities=CAPABILITIES, stream=STREAMS)
def test_both_builds_agree(form: str, capabilities: int, stream: bytes) -> None:
    pure, native = (outcome(builds.load(kind), form, capabilities, [stream]) for kind in ("pure", "compiled"))
    assert pure == native
