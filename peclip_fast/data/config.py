"""The settings of the data room; the defaults are the published recipe for DFEW."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

DatasetName = Literal[
    "dfew",
    "ferv39k",
    "mafw",
    "mafw-compound",
    "afew",
    "crema-d",
    "ravdess",
    "folder",
    "csv",
    "list",
    "demo",
    "demo-order",
]


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


@dataclass
class DataConfig:
    """Which clips, and how they become batches.

    Args:
        dataset: which dataset, as it is distributed, or a generic layout (folder, csv, list).
        root: folder of the dataset; lists and CSV files are read relative to it.
        fold: test fold, from 1, where the dataset has folds.
        train_list: list (or CSV file) of training clips, in place of the dataset's own split.
        test_list: list (or CSV file) of test clips, in place of the dataset's own split.
        classes: class names in the order of the numbers in the lists; else the dataset's own.
        frames: frames taken from each clip.
        augment: training augmentation, one draw per clip.
        mix: Mixup and FMix, per batch.
        num_workers: processes that decode, per training process; null: one per core, at most 8.
        prefetch: batches that each of them prepares ahead.
        on_bad_clip: a clip that can't be read stops the run, or is skipped, counted and listed.
    """

    dataset: DatasetName = "demo"
    root: Path | None = None
    fold: int = 1
    train_list: Path | None = None
    test_list: Path | None = None
    classes: list[str] | None = None
    frames: int = 16
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    mix: MixConfig = field(default_factory=MixConfig)
    num_workers: int | None = None
    prefetch: int = 2
    on_bad_clip: Literal["error", "skip"] = "error"
