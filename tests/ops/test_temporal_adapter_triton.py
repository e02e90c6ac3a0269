"""The temporal adapter's Triton kernels against fp64, and their operator."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable

import pytest
import torch
from helpers.numerics.comparison import ALONE, FLOATS, LAYOUTS, WHOLE
from helpers.numerics.rounding import Results, follow, no_worse_than_rounding
from torch import Tensor

from peclip_fast.ops import temporal_adapter
from peclip_fast.ops.temporal_adapter import SCALINGS

OPS = torch.ops.peclip_fast
NAMES = (
    "x", "residual", "norm_weight", "norm_bias", "scale_weight", "scale_bias", "down_weight",
    "down_bias", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "up_weight", "up_bias",
)  # fmt: skip
Layout = Callable[[Tensor], Tensor]
Shape = tuple[int, int, int, int]


def inputs(
    shape: Shape,
    hidden: int,
    dtype: torch.dtype = torch.float32,
    scaling: str = "after_up",
    residual: bool = True,
    x_mean: float = 0.0,
) -> dict[str, Tensor | None]:
    """Operands and dy in fp64, values that `dtype` holds, drawn anew for each size and dtype."""
    seed = zlib.crc32(repr((shape, hidden, dtype, scaling, residual)).encode())
    generator = torch.Generator().manual_seed(seed)
    width = shape[-1]

    def draw(*size: int, spread: float = 1.0, middle: float = 0.0) -> Tensor:
        values = torch.randn(*size, generator=generator, dtype=torch.float64) * spread + middle
        return values.to(dtype).double()

    square, scaled = (3 * hidden, hidden), scaling != "none"
    return {
        "x": draw(*shape, middle=x_mean),
        "residual": draw(*shape) if residual else None,
        "norm_weight": draw(width, spread=0.2, middle=1.0),
        "norm_bias": draw(width, spread=0.2),
        "scale_weight": draw(1, width, spread=width**-0.5) if scaled else None,
        "scale_bias": draw(1, middle=0.5) if scaled else None,
        "down_weight": draw(hidden, width, spread=width**-0.5),
        "down_bias": draw(hidden, spread=0.3),
        "weight_ih": draw(*square, spread=hidden**-0.5),
        "weight_hh": draw(*square, spread=hidden**-0.5),
        "bias_ih": draw(3 * hidden, spread=0.3),
        "bias_hh": draw(3 * hidden, spread=0.3),
        "up_weight": draw(width, hidden, spread=hidden**-0.5),
        "up_bias": draw(width),
        "dy": draw(*shape),
    }


def run(
    operands: dict[str, Tensor | None],
    backend: str,
    dtype: torch.dtype,
    device: str = "cpu",
    scaling: str = "after_up",
    layouts: dict[str, Layout] | None = None,
) -> Results:
    """y and the gradient of every operand that isn't None; `layouts` say how operands lie."""

    def placed(name: str) -> Tensor | None:
        t = operands[name]
        layout = (layouts or {}).get(name, lambda t: t)
        return None if t is None else layout(t.to(device, dtype)).detach()

    leaves = {name: placed(name) for name in NAMES}
    given = {name: t.requires_grad_() for name, t in leaves.items() if t is not None}
    y = temporal_adapter(**leaves, scaling=scaling, backend=backend)
    grads = torch.autograd.grad(y, list(given.values()), placed("dy"))
    return {"y": y.detach(), **dict(zip(given, grads, strict=True))}


def check_against_fp64(
    shape: Shape,
    hidden: int,
    dtype: torch.dtype,
    device: str,
    scaling: str = "after_up",
    residual: bool = True,
    layouts: dict[str, Layout] | None = None,
    x_mean: float = 0.0,
) -> None:
    operands = inputs(shape, hidden, dtype, scaling, residual, x_mean)
    no_worse_than_rounding(
        run(operands, "triton", dtype, device, scaling, layouts),
        run(operands, "reference", torch.float64, scaling=scaling),
        follow(lambda given: run(given, "reference", dtype, scaling=scaling), operands),
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    ("scaling", "residual"), [*((s, True) for s in SCALINGS), ("after_up", False), ("none", False)]
)
def test_forms(scaling: str, residual: bool, dtype: torch.dtype, triton_device: str) -> None:
    check_against_fp64((2, 2, 3, 40), 8, dtype, triton_device, scaling, residual)


