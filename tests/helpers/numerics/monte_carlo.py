"""Monte Carlo arithmetic (Parker 1997): programs in fp64 that make the errors of float32 or halves.

- A result has an error of either sign that is in the mean square what rounding it to its dtype
  makes. In the mean over all numbers that is RELATIVE eps.
- A sum of n terms in float32 has an error at each of its partial sums S_k. For terms that follow
  one another in random order the mean of S_k^2, summed over k, is
  (S^2 (2n + 1)/n + Q - S^2/n) (n + 1)/6, where S is the sum and Q the sum of the squares. Terms
  that are nothing beside the largest don't count. Half dtypes are summed in float32 and rounded
  once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
FP32 = torch.float32
EPS = torch.finfo(FP32).eps
# sqrt(1/12) units in the last place, which are eps / m of a number with mantissa m from 1 to 2.
# The mean of 1 / m^2 is 3/8 / ln 2 if the logarithms of numbers are evenly spread.
RELATIVE = math.sqrt(3 / 8 / math.log(2) / 12)


class Draws:
    """How often the program is followed, and where its errors come from."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.generators: dict[torch.device, torch.Generator] = {}

    def off(self, values: Tensor, dtype: torch.dtype, times: int = 1) -> Tensor:
        """Values rounded to `dtype`, or the product of several factors that was at each factor."""
        if dtype == torch.float64:
            return values
        error = values.to(dtype).sub(values).abs_()
        return self.off_by(values, error.mul_(times**0.5)) if error.any() else values

    def off_by(self, values: Tensor, error: Tensor) -> Tensor:
        """Values with errors of either sign that are as large as `error` in the mean square."""
        device = values.device
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(self.seed)
        shape = (self.count, *values.shape[1:])
        drawn = torch.rand(shape, generator=self.generators[device], device=device)
        return drawn.sub_(0.5).mul_(math.sqrt(12)).double().mul_(error).add_(values)


class Rounded(Tensor):
    """A tensor as it comes out in each draw. PyTorch sees the shape of one, and a dtype."""

    values: Tensor  # fp64, (count, *shape), or (1, *shape) where all draws agree
    draws: Draws

    @staticmethod
    def __new__(cls, values: Tensor, dtype: torch.dtype, draws: Draws) -> Rounded:
        made = Tensor._make_wrapper_subclass(
            cls, values.shape[1:], dtype=dtype, device=values.device
        )
        made.values, made.draws = values.contiguous(), draws
        return made

    def __repr__(self) -> str:
        return f"Rounded({tuple(self.shape)}, {self.dtype}, {self.draws.count} draws)"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        step = _STEPS.get(func.overloadpacket)
        if step is None:
            raise NotImplementedError(f"monte_carlo.py doesn't say how {func} rounds")
        given = list(_tensors((args, kwargs or {})))
        at = given[0]
        dtype = given[0].dtype
        for other in given[1:]:
            dtype = torch.promote_types(dtype, other.dtype)
        return step(_Step(func, at.draws, dtype), *args, **(kwargs or {}))


def _tensors(tree: Any) -> Iterator[Rounded]:
    if isinstance(tree, Rounded):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for branch in tree:
            yield from _tensors(branch)
    elif isinstance(tree, dict):
        yield from _tensors(list(tree.values()))


class _Step:
    """One operation of the program, and how it rounds."""

    def __init__(self, func: Any, draws: Draws, dtype: torch.dtype) -> None:
        self.func, self.draws, self.dtype = func, draws, dtype

    def made(self, values: Tensor, dtype: torch.dtype | None = None) -> Rounded:
        return Rounded(values, dtype or self.dtype, self.draws)

    def inner(self, values: Tensor, times: int = 1) -> Tensor:
        """Rounded on the way to a result. That is in float32, where half dtypes lose nothing."""
        return self.draws.off(values, FP32, times) if self.dtype == FP32 else values

    def function(self, values: Tensor) -> Tensor:
        """Of exp, erf or tanh: no library rounds them, CUDA's are up to two units off."""
        if self.dtype != FP32:
            return values
        return self.draws.off_by(values, values.abs() * (4 * RELATIVE * EPS))

    def rounded(self, values: Tensor) -> Rounded:
        return self.made(self.draws.off(values, self.dtype))

    def sum(self, values: Tensor, dims: tuple[int, ...]) -> Tensor:
        """Over `dims`, which stay. The first term is as it is."""
        total = values.sum(dims, keepdim=True)
        if self.dtype != FP32 or not values.numel():
            return total
        sizes = values.abs()
        terms = (sizes > EPS * sizes.amax(dims, keepdim=True)).sum(dims, keepdim=True).clamp_(1)
        squares = values.square().sum(dims, keepdim=True)
        return self.summed(total, _partial_sums(total, squares, terms) - squares / terms)

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """Of matrices. The first term is rounded, and each further one with the sum so far."""
        total = a @ b
        if self.dtype != FP32 or not total.numel():
            return total
        return self.summed(total, _partial_sums(total, a.square() @ b.square(), a.shape[-1]))

    def summed(self, total: Tensor, partial_sums: Tensor) -> Tensor:
        """From the squares of the partial sums that are rounded."""
        return self.draws.off_by(total, partial_sums.clamp_min_(0).sqrt_().mul_(RELATIVE * EPS))


