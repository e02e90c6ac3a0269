"""PE-CLIP: a frozen CLIP with adapters and prompts, from clips to class logits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from torch import Tensor, nn

from peclip_fast.config.methods.pe_clip import PECLIPConfig
from peclip_fast.errors import InputError
from peclip_fast.models.adapted_clip import AdaptedCLIP, Stage
from peclip_fast.models.hooks import Hooks, adapt
from peclip_fast.models.parts.adapters import BottleneckAdapter, TemporalAdapter, bottleneck_width
from peclip_fast.models.parts.prompts import Prompts
from peclip_fast.models.published.checkpoint import PublishedCheckpoint
from peclip_fast.models.published.pe_clip import load_pe_clip
from peclip_fast.registry import register_method


@register_method("pe_clip")
class PECLIP(AdaptedCLIP):
    """The model of the paper's section 3, on an open_clip backbone. Args as AdaptedCLIP."""

    config_class = PECLIPConfig
    config: PECLIPConfig

    def make_parts(self) -> None:
        """See AdaptedCLIP."""
        config = self.config

        def each(blocks: Sequence[object], width: int, wanted: bool) -> nn.ModuleList | None:
            if not wanted:
                return None
            hidden = bottleneck_width(width, config.reduction)
            return nn.ModuleList(BottleneckAdapter(width, hidden, config.backend) for _ in blocks)

        text, vision = self.text, self.vision
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

    def _make_prompts(self) -> Prompts | None:
        config = self.config
        if config.prompts == "none":
            return None
        if config.prompts == "coop":
            return Prompts(config.context_tokens, 1, self.text.width)
        layers = min(len(self.text.blocks), len(self.vision.blocks))
        if config.prompt_depth > layers:
            raise InputError(
                f"prompt_depth={config.prompt_depth}: expected at most the {layers} blocks of "
                f"the backbone {config.backbone!r}"
            )
        widths = self.text.width, self.vision.width
        return Prompts(config.context_tokens, config.prompt_depth, *widths)

    # Texts and frames --------------------------------------------------------------------------

    def text_hooks(self) -> Hooks:
        """See AdaptedCLIP."""
        return Hooks(adapt(self.shared_text), adapt(self.text_adapter))

    def text_context(self) -> Sequence[Tensor]:
        """See AdaptedCLIP."""
        return self.prompts.for_text() if self.prompts is not None else ()

    def class_side(self) -> Iterator[Tensor]:
        """See AdaptedCLIP."""
        for module in (self.text_adapter, self.shared_text, self.prompts):
            if module is not None:
                yield from module.parameters()
        yield self.class_tokens

    def frame_hooks(self, length: int) -> Hooks:
        """See AdaptedCLIP."""
        temporal = self.temporal
        if temporal is None:
            return Hooks(adapt(self.shared_vision))

        def over_frames(i: int, m: Tensor, x: Tensor) -> Tensor:
            m, x = (t.unflatten(0, (-1, length)) for t in (m, x))
            adapted: Tensor = temporal[i](m, x)
            return adapted.flatten(0, 1)

        return Hooks(adapt(self.shared_vision), over_frames)

    def frame_context(self) -> Sequence[Tensor]:
        """See AdaptedCLIP."""
        return self.prompts.for_vision() if self.prompts is not None else ()

    # What the commands ask ---------------------------------------------------------------------

    @property
    def adapter_width(self) -> int:
        """See AdaptedCLIP."""
        return bottleneck_width(self.vision_width, self.config.reduction)

    def stages(self) -> list[Stage]:
        """The frozen CLIP, and the one with the ShA as far as that isn't the whole model."""
        parts, shared = self.parts(), ("shared_text", "shared_vision")
        kept = tuple(name for name in shared if name in parts)
        between = "shared_vision" in kept and len(kept) < len(parts)
        return [*super().stages(), *([Stage("CLIP + ShA", kept)] if between else [])]

    def config_with(self, kept: Collection[str]) -> PECLIPConfig:
        """See AdaptedCLIP."""
        return replace(
            self.config,
            text_adapter="text_adapter" in kept,
            shared_text="shared_text" in kept,
            shared_vision="shared_vision" in kept,
            temporal="temporal" in kept,
            prompts=self.config.prompts if "prompts" in kept else "none",
        )

    def frame_scales(self, i: int, m: Tensor) -> Tensor | None:
        """The TDA's s of each token (paper, equation 8)."""
        if self.temporal is None:
            return None
        adapter = self.temporal[i]
        assert isinstance(adapter, TemporalAdapter)
        return adapter.scales(m)

    @classmethod
    def from_published(cls, checkpoint: PublishedCheckpoint) -> PECLIP:
        """See AdaptedCLIP."""
        return load_pe_clip(cls, checkpoint)
