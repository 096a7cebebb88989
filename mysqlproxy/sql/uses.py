"""From a text to what each of its statements uses. Called by ``session.admit``, ``check`` and ``replay`` when rules
ask for it, once per verdict; pure.

Three depths. A query, INSERT, REPLACE, UPDATE or DELETE whose tree consists of known nodes only is known to the
column (``sql.columns``). Of everything else each word may be a table that is read or written: more than is true,
never less. Where even the words do not tell (a procedure that cannot be read, a text in an unreadable character set),
the statement may do anything, and ``Use.unknown`` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mysqlproxy.sql import charsets, leading, literals, special, statement
from mysqlproxy.sql.catalog import Catalog
from mysqlproxy.sql.digest import MAX_TEXT, is_special, normaliser
from mysqlproxy.sql.finding import Tokens, word
from mysqlproxy.sql.lexer import MAX_TOKENS, Token, TokenKind, digest_lexer, text_lexer
from mysqlproxy.sql.reach import Look, keywords_of, loosely, use_of
from mysqlproxy.sql.use import Use, fold
from mysqlproxy.sql.verdict import SqlContext
from mysqlproxy.sql.words import words

MAX_STATEMENTS = 100
"""In one text; more are not looked at one by one."""

MAX_NORMALISED = 256 * 1024
"""Bytes; longer texts are not read."""

_NAMES = frozenset({TokenKind.WORD, TokenKind.QUOTED})


# Variables, and words of SET NAMES and SET CHARACTER SET, that change how a text is read.
_READ_BY = words("sql_mode old_mode names character charset char character_set_client")


@dataclass(frozen=True, slots=True)
class Uses:
    """What a text uses.

    Attributes:
        each: one for each statement that is executed; those in a PREPARE FROM 'text' count as executed.
        statements: how many are in the text itself.
        prepares: folded name and text when this is exactly one PREPARE of a literal.
        disturbs: other statements may be prepared under a known name when it has run.
        digests: of the text, and of each text in a PREPARE or EXECUTE IMMEDIATE; one that cannot be made is None.
    """

    each: tuple[Use, ...]
    statements: int = 1
    prepares: tuple[str, bytes] | None = None
    disturbs: bool = False
    digests: tuple[str | None, ...] = ()


def unknown(why: str) -> Uses:
    """A text of which nothing is known."""
    return Uses((Use(unknown=why, may_write=True),), disturbs=True, digests=(None,))


def uses_of(text: bytes, context: SqlContext, *, inner: bool = False) -> Uses:
    """What ``text`` uses. Never raises; takes bounded time."""
    why = charsets.unreadable(text, context)
    if why:
        return unknown(f"the text {why}")
    if context.oracle:
        return unknown("the sql_mode ORACLE is not understood")
    if len(text) > MAX_NORMALISED:
        return unknown("the text is too large to be read")
    normalised = normaliser(context.ansi_quotes, context.no_backslash_escapes)(text)
    if not charsets.names_readable(normalised, context.charset):
        return unknown("the text has names in a character set that is not understood")
    if len(normalised) > MAX_TEXT:
        return unknown("the text is too large to be read")
    if is_special(normalised):
        tokens = text_lexer(context.ansi_quotes, context.no_backslash_escapes)(text)
        if len(tokens) >= MAX_TOKENS:
            return unknown("the text is too large to be read")
        tokens = [_parameter(token) if token.text == "?" else token for token in tokens]
    else:
        tokens = digest_lexer(context.ansi_quotes)(normalised)
    digest = normalised.decode("utf-8", "replace").replace("'?'", "?")
    return _Text(text, context, inner).read(tokens, digest)


def executed(uses: Uses, named: Mapping[str, tuple[bytes, SqlContext]], catalog: Catalog) -> Uses:
    """What EXECUTE of a name runs, put behind it.

    Args:
        named: folded name -> text and context of statements that are known to be prepared. In a text of several
            statements none is: an earlier one may have prepared another.
    """
    each: list[Use] = []
    digests, disturbs = list(uses.digests), uses.disturbs
    for use in uses.each:
        each.append(use)
        if not use.executes:
            continue
        found = named.get(use.executes) if len(uses.each) == 1 else None
        if found is None:
            inner = unknown("executes a statement that is not known")
        else:
            inner = uses_of(found[0], replace(found[1], catalog=catalog), inner=True)
        each += inner.each
        digests += inner.digests
        disturbs = disturbs or inner.disturbs
    return replace(uses, each=tuple(each), digests=tuple(digests), disturbs=disturbs)


def _parameter(token: Token) -> Token:
    return token._replace(kind=TokenKind.NUMBER) if token.kind is TokenKind.BAD else token


def _changes_reading(tokens: Tokens) -> bool:
    """Whether the statement may change the sql_mode or character set under which the next one is read."""
    keywords = keywords_of(tokens)
    named = {fold(token.text) for token in tokens if token.kind in _NAMES}
    return bool(keywords & {"CALL", "EXECUTE"} or ("SET" in keywords and named & _READ_BY))


class _Text:
    """One text while it is read."""

    def __init__(self, text: bytes, context: SqlContext, inner: bool) -> None:
        self.text = text
        self.context = context
        self.inner = inner
        self.look = Look(context)
        self.found: list[Use] = []
        self.digests: list[str | None] = []
        self.disturbs = False
        self.prepares: tuple[str, bytes] | None = None

    def read(self, tokens: Tokens, digest: str) -> Uses:
        self.digests.append(digest)
        bad = any(token.kind is TokenKind.BAD for token in tokens)
        hidden = any(token.kind is TokenKind.SPECIAL for token in tokens)
        unclear = hidden and not special.ends_clearly(self.text, tokens)
        if hidden:
            # Code to some servers, a comment to others: its words count, wherever a statement may begin or end.
            outside = special.outside_of_hints(self.text, tokens)
            hidden = outside is None
            tokens = special.code(tokens) if outside is None else outside
        parts = statement.split(tokens)
        if parts and leading.is_routine(parts[0]):
            parts = [tokens]
        elif any(word(part, 0) in {"PREPARE", "EXECUTE"} for part in parts) and not hidden:
            # Their literals count: with the tokens of the text itself.
            lexed = text_lexer(self.context.ansi_quotes, self.context.no_backslash_escapes)(self.text)
            raw = statement.split(lexed) if len(lexed) < MAX_TOKENS else []
            if len(raw) != len(parts):
                return unknown("the text is too large to be read")
            parts = [
                own if word(own, 0) in {"PREPARE", "EXECUTE"} else part
                for own, part in zip(raw, parts, strict=True)
            ]
        for part in parts[:MAX_STATEMENTS]:
            self._statement(part, alone=len(parts) == 1, hidden=hidden)
        if bad or len(parts) > MAX_STATEMENTS:
            why = "holds characters that are not understood" if bad else "holds too many statements"
            self.found.append(Use(unknown=why, may_write=True))
            self.disturbs = True
        if unclear:
            self.found.append(Use(unknown="has a comment whose end is not clear", may_write=True))
            self.disturbs = True
        if any(_changes_reading(part) for part in parts[:-1]):
            # The servers read each statement when its turn has come.
            self.found.append(Use(unknown="sets how the statements behind it are read", may_write=True))
            self.disturbs = True
        return Uses(tuple(self.found), len(parts), self.prepares, self.disturbs, tuple(self.digests))

    def _statement(self, tokens: Tokens, *, alone: bool, hidden: bool) -> None:
        lead = word(tokens, 0)
        if hidden:
            use = loosely(tokens, self.context, self.look)
            self.found.append(use.hiding())
            self.disturbs = True
            if use.keywords & {"PREPARE", "EXECUTE", "USE"}:
                self.found.append(Use(unknown="has an executable comment", may_write=True))
        elif lead == "PREPARE":
            self._prepare(tokens, alone)
        elif lead == "EXECUTE":
            self._execute(tokens)
        else:
            self.found.append(use_of(tokens, self.context, self.look))
            if lead == "USE" and len(tokens) == 2:
                self.context = replace(self.context, schema=tokens[1].text)
            if lead in {"DEALLOCATE", "DROP"} and "PREPARE" in self.found[-1].keywords:
                self.disturbs = True
        if self.found[-1].unknown:
            self.disturbs = True

    def _prepare(self, tokens: Tokens, alone: bool) -> None:
        self.found.append(Use("PREPARE", keywords=keywords_of(tokens)))
        literal = self._literal(tokens, 3) if word(tokens, 2) == "FROM" and len(tokens) == 4 else None
        if literal is None:
            self.found.append(Use(unknown="prepares a statement that is not in the text", may_write=True))
            self.digests.append(None)
        else:
            self._inner(literal)
        # Which names in other letters the servers take for equal is theirs to know: those are never known.
        if alone and literal is not None and not self.inner and tokens[1].text.isascii():
            self.prepares = (fold(tokens[1].text), literal)
        self.disturbs = self.disturbs or self.prepares is None

    def _execute(self, tokens: Tokens) -> None:
        keywords = keywords_of(tokens)
        if word(tokens, 1) != "IMMEDIATE":
            name = fold(tokens[1].text) if len(tokens) > 1 and tokens[1].kind in _NAMES else ""
            if name and not self.inner and tokens[1].text.isascii():
                self.found.append(Use("EXECUTE", keywords=keywords, executes=name))
                return
        elif len(tokens) == 3 or word(tokens, 3) == "USING":
            literal = self._literal(tokens, 2)
            if literal is not None:
                self.found.append(Use("EXECUTE", keywords=keywords))
                self._inner(literal)
                return
        self.found.append(
            Use(
                "EXECUTE",
                keywords=keywords,
                unknown="runs a statement that is not in the text",
                may_write=True,
            )
        )
        self.digests.append(None)

    def _literal(self, tokens: Tokens, index: int) -> bytes | None:
        if index >= len(tokens) or tokens[index].kind is not TokenKind.STRING:
            return None
        raw = self.text[tokens[index].start : tokens[index].end]
        return literals.unquote(raw, self.context.no_backslash_escapes)

    def _inner(self, text: bytes) -> None:
        if self.inner:  # none of the servers takes it
            self.found.append(Use(unknown="prepares a statement that prepares another", may_write=True))
            return
        inside_ = uses_of(text, self.context, inner=True)
        self.found.extend(inside_.each)
        self.digests.extend(inside_.digests)
        self.disturbs = self.disturbs or inside_.disturbs
