"""What the operators' tests share: how far from fp64 a result may be, layouts, opcheck's tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
Results = dict[str, Tensor]
# Of a small tensor one draw's error is a matter of luck, so eager's is the largest over some draws.
DRAWS = 4
# Of opcheck's tests for a backward operator: the forward's are traced and compiled with it.
ALONE = ("test_schema", "test_autograd_registration", "test_faketensor")


def no_worse_than_eager(found: Results, draws: list[tuple[Results, Results]]) -> None:
    """Each result is at most twice as far from fp64 as eager PyTorch's in the same dtype.

    `draws` holds results in fp64 and eager's, for inputs drawn alike; `found` is for the first.
    """
    exact, eager = draws[0]
    assert found.keys() == eager.keys() == exact.keys()
    for name, result in found.items():
        assert result.dtype == eager[name].dtype, name
        assert result.shape == exact[name].shape, name
        # Below one ulp of the largest value lies the order of a sum, and eager may be exact.
        ulp = torch.finfo(result.dtype).eps * _distance(exact[name], 0, torch.inf)
        for norm in (torch.inf, 2):
            error = _distance(result, exact[name], norm)
            theirs = max(_distance(drawn[name], truth[name], norm) for truth, drawn in draws)
            assert error <= 2 * theirs + ulp, (name, norm, error, theirs)


def _distance(result: Tensor, truth: Tensor | float, norm: float) -> float:
    away = result.cpu().double() - truth
    return torch.linalg.vector_norm(away, norm).item() if away.numel() else 0.0


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
