"""Landmarks and region maps of a dataset's frames, in a folder: a file a clip, and an index."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from peclip_fast.data.clip_names import match_names
from peclip_fast.data.records import ClipRecord
from peclip_fast.data.textfile import read_csv_rows
from peclip_fast.errors import InputError
from peclip_fast.files import write_bytes, write_text

INDEX, FACTS = "cues.csv", "cues.json"
HEADINGS = ["clip", "file", "frames", "faces"]
# Steps of the longer side in which points are kept, so that two bytes reach twice around it.
_STEPS = 8192
_SUFFIX = ".npz"


class Cues(NamedTuple):
    """What is known of the face in some frames.

    Args:
        points: float64 (T, P, 2), x and y in pixels, the frame's upper left corner being 0, 0; NaN
            where there is no face.
        size: height and width of the frames, in pixels.
        regions: uint8 (T, h, w), a map of the frame in any size, whose values index
            ``regions.REGIONS``; None where the regions follow from the points.
    """

    points: NDArray[np.float64]
    size: tuple[int, int]
    regions: NDArray[np.uint8] | None = None


class IndexRow(NamedTuple):
    """A clip in the index: its name, its file in the folder, its frames, and those with a face."""

    clip: str
    file: str
    frames: int
    faces: int


def cue_file(clip: str) -> str:
    """The file of a clip, below the folder, for its name below the dataset's root."""
    return clip.lstrip("/") + _SUFFIX


def write_cues(path: Path, cues: Cues) -> None:
    """All frames of a clip; points are rounded to 1/8192 of the longer side."""
    points = np.nan_to_num(cues.points * (_STEPS / max(cues.size)), nan=np.iinfo(np.int16).min)
    kept = np.clip(np.rint(points), -(2**15), 2**15 - 1).astype(np.int16)
    arrays = {"points": kept, "size": np.array(cues.size, np.int32)}
    if cues.regions is not None:
        arrays["regions"] = cues.regions
    data = io.BytesIO()
    np.savez_compressed(data, allow_pickle=False, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data.getvalue())


def read_cues(path: Path, frames: Sequence[int]) -> Cues:
    """The cues of some frames of a clip.

    Raises:
        InputError: the file is missing or broken, or has fewer frames; names it.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            points, (height, width) = arrays["points"], arrays["size"].tolist()
            regions = arrays.get("regions")
    except FileNotFoundError:
        raise InputError(f"{path}: the cues of the clip are not there") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: no cues of a clip ({error})") from None
    if max(frames) >= len(points):
        raise InputError(
            f"{path}: cues of {len(points)} frames, but the clip has frame {max(frames)}; expected "
            "them to be made from this clip"
        )
    chosen = points[list(frames)].astype(np.float64)
    chosen[chosen == np.iinfo(np.int16).min] = np.nan
    size = int(height), int(width)
    return Cues(chosen * (max(size) / _STEPS), size, None if regions is None else regions[frames])


def write_index(folder: Path, rows: Iterable[IndexRow], facts: Mapping[str, object]) -> None:
    """The index of a folder, and what its cues were made with."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HEADINGS)
    table.writerows(rows)
    write_text(folder / FACTS, json.dumps(facts, indent=1))
    write_text(folder / INDEX, text.getvalue())  # the last: a folder with an index is whole


def read_index(folder: Path, records: Iterable[ClipRecord]) -> dict[str, Path]:
    """``clip_name`` -> file with its cues, of the clips that the folder has cues of.

    Raises:
        InputError: there is no such index, a line is broken, or none is of the dataset.
    """
    path = folder / INDEX
    rows: list[tuple[str, str, str]] = []
    if not path.is_file():
        raise InputError(
            f"{path}: not there; expected the folder that `python -m peclip_fast.data cues` wrote"
        )
    for number, (source, fields) in enumerate(read_csv_rows(path)):
        if number == 0 and fields == HEADINGS:
            continue
        if len(fields) != len(HEADINGS):
            raise InputError(f"{source}: expected {','.join(HEADINGS)}")
        rows.append((source, fields[0], fields[1]))
    names = match_names([(source, clip) for source, clip, _ in rows], records)
    return {
        name: folder / file
        for name, (_, _, file) in zip(names, rows, strict=True)
        if name is not None
    }
