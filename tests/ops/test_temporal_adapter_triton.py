"""The temporal adapter's Triton kernels against fp64, and their operators."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="triton is not installed")

from peclip_fast.kernels import temporal_adapter_backward
from peclip_fast.ops import backends, temporal_adapter_triton
from peclip_fast.ops.temporal_adapter import SCALINGS, temporal_adapter_reference

NAMES = (
    "x", "residual", "norm_weight", "norm_bias", "scale_weight", "scale_bias", "down_weight",
    "down_bias", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "up_weight", "up_bias",
)  # fmt: skip


@pytest.fixture
def device() -> str:
    if reason := backends.triton_missing():
        pytest.skip(reason)
    return "cuda" if torch.cuda.is_available() else "cpu"


def operands(
    shape: tuple[int, int, int, int], hidden: int, dtype: torch.dtype, seed: int = 0
) -> dict[str, Tensor]:
    """Random operands in fp64 with values that `dtype` holds; the norm and the scales aren't 1."""
    generator = torch.Generator().manual_seed(seed)
    width = shape[-1]

    def draw(*size: int, spread: float = 1.0, middle: float = 0.0) -> Tensor:
        values = torch.randn(*size, generator=generator, dtype=torch.float64) * spread + middle
        return values.to(dtype).double()

    square = (3 * hidden, hidden)
    return {
        "x": draw(*shape),
        "residual": draw(*shape),
        "norm_weight": draw(width, spread=0.2, middle=1.0),
        "norm_bias": draw(width, spread=0.2),
        "scale_weight": draw(1, width, spread=width**-0.5),
        "scale_bias": draw(1, middle=0.5),
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
    tensors: dict[str, Tensor | None],
    scaling: str,
    dtype: torch.dtype,
    device: str = "cpu",
    fused: bool = True,
) -> dict[str, Tensor]:
    """y and the gradient of every operand that isn't None."""
    leaves = {
        name: None if tensors[name] is None else tensors[name].to(device, dtype).requires_grad_()
        for name in NAMES
    }
    x, residual, *weights = leaves.values()
    if fused:
        y = temporal_adapter_triton.run(x, residual, tuple(weights), scaling, dtype)
    else:
        y = temporal_adapter_reference(x, residual, *weights, scaling=scaling)
    given = {name: leaf for name, leaf in leaves.items() if leaf is not None}
    grads = torch.autograd.grad(y, list(given.values()), tensors["dy"].to(device, y.dtype))
    return {"y": y.detach(), **dict(zip(given, grads, strict=True))}


def check_against_fp64(
    tensors: dict[str, Tensor | None], scaling: str, dtype: torch.dtype, device: str
) -> None:
    """Each result at most twice as far from fp64 as eager PyTorch's in the same dtype."""
    if scaling == "none":
        tensors = tensors | {"scale_weight": None, "scale_bias": None}
    exact = run(tensors, scaling, torch.float64, fused=False)
    eager = run(tensors, scaling, dtype, device, fused=False)
    fused = run(tensors, scaling, dtype, device)
    for name, truth in exact.items():
        assert fused[name].shape == truth.shape
        assert fused[name].dtype == eager[name].dtype
        # Eager can be exact by luck, in the one number of scale_bias say: 2 ulp are allowed.
        ulp = torch.finfo(dtype).eps * truth.abs().max().item()
        for norm in (torch.inf, 2):
            theirs, ours = (
                torch.linalg.vector_norm(results[name].cpu().double() - truth, norm).item()
                for results in (eager, fused)
            )
            assert ours <= 2 * theirs + 2 * ulp, (name, norm, ours, theirs)


@pytest.mark.parametrize(
    ("scaling", "dtype"),
    [
        *((scaling, dtype) for scaling in SCALINGS for dtype in (torch.float32, torch.bfloat16)),
        ("after_up", torch.float16),
    ],
    ids=str,
)
def test_against_fp64(scaling: str, dtype: torch.dtype, device: str) -> None:
    check_against_fp64(operands((2, 3, 4, 72), 24, dtype), scaling, dtype, device)


