"""The encoders of open_clip, opened where adapters and prompts go in.

Every tower has ``blocks`` (FrozenBlock), ``embed`` before them, ``walk`` through them and
``project`` after them; no caller has to know what kind it is.
"""

from peclip_fast.models.towers.blocks import FrozenBlock
from peclip_fast.models.towers.text import TextTower
from peclip_fast.models.towers.tower import Tower
from peclip_fast.models.towers.vision import VisionTower, vision_tower

__all__ = ["FrozenBlock", "TextTower", "Tower", "VisionTower", "vision_tower"]
