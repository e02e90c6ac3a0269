"""The smallest CLIP that the reference implementation takes."""

from __future__ import annotations

from pathlib import Path

import open_clip
import torch

from peclip_fast.models.backbone import save_backbone

# Heads of 64 and nine blocks, as the published program takes for granted.
SMALL = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 32, "patch_size": 16, "width": 128, "layers": 9, "head_width": 64
    },
    "text_cfg": {"width": 64, "heads": 1, "layers": 9},
}  # fmt: skip


def save_small_backbone(folder: Path, layers: int = 9) -> str:
    """Writes it, of as many blocks a side, into a folder there, which is its name."""
    path = folder / "small"
    config = SMALL | {side: SMALL[side] | {"layers": layers} for side in ("vision_cfg", "text_cfg")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_backbone(open_clip.CLIP(**config), config, path)
    return str(path)
