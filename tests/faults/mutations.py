"""Small damages of files, each a function of the bytes and of a random generator.

Bytes are damaged as disks, transfers and cut-off copies damage them; text by what people,
spreadsheets and other programs write; JSON and YAML at a place in their structure.
"""

from __future__ import annotations

import codecs
import json
import random
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

import yaml

LARGEST = 1 << 20  # bytes of an input, which some damages multiply
Mutate = Callable[[bytes, random.Random], bytes]

# What stands in a field where a number, a name or a path was expected.
ODD = (
    "", " ", "\t", "0", "-1", "+1", "1e309", "1e-400", "9" * 19, "9" * 5000, "-" + "9" * 400,
    "NaN", "inf", "-Infinity", "1_000", "0x10", "010", "٣", "²", "½", "Ⅷ", "１", "null", "~",
    "true", "yes", "None", "\0", "a\0b", "\x1b[2J", "\x1a", "\x7f", "\u0085", "\u2028", "\u202e",
    "\u200b", "\ufeff", "\ufffd", "\ud800", "\U0010ffff", "é", "e\u0301", "colère", "快乐", "İ",
    "ß", "ſ", "😀", "'", '"', '""', '"a', 'a"b', '"a,b"', "`", "\\", "\\\\", "/", "//", ".", "..",
    "../..", "/dev", "~/x", "C:\\a\\b", "C:", "a:b", "file:///x", "http://x/y", "-", "--help", "#",
    "# x", "%s", "%n", "{}", "{0}", "{frames}", "[", "]", "{", "}", "[]", "[1,2]", "*", "?", "&a",
    "*a", "!x", "|", ">", "A" * 300, "a/" * 3000, "A" * 140_000, "a b c", "a\rb", "a\nb", "a\x0bb",
    "a\x0cb", ",", ",,,", ";", "=", "1,5", "1.5", "1e3", "path,label", "happiness", "Happy",
)  # fmt: skip
_FIELD = re.compile(r"[,\t ;:/]")


# Bytes ---------------------------------------------------------------------------------------


def flip(data: bytes, rng: random.Random) -> bytes:
    """One bit the other way."""
    if not data:
        return data
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def flips(data: bytes, rng: random.Random) -> bytes:
    """Up to 64 bits the other way."""
    for _ in range(rng.choice((2, 8, 64))):
        data = flip(data, rng)
    return data


def cut(data: bytes, rng: random.Random) -> bytes:
    """Only the beginning, as of a copy that was broken off."""
    return data[: rng.randrange(len(data) + 1)]


def insert(data: bytes, rng: random.Random) -> bytes:
    """A few random bytes in between."""
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(rng.choice((1, 7, 512))) + data[place:]


def remove(data: bytes, rng: random.Random) -> bytes:
    """A part is missing."""
    first, last = _range(data, rng)
    return data[:first] + data[last:]


def zero(data: bytes, rng: random.Random) -> bytes:
    """A part is zero, as of a disk that lost a block."""
    first, last = _range(data, rng)
    return data[:first] + bytes(last - first) + data[last:]


def swap(data: bytes, rng: random.Random) -> bytes:
    """Two neighbouring parts have changed places."""
    a, b, c = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def header(data: bytes, rng: random.Random) -> bytes:
    """A number among the first bytes, or next to a four-letter mark, is an extreme one."""
    marks = [m.start() for m in re.finditer(rb"[A-Za-z0-9 ]{4}", data[: 1 << 16])]
    near = rng.choice(marks) + rng.choice((-8, -4, 4, 8, 12)) if marks else 0
    place = max(0, rng.choice((near, rng.randrange(min(len(data), 512) or 1))))
    width = rng.choice((1, 2, 4, 8))
    value = rng.choice((0, 1, -1, 1 << (8 * width - 1), rng.getrandbits(8 * width)))
    number = (value & (1 << 8 * width) - 1).to_bytes(width, rng.choice(("big", "little")))
    return data[:place] + number + data[place + width :]


BYTES = (flip, flips, cut, insert, remove, zero, swap, header)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """One or two damages of bytes."""
    for _ in range(rng.choice((1, 1, 2))):
        data = rng.choice(BYTES)(data, rng)
    return data


