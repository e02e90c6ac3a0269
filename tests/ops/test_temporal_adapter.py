"""The temporal adapter: the reference, the compiled kernels against fp64, the operator itself."""

from __future__ import annotations

import pytest
import torch
from helpers.numerics.rounding import follow, no_worse_than_rounding
from helpers.numerics.temporal_adapter_cases import inputs, named, nn_gru, run
from torch import Tensor, nn

from peclip_fast.errors import InputError
from peclip_fast.ops import extension, temporal_adapter
from peclip_fast.ops.temporal_adapter import SCALINGS, TemporalWeights, gru_weights, gru_with
from peclip_fast.ops.temporal_adapter import cpu_kernels as kernels

needs_extension = pytest.mark.skipif(
    extension.missing() is not None, reason="the extension is not built here"
)


@pytest.mark.parametrize("frames", [1, 3, 16])
def test_reference_equals_nn_gru(frames: int) -> None:
    operands, _ = inputs((2, frames, 3, 20), 5)
    expected = nn_gru(operands)
    found = temporal_adapter(*operands, backend="reference")
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_weights_go_to_nn_gru_and_back() -> None:
    weights = inputs((1, 1, 1, 8), 5)[0][8:12]
    gru = gru_with(*weights)
    assert all(torch.equal(a, b) for a, b in zip(gru_weights(gru), weights, strict=True))
    assert gru_weights(gru)[1] is gru.weight_hh_l0
    assert gru.weight_hh_l0.data_ptr() != weights[1].data_ptr()


@pytest.mark.parametrize(
    "gru",
    [nn.GRU(4, 5), nn.GRU(4, 4, 2), nn.GRU(4, 4, bidirectional=True), nn.GRU(4, 4, bias=False)],
    ids=str,
)
def test_another_gru_is_refused(gru: nn.GRU) -> None:
    with pytest.raises(InputError, match=r"expected nn\.GRU"):
        gru_weights(gru)


