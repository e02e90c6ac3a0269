"""What runs a call: a plugin's backend for every operator, and what it can't give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from peclip_fast import ops
from peclip_fast.errors import InputError
from peclip_fast.ops import declared, implementations
from peclip_fast.ops import register as registering
from peclip_fast.ops.attention import attention_reference
from peclip_fast.ops.bottleneck_adapter import bottleneck_adapter_reference
from peclip_fast.ops.declared import Kernel, declare
from peclip_fast.ops.feed_forward import feed_forward_reference
from peclip_fast.ops.implementations import implement, with_gradients
from peclip_fast.ops.layer_norm import layer_norm_reference
from peclip_fast.ops.pixels import pixels_reference
from peclip_fast.ops.register import define, register
from peclip_fast.ops.temporal_adapter import backend as temporal_backend
from peclip_fast.ops.temporal_adapter import temporal_adapter_reference

MINE = "mine"


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Declarations, implementations and operators of these tests go with them."""
    for module, name in (
        (declared, "_kernels"),
        (declared, "_modules"),
        (implementations, "_found"),
    ):
        monkeypatch.setattr(module, name, dict(getattr(module, name)))
    declared.search.cache_clear()
    with torch.library._scoped_library("peclip_fast", "FRAGMENT") as scoped:
        monkeypatch.setattr(registering, "_library", scoped)
        yield
    declared.search.cache_clear()


def normal(*size: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(size))
    return torch.randn(*size, generator=generator)


D, H = 8, 4
ADAPTER = {
    "down_weight": normal(H, D), "down_bias": normal(H), "up_weight": normal(D, H),
    "up_bias": normal(D),
}  # fmt: skip
GATES = {
    "weight_ih": normal(3 * H, H), "weight_hh": normal(3 * H, H), "bias_ih": normal(3 * H),
    "bias_hh": normal(3 * H),
}  # fmt: skip
CALLS: dict[str, dict[str, Any]] = {
    "attention": {"qkv": normal(2, 3, 3 * D), "heads": 2, "causal": True},
    "bottleneck_adapter": {"x": normal(2, D), **ADAPTER, "residual": normal(2, D), "scale": 0.5},
    "feed_forward": {
        "x": normal(2, D), "in_weight": normal(H, D), "in_bias": normal(H),
        "out_weight": normal(D, H), "out_bias": normal(D), "activation": "gelu",
    },
    "layer_norm": {"x": normal(2, D), "weight": normal(D), "bias": normal(D)},
    "linear": {"x": normal(2, D), "weight": normal(H, D), "bias": normal(H)},
    "pixels": {
        "frames": (50 * normal(2, 1, 3, 4, D).abs()).to(torch.uint8),
        "partners": torch.tensor([1, 0]), "share": 0.3,
    },
    "temporal_adapter": {
        "x": normal(1, 2, 3, D), "residual": None, "norm_weight": normal(D), "norm_bias": normal(D),
        "scale_weight": normal(1, D), "scale_bias": normal(1), **ADAPTER, **GATES,
    },
}  # fmt: skip


def results_of(op: str, backend: str) -> tuple[Tensor, ...]:
    found = getattr(ops, op)(**CALLS[op], backend=backend)
    return found if isinstance(found, tuple) else (found,)


def functions(ran: list[str]) -> dict[str, Callable[..., Any]]:
    """In plain PyTorch, of what each of them asks for; twice the reference's result."""

    def attention(qkv: Tensor, heads: int, causal: bool) -> Tensor:
        ran.append("attention")
        return 2 * attention_reference(qkv, heads, causal=causal)

    def bottleneck_adapter(
        x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor, up_bias: Tensor,
        residual: Tensor | None, skip: bool, scale: float,
    ) -> Tensor:  # fmt: skip
        ran.append("bottleneck_adapter")
        weights = down_weight, down_bias, up_weight, up_bias
        return 2 * bottleneck_adapter_reference(x, *weights, residual, skip=skip, scale=scale)

    def feed_forward(
        activation: str, x: Tensor, in_weight: Tensor, in_bias: Tensor, out_weight: Tensor,
        out_bias: Tensor,
    ) -> Tensor:  # fmt: skip
        ran.append("feed_forward")
        weights = in_weight, in_bias, out_weight, out_bias
        return 2 * feed_forward_reference(x, *weights, activation)

    def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        ran.append("layer_norm")
        stream, normed = layer_norm_reference(x, weight, bias, eps=eps)
        return 2 * stream, 2 * normed

    def linear(x: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        ran.append("linear")
        assert dtype == x.dtype
        return 2 * torch.nn.functional.linear(x, weight, bias)

    def pixels(
        frames: Tensor, partners: Tensor | None, share: float, dtype: torch.dtype
    ) -> Tensor:  # fmt: skip
        ran.append("pixels")
        return 2 * pixels_reference(frames, partners=partners, share=share, dtype=dtype)

    def temporal_adapter(x: Tensor, residual: Tensor | None, weights: Any, scaling: str) -> Tensor:
        ran.append("temporal_adapter")
        return 2 * temporal_adapter_reference(x, residual, weights, scaling=scaling)

    return {f.__name__: f for f in (attention, bottleneck_adapter, feed_forward, layer_norm, linear,
                                    pixels, temporal_adapter)}  # fmt: skip


def test_every_operator_is_in_these_tests() -> None:
    assert set(CALLS) == set(functions([])) == set(declared.operators())


@pytest.mark.parametrize("op", CALLS)
def test_a_plugins_function_runs_and_not_the_reference(op: str) -> None:
    ran: list[str] = []
    declare(op, MINE, Kernel(("cpu",), lambda: None))
    implement(op, MINE, functions(ran)[op])
    found, expected = results_of(op, MINE), results_of(op, "reference")
    assert ran == [op]
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, 2 * b)
    assert results_of(op, "auto")[0].equal(results_of(op, "auto")[0])
    assert ran == [op], "auto takes none that nobody has checked"


