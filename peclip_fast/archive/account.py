"""What is done, failed and left of an archive, in a file that survives any death."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peclip_fast.analyze.pipeline.sources import VideoSource
from peclip_fast.analyze.tables import check_same
from peclip_fast.archive.fetching import stamp_of
from peclip_fast.archive.work import VideoEnd, VideoTask
from peclip_fast.errors import InputError
from peclip_fast.json_files import parse_json

NAME = "archive.sqlite"
VIDEOS = "videos"  # folder of the videos' folders
LEFT, DONE, FAILED = "left", "done", "failed"
_AT_ONCE = 1000  # rows in memory
_LONGEST = 80  # characters of a video's name in its folder's

_TABLES = """
CREATE TABLE IF NOT EXISTS asked (what TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS video (
    number INTEGER PRIMARY KEY, place BLOB NOT NULL UNIQUE, state TEXT NOT NULL, stamp TEXT,
    reason TEXT, people INTEGER, frames INTEGER, faces INTEGER, times INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS shard (number INTEGER PRIMARY KEY);
"""


@dataclass(frozen=True)
class VideoRow:
    """A video in the account.

    Args:
        number: by which it is sorted, from 0.
        source: absolute path or URL.
        state: LEFT, DONE or FAILED.
        reason: of a failure.
        people: who were followed.
        frames: that were looked at.
        faces: rows of frames.csv with a face.
    """

    number: int
    source: str
    state: str
    reason: str | None
    people: int | None
    frames: int | None
    faces: int | None


@dataclass(frozen=True)
class Counts:
    """Of the videos that are asked for.

    Args:
        left: that have not ended.
        done: that have results.
        failed: that have none.
        again: that the lists hold more than once.
    """

    left: int
    done: int
    failed: int
    again: int


class Account:
    """The file ``archive.sqlite`` of an output folder, which one process has at a time.

    Args:
        output: the folder.
        asked: what results depend on.
        shard: videos of a shard.

    Raises:
        InputError: it is of something else, or damaged; names it.
    """

    def __init__(self, output: Path, asked: Mapping[str, Any], shard: int) -> None:
        self.output, self.shard, self._path = output, shard, output / NAME
        with self._named():
            self._file = sqlite3.connect(self._path, isolation_level=None)
            self._file.executescript(_TABLES)
            before = self._file.execute("SELECT what FROM asked").fetchone()
            now = json.dumps({**asked, "shard": shard})
            if before is None:
                self._file.execute("INSERT INTO asked VALUES (?)", [now])
            else:
                former = parse_json(before[0], str(self._path), dict[str, Any])
                check_same(output, former, json.loads(now))

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def take_down(self, sources: Iterable[VideoSource]) -> Counts:
        """Take down what is asked for now; what was done before is kept.

        What failed is tried again, and so is a file that has another size or date than when it was
        analyzed. The number of a video never changes.
        """
        with self._transaction():
            self._do("UPDATE video SET times = 0")
            for source in sources:
                self._do(
                    "INSERT INTO video (number, place, state, times) VALUES "
                    "((SELECT COALESCE(MAX(number) + 1, 0) FROM video), ?, ?, 1) "
                    "ON CONFLICT (place) DO UPDATE SET times = times + 1",
                    os.fsencode(source.place), LEFT,
                )  # fmt: skip
            self._do("UPDATE video SET state = ?, reason = NULL WHERE state = ? AND times > 0",
                     LEFT, FAILED)  # fmt: skip
            for number, place, stamp in self._each("number, place, stamp", "state = ?", DONE):
                if stamp not in (None, stamp_of(os.fsdecode(place)) or stamp):
                    self._do("UPDATE video SET state = ? WHERE number = ?", LEFT, number)
                    self._do("DELETE FROM shard WHERE number = ?", number // self.shard)
        return self.counts()

    def counts(self) -> Counts:
        """How things stand."""
        found = dict(
            self._do("SELECT state, COUNT(*) FROM video WHERE times > 0 GROUP BY state").fetchall()
        )
        again = self._do("SELECT SUM(times - 1) FROM video WHERE times > 0").fetchone()[0] or 0
        return Counts(found.get(LEFT, 0), found.get(DONE, 0), found.get(FAILED, 0), again)

    def left(self) -> Iterator[VideoTask]:
        """What is left to do, in order; it may be ended meanwhile."""
        for number, place in self._each("number, place", "state = ? AND times > 0", LEFT):
            source = os.fsdecode(place)
            yield VideoTask(number, source, str(self.folder(number, source)))

    def folder(self, number: int, source: str) -> Path:
        """Of a video's results."""
        stem = VideoSource(source).stem[:_LONGEST]
        digest = hashlib.sha256(os.fsencode(source)).hexdigest()[:8]
        return self.output / VIDEOS / shard_name(number // self.shard) / f"{stem}-{digest}"

    def end(self, ended: VideoEnd) -> None:
        """A video has ended, one way or the other."""
        state = DONE if ended.error is None else FAILED
        with self._transaction():
            self._do(
                "UPDATE video SET state = ?, stamp = ?, reason = ?, people = ?, frames = ?, "
                "faces = ? WHERE number = ?",
                state, ended.stamp, ended.error, ended.people, ended.frames, ended.faces,
                ended.number,
            )  # fmt: skip
            if state == DONE:
                self._do("DELETE FROM shard WHERE number = ?", ended.number // self.shard)

    def rows(self) -> Iterator[VideoRow]:
        """All videos that are asked for."""
        names = "number, place, state, reason, people, frames, faces"
        for number, place, *rest in self._each(names, "times > 0"):
            yield VideoRow(number, os.fsdecode(place), *rest)

    def unwritten(self) -> list[int]:
        """Shards that are complete and have something to write, and whose files are of before."""
        found = self._do(
            "SELECT DISTINCT number / ? FROM video WHERE state = ? "
            "AND number / ? NOT IN (SELECT number FROM shard)", self.shard, DONE, self.shard,
        )  # fmt: skip
        return [number for (number,) in found.fetchall() if self._is_complete(number)]

    def to_write(self, shard: int) -> bool:
        """Whether a shard is one of them."""
        first, end = shard * self.shard, (shard + 1) * self.shard
        written = self._do("SELECT 1 FROM shard WHERE number = ?", shard).fetchone()
        done = self._do(
            "SELECT 1 FROM video WHERE number >= ? AND number < ? AND state = ? LIMIT 1",
            first, end, DONE,
        ).fetchone()  # fmt: skip
        return written is None and done is not None and self._is_complete(shard)

    def _is_complete(self, shard: int) -> bool:
        """Whether it holds no video any more that is left."""
        first, end = shard * self.shard, (shard + 1) * self.shard
        found = self._do(
            "SELECT 1 FROM video WHERE number >= ? AND number < ? AND state = ? AND times > 0 "
            "LIMIT 1", first, end, LEFT,
        )  # fmt: skip
        return found.fetchone() is None

    def done_in(self, shard: int) -> list[tuple[str, Path]]:
        """Source and folder of each video of a shard that has results."""
        first = shard * self.shard
        found = self._do(
            "SELECT number, place FROM video WHERE number >= ? AND number < ? AND state = ? "
            "ORDER BY number", first, first + self.shard, DONE,
        )  # fmt: skip
        return [
            (os.fsdecode(place), self.folder(number, os.fsdecode(place)))
            for number, place in found.fetchall()
        ]

    def wrote(self, shard: int) -> None:
        """A shard's files are there."""
        self._do("INSERT OR REPLACE INTO shard VALUES (?)", shard)

    def _each(self, names: str, where: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Rows in order, few of them in memory; the first name is ``number``."""
        last = -1
        while True:
            rows = self._do(
                f"SELECT {names} FROM video WHERE {where} AND number > ? ORDER BY number LIMIT ?",
                *values, last, _AT_ONCE,
            ).fetchall()  # fmt: skip
            yield from rows
            if len(rows) < _AT_ONCE:
                return
            last = rows[-1][0]

    def _do(self, statement: str, *values: Any) -> sqlite3.Cursor:
        with self._named():
            return self._file.execute(statement, values)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._do("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._file.rollback()
            raise
        self._do("COMMIT")

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
                raise OSError(28, "No space left on device", str(self._path)) from None
            raise InputError(f"{self._path}: can't be used: {error}") from None


def shard_name(number: int) -> str:
    """As its files and folders are called."""
    return f"{number:05d}"
