"""The DALI pipelines: encoded files in, frames of the model's size out, all on one device."""

from __future__ import annotations

import os
from collections.abc import Sequence
from weakref import WeakSet

import numpy as np
import torch
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, types
from nvidia.dali.data_node import DataNode

from peclip_fast.config.data import AugmentConfig
from peclip_fast.data.loading.dali.encoded_clip import EncodedClip

# What DALI's video decoder takes, by FFmpeg's names.
CPU_CODECS = frozenset({"vp8", "vp9", "mjpeg"})
CODECS = {"cpu": CPU_CODECS, "cuda": CPU_CODECS | {"h264", "hevc", "mpeg4", "av1", "libdav1d"}}


class DecodeError(Exception):
    """Why DALI's decoder has failed, in one line, without the name of the file."""


class ClipPipeline:
    """Decodes the wanted frames of videos, or images, and does to them what their clips ask for.

    The steps are those of ``apply_transform``, in its order; steps that no clip can ask for are
    left out.

    Args:
        videos: takes videos, otherwise images.
        augment: which steps there are; None is none but crop and resize.
        image_size: side of the result.
        device: where it decodes; on "cuda" by NVDEC and nvJPEG.
        most: files of a batch, at most.
        threads: on the CPU.
    """

    def __init__(
        self,
        videos: bool,
        augment: AugmentConfig | None,
        image_size: int,
        device: torch.device,
        most: int,
        threads: int,
    ) -> None:
        self._videos = videos
        self._drawn = _drawn(augment)
        gpu = device.type == "cuda"
        self._pipeline = Pipeline(
            batch_size=most,
            num_threads=threads,
            device_id=(device.index or 0) if gpu else None,
            prefetch_queue_depth=1,  # the loader is ahead, not the pipeline
        )
        with self._pipeline:
            frames = self._decode("mixed" if gpu else "cpu")
            self._pipeline.set_outputs(self._transform(frames, image_size))
        _alive.add(self)

    def run(self, clips: Sequence[EncodedClip]) -> torch.Tensor:
        """The frames of clips, on the device.

        Args:
            clips: at least one, with the same number of frames.

        Returns:
            uint8 (B, T, image_size, image_size, 3), turned as they are stored if they are videos.

        Raises:
            DecodeError: some file can't be decoded; the pipeline is of no use afterwards.
        """
        samples = [(clip, file) for clip in clips for file in clip.files]
        crops = [clip.stored_crop() for clip, _ in samples]
        inputs: dict[str, list[NDArray[np.uint8]] | NDArray[np.generic]] = {
            "data": [file.data for _, file in samples],
            "start": np.array([crop[:2] for crop in crops], np.float32),
            "end": np.array([crop[2:] for crop in crops], np.float32),
        }
        if self._videos:
            inputs["frames"] = np.array([file.frames for _, file in samples], np.int32)
        for name in self._drawn:
            values = [getattr(clip.transform, name) for clip, _ in samples]
            inputs[name] = np.array(values, np.int32 if name == "flip" else np.float32)
        self._pipeline.build()  # does nothing the second time
        try:
            (output,) = self._pipeline.run(**inputs)
        except RuntimeError as error:
            if "nvidia.dali.fn.decoders." not in str(error):
                raise
            raise DecodeError(_reason(error)) from None
        frames = torch.from_dlpack(output.as_tensor())
        if frames.is_cuda:
            # DALI uses its memory again as soon as `output` is gone.
            frames = frames.clone()
            torch.cuda.current_stream(frames.device).synchronize()
        return frames.view(len(clips), -1, *frames.shape[-3:])

    def _decode(self, device: str) -> DataNode:
        data = fn.external_source(name="data", dtype=types.UINT8, ndim=1)
        # affine=False: pinned threads of several processes would crowd on the same cores.
        if not self._videos:
            return fn.decoders.image(
                data,
                device=device,
                output_type=types.RGB,
                jpeg_fancy_upsampling=True,  # as on the CPU
                affine=False,
            )
        return fn.decoders.video(
            data,
            device=device,
            frames=fn.external_source(name="frames", dtype=types.INT32, ndim=1),
            pad_mode="none",  # a frame that isn't there is an error; by default it would be black
            affine=False,
        )

    def _transform(self, frames: DataNode, size: int) -> DataNode:
        drawn = {name: _per_clip(name) for name in self._drawn}
        if "angle" in drawn:
            frames = fn.rotate(
                frames,
                angle=drawn["angle"],
                keep_size=True,
                interp_type=types.INTERP_NN,
                fill_value=0,
            )
        start, end = (
            fn.external_source(name=name, dtype=types.FLOAT, ndim=1) for name in ("start", "end")
        )
        frames = fn.slice(frames, rel_start=start, rel_end=end, axis_names="HW")
        frames = fn.resize(
            frames, size=[size, size], interp_type=types.INTERP_LINEAR, antialias=True
        )
        if "flip" in drawn:
            frames = fn.flip(frames, horizontal=drawn["flip"])
        if "brightness" in drawn:
            frames = fn.brightness(frames, brightness=drawn["brightness"])
        if "contrast" in drawn:
            grey = fn.color_space_conversion(frames, image_type=types.RGB, output_type=types.GRAY)
            # What an operator takes by name has to be on the CPU: one value per frame.
            mean = fn.reductions.mean(grey, axis_names="HWC").cpu()
            centre = fn.per_frame(mean) if self._videos else mean
            frames = fn.contrast(frames, contrast=drawn["contrast"], contrast_center=centre)
        if "saturation" in drawn:
            frames = fn.saturation(frames, saturation=drawn["saturation"])
        return frames


def _reason(error: RuntimeError) -> str:
    """The one line of DALI's message that says what happened."""
    text = str(error).split("encountered:")[-1].strip().splitlines()[0]
    return text.split(" failed: ")[-1].strip(" :")


def _per_clip(name: str) -> DataNode:
    dtype = types.INT32 if name == "flip" else types.FLOAT
    return fn.external_source(name=name, dtype=dtype, ndim=0)


def _drawn(augment: AugmentConfig | None) -> list[str]:
    """The fields of a ClipTransform, but for the crop, that may have an effect."""
    if augment is None:
        return []
    ranges = {
        "angle": augment.rotation,
        "flip": augment.hflip,
        "brightness": augment.brightness,
        "contrast": augment.contrast,
        "saturation": augment.saturation,
    }
    return [name for name, width in ranges.items() if width]


# A forked process has a copy of a pipeline without its threads, and would abort in ending it.
_alive: WeakSet[ClipPipeline] = WeakSet()
_inherited: list[ClipPipeline] = []
os.register_at_fork(after_in_child=lambda: _inherited.extend(_alive))
