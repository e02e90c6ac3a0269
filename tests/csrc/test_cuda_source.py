"""The temporal adapter's CUDA kernels, compiled for the CPU, against fp64."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.numerics import shim_build
from helpers.numerics.barriers import Barrier, barriers, check_without
from helpers.numerics.rounding import Results, follow, no_worse_than_rounding
from helpers.numerics.shim_memory import WatchedMemory
from torch import Tensor

from peclip_fast.ops import extension, temporal_adapter
from peclip_fast.ops.dtypes import TYPES
from peclip_fast.ops.temporal_adapter import SCALINGS, TemporalWeights, cuda

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
Shape = tuple[int, int, int, int]
Operands = list[Tensor | None]
NAMES = (
    "out", "x", "residual", "norm_weight", "norm_bias", "scale_weight", "scale_bias",
    "down_weight", "down_bias", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "up_weight",
    "up_bias",
)  # fmt: skip


def draw(
    shape: Shape, hidden: int, scaling: str = "after_up", residual: bool = True, seed: int = 0
) -> tuple[Operands, Tensor]:
    """Random operands in fp64 with values that every dtype holds, and an output gradient."""
    generator = torch.Generator().manual_seed(seed)
    width, scaled = shape[-1], scaling != "none"

    def normal(*size: int, spread: float = 1.0, around: float = 0.0) -> Tensor:
        values = torch.randn(*size, generator=generator, dtype=torch.float64) * spread + around
        return values.to(torch.bfloat16).to(torch.float16).double()

    operands = [
        normal(*shape, spread=2.0, around=0.5),
        normal(*shape) if residual else None,
        normal(width, spread=0.3, around=1.0),
        normal(width),
        normal(1, width, spread=width**-0.5) if scaled else None,
        normal(1, around=0.3) if scaled else None,
        normal(hidden, width, spread=width**-0.5),
        normal(hidden),
        *(normal(3 * hidden, hidden, spread=hidden**-0.5) for _ in range(2)),
        *(normal(3 * hidden) for _ in range(2)),
        normal(width, hidden, spread=hidden**-0.5),
        normal(width),
    ]
    return operands, normal(*shape)


def cast(operands: Operands, dtype: torch.dtype) -> Operands:
    return [None if t is None else t.to(dtype) for t in operands]


def named(results: list[Tensor | None], operands: Operands) -> Results:
    """The output, and the gradients in the dtypes of what they are gradients of."""
    out, *gradients = results
    assert out is not None
    pairs = zip(NAMES[1:], gradients, operands, strict=True)
    return {"out": out} | {
        name: gradient.to(operand.dtype)
        for name, gradient, operand in pairs
        if gradient is not None and operand is not None
    }


def eager(operands: Operands, grad: Tensor, scaling: str) -> Results:
    leaves = [None if t is None else t.clone().requires_grad_() for t in operands]
    y = temporal_adapter(*leaves, scaling=scaling, backend="reference")
    grads = iter(torch.autograd.grad(y, [t for t in leaves if t is not None], grad.to(y.dtype)))
    return named([y.detach(), *(None if t is None else next(grads) for t in leaves)], operands)


Fused = Callable[..., Results]


@pytest.fixture
def fused(cuda_on_cpu: Path, monkeypatch: pytest.MonkeyPatch) -> Fused:
    module = shim_build.load_extension(cuda_on_cpu)
    monkeypatch.setattr(extension, "load", lambda: module)

    def run(
        operands: Operands, grad: Tensor, scaling: str, dtype: torch.dtype | None = None
    ) -> Results:
        x, residual, *rest = operands
        assert x is not None
        weights, chosen = TemporalWeights(*rest), (scaling, dtype or x.dtype)
        with WatchedMemory(cuda_on_cpu, (*operands, grad)):
            out, kept = cuda.forward(x, residual, weights, *chosen, True)
            dx, gradients = cuda.backward(grad, x, kept, weights, *chosen)
        return named([out, dx, grad, *gradients], operands)

    return run


def check(
    fused: Fused, shape: Shape, hidden: int, dtype: torch.dtype, scaling: str = "after_up",
    residual: bool = True,
) -> None:  # fmt: skip
    operands, grad = draw(shape, hidden, scaling, residual)
    no_worse_than_rounding(
        fused(cast(operands, dtype), grad.to(dtype), scaling),
        eager(operands, grad, scaling),
        follow(lambda given: eager(cast(given[:-1], dtype), given[-1], scaling), [*operands, grad]),
    )


SMALL = [
    ((1, 2, 1, 3), 1),
    ((2, 1, 5, 130), 13),
    ((2, 3, 9, 70), 5),  # two blocks of sequences, one with a tail
    ((1, 17, 3, 40), 24),
]
LARGE = [
    ((2, 16, 1, 48), 48, torch.float32),
    ((1, 2, 3, 100), 96, torch.float16),
    ((1, 2, 3, 64), 104, torch.bfloat16),  # two tiles a warp in the recurrence, four groups in down
    ((1, 2, 3, 40), 192, torch.bfloat16),
]
# Of the paper's h, with rows that are aligned: the kernels' plain forms. 40 sequences are three
# blocks of 16, or two of 32.
PLAIN, MANY = ((1, 2, 3, 128), 96), ((2, 3, 20, 128), 96)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(("shape", "hidden"), SMALL, ids=str)
def test_sizes(fused: Fused, shape: Shape, hidden: int, dtype: torch.dtype) -> None:
    check(fused, shape, hidden, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "hidden", "dtype"), LARGE, ids=str)
def test_large_sizes(fused: Fused, shape: Shape, hidden: int, dtype: torch.dtype) -> None:
    check(fused, shape, hidden, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["after_up", "recurrence"])
@pytest.mark.parametrize("dtype", FLOATS[1:], ids=str)
def test_plain_forms(fused: Fused, dtype: torch.dtype, scaling: str) -> None:
    plan = extension.load().temporal_adapter_cuda_plan(TYPES[dtype], 128, 96, 227 << 10)
    assert {name: plain for name, _, _, plain in plan} == {
        "down": True, "up": True, "up_backward": True, "down_backward": True, "recurrence": True,
        "recurrence of 32": True, "recurrence_backward": True, "recurrence_backward of 32": True,
    }  # fmt: skip
    check(fused, *PLAIN, dtype, scaling)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", FLOATS[1:], ids=str)
def test_plain_forms_beside_float32(fused: Fused, dtype: torch.dtype) -> None:
    """The residual, the output and its gradient are in float32 where the stream is."""
    operands, grad = draw(*PLAIN)

    def mixed(given: Operands) -> Operands:
        names = zip(NAMES[1:], given, strict=True)
        return [t.to(torch.float32 if name == "residual" else dtype) for name, t in names]

    program = follow(lambda t: eager(mixed(t[:-1]), t[-1], "after_up"), [*operands, grad])
    assert program["out"].dtype == torch.float32
    found = fused(mixed(operands), grad.float(), "after_up")
    no_worse_than_rounding(found, eager(operands, grad, "after_up"), program)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", FLOATS[1:], ids=str)
def test_blocks_of_32_sequences_give_the_bits_of_16(
    fused: Fused, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    operands, grad = draw(*MANY)
    arguments = (cast(operands, dtype), grad.to(dtype), "after_up")
    monkeypatch.setenv("PECLIP_SHIM_SMS", "8")
    expected = fused(*arguments)
    monkeypatch.setenv("PECLIP_SHIM_SMS", "1")
    found = fused(*arguments)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_scalings(fused: Fused, scaling: str, residual: bool, dtype: torch.dtype) -> None:
    check(fused, (1, 3, 9, 36), 10, dtype, scaling, residual)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_no_rows(fused: Fused, scaling: str) -> None:
    operands, grad = draw((0, 3, 5, 36), 10, scaling)
    found = fused(cast(operands, torch.float32), grad.float(), scaling)
    expected = eager(operands, grad, scaling)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name].double(), expected[name]) for name in expected)


@pytest.mark.parametrize("scaling", ["after_up", "input"])
@pytest.mark.parametrize("products", [torch.bfloat16, torch.float16], ids=str)
def test_products_in_another_dtype(fused: Fused, products: torch.dtype, scaling: str) -> None:
    """Under autocast: tensors in float32, products in half of that."""
    operands, grad = draw((2, 3, 9, 70), 20, scaling)

    def autocast(given: Operands) -> Results:
        *tensors, dy = cast(given, torch.float32)
        with torch.autocast("cpu", products):
            return eager(tensors, dy, scaling)

    found = fused(cast(operands, torch.float32), grad.float(), scaling, products)
    no_worse_than_rounding(
        found, eager(operands, grad, scaling), follow(autocast, [*operands, grad])
    )


@pytest.mark.parametrize("stream", FLOATS, ids=str)
def test_the_residual_has_a_dtype_of_its_own(fused: Fused, stream: torch.dtype) -> None:
    operands, grad = draw((2, 3, 9, 70), 20)

    def mixed(operands: Operands) -> Operands:
        return [
            t.to(stream if name == "residual" else torch.bfloat16)
            for name, t in zip(NAMES[1:], operands, strict=True)
        ]

    program = follow(
        lambda given: eager(mixed(given[:-1]), given[-1], "after_up"), [*operands, grad]
    )
    found = fused(mixed(operands), grad.to(program["out"].dtype), "after_up")
    no_worse_than_rounding(found, eager(operands, grad, "after_up"), program)


def _tokens_first(t: Tensor) -> Tensor:
    return t.transpose(1, 2).contiguous().transpose(1, 2)


def _part_of_wider(t: Tensor) -> Tensor:
    wide = t.new_full((*t.shape[:2], t.shape[2] + 3, t.shape[3] + 5), torch.nan)
    part = wide[:, :, 1:-2, 3:-2]
    return part.copy_(t)


def _every_other(t: Tensor) -> Tensor:
    return t.repeat_interleave(2, -1)[..., ::2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("width", [40, 37])
@pytest.mark.parametrize("layout", [_tokens_first, _part_of_wider, _every_other])
def test_any_strides_give_the_same_bits(
    fused: Fused, layout: Callable[[Tensor], Tensor], width: int, dtype: torch.dtype
) -> None:
    operands, grad = draw((2, 3, 9, width), 10)
    x, residual, *weights = cast(operands, dtype)
    grad = grad.to(dtype)
    expected = fused([x, residual, *weights], grad, "after_up")
    x, residual, strided = (layout(t) for t in (x, residual, grad))
    assert not x.is_contiguous()
    found = fused([x, residual, *weights], strided, "after_up")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_order_of_threads_and_blocks_changes_no_bit(
    fused: Fused, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    operands, grad = draw((2, 3, 9, 36), 16)
    results = []
    for order in ("forward", "reverse", "1", "2"):
        monkeypatch.setenv("PECLIP_SHIM_ORDER", order)
        results.append(fused(cast(operands, dtype), grad.to(dtype), "after_up"))
    for other in results[1:]:
        assert all(torch.equal(other[name], results[0][name]) for name in results[0])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(("kilobytes", "frames", "hidden"), [(99, 2, 104), (64, 1, 160)])
def test_where_the_recurrent_weights_do_not_fit(
    fused: Fused, kilobytes: int, frames: int, hidden: int, dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """In the shared memory of smaller GPUs."""
    monkeypatch.setenv("PECLIP_SHIM_SHARED", str(kilobytes << 10))
    check(fused, (1, frames, 3, 24), hidden, dtype)


def test_what_fits_no_block_is_refused_by_name(
    fused: Fused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is launched."""

    def why(kilobytes: int, dtype: torch.dtype, hidden: int) -> str | None:
        has = SimpleNamespace(shared_memory_per_block_optin=kilobytes << 10)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: has)
        monkeypatch.setattr(extension, "cuda_problem", lambda device: None)
        return cuda.refused(torch.device("cuda"), dtype, 768, hidden)

    assert "kernel recurrence_backward needs 74496 bytes" in (why(64, torch.float32, 192) or "")
    assert why(99, torch.float32, 192) is None
    for dtype in FLOATS:
        assert why(64, dtype, 96) is None
    assert why(64, torch.bfloat16, 192) is None


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_where_the_projections_do_not_fit(
    fused: Fused, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One comes through the cache then, the other in slices: as with a D of thousands."""
    monkeypatch.setenv("PECLIP_SHIM_SHARED", str(dtype.itemsize * (9 << 10)))
    check(fused, (1, 2, 9, 330), 5, dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_where_multiprocessors_are_few(
    fused: Fused, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warp then has several tiles of rows."""
    operands, grad = draw((1, 1, 300, 24), 5)
    arguments = (cast(operands, dtype), grad.to(dtype), "after_up")
    expected = fused(*arguments)
    monkeypatch.setenv("PECLIP_SHIM_SMS", "1")
    found = fused(*arguments)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_forward_alone_gives_the_same_bits(fused: Fused, cuda_on_cpu: Path, scaling: str) -> None:
    operands, grad = draw((1, 3, 9, 36), 10, scaling)
    given = cast(operands, torch.bfloat16)
    expected = fused(given, grad.bfloat16(), scaling)["out"]
    with WatchedMemory(cuda_on_cpu, given):
        weights = TemporalWeights(*given[2:])
        out, kept = cuda.forward(*given[:2], weights, scaling, torch.bfloat16, False)
    assert torch.equal(out, expected)
    assert kept is None


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("width", [36, 64])
def test_what_is_kept_is_what_torch_compile_is_told(
    fused: Fused, cuda_on_cpu: Path, scaling: str, width: int
) -> None:
    """Shapes and dtypes of the fake kernel."""
    given = cast(draw((1, 3, 9, width), 10, scaling)[0], torch.bfloat16)
    weights = TemporalWeights(*given[2:])
    with WatchedMemory(cuda_on_cpu, given):
        _, kept = cuda.forward(*given[:2], weights, scaling, torch.bfloat16, True)
    told = cuda.saved_like(given[0], weights, scaling, torch.bfloat16)
    assert [(t.shape, t.dtype) for t in kept] == [(t.shape, t.dtype) for t in told]
    assert len({t.untyped_storage()._cdata for t in kept}) == len(kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "barrier", barriers((*shim_build.CSRC.rglob("*.cu"), *shim_build.CSRC.rglob("*.cuh"))), ids=str
)
def test_no_barrier_can_be_taken_out(
    fused: Fused, cuda_on_cpu: Path, barrier: Barrier, dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    operands, grad = draw((1, 3, 5, 36), 24)
    arguments = (cast(operands, dtype), grad.to(dtype), "after_up")
    expected = fused(*arguments)
    monkeypatch.setenv("PECLIP_SHIM_WITHOUT", str(barrier))

    def same() -> bool:
        found = fused(*arguments)
        return all(torch.equal(found[name], expected[name]) for name in expected)

    check_without(barrier, same)
    assert ctypes.CDLL(str(cuda_on_cpu)).shim_times_left_out() > 0


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_no_size_takes_another_ones_shared_memory(fused: Fused, dtype: torch.dtype) -> None:
    """Of a kernel that two threads launch: the shim refuses a lower limit than there was."""
    for hidden in (104, 5, 160, 24):
        operands, grad = draw((1, 2, 3, 24), hidden)
        fused(cast(operands, dtype), grad.to(dtype), "after_up")
