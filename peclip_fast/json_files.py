"""JSON that was read from somewhere: of the shape that the reader asks for, or one line that says
where it isn't.

A shape is a type: ``str``, ``int``, ``float`` (finite), ``bool``, ``Any``, lists, dicts with text
keys, unions, and dataclasses, whose fields are the keys of an object. A field with a default may be
missing; further keys are passed over.
"""

from __future__ import annotations

import functools
import json
import sys
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from peclip_fast.errors import InputError
from peclip_fast.text_files import read_text, shown

T = TypeVar("T")

_DIGITS = 300  # of a whole number; longer ones fit into no other kind of number either
_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
    list: "a list",
    dict: "an object",
}


def read_json(path: Path, shape: type[T]) -> T:
    """The value that a file holds.

    Raises:
        InputError: the file can't be read, is no JSON, or of another shape; names file and key.
    """
    return parse_json(read_text(path), str(path), shape)


def parse_json(text: str | bytes, source: str, shape: type[T]) -> T:
    """The value that a text holds.

    Args:
        text: JSON; bytes are in UTF-8, UTF-16 or UTF-32.
        source: file, or file and line, for messages.
        shape: of the value.

    Raises:
        InputError: it is no JSON, or of another shape; names the source and the key.
    """
    try:
        value: T = _fitted(json.loads(text, parse_int=_whole), shape, source, "")
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{source}: broken JSON ({error})") from None
    except RecursionError:
        raise InputError(f"{source}: broken JSON (nested too deeply)") from None
    return value


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS else float(digits)


def _fitted(value: Any, kind: Any, source: str, key: str) -> Any:
    """The value as the kind has it."""
    origin, of = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return _one_of(value, of, source, key)
    if isinstance(value, list) and origin in (list, Any):
        inner = of[0] if of else Any
        return [_fitted(v, inner, source, f"{key}[{n}]") for n, v in enumerate(value)]
    if isinstance(value, dict) and origin in (dict, Any):
        inner = of[1] if of else Any
        return {k: _fitted(v, inner, source, _below(key, k)) for k, v in value.items()}
    if isinstance(value, dict) and is_dataclass(kind):
        return _object(value, kind, source, key)
    if kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if kind is Any or (type(value) is kind and kind is not float):
        return value
    raise _misfit(value, _told(kind), source, key)


def _object(value: dict[str, Any], kind: Any, source: str, key: str) -> Any:
    hints = _hints(kind)
    needed = [f.name for f in fields(kind) if f.default is f.default_factory is MISSING]
    for name in needed:
        if name not in value:
            raise InputError(
                f"{source}: {_named(key)}expected an object with "
                f"{', '.join(needed)}; {name} is missing"
            )
    found = {name: v for name, v in value.items() if name in hints}
    return kind(**{n: _fitted(v, hints[n], source, _below(key, n)) for n, v in found.items()})


_hints = functools.cache(get_type_hints)


def _one_of(value: Any, kinds: tuple[Any, ...], source: str, key: str) -> Any:
    for kind in kinds:
        try:
            return _fitted(value, kind, source, key)
        except InputError:
            continue
    raise _misfit(value, " or ".join(map(_told, kinds)), source, key)


def _misfit(value: Any, expected: str, source: str, key: str) -> InputError:
    plain = isinstance(value, (list, dict, NoneType))
    got = _WORDS[type(value)] if plain else shown(json.dumps(value).strip('"'))
    return InputError(f"{source}: {_named(key)}expected {expected}, got {got}")


def _named(key: str) -> str:
    return f"{shown(key)}: " if key else ""


def _told(kind: Any) -> str:
    return _WORDS[dict] if is_dataclass(kind) else _WORDS[get_origin(kind) or kind]


def _below(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