SMALL = [
    ((1, 1, 9, 32), 1),  # one frame, one hidden unit
    ((1, 7, 1, 70), 20),  # one sequence, D and h with tails
    ((3, 2, 11, 64), 16),  # more sequences than a program takes, an odd number of them
]
# The interpreter is slow: there each of the large sizes is in this dtype only.
LARGE = [
    ((1, 17, 3, 36), 10, torch.float32),
    ((1, 2, 5, 257), 17, torch.float32),  # nothing a multiple of anything
    ((1, 16, 3, 48), 48, torch.bfloat16),
    ((1, 2, 8, 96), 96, torch.float16),  # the paper's h, W_hh not kept
    ((1, 2, 3, 16), 160, torch.float32),  # h = 128 + 32
    ((1, 40, 1, 16), 3, torch.float16),
    ((1, 1, 4, 768), 16, torch.bfloat16),
]
# On a GPU only: the same loop more often, and the sizes that the interpreter is too slow for.
LONG = [
    ((1, 64, 1, 32), 8), ((1, 256, 1, 16), 3), ((1, 1, 4, 768), 64), ((1, 2, 3, 16), 192),
]  # fmt: skip
GRID = [(*size, dtype) for size in SMALL for dtype in FLOATS] + (
    [(*size, dtype) for size in (*(size[:2] for size in LARGE), *LONG) for dtype in FLOATS]
    if torch.cuda.is_available()
    else LARGE
)


