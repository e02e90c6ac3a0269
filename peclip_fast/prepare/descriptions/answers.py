"""The answers that were paid for, each on the disk the moment it arrives."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from peclip_fast.errors import InputError
from peclip_fast.files import naming
from peclip_fast.json_files import parse_json
from peclip_fast.prepare.descriptions.endpoint import Reply


class Key(NamedTuple):
    """What was asked: of which clip, which LLM, a hash of prompt and pictures, for which time."""

    clip: str
    llm: str
    question: str
    ask: int = 1


@dataclass(frozen=True)
class _Kept:
    """What is read of a line."""

    clip: str
    llm: str
    question: str
    text: str
    ask: int = 1


class Answers:
    """JSON lines to which answers are appended; a torn last line of a killed run is dropped.

    Safe to use from several threads; one process at a time.

    Raises:
        InputError: a line that isn't the last is broken, or another process has the file open.
    """

    def __init__(self, path: Path) -> None:
        self.found: dict[Key, str] = {}
        self._path, self._lock = path, Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - held for as long as the lock
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise InputError(f"{path}: another process is asking for these texts") from None
        self._file.seek(0)
        data = self._file.readall()
        self._length = data.rfind(b"\n") + 1
        self._file.truncate(self._length)
        for number, line in enumerate(data[: self._length].split(b"\n")[:-1], start=1):
            try:
                source = f"{path}:{number}: no answer of an LLM"
                kept = parse_json(line, source, _Kept)
                if kept.ask < 1:
                    raise InputError(f"{source}: expected a number from 1 on in ask")
            except InputError:
                self._file.close()
                raise
            self.found[Key(kept.clip, kept.llm, kept.question, kept.ask)] = kept.text

    def told(self, clip: str, llm: str, question: str) -> list[str]:
        """The answers to the first and each further asking."""
        texts: list[str] = []
        while (key := Key(clip, llm, question, len(texts) + 1)) in self.found:
            texts.append(self.found[key])
        return texts

    def add(self, key: Key, reply: Reply) -> None:
        """Append one answer and flush it to the disk.

        Raises:
            OSError: it can't be written; then it is on stderr, as it can't be got again for free.
        """
        line = json.dumps(key._asdict() | reply._asdict(), ensure_ascii=False)
        with self._lock:
            try:
                with naming(self._path):
                    self._write(line.encode() + b"\n")
            except OSError:
                print(f"not written: {line}", file=sys.stderr)
                raise
            self.found[key] = reply.text

    def _write(self, data: bytes) -> None:
        """All of the line or nothing of it."""
        try:
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(self._length)
            raise
        self._length += len(data)

    def close(self) -> None:
        """Gives the file back."""
        self._file.close()
