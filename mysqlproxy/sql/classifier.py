"""The cache of verdicts. The session engine asks it for every statement; one per process.

Two levels: by the digest for cacheable ones, and by the exact text for the others and those without literals (it may
hold for every verdict, as a verdict follows from text and context alone). Both are bounded, by generations: when the
young one is full it becomes the old one, and what is still used moves over.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from mysqlproxy.protocol.build import compiled
from mysqlproxy.sql import charsets
from mysqlproxy.sql.catalog import NO_CATALOG, Catalog
from mysqlproxy.sql.classify import classify, classify_digest
from mysqlproxy.sql.digest import MAX_TEXT, is_special, normaliser, plain_digest
from mysqlproxy.sql.verdict import SqlContext, Verdict

MAX_EXACT_TEXT: Final = 1024
"""Bytes; longer texts are looked up by digest only."""

MAX_EXACT: Final = 4096
"""Texts held; most texts with literals never come again."""

MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes that each of the two caches may hold as keys."""

MAX_CONTEXTS: Final = 1024

_COMPILED: Final = compiled()  # as plain Python a loop over bytes takes longer than an expression

_Key = tuple[int, bytes]


class _Generations:
    """A bounded dictionary: at most ``entries`` entries and ``size`` bytes of keys, half of each per
    generation.
    """

    __slots__ = ("_entries", "_held", "_old", "_size", "_young")

    def __init__(self, entries: int, size: int) -> None:
        self._entries = max(1, entries // 2)
        self._size = size // 2
        self._held = 0
        self._young: dict[_Key, Verdict] = {}
        self._old: dict[_Key, Verdict] = {}

    def get(self, key: _Key) -> Verdict | None:
        verdict = self._young.get(key)
        if verdict is None:
            verdict = self._old.get(key)
            if verdict is not None:
                self.put(key, verdict)
        return verdict

    def put(self, key: _Key, verdict: Verdict) -> None:
        if len(self._young) >= self._entries or self._held >= self._size:
            self._old = self._young
            self._young = {}
            self._held = 0
        self._held += len(key[1])
        self._young[key] = verdict

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class Classifier:
    """Verdicts by text and context.

    Attributes:
        hits: verdicts found in a cache.
        misses: verdicts that had to be made.
        plain: the last text holds no comment.
    """

    def __init__(self, max_entries: int = 20000) -> None:
        """
        Args:
            max_entries: digests held.
        """
        self.hits = 0
        self.misses = 0
        self.plain = False
        self._max_entries = max_entries
        self._exact = _Generations(min(MAX_EXACT, max_entries), MAX_BYTES)
        self._by_digest = _Generations(max_entries, MAX_BYTES)
        self._catalog = NO_CATALOG
        self._numbers: dict[SqlContext, int] = {}
        self._next_number = 0
        # The last context by identity: hashing one costs as much as all the rest.
        self._last: SqlContext | None = None
        self._last_number = 0
        self._last_full = SqlContext()
        self._last_ascii = False
        self._known: dict[SqlContext, SqlContext] = {}
        self._interned: dict[int, tuple[SqlContext, int, SqlContext]] = {}

    def verdict(self, text: bytes, context: SqlContext) -> Verdict:
        """The verdict of ``text``. Never raises.

        A session should keep one ``SqlContext`` as long as nothing in it changes: contexts are recognised
        by identity. Its catalog does not count, but the one that was seen last.
        """
        number = self._last_number if context is self._last else self._number(context)
        if _COMPILED and self._last_ascii and len(text) <= MAX_TEXT:
            digest = plain_digest(text)
            self.plain = digest is not None
            if digest is not None:
                found = self._by_digest.get((number, digest))
                if found is not None:
                    self.hits += 1
                    return found
        else:
            self.plain = False
        short = len(text) <= MAX_EXACT_TEXT
        if short:
            found = self._exact.get((number, text))
            if found is not None:
                self.hits += 1
                return found
        if len(text) > MAX_TEXT or charsets.unreadable(text, context):
            self.misses += 1
            return classify(text, self._last_full)
        digest = normaliser(context.ansi_quotes, context.no_backslash_escapes)(text)
        if is_special(digest) or not charsets.names_readable(digest, context.charset):
            self.misses += 1
            return self._keep_exact(number, text, short, classify(text, self._last_full))
        found = self._by_digest.get((number, digest))
        if found is not None:
            self.hits += 1
        else:
            self.misses += 1
            found = classify_digest(digest, text, self._last_full)
            if found.cacheable:
                self._by_digest.put((number, digest), found)
        # A text with literals seldom comes again, and is soon found by its digest.
        return self._keep_exact(number, text, short and (digest == text or not found.cacheable), found)

    def known(self, context: SqlContext) -> SqlContext:
        """The one of all equal contexts that verdicts are found by fastest; sessions should share it."""
        if len(self._known) >= MAX_CONTEXTS:
            self._known.clear()
        return self._known.setdefault(context, context)

    @property
    def catalog(self) -> Catalog:
        """What the verdicts are made by."""
        return self._catalog

    def see(self, catalog: Catalog) -> None:
        """Make verdicts by this catalog from now on; none made by another one is found any more."""
        self._catalog = catalog
        # Doubts come and go; when nothing has changed, what was made before them holds again.
        kept = (catalog, catalog.base)
        numbers = {full: number for full, number in self._numbers.items() if full.catalog in kept}
        self._forget_contexts()
        self._numbers = numbers

    def clear(self) -> None:
        """Forget every verdict; the counters stay."""
        self._exact = _Generations(min(MAX_EXACT, self._max_entries), MAX_BYTES)
        self._by_digest = _Generations(self._max_entries, MAX_BYTES)
        self._forget_contexts()

    def __len__(self) -> int:
        """Verdicts held, in both caches."""
        return len(self._exact) + len(self._by_digest)

    def _forget_contexts(self) -> None:
        # Numbers are never given twice: what is kept under the old ones is not found, and leaves in time.
        self._numbers.clear()
        self._interned.clear()
        self._last = None

    def _keep_exact(self, number: int, text: bytes, short: bool, verdict: Verdict) -> Verdict:
        if short:
            self._exact.put((number, text), verdict)
        return verdict

    def _number(self, context: SqlContext) -> int:
        known = self._interned.get(id(context))
        if known is not None and known[0] is context:
            number, full = known[1], known[2]
        else:
            if len(self._numbers) >= MAX_CONTEXTS:
                self.clear()
            full = replace(context, catalog=self._catalog)
            number = self._numbers.setdefault(full, self._next_number)
            if number == self._next_number:
                self._next_number += 1
            if len(self._interned) >= MAX_CONTEXTS:
                self._interned.clear()
            self._interned[id(context)] = (context, number, full)
        self._last, self._last_number, self._last_full = context, number, full
        self._last_ascii = context.charset not in charsets.NOT_ASCII
        return number