@pytest.mark.parametrize(("shape", "hidden", "dtype"), GRID, ids=str)
def test_sizes(shape: Shape, hidden: int, dtype: torch.dtype, triton_device: str) -> None:
    check_against_fp64(shape, hidden, dtype, triton_device)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_whether_the_weights_stay_or_not(
    dtype: torch.dtype, triton_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W_hh kept on the chip and read for every frame: the GPU's memory decides."""
    for stays in (True, False):
        for room in ("temporal_adapter", "temporal_adapter_backward"):
            monkeypatch.setattr(
                f"peclip_fast.kernels.{room}.resident", lambda *_, stays=stays: stays
            )
        check_against_fp64((1, 3, 17, 32), 24, dtype, triton_device)


def test_large_mean(triton_device: str) -> None:
    """LayerNorm's variance does not cancel when the mean is large beside the spread."""
    check_against_fp64((1, 2, 3, 96), 16, torch.float32, triton_device, x_mean=1000.0)


def test_saturated_gates(triton_device: str) -> None:
    """Gates far beyond where their exponentials overflow are 0 and 1, not NaN."""
    operands = inputs((1, 4, 2, 32), 16)
    for name in ("weight_ih", "weight_hh"):
        operands[name] *= 1e4
    expected = run(operands, "reference", torch.float32, triton_device)
    for name, result in run(operands, "triton", torch.float32, triton_device).items():
        torch.testing.assert_close(result, expected[name], rtol=1e-3, atol=1e-3, msg=name)


@pytest.mark.parametrize("first", range(len(LAYOUTS)))
def test_layouts(first: int, triton_device: str) -> None:
    """Every layout of every operand, each beside others."""
    ways = list(LAYOUTS.values())
    names = (
        "x", "residual", "dy", "down_weight", "weight_ih", "weight_hh", "up_weight",
        "scale_weight",
    )  # fmt: skip
    layouts = {name: ways[(first + i) % len(ways)] for i, name in enumerate(names)}
    shape = (2, 3, 4, 40)
    assert not any(layouts[name](torch.zeros(shape)).is_contiguous() for name in names[:3])
    check_against_fp64(shape, 16, torch.float32, triton_device, layouts=layouts)


def test_frames_first(triton_device: str) -> None:
    """(T, B, L, D) in memory, and strides of 0 as the gradient of a sum has them: the same bits."""
    operands = inputs((2, 3, 4, 40), 16)
    operands["dy"] = torch.ones((), dtype=torch.float64).expand(2, 3, 4, 40)
    plain = run(operands, "triton", torch.float32, triton_device, layouts={"dy": torch.clone})

    def frames_first(t: Tensor) -> Tensor:
        return t.transpose(0, 1).contiguous().transpose(0, 1)

    layouts = {
        "x": frames_first,
        "residual": frames_first,
        "dy": lambda t: t[0, 0, 0, 0].expand(2, 3, 4, 40),
    }
    for name, result in run(
        operands, "triton", torch.float32, triton_device, layouts=layouts
    ).items():
        assert torch.equal(result, plain[name]), name


def test_clips_do_not_meet(triton_device: str) -> None:
    """A clip's output has the same bits whatever the other clips hold."""
    operands = inputs((2, 3, 4, 64), 16)
    before = run(operands, "triton", torch.float32, triton_device)
    operands["x"][1] *= 2
    after = run(operands, "triton", torch.float32, triton_device)
    for name in ("y", "x"):
        assert torch.equal(before[name][0], after[name][0])
        assert not torch.equal(before[name][1], after[name][1])


def test_many_groups(triton_device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several groups in the sums over rows, the last not full: right, and the same bits twice."""
    monkeypatch.setattr("peclip_fast.kernels.temporal_adapter_weights.ROWS_PER_GROUP", 16)
    shape = (2, 3, 7, 32)
    check_against_fp64(shape, 16, torch.bfloat16, triton_device)
    operands = inputs(shape, 16, torch.bfloat16)
    first, second = (run(operands, "triton", torch.bfloat16, triton_device) for _ in range(2))
    for name, result in first.items():
        assert torch.equal(result, second[name]), name


@pytest.mark.parametrize("shape", [(0, 3, 4, 32), (2, 3, 0, 32)])
def test_no_sequences(shape: Shape, triton_device: str) -> None:
    results = run(inputs(shape, 16), "triton", torch.float32, triton_device)
    assert results["y"].shape == shape
    assert not any(result.any() for result in results.values())


@pytest.mark.parametrize(
    ("x_dtype", "residual_dtype", "dtype"),
    [
        (torch.float32, torch.float32, torch.bfloat16),
        (torch.bfloat16, torch.float32, torch.bfloat16),
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.float32, torch.float16),
    ],
    ids=str,
)
def test_autocast(
    x_dtype: torch.dtype, residual_dtype: torch.dtype, dtype: torch.dtype, triton_device: str
) -> None:
    """Products in autocast's dtype, the sums in their own, gradients in the weights' fp32."""
    shape = (2, 3, 4, 48)
    kinds = {**dict.fromkeys(NAMES, torch.float32), "x": x_dtype, "residual": residual_dtype}

    def results(operands: dict[str, Tensor | None], backend: str) -> Results:
        leaves = {
            name: operands[name].to(triton_device, kind).requires_grad_()
            for name, kind in kinds.items()
        }
        with torch.autocast(triton_device, dtype):
            y = temporal_adapter(**leaves, backend=backend)
        assert y.dtype == torch.promote_types(x_dtype, residual_dtype)
        dy = operands["dy"].to(triton_device, y.dtype)
        grads = torch.autograd.grad(y, list(leaves.values()), dy)
        return {"y": y.detach(), **dict(zip(leaves, grads, strict=True))}

    operands = inputs(shape, 16, torch.bfloat16)
    no_worse_than_rounding(
        results(operands, "triton"),
        run(operands, "reference", torch.float64),
        follow(lambda given: results(given, "reference"), operands),
    )


@pytest.mark.parametrize(
    ("scaling", "dynamic", "autocast"),
    [("after_up", False, False), ("after_up", True, False), ("none", False, True)],
)
def test_compiles_without_breaks(
    scaling: str, dynamic: bool, autocast: bool, triton_device: str
) -> None:
    operands = inputs((1, 3, 4, 32), 16, scaling=scaling)
    leaves = {
        name: None if operands[name] is None else operands[name].to(triton_device, torch.float32)
        for name in NAMES
    }
    given = [t.requires_grad_() for t in leaves.values() if t is not None]

    def call(leaves: dict[str, Tensor | None]) -> Tensor:
        with torch.autocast(triton_device, torch.bfloat16, enabled=autocast):
            return temporal_adapter(**leaves, scaling=scaling, backend="triton").sin()

    def results(function: Callable[..., Tensor]) -> list[Tensor]:
        y = function(leaves)
        return [y, *torch.autograd.grad(y, given, operands["dy"].to(triton_device, y.dtype))]

    torch.compiler.reset()
    compiled = torch.compile(call, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for a, b in zip(results(compiled), results(call), strict=True):
        assert torch.equal(a, b)


# Scalings, mixes of dtypes that autocast brings about, and residuals: every pair of values of the
# four, and every dtype for all.
KINDS = [
    (
        scaling,
        FLOATS[i],
        FLOATS[i if j == 3 else -(i + j) % 3],
        (FLOATS[i], None, torch.float32)[(j - i) % 3],
    )
    for (j, scaling), i in itertools.product(enumerate(SCALINGS), range(3))
]
# Compiled too, forward and backward: a kind of each scaling, which have all dtypes and residuals.
COMPILED = [KINDS[3 * j + i] for j, i in enumerate((1, 0, 2, 1))]


@pytest.mark.parametrize(("scaling", "x_dtype", "dtype", "residual"), KINDS, ids=str)
def test_opcheck(
    scaling: str,
    x_dtype: torch.dtype,
    dtype: torch.dtype,
    residual: torch.dtype | None,
    triton_device: str,
) -> None:
    operands = inputs((1, 2, 2, 16), 3, scaling=scaling, residual=residual is not None)
    weights = torch.float32 if x_dtype != dtype else dtype  # under autocast, not cast yet
    kinds = {**dict.fromkeys(NAMES, weights), "x": x_dtype, "residual": residual}
    leaves = [
        None if operands[name] is None else operands[name].to(triton_device, kind).requires_grad_()
        for name, kind in kinds.items()
    ]
    tests = WHOLE if (scaling, x_dtype, dtype, residual) in COMPILED else ALONE
    arguments = (*leaves, scaling, dtype, True)
    torch.library.opcheck(OPS.temporal_adapter_triton, arguments, test_utils=tests)
    with torch.no_grad():
        arguments = (*leaves, scaling, dtype)
        torch.library.opcheck(OPS.temporal_adapter_triton, (*arguments, False), test_utils=ALONE)
        y, *kept = OPS.temporal_adapter_triton(*arguments, True)
    x, _, *weights = (None if leaf is None else leaf.detach() for leaf in leaves)
    torch.library.opcheck(
        OPS.temporal_adapter_triton_backward,
        (torch.ones_like(y), x, *kept, *weights, scaling, dtype),
        test_utils=ALONE,
    )


def test_no_second_derivatives(triton_device: str) -> None:
    operands = inputs((1, 2, 2, 32), 16)
    leaves = [operands[name].to(triton_device, torch.float32).requires_grad_() for name in NAMES]
    y = temporal_adapter(*leaves, backend="triton")
    given = [leaf for name, leaf in zip(NAMES, leaves, strict=True) if name != "residual"]
    for dleaf in torch.autograd.grad(y.square().sum(), given, create_graph=True):
        with pytest.raises(NotImplementedError, match="triton backend has no second derivatives"):
            dleaf.sum().backward(retain_graph=True)


def test_no_forward_mode(triton_device: str) -> None:
    """A tangent on any operand is refused, by the context manager and by torch.func."""
    operands = inputs((1, 2, 2, 32), 16)
    leaves = {name: operands[name].to(triton_device, torch.float32) for name in NAMES}
    for name, t in leaves.items():

        def call(t: Tensor, name: str = name) -> Tensor:
            return temporal_adapter(**{**leaves, name: t}, backend="triton")

        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(t, t)
            with pytest.raises(NotImplementedError, match="no forward-mode derivatives"):
                call(dual)
        with pytest.raises(NotImplementedError, match="no forward-mode derivatives"):
            torch.func.jvp(call, (t,), (t,))
