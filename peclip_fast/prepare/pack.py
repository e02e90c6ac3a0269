"""Packing a dataset into the form from which training reads fastest; docs/data.md has the figures.

That is JPEG frames in Matroska, one file a clip. On one core 16 random frames of a clip of 118
frames of 456x256 come at 780 frames/s, at 350 from H.264 with nothing but key frames, at 120 from
H.264 with one in 16, which takes a sixth of the bytes. A folder of the same JPEG files gives 900,
but takes a file for each frame.
"""

from __future__ import annotations

import csv
import errno
import functools
import io
import math
import os
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from peclip_fast.data.cues.descriptions import write_descriptions
from peclip_fast.data.cues.store import copy_store
from peclip_fast.data.decoding.clip_index import Index
from peclip_fast.data.decoding.clip_source import locate_record, open_clip_source, open_record
from peclip_fast.data.decoding.frame_folder import FolderIndex
from peclip_fast.data.decoding.jpeg import decode_plain_jpeg, encode_jpeg, is_plain_jpeg
from peclip_fast.data.decoding.packed_file import packed_file, packed_jpegs, read_note
from peclip_fast.data.decoding.stamps import content_stamp
from peclip_fast.data.decoding.video_index import VideoIndex
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.errors import InputError
from peclip_fast.files import write_bytes, write_text
from peclip_fast.prepare.make_files import make_files

CLIPS = "clips"  # the folder of the packed clips below the output folder
_STEP = 40  # milliseconds between images of a folder, which tells no times
_EQUAL = 99.0  # dB, stands for no difference


@dataclass(frozen=True)
class Packing:
    """How clips are packed.

    Args:
        side: the shorter side of larger frames becomes this many pixels; smaller ones stay.
        quality: of the JPEG frames, 1 to 100.
    """

    side: int = 256
    quality: int = 90

    def __post_init__(self) -> None:
        if self.side < 16:
            raise InputError(f"--side {self.side}: expected at least 16")
        if not 1 <= self.quality <= 100:
            raise InputError(f"--quality {self.quality}: expected 1 to 100")


@dataclass(frozen=True)
class Packed:
    """A packed clip.

    Args:
        frames: how many.
        size: of the file in bytes.
        psnr: of the frames after against those before JPEG, in dB; None where the source's own
            JPEG files were kept.
        found: it was packed already.
    """

    frames: int
    size: int
    psnr: float | None
    found: bool


def check_apart(folder: Path, records: Sequence[ClipRecord], sources: Sequence[Path]) -> None:
    """Raise InputError if packing into ``folder`` could touch what is packed.

    Args:
        folder: of the packed clips.
        records: the clips.
        sources: further folders and files that belong to the source.
    """
    outputs = {folder.resolve(), (folder / CLIPS).resolve()}
    parents = {Path(os.path.abspath(record.path)).parent for record in records}
    for source in sorted({path.resolve() for path in (*parents, *sources)}):
        for output in outputs:
            if output == source or source in output.parents:
                raise InputError(f"--output {folder}: inside {source}, which holds the source")
            if output in source.parents:
                raise InputError(f"--output {folder}: holds {source}, which belongs to the source")


def targets(records: Sequence[ClipRecord], folder: Path) -> list[Path]:
    """The packed file of each clip, named after its path below the folder that all share."""
    paths = [os.path.abspath(record.path) for record in records]
    shared = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [
        folder / CLIPS / f"{_as_text(os.path.relpath(path, shared))}{_part(record)}.mkv"
        for path, record in zip(paths, records, strict=True)
    ]


def pack(
    records: Sequence[ClipRecord],
    folder: Path,
    packing: Packing,
    processes: int,
    seconds: float,
    skip: bool,
) -> dict[Path, Packed | InputError]:
    """Packs clips that aren't packed yet.

    Args:
        records: the clips; one that comes twice is packed once.
        folder: where they go; each file is whole under its name or not there.
        packing: side and quality.
        processes: that pack clips; each holds one packed clip in memory.
        seconds: time for one clip.
        skip: go on after a bad clip.

    Returns:
        What became of each of ``targets(records, folder)``.

    Raises:
        InputError: the first bad clip, unless they are skipped.
        OSError: the folder can't be written.
    """
    jobs = dict(zip(targets(records, folder), records, strict=True))
    work = functools.partial(_pack_clip, packing=packing)
    return make_files(work, jobs, processes, seconds, skip, "packing")


def write_lists(
    folder: Path, splits: DatasetSplits, done: Mapping[Path, object]
) -> dict[str, Path]:
    """``train.csv`` and ``test.csv`` of the packed clips, as the dataset csv reads them.

    Args:
        folder: of the packed clips.
        splits: the clips that were packed.
        done: what became of each of their targets; clips with an InputError are left out.

    Returns:
        The file of each split that has clips.
    """
    places = iter(targets([*splits.train, *splits.test], folder))
    lists = {}
    for split, records in (("train", splits.train), ("test", splits.test)):
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("path", "label"))
        for record, target in zip(records, places, strict=False):
            if not isinstance(done[target], InputError):
                path = target.relative_to(folder).as_posix()
                rows.writerow((path, splits.classes[record.label]))
        if records:
            lists[split] = folder / f"{split}.csv"
            write_text(lists[split], text.getvalue())
    return lists


def copy_cues(
    folder: Path, records: Sequence[ClipRecord], done: Mapping[Path, object]
) -> tuple[Path | None, Path | None]:
    """The clips' cues and descriptions under their packed names, as their frames are the same.

    Returns:
        ``data.cues`` and ``data.descriptions`` of the packed clips.
    """
    clips = {
        target.relative_to(folder).as_posix(): record
        for target, record in zip(targets(records, folder), records, strict=True)
        if not isinstance(done[target], InputError)
    }
    files = {clip: record.cues for clip, record in clips.items() if record.cues}
    texts = {clip: record.description for clip, record in clips.items() if record.description}
    cues, descriptions = folder / "cues", folder / "descriptions.jsonl"
    if files:
        copy_store(files, cues)
    if texts:
        write_descriptions(descriptions, texts)
    return cues if files else None, descriptions if texts else None


