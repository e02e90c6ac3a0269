"""Whether DALI gives the frames that PyAV gives of some of a run's clips, and sooner.

``run`` does it in a process of its own, as what a decoder does to this one isn't known.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peclip_fast.config.data import AugmentConfig, DataConfig
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.loading.loader import make_loader
from peclip_fast.data.records import ClipRecord

# The largest difference of a value of 255, and the mean one over a clip. On the CPU both were
# measured: FFmpeg's fast conversion from YUV comes out darker than DALI's. On a GPU nothing was.
TOLERANCE = {"cpu": (12.0, 1.5), "cuda": (40.0, 4.0)}
CLIPS = 8
TURNS = 3  # timed passes of each decoder, after one that isn't timed
DECODERS = ("pyav", "dali")
PLACE = f"{__name__}:run"


@dataclass(frozen=True)
class TrialClips:
    """A few clips of a run, and how they are read, as JSON has it."""

    records: list[dict[str, Any]]
    data: dict[str, Any]
    augment: dict[str, Any]
    image_size: int
    batch_size: int
    seed: int

    @classmethod
    def of(
        cls, records: Sequence[ClipRecord], config: DataConfig, image_size: int, batch_size: int,
        seed: int,
    ) -> TrialClips:  # fmt: skip
        """Clips from all over a dataset."""
        step = max(1, len(records) // CLIPS)
        taken = [
            {"path": str(record.path.absolute()), "label": record.label,
             "num_frames": record.num_frames, "start": record.start, "end": record.end}
            for record in list(records)[::step][:CLIPS]
        ]  # fmt: skip
        names = ("frames", "sampling", "stride", "num_workers", "prefetch")
        data = {name: getattr(config, name) for name in names}
        return cls(
            taken, data, dataclasses.asdict(config.augment), image_size, batch_size, seed
        )  # fmt: skip

    def dataset(self, decoder: str, train: bool, *, only_geometry: bool) -> ClipDataset:
        """The clips, to be read by a decoder; without changes of colours if so asked."""
        off = dict.fromkeys(("brightness", "contrast", "saturation", "rotation"), 0.0)
        augment = AugmentConfig(**{**self.augment, **(off if only_geometry else {})})
        # By auto, DALI's loader has PyAV read what DALI doesn't take, as it does in a run.
        config = DataConfig(
            decoder="auto" if decoder == "dali" else "pyav", augment=augment, on_bad_clip="skip",
            **self.data,
        )  # fmt: skip
        records = [ClipRecord(**{**r, "path": Path(r["path"])}) for r in self.records]
        return ClipDataset(records, config, self.image_size, train, self.seed)


def run(job: Mapping[str, Any], device: torch.device, tell: Callable[..., None]) -> None:
    """Compare, then time; tells a verdict, and times in ms a clip."""
    from peclip_fast.data.loading import decoders

    decoders.install({device.type})  # so that make_loader() gives DALI's
    sample = TrialClips(**job)
    tell(call=0)
    for train in (False, True):
        tell(at="decoding training clips" if train else "decoding test clips")
        expected, found = (_frames(sample, name, train, device) for name in DECODERS)
        if not expected:
            tell(state="unknown", reason="PyAV can read none of the clips that were tried")
            return
        if said := different(expected, found, *TOLERANCE[device.type]):
            tell(verdict=0, state="failed", reason=said)
            return
    tell(at="timing")
    times = _times(sample, device)
    tell(times=0, found={name: {"forward": time} for name, time in times.items()})
    tell(verdict=0, state="passed", reason="")


def different(
    expected: Mapping[int, Tensor], found: Mapping[int, Tensor], largest: float, mean: float
) -> str | None:
    """What is wrong with the frames of clips, or None."""
    for clip, frames in expected.items():
        if clip not in found:
            return "it can't read a clip that PyAV reads"
        other = found[clip].cpu()
        if other.shape != frames.shape or other.dtype != frames.dtype:
            return f"frames {tuple(other.shape)} {other.dtype}, not {tuple(frames.shape)}"
        distance = (other.int() - frames.int()).abs()
        most, average = int(distance.max()), float(distance.float().mean())
        if most > largest or average > mean:
            return (
                f"values differ from PyAV's by {most} of 255 at most and {average:.2f} in the "
                f"mean, expected at most {largest:g} and {mean:g}"
            )
    return None


def _frames(
    sample: TrialClips, decoder: str, train: bool, device: torch.device
) -> dict[int, Tensor]:  # fmt: skip
    loader = _loader(sample, decoder, train, device, only_geometry=True)
    frames = {}
    for batch in loader:
        for index, clip in zip(batch["index"].tolist(), batch["frames"], strict=True):
            frames[index] = clip.cpu()
    loader.close()
    return frames


def _times(sample: TrialClips, device: torch.device) -> dict[str, float]:
    """ms a clip, of each decoder in turns."""
    loaders = {name: _loader(sample, name, True, device, only_geometry=False) for name in DECODERS}
    times: dict[str, list[float]] = {name: [] for name in DECODERS}
    for turn in range(1 + TURNS):
        for name, loader in loaders.items():
            loader.set_epoch(turn)
            start = time.perf_counter()
            clips = sum(len(batch["frames"].to(device)) for batch in loader)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times[name].append(1e3 * (time.perf_counter() - start) / max(clips, 1))
    for loader in loaders.values():
        loader.close()
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def _loader(
    sample: TrialClips, decoder: str, train: bool, device: torch.device, *, only_geometry: bool
) -> Any:
    dataset = sample.dataset(decoder, train, only_geometry=only_geometry)
    return make_loader(dataset, min(sample.batch_size, len(dataset)), device=device)
