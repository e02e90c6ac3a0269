"""What the operators' tests share: how far from fp64 a result may be, and layouts in memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
Results = dict[str, Tensor]


def no_worse_than_eager(exact: Results, eager: Results, found: Results) -> None:
    """Each result is at most twice as far from fp64 as eager PyTorch's in the same dtype."""
    assert found.keys() == eager.keys() == exact.keys()
    for name, truth in exact.items():
        theirs, ours = eager[name], found[name]
        assert ours.dtype == theirs.dtype, name
        assert ours.shape == truth.shape, name
        if truth.numel() == 0:
            continue
        # Eager can be exact by luck in a tensor (or copy, as for the residual): one ulp is allowed.
        ulp = torch.finfo(theirs.dtype).eps * truth.abs().max().item()
        for norm in (torch.inf, 2):
            allowed, error = (
                torch.linalg.vector_norm(t.cpu().double() - truth, norm).item()
                for t in (theirs, ours)
            )
            assert error <= 2 * allowed + ulp, (name, norm, error, allowed)


def _part_of_wider(t: Tensor) -> Tensor:
    wide = t.new_full((*t.shape[:-1], t.shape[-1] + 5), torch.nan)
    wide[..., 3:-2] = t
    return wide[..., 3:-2]


def _every_other_row(t: Tensor) -> Tensor:
    tall = t.new_full((*t.shape[:-2], 2 * t.shape[-2], t.shape[-1]), torch.nan)
    tall[..., ::2, :] = t
    return tall[..., ::2, :]


def _every_other_column(t: Tensor) -> Tensor:
    wide = t.new_full((*t.shape[:-1], 2 * t.shape[-1]), torch.nan)
    wide[..., ::2] = t
    return wide[..., ::2]


def _other_axis_first(t: Tensor) -> Tensor:
    return t.transpose(0, -2).contiguous().transpose(0, -2)


def _columns_first(t: Tensor) -> Tensor:
    return t.movedim(-1, 0).contiguous().movedim(0, -1)


# The same values elsewhere in memory, with NaN in between. For tensors of two and more dimensions.
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "part of wider": _part_of_wider,
    "every other row": _every_other_row,
    "every other column": _every_other_column,
    "other axis first": _other_axis_first,
    "columns first": _columns_first,
}
