"""All that a decoding process has to know of the model and of how videos are analyzed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from peclip_fast.analyze.analyzer import Analyzer
from peclip_fast.analyze.recipe import Recipe
from peclip_fast.serve.limits import Limits


@dataclass(frozen=True)
class ServedRecipe(Recipe):
    """What makes the model's input of a client's file.

    Args:
        limits: of clients' files.
    """

    limits: Limits

    @staticmethod
    def of(analyzer: Analyzer, limits: Limits) -> ServedRecipe:
        """What an analyzer does. The run's place on this machine is nobody else's business."""
        known = vars(analyzer.recipe())
        model = known["about"]["model"]
        model = {**model, "run": Path(model["run"]).name}
        return ServedRecipe(
            **{**known, "about": {**known["about"], "model": model}, "limits": limits}
        )
