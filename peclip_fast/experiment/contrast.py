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
        each: given, the report names each row of the first kind that is ahead of all of the second,
            and says this of them.
    """

    what: str
    among: Callable[[ModelConfig], bool]
    each: str = ""


TIME = Contrast("a recurrence over the frames", lambda model: model.models_time)
CUES = Contrast(
    "face parsing or landmarks", lambda model: bool({"parsing", "landmarks"} & set(model.inputs))
)
ORDER = Contrast(
    "a path over time", lambda model: model.models_time, "tell the order of the frames apart"
)
