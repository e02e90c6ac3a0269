"""The crop of a run's training clips, and whether other clips are cropped like them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from importlib.util import find_spec

from peclip_fast.config.run import RunConfig
from peclip_fast.data.decoding.clip_source import open_record
from peclip_fast.data.records import ClipRecord
from peclip_fast.data.splits import DataWarning, open_splits
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.faces.crop import FILE, USUAL, CropProfile, read_profile, write_profile
from peclip_fast.faces.finder import FaceFinder, FacePlace
from peclip_fast.faces.training import measure, shown

_LOOKS = (1 / 2, 1 / 4, 3 / 4)  # where in a clip a face is looked for


class CropWarning(UserWarning):
    """A crop that may not be what the model was trained on."""


def installed() -> bool:
    """Whether the extra ``faces`` is."""
    return find_spec("onnxruntime") is not None


def crop_of_run(run: RunFolder, config: RunConfig, finder: FaceFinder) -> CropProfile:
    """How the training clips of a run show a face; CropWarning where that isn't known.

    Raises:
        InputError: the run's file is damaged; names it.
    """
    profile = known_crop(run, config, finder)
    if profile is None:
        _warn(f"{run.path}: nobody knows how its training clips were cropped, as they aren't here")
        return USUAL
    if not profile.of_faces:
        _warn(
            f"{run.path}: only {profile.faces:.0%} of its training frames show a face: crops of "
            "faces aren't what the model knows"
        )
    return profile


def known_crop(run: RunFolder, config: RunConfig, finder: FaceFinder) -> CropProfile | None:
    """The crop that is in the run's folder, or else that of the training clips, which is then kept.

    A dataset that ``peclip-fast data crop`` made says it itself; others are measured.

    Returns:
        None where neither the run nor its clips tell.

    Raises:
        InputError: the file of the run or of the dataset is damaged; names it.
    """
    if run.crop.is_file():
        return read_profile(run.crop)
    of_data = config.data.root and config.data.root / FILE
    if of_data and of_data.is_file():
        profile = read_profile(of_data)
    else:
        measured = None
        with contextlib.suppress(InputError), warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # training has said it
            measured = measure(open_splits(config.data).train, finder)
        if measured is None:
            return None
        profile = measured
    with contextlib.suppress(OSError):  # looked up again the next time
        write_profile(run.crop, profile)
    return profile


def uncropped(records: Sequence[ClipRecord], profile: CropProfile, finder: FaceFinder) -> list[str]:
    """What clips show otherwise than a profile's: a line for each such clip, with its path.

    Clips that can't be read are passed over.
    """
    lines = []
    for record in records:
        with contextlib.suppress(InputError):  # prediction names it
            how = _how(record, profile, finder)
            if how is not None:
                lines.append(f"{record.path}: looks uncropped: {how}")
    return lines


def _how(record: ClipRecord, profile: CropProfile, finder: FaceFinder) -> str | None:
    source = open_record(record)
    try:
        for part in _LOOKS:
            (frame,) = source.read([int(part * source.num_frames)])
            seen = finder.find(frame)
            if seen:
                return shown(frame, FacePlace.of(seen[0].points)).differs(profile)
    finally:
        source.close()
    return "no face is found in it"


def _warn(message: str) -> None:
    warnings.warn(f"{message}; the usual crop is taken", CropWarning, stacklevel=3)
