"""Self-attention's Triton kernels against fp64, and the operator around them."""

from __future__ import annotations

import zlib

import pytest
import torch
from helpers.numerics.comparison import ALONE, FLOATS, LAYOUTS
from helpers.numerics.rounding import Results, follow, no_worse_than_rounding
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops import attention

OPS = torch.ops.peclip_fast
# N, L, heads, width of a head: less than a block, full and broken ones, widths of no power of two.
SIZES = [
    (1, 1, 1, 1), (2, 3, 2, 8), (1, 16, 3, 20), (2, 17, 1, 64), (1, 77, 2, 12), (1, 65, 1, 80),
    (1, 33, 1, 128),
]  # fmt: skip


def draw(
    images: int, tokens: int, heads: int, width: int, dtype: torch.dtype, spread: float = 2.0
) -> list[Tensor]:
    """qkv and dy in fp64, values that `dtype` holds; `spread` makes some scores win clearly."""
    seed = zlib.crc32(repr((images, tokens, heads, width, dtype)).encode())
    generator = torch.Generator().manual_seed(seed)
    shape = (images, tokens, heads * width)
    qkv = torch.randn(*shape[:2], 3 * shape[2], generator=generator) * spread
    return [t.to(dtype).double() for t in (qkv, torch.randn(shape, generator=generator))]


def run(
    drawn: list[Tensor], heads: int, causal: bool, backend: str, dtype: torch.dtype,
    device: str = "cpu",
) -> Results:  # fmt: skip
    qkv, dy = (t.to(device, dtype) for t in drawn)
    y = attention(qkv.requires_grad_(), heads, causal=causal, backend=backend)
    return {"y": y.detach(), "dqkv": torch.autograd.grad(y, qkv, dy)[0]}


def program(given: list[Tensor], heads: int, causal: bool, dtype: torch.dtype) -> Results:
    """What PyTorch's attention does in `dtype`: all but the products' operands in float32."""
    qkv, dy = (t.to(dtype) for t in given)
    q, k, v = (t.flatten(0, 1) for t in qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4))
    scale = q.shape[-1] ** -0.5
    scores = q.float() @ k.float().mT * scale
    if causal:
        scores = scores + scores.new_ones(scores.shape).triu(1) * -1e30
    shares = scores.softmax(-1)
    y = shares.to(dtype) @ v
    dy = dy.unflatten(-1, (heads, -1)).transpose(1, 2).flatten(0, 1)
    through = dy.float() @ v.float().mT - (dy.float() * y.float()).sum(-1, keepdim=True)
    dscores = (shares * through).to(dtype)
    parts = [
        (dscores.float() @ k.float() * scale).to(dtype),
        (dscores.float().mT @ q.float() * scale).to(dtype),
        shares.to(dtype).mT @ dy,
    ]
    y, *parts = (t.unflatten(0, (-1, heads)).transpose(1, 2).flatten(2) for t in (y, *parts))
    return {"y": y, "dqkv": torch.cat(parts, -1)}


def check(drawn: list[Tensor], heads: int, causal: bool, dtype: torch.dtype, device: str) -> None:
    no_worse_than_rounding(
        run(drawn, heads, causal, "triton", dtype, device),
        run(drawn, heads, causal, "reference", torch.float64),
        follow(lambda given: program(given, heads, causal, dtype), drawn),
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_against_fp64(
    size: tuple[int, int, int, int], causal: bool, dtype: torch.dtype, triton_device: str
) -> None:
    check(draw(*size, dtype), size[2], causal, dtype, triton_device)


def test_large_scores(triton_device: str) -> None:
    """Scores of thousands: one token takes all, and nothing overflows, in padded rows either."""
    drawn = draw(1, 35, 2, 16, torch.bfloat16, spread=40.0)
    found = run(drawn, 2, False, "triton", torch.bfloat16, triton_device)
    assert all(result.isfinite().all() for result in found.values())
    check(drawn, 2, False, torch.bfloat16, triton_device)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, triton_device: str) -> None:
    """Views of qkv and of the gradient, with NaN around them, and other images' numbers."""
    qkv, dy = (t.to(triton_device).float() for t in draw(3, 18, 2, 12, torch.float32))
    place = LAYOUTS[layout]
    results = []
    for given, grad in ((qkv, dy), (place(qkv), place(dy))):
        leaf = given.detach().requires_grad_()
        y = attention(leaf, 2, backend="triton")
        results.append((y, *torch.autograd.grad(y, leaf, grad)))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    assert torch.equal(attention(qkv[1:2], 2, backend="triton"), results[0][0][1:2])


def test_the_gradient_is_packed(triton_device: str) -> None:
    """One tensor, as the product before it takes it: nothing is stacked and copied."""
    qkv = draw(2, 5, 2, 8, torch.float32)[0].to(triton_device).float().requires_grad_()
    (dqkv,) = torch.autograd.grad(attention(qkv, 2, backend="triton").sum(), qkv)
    assert dqkv.is_contiguous()
    assert dqkv.untyped_storage().nbytes() == dqkv.nbytes


def test_same_bits_each_time(triton_device: str) -> None:
    drawn = draw(2, 70, 2, 24, torch.bfloat16)
    first, second = (
        run(drawn, 2, False, "triton", torch.bfloat16, triton_device) for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_autocast(triton_device: str) -> None:
    qkv = draw(2, 5, 2, 8, torch.bfloat16)[0].to(triton_device).float()
    with torch.autocast(triton_device, torch.bfloat16):
        y = attention(qkv, 2, backend="triton")
    assert torch.equal(y, attention(qkv.bfloat16(), 2, backend="triton"))


def test_opcheck(triton_device: str) -> None:
    qkv, dy = (t.to(triton_device).float() for t in draw(1, 5, 2, 4, torch.float32))
    for save in (False, True):
        torch.library.opcheck(
            OPS.attention_triton, (qkv.clone().requires_grad_(save), 2, True, save)
        )
    out, lse = OPS.attention_triton(qkv, 2, True, True)
    torch.library.opcheck(
        OPS.attention_triton_backward, (dy, qkv, out, lse, 2, True), test_utils=ALONE
    )


def test_no_images(triton_device: str) -> None:
    qkv = torch.zeros(0, 4, 24, device=triton_device, requires_grad=True)
    y = attention(qkv, 2, backend="triton")
    assert y.shape == (0, 4, 8)
    assert torch.autograd.grad(y.sum(), qkv)[0].shape == qkv.shape


def test_refusals(triton_device: str) -> None:
    qkv = torch.randn(1, 3, 3 * 129, device=triton_device)
    with pytest.raises(InputError, match="width D from 1 to 128, not 129"):
        attention(qkv, 1, backend="triton")
    qkv = torch.randn(1, 3, 24, device=triton_device, requires_grad=True)
    (grad,) = torch.autograd.grad(
        attention(qkv, 1, backend="triton").square().sum(), qkv, create_graph=True
    )
    with pytest.raises(NotImplementedError, match="triton backend has no second derivatives"):
        grad.sum().backward()