def _partial_sums(total: Tensor, squares: Tensor, terms: Tensor | int) -> Tensor:
    """Their squares together."""
    square = total.square()
    evenly = square * ((2 * terms + 1) / terms)
    return (evenly + squares - square / terms) * ((terms + 1) / 6)


def _aligned(*tensors: Any) -> list[Any]:
    """Values that broadcast as the tensors do, the draws in front."""
    most = max(t.dim() for t in tensors if isinstance(t, Rounded))
    return [
        t.values.view(len(t.values), *(1,) * (most - t.dim()), *t.shape)
        if isinstance(t, Rounded)
        else t
        for t in tensors
    ]


def _every_draw(tensors: Sequence[Rounded]) -> list[Tensor]:
    count = max(t.values.shape[0] for t in tensors)
    return [t.values.expand(count, *t.shape) for t in tensors]


def _pointwise(step: _Step, *args: Any, **kwargs: Any) -> Rounded:
    if step.dtype != torch.float64:  # a number of Python's is one of float32 there
        args = tuple(float(torch.tensor(a)) if isinstance(a, float) else a for a in args)
    return step.rounded(step.func(*_aligned(*args), **kwargs))


def _exact(step: _Step, *args: Any, **kwargs: Any) -> Rounded:
    return step.made(step.func(*_aligned(*args), **kwargs))


def _constant(step: _Step, t: Rounded, size: list[int], **kwargs: Any) -> Rounded:
    value = float(step.func is aten.new_ones.default)
    return step.made(t.values.new_full((1, *size), value), kwargs.get("dtype"))


def _cast(step: _Step, t: Rounded, **kwargs: Any) -> Rounded:
    dtype = kwargs.get("dtype") or t.dtype
    return step.made(step.draws.off(t.values.to(kwargs.get("device")), dtype), dtype)


def _shape(at: Callable[..., Any]) -> Callable[..., Any]:
    """An operation that moves numbers and changes none."""

    def move(step: _Step, t: Rounded, *args: Any, **kwargs: Any) -> Any:
        moved = at(t.values, t.dim(), *args, **kwargs)
        if isinstance(moved, (list, tuple)):
            return [step.made(part) for part in moved]
        return step.made(moved)

    return move


def _join(step: _Step, tensors: Sequence[Rounded], dim: int = 0) -> Rounded:
    if step.func is aten.stack.default:
        dim = dim if dim >= 0 else dim + tensors[0].dim() + 1
        return step.made(torch.stack(_every_draw(tensors), dim + 1))
    return step.made(torch.cat(_every_draw(tensors), dim + 1 if dim >= 0 else dim))


def _mm(step: _Step, a: Rounded, b: Rounded) -> Rounded:
    return step.rounded(step.product(a.values, b.values))


def _addmm(step: _Step, bias: Rounded, a: Rounded, b: Rounded) -> Rounded:
    added, product = _aligned(bias, step.made(step.product(a.values, b.values)))
    return step.rounded(step.inner(added + product))


def _sum(
    step: _Step, t: Rounded, dims: list[int] | None = None, keepdim: bool = False, **kwargs: Any
) -> Rounded:
    over = tuple(dim % t.dim() + 1 for dim in (dims or range(t.dim())))
    total = step.rounded(step.sum(t.values, over))
    return total if keepdim else step.made(total.values.squeeze(over))


def _sigmoid(step: _Step, t: Rounded) -> Rounded:
    if step.dtype != FP32:
        return step.rounded(torch.sigmoid(t.values))
    return step.rounded(1 / step.inner(1 + step.function(torch.exp(-t.values))))


def _tanh(step: _Step, t: Rounded) -> Rounded:
    return step.rounded(step.function(torch.tanh(t.values)))


def _sigmoid_backward(step: _Step, grad: Rounded, y: Rounded) -> Rounded:
    left = step.inner(grad.values * step.inner(1 - y.values))
    return step.rounded(left * y.values)


def _tanh_backward(step: _Step, grad: Rounded, y: Rounded) -> Rounded:
    return step.rounded(grad.values * step.inner(1 - step.inner(y.values.square())))


def _cdf(step: _Step, x: Tensor) -> Tensor:
    return 0.5 * step.inner(1 + step.function(torch.erf(x / math.sqrt(2))))


def _gelu(step: _Step, t: Rounded) -> Rounded:
    return step.rounded(t.values * _cdf(step, t.values))


