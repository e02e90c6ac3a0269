"""What both encoders have in common: blocks, and the way through them with a method's hooks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from peclip_fast.models.hooks import Hooks
from peclip_fast.models.towers.blocks import FrozenBlock
from peclip_fast.ops.layer_norm import put


class Tower(ABC):
    """An encoder as its blocks, with ``embed`` before them and ``project`` after them.

    Attributes:
        blocks: of the backbone.
        width: of their tokens.
        causal: whether a token sees only itself and those before it.
    """

    blocks: list[FrozenBlock]
    width: int
    causal: bool = False

    @abstractmethod
    def prompts_at(self, tokens: int, prompts: int) -> int:
        """Where the prompts are among so many tokens, prompts and all."""

    def walk(
        self,
        x: Tensor,
        hooks: Hooks,
        context: Sequence[Tensor] = (),
        *,
        backend: str = "auto",
        queries: int | None = None,
        recomputed: int = 0,
        maps: list[Tensor] | None = None,
    ) -> Tensor:
        """From the first block's input to the last block's output, (N, L, D).

        Args:
            x: what embed() gives, with the first layer's context in it.
            hooks: of the method.
            context: each layer's prompts (P, D) or (N, P, D); the layers after them keep theirs.
            backend: of the operators.
            queries: how many leading tokens of the output are wanted; all unless given.
            recomputed: how many blocks keep no activations and run again in the backward pass.
            maps: given, it gets each block's attention maps (N, heads, L, L); the attention is
                then of all tokens, without a mask, and in plain PyTorch.
        """
        last, added = len(self.blocks) - 1, None
        for i in range(len(self.blocks)):
            learned = context[i] if 0 < i < len(context) else None
            given = (i, x, added, learned, hooks, backend, queries if i == last else None, maps)
            if i < recomputed and torch.is_grad_enabled():
                x, added = checkpoint(
                    self._block, *given, use_reentrant=False, preserve_rng_state=hooks.random
                )
            else:
                x, added = self._block(*given)
        return x if added is None else x + added

    def _block(
        self,
        i: int,
        x: Tensor,
        added: Tensor | None,
        learned: Tensor | None,
        hooks: Hooks,
        backend: str,
        queries: int | None,
        maps: list[Tensor] | None,
    ) -> tuple[Tensor, Tensor | None]:
        """From x + added to the sum of two: what is to be added stays by itself until the next norm
        reads it, which adds it as it does."""
        block = self.blocks[i]
        start = 0 if learned is None else self.prompts_at(x.shape[1], learned.shape[-2])
        if hooks.enter is not None:
            x = x if added is None else x + added
            x = hooks.enter(i, x if learned is None else put(x, learned, start))
            added = learned = None
        x, normed = block.before_attention(x, added, learned, start, backend)
        qkv = None if hooks.qkv is None else partial(hooks.qkv, i)
        if maps is None:
            y = block.attend(
                x, causal=self.causal, queries=queries, qkv=qkv, backend=backend, normed=normed
            )
        else:
            y, found = block.attend_with_maps(x, qkv, normed)
            maps.append(found)
        x = x[:, :queries]
        if hooks.attention is None:
            x, normed = block.before_mlp(x, y, backend)
        else:
            x, normed = block.before_mlp(hooks.attention(i, y, x), None, backend)
        y = block.feed_forward(x, backend, normed)
        return (x, y) if hooks.feed_forward is None else (hooks.feed_forward(i, y, x), None)
