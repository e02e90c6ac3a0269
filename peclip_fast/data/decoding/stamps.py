"""What tells that a file or folder is still the one that it was."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def clip_stamp(path: str | Path) -> str:
    """Size and times of a file; a folder's change when a file in it comes, goes or is renamed.

    The time of the last change of the inode (ctime) can't be set back, so a file that is written
    anew with the size and the time of the former one has another stamp.
    """
    status = os.stat(path)
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def content_stamp(path: str | Path) -> str:
    """A stamp of a file, or of a folder with every file in it, which may be written in place.

    It takes 3 microseconds for each file of a folder.
    """
    stamp = clip_stamp(path)
    if not os.path.isdir(path):
        return stamp
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries)
    whole = hashlib.sha256(stamp.encode())
    for name in names:
        try:
            stamp = clip_stamp(os.path.join(path, name))
        except OSError:  # a link to nothing
            stamp = ""
        whole.update(f"{name!a} {stamp}\n".encode())
    return whole.hexdigest()
