"""The bottleneck adapter against fp64, and the operator around its kernels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from peclip_fast.errors import InputError
from peclip_fast.ops import backends, bottleneck_adapter

OP = torch.ops.peclip_fast.bottleneck_adapter_triton
NAMES = ("y", "dx", "d down_weight", "d down_bias", "d up_weight", "d up_bias", "d residual")


def place(backend: str) -> str:
    """The device a backend is tested on: the GPU, or the CPU with Triton's interpreter."""
    if backend == "reference":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if reason := backends.triton_missing():
        pytest.skip(reason)
    return "cpu"


def inputs(
    shape: tuple[int, ...], hidden: int, dtype: torch.dtype, residual: bool = True, seed: int = 0
) -> tuple[list[Tensor | None], Tensor]:
    """Random operands in fp64 with values that `dtype` holds, and an output gradient."""
    generator = torch.Generator().manual_seed(seed)
    width = shape[-1]

    def draw(*size: int, spread: float = 1.0) -> Tensor:
        values = torch.randn(*size, generator=generator, dtype=torch.float64) * spread
        return values.to(dtype).double()

    operands = [
        draw(*shape),
        draw(hidden, width, spread=width**-0.5),
        draw(hidden),
        draw(width, hidden, spread=hidden**-0.5),
        draw(width),
        draw(*shape) if residual else None,
    ]
    return operands, draw(*shape)


def run(
    operands: list[Tensor | None],
    grad: Tensor,
    backend: str,
    dtype: torch.dtype,
    device: str = "cpu",
    **form: object,
) -> list[Tensor]:
    """y and the gradients of every operand that isn't None."""
    leaves = [None if t is None else t.to(device, dtype).requires_grad_() for t in operands]
    y = bottleneck_adapter(*leaves, backend=backend, **form)
    grads = torch.autograd.grad(y, [t for t in leaves if t is not None], grad.to(device, y.dtype))
    return [y.detach(), *grads]


def check_against_fp64(
    operands: list[Tensor | None], grad: Tensor, dtype: torch.dtype, **form: object
) -> None:
    """Each result at most twice as far from fp64 as eager PyTorch's in the same dtype."""
    device = place("triton")
    exact = run(operands, grad, "reference", torch.float64, **form)
    eager = run(operands, grad, "reference", dtype, device, **form)
    fused = run(operands, grad, "triton", dtype, device, **form)
    for name, truth, theirs, ours in zip(NAMES, exact, eager, fused, strict=False):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        # Eager can be exact by luck in a tensor (or copy, as for the residual): one ulp is allowed.
        ulp = torch.finfo(dtype).eps * truth.abs().max().item()
        for norm in (torch.inf, 2):
            allowed = 2 * torch.linalg.vector_norm(theirs.cpu().double() - truth, norm).item()
            error = torch.linalg.vector_norm(ours.cpu().double() - truth, norm).item()
            assert error <= allowed + ulp, (name, norm, error, allowed)


DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("shape", "hidden"),
    [
        ((2, 19, 128), 16),  # D a multiple of every block
        ((3, 3, 5, 136), 96),  # odd rows, a tail in D, h = 64 + 32
        ((70, 96), 48),  # h = 32 + 16, more rows than one block
        ((33, 130), 17),  # nothing a multiple of anything
        ((1, 64), 3),  # one row, h under the smallest tile
    ],
    ids=str,
)
def test_triton_against_fp64(shape: tuple[int, ...], hidden: int, dtype: torch.dtype) -> None:
    check_against_fp64(*inputs(shape, hidden, dtype), dtype, scale=0.7)


@pytest.mark.parametrize(
    ("hidden", "dtype"), [(192, torch.bfloat16), (320, torch.bfloat16), (320, torch.float32)]
)
def test_triton_wide_hidden(hidden: int, dtype: torch.dtype) -> None:
    check_against_fp64(*inputs((18, 80), hidden, dtype), dtype)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_triton_forms(skip: bool, residual: bool, scale: float) -> None:
    """Every form of the equation that the ablations and FineCLIPER use."""
    operands, grad = inputs((37, 128), 24, torch.float32, residual)
    check_against_fp64(operands, grad, torch.float32, skip=skip, scale=scale)


