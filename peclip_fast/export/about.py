"""What an exported file says of itself: JSON under one name in the metadata of each format."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from peclip_fast.config.options import plain
from peclip_fast.config.run import RunConfig
from peclip_fast.errors import InputError
from peclip_fast.faces.crop import CropProfile
from peclip_fast.json_files import parse_json
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.version import __version__

KEY = "peclip_fast"
_SAMPLING = {
    "segments": "T equal segments of the clip, the middle frame of each; all frames and then the "
    "last one again where there are fewer",
    "window": "T frames in a row from the middle of the clip, every stride-th, from the start "
    "again after the end",
}


@dataclass(frozen=True)
class About:
    """What the file takes and gives, and where it comes from.

    Args:
        classes: names, in the order of the probabilities.
        inputs: the arguments in their order.
        frames: T.
        image_size: height and width of the frames, in pixels.
        preprocessing: of a clip, in words.
        positions: that the text encoder has, for descriptions.
        whole: whether it reads what follows a text, too.
        config: of the run, as YAML has it.
        versions: of the program that wrote it.
        crop: how the training clips show a face; None if nobody knows.
    """

    classes: list[str]
    inputs: list[str]
    frames: int
    image_size: int
    preprocessing: dict[str, str]
    positions: int
    whole: bool
    config: dict[str, Any]
    versions: dict[str, str]
    crop: CropProfile | None = None

    def to_json(self) -> str:
        """For the metadata."""
        return json.dumps(asdict(self), ensure_ascii=False)


def about(
    model: AdaptedCLIP, config: RunConfig, torch_version: str, crop: CropProfile | None = None
) -> About:
    """What an exported file of a run's model says of itself."""
    data, size = config.data, model.image_size
    window = f"window of stride {data.stride}" if data.sampling == "window" else "segments"
    return About(
        classes=list(model.classes),
        inputs=list(model.inputs),
        frames=data.frames,
        image_size=size,
        preprocessing={
            "frames": f"uint8 RGB, (clips, T={data.frames}, 3, {size}, {size})",
            "sampling": f"{window}: {_SAMPLING[data.sampling]}",
            "resizing": f"the largest centred square to {size} x {size}, bilinear, antialiased",
            "normalization": "within the model",
        },
        positions=model.tokenize.positions,
        whole=model.tokenize.whole,
        config=plain(asdict(config)),
        versions={"peclip_fast": __version__, "torch": torch_version},
        crop=crop,
    )


def read_about(text: str | None, source: str) -> About:
    """The metadata of a file, or InputError where it has none of ours."""
    if not text:
        raise InputError(f"{source}: not written by `peclip-fast export`: it has no {KEY} metadata")
    return parse_json(text, source, About)
