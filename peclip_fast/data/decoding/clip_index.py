"""What was found out about clips, kept so that no later epoch or run has to open them for it."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sqlite3
import threading
import warnings
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from peclip_fast.data.decoding.frame_folder import FolderIndex
from peclip_fast.data.decoding.geometry import Geometry
from peclip_fast.data.decoding.video_index import VideoIndex
from peclip_fast.files import cache_folder

Index = VideoIndex | FolderIndex

_TABLE = "clips_4"  # another number where the indices change, so that older rows stay as they are
_DIGEST = 16  # bytes in front of a row's facts
# A damaged file says its errors in any bytes, and may ask for any memory.
_BROKEN = (sqlite3.Error, OSError, UnicodeError, MemoryError)
_WAIT = 60.0  # seconds for another process that writes


class ClipIndexWarning(UserWarning):
    """The file of the clip index can't be used; clips are looked into each time."""


class _Connection(threading.local):
    """Each thread's own."""

    process = 0
    connection: sqlite3.Connection | None = None


class ClipIndex:
    """Indices of clips by path, in an SQLite file that all processes share.

    A row counts for as long as the clip has the stamp that it had before it was looked into. The
    file is a cache: it may be deleted at any time, and one that can't be read or written costs
    time, never a run.

    Args:
        file: where it is; made when first written to.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._own = _Connection()
        self._off = mmap.mmap(-1, 1)  # shared with the processes that are forked from this one

    def get(self, path: Path, stamp: str) -> Index | None:
        """The index of a clip with this stamp; None where it isn't known, or no longer holds."""
        rows = self._run(
            f"SELECT facts FROM {_TABLE} WHERE path = ? AND stamp = ?",
            (_key(path), stamp),
        )
        for (row,) in rows:
            if isinstance(row, bytes) and row[:_DIGEST] == _digest(row[_DIGEST:]):
                index = _decoded(json.loads(zlib.decompress(row[_DIGEST:])))
                if isinstance(index, VideoIndex) or index.holds(path):
                    return index
        return None  # not known, or a damaged row

    def put(self, path: Path, stamp: str, index: Index) -> None:
        """Keeps the index of a clip that had this stamp before the index was made."""
        facts = zlib.compress(json.dumps(_encoded(index)).encode(), 1)
        self._run(
            f"INSERT OR REPLACE INTO {_TABLE} VALUES (?, ?, ?)",
            (_key(path), stamp, _digest(facts) + facts),
        )

    def switch_off(self) -> None:
        """Keep and know nothing from now on, here and in processes that are forked from here."""
        self._off[0] = 1

    def _run(self, statement: str, values: tuple[Any, ...]) -> Iterable[tuple[Any, ...]]:
        if self._off[0]:
            return []
        try:
            with self._open() as connection:
                return connection.execute(statement, values).fetchall()
        except _BROKEN as error:
            self._off[0] = 1  # one warning for all processes
            message = f"{self.file}: not used: {error}; XDG_CACHE_HOME names another place"
            warnings.warn(message, ClipIndexWarning, stacklevel=4)
            return []

    def _open(self) -> sqlite3.Connection:
        """This thread's connection: one that came over a fork must not be used."""
        own = self._own
        if own.connection is None or own.process != os.getpid():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.file, timeout=_WAIT)
            # What a power cut takes is looked up again.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {_TABLE} "
                "(path TEXT PRIMARY KEY, stamp TEXT NOT NULL, facts BLOB NOT NULL)"
            )
            own.connection, own.process = connection, os.getpid()
        return own.connection


@cache
def clip_index() -> ClipIndex:
    """The index that all runs of this user share, next to the other caches."""
    return ClipIndex(cache_folder() / "clips.sqlite")


def _key(path: Path) -> str | bytes:
    """A clip's path as SQLite keeps it: as text, or as bytes where it is no text in UTF-8."""
    whole = os.path.abspath(path)
    try:
        whole.encode()
    except UnicodeEncodeError:
        return os.fsencode(whole)
    return whole


def _digest(facts: bytes) -> bytes:
    return hashlib.blake2b(facts, digest_size=_DIGEST).digest()


def _encoded(index: Index) -> dict[str, Any]:
    facts = asdict(index)
    if isinstance(index, VideoIndex):
        unit = index.time_unit
        facts["time_unit"] = None if unit is None else [unit.numerator, unit.denominator]
        facts["open_groups"] = sorted(index.open_groups)
    return facts


def _decoded(facts: Mapping[str, Any]) -> Index:
    facts = {name: tuple(v) if isinstance(v, list) else v for name, v in facts.items()}
    if "names" in facts:
        return FolderIndex(**facts)
    unit = facts.pop("time_unit")
    return VideoIndex(
        **facts
        | {
            "geometry": Geometry(**facts["geometry"]),
            "open_groups": frozenset(facts["open_groups"]),
            "time_unit": None if unit is None else Fraction(*unit),
        }
    )
