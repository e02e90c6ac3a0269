"""The CUDA kernels of the temporal adapter, on tensors (csrc/cuda/temporal_adapter/)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from peclip_fast.ops import extension
from peclip_fast.ops.dtypes import TYPES
from peclip_fast.ops.temporal_adapter.weights import OP, TemporalWeights

# Tiles of a product (csrc/cuda/tile.cuh): h is padded to whole ones of 8 columns in tensors, D to
# whole ones of 32 in vectors.
TILE_COLUMNS, TILE_DEPTH = 8, 32


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def refused(device: torch.device, dtype: torch.dtype, width: int, hidden: int) -> str | None:
    """Why this GPU can't run them, or has too little shared memory for a block of one, or None."""
    if problem := extension.cuda_problem(device):
        return problem
    # Not every torch says in its types that this is there.
    properties: Any = torch.cuda.get_device_properties(device)
    has = properties.shared_memory_per_block_optin
    padded = round_up(hidden, TILE_COLUMNS)
    plan = extension.load().temporal_adapter_cuda_plan(TYPES[dtype], width, padded, has)
    for name, _, needed, _ in plan:
        if needed > has:
            return (
                f"at h = {hidden} in {str(dtype).removeprefix('torch.')} its kernel {name} needs "
                f"{needed} bytes of shared memory, this GPU has {has}"
            )
    return None


def address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def addresses(*tensors: Tensor | None) -> tuple[int, ...]:
    return tuple(map(address, tensors))


def wide(tensor: Tensor | None) -> tuple[int, tuple[int, ...], bool]:
    """A (B, T, L, D) tensor as the kernels take it."""
    if tensor is None:
        return 0, (0, 0, 0), False
    return tensor.data_ptr(), tensor.stride()[:3], tensor.dtype == torch.float32


@dataclass(frozen=True)
class Call:
    """What all kernels of one call are given."""

    type: int
    shape: tuple[int, int, int, int, int]
    """B, T, L, D, and h rounded up to whole tiles."""
    stream: int

    @classmethod
    def of(cls, x: Tensor, hidden: int, dtype: torch.dtype) -> Call:
        stream = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0
        b, t, length, width = x.shape
        shape = (b, t, length, width, round_up(hidden, TILE_COLUMNS))
        return cls(TYPES[dtype], shape, stream)

    def run(self, kernel: str, *arguments: Any) -> None:
        function = getattr(extension.load(), f"{OP}_cuda_{kernel}")
        function(self.type, self.shape, *arguments, self.stream)

    def pack(self, dtype: torch.dtype, *jobs: tuple[Tensor, int, int, bool]) -> list[Tensor]:
        """Weights in the order that tile products take: (weight, blocks of N, of K, spread)."""
        packed, given = [], []
        for weight, blocks_n, blocks_k, spread in jobs:
            if weight.dtype not in (dtype, torch.float32):
                weight = weight.to(dtype)
            n, k = weight.shape[0] // blocks_n, weight.shape[1] // blocks_k
            columns = 4 * TILE_COLUMNS if spread else TILE_COLUMNS
            axis_n = (n, round_up(n, columns), blocks_n, weight.stride(0))
            axis_k = (k, round_up(k, TILE_DEPTH), blocks_k, weight.stride(1))
            numbers = axis_n[1] * blocks_n * axis_k[1] * blocks_k
            packed.append(weight.new_empty(numbers, dtype=dtype))
            single = weight.dtype == torch.float32
            given.append((*addresses(weight, packed[-1]), single, spread, axis_n, axis_k))
        extension.load().temporal_adapter_cuda_pack(self.type, given, self.stream)
        return packed


class Folded(NamedTuple):
    """What the kernels take of the weights, made once and kept for the backward pass.

    LayerNorm's affine inside the projections: W LN(x) = rstd (V x - mean sum(V)) + W beta.
    """

    folded_weight: Tensor
    """V = W_d gamma, (h, D) in the products' dtype."""
    folded_sums: Tensor
    """(h rounded up), float32 as all that follows: of V over D, as it is rounded."""
    folded_offsets: Tensor
    """W_d beta + b_d."""
    folded_scale: Tensor
    """w_s gamma, (D rounded up); empty without a scale, and so is the next one."""
    folded_scale_sums: Tensor
    """Its sum, and w_s beta + b_s."""
    gate_biases: Tensor
    """(4, h rounded up): r, z, hidden n, input n; those that are only ever added come added."""
    padded_up_bias: Tensor
    """b_u, (D rounded up)."""

    @classmethod
    def like(cls, x: Tensor, weights: TemporalWeights, dtype: torch.dtype) -> Folded:
        """Tensors that `fold` fills, on x's device."""
        h, width = weights.down_weight.shape
        hidden, scaled = round_up(h, TILE_COLUMNS), weights.scale_weight is not None

        def single(*shape: int) -> Tensor:
            return x.new_empty(shape, dtype=torch.float32)

        padded = round_up(width, TILE_DEPTH)
        return cls(
            x.new_empty((h, width), dtype=dtype), single(hidden), single(hidden),
            single(padded if scaled else 0), single(2 if scaled else 0), single(4, hidden),
            single(padded),
        )  # fmt: skip

    @property
    def scale(self) -> tuple[Tensor | None, Tensor | None]:
        """folded_scale and folded_scale_sums, or None and None."""
        scaled = self.folded_scale.numel() > 0
        return (self.folded_scale, self.folded_scale_sums) if scaled else (None, None)


def fold(call: Call, x: Tensor, weights: TemporalWeights, dtype: torch.dtype) -> Folded:
    """Of weights in any dtype."""
    w, (h, width) = weights, weights.down_weight.shape
    folded = Folded.like(x, weights, dtype)
    given = [
        known(t, dtype)
        for t in (
            w.norm_weight, w.norm_bias, w.down_weight, w.down_bias, w.scale_weight, w.scale_bias,
            w.bias_ih, w.bias_hh, w.up_bias,
        )
    ]  # fmt: skip
    first = folded.folded_weight, folded.folded_sums, folded.folded_offsets
    extension.load().temporal_adapter_cuda_fold(
        call.type, (h, call.shape[4], width, round_up(width, TILE_DEPTH)), of_weights(given),
        *addresses(*first, *folded.scale, folded.gate_biases, folded.padded_up_bias), call.stream,
    )  # fmt: skip
    return folded


def known(weight: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Contiguous, and in the products' dtype or float32, as the kernels take a weight."""
    if weight is None:
        return None
    weight = weight if weight.dtype in (dtype, torch.float32) else weight.float()
    return weight.contiguous()


def of_weights(weights: Sequence[Tensor | None]) -> list[tuple[int, bool]]:
    """As struct Weight has them."""
    return [(address(w), w is not None and w.dtype == torch.float32) for w in weights]