@pytest.mark.parametrize(
    ("shape", "hidden"),
    [
        ((1, 1, 1, 32), 1),  # one frame, one token, one hidden unit
        ((1, 7, 1, 70), 20),  # one sequence, D and h with tails
        ((3, 2, 11, 64), 16),  # more sequences than a program takes
        ((1, 2, 3, 96), 96),  # the paper's h, W_hh not kept
    ],
    ids=str,
)
def test_sizes(shape: tuple[int, int, int, int], hidden: int, device: str) -> None:
    check_against_fp64(operands(shape, hidden, torch.float32), "after_up", torch.float32, device)


def test_widest_hidden(device: str) -> None:
    check_against_fp64(
        operands((1, 2, 2, 32), 192, torch.bfloat16), "after_up", torch.bfloat16, device
    )


def test_without_residual(device: str) -> None:
    tensors = operands((2, 2, 3, 48), 16, torch.float32) | {"residual": None}
    check_against_fp64(tensors, "after_up", torch.float32, device)


def test_large_mean(device: str) -> None:
    """LayerNorm's variance does not cancel when the mean is large beside the spread."""
    tensors = operands((1, 2, 3, 96), 16, torch.float32)
    tensors["x"] = (tensors["x"] + 1000).float().double()
    check_against_fp64(tensors, "after_up", torch.float32, device)


def test_strides(device: str) -> None:
    """Frames or tokens first in memory, slices of wider tensors, another layout for each."""
    tensors = operands((2, 3, 4, 64), 16, torch.float32)
    expected = run(tensors, "after_up", torch.float32, device)
    views = tensors | {
        "x": tensors["x"].transpose(0, 1).contiguous().transpose(0, 1),
        "residual": torch.cat([tensors["residual"]] * 2, -1)[..., 64:],
        "dy": tensors["dy"].permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2),
    }
    assert not any(views[name].is_contiguous() for name in ("x", "residual", "dy"))
    for name, result in run(views, "after_up", torch.float32, device).items():
        assert torch.equal(result, expected[name]), name


def test_clips_do_not_meet(device: str) -> None:
    """A clip's output has the same bits whatever the other clips hold."""
    tensors = operands((2, 3, 4, 64), 16, torch.float32)
    before = run(tensors, "after_up", torch.float32, device)["y"]
    tensors["x"][1] *= 2
    after = run(tensors, "after_up", torch.float32, device)["y"]
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def test_many_groups(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several groups in the sums over rows, the last not full: right, and the same bits twice."""
    monkeypatch.setattr(temporal_adapter_backward, "ROWS_PER_GROUP", 64)
    tensors = operands((2, 3, 25, 32), 16, torch.bfloat16)
    check_against_fp64(tensors, "after_up", torch.bfloat16, device)
    first, second = (run(tensors, "after_up", torch.bfloat16, device) for _ in range(2))
    for name, result in first.items():
        assert torch.equal(result, second[name]), name


def test_no_clips(device: str) -> None:
    results = run(operands((0, 3, 4, 32), 16, torch.float32), "after_up", torch.float32, device)
    assert results["y"].shape == (0, 3, 4, 32)
    assert not any(result.any() for result in results.values())


@pytest.mark.parametrize("scaling", ["after_up", "none"])
def test_opcheck(scaling: str, device: str) -> None:
    tensors = operands((1, 2, 2, 32), 16, torch.float32)
    if scaling == "none":
        tensors |= {"scale_weight": None, "scale_bias": None, "residual": None}
    leaves = [
        None if tensors[name] is None else tensors[name].to(device, torch.float32).requires_grad_()
        for name in NAMES
    ]
    torch.library.opcheck(torch.ops.peclip_fast.temporal_adapter_triton, (*leaves, scaling))
    with torch.no_grad():
        y, *saved = torch.ops.peclip_fast.temporal_adapter_triton(*leaves, scaling)
    x, _, *weights = (None if leaf is None else leaf.detach() for leaf in leaves)
    torch.library.opcheck(
        torch.ops.peclip_fast.temporal_adapter_triton_backward,
        (torch.ones_like(y), x, saved, *weights, scaling),
    )


def test_no_second_derivatives(device: str) -> None:
    tensors = operands((1, 2, 2, 32), 16, torch.float32)
    x, *others = (tensors[name].to(device, torch.float32).requires_grad_() for name in NAMES)
    residual, *weights = others
    y = temporal_adapter_triton.run(x, residual, tuple(weights), "after_up", torch.float32)
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivatives; use backend='reference'"):
        dx.sum().backward()
