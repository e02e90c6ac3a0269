"""Clips as a torch Dataset, ready for the model but for the scale of the values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch.utils.data import Dataset

from peclip_fast.config.data import DataConfig
from peclip_fast.data.cues.images import IMAGES, cue_images
from peclip_fast.data.cues.store import read_cues
from peclip_fast.data.decoding.clip_source import open_record
from peclip_fast.data.randomness import derived_generator
from peclip_fast.data.records import ClipRecord
from peclip_fast.data.transforms.augment import (
    ClipTransform,
    add_noise,
    apply_transform,
    centre_transform,
    draw_transform,
)
from peclip_fast.data.transforms.sampling import sample_indices, sample_window
from peclip_fast.errors import InputError

# What a sampler asks for, (epoch, index): the epoch comes along, so that workers need no state.
ClipKey = tuple[int, int]


class BadClip(NamedTuple):
    """Stands for a clip that can't be read: its index in the dataset, and why."""

    clip: int
    reason: str


class Tokenize(Protocol):
    """A model's tokenizer."""

    def __call__(self, texts: Sequence[str], *, cut: bool) -> torch.Tensor:
        """Tokens int64 (N, n); texts that are too long for the model lose their end."""


class ClipDataset(Dataset[dict[str, Any] | BadClip]):
    """Clips by index.

    All randomness of an item is a function of (seed, epoch, index), so it doesn't depend on the
    number of workers or on where a run was resumed.

    Args:
        records: the clips.
        config: frames per clip, augmentation, what to do with bad clips.
        image_size: side of the frames that the model takes.
        train: random frames and augmentation, otherwise the middle ones and the centre.
        seed: of the run.
        inputs: what the model sees: frames, parsing, landmarks, descriptions.
        tokenize: the model's, for descriptions.
    """

    def __init__(
        self,
        records: Sequence[ClipRecord],
        config: DataConfig,
        image_size: int,
        train: bool,
        seed: int = 0,
        inputs: Sequence[str] = ("frames",),
        tokenize: Tokenize | None = None,
    ) -> None:
        self.records = list(records)
        self.config = config
        self.image_size = image_size
        self.train = train
        self.seed = seed
        self.cues = [name for name in inputs if name in IMAGES]
        self.tokenize = tokenize if "descriptions" in inputs else None

    @property
    def frames_alone(self) -> bool:
        """Whether items are frames as they were decoded and nothing else."""
        return not (self.cues or self.tokenize or self.config.noise)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: ClipKey | int) -> dict[str, Any] | BadClip:
        """The clip, or a ``BadClip`` that the loader reports or skips."""
        epoch, index = (0, key) if isinstance(key, int) else key
        try:
            return self.load(index, epoch)
        except InputError as error:
            return BadClip(index, str(error))

    def load(self, index: int, epoch: int = 0) -> dict[str, Any]:
        """One clip.

        Returns:
            ``frames`` uint8 (T, 3, image_size, image_size), ``label`` int, ``index`` int; where the
            model sees them, ``parsing`` and ``landmarks``, which are like ``frames``, and
            ``description``.

        Raises:
            InputError: the clip can't be read, or has no cues or description; names the file.
        """
        record = self.records[index]
        generator = derived_generator(self.seed, epoch, index)
        source = open_record(record)
        try:
            taken = self.draw_frames(source.num_frames, generator)
            frames = source.read(taken)
        finally:
            source.close()
        height, width = frames.shape[1:3]
        transform = self.draw_transform(height, width, generator)
        images = apply_transform(frames, transform, self.image_size)
        item = {
            "frames": add_noise(images, self.config.noise, generator),
            "label": record.label,
            "index": index,
        }
        if self.cues:
            if record.cues is None:
                raise InputError(f"{record.path}: data.cues has no cues of this clip")
            cues = read_cues(record.cues, taken)
            for name in self.cues:
                item[name] = cue_images(name, cues, (height, width), transform, self.image_size)
        if self.tokenize:
            if record.description is None:
                raise InputError(f"{record.path}: data.descriptions has no text for this clip")
            item["description"] = record.description
        return item

    def draw_frames(self, num_frames: int, generator: torch.Generator | None = None) -> list[int]:
        """Which frames of a clip are taken: the first draw of every item."""
        length = self.config.frames
        if self.config.sampling == "window":
            return sample_window(num_frames, length, self.config.stride, self.train, generator)
        return sample_indices(num_frames, length, self.train, generator)

    def draw_transform(self, height: int, width: int, generator: torch.Generator) -> ClipTransform:
        """What is done to the frames of a clip of this size: the second draw."""
        if not self.train:
            return centre_transform(height, width)
        return draw_transform(height, width, self.config.augment, generator)

    def collate(self, items: Sequence[dict[str, Any] | BadClip]) -> dict[str, Any]:
        """A batch of the clips that could be read; it may be smaller than asked for, or empty.

        Returns:
            ``frames`` uint8 (B, T, 3, image_size, image_size), ``label`` and ``index`` int64 (B,),
            and ``bad``, a list of ``BadClip``; where the model sees them, ``parsing`` and
            ``landmarks``, which are like ``frames``, and the tokens ``descriptions`` int64 (B, n).
        """
        clips = [item for item in items if isinstance(item, dict)]
        batch = {
            name: self._stack([clip[name] for clip in clips]) for name in ("frames", *self.cues)
        }
        if self.tokenize and clips:
            batch["descriptions"] = self.tokenize([c["description"] for c in clips], cut=True)
        return batch | {
            "label": torch.tensor([clip["label"] for clip in clips], dtype=torch.int64),
            "index": torch.tensor([clip["index"] for clip in clips], dtype=torch.int64),
            "bad": [item for item in items if isinstance(item, BadClip)],
        }

    def _stack(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """(B, T, 3, image_size, image_size), as it lies in memory: that copy is a plain one."""
        size = self.image_size
        shape = (len(clips), self.config.frames, size, size, 3)  # colours innermost
        stacked = torch.empty(shape, dtype=torch.uint8, device=clips[0].device if clips else None)
        for row, clip in enumerate(clips):
            stacked[row] = clip.permute(0, 2, 3, 1)
        return stacked.permute(0, 1, 4, 2, 3)
