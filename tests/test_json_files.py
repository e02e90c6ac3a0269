"""JSON: values of the shape that was asked for come back, all else is one line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peclip_fast.errors import InputError
from peclip_fast.json_files import parse_json, read_json


@dataclass(frozen=True)
class Inner:
    rate: float | None


@dataclass(frozen=True)
class Outer:
    name: str
    count: int
    sure: bool
    inner: Inner
    rows: list[list[int]]
    rates: dict[str, float]
    more: Any = None


GOOD: dict[str, Any] = {
    "name": "a", "count": 3, "sure": True, "inner": {"rate": 0.5}, "rows": [[1], []],
    "rates": {"a": 1}, "more": [{"b": None}],
}  # fmt: skip
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_what_was_asked_for_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(GOOD | {"unknown": 1}), encoding="utf-8-sig")
    found = read_json(path, Outer)
    assert asdict(found) == GOOD
    assert isinstance(found.rates["a"], float)
    del GOOD["more"]
    assert parse_json(json.dumps(GOOD).encode(), "s", Outer).more is None


@given(value=ANY)
@settings(max_examples=300, deadline=None)
def test_any_value_goes_through_any(value: Any) -> None:
    text = json.dumps(value)
    assert json.dumps(parse_json(text, "s", Any)) == text


@given(key=st.sampled_from(sorted(GOOD)), value=ANY)
@settings(max_examples=300, deadline=None)
def test_any_value_in_any_place_is_taken_or_refused_by_key(key: str, value: Any) -> None:
    found, said = None, ""
    try:
        found = parse_json(json.dumps(GOOD | {key: value}), "f.json", Outer)
    except InputError as error:
        said = str(error)
    if found is None:
        assert said.startswith(f"f.json: '{key}")
    else:
        assert json.dumps(asdict(found)[key]) == json.dumps(value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("count", "9" * 5000, r"f: 'count': expected a whole number, got 'inf'|Infinity"),
        ("count", "1.5", "f: 'count': expected a whole number, got '1.5'"),
        ("count", "true", "f: 'count': expected a whole number, got 'true'"),
        ("count", "null", "f: 'count': expected a whole number, got null"),
        ("rates", '{"x": NaN}', r"f: 'rates\.x': expected a number, got 'NaN'"),
        ("rates", '{"x": 1e999}', r"f: 'rates\.x': expected a number"),
        ("rates", '{"x": %s}' % ("9" * 400), r"f: 'rates\.x': expected a number"),
        ("rates", "[1]", "f: 'rates': expected an object, got a list"),
        ("rows", "[[1], 2]", r"f: 'rows\[1\]': expected a list, got '2'"),
        ("rows", '[[1, "a"]]', r"f: 'rows\[0\]\[1\]': expected a whole number, got 'a'"),
        ("inner", "{}", "f: 'inner': expected an object with rate; rate is missing"),
        ("inner", '{"rate": "a"}', r"f: 'inner\.rate': expected a number or null, got 'a'"),
        ("inner", "3", "f: 'inner': expected an object, got '3'"),
        ("more", "[" * 700 + "]" * 700, "nested too deeply"),
        ("more", "[" * 100_000, "nested too deeply"),
        ("more", "", r"f: broken JSON \(Expecting value: line 1"),
    ],
)
def test_wrong_values_are_named(key: str, value: str, message: str) -> None:
    fields = {k: json.dumps(v) for k, v in GOOD.items()} | {key: value}
    text = ", ".join(f'"{k}": {v}' for k, v in fields.items())
    with pytest.raises(InputError, match=message) as caught:
        parse_json(f"{{{text}}}", "f", Outer)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"broken JSON \(Expecting value: line 1 column 1"),
        (b'{"name":\n"a"\n,}', "broken JSON .*line 3"),
        (b"[]", "expected an object, got a list"),
        (b"null", "expected an object, got null"),
        (b"{}", "expected an object with name, count, sure, inner, rows, rates; name is missing"),
        (b"\xff", "expected text in UTF-8"),
        (b'{"a": "\0"}', "NUL"),
    ],
)
def test_files_that_are_none(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.json:?\d*: .*{message}|a\.json: {message}"):
        read_json(path, Outer)
    with pytest.raises(InputError):
        parse_json(data, "bytes", Outer)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.json: can't be read: No such file"):
        read_json(tmp_path / "a.json", Outer)
