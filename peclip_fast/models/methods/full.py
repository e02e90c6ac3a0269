"""Full fine-tuning of CLIP."""

from __future__ import annotations

from peclip_fast.config.methods.full import FullConfig
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.registry import register_method


@register_method("full")
class FullFineTuning(AdaptedCLIP):
    """The backbone with all of it trained, a clip being the mean of its frames.

    Args as AdaptedCLIP.
    """

    config_class = FullConfig
    config: FullConfig
    trained_backbone = ("*",)

    def make_parts(self) -> None:
        """There are none."""
