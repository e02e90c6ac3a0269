"""Two kinds of rows of which a report says whether the one is ahead of the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from peclip_fast.config.model import ModelConfig


@dataclass(frozen=True)
class Contrast:
    """What the rows of the first kind have and those of the second don't.

    Args:
        what: in words.
        among: a model of the first kind.
    """

    what: str
    among: Callable[[ModelConfig], bool]


def _walks(model: ModelConfig) -> bool:
    if model.method == "finecliper":
        return model.finecliper.frames and model.finecliper.temporal_layers > 0
    return model.temporal and model.recurrence != "none"


def _has_cues(model: ModelConfig) -> bool:
    return model.finecliper.parsing or model.finecliper.landmarks


TIME = Contrast("a recurrence over the frames", _walks)
CUES = Contrast("face parsing or landmarks", _has_cues)
