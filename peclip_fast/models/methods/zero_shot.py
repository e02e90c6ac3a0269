"""CLIP without any training."""

from __future__ import annotations

from peclip_fast.config.methods.zero_shot import ZeroShotConfig
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.registry import register_method


@register_method("zero_shot")
class ZeroShotCLIP(AdaptedCLIP):
    """The frozen backbone, a clip being the mean of its frames. Args as AdaptedCLIP."""

    config_class = ZeroShotConfig
    config: ZeroShotConfig

    def make_parts(self) -> None:
        """There are none."""
