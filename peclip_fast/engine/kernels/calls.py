"""Which operators a model calls, and on what: found out by a forward pass on tensors without data.

No method is asked for its sizes, so those of other packages are found as ours are.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from peclip_fast import ops
from peclip_fast.config.model import ModelConfig
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.description import without_weights
from peclip_fast.ops import backends
from peclip_fast.ops.declared import operators
from peclip_fast.ops.dtypes import FLOATS
from peclip_fast.ops.verdicts.verdict import OperatorCall

CLIPS = 2
_PLAIN = (str, int, float, bool, type(None))


def model_calls(
    config: ModelConfig, frames: int, autocast: torch.dtype | None, device: torch.device
) -> list[OperatorCall]:
    """The calls of one forward pass over CLIPS clips whose backend is ``auto``'s to choose.

    Args:
        config: of the model.
        frames: of a clip.
        autocast: the dtype of mixed precision, or None.
        device: whose type decides what autocast does.
    """
    model = without_weights(config)
    with _Holding():
        _move(model, device)
        model.train()
        on = contextlib.nullcontext() if autocast is None else torch.autocast(device.type, autocast)
        with _recorded() as calls, on:
            inputs = _inputs(model, frames, device)
            model.encode_clips(**inputs)
            model.encode_classes()
            _mix(model, inputs)
    return list(calls.values())


class _Holding(FakeTensorMode):
    """Tensors that hold nothing, without asking the device."""

    avoid_device_init = True


def _move(model: nn.Module, device: torch.device) -> None:
    """As model.to() can't, from meta to tensors that say that they are on a device."""

    def placed(t: Tensor) -> Tensor:
        return torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=device)

    for module in model.modules():
        for name, p in module._parameters.items():
            if p is not None:
                module._parameters[name] = nn.Parameter(placed(p), p.requires_grad)
        for name, b in module._buffers.items():
            if b is not None:
                module._buffers[name] = placed(b)


def _inputs(model: AdaptedCLIP, frames: int, device: torch.device) -> dict[str, Tensor]:
    side, length = model.image_size, model.text.context_length
    images = torch.zeros(CLIPS, frames, 3, side, side, dtype=torch.uint8, device=device)
    tokens = torch.zeros(CLIPS, length, dtype=torch.int64, device=device)
    return {name: tokens if name == "descriptions" else images for name in model.inputs}


def _mix(model: AdaptedCLIP, inputs: dict[str, Tensor]) -> None:
    """Clips with each other, in both ways that training has."""
    images = [t for t in inputs.values() if t.dtype == torch.uint8]
    for frames in images[:1]:
        partners = torch.zeros(CLIPS, dtype=torch.int64, device=frames.device)
        keep = torch.zeros(frames.shape[-2:], dtype=torch.bool, device=frames.device)
        model.pixels(frames, partners, None, 0.4)
        model.pixels(frames, partners, keep)


@contextlib.contextmanager
def _recorded() -> Iterator[dict[str, OperatorCall]]:
    """The operators' calls in the block, which run in plain PyTorch, once each."""
    calls: dict[str, OperatorCall] = {}
    asked: list[tuple[str, int, int, int, str]] = []

    def select(op: str, backend: str, device: torch.device, *sizes: Any, **named: Any) -> str:
        if backend == "auto":
            asked.append(_sizes(op, backend, device, *sizes, **named))
        return "reference"

    def recording(op: str, function: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            asked.clear()
            result = function(*args, **kwargs)
            given = signature.bind(*args, **kwargs).arguments
            given.pop("backend", None)
            tensors = {name: t for name, t in given.items() if isinstance(t, Tensor)}
            options = {
                name: _name(value) if isinstance(value, torch.dtype) else value
                for name, value in given.items()
                if name not in tensors
            }
            if asked and all(isinstance(value, _PLAIN) for value in options.values()):
                shapes = {name: list(t.shape) for name, t in tensors.items()}
                trained = [name for name, t in tensors.items() if t.requires_grad]
                own = {n: _name(t.dtype) for n, t in tensors.items() if t.dtype not in FLOATS}
                found = OperatorCall(op, shapes, trained, options, *asked[-1], dtypes=own)
                calls[found.text] = found
            return result

        return call

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(backends, "select", select))
        for op in operators():
            if hasattr(ops, op):
                recorder = recording(op, getattr(ops, op))
                stack.enter_context(mock.patch.object(ops, op, recorder))
        yield calls


def _sizes(
    op: str, backend: str, device: torch.device, dtype: torch.dtype, width: int, hidden: int,
    frames: int = 0, variant: str = "",
) -> tuple[str, int, int, int, str]:  # fmt: skip
    return _name(dtype), int(width), int(hidden), int(frames), variant


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
