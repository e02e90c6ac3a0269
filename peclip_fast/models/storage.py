"""Files of tensors: written whole or not at all, refused by name when they don't fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.files import write_bytes

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


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, or InputError that names it."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected safetensors") from None
    except SafetensorError as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """One file, whole under its name or not there."""
    write_bytes(path, save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}))
