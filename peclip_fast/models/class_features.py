"""Features of the class texts that stay until a tensor changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


class KeptFeatures:
    """What an encoder of texts gave, and the state of the tensors that it depends on."""

    def __init__(self) -> None:
        self._state: object = None
        self._features: Tensor | None = None

    def get(
        self, encode: Callable[[], Tensor], trained: Iterable[Tensor], frozen: Iterable[Tensor]
    ) -> Tensor:
        """``encode()``, or what it gave when all the tensors were the same."""
        state = state_of(trained, frozen)
        if self._features is None or self._state != state:
            self._state, self._features = state, encode()
        return self._features


def state_of(trained: Iterable[Tensor], frozen: Iterable[Tensor]) -> object:
    """Changes when one of the tensors does.

    Versions tell of changes in place, addresses of replaced tensors. The sums tell of writes
    through ``.data``, which has a version of its own; only the trained tensors have them.
    """
    trained = [t.detach() for t in trained]
    sums = torch.stack([t.double().sum() for t in trained]).tolist() if trained else []
    tensors = [*trained, *frozen]
    versions = [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors]
    return sums, versions, torch.is_autocast_enabled(tensors[-1].device.type)
