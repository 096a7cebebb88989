"""Tables of words, written as text. Used by the modules of ``sql`` that know names."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of ``text``, which white space separates."""
    return frozenset(text.split())
