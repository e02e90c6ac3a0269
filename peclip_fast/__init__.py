"""PE-CLIP, accelerated: a frozen CLIP adapted to dynamic facial expression recognition."""

from pkgutil import extend_path

# From a checkout's root the source shadows the installed package; its built parts stay in reach.
__path__ = extend_path(__path__, __name__)

from peclip_fast import ops
from peclip_fast.errors import InputError
from peclip_fast.models import (
    ModelConfig,
    PEClip,
    create_model,
    from_pretrained,
    load_reference_checkpoint,
)

__version__ = "0.1.0"

__all__ = [
    "InputError",
    "ModelConfig",
    "PEClip",
    "create_model",
    "from_pretrained",
    "load_reference_checkpoint",
    "ops",
]
