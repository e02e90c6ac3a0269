"""The model's forward and backward pass as CUDA graphs: one launch each, for batches of one size.

Nothing here has been run on a GPU yet.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from peclip_fast.models.adapted_clip import AdaptedCLIP


class GraphedModel:
    """A model whose whole batches run as CUDA graphs; what has another shape runs as it is.

    The graphs are captured at the first whole batch: the forward pass under the autocast of that
    call, the backward pass outside of it. Its logits and the gradients from it are the same memory
    at every call, so gradients must be dropped before the next backward pass, not added to. Text
    and vision are in the graphs; frozen weights must stay where they are.

    Args:
        model: in training mode at each call.
        clips: of a whole batch.
    """

    def __init__(self, model: AdaptedCLIP, clips: int) -> None:
        self.model = model
        self.clips = clips
        self._graphed: Callable[..., Any] | None = None
        self._shape: torch.Size | None = None

    def __call__(self, frames: Tensor) -> Tensor:
        """Logits of frames (B, T, 3, H, W), which need no gradient, as the model gives them."""
        if self._graphed is None and len(frames) == self.clips:
            module = _Graphed(self.model, frames.device.type)
            # Backward passes are captured in here too, and no autocast may reach them.
            with torch.autocast(frames.device.type, enabled=False):
                # The copy is where every later batch will be put.
                self._graphed = torch.cuda.make_graphed_callables(module, (frames.clone(),))
            self._shape = frames.shape
        graphed = self._graphed if frames.shape == self._shape else None
        logits: Tensor = self.model(frames) if graphed is None else graphed(frames)
        return logits


class _Graphed(nn.Module):
    """The model under the autocast of now, with its trained tensors only, all that the graphs give
    gradients of.

    A module of its own because capturing puts the graphs in the place of its forward().
    """

    def __init__(self, model: AdaptedCLIP, kind: str) -> None:
        super().__init__()
        on, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        # A cast that autocast keeps is in no graph.
        self.autocast = functools.partial(
            torch.autocast, kind, dtype, enabled=on, cache_enabled=False
        )
        self.parts = nn.ModuleDict(model.parts())
        self.compute = model.forward

    def forward(self, frames: Tensor) -> Tensor:
        with self.autocast():
            return self.compute(frames)
