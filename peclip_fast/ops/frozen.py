"""What is made of a frozen weight once and kept: a copy in the dtype of the step, or one laid out
for the library that multiplies it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_kept = WeakTensorKeyDictionary()


def as_computed(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """`weight` in `dtype`, a frozen one cast once; a part of a weight is the same part of the copy.

    The copy stays where it is for as long as `weight` does, as CUDA graphs need it to.
    """
    if weight.dtype == dtype:
        return weight
    if weight.requires_grad or torch.compiler.is_compiling():
        return weight.to(dtype)
    whole = weight._base
    if whole is not None:
        copy = as_computed(whole, dtype)
        return copy.as_strided(weight.shape, weight.stride(), weight.storage_offset())
    return made_once(weight, dtype, lambda w: w.to(dtype))


def made_once(weight: Tensor, kind: object, make: Callable[[Tensor], Tensor]) -> Tensor:
    """`make(weight)`: of a frozen weight when it is first asked for, and when the weight changes.

    Versions tell of changes in place, storages of memory that was replaced. `kind` tells what is
    made; of each weight the last kind is kept.
    """
    if weight.requires_grad or torch.compiler.is_compiling():
        return make(weight)
    version = 0 if weight.is_inference() else weight._version
    state = version, weight.untyped_storage()._cdata, kind
    known = _kept.get(weight)
    if known is None or known[0] != state:
        with torch.no_grad():
            _kept[weight] = known = (state, make(weight))
    made = known[1]
    assert isinstance(made, Tensor)
    return made
