"""Other products in place of the frozen blocks' own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from unittest import mock

import torch
from torch import Tensor

from peclip_fast import ops

Linear = Callable[[Tensor, Tensor, Tensor], Tensor]  # x, weight (N, K), bias (N,)
Activate = Callable[[Tensor, str], Tensor]


@contextlib.contextmanager
def replaced_by(product: Linear, activate: Activate) -> Iterator[None]:
    """QKV, out, and the two products of the MLP, for the time of the block."""

    def linear(x: Tensor, weight: Tensor, bias: Tensor, *, backend: str = "auto") -> Tensor:
        return product(x, weight, bias).to(_computed_in(x))

    def feed_forward(
        x: Tensor, in_weight: Tensor, in_bias: Tensor, out_weight: Tensor, out_bias: Tensor,
        activation: str, *, backend: str = "auto",
    ) -> Tensor:  # fmt: skip
        hidden = activate(product(x, in_weight, in_bias), activation)
        return product(hidden, out_weight, out_bias).to(_computed_in(x))

    with (
        mock.patch.object(ops, "linear", linear),
        mock.patch.object(ops, "feed_forward", feed_forward),
    ):
        yield


def _computed_in(x: Tensor) -> torch.dtype:
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