def _gelu_backward(step: _Step, grad: Rounded, t: Rounded) -> Rounded:
    x = t.values
    density = step.function(torch.exp(-step.inner(x.square()) / 2)) / math.sqrt(2 * math.pi)
    return step.rounded(grad.values * step.inner(_cdf(step, x) + step.inner(x * density)))


def _layer_norm(
    step: _Step, x: Rounded, shape: list[int], weight: Rounded, bias: Rounded, eps: float
) -> tuple[Rounded, Rounded, Rounded]:
    _, factor, added = _aligned(x, weight, bias)
    mean = step.inner(step.sum(x.values, (-1,)) / shape[0])
    centred = step.inner(x.values - mean)
    variance = step.sum(step.inner(centred.square()), (-1,)) / shape[0]
    rstd = step.inner((variance + eps).rsqrt())
    scaled = step.inner(centred * rstd * factor, times=2)
    return step.rounded(scaled + added), step.made(mean, FP32), step.made(rstd, FP32)


def _layer_norm_backward(
    step: _Step, grad: Rounded, x: Rounded, shape: list[int], mean: Rounded, rstd: Rounded,
    weight: Rounded, bias: Rounded, mask: list[bool],
) -> tuple[Rounded, Rounded, Rounded]:  # fmt: skip
    step.dtype = x.dtype  # mean and rstd are in float32 always
    dy, factor = _aligned(grad, weight)
    normal = step.inner((x.values - mean.values) * rstd.values, times=2)
    scaled = step.inner(dy * factor)
    along = step.inner(normal * (step.sum(step.inner(scaled * normal), (-1,)) / shape[0]))
    left = step.inner(step.inner(scaled - step.sum(scaled, (-1,)) / shape[0]) - along)
    rows = tuple(range(1, dy.dim() - 1))
    sums = (step.sum(step.inner(dy * normal), rows), step.sum(dy, rows))
    dweight, dbias = (step.rounded(t.view(len(t), *shape)) for t in sums)
    return step.rounded(left * rstd.values), dweight, dbias


def _softmax(step: _Step, t: Rounded, dim: int, wide: bool) -> Rounded:
    assert dim % t.dim() == t.dim() - 1
    shifted = step.inner(t.values - t.values.amax(-1, keepdim=True))
    powers = step.function(torch.exp(shifted))
    return step.rounded(powers / step.sum(powers, (-1,)))


def _ahead(dim: int, dims: int) -> int:
    """The dimension counted from behind, where the draws in front don't matter."""
    return dim - dims if dim >= 0 else dim


_SHAPES: dict[Any, Callable[..., Any]] = {
    aten.detach: lambda v, n: v,
    aten.clone: lambda v, n, memory_format=None: v,
    aten.view: lambda v, n, size: v.view(v.shape[0], *size),
    aten._unsafe_view: lambda v, n, size: v.view(v.shape[0], *size),
    aten.t: lambda v, n: v.mT if n == 2 else v,
    aten.transpose: lambda v, n, a, b: v.transpose(_ahead(a, n), _ahead(b, n)),
    aten.permute: lambda v, n, dims: v.permute(0, *(dim % n + 1 for dim in dims)),
    aten.expand: lambda v, n, size: v.view(v.shape[0], *(1,) * (len(size) - n), *v.shape[1:])
    .expand(-1, *size),
    aten.select: lambda v, n, dim, at: v.select(_ahead(dim, n), at),
    aten.triu: lambda v, n, first=0: v.triu(first),
    aten.unbind: lambda v, n, dim=0: v.unbind(_ahead(dim, n)),
    aten.split: lambda v, n, size, dim=0: v.split(size, _ahead(dim, n)),
}  # fmt: skip

_STEPS: dict[Any, Callable[..., Any]] = {
    **{packet: _shape(at) for packet, at in _SHAPES.items()},
    **dict.fromkeys((aten.add, aten.sub, aten.rsub, aten.mul), _pointwise),
    **dict.fromkeys((aten.neg, aten.relu, aten.threshold_backward), _exact),
    **dict.fromkeys((aten.new_zeros, aten.new_ones), _constant),
    **dict.fromkeys((aten.stack, aten.cat), _join),
    **dict.fromkeys((aten.mm, aten.bmm), _mm),
    aten.addmm: _addmm, aten.sum: _sum, aten._to_copy: _cast,
    aten.sigmoid: _sigmoid, aten.sigmoid_backward: _sigmoid_backward,
    aten.tanh: _tanh, aten.tanh_backward: _tanh_backward,
    aten.gelu: _gelu, aten.gelu_backward: _gelu_backward,
    aten.native_layer_norm: _layer_norm, aten.native_layer_norm_backward: _layer_norm_backward,
    aten._softmax: _softmax,
}  # fmt: skip