@pytest.mark.parametrize("op", CALLS)
def test_it_runs_within_torch_compile(op: str) -> None:
    declare(op, MINE, Kernel(("cpu",), lambda: None))
    implement(op, MINE, functions([])[op])
    tensors = {n: t for n, t in CALLS[op].items() if isinstance(t, Tensor)}
    rest = {n: v for n, v in CALLS[op].items() if n not in tensors}
    function = getattr(ops, op)

    def call(tensors: dict[str, Tensor]) -> Any:
        return function(**tensors, **rest, backend=MINE)

    found = torch.compile(call, fullgraph=True, backend="eager")(tensors)
    for a, b in zip(
        found if isinstance(found, tuple) else (found,), results_of(op, "reference"), strict=True
    ):
        torch.testing.assert_close(a, 2 * b)


def _like(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(len(x), len(weight))


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return 2 * torch.nn.functional.linear(x, weight, bias)


def _back(grad: Tensor, weight: Tensor) -> Tensor:
    return 2 * grad @ weight


def register_linear() -> None:
    declare("linear", MINE, Kernel(("cpu",), lambda: None))
    register(
        "linear", MINE, forward=_linear, forward_like=_like, backward=_back,
        backward_like=lambda grad, weight: grad.new_empty(len(grad), weight.shape[1]),
        gradients=("x",),
    )  # fmt: skip


def test_a_registered_operator_runs_with_its_gradient() -> None:
    register_linear()
    call = CALLS["linear"]
    x = call["x"].clone().requires_grad_()
    y = ops.linear(x, call["weight"], call["bias"], backend=MINE)
    torch.testing.assert_close(y, 2 * ops.linear(**call, backend="reference"))
    y.sum().backward()
    torch.testing.assert_close(x.grad, 2 * call["weight"].sum(0).expand(2, D))
    with torch.autograd.forward_ad.dual_level():
        call = call | {"x": torch.autograd.forward_ad.make_dual(call["x"], call["x"])}
        with pytest.raises(NotImplementedError, match="linear: the mine backend has no forward-m"):
            ops.linear(**call, backend=MINE)


@pytest.mark.parametrize("trained", ["weight", "bias"])
def test_a_gradient_that_a_backend_does_not_give_is_not_lost(trained: str) -> None:
    register_linear()
    call = {n: t.clone().requires_grad_(n == trained) for n, t in CALLS["linear"].items()}
    with pytest.raises(InputError, match="the mine backend gives no gradients of the weights"):
        ops.linear(**call, backend=MINE)
    assert with_gradients("linear", "auto", MINE, call) == "reference"
    with torch.no_grad():
        assert with_gradients("linear", "auto", MINE, call) == MINE
        ops.linear(**call, backend=MINE)


def test_an_operator_of_the_namespace_is_found_by_its_name() -> None:
    declare("linear", MINE, Kernel(("cpu",), lambda: None))
    define(f"linear_{MINE}", _linear, _like, MINE)
    found = ops.linear(**CALLS["linear"], backend=MINE)
    torch.testing.assert_close(found, 2 * ops.linear(**CALLS["linear"], backend="reference"))


def test_a_temporal_adapter_by_its_own_register() -> None:
    class Kept(NamedTuple):
        twice: Tensor

    def forward(
        x: Tensor, residual: Tensor | None, weights: Any, scaling: str, dtype: Any, save: bool
    ) -> tuple[Tensor, Kept]:
        y = 2 * temporal_adapter_reference(x, residual, weights, scaling=scaling)
        return y, Kept(torch.ones_like(x))

    declare("temporal_adapter", MINE, Kernel(("cpu",), lambda: None))
    temporal_backend.register(
        MINE, forward, lambda *_: (), lambda x, *_: Kept(torch.empty_like(x)), Kept
    )
    torch.testing.assert_close(
        results_of("temporal_adapter", MINE)[0], 2 * results_of("temporal_adapter", "reference")[0]
    )


@pytest.mark.parametrize("op", CALLS)
def test_a_declared_backend_that_nothing_runs_is_an_error(op: str) -> None:
    declare(op, MINE, Kernel(("cpu",), lambda: None))
    with pytest.raises(InputError, match=f"{op}: the backend 'mine' is declared, but nothing is"):
        results_of(op, MINE)


@pytest.mark.parametrize("op", CALLS)
def test_what_no_call_has_can_not_be_asked_for(op: str) -> None:
    declare(op, MINE, Kernel(("cpu",), lambda: None))
    implement(op, MINE, lambda colour: colour)
    with pytest.raises(InputError, match=f"{op}: the backend 'mine' asks for 'colour', expected"):
        results_of(op, MINE)
