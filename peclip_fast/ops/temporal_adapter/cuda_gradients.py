"""The gradients of the temporal adapter's weights on a GPU: products in cuBLAS, and one kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from peclip_fast.ops import extension
from peclip_fast.ops.temporal_adapter.cuda_kernels import Call, addresses, known, of_weights
from peclip_fast.ops.temporal_adapter.weights import TemporalWeights


class Sums(NamedTuple):
    """What is to be multiplied and summed over all rows; thin tensors have h rounded up."""

    inputs: Tensor
    """[d | g' | 1], (B, T, L, 2h + 8)."""
    dgates: Tensor
    """(B, T, L, 4h) in the order of enum Block."""
    activated: Tensor
    """[a | s], (B, T, L, h + 8)."""
    scaled: Tensor
    """[rstd dd | rstd ds], (B, T, L, h + 8)."""
    moments: Tensor
    """(B, T, L, 8): the mean and 1 / rstd, each as it is rounded and what that took from it."""


def weight_gradients(
    call: Call, dy: Tensor, x: Tensor, mean: Tensor, weights: TemporalWeights, sums: Sums
) -> TemporalWeights:
    """Sums over all rows, in float32; dy is in the products' dtype.

    x goes into the product as it is where its dtype is the product's, and the means are taken off
    the result; else x - mean is rounded.
    """
    w, dtype, (h, width) = weights, sums.scaled.dtype, weights.down_weight.shape
    exact = x.dtype == dtype != torch.float32
    products = (
        _product(sums.dgates, sums.inputs),
        _product(dy, sums.activated),
        _product(sums.scaled, x if exact else (x - mean[..., None]).to(dtype)),
        _product(sums.scaled, sums.moments),
    )
    empty: list[Any] = [None if t is None else _like(t, dtype) for t in weights]
    gradients = TemporalWeights(*empty)
    given = [known(t, dtype) for t in (w.norm_weight, w.norm_bias, w.down_weight, w.scale_weight)]
    extension.load().temporal_adapter_cuda_finish(
        call.type, (h, call.shape[4], width), addresses(*products), exact, of_weights(given),
        of_weights(gradients), call.stream,
    )  # fmt: skip
    return gradients


def _like(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A gradient that the kernel can write."""
    held = weight.dtype if weight.dtype in (dtype, torch.float32) else torch.float32
    return weight.new_empty(weight.shape, dtype=held)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the outer products of all rows of a and b, in float32."""
    a, b = a.flatten(0, -2).mT, b.flatten(0, -2)
    if a.device.type != "cpu" and a.dtype != torch.float32:
        return torch.mm(a, b, out_dtype=torch.float32)
    return a.float() @ b.float()
