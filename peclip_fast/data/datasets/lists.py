"""The field's list format, ``<frame directory> <number of frames> <label>``.

Such lists are passed around with the paths of somebody else's disk, so the paths are looked up
again under a root of the reader's own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError
from peclip_fast.text_files import read_lines, shown, whole_number

_DEEPEST = 100  # components of a path that are looked for on disk


def read_list(path: str | Path, root: str | Path | None = None) -> list[ClipRecord]:
    """The clips of one list file.

    CRLF, a missing last newline, blank lines, a BOM, drive letters, backslashes and spaces inside
    the paths are all fine.

    With ``root`` every path is replaced by ``root`` and its own last k components. k is found
    once: the longest tail of a record that exists under ``root``, tried record by record until
    one exists. Where none does, k keeps what the records don't have in common (so that different
    clips stay different), and opening a clip will name the missing path.

    Args:
        path: the list file.
        root: folder under which the clips are; None keeps the paths as they are written.

    Returns:
        One record per line, in order; ``label`` is the number in the file.

    Raises:
        InputError: the file can't be read, or a line is of another form; names ``file:line``.
    """
    written: list[str] = []
    counts: list[tuple[int, int, str]] = []
    for source, line in read_lines(Path(path)):
        fields = line.rsplit(None, 2)
        num_frames, label = map(whole_number, fields[1:]) if len(fields) == 3 else (None, None)
        if num_frames is None or label is None:
            raise InputError(
                f"{source}: expected '<frame directory> <number of frames> <label>', "
                f"got {shown(line)}"
            )
        written.append(fields[0].strip())
        counts.append((num_frames, label, source))
    if not written:
        raise InputError(f"{path}: empty list: expected one clip per line")
    paths = [Path(p.replace("\\", "/")) for p in written] if root is None else remap(written, root)
    return [
        ClipRecord(clip, label, num_frames, source)
        for clip, (num_frames, label, source) in zip(paths, counts, strict=True)
    ]


def remap(written: Sequence[str], root: str | Path) -> list[Path]:
    """The paths of a list under a new root; the rule is in ``read_list``."""
    tails = [components(path) for path in written]
    keep = _existing_tail(tails, Path(root)) or _distinct_tail(tails)
    base = str(root)
    return [Path(os.path.join(base, *tail[-keep:])) for tail in tails]


def components(path: str) -> list[str]:
    """The components after drive and root, for both kinds of slash."""
    parts = path.replace("\\", "/").split("/")
    if len(parts[0]) == 2 and parts[0][1] == ":":
        parts = parts[1:]
    return [part for part in parts if part not in ("", ".")]


def _existing_tail(tails: Sequence[Sequence[str]], root: Path) -> int | None:
    """Length of the longest tail that exists under root, from the first record that has one.

    Only tails whose first component is an entry of root are looked for on disk, so a list of
    which nothing exists costs next to nothing.
    """
    try:
        entries = set(os.listdir(root))
    except OSError:
        return None
    for tail in tails:
        for start, component in enumerate(tail[-_DEEPEST:], max(0, len(tail) - _DEEPEST)):
            if component in entries and os.path.exists(os.path.join(root, *tail[start:])):
                return len(tail) - start
    return None


def _distinct_tail(tails: Sequence[Sequence[str]]) -> int:
    """Length of the longest tail without the folders that all records share; at least 1."""
    shared = 0
    for level in zip(*tails, strict=False):
        if any(component != level[0] for component in level):
            break
        shared += 1
    return max(1, max(len(tail) for tail in tails) - shared)
