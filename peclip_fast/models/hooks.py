"""Where a method takes part in the blocks of an encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

Hook = Callable[[int, Tensor, Tensor], Tensor]


class Hooks(NamedTuple):
    """What a method does in the blocks of an encoder; the first argument is the block's number i.

    A block without hooks computes ``x = x + attend(x)`` and ``x = x + feed_forward(x)`` for tokens
    x (N, L, D). In the vision encoder N is B * T, with the frames of a clip next to each other, and
    L is 1 after the last attention if only the class token is used.

    Args:
        attention: (i, y, x) -> the new x, where y is what the attention adds.
        feed_forward: (i, y, x) -> the new x, where y is what the MLP adds.
        enter: (i, x) -> x, before the block.
        qkv: (i, y) -> (N, L, 3D), added to the queries, keys and values of y = LN1 x (N, L, D).
        random: whether a hook draws random numbers, which a recomputed block has to draw again.
    """

    attention: Hook | None = None
    feed_forward: Hook | None = None
    enter: Callable[[int, Tensor], Tensor] | None = None
    qkv: Callable[[int, Tensor], Tensor] | None = None
    random: bool = False


def adapt(adapters: nn.ModuleList | None) -> Hook | None:
    """A hook that calls ``adapters[i](y, x)``, which adds y and x itself; None without adapters."""
    if adapters is None:
        return None

    def hook(i: int, y: Tensor, x: Tensor) -> Tensor:
        adapted: Tensor = adapters[i](y, x)
        return adapted

    return hook
