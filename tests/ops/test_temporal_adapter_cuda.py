"""The temporal adapter's CUDA kernels on a GPU. tests/csrc runs the same sources without one."""

from __future__ import annotations

import pytest
import torch
from helpers.numerics.rounding import follow, no_worse_than_rounding
from helpers.numerics.temporal_adapter_cases import inputs, named, nn_gru, run
from torch import Tensor

from peclip_fast.ops import temporal_adapter
from peclip_fast.ops.temporal_adapter import SCALINGS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
PAPER = (2, 16, 199, 768)
SIZES = [
    ((2, 1, 5, 130), 13),
    ((2, 3, 17, 130), 13),
    ((1, 17, 33, 96), 24),
    ((1, 256, 5, 64), 48),
    (PAPER, 96),
    (PAPER, 48),
    ((1, 16, 199, 768), 192),
    ((1, 16, 50, 1024), 128),
]


def on_gpu(operands: list[Tensor | None], grad: Tensor) -> tuple[list[Tensor | None], Tensor]:
    return [None if t is None else t.cuda() for t in operands], grad.cuda()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(("shape", "hidden"), SIZES, ids=str)
def test_cuda_against_fp64(
    shape: tuple[int, int, int, int], hidden: int, scaling: str, dtype: torch.dtype
) -> None:
    operands, grad = on_gpu(*inputs(shape, hidden, dtype, scaling))
    no_worse_than_rounding(
        named(run(operands, grad, "cuda", dtype, scaling)),
        named(run(operands, grad, "reference", torch.float64, scaling)),
        follow(
            lambda given: named(run(given[:-1], given[-1], "reference", dtype, scaling)),
            [*operands, grad],
        ),
    )


def test_cuda_equals_cudnn_gru() -> None:
    operands, _ = inputs((2, 16, 20, 768), 96)
    tensors = [t.float().cuda() for t in operands]
    found = temporal_adapter(*tensors, backend="cuda")
    assert torch.allclose(found, nn_gru(tensors), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cuda_bits_repeat_and_do_not_depend_on_strides(dtype: torch.dtype) -> None:
    operands, grad = on_gpu(*inputs(PAPER, 96, dtype))
    first = run(operands, grad, "cuda", dtype, "after_up")
    for _ in range(3):
        again = run(operands, grad, "cuda", dtype, "after_up")
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    x, residual, *weights = [t.to(dtype) for t in operands]
    swapped = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (x, residual)]
    assert torch.equal(temporal_adapter(*swapped, *weights, backend="cuda"), first[0])
    # Rows that start on no 16 bytes take the kernels' other way.
    odd = [torch.nn.functional.pad(t, (1, 0))[..., 1:] for t in (x, residual)]
    assert torch.equal(temporal_adapter(*odd, *weights, backend="cuda"), first[0])


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cuda_opcheck(scaling: str, dtype: torch.dtype) -> None:
    operands, _ = inputs((2, 3, 5, 32), 8, dtype, scaling)
    leaves = [None if t is None else t.to("cuda", dtype).requires_grad_() for t in operands]
    torch.library.opcheck(
        torch.ops.peclip_fast.temporal_adapter_cuda, (*leaves, scaling, dtype, True)
    )


@pytest.mark.parametrize("stream", [torch.float32, torch.bfloat16], ids=str)
def test_cuda_autocast(stream: torch.dtype) -> None:
    operands, _ = inputs((2, 16, 20, 768), 96)
    x, residual, *weights = [t.float().cuda() for t in operands]
    leaves = [t.requires_grad_() for t in (x.to(stream), residual, *weights)]
    results = []
    for backend in ("cuda", "reference"):
        with torch.autocast("cuda", torch.bfloat16):
            y = temporal_adapter(*leaves, backend=backend)
        results.append([y, *torch.autograd.grad(y.float().square().mean(), leaves)])
    assert results[0][0].dtype == torch.float32
    for a, b in zip(*results, strict=True):
        assert (a.float() - b.float()).abs().max() <= 0.05 * b.float().abs().max()


def test_cuda_compiles_without_graph_breaks() -> None:
    operands, _ = inputs((2, 3, 5, 32), 8)
    leaves = [t.float().cuda().requires_grad_() for t in operands]

    def loss(*tensors: Tensor) -> Tensor:
        return temporal_adapter(*tensors, backend="cuda").square().sum()

    expected = torch.autograd.grad(loss(*leaves), leaves)
    found = torch.autograd.grad(torch.compile(loss, fullgraph=True)(*leaves), leaves)
    assert all(torch.allclose(a, b, rtol=1e-5) for a, b in zip(expected, found, strict=True))


def test_cuda_graph_of_a_training_step() -> None:
    """Captured once and replayed on other inputs, it trains as without a graph."""
    operands, _ = inputs((2, 16, 20, 128), 24)
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(2, 16, 20, 128, generator=generator).cuda() for _ in range(4)]

    def train(captured: bool) -> list[Tensor]:
        weights = [t.float().cuda().requires_grad_() for t in operands[2:]]
        optimizer = torch.optim.SGD(weights, lr=1e-3)
        x = batches[0].clone()

        def step() -> None:
            y = temporal_adapter(x, x, *weights, backend="cuda")
            y.square().mean().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        if captured:
            with torch.cuda.graph(graph):
                step()
        for batch in batches:
            x.copy_(batch)
            graph.replay() if captured else step()
        return [w.detach() for w in weights]

    for a, b in zip(train(captured=True), train(captured=False), strict=True):
        assert torch.equal(a, b)


def test_cuda_saves_nothing_without_gradients() -> None:
    operands, _ = inputs(PAPER, 96)
    tensors = [t.to("cuda", torch.bfloat16) for t in operands]
    temporal_adapter(*tensors, backend="cuda")
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    y = temporal_adapter(*tensors, backend="cuda")
    torch.cuda.synchronize()
    # The output, d and the states (an eighth each), and the packed weights.
    assert torch.cuda.max_memory_allocated() - before < 1.3 * y.nbytes + 2**21
