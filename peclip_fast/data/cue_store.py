"""Landmarks and region maps of a dataset's frames, in a folder: a file a clip, and an index."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
_NO_FACE = np.iinfo(np.int16).min
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

    def taken(self, frames: slice | Sequence[int]) -> Cues:
        """Those of some frames."""
        regions = None if self.regions is None else self.regions[frames]
        return Cues(self.points[frames], self.size, regions)


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
    steps = np.rint(cues.points * (_STEPS / max(cues.size))).clip(_NO_FACE + 1, -_NO_FACE - 1)
    kept = np.where(np.isnan(steps), _NO_FACE, steps).astype(np.int16)
    arrays: dict[str, NDArray[Any]] = {"points": kept, "size": np.array(cues.size, np.int32)}
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
    size = int(height), int(width)
    places = np.where(points == _NO_FACE, np.nan, points * (max(size) / _STEPS))
    return Cues(places, size, regions).taken(frames)


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


def copy_store(files: Mapping[str, Path], folder: Path) -> None:
    """Files with cues, of one folder, copied to another under other clips' names.

    Args:
        files: the clip's name there -> its file here, of which there is at least one.
        folder: where they go; what is there already under a name is written anew.
    """
    source = next(above for above in next(iter(files.values())).parents if (above / INDEX).exists())
    rows = []
    for clip, file in files.items():
        target = folder / cue_file(clip)
        target.parent.mkdir(parents=True, exist_ok=True)
        data = file.read_bytes()
        write_bytes(target, data)
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            seen = (arrays["points"] != _NO_FACE).all((1, 2))
        rows.append(IndexRow(clip, cue_file(clip), len(seen), int(seen.sum())))
    write_index(folder, rows, json.loads((source / FACTS).read_text(encoding="utf-8")))
