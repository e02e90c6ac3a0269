"""One process at a time that writes to a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from peclip_fast.errors import InputError

NAME = ".lock"
_OURS: set[Path] = set()  # POSIX lets a process take its own locks again, and lose them so
_WARNED_OF: set[Path] = set()
_TAKEN = {errno.EACCES, errno.EAGAIN}
_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a folder, which is made if it isn't there.

    The lock is POSIX's: it ends with this process, whatever ends it, and forked children don't
    have it. Where a file system has none, that is said and the block runs.

    Raises:
        InputError: another process has it; says which.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.resolve() / NAME
    with _taken(path) as file:
        with contextlib.suppress(OSError):  # on a full disk the others don't hear who it is
            file.truncate(0)
            file.write(f"{os.getpid()} on {socket.gethostname()}")
            file.flush()
        try:
            _OURS.add(path)
            yield
        finally:
            _OURS.discard(path)
            path.unlink(missing_ok=True)
            if made:
                with contextlib.suppress(OSError):  # something is in it
                    folder.rmdir()


def check_unlocked(folder: Path) -> None:
    """Raise InputError, which says which, if another process has the lock of a folder."""
    path = folder.resolve() / NAME
    if path.is_file() and os.access(path, os.W_OK):
        with _taken(path):
            pass


def is_taken(error: OSError, folder: Path) -> bool:
    """Whether a lock wasn't to be had as another process has it.

    That a file system has no locks is said, once for a folder. Any other error is raised.
    """
    if error.errno in _TAKEN:
        return True
    if error.errno not in _WITHOUT_LOCKS:
        raise error
    if folder not in _WARNED_OF:
        _WARNED_OF.add(folder)
        print(
            f"warning: {folder}: no locks here ({error.strerror}): be sure that no other process "
            "writes there",
            file=sys.stderr,
        )
    return False


@contextlib.contextmanager
def _taken(path: Path) -> Iterator[IO[str]]:
    if path in _OURS:
        raise _refusal(path, "this one")
    while True:
        with open(path, "a+", encoding="utf-8") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if is_taken(error, path.parent):
                    file.seek(0)
                    raise _refusal(path, file.read().strip() or "another one") from None
            if _is_named(file, path):  # else its holder removed it just now
                yield file
                return


def _refusal(path: Path, holder: str) -> InputError:
    return InputError(
        f"{path.parent}: process {holder} is writing there; wait for its end, or choose another "
        "folder"
    )


def _is_named(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
