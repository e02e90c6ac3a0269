"""What the program stores for itself, damaged: it is noticed, or the content is the same.

Each file is written once by the program itself. A damaged copy is read as a run would read it, and
where that succeeds, the content is compared with what was written.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from faults.campaign import Tally, WrongError, judged, little_memory
from faults.mutations import (
    Mutate,
    any_of,
    cut,
    damaged,
    flip,
    in_safetensors,
    insert,
    mutated,
    remove,
    swap,
    whole_json,
    zero,
)
from helpers.clips.drawn_clips import MJPEG, VP9, write_pictures
from torch import Tensor, nn

from peclip_fast.commands.shared.main import main
from peclip_fast.data.cues.store import Cues, read_cues, write_cues
from peclip_fast.data.decoding import clip_source
from peclip_fast.data.decoding.clip_index import ClipIndex, clip_index
from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.data.transforms.sampling import sample_indices
from peclip_fast.engine.checkpoint import read_checkpoint
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.models.backbone import load_backbone
from peclip_fast.models.pretrained import from_pretrained

DAMAGES = any_of(flip, flip, flip, cut, insert, remove, zero, swap)
FRAMES = 24
SLOW = 10.0  # seconds for a file


@dataclass
class StoredFile:
    """A campaign of one kind of file.

    Args:
        name: of the campaign.
        title: what is damaged, for the table.
        place: the file, which the program has written.
        content: reads it and gives a digest of all that is in it.
        mutate: damages it.
    """

    name: str
    title: str
    place: Path
    content: Callable[[], str]
    mutate: Mutate = DAMAGES
    share: int = field(default=20, init=False)

    def __post_init__(self) -> None:
        self.whole = self.place.read_bytes()
        self.expected = self.content()

    def run(self, numbers: Iterable[int], tally: Tally) -> None:
        for number in numbers:
            data = mutated((self.whole,), self.mutate, tally.key(number))
            self.place.write_bytes(data)
            with little_memory():
                verdict = judged(self._read, limit=SLOW)
            tally.add(number, verdict, data)
        self.place.write_bytes(self.whole)

    def _read(self) -> None:
        if self.content() != self.expected:
            raise WrongError("other content, not noticed")


def stored_files(folder: Path, run: RunFolder, backbone: Path) -> Iterator[StoredFile]:
    """All kinds.

    Args:
        folder: for the files.
        run: that has ended, of which copies are damaged.
        backbone: a folder with one, likewise.
    """
    run = RunFolder(Path(shutil.copytree(run.path, folder / "run")))
    backbone = Path(shutil.copytree(backbone, folder / "backbone"))
    last = lambda: digest(read_checkpoint(run.last))  # noqa: E731
    yield StoredFile("checkpoint", "checkpoints, last.ckpt", run.last, last)
    weights = run.model / "model.safetensors"

    def model() -> str:
        found = from_pretrained(run.model)
        return digest([found.trained_state(), found.classes, found.config])

    either = any_of(DAMAGES, DAMAGES, in_safetensors)
    yield StoredFile("model", "trained models, model.safetensors", weights, model, either)
    words = run.model / "config.json"
    yield StoredFile("description", "trained models, config.json", words, model, text_or_json)
    frozen = lambda: digest(load_backbone(str(backbone)))  # noqa: E731
    weights = backbone / "model.safetensors"
    yield StoredFile("backbone", "backbones, model.safetensors", weights, frozen, either)
    yield _packed(folder)
    yield _cues(folder)
    yield from _index(folder)


def text_or_json(data: bytes, rng: Any) -> bytes:
    """Damage of a file of JSON that may also be a disk's."""
    return rng.choice((DAMAGES, whole_json))(data, rng)


def digest(content: Any) -> str:
    """Of tensors, arrays and plain values in any nesting."""
    found = hashlib.sha256()
    for piece in _pieces(content):
        found.update(len(piece).to_bytes(8, "big") + piece)
    return found.hexdigest()


