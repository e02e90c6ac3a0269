"""Files of tensors: written whole or not at all, refused by name when they don't fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from peclip_fast.digests import BLANK, LABEL, check, seal, without_digest
from peclip_fast.errors import InputError
from peclip_fast.files import write_bytes

_DIGEST = "digest"
_PREFIX = 8  # bytes of the length of the header, which is padded to as many
SHOWN = 8  # differing tensors that a message names


def refuse_other_tensors(
    source: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    """Raise InputError with the names of the tensors that are missing, left over or differ."""
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is not expected" for name in found if name not in expected]
    problems += [
        f"{name} is {list(found[name].shape)}, expected {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if problems:
        more = f", and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise InputError(f"{source}: tensors differ: {'; '.join(problems[:SHOWN])}{more}")


def read_safetensors(path: Path, ours: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file, and its metadata.

    Args:
        path: of the file.
        ours: it must carry the digest that write_safetensors() puts in; otherwise a digest is
            checked where there is one.

    Raises:
        InputError: the file is missing, damaged or none; names it.
    """
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            place = data.find(LABEL, 0, min(_begin(data), len(data)))
            if place >= 0:
                with memoryview(data) as content:
                    check(path, content, place + len(LABEL))
            elif ours:
                raise without_digest(path)
        with safe_open(path, "pt") as tensors:
            names = tensors.keys()
            return {name: tensors.get_tensor(name) for name in names}, _notes(tensors)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected safetensors") from None
    except InputError:
        raise
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a file; damage to it is found by read_safetensors() only."""
    try:
        with safe_open(path, "pt") as file:
            return _notes(file)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected safetensors") from None
    except SafetensorError as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error


def _notes(file: Any) -> dict[str, str]:
    return {key: value for key, value in (file.metadata() or {}).items() if key != _DIGEST}


def safetensors_bytes(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> bytearray:
    """A file with tensors, metadata and their digest."""
    saved = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    begin = _begin(saved)
    # Not by save(), which puts metadata into any order: the same content gives the same file.
    notes = {_DIGEST: BLANK.decode(), **(metadata or {})}
    content = {"__metadata__": notes} | json.loads(saved[_PREFIX:begin])
    header = json.dumps(content, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _PREFIX)
    data = bytearray(len(header).to_bytes(_PREFIX, "little") + header)
    data += memoryview(saved)[begin:]
    with memoryview(data) as view:
        seal(view, data.index(BLANK) + len(LABEL))
    return data


def _begin(data: bytes | mmap) -> int:
    """Where a file's tensors begin, after its header."""
    return _PREFIX + int.from_bytes(data[:_PREFIX], "little")


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """One file, whole under its name or not there."""
    write_bytes(path, safetensors_bytes(tensors, metadata))
