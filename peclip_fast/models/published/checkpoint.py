"""A checkpoint file of any method's published program."""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.models.storage import refuse_other_tensors
from peclip_fast.models.trained_backbone import UNREAD

OLD_PICKLES = 4  # magic number, version, system, and the object


@dataclass(frozen=True)
class PublishedCheckpoint:
    """What a method's from_published() reads; the arguments are those of load_published().

    Args:
        source: the file, for messages.
        state: tensors by the published names, without ``module.``.
    """

    method: str
    source: str
    state: dict[str, Tensor]
    class_texts: tuple[str, ...] | None = None
    vision_heads: int | None = None
    text_heads: int | None = None
    temporal_heads: int | None = None

    def refuse_heads(self, name: str, why: str) -> None:
        """Raise InputError if a number of heads is given that the method has no use for."""
        given = getattr(self, name)
        if given is not None:
            raise InputError(f"{name}={given}: expected none, as {self.method} {why}")

    def class_names(self, number: int) -> list[str]:
        """What the classes of a linear head are called: ``class_texts``, or by their numbers."""
        if self.class_texts is None:
            return [f"class {i}" for i in range(number)]
        if len(self.class_texts) != number:
            raise InputError(
                f"{self.source}: class_texts: expected the names of {number} classes, got "
                f"{len(self.class_texts)}"
            )
        return list(self.class_texts)

    def need(self, what: str, names: Iterable[str]) -> None:
        """Raise InputError with the names of tensors that aren't there and have to be."""
        missing = [name for name in names if name not in self.state]
        if missing:
            raise InputError(f"{self.source}: no {what} checkpoint: {', '.join(missing)} missing")

    def fill(self, views: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
        """Copy ``given`` into the tensors of a model that was made for it.

        Args:
            views: the model's tensors, or parts of them, by the published names.
            given: the checkpoint's, all of which have to be among them; UNREAD may be missing.

        Raises:
            InputError: with the names of tensors that don't fit.
        """
        views = {n: t for n, t in views.items() if n in given or n not in UNREAD}
        refuse_other_tensors(self.source, given, views)
        with torch.no_grad():
            for name, tensor in views.items():
                tensor.copy_(given[name])


class _Inert:
    """Takes the place of the classes that a checkpoint names next to its tensors."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Keep nothing."""

    def __setstate__(self, state: object) -> None:
        """Keep nothing."""


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict under the published names."""
    try:
        with torch.serialization.safe_globals([(_Inert, name) for name in _foreign(path)]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a checkpoint (.pth)") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        # Torch's own reason stands between what it has to say of weights_only.
        text = str(error).partition("WeightsUnpickler error:")[2].strip() or str(error)
        reason = text.splitlines()[0] if text else type(error).__name__
        raise InputError(f"{path}: not a checkpoint that torch can read ({reason})") from error
    state = loaded
    if isinstance(loaded, Mapping):
        state = next((loaded[key] for key in ("state_dict", "model") if key in loaded), loaded)
    if not isinstance(state, Mapping):
        raise InputError(f"{path}: expected a state dict or {{'state_dict': ...}}")
    named = {str(name).removeprefix("module."): value for name, value in state.items()}
    return {name: value for name, value in named.items() if isinstance(value, Tensor)}


def _foreign(path: Path) -> list[str]:
    """What a checkpoint names that isn't torch's own; nothing is imported for it."""
    if zipfile.is_zipfile(path):
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    names: set[str] = set()
    with path.open("rb") as file:  # as torch wrote it before 1.6: one pickle after the other
        for _ in range(OLD_PICKLES):
            found = pickletools.genops(file)
            names |= {str(arg).replace(" ", ".") for op, arg, _ in found if op.name == "GLOBAL"}
    return [name for name in names if not name.startswith(("torch.", "collections."))]
