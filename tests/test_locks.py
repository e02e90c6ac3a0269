"""Only one process at a time writes to a folder, and none is kept out by one that has ended."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
import socket
from pathlib import Path

import pytest

from peclip_fast import locks
from peclip_fast.errors import InputError
from peclip_fast.locks import check_unlocked, locked

_FORK = multiprocessing.get_context("fork")


def elsewhere(folder: Path) -> str:
    """What another process is told."""
    receiving, sending = _FORK.Pipe(duplex=False)

    def take() -> None:
        locks._OURS.clear()
        told = []
        for lock in (lambda: check_unlocked(folder), lambda: locked(folder).__enter__()):
            try:
                lock()
                told.append("free")
            except InputError as error:
                told.append(str(error))
        sending.send(told)

    process = _FORK.Process(target=take)
    process.start()
    first, second = receiving.recv()
    process.join()
    assert first == second
    return str(first)


def test_another_process_is_refused_until_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with locked(folder):
        assert elsewhere(folder) == (
            f"{folder}: process {os.getpid()} on {socket.gethostname()} is writing there; wait for "
            "its end, or choose another folder"
        )
        (folder / "file").touch()
    assert [path.name for path in folder.iterdir()] == ["file"]
    assert elsewhere(folder) == "free"


def test_a_folder_made_for_nothing_goes(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_this_process_too(tmp_path: Path) -> None:
    with locked(tmp_path):
        for lock in (check_unlocked, lambda folder: locked(folder).__enter__()):
            with pytest.raises(InputError, match="process this one is writing there"):
                lock(tmp_path)
        assert elsewhere(tmp_path) != "free"  # the refused ones have not taken it away
    check_unlocked(tmp_path)


def test_one_that_was_killed_while_its_children_live_on(tmp_path: Path) -> None:
    ready = _FORK.Event()

    def hold() -> None:
        with locked(tmp_path):
            child = os.fork()
            if child:
                (tmp_path / "child").write_text(str(child))
                ready.set()
            signal.pause()

    process = _FORK.Process(target=hold)
    process.start()
    assert ready.wait(60)
    child = int((tmp_path / "child").read_text())
    try:
        assert elsewhere(tmp_path) != "free"
        process.kill()
        process.join()
        os.kill(child, 0)  # it is there still
        assert (tmp_path / locks.NAME).exists()
        with locked(tmp_path):
            assert elsewhere(tmp_path) != "free"
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch, capsys) -> None:
    def lockf(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with locked(tmp_path):
        pass
    err = capsys.readouterr().err
    assert err.startswith(f"warning: {tmp_path}: no locks here (No locks available): ")
    assert err.count("\n") == 1