def test_triton_many_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than one group of the split reduction takes, the last group not full."""
    monkeypatch.setattr("peclip_fast.kernels.bottleneck_adapter.ROWS_PER_GROUP", 64)
    operands, grad = inputs((300, 64), 16, torch.float32)
    check_against_fp64(operands, grad, torch.float32)


@pytest.mark.parametrize(
    "view",
    [
        lambda t: t.transpose(0, 1),  # the token axis first
        lambda t: t[:, ::2],  # rows left out
        lambda t: t[..., :64],  # a slice of a wider tensor
        lambda t: t.repeat_interleave(2, -1)[..., ::2],  # strided columns
        lambda t: t[:1].expand(3, -1, -1),  # rows repeated
    ],
    ids=["transposed", "rows", "columns", "strided", "expanded"],
)
def test_triton_strides(view: object) -> None:
    device = place("triton")
    generator = torch.Generator().manual_seed(1)
    x, residual, grad = (
        view(torch.randn(3, 10, 96, generator=generator, dtype=torch.float64)) for _ in range(3)
    )
    width = x.shape[-1]
    operands, _ = inputs((1, width), 24, torch.float32)
    weights = operands[1:5]
    exact = run([x, *weights, residual], grad, "reference", torch.float64)
    fused = run([x, *weights, residual], grad, "triton", torch.float32, device)
    for name, truth, ours in zip(NAMES, exact, fused, strict=True):
        torch.testing.assert_close(ours.cpu().double(), truth, rtol=1e-5, atol=2e-5, msg=name)


def test_triton_repeats_bitwise(monkeypatch: pytest.MonkeyPatch) -> None:
    device = place("triton")
    monkeypatch.setattr("peclip_fast.kernels.bottleneck_adapter.ROWS_PER_GROUP", 64)
    operands, grad = inputs((200, 72), 20, torch.bfloat16)
    first, second = (run(operands, grad, "triton", torch.bfloat16, device) for _ in range(2))
    for name, a, b in zip(NAMES, first, second, strict=True):
        assert torch.equal(a, b), name


def test_rows_do_not_meet() -> None:
    """A row's result has the same bits whatever the other rows of its block hold."""
    device = place("triton")
    operands, grad = inputs((40, 96), 24, torch.float32)
    y, dx = run(operands, grad, "triton", torch.float32, device)[:2]
    operands[0][1:] *= 3
    other_y, other_dx = run(operands, grad, "triton", torch.float32, device)[:2]
    assert torch.equal(y[0], other_y[0])
    assert torch.equal(dx[0], other_dx[0])
    assert not torch.equal(y[1], other_y[1])


def test_no_rows() -> None:
    device = place("triton")
    operands, grad = inputs((0, 4, 64), 16, torch.float32)
    results = run(operands, grad, "triton", torch.float32, device)
    assert results[0].shape == (0, 4, 64)
    assert all(not t.any() for t in results)