@needs_extension
def test_kernels_equal_nn_gru() -> None:
    operands, _ = inputs((2, 16, 5, 64), 24)
    operands32 = [t.float() for t in operands]
    found = temporal_adapter(*operands32, backend="cpu")
    assert torch.allclose(found, nn_gru(operands32), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("residual", [True, False])
def test_gradcheck_of_the_reference(scaling: str, residual: bool) -> None:
    operands, _ = inputs((1, 3, 2, 6), 3, torch.float64, scaling)
    if not residual:
        operands[1] = None
    given = [t for t in operands if t is not None]
    for t in given:
        t.requires_grad_()

    def function(*tensors: Tensor) -> Tensor:
        rest = iter(tensors)
        full = [None if t is None else next(rest) for t in operands]
        return temporal_adapter(*full, scaling=scaling, backend="reference")

    assert torch.autograd.gradcheck(function, given)


SIZES = [
    ((2, 1, 5, 130), 13),
    ((2, 3, 17, 130), 13),
    ((2, 16, 20, 64), 8),
    ((1, 17, 33, 96), 24),
    ((3, 4, 7, 768), 96),
]


@needs_extension
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(("shape", "hidden"), SIZES, ids=str)
def test_cpu_against_fp64(
    shape: tuple[int, int, int, int], hidden: int, scaling: str, dtype: torch.dtype
) -> None:
    operands, grad = inputs(shape, hidden, dtype, scaling)
    no_worse_than_rounding(
        named(run(operands, grad, "cpu", dtype, scaling)),
        named(run(operands, grad, "reference", torch.float64, scaling)),
        follow(
            lambda given: named(run(given[:-1], given[-1], "reference", dtype, scaling)),
            [*operands, grad],
        ),
    )


@needs_extension
def test_large_numbers_saturate_and_nan_stays() -> None:
    operands, _ = inputs((1, 4, 2, 32), 16)
    operands = [t.float() for t in operands]
    operands[9] *= 1e4  # W_hh: gates far beyond where their exponentials overflow
    operands[8] *= 1e4
    expected = temporal_adapter(*operands, backend="reference")
    assert torch.allclose(temporal_adapter(*operands, backend="cpu"), expected, atol=1e-4)
    operands[0][0, 1, 0] = float("nan")
    assert torch.equal(
        temporal_adapter(*operands, backend="cpu").isnan(),
        temporal_adapter(*operands, backend="reference").isnan(),
    )


def _views(x: Tensor) -> dict[str, Tensor]:
    wide = torch.zeros(*x.shape[:3], 2 * x.shape[3])
    wide[..., ::2] = x
    return {
        "tokens first": x.transpose(1, 2).contiguous().transpose(1, 2),
        "slice": torch.cat([x, x], 2)[:, :, : x.shape[2]],
        "every other": wide[..., ::2],
    }


@needs_extension
@pytest.mark.parametrize("layout", ["tokens first", "slice", "every other"])
def test_any_strides_give_the_same_bits(layout: str) -> None:
    operands, grad = inputs((2, 3, 17, 130), 13)
    x, residual, *weights = [t.float() for t in operands]
    expected = run([x, residual, *weights], grad, "cpu", torch.float32, "after_up")
    x, residual, strided = (_views(t.float())[layout] for t in (x, residual, grad))
    assert not x.is_contiguous()
    leaves = [t.requires_grad_() for t in (x, residual, *weights)]
    y = temporal_adapter(*leaves, backend="cpu")
    found = [y.detach(), *torch.autograd.grad(y, leaves, strided)]
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@needs_extension
def test_bits_repeat_and_do_not_depend_on_neighbours() -> None:
    operands, grad = inputs((3, 16, 40, 96), 24)
    first = run(operands, grad, "cpu", torch.float32, "after_up")
    again = run(operands, grad, "cpu", torch.float32, "after_up")
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = [operands[0].clone(), *operands[1:]]
    other[0][1:] = 7.0
    changed = run(other, grad, "cpu", torch.float32, "after_up")
    assert torch.equal(first[0][0], changed[0][0])
    assert torch.equal(first[1][0], changed[1][0])


@needs_extension
def test_kernels_give_the_same_bits_at_any_number_of_threads() -> None:
    """Of the C++ kernels: PyTorch's products are repeatable at one number of threads only."""
    generator = torch.Generator().manual_seed(0)
    gates, grad, weight, bias = (
        torch.randn(size, generator=generator)
        for size in ((2, 5, 77, 60), (2, 5, 77, 20), (60, 20), (60,))
    )
    s = torch.rand(2, 5, 77, generator=generator)
    x, dz = torch.randn(2, 2, 5, 77, 33, generator=generator).unbind(0)
    norm_weight, norm_bias, up_bias = torch.randn(3, 33, generator=generator).unbind(0)
    absent = dict.fromkeys(TemporalWeights._fields)
    weights = TemporalWeights(
        **{**absent, "norm_weight": norm_weight, "norm_bias": norm_bias, "up_bias": up_bias}
    )
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            states, activated = kernels.recurrence(gates, weight, bias, s, "after_up")
            back = kernels.recurrence_backward(
                grad, gates, states, gates, states, weight, bias, s, "after_up"
            )
            z, _, mean, rstd, base = kernels.down(x, None, weights, False, torch.float32)
            down_back = kernels.down_backward(dz.clone(), None, x, x, mean, rstd, s, weights, False)
            results.append([states, activated, *back, z, base, *down_back])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@needs_extension
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_opcheck(scaling: str, dtype: torch.dtype) -> None:
    operands, grad = inputs((2, 3, 5, 32), 8, dtype, scaling)
    leaves = [None if t is None else t.to(dtype).requires_grad_() for t in operands]
    forward = torch.ops.peclip_fast.temporal_adapter_cpu
    torch.library.opcheck(forward, (*leaves, scaling, dtype, True))
    with torch.no_grad():
        torch.library.opcheck(forward, (*leaves, scaling, dtype, False))
        _, *saved = forward(*leaves, scaling, dtype, True)
        weights = [None if t is None else t.detach() for t in leaves[2:]]
        arguments = (grad.to(dtype), leaves[0].detach(), *saved, *weights, scaling, dtype)
    torch.library.opcheck(
        torch.ops.peclip_fast.temporal_adapter_cpu_backward,
        arguments,
        test_utils=("test_schema", "test_faketensor"),
    )


@needs_extension
@pytest.mark.parametrize("x_dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("stream", [torch.float32, torch.bfloat16], ids=str)
def test_autocast(x_dtype: torch.dtype, stream: torch.dtype) -> None:
    """Products in bfloat16, the residual stream in its own dtype, gradients in the weights'."""
    operands, _ = inputs((2, 3, 5, 64), 8)
    x, residual, *weights = [t.float() for t in operands]
    leaves = [x.to(x_dtype), residual.to(stream), *weights]
    leaves = [t.requires_grad_() for t in leaves]
    results = []
    for backend in ("cpu", "reference"):
        with torch.autocast("cpu", torch.bfloat16):
            y = temporal_adapter(*leaves, backend=backend)
        grads = torch.autograd.grad(y.float().square().mean(), leaves)
        assert all(g.dtype == t.dtype for g, t in zip(grads, leaves, strict=True))
        results.append([y, *grads])
    assert results[0][0].dtype == results[1][0].dtype == torch.promote_types(x_dtype, stream)
    for a, b in zip(*results, strict=True):
        scale = b.float().abs().max()
        assert (a.float() - b.float()).abs().max() <= 0.05 * scale


@needs_extension
def test_compiles_without_graph_breaks() -> None:
    operands, _ = inputs((2, 3, 5, 32), 8)
    leaves = [t.float().requires_grad_() for t in operands]

    def loss(*tensors: Tensor) -> Tensor:
        return temporal_adapter(*tensors, backend="cpu").square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    expected = torch.autograd.grad(loss(*leaves), leaves)
    found = torch.autograd.grad(compiled(*leaves), leaves)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@needs_extension
def test_second_derivatives_are_refused() -> None:
    operands, _ = inputs((1, 2, 3, 16), 4)
    leaves = [t.float().requires_grad_() for t in operands]
    y = temporal_adapter(*leaves, backend="cpu")
    (dx,) = torch.autograd.grad(y.square().sum(), leaves[0], create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        torch.autograd.grad(dx.sum(), leaves[0])


@needs_extension
def test_auto_takes_the_cpu_kernels() -> None:
    operands, grad = inputs((1, 3, 5, 32), 8)
    auto = run(operands, grad, "auto", torch.float32, "after_up")
    named = run(operands, grad, "cpu", torch.float32, "after_up")
    assert all(torch.equal(a, b) for a, b in zip(auto, named, strict=True))


def test_cuda_by_name_says_why_it_does_not_run() -> None:
    operands, _ = inputs((1, 2, 3, 16), 4)
    with pytest.raises(InputError, match="backend 'cuda' can't run temporal_adapter: "):
        temporal_adapter(*(t.float() for t in operands), backend="cuda")


@pytest.mark.parametrize(
    ("index", "change", "message"),
    [
        (0, lambda t: t[0], r"x has shape \(2, 3, 16\), expected \(B, T, L, D\)"),
        (1, lambda t: t[:, :1], r"residual has shape \(1, 1, 3, 16\), expected x's"),
        (2, lambda t: t[1:], r"norm_weight has shape \(15,\), expected \(16,\)"),
        (4, lambda t: None, r"scale_weight has shape None, expected \(1, 16\)"),
        (8, lambda t: t[1:], r"weight_ih has shape \(11, 4\), expected \(12, 4\)"),
    ],
)
def test_wrong_shapes_name_the_tensor(index: int, change: object, message: str) -> None:
    operands, _ = inputs((1, 2, 3, 16), 4)
    operands[index] = change(operands[index])
    with pytest.raises(InputError, match=f"temporal_adapter: {message}"):
        temporal_adapter(*operands)


def test_wrong_kinds_are_refused() -> None:
    operands, _ = inputs((1, 2, 3, 16), 4)
    with pytest.raises(InputError, match="scaling 'both' is not one of none, input, recurrence"):
        temporal_adapter(*operands, scaling="both")
    if extension.missing() is None:
        mixed = [t.float() for t in operands]
        mixed[6] = mixed[6].bfloat16()
        with pytest.raises(InputError, match=r"down_weight is torch.bfloat16, expected x's"):
            temporal_adapter(*mixed, backend="cpu")


@needs_extension
def test_no_sequences_and_one_frame() -> None:
    operands, grad = inputs((1, 1, 3, 16), 4)
    empty = [t[:, :, :0] for t in operands[:2]] + operands[2:]
    found = run(empty, grad[:, :, :0], "cpu", torch.float32, "after_up")
    assert found[0].shape == (1, 1, 0, 16)
    assert all(not g.any() for g in found[3:])