def _range(data: bytes, rng: random.Random) -> tuple[int, int]:
    first = rng.randrange(len(data) + 1)
    return first, min(len(data), first + rng.choice((1, 16, 512, 4096)))


# Text ----------------------------------------------------------------------------------------


def _on_lines(data: bytes, rng: random.Random) -> bytes:
    """A line twice, missing, elsewhere, or another file's end of lines."""
    lines = data.split(b"\n")
    place, other = (rng.randrange(len(lines)) for _ in range(2))
    kind = rng.randrange(5)
    if kind == 0:
        lines[place:place] = [lines[place]] * rng.choice((1, 1, 1000))
    elif kind == 1:
        del lines[place]
    elif kind == 2:
        lines[place], lines[other] = lines[other], lines[place]
    elif kind == 3:
        lines[place] = _encoded(rng.choice(ODD))
    return rng.choice((b"\n", b"\n", b"\r\n", b"\r", b"\n\n", b"\x0b")).join(lines)


def _on_fields(data: bytes, rng: random.Random) -> bytes:
    """A field is odd, missing, twice or elsewhere, or a separator is another one."""
    text = data.decode("utf-8", "surrogateescape")
    pieces = re.split(f"({_FIELD.pattern}|\n)", text)
    place = 2 * rng.randrange((len(pieces) + 1) // 2)
    odd, kind = rng.choice(ODD), rng.randrange(6)
    if kind == 0:
        pieces[place] = odd
    elif kind == 1:
        at = rng.randrange(len(pieces[place]) + 1)
        pieces[place] = pieces[place][:at] + odd + pieces[place][at:]
    elif kind == 2:
        del pieces[place : place + 2]
    elif kind == 3:
        pieces[place:place] = pieces[place : place + 2]
    elif kind == 4:
        other = 2 * rng.randrange((len(pieces) + 1) // 2)
        pieces[place], pieces[other] = pieces[other], pieces[place]
    elif place + 1 < len(pieces):
        pieces[place + 1] = rng.choice((",", ";", "\t", " ", "  ", "\u00a0", "\u3000", "\n", ""))
    return _encoded("".join(pieces))


def _encodings(data: bytes, rng: random.Random) -> bytes:
    """The same text as another program writes it."""
    text = data.decode("utf-8", "replace")
    name = rng.choice(("utf-16", "utf-16-le", "utf-32", "gb18030", "cp1252", "utf-7", "utf-8-sig"))
    wrapped = text.encode(name, "replace")
    marks = (b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return rng.choice((b"", b"", b"", *marks)) + wrapped


def in_text(data: bytes, rng: random.Random) -> bytes:
    """One to four damages of text, or now and then of its bytes."""
    for _ in range(rng.randint(1, 4)):
        weights = {_on_fields: 5, _on_lines: 3, damaged: 2, _encodings: 1}
        data = rng.choices(list(weights), list(weights.values()))[0](data, rng)
    return data


def _encoded(text: str) -> bytes:
    """UTF-8, in which half of a surrogate pair and what was no UTF-8 stay what they are."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


# JSON and YAML -------------------------------------------------------------------------------

_DEEP = 100_000
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 1e308, float("nan"), float("inf"), 0.5, [],
    {}, [None], {"a": 1}, [[]], [0] * 1000, {"": ""}, *ODD,
)  # fmt: skip


def _changed(value: Any, rng: random.Random) -> Any:
    """The value with a change somewhere in its structure."""
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.15:
        return rng.choice(_VALUES)
    if isinstance(value, list):
        items, place = list(value), rng.randrange(len(value))
        kind = rng.randrange(4)
        if kind == 0:
            del items[place]
        elif kind == 1:
            items.insert(place, items[place])
        else:
            items[place] = _changed(items[place], rng)
        return items
    pairs, key = dict(value), rng.choice(list(value))
    kind = rng.randrange(8)
    if kind == 0:
        del pairs[key]
    elif kind == 1:
        pairs[rng.choice([v for v in _VALUES if isinstance(v, (str, int, float))])] = pairs.pop(key)
    elif kind == 2:
        pairs[rng.choice([str(v)[:40] for v in _VALUES])] = rng.choice(_VALUES)
    else:
        pairs[key] = _changed(pairs[key], rng)
    return pairs


def in_json(data: bytes, rng: random.Random) -> bytes:
    """Damage in one line of JSON: in its structure, or as in any text."""
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    kind = rng.random()
    try:
        value = json.loads(lines[place])
    except ValueError:
        return in_text(data, rng)
    if kind < 0.6:
        for _ in range(rng.choice((1, 1, 2))):
            value = _changed(value, rng)
        lines[place] = _encoded(_dumped(value, ensure_ascii=rng.random() < 0.5))
    elif kind < 0.65:
        deep = rng.choice(('{"clip":', "[")) * rng.choice((900, _DEEP))
        lines[place] = deep.encode()
    else:
        return in_text(data, rng)
    return b"\n".join(lines)


def whole_json(data: bytes, rng: random.Random) -> bytes:
    """Damage in a file that is one JSON value over several lines."""
    try:
        line = json.dumps(json.loads(data)).encode()
    except ValueError:
        return in_text(data, rng)
    return in_json(line, rng)


_YAML = (
    "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "<<: *nothing\n", "<<: {model: {}}\n",
    "&x\n*x\n", "data: &d {classes: *d}\n", "!!python/object/apply:os.system ['true']\n",
    "!!binary aGk=\n", "? [a, b]\n: c\n", "data:\n\tframes: 1\n", "--- 1\n--- 2\n",
    "%YAML 9.9\n---\n", "data: !!set {a}\n", "data: {frames: 0o17}\n", "data: {frames: 1:30}\n",
    "data: {fold: 2001-01-01}\n", "[" * 3000, "data: {root: !!float x}\n", "- a\n- b\n",
    "{data: {frames: 1}, data: {frames: 2}}\n", "'", "data: {classes: [yes, no]}\n",
    "data: {classes: [1, 2]}\n", "data: {classes: {a: 1}}\n", "...", "data: {root: [a]}\n",
    "data: 3\n", "train: {lr: 3}\n", "train: {lr: {adapters: [1]}}\n", "? ", "data: {mix: null}\n",
    "data: null\n", "model: {method: [pe_clip]}\n", "1: 2\n", "null: 1\n", "over: 3\n",
    "over: [a]\n", "over: {}\n", "train: {epochs: .nan}\n", "train: {epochs: .inf}\n",
    "data: {frames: 1e3}\n", "data: {frames: 16.0}\n", "data: {frames: true}\n",
    "data.frames: 3\n",
)  # fmt: skip


def in_yaml(data: bytes, rng: random.Random) -> bytes:
    """Damage in the structure of YAML, in its text, or one of YAML's own oddities."""
    kind = rng.random()
    if kind < 0.55:
        value = yaml.safe_load(data)
        for _ in range(rng.choice((1, 1, 2))):
            value = _changed(value, rng)
        if rng.random() < 0.3:
            return _encoded(_dumped(value))  # JSON is YAML, and has other numbers
        try:
            return _encoded(yaml.safe_dump(value, allow_unicode=True))
        except (yaml.YAMLError, TypeError):
            return _encoded(_dumped(value))
    if kind < 0.7:
        lines = data.decode().splitlines(keepends=True)
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(_YAML))
        return rng.choice((rng.choice(_YAML), "".join(lines))).encode()
    return in_text(data, rng)


def _dumped(value: Any, ensure_ascii: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, default=str)


# Files of tensors ----------------------------------------------------------------------------


def in_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Damage in the header of a safetensors file, whose length is written anew or is not."""
    (size,) = struct.unpack("<Q", data[:8])
    head, body = data[8 : 8 + size], data[8 + size :]
    changed = whole_json(head, rng)
    told = rng.choice((len(changed), size, rng.getrandbits(63)))
    return struct.pack("<Q", told) + changed + body


def any_of(*kinds: Mutate) -> Mutate:
    """One of several, drawn each time."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        return rng.choice(kinds)(data, rng)

    return mutate


def mutated(corpus: Sequence[bytes], mutate: Mutate, name: str) -> bytes:
    """The input that a name (campaign, seed and number) stands for: the same one each time."""
    rng = random.Random(name)
    return mutate(rng.choice(corpus), rng)[:LARGEST]