def _pieces(content: Any) -> Iterator[bytes]:
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if isinstance(content, Tensor):
        yield f"{content.dtype} {tuple(content.shape)}".encode()
        yield content.detach().cpu().flatten().view(torch.uint8).numpy().tobytes()
    elif isinstance(content, np.ndarray):
        yield f"{content.dtype} {content.shape}".encode()
        yield content.tobytes()
    elif isinstance(content, dict):
        yield b"{"
        for key, value in content.items():
            yield repr(key).encode()
            yield from _pieces(value)
        yield b"}"
    elif isinstance(content, (list, tuple)):
        yield b"["
        for value in content:
            yield from _pieces(value)
        yield b"]"
    else:
        yield repr(content).encode()


def _packed(folder: Path) -> StoredFile:
    """A clip as `peclip-fast data pack` writes it."""
    clips = folder / "clips"
    clips.mkdir()
    write_pictures(clips / "a.avi", FRAMES, MJPEG)
    rows = folder / "clips.csv"
    rows.write_text("clips/a.avi,a\n")
    packed = folder / "packed"
    options = ["--data.dataset", "csv", "--data.train_list", str(rows), "--data.num_workers", "1"]
    assert main(["data", "pack", "demo", *options, "--output", str(packed)]) == 0
    (place,) = packed.rglob("*.mkv")
    return StoredFile("packed", "packed clips", place, lambda: frames(place))


def frames(path: Path) -> str:
    """Digest of all frames of a clip that training might take, and of their number."""
    source = open_clip_source(path)
    try:
        count = source.num_frames
        return digest([count, source.read(range(count)), source.read(sample_indices(count))])
    finally:
        source.close()


def _cues(folder: Path) -> StoredFile:
    rng = np.random.default_rng(0)
    regions = rng.integers(0, 8, (FRAMES, 16, 16)).astype(np.uint8)
    found = rng.random(FRAMES) < 0.8
    place = folder / "cues.npz"
    write_cues(place, Cues(rng.uniform(0, 90, (FRAMES, 68, 2)), (90, 96), regions, found), "a note")
    content = lambda: digest(read_cues(place, range(FRAMES)))  # noqa: E731
    return StoredFile("cues-npz", "cue stores, files of clips", place, content)


# The clip index ------------------------------------------------------------------------------


def _index(folder: Path) -> Iterator[StoredFile]:
    """The file of the clip index, and a row in it: a cache, which may cost time but no frame."""
    clip = write_pictures(folder / "clip.webm", FRAMES, VP9)
    place = folder / "clips.sqlite"

    def look() -> str:
        with mock.patch.object(clip_source, "clip_index", return_value=ClipIndex(place)):
            return frames(clip)

    look()
    yield StoredFile("index", "the clip index", place, look, any_of(DAMAGES, damaged))
    yield IndexRow(clip, folder / "row")


class IndexRow(StoredFile):
    """What the clip index says of a clip, which SQLite keeps without a checksum."""

    def __init__(self, clip: Path, place: Path) -> None:
        self.clip = clip
        frames(clip)
        self.table, self.column = self._where()
        place.write_bytes(self._row())
        super().__init__("rows", "rows of the clip index", place, self.look)
        self.share = 100

    def look(self) -> str:
        """Put the row into the index, and read the clip by it."""
        with sqlite3.connect(clip_index().file) as connection:
            connection.execute(
                f"UPDATE {self.table} SET {self.column} = ? WHERE path = ?",
                (self.place.read_bytes(), os.path.abspath(self.clip)),
            )
        connection.close()
        return frames(self.clip)

    def _where(self) -> tuple[str, str]:
        """The table and its column of bytes."""
        connection = sqlite3.connect(clip_index().file)
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
            blobs = [name for _, name, kind, *_ in columns if kind == "BLOB"]
            if blobs:
                connection.close()
                return table, blobs[0]
        raise AssertionError("no table with a column of bytes")

    def _row(self) -> bytes:
        connection = sqlite3.connect(clip_index().file)
        statement = f"SELECT {self.column} FROM {self.table} WHERE path = ?"
        ((row,),) = connection.execute(statement, (os.path.abspath(self.clip),)).fetchall()
        connection.close()
        return bytes(row)
