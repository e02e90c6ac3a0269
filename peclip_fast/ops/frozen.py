"""Frozen weights in the dtype of the step, cast once and kept."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_kept = WeakTensorKeyDictionary()


def as_computed(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """`weight` in `dtype`: a frozen one is cast when it is first asked for, and when it changes.

    Versions tell of changes in place, storages of memory that was replaced. The copy stays where it
    is for as long as `weight` does, as CUDA graphs need it to; a part of a weight is the same part
    of the copy.
    """
    if weight.dtype == dtype:
        return weight
    if weight.requires_grad or torch.compiler.is_compiling():
        return weight.to(dtype)
    whole = weight._base
    if whole is not None:
        copy = as_computed(whole, dtype)
        return copy.as_strided(weight.shape, weight.stride(), weight.storage_offset())
    version = 0 if weight.is_inference() else weight._version
    state = version, weight.untyped_storage()._cdata, dtype
    known = _kept.get(weight)
    if known is None or known[0] != state:
        with torch.no_grad():
            _kept[weight] = known = (state, weight.to(dtype))
    copy = known[1]
    assert isinstance(copy, Tensor)
    return copy
