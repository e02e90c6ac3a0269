"""Self-attention on the CPU's matrix unit against fp64, and the operator around it."""

from __future__ import annotations

import zlib

import pytest
import torch
from helpers.numerics.comparison import LAYOUTS
from helpers.numerics.rounding import Results, follow, no_worse_than_rounding
from torch import Tensor

from peclip_fast.errors import InputError
from peclip_fast.ops import attention, backends
from peclip_fast.ops.declared import search
from peclip_fast.ops.extension import bf16_missing

OPS = torch.ops.peclip_fast
BF16 = torch.bfloat16
# N, L, heads, width of a head: one token, full and broken blocks of 32, what ViT-B, L/14-336 and
# the text encoder have, every width that there is.
SIZES = [
    (1, 1, 1, 32), (2, 3, 2, 64), (1, 16, 3, 64), (3, 17, 1, 96), (2, 31, 2, 32), (1, 32, 2, 64),
    (2, 33, 1, 128), (7, 37, 8, 64), (3, 77, 2, 64), (2, 199, 3, 64), (1, 579, 1, 64),
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def amx() -> None:
    if reason := bf16_missing():
        pytest.skip(reason)


def draw(
    images: int, tokens: int, heads: int, width: int, spread: float = 2.0
) -> tuple[Tensor, Tensor]:
    """qkv and dy in fp64, values that bfloat16 holds; `spread` makes some scores win clearly."""
    seed = zlib.crc32(repr((images, tokens, heads, width)).encode())
    generator = torch.Generator().manual_seed(seed)
    shape = (images, tokens, heads * width)
    qkv = torch.randn(*shape[:2], 3 * shape[2], generator=generator) * spread
    dy = torch.randn(shape, generator=generator)
    return qkv.to(BF16).double(), dy.to(BF16).double()


def run(
    drawn: tuple[Tensor, Tensor], heads: int, backend: str, dtype: torch.dtype, causal: bool = False
) -> Results:
    qkv = drawn[0].to(dtype).requires_grad_()
    y = attention(qkv, heads, causal=causal, backend=backend)
    (dqkv,) = torch.autograd.grad(y, qkv, drawn[1].to(dtype))
    return {"y": y.detach(), "dqkv": dqkv}


def program(given: list[Tensor], heads: int, causal: bool) -> Results:
    """What PyTorch's attention does in bfloat16: all but the products' operands in float32."""
    qkv, dy = (t.to(BF16) for t in given)
    q, k, v = (t.flatten(0, 1) for t in qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4))
    scale = q.shape[-1] ** -0.5
    scores = q.float() @ k.float().mT * scale
    if causal:
        scores = scores + scores.new_ones(scores.shape).triu(1) * -1e30
    shares = scores.softmax(-1)
    y = shares.to(BF16) @ v
    dy = dy.unflatten(-1, (heads, -1)).transpose(1, 2).flatten(0, 1)
    through = dy.float() @ v.float().mT - (dy.float() * y.float()).sum(-1, keepdim=True)
    dscores = (shares * through).to(BF16)
    parts = [
        (dscores.float() @ k.float() * scale).to(BF16),
        (dscores.float().mT @ q.float() * scale).to(BF16),
        shares.to(BF16).mT @ dy,
    ]
    y, *parts = (t.unflatten(0, (-1, heads)).transpose(1, 2).flatten(2) for t in (y, *parts))
    return {"y": y, "dqkv": torch.cat(parts, -1)}


def _parts(results: Results) -> list[Tensor]:
    """The output and the gradients of queries, keys and values."""
    return [results["y"], *results["dqkv"].chunk(3, -1)]


def check(drawn: tuple[Tensor, Tensor], heads: int, causal: bool = False) -> None:
    no_worse_than_rounding(
        run(drawn, heads, "cpu", BF16, causal),
        run(drawn, heads, "reference", torch.float64, causal),
        follow(lambda given: program(given, heads, causal), list(drawn)),
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_against_fp64(size: tuple[int, int, int, int], causal: bool) -> None:
    check(draw(*size), size[2], causal)


def test_large_and_small_scores() -> None:
    """Scores of thousands: one token takes all, and nothing overflows, in padded rows either.

    Where all scores are alike all shares are rounded alike, and no luck evens that out: of the
    shares, of the scores' gradients and at the end each number may be off by half a unit.
    """
    drawn = draw(2, 35, 2, 64, spread=40.0)
    assert run(drawn, 2, "cpu", BF16)["dqkv"].isfinite().all()
    check(drawn, 2)
    drawn = draw(2, 35, 2, 64, spread=1e-3)
    found, exact = run(drawn, 2, "cpu", BF16), run(drawn, 2, "reference", torch.float64)
    for a, b in zip(_parts(found), _parts(exact), strict=True):
        assert (a.double() - b).norm() <= torch.finfo(BF16).eps * b.norm()


def test_each_image_and_head_alone() -> None:
    """No number of another image, or of the memory behind the last one, gets in."""
    qkv = draw(3, 19, 2, 32)[0].to(BF16)
    whole = attention(qkv, 2, backend="cpu")
    wide = torch.full((5, 19, 192), torch.nan, dtype=BF16)
    wide[1:4] = qkv
    assert torch.equal(attention(wide[1:4], 2, backend="cpu"), whole)
    assert torch.equal(attention(qkv[1:2], 2, backend="cpu"), whole[1:2])


def test_causal_sees_nothing_later() -> None:
    qkv = draw(1, 40, 2, 64)[0].to(BF16)
    other = qkv.clone()
    other[:, 25:] += 1
    first, second = (attention(t, 2, causal=True, backend="cpu") for t in (qkv, other))
    assert torch.equal(first[:, :25], second[:, :25])
    assert not torch.equal(first[:, 25:], second[:, 25:])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str) -> None:
    qkv, dy = (t.to(BF16) for t in draw(2, 21, 2, 32))
    results = []
    for place in (lambda t: t, LAYOUTS[layout]):
        given = place(qkv).detach().requires_grad_()
        y = attention(given, 2, backend="cpu")
        results.append((y.detach(), *torch.autograd.grad(y, given, place(dy))))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_same_bits_each_time_with_any_threads() -> None:
    drawn = draw(3, 70, 4, 64)
    results, threads = [], torch.get_num_threads()
    try:
        for number in (1, 2, 3, 2):
            torch.set_num_threads(number)
            results.append(run(drawn, 4, "cpu", BF16, causal=True))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(results[0][name], other[name]) for name in other)


