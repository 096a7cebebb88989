"""The kinds of tree nodes of which a plain read may consist. Called by ``sql.reading``.

Whatever is not listed is not understood. Functions are judged by name in ``sql.calls``; here it only counts
that a node is one.
"""

from __future__ import annotations

from sqlglot import exp

_NAMES = """
    Add Alias Aliases All And Any ArrayContains AtTimeZone Between Binary BitwiseAnd BitwiseLeftShift
    BitwiseNot BitwiseOr BitwiseRightShift BitwiseXor Boolean Bracket CTE Case Cast CharacterSet
    CharacterSetProperty Collate Column Concat ConvertToCharset Cube DPipe DataType DataTypeParam Distinct
    Div Dot EQ Escape Except Exists Fetch From GT GTE Group Having HexString Hint Identifier If
    IgnoreNulls In IndexTableHint IntDiv Intersect Interval IntervalSpan Introducer Is JSONArrayContains
    JSONColumnDef JSONKeyValue JSONPath JSONPathKey JSONPathRoot JSONPathSubscript JSONPathWildcard
    JSONSchema JSONTable Join Kwarg LT LTE Lateral Like Limit LimitOptions Literal MatchAgainst Mod Mul
    NEQ National Neg Not Null NullSafeEQ NullSafeNEQ Offset Or Order Ordered Paren Partition Placeholder
    RegexpLike RespectNulls Rollup Select SessionParameter Star Sub Subquery Table TableAlias Tuple Union
    Values Var Version Where Window WindowSpec With WithinGroup Xor
    """

ALLOWED: frozenset[type[exp.Expr]] = frozenset(getattr(exp, name) for name in _NAMES.split())

# Functions to sqlglot, but more than a call of what stands in the text.
FORBIDDEN: frozenset[type[exp.Expr]] = frozenset({exp.NextValueFor})

QUERIES = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values)


def allowed(node: exp.Expr) -> bool:
    """Whether a node of this kind may be part of a plain read."""
    kind = type(node)
    return kind in ALLOWED or (isinstance(node, exp.Func) and kind not in FORBIDDEN)
