"""What the operators' tests share: dtypes, layouts, opcheck's tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
# Of opcheck's tests for a backward operator: the forward's are traced and compiled with it.
ALONE = ("test_schema", "test_autograd_registration", "test_faketensor")
WHOLE = (*ALONE, "test_aot_dispatch_dynamic")


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
