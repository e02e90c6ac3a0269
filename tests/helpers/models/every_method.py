"""The package's own methods, small enough for tiny_backbone."""

from __future__ import annotations

from typing import Any

from peclip_fast.registry import METHODS

# What doesn't fit a backbone of three blocks, or takes long there.
SIZES: dict[str, dict[str, Any]] = {
    "pe_clip": {"prompt_depth": 2, "reduction": 16},
    "finecliper": {"video_hidden": 16, "cue_hidden": 8, "text_hidden": 8},
    "dfer_clip": {"temporal_hidden": 64},
    "emoclip": {"temporal_head_width": 16, "temporal_hidden": 64, "places": 17},
    # Their linear heads, which learn little in a dozen steps, have tests of their own.
    "aim": {"hidden": 8, "head": "clip", "texts": "class_names"},
    "st_adapter": {"hidden": 8, "head": "clip", "texts": "class_names"},
}
NAMES = tuple(METHODS._modules)


def options_of(name: str) -> dict[str, Any]:
    """As create_model() takes them, with texts of any classes."""
    return {"method": name, **SIZES.get(name, {})}
