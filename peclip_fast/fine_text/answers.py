"""The answers that were paid for, each on the disk the moment it arrives."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from peclip_fast.errors import InputError

Key = tuple[str, str, str]  # clip, LLM, hash of the request's prompt


class Answers:
    """JSON lines to which answers are appended; a torn last line of a killed run is dropped.

    Raises:
        InputError: a line that isn't the last is broken, or another process has the file open.
    """

    def __init__(self, path: Path) -> None:
        self.found: dict[Key, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+b")  # noqa: SIM115 - held for as long as the lock
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{path}: another process is asking for these texts") from None
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        self._file.truncate(whole)
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                row = json.loads(line)
                self.found[row["clip"], row["llm"], row["prompt"]] = row
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}:{number}: no answer of an LLM ({error})") from None

    def add(self, key: Key, text: str, usage: dict[str, int]) -> None:
        """Append one answer and flush it to the disk."""
        row = dict(zip(("clip", "llm", "prompt"), key, strict=True), text=text, usage=usage)
        self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.found[key] = row

    def close(self) -> None:
        """Gives the file back."""
        self._file.close()
