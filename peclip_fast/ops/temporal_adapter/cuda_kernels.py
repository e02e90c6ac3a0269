"""The CUDA kernels of the temporal adapter, on tensors (csrc/cuda/temporal_adapter/)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
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
    for name, _, needed in plan:
        if needed > has:
            return (
                f"at h = {hidden} in {str(dtype).removeprefix('torch.')} its kernel {name} needs "
                f"{needed} bytes of shared memory, this GPU has {has}"
            )
    return None


def padded(vector: Tensor, multiple: int) -> Tensor:
    """In float32, with zeros up to the next multiple."""
    vector = vector.float()
    return F.pad(vector, (0, round_up(vector.numel(), multiple) - vector.numel()))


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


@dataclass(frozen=True)
class Folded:
    """LayerNorm's affine inside the projections: W LN(x) = rstd (V x - mean sum(V)) + W beta."""

    weight: Tensor
    """V = W_d gamma, (h, D) in the products' dtype."""
    sums: Tensor
    """Of V over D, as it is rounded."""
    offsets: Tensor
    """W_d beta + b_d."""
    scale: Tensor | None
    """w_s gamma (D), float32."""
    scale_sums: Tensor | None
    """Its sum, and w_s beta + b_s."""

    @classmethod
    def of(cls, w: TemporalWeights, dtype: torch.dtype) -> Folded:
        gamma, beta, down = w.norm_weight.float(), w.norm_bias.float(), w.down_weight.float()
        folded = (down * gamma).to(dtype)
        sums, offsets = folded.float().sum(1), torch.mv(down, beta) + w.down_bias.float()
        scale = scale_sums = None
        if w.scale_weight is not None and w.scale_bias is not None:
            row = w.scale_weight[0].float()
            scale_sums = torch.stack([(row * gamma).sum(), row.dot(beta) + w.scale_bias[0].float()])
            scale = padded(row * gamma, TILE_DEPTH)
        columns = padded(sums, TILE_COLUMNS), padded(offsets, TILE_COLUMNS)
        return cls(folded, *columns, scale, scale_sums)

    def saved(self, nothing: Tensor) -> tuple[Tensor, ...]:
        """For the backward pass, with `nothing`, an empty tensor, for what is None."""
        fields = (self.weight, self.sums, self.offsets, self.scale, self.scale_sums)
        return tuple(torch.empty_like(nothing) if t is None else t for t in fields)

    @classmethod
    def restored(cls, *saved: Tensor) -> Folded:
        """From what saved() gave."""
        weight, sums, offsets, *scale = saved
        of_scale = scale if scale[0].numel() else (None, None)
        return cls(weight, sums, offsets, *of_scale)


def gate_biases(w: TemporalWeights) -> Tensor:
    """(4, h rounded up): r, z, hidden n, input n; those that are only ever added come added."""
    (r, z, n), (hidden_r, hidden_z, hidden_n) = (
        b.float().view(3, -1) for b in (w.bias_ih, w.bias_hh)
    )
    gates = torch.stack([r + hidden_r, z + hidden_z, hidden_n, n])
    return F.pad(gates, (0, round_up(gates.shape[1], TILE_COLUMNS) - gates.shape[1]))