def test_not_a_number_stays() -> None:
    qkv = draw(2, 18, 1, 32)[0].to(BF16)
    qkv[1, 4, 3] = torch.nan  # of a query: its row alone
    y = attention(qkv, 1, backend="cpu")
    assert y[1, 4].isnan().all()
    assert y[0].isfinite().all()
    assert y[1, :4].isfinite().all()


@pytest.mark.parametrize("causal", [False, True])
def test_opcheck(causal: bool) -> None:
    qkv = draw(2, 9, 2, 32)[0].to(BF16)
    for save in (False, True):
        torch.library.opcheck(
            OPS.attention_cpu.default, (qkv.requires_grad_(save), 2, causal, save),
            test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
        )  # fmt: skip
    lse = OPS.attention_cpu(qkv.detach(), 2, causal, True)[1]
    grad = torch.randn(2, 9, 64).to(BF16)
    torch.library.opcheck(
        OPS.attention_cpu_backward.default, (grad, qkv.detach(), lse, 2, causal),
        test_utils=("test_schema", "test_faketensor"),
    )  # fmt: skip


def test_compiled_whole() -> None:
    qkv, dy = (t.to(BF16) for t in draw(2, 9, 2, 32))

    def both(function: object) -> list[Tensor]:
        given = qkv.clone().requires_grad_()
        y = function(given, 2, backend="cpu")
        return [y.detach(), *torch.autograd.grad(y, given, dy)]

    compiled = torch.compile(attention, fullgraph=True, backend="aot_eager")
    assert all(torch.equal(a, b) for a, b in zip(both(compiled), both(attention), strict=True))


def test_reference_gradient() -> None:
    qkv = draw(2, 5, 2, 3)[0].requires_grad_()
    for causal in (False, True):
        assert torch.autograd.gradcheck(
            lambda t, causal=causal: attention(t, 2, causal=causal, backend="reference"), qkv
        )


def test_what_auto_takes() -> None:
    """The matrix unit for what it can do, PyTorch for the rest, the same numbers either way."""
    search.cache_clear()
    cpu = torch.device("cpu")
    for dtype, width, tokens, expected in (
        (BF16, 64, 199, "cpu"), (BF16, 80, 199, "reference"), (BF16, 160, 9, "reference"),
        (BF16, 64, 1025, "reference"), (torch.float32, 64, 199, "reference"),
    ):  # fmt: skip
        assert backends.select("attention", "auto", cpu, dtype, width, 4, tokens) == expected
    qkv = draw(1, 9, 2, 64)[0].float()
    with torch.autocast("cpu", BF16):
        y = attention(qkv, 2)
    assert y.dtype == BF16
    assert torch.equal(y, attention(qkv.to(BF16), 2, backend="cpu"))


def test_refusals() -> None:
    qkv = draw(1, 4, 2, 40)[0]
    for given, heads, backend, message in (
        (qkv[0], 2, "auto", r"attention: qkv has shape \(4, 240\), expected \(N, L, 3D\)"),
        (qkv, 7, "auto", "D a multiple of the 7 heads"),
        (qkv.to(BF16), 2, "cpu", "a width D that is a multiple of 32, not 40"),
        (qkv, 2, "cpu", "it takes bfloat16, not float64"),
        (qkv, 2, "cuda", "attention has no cuda kernel"),
    ):
        with pytest.raises(InputError, match=message):
            attention(given, heads, backend=backend)
    leaf = draw(1, 4, 1, 32)[0].to(BF16).requires_grad_()
    (grad,) = torch.autograd.grad(
        attention(leaf, 1, backend="cpu").float().sum(), leaf, create_graph=True
    )
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        grad.sum().backward()
