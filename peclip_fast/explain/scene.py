"""What the strip and the film are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from peclip_fast.config.run import RunConfig
from peclip_fast.data.decoding.clip_source import open_record
from peclip_fast.data.records import ClipRecord
from peclip_fast.engine.evaluation import as_tested
from peclip_fast.explain.explanation import Explanation, explain_clip
from peclip_fast.explain.overlay import overlay, pictures
from peclip_fast.models.adapted_clip import AdaptedCLIP


@dataclass(frozen=True)
class PictureRow:
    """Pictures of one kind: T of them, of one stage."""

    kind: str
    name: str
    images: NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """An explained clip.

    Args:
        clip: its name.
        numbers: of the T frames within the clip, from 0.
        length: frames of the clip.
        frames: uint8 (T, 3, H, W), as the model saw them.
        classes: names.
        explanation: of the frames.
        note: of the run.
    """

    clip: str
    numbers: Sequence[int]
    length: int
    frames: Tensor
    classes: Sequence[str]
    explanation: Explanation
    note: str

    @property
    def answer(self) -> str:
        """The predicted class and its probability."""
        best = self.explanation.predicted
        return f"{self.classes[best]}, {100 * self.explanation.probabilities[-1, best]:.0f} %"

    def inputs(self) -> NDArray[np.uint8]:
        """The frames as pictures, (T, side, side, 3)."""
        return pictures(self.frames)

    def rows(self) -> list[PictureRow]:
        """Attention rollouts of all stages, then gradient rollouts of all stages."""
        shown, stages = self.inputs(), self.explanation.stages
        return [
            *(PictureRow("attention rollout", s.name, overlay(shown, s.rollout)) for s in stages),
            *(PictureRow("gradient rollout", s.name, overlay(shown, s.gradient)) for s in stages),
        ]


def explained(model: AdaptedCLIP, record: ClipRecord, config: RunConfig, name: str) -> Scene:
    """A clip and what the model makes of it.

    Args:
        model: in eval mode, on the device where it computes.
        record: the clip, with all that the model sees of it.
        config: of the run.
        name: the clip's, to be shown.
    """
    clips = as_tested(model, [record], config)
    batch = clips.collate([clips.load(0)])  # by PyAV, whatever decoder the run has
    frames, device = batch["frames"][0], model.class_tokens.device
    others = {name: batch[name][0].to(device) for name in model.inputs if name != "frames"}
    explanation = explain_clip(model, frames.to(device), **others)
    source = open_record(record)
    length = source.num_frames
    source.close()
    note = config.title
    if explanation.shares:
        told = (
            f"{name} {100 * share:.0f}\N{NO-BREAK SPACE}%"
            for name, share in explanation.shares.items()
        )
        note += f". Shares of the branches: {', '.join(told)}"
    numbers = clips.draw_frames(length)
    return Scene(name, numbers, length, frames, model.classes, explanation, note)


def shortened(name: str, most: int = 60) -> str:
    """A long name with a gap in its middle."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[1 - most // 2 :]}"
