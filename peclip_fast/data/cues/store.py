"""Landmarks and region maps of a dataset's frames, in a folder: a file a clip, and an index."""

from __future__ import annotations

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from peclip_fast.data.cues.clip_names import match_names
from peclip_fast.data.records import ClipRecord
from peclip_fast.digests import read_zip, seal_zip
from peclip_fast.errors import InputError
from peclip_fast.files import write_bytes, write_text
from peclip_fast.json_files import read_json
from peclip_fast.text_files import read_csv_rows

INDEX, FACTS = "cues.csv", "cues.json"
HEADINGS = ["clip", "file", "frames", "faces"]
# Steps of the longer side in which points are kept, so that two bytes reach twice around it.
_STEPS = 8192
_REACH = 2**15 - 1
_NO_FACE = -_REACH - 1
_NEEDED, _OPTIONAL = ("points", "size"), {"regions", "found", "note"}
_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
_SUFFIX = ".npz"


class Cues(NamedTuple):
    """What is known of the face in some frames.

    Args:
        points: float64 (T, P, 2), x and y in pixels, the frame's upper left corner being 0, 0; NaN
            where there is no face.
        size: height and width of the frames, in pixels.
        regions: uint8 (T, h, w), a map of the frame in any size, whose values index
            ``regions.REGIONS``; None where the regions follow from the points.
        found: bool (T,), where a face was found, the others having the points of the nearest such
            frame; None if in all.
    """

    points: NDArray[np.float64]
    size: tuple[int, int]
    regions: NDArray[np.uint8] | None = None
    found: NDArray[np.bool_] | None = None

    def taken(self, frames: slice | Sequence[int]) -> Cues:
        """Those of some frames."""
        these = frames if isinstance(frames, slice) else list(frames)
        regions = None if self.regions is None else self.regions[these]
        found = None if self.found is None else self.found[these]
        return Cues(self.points[these], self.size, regions, found)

    @property
    def faces(self) -> int:
        """In how many frames a face was found."""
        found = ~np.isnan(self.points).any((1, 2)) if self.found is None else self.found
        return int(found.sum())


class IndexRow(NamedTuple):
    """A clip in the index: its name, its file in the folder, its frames, and those with a face."""

    clip: str
    file: str
    frames: int
    faces: int


def cue_file(clip: str) -> str:
    """The file of a clip, below the folder, for its name below the dataset's root."""
    return clip.lstrip("/") + _SUFFIX


def write_cues(path: Path, cues: Cues, note: str = "") -> None:
    """All frames of a clip; points are rounded to 1/8192 of the longer side.

    Args:
        path: of the file.
        cues: its content.
        note: what it was made with, for ``read_note``.
    """
    steps = np.rint(cues.points * (_STEPS / max(cues.size))).clip(-_REACH, _REACH)
    kept = np.where(np.isnan(steps), _NO_FACE, steps).astype(np.int16)
    arrays: dict[str, Any] = {"points": kept, "size": np.array(cues.size, np.int32)}
    optional = {"regions": cues.regions, "found": cues.found, "note": np.array(note)}
    arrays |= {name: values for name, values in optional.items() if values is not None}
    data = io.BytesIO()
    np.savez_compressed(data, allow_pickle=False, **arrays)
    seal_zip(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data.getbuffer())


def read_cues(path: Path, frames: Sequence[int]) -> Cues:
    """The cues of some frames of a clip.

    Raises:
        InputError: the file is missing or broken, or has fewer frames; names it.
    """
    cues, _ = _read(path)
    if max(frames) >= len(cues.points):
        raise InputError(
            f"{path}: cues of {len(cues.points)} frames, but the clip has frame {max(frames)}; "
            "expected them to be made from this clip"
        )
    return cues.taken(frames)


def read_note(path: Path) -> str:
    """What a file was made with.

    Raises:
        InputError: the file is missing or broken.
    """
    return _read(path)[1]


def _read(path: Path) -> tuple[Cues, str]:
    """All cues of a file, and its note."""
    try:
        with np.load(read_zip(path), allow_pickle=False) as file:
            arrays = {name: file[name] for name in (*_NEEDED, *(_OPTIONAL & file.keys()))}
    except FileNotFoundError:
        raise InputError(f"{path}: the cues of the clip are not there") from None
    except InputError:
        raise
    except _BROKEN as error:
        raise InputError(f"{path}: no cues of a clip ({error})") from None
    height, width = arrays["size"].tolist()
    points = arrays["points"] * (max(height, width) / _STEPS)
    points[arrays["points"] == _NO_FACE] = np.nan
    cues = Cues(points, (height, width), arrays.get("regions"), arrays.get("found"))
    return cues, str(arrays.get("note", ""))


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
            f"{path}: not there; expected the folder that `peclip-fast data cues` wrote"
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
        cues, _ = _read(file)
        write_bytes(target, file.read_bytes())
        rows.append(IndexRow(clip, cue_file(clip), len(cues.points), cues.faces))
    write_index(folder, rows, read_json(source / FACTS, dict[str, Any]))
