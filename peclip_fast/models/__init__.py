"""The models: two methods on open_clip backbones, and their files."""

from peclip_fast.models.adapted_clip import AdaptedClip
from peclip_fast.models.config import FineCliperConfig, ModelConfig
from peclip_fast.models.fine_cliper import FineCliper
from peclip_fast.models.pe_clip import PEClip
from peclip_fast.models.pretrained import create_model, from_pretrained
from peclip_fast.models.reference_checkpoint import load_reference_checkpoint

__all__ = [
    "AdaptedClip",
    "FineCliper",
    "FineCliperConfig",
    "ModelConfig",
    "PEClip",
    "create_model",
    "from_pretrained",
    "load_reference_checkpoint",
]
