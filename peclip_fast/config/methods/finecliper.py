"""FineCLIPER's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from peclip_fast.config.data import DataConfig
from peclip_fast.config.model import ModelConfig
from peclip_fast.config.train import TrainConfig
from peclip_fast.errors import InputError
from peclip_fast.registry import register_config

BRANCHES = ("frames", "parsing", "landmarks", "descriptions")


@register_config("finecliper")
@dataclass(frozen=True)
class FineCLIPERConfig(ModelConfig):
    """What FineCLIPER adds to the frozen backbone (arXiv 2407.02157, section 3).

    The widths and the temporal layers are our choice: they give the published numbers of trained
    parameters on ViT-B/16.

    Args:
        frames: the branch of the video frames.
        parsing: the branch of face-parsing maps.
        landmarks: the branch of landmark drawings.
        descriptions: the branch of fine-grained texts.
        positive_adapter: adapters that read what a class is.
        negative_adapter: adapters that read what a class isn't.
        video_adapter: adapters of the frames' branch.
        positive_text: what a class is, with {label} for its name.
        negative_text: what a class isn't; null compares clips only with what it is.
        parallel_scale: of the adapters parallel to the MLPs.
        video_weight: the share of the frames' branch, in [0, 1]; the others share the rest. Null
            learns the branches' weights for each clip.
        video_hidden: width of the frames' adapters.
        cue_hidden: width of the parsing's and the landmarks' adapters.
        text_hidden: width of the text adapters.
        temporal_layers: transformer layers over the frames' features; 0 is their mean.
    """

    method: str = "finecliper"
    frames: bool = True
    parsing: bool = False
    landmarks: bool = False
    descriptions: bool = False
    positive_adapter: bool = True
    negative_adapter: bool = True
    video_adapter: bool = True
    positive_text: str = "A person with an expression of {label}."
    negative_text: str | None = "A person with an expression of no {label}."
    parallel_scale: float = 0.5
    video_weight: float | None = None
    video_hidden: int = 128
    cue_hidden: int = 80
    text_hidden: int = 80
    temporal_layers: int = 2

    title: ClassVar[str] = "FineCLIPER"
    learning_rates: ClassVar[Mapping[str, float]] = {"adapters": 1e-2}
    cuda_graphs: ClassVar[bool] = True
    targets: ClassVar[tuple[str, ...]] = ("classes", "descriptions")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The branches that there are."""
        return tuple(name for name in BRANCHES if getattr(self, name))

    @property
    def models_time(self) -> bool:
        """See ModelConfig."""
        return self.frames and self.temporal_layers > 0

    def class_texts(self, classes: Sequence[str]) -> tuple[str, ...]:
        """What each class is; see ModelConfig."""
        return tuple(self.positive_text.format(label=label) for label in classes)

    def negative_texts(self, classes: Sequence[str]) -> tuple[str, ...]:
        """What each class isn't; none without negative texts."""
        text = self.negative_text
        return () if text is None else tuple(text.format(label=label) for label in classes)

    def check_run(self, data: DataConfig, train: TrainConfig) -> None:
        """See ModelConfig."""
        if train.target == "classes":
            return
        part, why = "negative_adapter", "nothing would train it"
        if self.descriptions:
            part, why = "descriptions", "a text would be its own answer"
        if self.descriptions or self.negative_adapter:
            raise InputError(f"train.target=descriptions: expected model.{part} false, as {why}")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.inputs:
            raise InputError(
                "frames, parsing, landmarks, descriptions: expected at least one branch"
            )
        for name in ("positive_text", "negative_text"):
            text = getattr(self, name)
            if text is not None and "{label}" not in text:
                raise InputError(f"{name}={text!r}: expected {{label}} in it")
        if self.negative_adapter and self.negative_text is None:
            raise InputError(
                "negative_adapter: expected false where negative_text is null, as it "
                "would have nothing to read"
            )
        self.check_at_least(1, "video_hidden", "cue_hidden", "text_hidden")
        self.check_at_least(0, "temporal_layers")
        if self.video_weight is not None:
            if not 0 <= self.video_weight <= 1:
                raise InputError(f"video_weight={self.video_weight}: expected 0 to 1, or null")
            if not self.frames or len(self.inputs) < 2:
                raise InputError("video_weight: expected the frames' branch and another one")
