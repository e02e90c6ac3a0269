"""Products on the CPU, by what multiplies the dtype fastest there.

bfloat16 on AMX or AVX-512's pairs of it where they take the sizes; where there is neither, in
float32, as PyTorch's own product of bfloat16 takes several times as long. float32 by MKL, which is
PyTorch's own choice, on Intel's processors where nothing is added, and else by oneDNN, unless a
variable keeps that from instructions that MKL has.
"""

from __future__ import annotations

import functools
import os

import torch
from torch import Tensor

from peclip_fast.ops import extension
from peclip_fast.ops.dtypes import promoted
from peclip_fast.ops.frozen import made_once

STEP = 32  # rows and columns of a weight come in multiples of it on these units
FEW_ROWS = 64


def product(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, by_rows: bool = False,
    added: tuple[Tensor, ...] = (), out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """x (n, K) times weight (N, K) transposed, or times (K, N) `by_rows`, on the CPU.

    At most two contiguous tensors (n, N) are added; the result has x's dtype, or the one that
    theirs promote it to. `weight` may come from laid_out().
    """
    if weight.is_mkldnn:
        bias = None if bias is None else bias.to(x.dtype)
        return _by_onednn(x, weight, bias, added, out)
    if takes(x, weight) and all(t.dtype == x.dtype for t in added):
        columns = weight.shape[1] if by_rows else weight.shape[0]
        out = x.new_empty(len(x), columns) if out is None else out
        x, weight = x.contiguous(), weight.contiguous()
        bias = None if bias is None else bias.float().contiguous()
        first, second, *_ = (*(t.data_ptr() for t in added), 0, 0)
        extension.load().linear_cpu(
            len(x), x.data_ptr(), weight_parts(weight, by_rows=by_rows),
            0 if bias is None else bias.data_ptr(), (first, second), out.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        return out
    if computed_in(x.dtype) != x.dtype:
        y = product(
            x.float(), weight, bias, by_rows=by_rows, added=tuple(t.float() for t in added)
        ).to(promoted(x, *added))
        return y if out is None else out.copy_(y)
    weight = weight.to(x.dtype)
    bias = None if bias is None else bias.to(x.dtype)
    if _takes_onednn(x.dtype, added) and len(x) >= FEW_ROWS:
        weight = (_transposed if by_rows else _laid_out)(weight, len(x))
        return _by_onednn(x, weight, bias, added, out)
    return _by_pytorch(x, weight, bias, by_rows, added, out)


def computed_in(dtype: torch.dtype) -> torch.dtype:
    """What numbers of a dtype are multiplied in."""
    if dtype != torch.bfloat16:
        return dtype
    if torch.compiler.is_compiling():
        from peclip_fast.ops.compiling import bf16_missing_constant

        missing = bf16_missing_constant()
    else:
        missing = extension.bf16_missing()
    return dtype if missing is None else torch.float32


def laid_out(weight: Tensor, rows: int, *, by_rows: bool = False) -> Tensor:
    """A weight for several products of at least so many rows: in oneDNN's own order where it is
    oneDNN that multiplies them, else as it is.

    That of a frozen weight `by_rows` is kept: transposing it takes longer than laying it out.
    """
    if not _takes_onednn(weight.dtype) or rows < FEW_ROWS:
        return weight
    return (_transposed if by_rows else _laid_out)(weight, rows)


def _laid_out(weight: Tensor, rows: int) -> Tensor:
    result: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), rows)
    return result


def _transposed(weight: Tensor, rows: int) -> Tensor:
    return made_once(weight, "transposed", lambda w: _laid_out(w.mT, rows))


def _takes_onednn(dtype: torch.dtype, added: tuple[Tensor, ...] = ()) -> bool:
    """Whether oneDNN multiplies FEW_ROWS or more of a dtype: each row the same among any of them.

    MKL adds nothing in the same pass.
    """
    return dtype == torch.float32 and _has_onednn() and (bool(added) or not _mkl_is_faster())


@functools.cache
def _has_onednn() -> bool:
    names = ("_linear_pointwise", "_reorder_linear_weight")
    able = all(hasattr(torch.ops.mkldnn, name) for name in names)
    return able and torch.backends.mkldnn.is_available() and not _onednn_is_held()


