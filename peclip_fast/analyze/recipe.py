"""All that a process without the model has to know to find what the model looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peclip_fast.analyze.pipeline.windows import Taken, WindowOptions
from peclip_fast.config.data import DataConfig
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.faces.crop import CropProfile
from peclip_fast.faces.finder import FaceFinder
from peclip_fast.faces.named import open_detector


@dataclass(frozen=True)
class Recipe:
    """What makes the model's input of a video.

    Args:
        data: of the run.
        image_size: side of the model's images.
        inputs: what the model sees.
        classes: names.
        profile: how training clips show a face; None where the model sees whole frames.
        windows: how they slide.
        smooth: seconds over which probabilities are smoothed.
        detector: of faces, by name or file.
        min_face: smallest height of a face, in pixels.
        max_faces: most faces in a frame; None is all.
        batch: windows at a time.
        about: what results depend on, for run.json.
    """

    data: DataConfig
    image_size: int
    inputs: tuple[str, ...]
    classes: tuple[str, ...]
    profile: CropProfile | None
    windows: WindowOptions
    smooth: float
    detector: str
    min_face: float
    max_faces: int | None
    batch: int
    about: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of each of the model's inputs, uint8."""
        return self.data.frames, 3, self.image_size, self.image_size

    def dataset(self) -> ClipDataset:
        """Says which frames of a clip are taken."""
        return ClipDataset([], self.data, self.image_size, train=False)

    def taken(self) -> Taken:
        """How the model takes windows."""
        return Taken(self.dataset().draw_frames, self.image_size, self.inputs, self.profile)

    def finder(self) -> FaceFinder:
        """What finds the faces."""
        return FaceFinder(open_detector(self.detector), self.min_face, self.max_faces)
