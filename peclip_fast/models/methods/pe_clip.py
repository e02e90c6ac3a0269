"""PE-CLIP: a frozen CLIP with adapters and prompts, from clips to class logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peclip_fast.config.methods.pe_clip import PECLIPConfig
from peclip_fast.errors import InputError
from peclip_fast.models.adapted_clip import LOGIT_SCALE, AdaptedCLIP, Sites, adapt
from peclip_fast.models.adapters import BottleneckAdapter, TemporalAdapter, bottleneck_width
from peclip_fast.models.prompts import Prompts
from peclip_fast.registry import register_method


@register_method("pe_clip")
class PECLIP(AdaptedCLIP):
    """The model of the paper's section 3, on an open_clip backbone. Args as AdaptedCLIP."""

    config_class = PECLIPConfig
    config: PECLIPConfig

    def make_parts(self) -> None:
        """See AdaptedCLIP."""
        config = self.config
        self.texts = config.class_texts(self.classes)

        def each(blocks: Sequence[object], width: int, wanted: bool) -> nn.ModuleList | None:
            if not wanted:
                return None
            hidden = bottleneck_width(width, config.reduction)
            return nn.ModuleList(BottleneckAdapter(width, hidden, config.backend) for _ in blocks)

        text, vision = self._text, self._vision
        self.text_adapter = each(text.blocks, text.width, config.text_adapter)
        self.shared_text = each(text.blocks, text.width, config.shared_text)
        self.shared_vision = each(vision.blocks, vision.width, config.shared_vision)
        self.temporal = (
            nn.ModuleList(
                TemporalAdapter(
                    vision.width,
                    config.reduction,
                    config.recurrence,
                    config.scaling,
                    config.backend,
                )
                for _ in vision.blocks
            )
            if config.temporal
            else None
        )
        self.prompts = self._make_prompts()
        context = self.prompts.tokens if self.prompts is not None else 0
        self.register_buffer("class_tokens", self.tokenize(self.texts, context), persistent=False)

    def _make_prompts(self) -> Prompts | None:
        config = self.config
        if config.prompts == "none":
            return None
        if config.prompts == "coop":
            return Prompts(config.context_tokens, 1, self._text.width)
        layers = min(len(self._text.blocks), len(self._vision.blocks))
        if config.prompt_depth > layers:
            raise InputError(
                f"prompt_depth={config.prompt_depth}: expected at most the {layers} blocks of "
                f"the backbone {config.backbone!r}"
            )
        widths = self._text.width, self._vision.width
        return Prompts(config.context_tokens, config.prompt_depth, *widths)

    @property
    def vision_hidden(self) -> int:
        """See AdaptedCLIP."""
        return bottleneck_width(self.vision_width, self.config.reduction)

    def parts(self) -> dict[str, nn.Module]:
        """See AdaptedCLIP."""
        names = ("text_adapter", "shared_text", "shared_vision", "temporal", "prompts")
        modules = {name: getattr(self, name) for name in names}
        return {name: module for name, module in modules.items() if module is not None}

    def encode_texts(self) -> Tensor:
        """Class text features (C, E), of length 1."""
        context = self.prompts.for_text() if self.prompts is not None else ()
        sites = Sites(adapt(self.shared_text), adapt(self.text_adapter))
        return self.read(self.class_tokens, sites, context)

    def text_side(self) -> Iterator[Tensor]:
        """See AdaptedCLIP."""
        for module in (self.text_adapter, self.shared_text, self.prompts):
            if module is not None:
                yield from module.parameters()
        yield self.class_tokens

    def encode_clips(self, frames: Tensor) -> Tensor:
        """Clips (B, T, 3, H, W), float in [0, 1] or uint8 -> features (B, E), of length 1."""
        self.check_frames(frames)
        features = self.see(frames, self.frame_sites(frames.shape[1]), self.frame_context())
        return F.normalize(features.mean(1), dim=-1)

    def frame_sites(self, length: int) -> Sites:
        """See AdaptedCLIP."""

        def walk(i: int, m: Tensor, x: Tensor) -> Tensor:
            if self.temporal is None:
                return x + m
            m, x = (t.unflatten(0, (-1, length)) for t in (m, x))
            return self.temporal[i](m, x).flatten(0, 1)

        return Sites(adapt(self.shared_vision), walk)

    def frame_context(self) -> Sequence[Tensor]:
        """See AdaptedCLIP."""
        return self.prompts.for_vision() if self.prompts is not None else ()

    def forward(self, frames: Tensor, text_features: Tensor | None = None) -> Tensor:
        """Logits (B, C), at least float32: 100 times the cosine of clip and text (equation 1).

        Args:
            frames: (B, T, 3, H, W), float in [0, 1] or uint8.
            text_features: (C, E) from encode_texts(), if the caller keeps them.
        """
        clips = self.encode_clips(frames)
        texts = self.text_features() if text_features is None else text_features
        return self.compare(clips, texts)

    def compare(self, clips: Tensor, texts: Tensor) -> Tensor:
        """See AdaptedCLIP."""
        with torch.autocast(clips.device.type, enabled=False):
            return LOGIT_SCALE * (clips @ texts.T)
