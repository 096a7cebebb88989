"""Every parser of ``targets`` on any bytes, and on good ones that were damaged or of which a piece comes again and
again: a value or a documented error, and before anybody loses patience.
"""

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
        | st.builds(
            lambda seed, at, length, times: seed[:at] + seed[at : at + length] * times + seed[at + length :],
            st.sampled_from(target.seeds),
            st.integers(0, 400),
            st.integers(1, 20),
            st.integers(2, 400),
        )
    )
    def any_bytes(data: bytes) -> None:
        target.parse(data)

    any_bytes()
