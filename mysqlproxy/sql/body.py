"""The body of a stored function, a procedure or a trigger, taken apart into what it runs. Called by ``sql.stored``.

Understood are RETURN, and BEGIN ... END with DECLARE of variables, SET of those, IF, WHILE, RETURN and
SELECT ... INTO variables. The server has accepted the body, so its grammar is right; here it counts that
nothing else is in it. It never judges a query: each expression comes back as ``SELECT expression``. In a procedure
or trigger some other statements may stand, which come back as they are, and result sets.
"""

from __future__ import annotations

from mysqlproxy.sql.digest import MAX_TEXT
from mysqlproxy.sql.finding import Tokens, word
from mysqlproxy.sql.lexer import Token, TokenKind, text_lexer

MAX_DEPTH = 32
"""Blocks inside of one another."""

_SELECT = Token(TokenKind.WORD, "SELECT", "SELECT", 0, 0, True)
_END = (Token(TokenKind.OPERATOR, ";", ";", 0, 0, False), Token(TokenKind.WORD, "END", "END", 0, 0, True))
_NAMES = frozenset({TokenKind.WORD, TokenKind.QUOTED})
# In a procedure; whoever judges them knows what they leave behind.
_STATEMENTS = frozenset(
    {
        *("INSERT", "REPLACE", "UPDATE", "DELETE", "CALL", "DO", "SIGNAL"),
        *("START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"),
        *("CREATE", "ALTER", "DROP", "TRUNCATE"),
    }
)
_NO_VARIABLE = frozenset({"CURSOR", "CONDITION", "HANDLER", "CONTINUE", "EXIT", "UNDO"})


class _NotUnderstoodError(Exception):
    """The body holds something else."""


def queries(tokens: Tokens) -> list[Tokens] | None:
    """The queries that a function may run, each as the tokens of a SELECT; None when it is not understood."""
    return _read(_Reader(tokens, procedure=False))


def statements(tokens: Tokens) -> list[Tokens] | None:
    """The queries, as above, and other statements that a procedure or trigger may run; None when it is not
    understood.
    """
    return _read(_Reader(tokens, procedure=True))


def lex(text: str, sql_mode: str) -> Tokens | None:
    """The tokens of a body; None when it is too large or holds what is no plain token."""
    modes = sql_mode.upper().split(",")
    raw = text.encode("utf-8", "replace")
    if len(raw) > MAX_TEXT:
        return None
    tokens = text_lexer("ANSI_QUOTES" in modes, "NO_BACKSLASH_ESCAPES" in modes)(raw)
    if any(token.kind in {TokenKind.SPECIAL, TokenKind.BAD} for token in tokens):
        return None
    return tokens


def _read(reader: _Reader) -> list[Tokens] | None:
    tokens = reader.tokens
    try:
        if word(tokens, 0) == "RETURN":
            reader.at = 1
            reader.expression(tokens[1:])
        elif reader.procedure and word(tokens, 0) != "BEGIN":
            reader.tokens = [*tokens, *_END]
            reader.statements({"END"}, 0)
            reader.expect("END")
        else:
            reader.block(0)
        if word(tokens, 0) != "RETURN" and reader.at != len(reader.tokens):
            return None
    except _NotUnderstoodError:
        return None
    return reader.found


