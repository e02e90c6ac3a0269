"""Decoding of clips by DALI, where one bad file costs no other clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from peclip_fast.config.data import AugmentConfig
from peclip_fast.data.loading.dali.encoded_clip import EncodedClip
from peclip_fast.data.loading.dali.pipeline import ClipPipeline, DecodeError
from peclip_fast.data.loading.dataset import BadClip

# Images that DALI gets at a time. With 32 or more, on however many threads, a damaged one can end
# the process (DALI 2.4, seen on the CPU within some tens of damaged batches); with 28 none did.
_MOST_IMAGES = 16


class DaliDecoder:
    """Encoded clips to items as ``ClipDataset`` gives them, on one device. Belongs to one thread.

    Wrong bytes in the middle of a JPEG, which the other decoder calls damage, DALI takes as they
    are: ``peclip-fast data check`` finds such files.

    Args:
        augment: of the training clips; None for test clips.
        image_size: side of the frames.
        frames: of a clip.
        device: where it decodes.
        most: clips of a batch, at most.
        threads: on the CPU.
    """

    def __init__(
        self,
        augment: AugmentConfig | None,
        image_size: int,
        frames: int,
        device: torch.device,
        most: int,
        threads: int,
    ) -> None:
        self._augment = augment
        self._image_size = image_size
        self._device = device
        self._threads = threads
        self._most = {True: most, False: max(1, _MOST_IMAGES // frames)}
        self._pipelines: dict[bool, ClipPipeline] = {}

    def decode(self, clips: Sequence[EncodedClip]) -> list[dict[str, Any] | BadClip]:
        """Items of ``frames`` uint8 (T, 3, image_size, image_size), ``label``, ``index``, in order.

        A clip that can't be decoded is a ``BadClip``.
        """
        items = {}
        for videos in (True, False):
            some = [clip for clip in clips if clip.is_video == videos]
            for first in range(0, len(some), self._most[videos]):
                group = some[first : first + self._most[videos]]
                for clip, frames in zip(group, self._decode(group), strict=True):
                    items[clip.index] = _item(clip, frames)
        return [items[clip.index] for clip in clips]

    def _decode(self, clips: Sequence[EncodedClip]) -> list[torch.Tensor | str]:
        """The frames (T, S, S, 3) of each clip, all videos or none, or why there are none.

        DALI's errors don't say whose they are, so after one the halves are tried by themselves, and
        at last the single files.
        """
        if len(clips[0].files) > _MOST_IMAGES:
            return [self._in_parts(clips[0], _MOST_IMAGES)]
        try:
            return list(self._pipeline(clips[0].is_video).run(clips))
        except DecodeError as error:
            del self._pipelines[clips[0].is_video]
            if len(clips) == len(clips[0].files) == 1:
                return [f"{clips[0].files[0].path}: DALI can't decode it: {error}"]
        if len(clips) > 1:
            half = len(clips) // 2
            return self._decode(clips[:half]) + self._decode(clips[half:])
        return [self._in_parts(clips[0], 1)]

    def _in_parts(self, clip: EncodedClip, files: int) -> torch.Tensor | str:
        """As ``_decode`` of one clip, with so many of its files at a time."""
        decoded: list[torch.Tensor] = []
        for first in range(0, len(clip.files), files):
            (part,) = self._decode([replace(clip, files=clip.files[first : first + files])])
            if isinstance(part, str):
                return part
            decoded.append(part)
        return torch.cat(decoded)

    def _pipeline(self, videos: bool) -> ClipPipeline:
        if videos not in self._pipelines:
            self._pipelines[videos] = ClipPipeline(
                videos,
                self._augment,
                self._image_size,
                self._device,
                self._most[videos] if videos else _MOST_IMAGES,
                self._threads,
            )
        return self._pipelines[videos]


def _item(clip: EncodedClip, frames: torch.Tensor | str) -> dict[str, Any] | BadClip:
    if isinstance(frames, str):
        return BadClip(clip.index, frames)
    if clip.turns:
        # The flip came first, so the turn is the other way round.
        turns = -clip.turns if clip.transform.flip else clip.turns
        frames = torch.rot90(frames, turns, dims=(1, 2))
    return {"frames": frames.permute(0, 3, 1, 2), "label": clip.label, "index": clip.index}
