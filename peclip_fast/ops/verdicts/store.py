"""Where verdicts are kept: shipped with the package, and in the user's cache.

A file is JSON with the machine's facts, the verdicts and a digest of it all. A shipped file may
name fewer facts, such as only an instruction set: it holds for all machines that have these.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peclip_fast import digests
from peclip_fast.errors import InputError
from peclip_fast.files import cache_folder, named_cache, write_bytes
from peclip_fast.json_files import parse_json
from peclip_fast.locks import locked
from peclip_fast.ops import extension
from peclip_fast.ops.declared import Choice, Kind
from peclip_fast.ops.verdicts.verdict import Record, choices

SHIPPED = Path(__file__).parent / "shipped"
NAME = "verdicts.json"
_FOLDER = "verdicts"
_FORMAT = 1
_POLL = 0.2  # seconds between two looks at a lock
_memory: dict[Path, Record] = {}  # what this process has found, wherever it could be written
_told: set[str] = set()  # of this process: a warning comes once


@dataclass(frozen=True)
class _Stored:
    """A file's content but for its digest."""

    format: int
    record: Record


def shipped(machine: Mapping[str, str], folder: Path = SHIPPED) -> Record:
    """What came with the package for this machine."""
    found = Record(dict(machine))
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        record = read(path)
        if record is not None and record.machine.items() <= machine.items():
            found = found.with_(record.verdicts, record.models)
    return found


@functools.cache
def shipped_choices() -> dict[Kind, Choice]:
    """What follows from what came with the package for this processor's instruction set."""
    level = "" if extension.missing() else extension.load().cpu_instruction_set()
    record = shipped({"device": "cpu", "instruction_set": level}, SHIPPED)
    return choices(record.verdicts, "cpu")


def anything() -> bool:
    """Whether there may be verdicts on any machine."""
    kept = (named_cache() / _FOLDER).glob(f"*/{NAME}")  # the folders are made for the lock, too
    return bool(_memory) or SHIPPED.is_dir() or any(kept)


def cached(machine: Mapping[str, str]) -> Record:
    """What was found on this machine before."""
    for folder in dict.fromkeys((named_cache(), cache_folder())):
        path = _place(folder, machine)
        record = read(path) if path.is_file() else None
        if record is not None and record.machine == dict(machine):
            return record
    return _memory.get(_place(named_cache(), machine), Record(dict(machine)))


def keep(record: Record) -> None:
    """Write what is known of this machine to the user's cache, beside what others wrote meanwhile.

    Verdicts that nothing is known by aren't kept. Where nothing can be written, that is said, and
    they hold for this process.
    """
    known = [v for v in record.verdicts if v.state != "unknown"]
    whole = cached(record.machine).with_(known, record.models)
    _memory[_place(named_cache(), record.machine)] = whole
    path = _place(cache_folder(), record.machine)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, whole)
    except OSError as error:
        warn(f"{path}: can't be written ({error.strerror}); kernels will be checked again")


def read(path: Path) -> Record | None:
    """A file's record; None, and a warning, where it is damaged or isn't one of ours."""
    try:
        return parse(path)
    except InputError as error:
        warn(f"{error}; it is passed over")
        return None


def parse(path: Path) -> Record:
    """A file's record.

    Raises:
        InputError: it can't be read, is damaged, or isn't one of ours; names the file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    place = data.find(digests.LABEL) + len(digests.LABEL)
    if place < len(digests.LABEL):
        raise digests.without_digest(path)
    digests.check(path, memoryview(data), place)
    found = parse_json(data, str(path), _Stored)
    if found.format != _FORMAT:
        raise InputError(f"{path}: of another version of peclip-fast")
    return found.record


def write(path: Path, record: Record) -> None:
    """A file that read() takes, whole or not at all."""
    content: dict[str, Any] = {
        "digest": digests.BLANK.decode(), **dataclasses.asdict(_Stored(_FORMAT, record))
    }  # fmt: skip
    data = bytearray(json.dumps(content, indent=1).encode() + b"\n")
    digests.seal(memoryview(data), data.find(digests.LABEL) + len(digests.LABEL))
    write_bytes(path, data)


@contextlib.contextmanager
def alone(machine: Mapping[str, str], longest: float) -> Iterator[None]:
    """One process at a time checks kernels on a machine.

    The others wait, and then find what it has found; but none waits longer than a check may take,
    whoever has the lock. Where no lock can be had the block runs.
    """
    folder, end = _place(cache_folder(), machine).parent, time.monotonic() + longest
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
            except InputError:  # another one has it
                if time.monotonic() < end:
                    time.sleep(_POLL)
                    continue
            except OSError:
                pass  # nothing can be written there; keep() says so
            break
        yield


def warn(text: str) -> None:
    """Say something once."""
    if text not in _told:
        _told.add(text)
        print(f"warning: {text}", file=sys.stderr, flush=True)


def _place(folder: Path, machine: Mapping[str, str]) -> Path:
    key = hashlib.sha256(json.dumps(dict(machine), sort_keys=True).encode()).hexdigest()[:16]
    return folder / _FOLDER / key / NAME
