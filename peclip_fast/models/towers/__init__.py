"""The frozen encoders of open_clip, opened at the places where adapters and prompts go in.

Every tower has ``blocks`` (FrozenBlock), ``embed`` before them and ``project`` behind them; nobody
outside asks what kind it is.
"""

from peclip_fast.models.towers.blocks import FrozenBlock
from peclip_fast.models.towers.text import TextTower
from peclip_fast.models.towers.vision import VisionTower, vision_tower

__all__ = ["FrozenBlock", "TextTower", "VisionTower", "vision_tower"]
