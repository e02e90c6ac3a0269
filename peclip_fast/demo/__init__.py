"""The built-in demo: faces drawn from action units, as video, and a small CLIP made for them."""

from peclip_fast.demo.render import CUES, DESCRIPTIONS, prepare_demo
from peclip_fast.demo.units import ORDER_TEXTS

__all__ = ["CUES", "DESCRIPTIONS", "ORDER_TEXTS", "prepare_demo"]
