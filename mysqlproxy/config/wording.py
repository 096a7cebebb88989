"""The schema's faults in the words of who wrote the file: ``key: reason; remedy``.

Called by ``config.load``. Pure. Never repeats a value that was written: a secret may be in a wrong place.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mysqlproxy.config.schema import Config, SecretFrom

_TAGS = {"text", "reference"}  # of the union Secret; they are no keys of the file

_FORMS = {
    "string_type": 'is not text; write it in quotes, as in "text"',
    "int_type": "is not a whole number; write it as in 100",
    "float_type": "is not a number; write it as in 1.5",
    "finite_number": "is not a finite number; write it as in 1.5",
    "bool_type": "is not a truth value; write true or false",
    "tuple_type": 'is not an array; write it in brackets, as in ["one", "two"]',
    "missing": "is missing; add it",
    "string_too_short": "is empty; write a value",
    "string_pattern_mismatch": "has a character it may not have; use letters, digits, '_', '.' and '-'",
    "too_short": "is empty; write at least one",
}

_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("more than", "gt"),
    "less_than": ("less than", "lt"),
}


def sentences(
    error: ValidationError, document: Mapping[str, Any], root: type[BaseModel] = Config
) -> list[str]:
    """One sentence per fault, in the order of the file's sections; ``root`` is the schema of the whole file."""
    details = error.errors(include_url=False, include_input=False)
    places = [detail["loc"] for detail in details]
    return [
        f"{_key(detail['loc'], document)}: {_reason(detail, root)}"
        for detail in details
        # When all entries of an array are faulty it counts as empty, which is not what is wrong with it.
        if not (detail["type"] == "too_short" and any(_inside(place, detail["loc"]) for place in places))
    ]


def _inside(place: Sequence[int | str], outer: Sequence[int | str]) -> bool:
    return len(place) > len(outer) and tuple(place[: len(outer)]) == tuple(outer)


def _key(loc: Sequence[int | str], document: Mapping[str, Any]) -> str:
    """``servers[worker1].weight``; entries without a name by their number from 1 on."""
    text = ""
    value: Any = document
    for part in loc:
        if isinstance(part, int):
            value = value[part] if isinstance(value, list) and part < len(value) else None
            name = value.get("name") if isinstance(value, dict) else None
            text += f"[{name}]" if isinstance(name, str) and name.isprintable() and name else f"[{part + 1}]"
            continue
        if part in _TAGS and not (isinstance(value, dict) and part in value):
            continue
        value = value.get(part) if isinstance(value, dict) else None
        text += f".{part}" if text else part
    return text or "the file"


def _reason(detail: ErrorDetails, root: type[BaseModel]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(detail["loc"], root)
    if kind in ("model_type", "model_attributes_type"):
        return "is not a section; write it as in [name] followed by key = value"
    if kind == "tuple_type" and detail["loc"] in (("servers",), ("users",), ("rule",), ("case",)):
        return f"is not a list of sections; write [[{detail['loc'][0]}]] above each"
    if kind in ("enum", "literal_error"):
        values = context["expected"].replace("'", '"')
        return f"is none of its values; write one of {values}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"is out of range; write {words} {context[key]:.15g}"
    if kind == "string_too_long":
        return f"is too long; write at most {context['max_length']} characters"
    if kind == "secret":
        return detail["msg"]
    if kind == "value_error":
        return str(context["error"])
    if kind in _FORMS:
        return _FORMS[kind]
    return f"{detail['msg'].replace('Input should be', 'is not')}; correct it"


def _unknown(loc: Sequence[int | str], root: type[BaseModel]) -> str:
    known = sorted(_section(loc[:-1], root).model_fields)
    near = difflib.get_close_matches(str(loc[-1]), known, 1)
    remedy = f'did you mean "{near[0]}"?' if near else f"known here are {', '.join(known)}"
    return f"is not a known key; {remedy}"


def _section(loc: Sequence[int | str], root: type[BaseModel]) -> type[BaseModel]:
    """The model that an unknown key was written into."""
    model = root
    for part in loc:
        if part == "reference":
            return SecretFrom
        field = model.model_fields.get(str(part))
        if field is not None:
            model = _model_of(field.annotation) or model
    return model


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_of(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)