class _Reader:
    """Goes through a body once.

    Attributes:
        procedure: more may stand in it than in a function.
        at: index of the next token.
        found: the queries so far.
        scopes: names of the variables declared, lower case, of each open block.
    """

    def __init__(self, tokens: Tokens, *, procedure: bool) -> None:
        self.tokens = tokens
        self.procedure = procedure
        self.at = 0
        self.found: list[Tokens] = []
        self.scopes: list[set[str]] = []

    def block(self, depth: int) -> None:
        self.expect("BEGIN")
        if word(self.tokens, self.at) == "NOT":
            raise _NotUnderstoodError
        self.scopes.append(set())
        while word(self.tokens, self.at) == "DECLARE":
            self.declare(self.until_semicolon())
        self.statements({"END"}, depth)
        self.expect("END")
        self.scopes.pop()

    def statements(self, ends: set[str], depth: int) -> str:
        """Statements up to one of the words ``ends``, which is returned and left."""
        if depth > MAX_DEPTH:
            raise _NotUnderstoodError
        while (lead := word(self.tokens, self.at)) not in ends:
            if lead == "BEGIN":
                self.block(depth + 1)
                self.expect(";")
            elif lead == "IF":
                self.conditional(depth)
            elif lead == "WHILE":
                self.at += 1
                self.condition("DO")
                self.statements({"END"}, depth + 1)
                self.expect("END", "WHILE", ";")
            else:
                self.simple(self.until_semicolon())
        return lead

    def conditional(self, depth: int) -> None:
        end = "ELSEIF"
        while end == "ELSEIF":
            self.at += 1
            self.condition("THEN")
            end = self.statements({"ELSEIF", "ELSE", "END"}, depth + 1)
        if end == "ELSE":
            self.at += 1
            self.statements({"END"}, depth + 1)
        self.expect("END", "IF", ";")

    def simple(self, statement: Tokens) -> None:
        lead = word(statement, 0)
        if lead == "RETURN":
            self.expression(statement[1:])
        elif lead == "SET":
            for assignment in _split(statement[1:]):
                if self.procedure and word(assignment, 0) == "@":
                    self.found.append([statement[0], *assignment])
                    continue
                row = self.procedure and word(assignment, 0) == "NEW" and word(assignment, 1) == "."
                if row:  # a trigger's
                    assignment = assignment[2:]
                if len(assignment) < 3 or word(assignment, 1) not in {"=", ":="}:
                    raise _NotUnderstoodError
                if not row:
                    self.variable(assignment[0])
                self.expression(assignment[2:])
        elif lead == "SELECT":
            self.select_into(statement)
        elif self.procedure and lead in _STATEMENTS:
            self.found.append(statement)
        else:
            raise _NotUnderstoodError

    def select_into(self, statement: Tokens) -> None:
        depth = 0
        for index, token in enumerate(statement):
            depth += {"(": 1, ")": -1}.get(token.upper, 0)
            if token.upper == "INTO" and depth == 0 and word(statement, index - 1) != ".":
                end = index + 1
                self.variable_at(statement, end)
                while word(statement, end + 1) == ",":
                    end += 2
                    self.variable_at(statement, end)
                self.query([*statement[:index], *statement[end + 1 :]])
                return
        if not self.procedure:
            raise _NotUnderstoodError  # a result set, which no function may return
        self.query(statement)

    def declare(self, statement: Tokens) -> None:
        """DECLARE name, ... type [DEFAULT expression]"""
        names: list[str] = []
        index = 1
        while True:
            if index >= len(statement) or statement[index].kind not in _NAMES:
                raise _NotUnderstoodError
            if word(statement, index + 1) in _NO_VARIABLE or word(statement, index) in _NO_VARIABLE:
                raise _NotUnderstoodError
            names.append(statement[index].text.lower())
            index += 1
            if word(statement, index) != ",":
                break
            index += 1
        for position in range(index, len(statement)):
            if word(statement, position) in {"DEFAULT", ":="}:
                self.expression(statement[position + 1 :])
                break
            if word(statement, position) in {"SELECT", "OF", "TYPE"}:
                raise _NotUnderstoodError
        self.scopes[-1].update(names)

    def variable_at(self, statement: Tokens, index: int) -> None:
        if index >= len(statement):
            raise _NotUnderstoodError
        self.variable(statement[index])

    def variable(self, token: Token) -> None:
        """Whether it is declared here: SET of any other name is of a system variable."""
        if token.upper in {"OUTFILE", "DUMPFILE"} or token.kind not in _NAMES:
            raise _NotUnderstoodError
        if not any(token.text.lower() in scope for scope in self.scopes):
            raise _NotUnderstoodError

    def condition(self, end: str) -> None:
        """An expression up to the word ``end``, which is passed over."""
        start, cases = self.at, 0
        while self.at < len(self.tokens):
            upper = word(self.tokens, self.at)
            if upper == ";":
                break
            if upper == end and cases == 0:
                self.expression(self.tokens[start : self.at])
                self.at += 1
                return
            cases += {"CASE": 1, "END": -1}.get(upper, 0)
            self.at += 1
        raise _NotUnderstoodError

    def expression(self, tokens: Tokens) -> None:
        if not tokens:
            raise _NotUnderstoodError
        self.query([_SELECT, *tokens])

    def query(self, tokens: Tokens) -> None:
        self.found.append(tokens)

    def until_semicolon(self) -> Tokens:
        start = self.at
        while self.at < len(self.tokens):
            if word(self.tokens, self.at) == ";":
                self.at += 1
                return self.tokens[start : self.at - 1]
            self.at += 1
        raise _NotUnderstoodError

    def expect(self, *words: str) -> None:
        for one in words:
            if word(self.tokens, self.at) != one:
                raise _NotUnderstoodError
            self.at += 1


def _split(tokens: Tokens) -> list[Tokens]:
    """The parts between commas outside of parentheses."""
    parts: list[Tokens] = []
    start = depth = 0
    for index, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.upper, 0)
        if token.upper == "," and depth == 0:
            parts.append(tokens[start:index])
            start = index + 1
    parts.append(tokens[start:])
    return parts
