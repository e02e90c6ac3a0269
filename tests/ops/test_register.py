"""How kernels become operators: schemas, which arguments the backward pass gets, its refusals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from peclip_fast.ops import register as module
from peclip_fast.ops.implementations import refuse_forward_mode
from peclip_fast.ops.register import register


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A library of its own, whose operators go with it."""
    with torch.library._scoped_library("peclip_fast", "FRAGMENT") as scoped:
        monkeypatch.setattr(module, "_library", scoped)
        yield


def forward(
    x: Tensor, weight: Tensor, residual: Tensor | None, factor: float, name: str
) -> tuple[Tensor, Tensor]:
    """factor * weight * x**2 + residual, and x**2."""
    assert name == "squares"
    squares = x * x
    y = factor * weight * squares
    return (y if residual is None else y + residual), squares


def like(
    x: Tensor, weight: Tensor, residual: Tensor | None, factor: float, name: str
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x)


def backward(
    grad: Tensor, factor: float, squares: Tensor, weight: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    """Of the weight and of x, and its arguments in another order than the forward pass has them."""
    return factor * squares * grad, 2 * factor * weight * x * grad


def backward_like(
    grad: Tensor, factor: float, squares: Tensor, weight: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(weight), torch.empty_like(x)


def make(name: str, **changes: object) -> object:
    parts = {
        "forward": forward,
        "forward_like": like,
        "backward": backward,
        "backward_like": backward_like,
        "gradients": ("weight", "x"),
        "saved": ("squares",),
        "added": ("residual",),
    }
    return register(name, "cpu", **{**parts, **changes})


def draw(*size: int) -> Tensor:
    return torch.randn(*size, dtype=torch.float64, requires_grad=True)


def expected(x: Tensor, weight: Tensor, residual: Tensor | None) -> Tensor:
    y = 3.0 * weight * x * x
    return y if residual is None else y + residual


@pytest.mark.parametrize("with_residual", [True, False])
def test_arguments_find_their_way_by_name(with_residual: bool) -> None:
    operator = make("named")
    leaves = [draw(4), draw(4), draw(4) if with_residual else None]
    y, _ = operator(*leaves, 3.0, "squares")
    given, dy = [t for t in leaves if t is not None], torch.randn(4, dtype=torch.float64)
    found = torch.autograd.grad(y, given, dy)
    truth = torch.autograd.grad(expected(*leaves), given, dy)
    for a, b in zip(found, truth, strict=True):
        torch.testing.assert_close(a, b)
    torch.library.opcheck(operator, (*leaves, 3.0, "squares"))


def test_schemas_follow_from_the_annotations() -> None:
    operator = make("signed")
    assert str(operator._schema) == (
        "peclip_fast::signed_cpu(Tensor x, Tensor weight, Tensor? residual, float factor, str name)"
        " -> (Tensor, Tensor)"
    )
    back = torch.ops.peclip_fast.signed_cpu_backward.default
    assert str(back._schema) == (
        "peclip_fast::signed_cpu_backward(Tensor grad, float factor, Tensor squares, Tensor weight,"
        " Tensor x) -> (Tensor, Tensor)"
    )


def test_only_what_is_asked_for_gets_a_gradient() -> None:
    operator = make("frozen")
    x, weight = draw(4), draw(4).detach()
    y, squares = operator(x, weight, None, 3.0, "squares")
    y.sum().backward()
    torch.testing.assert_close(x.grad, 6 * weight * x.detach())
    assert not squares.requires_grad


def test_the_residual_gets_a_gradient_of_its_own_dtype() -> None:
    operator = make("mixed")
    x, weight, residual = draw(4), draw(4), torch.zeros(4, requires_grad=True)
    y, _ = operator(x, weight, residual, 3.0, "squares")
    assert y.dtype == torch.float64
    y.sum().backward()
    assert residual.grad.dtype == torch.float32
    assert residual.grad.tolist() == [1.0] * 4


def test_parts_of_one_tensor_are_taken_apart() -> None:
    def both(grad: Tensor, squares: Tensor, weight: Tensor, x: Tensor, factor: float) -> Tensor:
        return torch.cat(backward(grad, factor, squares, weight, x))

    def both_like(
        grad: Tensor, squares: Tensor, weight: Tensor, x: Tensor, factor: float
    ) -> Tensor:
        return x.new_empty(2 * len(x))

    operator = make(
        "packed", backward=both, backward_like=both_like,
        unpack=lambda flat, squares, *_: flat.split(len(squares)),
    )  # fmt: skip
    x, weight = draw(4), draw(4)
    y, _ = operator(x, weight, None, 3.0, "squares")
    found = torch.autograd.grad(y.sum(), (x, weight))
    truth = torch.autograd.grad(expected(x, weight, None).sum(), (x, weight))
    for a, b in zip(found, truth, strict=True):
        torch.testing.assert_close(a, b)


def test_second_derivatives_are_refused_by_name() -> None:
    operator = make("half")
    x, weight = draw(4), draw(4)
    y, _ = operator(x, weight, None, 3.0, "squares")
    (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="half: the cpu backend has no second deriv"):
        dx.sum().backward()


def test_a_second_derivative_that_meets_only_what_was_saved_is_refused() -> None:
    """Or it would be zero: backward reads no input that has a gradient."""

    def by_squares(grad: Tensor, squares: Tensor) -> Tensor:
        return 6 * squares.sqrt() * grad

    operator = make(
        "met", backward=by_squares, backward_like=lambda grad, squares: torch.empty_like(grad),
        gradients=("x",), schemas=(None, "(Tensor grad, Tensor squares) -> Tensor"),
    )  # fmt: skip
    x = torch.ones(4, dtype=torch.float64, requires_grad=True)
    y, _ = operator(x, torch.ones_like(x).detach(), None, 3.0, "squares")
    (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert dx.tolist() == [6.0] * 4
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        dx.sum().backward()


def test_forward_mode_is_refused() -> None:
    x = torch.ones(3)
    refuse_forward_mode("op", "cpu", (x, None))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x)
        with pytest.raises(NotImplementedError, match="op: the cpu backend has no forward-mode"):
            refuse_forward_mode("op", "cpu", (None, dual))


def test_no_autocast_in_any_implementation() -> None:
    """Forward and backward; a product of float32 inside would become one of bfloat16."""

    def product(x: Tensor, weight: Tensor) -> Tensor:
        assert not torch.is_autocast_enabled("cpu")
        return x @ weight

    def derivative(grad: Tensor, weight: Tensor) -> Tensor:
        assert not torch.is_autocast_enabled("cpu")
        return grad @ weight.mT

    operator = register(
        "product", "cpu",
        forward=product,
        forward_like=lambda x, weight: x.new_empty(len(x), weight.shape[1]),
        backward=derivative,
        backward_like=lambda grad, weight: grad.new_empty(len(grad), len(weight)),
        gradients=("x",),
    )  # fmt: skip
    x, weight = torch.randn(5, 4, requires_grad=True), torch.randn(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        y = operator(x, weight)
        (dx,) = torch.autograd.grad(y.sum(), x)
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(y, x @ weight)
    assert torch.equal(dx, torch.ones(5, 3) @ weight.mT)