@functools.cache
def _mkl_is_faster() -> bool:
    """On its own maker's processors, by 5 to 15 %, with AVX2 and with AVX-512."""
    intel = not extension.missing() and extension.load().is_intel()
    return intel and torch.backends.mkl.is_available()


def _onednn_is_held() -> bool:
    """Whether a variable keeps oneDNN from instructions that MKL, PyTorch's own choice, then has:
    on its maker's processors AVX-512, on others AVX2 and no more.
    """
    most = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    able = torch.backends.cpu.get_cpu_capability()
    held = (most.startswith("SSE") or most == "AVX") and able in ("AVX2", "AVX512")
    held = held or (most.startswith("AVX2") and able == "AVX512" and _mkl_is_faster())
    return held and torch.backends.mkl.is_available()


def _by_onednn(
    x: Tensor, weight: Tensor, bias: Tensor | None, added: tuple[Tensor, ...], out: Tensor | None
) -> Tensor:
    """x (n, K) times what laid_out() gave, by what torch.compile calls in inference."""
    linear = torch.ops.mkldnn._linear_pointwise
    if added:
        y = linear.binary(x, added[0], weight, bias, "add")
    else:
        y = linear(x, weight, bias, "none", [], "")
    for t in added[1:]:
        y += t
    return y if out is None else out.copy_(y)


def _by_pytorch(
    x: Tensor, weight: Tensor, bias: Tensor | None, by_rows: bool, added: tuple[Tensor, ...],
    out: Tensor | None,
) -> Tensor:  # fmt: skip
    matrix, term, rest = weight if by_rows else weight.mT, bias, added
    # With few rows BLAS starts a sum at the term, which makes each step's rounding as large as it.
    few = by_rows and len(x) < FEW_ROWS
    if term is None and added and added[0].dtype == x.dtype and not few:
        term, rest = added[0], added[1:]
    given = None if rest else out
    y = torch.mm(x, matrix, out=given) if term is None else torch.addmm(term, x, matrix, out=given)
    for t in rest:
        y = y.add_(t) if t.dtype == y.dtype else y + t
    return out.copy_(y) if rest and out is not None else y


def weight_gradient(dy: Tensor, x: Tensor) -> Tensor:
    """dy (n, N) transposed times x (n, K), on the CPU: fastest where dy is the narrower."""
    widths = (dy.shape[1], x.shape[1])
    if (
        len(x) == 0
        or (x.dtype, dy.dtype) != (torch.bfloat16, torch.bfloat16)
        or any(width % STEP for width in widths)
        or (dy.stride(1), x.stride(1)) != (1, 1)
        or extension.bf16_missing()
    ):
        wide = computed_in(x.dtype)
        return (dy.to(wide).mT @ x.to(wide)).to(x.dtype)
    out = x.new_empty(widths)
    extension.load().weight_gradient_cpu(
        (len(x), *widths), dy.data_ptr(), dy.stride(0), x.data_ptr(), x.stride(0),
        out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def sum_of_rows(rows: Tensor) -> Tensor:
    """Over the first dimension, on the CPU.

    PyTorch's own sum of low precision is many times slower there than a product.
    """
    wide = computed_in(rows.dtype)
    if wide == torch.float32:
        return rows.sum(0, dtype=wide).to(rows.dtype)
    return rows.new_ones(rows.shape[0]) @ rows


def takes(x: Tensor, *weights: Tensor) -> bool:
    """Whether a unit for bfloat16 multiplies x with the weights."""
    sizes = not any(size % STEP for weight in weights for size in weight.shape)
    dtypes = all(weight.dtype in (torch.bfloat16, torch.float32) for weight in weights)
    return x.dtype == torch.bfloat16 and dtypes and sizes and extension.bf16_missing() is None


def weight_parts(weight: Tensor, *, by_rows: bool = False) -> tuple[int, int, int, bool, bool]:
    """A contiguous weight as struct Weight in csrc/cpu/linear/linear.h."""
    depth, columns = weight.shape if by_rows else weight.shape[::-1]
    return depth, columns, weight.data_ptr(), by_rows, weight.dtype == torch.float32
