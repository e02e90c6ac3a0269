"""Frames as a loader gives them -> what a vision encoder reads: mixed, scaled, normalized."""

from peclip_fast.ops.pixels import triton  # the backend: it registers itself
from peclip_fast.ops.pixels.operator import pixels
from peclip_fast.ops.pixels.reference import OP, mixed, pixels_reference

__all__ = ["OP", "mixed", "pixels", "pixels_reference", "triton"]
