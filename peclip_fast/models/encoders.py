"""The two encoders of an open_clip model, with a method's hooks and prompts in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peclip_fast import ops
from peclip_fast.config.model import ModelConfig
from peclip_fast.errors import InputError
from peclip_fast.models.hooks import Hooks
from peclip_fast.models.tokenizer import BatchTokenizer, TextTokenizer, text_tokenizer
from peclip_fast.models.towers import TextTower, vision_tower

NO_HOOKS = Hooks()


class CLIPEncoders(nn.Module):
    """Frames and texts to features.

    Args:
        config: names the backbone and says how pixels are read.
        backbone: open_clip's model; it is frozen here and put into eval mode.
        tokenizer: of the texts; the backbone's own unless given.

    Attributes:
        vision, text: the towers, with ``blocks``, ``width`` and more.
        tokenize: texts to what the text encoder reads.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self, config: ModelConfig, backbone: nn.Module, tokenizer: TextTokenizer | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone.eval().requires_grad_(False)
        self.vision = vision_tower(backbone, config.backbone)
        self.text = TextTower(backbone, config.backbone)
        tokenizer = text_tokenizer(config.backbone) if tokenizer is None else tokenizer
        self.tokenize = BatchTokenizer(tokenizer, self.text.context_length, self.text.whole)
        # On the model's device, as a CUDA graph can't copy them there; rounded where they are used.
        for name, values in (("pixel_mean", self.vision.mean), ("pixel_std", self.vision.std)):
            exact = torch.tensor(values, dtype=torch.float64).view(3, 1, 1)
            self.register_buffer(name, exact, persistent=False)
        self._recomputed = 0
        self._prepared = False

    @property
    def image_size(self) -> int:
        """Height and width of the frames, in pixels."""
        return self.vision.image_size

    @property
    def vision_width(self) -> int:
        """D, the width of the vision blocks."""
        return self.vision.width

    @property
    def _backend(self) -> str:
        """For the backbone's own blocks, whose kernels by name are Triton's."""
        named = self.config.backend
        return named if named in ("reference", "triton") else "auto"

    def encode_text(
        self, tokens: Tensor, hooks: Hooks = NO_HOOKS, context: Sequence[Tensor] = ()
    ) -> Tensor:
        """Text features (C, E), of length 1.

        Args:
            tokens: (C, n).
            hooks: in the text blocks.
            context: each layer's learned tokens, (N, Dt) or one set for each text (C, N, Dt).
        """
        tower = self.text
        ends = tower.ends(tokens, context_length(context))
        x = tower.embed(tokens, context[0] if context else None)
        x = tower.walk(x, hooks, context, backend=self._backend)
        end = x[torch.arange(len(x), device=x.device), ends]
        return F.normalize(wide(tower.project(end)), dim=-1)

    def encode_frames(
        self,
        frames: Tensor,
        hooks: Hooks = NO_HOOKS,
        context: Sequence[Tensor] = (),
        shift: Tensor | None = None,
    ) -> Tensor:
        """Features of the frames (B, T, E), not normalized.

        Args:
            frames: (B, T, 3, H, W), float in [0, 1] or uint8.
            hooks: in the vision blocks.
            context: each layer's prompts (P, D).
            shift: (T, 1, D), added to all tokens of a clip's frames with their positions.
        """
        tower, (clips, length) = self.vision, frames.shape[:2]
        if shift is not None:
            shift = shift.expand(clips, length, -1, -1).flatten(0, 1)
        pixels = self.pixels(frames).flatten(0, 1)
        x = tower.embed(pixels, context[0] if context else None, shift, self._backend)
        x = tower.walk(
            x, hooks, context,
            backend=self._backend, queries=tower.queries, recomputed=self._recomputed,
        )  # fmt: skip
        return wide(self.project(tower.pool(x))).unflatten(0, (clips, length))

    def project(self, pooled: Tensor) -> Tensor:
        """Pooled features of frames (N, D) -> (N, E), by the backbone's product.

        A method with a linear head on the vision width returns them as they are.
        """
        return self.vision.product(pooled)

    def recompute(self, blocks: int) -> None:
        """Keep no activations of the first vision blocks in training, only what goes into each.

        The backward pass computes them again: less memory, more time, the same gradients.

        Args:
            blocks: how many, from the first one on.

        Raises:
            InputError: there are fewer.
        """
        most = len(self.vision.blocks)
        if not 0 <= blocks <= most:
            raise InputError(
                f"recompute={blocks}: expected at most the {most} vision blocks of the backbone "
                f"{self.config.backbone!r}"
            )
        self._recomputed = blocks

    def pixels(
        self,
        frames: Tensor,
        partners: Tensor | None = None,
        keep: Tensor | None = None,
        share: float = 1.0,
    ) -> Tensor:
        """Frames (..., 3, H, W), float in [0, 1] or uint8 -> what the encoder reads.

        Args:
            frames: with ``partners`` a batch of clips.
            partners, keep, share: how clips are mixed with each other, see ``ops.pixels``.
        """
        if self._prepared:
            return frames
        # An exported program has no mean and no deviation where nothing reads them.
        normalized = self.config.normalize == "clip"
        return ops.pixels(
            frames,
            self.pixel_mean if normalized else None,
            self.pixel_std if normalized else None,
            partners,
            keep,
            share,
            dtype=self.vision.dtype,
            backend=self._backend if frames.dtype == torch.uint8 else "reference",
        )

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """In the block frames are what pixels() has given, which then gives them as they are."""
        before, self._prepared = self._prepared, True
        try:
            yield
        finally:
            self._prepared = before

    def check_frames(self, frames: Tensor, name: str = "frames") -> None:
        """Raise InputError unless these are clips that the encoder takes."""
        size = self.image_size
        if frames.ndim != 5 or tuple(frames.shape[2:]) != (3, size, size) or frames.numel() == 0:
            raise InputError(
                f"{name}: expected the shape (clips, frames, 3, {size}, {size}), "
                f"got {tuple(frames.shape)}"
            )
        if frames.dtype != torch.uint8 and not frames.is_floating_point():
            raise InputError(f"{name}: expected uint8, or float in [0, 1], got {frames.dtype}")


def context_length(context: Sequence[Tensor]) -> int:
    """How many learned tokens each text or each frame has."""
    return context[0].shape[-2] if context else 0


def wide(x: Tensor) -> Tensor:
    """Half precision would round the logits to eighths."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
