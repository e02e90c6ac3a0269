"""Which clips, and how they become batches; the defaults are the published recipe for DFEW."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from peclip_fast.config.names import alike, composed
from peclip_fast.config.options import LARGEST_SEED, brief
from peclip_fast.errors import InputError

_MOST_FRAMES, _MOST_PROCESSES = 1_000_000, 1024
_LARGE = 1000  # a bound above this only says that a number is of no use


def _require(option: str, value: float, low: float, high: float = sys.float_info.max) -> None:
    if not low <= value <= high:
        span = f"at least {low:g}" if value < low and high > _LARGE else f"{low:g} to {high:g}"
        got = f"{value:g}" if isinstance(value, float) else brief(value)
        raise InputError(f"data.{option}: expected {span}, got {got}")


@dataclass
class AugmentConfig:
    """Training augmentation: one draw per clip, the same for all its frames.

    Args:
        scale_min: smallest share of the frame's area that the random crop takes.
        scale_max: largest share of the frame's area that the random crop takes.
        ratio_min: narrowest width / height of the random crop.
        ratio_max: widest width / height of the random crop.
        hflip: probability of a horizontal flip.
        brightness: factor drawn from [1 - x, 1 + x]; 0 is off.
        contrast: factor drawn from [1 - x, 1 + x]; 0 is off.
        saturation: factor drawn from [1 - x, 1 + x]; 0 is off.
        rotation: angle drawn from [-x, x] degrees; 0 is off.
    """

    scale_min: float = 0.08
    scale_max: float = 1.0
    ratio_min: float = 3 / 4
    ratio_max: float = 4 / 3
    hflip: float = 0.5
    brightness: float = 0.5
    contrast: float = 0.0
    saturation: float = 0.0
    rotation: float = 0.0

    def __post_init__(self) -> None:
        _require("augment.scale_min", self.scale_min, 0.001, self.scale_max)
        _require("augment.scale_max", self.scale_max, self.scale_min, 1)
        _require("augment.ratio_min", self.ratio_min, 0.01, self.ratio_max)
        _require("augment.ratio_max", self.ratio_max, self.ratio_min, 100)
        _require("augment.hflip", self.hflip, 0, 1)
        _require("augment.brightness", self.brightness, 0)
        _require("augment.contrast", self.contrast, 0)
        _require("augment.saturation", self.saturation, 0)
        _require("augment.rotation", self.rotation, 0, 180)


@dataclass
class MixConfig:
    """Mixup and FMix: at most one of them per batch.

    Args:
        mixup: probability that a batch gets Mixup.
        mixup_alpha: both parameters of the Beta distribution of Mixup's lambda.
        mixup_min: lambda of Mixup is clipped from below here.
        mixup_max: lambda of Mixup is clipped from above here.
        fmix: probability that a batch gets FMix.
        fmix_alpha: both parameters of the Beta distribution of FMix's lambda.
        fmix_decay: power with which FMix's noise falls off over frequency.
    """

    mixup: float = 0.4
    mixup_alpha: float = 0.4
    mixup_min: float = 0.3
    mixup_max: float = 0.7
    fmix: float = 0.3
    fmix_alpha: float = 1.0
    fmix_decay: float = 3.0

    def __post_init__(self) -> None:
        _require("mix.mixup", self.mixup, 0, 1)
        _require("mix.fmix", self.fmix, 0, 1 - self.mixup + 1e-9)  # 0.1 fits beside 0.9
        _require("mix.mixup_alpha", self.mixup_alpha, 1e-3)
        _require("mix.fmix_alpha", self.fmix_alpha, 1e-3)
        _require("mix.mixup_min", self.mixup_min, 0, self.mixup_max)
        _require("mix.mixup_max", self.mixup_max, self.mixup_min, 1)
        _require("mix.fmix_decay", self.fmix_decay, 0)


@dataclass
class DataConfig:
    """Which clips, and how they become batches.

    Args:
        dataset: dfew, ferv39k, mafw, mafw-compound, afew, crema-d or ravdess as they are
            distributed; folder, csv or list for clips of your own; demo or demo-order, which are
            built in; or one that another package registers.
        root: folder of the dataset; lists and CSV files are read relative to it.
        fold: test fold, from 1, where the dataset has folds.
        train_list: list (or CSV file) of training clips, in place of the dataset's own split.
        test_list: list (or CSV file) of test clips, in place of the dataset's own split.
        classes: class names in the order of the numbers in the lists; else the dataset's own.
        shots: most training clips of a class; null is all.
        shots_seed: draws them; train.seed doesn't.
        cues: folder with landmarks and regions of the clips, from the command data cues.
        descriptions: file with a text for each clip, from the command describe.
        frames: frames taken from each clip.
        sampling: which ones; one of each of as many segments, or, with window, every stride-th
            frame in a row, from a random one on in training, and from the start again after the end
            of the clip.
        stride: from one frame of a window to the next.
        noise: standard deviation of white noise on all frames, in training and test, where black is
            0 and white is 1.
        augment: training augmentation, one draw per clip.
        mix: Mixup and FMix, per batch.
        decoder: pyav takes every codec, on the CPU; dali decodes on the model's device: images,
            VP8, VP9, MJPEG, on a GPU H.264 and more; auto is pyav until dali is measured on a GPU.
        num_workers: processes (dali: threads) that decode, per training process; null: one per
            core, at most 8.
        prefetch: batches that each of them (dali: all together) prepares ahead.
        on_bad_clip: a clip that can't be read stops the run, or is skipped, counted and listed.
    """

    dataset: str = "demo"
    root: Path | None = None
    fold: int = 1
    train_list: Path | None = None
    test_list: Path | None = None
    classes: list[str] | None = None
    shots: int | None = None
    shots_seed: int = 0
    cues: Path | None = None
    descriptions: Path | None = None
    frames: int = 16
    sampling: Literal["segments", "window"] = "segments"
    stride: int = 1
    noise: float = 0.0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    mix: MixConfig = field(default_factory=MixConfig)
    decoder: Literal["auto", "pyav", "dali"] = "auto"
    num_workers: int | None = None
    prefetch: int = 2
    on_bad_clip: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        for name in ("root", "train_list", "test_list", "cues", "descriptions"):
            setattr(self, name, _own_path(name, getattr(self, name)))
        if self.shots is not None:
            _require("shots", self.shots, 1)
        _require("shots_seed", self.shots_seed, 0, LARGEST_SEED)
        _require("frames", self.frames, 1, _MOST_FRAMES)
        _require("stride", self.stride, 1, _MOST_FRAMES)
        if self.sampling == "segments" and self.stride > 1:
            raise InputError(f"data.stride={self.stride}: expected 1, as data.sampling=segments")
        _require("noise", self.noise, 0)
        _require("prefetch", self.prefetch, 1, _MOST_PROCESSES)
        _require("num_workers", self.num_workers or 0, 0, _MOST_PROCESSES)
        if self.classes is not None:
            self.classes = _own_names(self.classes)


def _own_path(name: str, path: Path | str | None) -> Path | None:
    """A path with the home folder for its ``~``."""
    if path is None:
        return None
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"data.{name}: {path}: {error}") from None


def _own_names(names: Sequence[str]) -> list[str]:
    """Class names, each composed, of which none is empty and no two are alike."""
    composed_names = [composed(name.strip()) for name in names]
    first: dict[str, str] = {}
    for name in composed_names:
        if not name:
            raise InputError("data.classes: a name is empty")
        if alike(name) in first:
            former = first[alike(name)]
            twice = f" (as {former} and {name})" if former != name else ""
            raise InputError(
                f"data.classes: a name comes twice{twice} in {', '.join(composed_names)}"
            )
        first[alike(name)] = name
    if not composed_names:
        raise InputError("data.classes: expected names, or null for the dataset's own")
    return composed_names
