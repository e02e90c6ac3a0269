"""Red zones: an operator's code runs on tensors between guards, with NaN in what it has to fill."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from peclip_fast.ops.register import IMPLEMENTATIONS

GUARD = 4096  # bytes before and after each tensor
POISON = 255  # as a byte; four, two or eight of them are NaN in every float dtype

_aten = torch.ops.aten
_EMPTY = {
    _aten.empty.memory_format, _aten.empty_strided.default, _aten.new_empty.default,
    _aten.new_empty_strided.default, _aten.empty_like.default,
}  # fmt: skip
_FILLED = {
    _aten.zeros.default, _aten.new_zeros.default, _aten.zeros_like.default, _aten.ones.default,
    _aten.new_ones.default, _aten.ones_like.default, _aten.full.default, _aten.new_full.default,
    _aten.full_like.default, _aten.clone.default,
}  # fmt: skip


class Guards(TorchDispatchMode):
    """While it is on, every tensor that an operator of ours makes lies between guards.

    Attributes:
        called: the names of our operators that have run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.called: set[str] = set()
        self._zones: list[tuple[str, Tensor, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "peclip_fast" and func._opname in IMPLEMENTATIONS:
            self.called.add(func._opname)
            with self:  # what it calls comes here as well
                return IMPLEMENTATIONS[func._opname](*args, **kwargs)
        result = func(*args, **kwargs)
        if func in _EMPTY or func in _FILLED:
            return self.between(result, filled=func in _FILLED, what="a tensor that it made")
        return result

    def between(self, values: Tensor, *, filled: bool = True, what: str) -> Tensor:
        """A tensor like this one, with its values if they are filled, between guards."""
        payload = values.untyped_storage().nbytes()
        if payload == 0 or values.layout != torch.strided or values.dtype == torch.bool:
            return values
        room = -(-payload // 16) * 16 + 2 * GUARD
        zone = torch.full((room,), POISON, dtype=torch.uint8, device=values.device)
        inner = zone.view(values.dtype).as_strided(
            values.size(), values.stride(), GUARD // values.element_size() + values.storage_offset()
        )
        if filled:
            inner.copy_(values)
        shape = "x".join(map(str, values.shape))
        self._zones.append((f"{what} ({shape}, {values.dtype})", zone, payload))
        return inner

    def broken(self) -> str | None:
        """Which guard was written to, or None."""
        for what, zone, payload in self._zones:
            for side, part in (("before", zone[:GUARD]), ("after", zone[GUARD + payload :])):
                if changed := int((part != POISON).sum()):
                    return f"it writes {changed} bytes {side} {what}"
        return None
