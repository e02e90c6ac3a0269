"""What the Triton kernels share: masked tiles, products, GELU, and the fixed-order sum."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def load_tile(
    ptr, i, i_stride, i_end, I_TAIL: tl.constexpr, j, j_stride, j_end, J_TAIL: tl.constexpr
):
    """The tile ptr[i, j], zero beyond the ends; an end is checked only where it can be passed."""
    at = ptr + i[:, None] * i_stride + j[None, :] * j_stride
    if I_TAIL:
        if J_TAIL:
            tile = tl.load(at, mask=(i[:, None] < i_end) & (j[None, :] < j_end), other=0.0)
        else:
            tile = tl.load(at, mask=i[:, None] < i_end, other=0.0)
    elif J_TAIL:
        tile = tl.load(at, mask=j[None, :] < j_end, other=0.0)
    else:
        tile = tl.load(at)
    return tile


@triton.jit
def gather(ptr, at, ok, n, n_stride, n_end):
    """ptr[at + n * n_stride], zero where a row isn't ok or n is beyond the end."""
    mask = ok[:, None] & (n[None, :] < n_end)
    return tl.load(ptr + at[:, None] + n[None, :] * n_stride, mask=mask, other=0.0)


@triton.jit
def scatter(ptr, at, ok, n, n_end, value):
    """Store value at ptr[at + n] where a row is ok and n is before the end."""
    mask = ok[:, None] & (n[None, :] < n_end)
    tl.store(ptr + at[:, None] + n[None, :], round_to(value, ptr.dtype.element_ty), mask=mask)


@triton.jit
def load_row(ptr, n, n_end):
    """ptr[n] in fp32, zero beyond the end."""
    return tl.load(ptr + n, mask=n < n_end, other=0.0).to(tl.float32)


@triton.jit
def tanh(v):
    e = tl.exp(-2.0 * tl.abs(v))
    far = tl.where(v < 0, e - 1.0, 1.0 - e) / (1.0 + e)
    # Near 0 the difference loses digits: there it is the series, to below half an ulp.
    w = v * v
    near = -17 / 315 + w * (62 / 2835 - w * (1382 / 155925))
    near = v + v * w * (-1 / 3 + w * (2 / 15 + w * near))
    return tl.where(tl.abs(v) < 0.35, near, far)


@triton.jit
def round_to(value, dtype: tl.constexpr):
    """Convert a tile to `dtype`, to nearest even."""
    # The interpreter cuts bits off on the way to bf16, where GPUs round.
    if INTERPRETED and dtype == tl.bfloat16:
        bits = value.to(tl.float32).to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        value = bits.to(tl.float32, bitcast=True)
    return value.to(dtype)


@triton.jit
def dot(a, b, acc, PRECISION: tl.constexpr):
    """acc + a @ b with fp32 accumulation."""
    if INTERPRETED:  # the interpreter holds bf16 as bit patterns and would multiply those
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, acc, input_precision=PRECISION)


@triton.jit
def gelu(u):
    return 0.5 * u * (1.0 + tl.erf(u * 0.7071067811865476))


@triton.jit
def gelu_slope(u):
    normal = 0.3989422804014327 * tl.exp(-0.5 * u * u)
    return 0.5 * (1.0 + tl.erf(u * 0.7071067811865476)) + u * normal


@triton.jit
def reduce_kernel(
    partial_ptr, out_ptr, count, groups, GROUPS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    group = tl.arange(0, GROUPS)
    part = load_tile(partial_ptr, group, count, groups, True, i, 1, count, True)
    tl.store(out_ptr + i, round_to(tl.sum(part, 0), out_ptr.dtype.element_ty), mask=i < count)


def reduce_groups(partial: Tensor, dtype: torch.dtype) -> Tensor:
    """(groups, N) fp32 -> their sum (N,) in `dtype`, added in an order that only the sizes fix."""
    groups, count = partial.shape
    out = torch.empty(count, dtype=dtype, device=partial.device)
    reduce_kernel[(triton.cdiv(count, 128),)](
        partial, out, count, groups, GROUPS=triton.next_power_of_2(groups), BLOCK=128,
        **launch_options(4, 1, dtype),
    )  # fmt: skip
    return out


def chunks(hidden: int) -> tuple[int, int]:
    """Cut h in two powers of two of at least 16 (tl.dot's least), the second 0 if not needed."""
    if hidden <= 16:
        return 16, 0
    first = 1 << (hidden.bit_length() - 1)
    rest = hidden - first
    second = max(16, triton.next_power_of_2(rest)) if rest else 0
    return (2 * first, 0) if second == first else (first, second)


def as_rows(t: Tensor) -> Tensor:
    """(..., D) -> (M, D) with unit last stride: a view where one exists."""
    flat = t.reshape(-1, t.shape[-1])
    return flat if flat.stride(1) == 1 else flat.contiguous()


def on_device(t: Tensor) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the current device; make it the tensor's."""
    return torch.cuda.device(t.device) if t.is_cuda else contextlib.nullcontext()


def launch_options(warps: int, stages: int, dtype: torch.dtype) -> dict[str, Any]:
    """How a kernel is compiled, whose products are in `dtype`.

    fp32 products hold their operands in registers: ptxas is allowed all there are, or it spills a
    few to fit one more block on a multiprocessor. Fusion of multiply and add is said, as Triton's
    default differs between releases.
    """
    registers = 255 if dtype.itemsize == 4 else None
    return {
        "num_warps": warps, "num_stages": stages, "maxnreg": registers, "enable_fp_fusion": True,
    }  # fmt: skip


def precision() -> str:
    """How fp32 products are formed: in fp32, unless PyTorch was told to use TF32 for them."""
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"
