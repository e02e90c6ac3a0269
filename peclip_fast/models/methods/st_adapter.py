"""ST-Adapter: convolutions over time on the patches of a frozen image encoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from peclip_fast.config.methods.st_adapter import STAdapterConfig
from peclip_fast.errors import InputError
from peclip_fast.models.headed_clip import HeadedCLIP
from peclip_fast.models.hooks import Hooks
from peclip_fast.models.published.checkpoint import PublishedCheckpoint
from peclip_fast.models.published.st_adapter import load_st_adapter
from peclip_fast.registry import register_method

HEAD_STD = 0.02  # of the head's first weights


class ConvAdapter(nn.Module):
    """``x + W_u conv(W_d x + b_d) + b_u``, conv depthwise over frames, rows and columns.

    The convolution starts at zero, so that training starts from CLIP.
    """

    def __init__(self, width: int, hidden: int, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        frames, rows, columns = kernel
        padding = frames // 2, rows // 2, columns // 2
        self.down = nn.Linear(width, hidden)
        self.conv = nn.Conv3d(hidden, hidden, kernel, padding=padding, groups=hidden)
        self.up = nn.Linear(hidden, width)
        for zero in (self.conv.weight, self.conv.bias, self.down.bias, self.up.bias):
            assert zero is not None
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        """Patches as they lie in the frames (B, T, rows, columns, D) -> the same."""
        mixed = self.conv(self.down(x).movedim(-1, 1)).movedim(1, -1)
        added: Tensor = self.up(mixed)
        return x + added

    def unread(self, x: Tensor) -> Tensor:
        """x as it is, from which all parameters get a gradient of zero.

        Several processes wait for a gradient of each parameter.
        """
        zero = torch.stack([p.sum() * 0 for p in self.parameters()]).sum()
        return x + zero.to(x.dtype)


@register_method("st_adapter")
class STAdapter(HeadedCLIP):
    """The model of ST-Adapter (arXiv 2206.13559), section 3; docs/methods.md has our choices.

    Args as AdaptedCLIP.
    """

    config_class = STAdapterConfig
    config: STAdapterConfig

    @property
    def looks_ahead(self) -> bool:
        """See AdaptedCLIP."""
        return True

    @property
    def adapter_width(self) -> int:
        """See AdaptedCLIP."""
        return self.config.hidden

    def make_parts(self) -> None:
        """See AdaptedCLIP."""
        config, blocks = self.config, len(self.vision.blocks)
        number = config.adapted_blocks or blocks
        if number > blocks:
            raise InputError(
                f"adapted_blocks={number}: expected at most the {blocks} blocks of the backbone "
                f"{config.backbone!r}"
            )

        def each(wanted: bool) -> nn.ModuleDict | None:
            sizes = self.vision_width, config.hidden, config.kernel
            last = range(blocks - number, blocks)
            return nn.ModuleDict({str(i): ConvAdapter(*sizes) for i in last}) if wanted else None

        self.before_attention = each(config.before_attention)
        self.before_mlp = each(config.before_mlp)
        self.head = self.make_head(HEAD_STD)

    def frame_hooks(self, length: int) -> Hooks:
        """See AdaptedCLIP."""
        last = len(self.vision.blocks) - 1

        def enter(i: int, x: Tensor) -> Tensor:
            return self._adapted(self.before_attention, i, x, length)

        def attention(i: int, y: Tensor, x: Tensor) -> Tensor:
            return self._adapted(self.before_mlp, i, x + y, length)

        def averaged(i: int, m: Tensor, x: Tensor) -> Tensor:
            if i < last:
                return x + m
            clips = (x + m).unflatten(0, (-1, length))
            return clips.mean(1, keepdim=True).expand_as(clips).flatten(0, 1)

        # With CLIP's head a clip is the mean of what CLIP makes of its frames, as everywhere.
        return Hooks(attention, averaged if self.head is not None else None, enter)

    def _adapted(self, adapters: nn.ModuleDict | None, i: int, x: Tensor, length: int) -> Tensor:
        """Tokens (B * T, L, D) whose patches, if there are some, have gone through the adapter."""
        if adapters is None or str(i) not in adapters:
            return x
        adapter, start, number = adapters[str(i)], self.vision.prefix, self.vision.patches
        assert isinstance(adapter, ConvAdapter)
        if x.shape[1] < start + number:  # the last block's output, of which one token is wanted
            return adapter.unread(x)
        side = math.isqrt(number)
        patches = x[:, start : start + number]
        grid = patches.unflatten(1, (side, side)).unflatten(0, (-1, length))
        patches = adapter(grid).flatten(0, 1).flatten(1, 2)
        return torch.cat([x[:, :start], patches, x[:, start + number :]], 1)

    @classmethod
    def from_published(cls, checkpoint: PublishedCheckpoint) -> STAdapter:
        """See AdaptedCLIP."""
        return load_st_adapter(cls, checkpoint)
