"""Where the demo's clips have what comes with them."""

from typing import Literal

Variant = Literal["expressions", "order"]

CUES, DESCRIPTIONS = "cues", "descriptions.jsonl"
