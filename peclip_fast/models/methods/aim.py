"""AIM: adapters around a frozen image encoder whose attention also runs over time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from peclip_fast.config.methods.aim import AIMConfig
from peclip_fast.errors import InputError
from peclip_fast.models.headed_clip import HeadedCLIP
from peclip_fast.models.hooks import Hooks, adapt
from peclip_fast.models.parts.adapters import BottleneckAdapter
from peclip_fast.models.parts.stochastic_depth import in_some_clips
from peclip_fast.models.published.aim import load_aim
from peclip_fast.models.published.checkpoint import PublishedCheckpoint
from peclip_fast.registry import register_method

FIRST_STD, HEAD_STD = 0.02, 0.01  # of the first weights of adapters and head


class Places(nn.Module):
    """A learned vector for each frame of a clip."""

    def __init__(self, frames: int, width: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(frames, 1, width))


@register_method("aim")
class AIM(HeadedCLIP):
    """The model of AIM (arXiv 2302.03024), section 3; docs/methods.md has our choices.

    Args as AdaptedCLIP.
    """

    config_class = AIMConfig
    config: AIMConfig
    looks_ahead = True

    @property
    def trained_backbone(self) -> tuple[str, ...]:
        """See TrainableCLIP."""
        return self.vision.last_norm

    @property
    def adapter_width(self) -> int:
        """See AdaptedCLIP."""
        return self.config.hidden or self.vision_width // 4

    def make_parts(self) -> None:
        """See AdaptedCLIP."""
        config, blocks = self.config, self.vision.blocks
        self.time_input = self._adapters() if config.input_adapter else None
        self.time = self._adapters()
        self.space = self._adapters(skip=True)
        self.joint = self._adapters(scale=config.scale)
        self.places = Places(config.most_frames, self.vision_width)
        self.head = self.make_head(HEAD_STD)
        self._blocks_over_time = [block.without_positions() for block in blocks]
        self._rates = torch.linspace(0, config.stochastic_depth, len(blocks), device="cpu").tolist()

    def _adapters(self, skip: bool = False, scale: float = 1.0) -> nn.ModuleList:
        """One for each block, of which nothing comes at first."""
        width, hidden, backend = self.vision_width, self.adapter_width, self.config.backend
        made = [BottleneckAdapter(width, hidden, backend, skip, scale) for _ in self.vision.blocks]
        for adapter in made:
            nn.init.trunc_normal_(adapter.down.weight, std=FIRST_STD)
            for zero in (adapter.down.bias, adapter.up.weight, adapter.up.bias):
                nn.init.zeros_(zero)
        return nn.ModuleList(made)

    # Frames ------------------------------------------------------------------------------------

    def frame_shift(self, length: int) -> Tensor:
        """See AdaptedCLIP."""
        most = self.config.most_frames
        if length > most:
            raise InputError(f"frames: {length} of a clip, expected at most most_frames={most}")
        return self.places.values[:length]

    def frame_hooks(self, length: int) -> Hooks:
        """See AdaptedCLIP."""

        def enter(i: int, x: Tensor) -> Tensor:
            return self._over_time(i, x, length)

        def joint(i: int, m: Tensor, x: Tensor) -> Tensor:
            z = self.vision.blocks[i].norm_2(x, self._backend)

            def add(x: Tensor, factor: float) -> Tensor:
                added: Tensor = self.joint[i](z, x, factor)
                return added

            return self._in_some_clips(i, x + m, add, x.shape[0] // length)

        random = self.training and self.config.stochastic_depth > 0
        return Hooks(adapt(self.space), joint, enter, random=random)

    def _over_time(self, i: int, x: Tensor, length: int) -> Tensor:
        """Block i's attention among the tokens of one place: (B * T, n, D) -> the same."""
        tokens, clips = x.shape[1], x.shape[0] // length
        rows = x.unflatten(0, (clips, length)).transpose(1, 2).flatten(0, 1)  # (B * n, T, D)
        block = self._blocks_over_time[i]
        qkv = None
        if self.time_input is not None:
            before = self.time_input[i]

            def qkv(u: Tensor) -> Tensor:
                return block.product(before(u, None))

        y = block.attend(rows, qkv=qkv, backend=self._backend)

        def add(x: Tensor, factor: float) -> Tensor:
            added: Tensor = self.time[i](y, x, factor)
            return added

        rows = self._in_some_clips(i, rows, add, clips)
        return rows.unflatten(0, (clips, tokens)).transpose(1, 2).flatten(0, 1)

    def _in_some_clips(
        self, i: int, x: Tensor, add: Callable[[Tensor, float], Tensor], clips: int
    ) -> Tensor:
        return in_some_clips(x, add, self._rates[i] if self.training else 0.0, clips)

    @classmethod
    def from_published(cls, checkpoint: PublishedCheckpoint) -> AIM:
        """See AdaptedCLIP."""
        return load_aim(cls, checkpoint)