def as_table(done: Mapping[Path, Packed | InputError]) -> str:
    """What became of the clips, for people."""
    packed = [clip for clip in done.values() if isinstance(clip, Packed)]
    bad = [str(error) for error in done.values() if isinstance(error, InputError)]
    psnr = sorted(clip.psnr for clip in packed if clip.psnr is not None)
    frames, size = sum(clip.frames for clip in packed), sum(clip.size for clip in packed)
    lines = [
        f"{len(packed)} clips, {frames} frames, {size / 1e6:.1f} MB",
        f"packed now      {sum(not clip.found for clip in packed)}",
        f"packed before   {sum(clip.found for clip in packed)}",
        f"JPEG kept       {len(packed) - len(psnr)}",
        f"JPEG encoded    {len(psnr)}",
    ]
    if psnr:
        middle = statistics.median(psnr)
        lines[-1] += f", PSNR {psnr[0]:.1f} dB at least, {middle:.1f} dB in the middle"
    return "\n".join([*lines, *(f"skipped: {reason}" for reason in bad)])


def _pack_clip(job: tuple[Path, ClipRecord], packing: Packing) -> Packed | InputError:
    """One clip packed, verified and written, or why it can't be read."""
    target, record = job
    try:
        index, part = locate_record(record)
        expected = {"frames": len(part), "source": content_stamp(record.path), **asdict(packing)}
        note = read_note(target)
        if note is not None and note == expected | {"psnr": note.get("psnr")}:
            return Packed(len(part), target.stat().st_size, note["psnr"], found=True)
        jpegs = _kept(record.path, index, packing.side)
        psnr, size = None, (index.height, index.width)
        if jpegs is None:
            jpegs, size, psnr = _encoded(record, packing)
    except InputError as error:
        return error
    size_in_bytes = write_packed(
        target, record, jpegs, size, milliseconds(index, part), expected | {"psnr": psnr}
    )
    return Packed(len(part), size_in_bytes, psnr, found=False)


def write_packed(
    target: Path,
    record: ClipRecord,
    jpegs: list[bytes],
    size: tuple[int, int],
    moments: list[int],
    note: dict[str, Any],
) -> int:
    """Write a clip's frames as a packed file, read it back, and give its size in bytes.

    Args:
        target: the file.
        record: the clip.
        jpegs: its frames.
        size: their height and width.
        moments: of the frames, as ``milliseconds`` gives them.
        note: what the file says of itself.

    Raises:
        OSError: it can't be written, or doesn't hold what was written.
    """
    data = packed_file(jpegs, size, moments, note)
    if packed_jpegs(data) != jpegs:
        raise RuntimeError(f"{record.path}: the packed file doesn't hold the frames given to it")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, data)
    source = open_clip_source(target)
    source.close()
    if source.num_frames != len(jpegs):
        target.unlink()
        raise OSError(errno.EIO, f"{source.num_frames} of {len(jpegs)} frames read back", target)
    return len(data)


def _kept(path: Path, index: Index, side: int) -> list[bytes] | None:
    """The files of a folder of small JPEG frames of one size; None for any other clip."""
    if not isinstance(index, FolderIndex) or min(index.height, index.width) > side:
        return None
    files = []
    for name in index.names:
        try:
            data = (path / name).read_bytes()
            if not is_plain_jpeg(data):
                return None
            shape = decode_plain_jpeg(data).shape
        except (OSError, ValueError) as error:
            raise InputError(f"{path / name}: not a readable image: {error}") from None
        if shape[:2] != (index.height, index.width):
            return None
        files.append(data)
    return files


def _encoded(record: ClipRecord, packing: Packing) -> tuple[list[bytes], tuple[int, int], float]:
    """The frames as JPEG, their height and width, and their PSNR."""
    jpegs, errors = [], []
    source = open_record(record)
    try:
        for frame in source.frames():
            image = _shrunk(frame, packing.side)
            jpegs.append(encode_jpeg(image, packing.quality))
            difference = decode_plain_jpeg(jpegs[-1]).astype(np.float32) - image
            errors.append(float(np.square(difference).mean()))
    finally:
        source.close()
    error = sum(errors) / len(errors)
    psnr = 10 * math.log10(255**2 / error) if error else _EQUAL
    return jpegs, image.shape[:2], min(_EQUAL, round(psnr, 2))


def _shrunk(frame: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The frame with a shorter side of at most ``side`` pixels."""
    height, width = frame.shape[:2]
    scale = side / min(height, width)
    if scale >= 1:
        return frame
    size = round(width * scale), round(height * scale)
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))


def milliseconds(index: Index, part: range) -> list[int]:
    """The moment of each frame after the first; no two are the same."""
    seconds = index.seconds() if isinstance(index, VideoIndex) else None
    if seconds is None:
        return [_STEP * k for k in range(len(part))]
    moments: list[int] = []
    for frame in part:
        moment = round(1000 * (seconds[frame] - seconds[part[0]]))
        moments.append(max(moment, moments[-1] + 1) if moments else 0)
    return moments


def _as_text(name: str) -> str:
    """A name with ``%E9`` for bytes that are no UTF-8, as the lists of packed clips are texts."""
    return re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) & 0xFF:02X}", name)


def _part(record: ClipRecord) -> str:
    if record.start is None and record.end is None:
        return ""
    return f"@{record.start or 0}-{'' if record.end is None else record.end}"