@pytest.mark.parametrize("x_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_as_linear(x_dtype: torch.dtype) -> None:
    """Products in autocast's dtype, the sums in their own, as PyTorch does for the reference."""
    device = place("triton")
    operands, grad = inputs((21, 96), 24, torch.bfloat16)
    exact = run(operands, grad, "reference", torch.float64)
    x, *others = (t.to(device, torch.float32).requires_grad_() for t in operands)
    leaves = [x.detach().to(x_dtype).requires_grad_(), *others]
    results = []
    for backend in ("reference", "triton"):
        with torch.autocast(device, torch.bfloat16):
            y = bottleneck_adapter(*leaves, backend=backend)
        results.append([y, *torch.autograd.grad(y, leaves, grad.to(device, y.dtype))])
    assert results[0][0].dtype == torch.float32
    for name, truth, theirs, ours in zip(NAMES, exact, *results, strict=True):
        assert ours.dtype == theirs.dtype
        allowed, error = (t.cpu().double().sub(truth).norm().item() for t in (theirs, ours))
        assert error <= 2 * allowed + 1e-6, (name, error, allowed)
    with torch.autocast(device, torch.bfloat16):
        y = bottleneck_adapter(leaves[0], *others[:4], skip=False, backend="triton")
    assert y.dtype == torch.bfloat16


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("backend", ["auto", "triton"])
def test_compiles_without_breaks(backend: str, dynamic: bool) -> None:
    device = place("triton") if backend == "triton" else "cpu"
    operands, grad = inputs((6, 5, 96), 24, torch.float32)
    leaves = [t.to(device, torch.float32).requires_grad_() for t in operands]

    def call(*tensors: Tensor) -> Tensor:
        return bottleneck_adapter(*tensors, backend=backend, scale=0.5).sin()

    torch.compiler.reset()
    compiled = torch.compile(call, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for function in (call, compiled):
        y = function(*leaves)
        grads = torch.autograd.grad(y, leaves, grad.to(device, y.dtype))
        if function is call:
            expected = [y, *grads]
    for name, a, b in zip(NAMES, [y, *grads], expected, strict=True):
        torch.testing.assert_close(a, b, msg=name)


@pytest.mark.parametrize("residual", [True, False])
def test_opcheck(residual: bool) -> None:
    device = place("triton")
    operands, _ = inputs((4, 5, 64), 16, torch.float32, residual)
    leaves = [None if t is None else t.to(device, torch.float32).requires_grad_() for t in operands]
    torch.library.opcheck(OP, (*leaves, True, 0.5))
    x, down_weight, down_bias, up_weight = (t.detach() for t in leaves[:4])
    torch.library.opcheck(
        torch.ops.peclip_fast.bottleneck_adapter_triton_backward,
        (torch.ones_like(x), x, down_weight, down_bias, up_weight, True, 0.5),
    )


def test_second_derivatives() -> None:
    """The reference has them; the kernels say that they don't, rather than give zeros."""
    operands, _ = inputs((3, 16), 4, torch.float64)
    leaves = [t.requires_grad_() for t in operands]
    assert torch.autograd.gradgradcheck(
        lambda *tensors: bottleneck_adapter(*tensors, backend="reference"), leaves
    )
    device = place("triton")
    leaves = [t.detach().to(device, torch.float32).requires_grad_() for t in operands]
    y = bottleneck_adapter(*leaves, backend="triton")
    (dx,) = torch.autograd.grad(y.square().sum(), leaves[0], create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivatives; use backend='reference'"):
        dx.sum().backward()


@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_forward_mode(backend: str) -> None:
    device = place(backend)
    operands, _ = inputs((3, 16), 4, torch.float32)
    x, *others = (t.to(device, torch.float32) for t in operands)

    def call(x: Tensor) -> Tensor:
        return bottleneck_adapter(x, *others, backend=backend)

    if backend == "reference":
        _, tangent = torch.func.jvp(call, (x,), (torch.ones_like(x),))
        assert tangent.shape == x.shape
        return
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        with pytest.raises(NotImplementedError, match="no forward-mode derivatives"):
            call(dual)
    with pytest.raises((NotImplementedError, RuntimeError), match=r"forward-mode|forward AD|jvp"):
        torch.func.jvp(call, (x,), (torch.ones_like(x),))


def test_reference_is_the_modules() -> None:
    """The equation on nn.Linear and nn.GELU."""
    down, up, act = nn.Linear(24, 6), nn.Linear(6, 24), nn.GELU()
    x, residual = torch.randn(2, 3, 5, 24), torch.randn(2, 3, 5, 24)
    y = bottleneck_adapter(x, down.weight, down.bias, up.weight, up.bias, residual, scale=0.5)
    torch.testing.assert_close(y, residual + x + 0.5 * up(act(down(x))))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"x": (4, 7)}, r"x has shape \(4, 7\), expected \(\.\.\., 8\) as down_weight is \(3, 8\)"),
        ({"down_weight": (3,)}, r"down_weight has shape \(3,\), expected \(h, D\)"),
        ({"down_bias": (8,)}, r"down_bias has shape \(8,\), expected \(3,\)"),
        ({"up_weight": (3, 8)}, r"up_weight has shape \(3, 8\), expected \(8, 3\)"),
        ({"up_bias": (3,)}, r"up_bias has shape \(3,\), expected \(8,\)"),
        ({"residual": (8,)}, r"residual has shape \(8,\), expected \(4, 8\)"),
        ({"x": ()}, r"x has shape \(\), expected"),
    ],
)
@pytest.mark.parametrize("backend", ["auto", "reference", "triton"])
def test_wrong_shapes(broken: dict[str, tuple[int, ...]], message: str, backend: str) -> None:
    shapes = {
        "x": (4, 8), "down_weight": (3, 8), "down_bias": (3,), "up_weight": (8, 3),
        "up_bias": (8,), "residual": (4, 8),
    }  # fmt: skip
    tensors = {name: torch.randn(shape) for name, shape in (shapes | broken).items()}
    with pytest.raises(InputError, match=message):
        bottleneck_adapter(**tensors, backend=backend)


def test_wrong_dtypes() -> None:
    device = place("triton")
    x, *weights, residual = (
        None if t is None else t.to(device, torch.float32)
        for t in inputs((3, 16), 4, torch.float32)[0]
    )
    with pytest.raises(InputError, match=r"down_weight is torch\.float32, expected x's"):
        bottleneck_adapter(x.bfloat16(), *weights, residual, backend="triton")
    with pytest.raises(InputError, match=r"residual is torch\.float64"):
        bottleneck_adapter(x, *weights, residual.double(), backend="triton")
    with pytest.raises(InputError, match="it takes float32, bfloat16, float16, not float64"):
        bottleneck_adapter(x.double(), *weights, residual, backend="triton")
