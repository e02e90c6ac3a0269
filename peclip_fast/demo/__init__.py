"""The built-in demo: faces drawn from action units, as video, and a small CLIP made for them."""

from peclip_fast.demo.render import prepare_demo
from peclip_fast.demo.units import ORDER_TEXTS

__all__ = ["ORDER_TEXTS", "prepare_demo"]
