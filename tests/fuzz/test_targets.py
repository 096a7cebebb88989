"""Every parser of ``targets`` on any bytes, and on good ones that were damaged: a value or a documented error."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_value_or_a_documented_error(name: str) -> None:
    target = TARGETS[name]
    for seed in target.seeds:
        target.parse(seed)

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.binary(max_size=300)
        | st.builds(
            lambda seed, at, byte, end: (
                seed[: at % (len(seed) + 1)] + byte + seed[at % (len(seed) + 1) + 1 :]
            )[:end],
            st.sampled_from(target.seeds),
            st.integers(0, 5000),
            st.binary(max_size=3),
            st.integers(0, 400) | st.none(),
        )
    )
    def any_bytes(data: bytes) -> None:
        target.parse(data)

    any_bytes()
