"""The models: PE-CLIP on open_clip backbones, and their files."""

from peclip_fast.models.config import PEClipConfig
from peclip_fast.models.pe_clip import PEClip
from peclip_fast.models.pretrained import create_model, from_pretrained
from peclip_fast.models.reference_checkpoint import load_reference_checkpoint

__all__ = [
    "PEClip",
    "PEClipConfig",
    "create_model",
    "from_pretrained",
    "load_reference_checkpoint",
]
