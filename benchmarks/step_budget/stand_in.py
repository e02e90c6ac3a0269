"""A GPU that isn't there: a device of PyTorch whose tensors hold nothing, with CUDA's autocast.

PyTorch's fake tensors can be on a CUDA device without one, but their gradients can't be taken: the
autograd engine asks for a CUDA context. So this registers PyTorch's spare device type as ``gpu``
when it is imported. That is for good: only for processes of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "gpu"
KEY = "AutocastPrivateUse1"

# Autocast's rules on CUDA (PyTorch's "CUDA Op-Specific Behavior"), of what a step may call.
LOWER = (
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "conv1d", "conv2d", "conv3d",
    "einsum", "linear", "matmul", "mm", "mv", "prelu", "scaled_dot_product_attention",
)  # fmt: skip
FLOAT32 = (
    "acos", "asin", "cosh", "exp", "expm1", "log", "log10", "log1p", "log2", "reciprocal",
    "rsqrt", "sinh", "tan", "cosine_similarity", "layer_norm", "group_norm",
    "native_layer_norm", "cdist", "binary_cross_entropy_with_logits", "dist", "l1_loss",
    "mse_loss", "nll_loss", "norm", "linalg_vector_norm", "pow", "rms_norm", "smooth_l1_loss",
)  # fmt: skip
# These give float32 of what they are given.
RESULT_FLOAT32 = (
    "softmax", "log_softmax", "cumprod", "cumsum", "prod", "sum",
)  # fmt: skip
PROMOTE = (
    "addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "index_put", "scatter_add",
)  # fmt: skip


class _Module(_DummyBackendModule):
    """``torch.gpu``."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    def get_rng_state(self, device: Any = 0) -> Tensor:
        return torch.empty(0, dtype=torch.uint8)

    def set_rng_state(self, state: Tensor, device: Any = 0) -> None:
        pass


def _register() -> None:
    torch._C._ensureCUDADeviceGuardSet()
    _setup_privateuseone_for_python_backend(NAME, _Module())
    rest = torch.library.Library("_", "IMPL", KEY)
    rest.fallback(torch.library.fallthrough_kernel)
    library = torch.library.Library("aten", "IMPL", KEY)
    _kept.extend((rest, library))
    for names, rule in ((LOWER, _lower), (FLOAT32, _single), (RESULT_FLOAT32, _result_single),
                        (PROMOTE, _promote)):  # fmt: skip
        for overload in _overloads(names):
            library.impl(overload, _under(rule, overload))


_kept: list[torch.library.Library] = []  # what they register goes with them


def _overloads(names: tuple[str, ...]) -> list[Any]:
    """Of these operators, those that CUDA's autocast has a rule for."""
    found: dict[str, list[Any]] = {name: [] for name in names}
    for full in torch._C._dispatch_get_all_op_names():
        name, _, overload = full.removeprefix("aten::").partition(".")
        if name in found and torch._C._dispatch_has_kernel_for_dispatch_key(full, "AutocastCUDA"):
            found[name].append(getattr(getattr(torch.ops.aten, name), overload or "default"))
    if unknown := [name for name, overloads in found.items() if not overloads]:
        raise RuntimeError(f"CUDA's autocast has no rule for {', '.join(unknown)}")
    return [overload for overloads in found.values() for overload in overloads]


def _under(rule: Callable[..., Any], overload: Any) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(
            torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
        ):
            return rule(overload, args, kwargs)

    return run


def _cast(values: Any, dtype: torch.dtype, which: tuple[torch.dtype, ...]) -> Any:
    """The tensors of the GPU among the arguments that are of these dtypes, in `dtype`."""
    return tree_map_only(
        Tensor, lambda t: t.to(dtype) if t.device.type == NAME and t.dtype in which else t, values
    )


_HALVES = (torch.float16, torch.bfloat16)


def _lower(overload: Any, args: Any, kwargs: Any) -> Any:
    dtype = torch.get_autocast_dtype(NAME)
    which = (*_HALVES, torch.float32)
    args, kwargs = _cast(args, dtype, which), _cast(kwargs, dtype, which)
    if overload is torch.ops.aten.scaled_dot_product_attention.default:
        return _attention(*args, **kwargs)
    return overload(*args, **kwargs)


def _attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, dropout: float = 0.0,
    is_causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """As CUDA chooses it in half precision without a mask: flash attention."""
    if mask is not None or enable_gqa:
        raise NotImplementedError("attention with a mask, or with heads that share keys")
    flash = torch.ops.aten._scaled_dot_product_flash_attention.default
    return flash(q, k, v, dropout, is_causal, False, scale=scale)[0]


def _single(overload: Any, args: Any, kwargs: Any) -> Any:
    return overload(*_cast(args, torch.float32, _HALVES), **_cast(kwargs, torch.float32, _HALVES))


def _result_single(overload: Any, args: Any, kwargs: Any) -> Any:
    if args[0].dtype in _HALVES:
        kwargs = {**kwargs, "dtype": kwargs.get("dtype") or torch.float32}
        places = [a.name for a in overload._schema.arguments]
        args = args[: places.index("dtype")]  # softmax takes it by position too
    return overload(*args, **kwargs)


def _promote(overload: Any, args: Any, kwargs: Any) -> Any:
    leaves = [t for t in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    if any(t.dtype == torch.float32 for t in leaves):
        return _single(overload, args, kwargs)
    return overload(*args, **kwargs)


_register()
