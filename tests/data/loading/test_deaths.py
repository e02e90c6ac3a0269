"""A worker that was killed is replaced, and its batches come as they would have come."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time

import pytest
import torch

from peclip_fast.config.data import DataConfig
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.loading.loader import make_loader
from peclip_fast.data.splits import open_splits
from peclip_fast.errors import InputError

MAIN = os.getpid()


@pytest.fixture
def make(tiny_clips):
    """Gives a loader of 5 batches of 3 clips by so many workers."""

    def loader(workers):
        config = DataConfig(dataset="folder", root=tiny_clips, frames=2, num_workers=workers)
        clips = ClipDataset(open_splits(config).train, config, 32, train=True)
        made = make_loader(clips, 3)
        made.set_epoch(1, 1)
        return made

    return loader


def batches(loader):
    return [(batch["index"], batch["frames"]) for batch in loader]


def same(found, expected):
    pairs = zip(found, expected, strict=True)
    return all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


@pytest.fixture
def workers():
    """Gives the processes that were started since, such as not those of another test's server."""
    before = set(multiprocessing.active_children())
    return lambda: [one for one in multiprocessing.active_children() if one not in before]


def kill(processes, number=signal.SIGKILL):
    for process in processes:
        os.kill(process.pid, number)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
@pytest.mark.parametrize("which", [slice(1), slice(None)])
def test_it_goes_on(make, workers, capfd, number, which):
    expected, loader = batches(make(0)), make(2)
    found = []
    for batch in loader:
        found.append((batch["index"], batch["frames"]))
        if len(found) in (1, 3):
            kill(workers()[which], number)
            time.sleep(0.05)  # an error out of the handler would come here
    assert same(found, expected)
    assert same(batches(loader), expected)  # the next pass begins where this one did
    assert "warning: a process that reads clips" in capfd.readouterr().err
    loader.close()
    assert workers() == []


def test_one_that_holds_a_lock(make, workers, tmp_path, monkeypatch, capfd):
    """multiprocessing's event has one, held whenever a worker looks whether it is to end."""
    expected, load, died = batches(make(0)), ClipDataset.load, tmp_path / "died"

    def dying(self, *arguments):
        if os.getpid() != MAIN and not died.exists():
            died.touch()
            frame = sys._getframe()
            while "done_event" not in frame.f_locals:
                frame = frame.f_back
            if lock := getattr(frame.f_locals["done_event"], "_cond", None):
                lock.acquire()
            os.kill(os.getpid(), signal.SIGKILL)
        return load(self, *arguments)

    def too_long(*_):
        raise TimeoutError("the main process waits for a lock that a killed one held")

    monkeypatch.setattr(ClipDataset, "load", dying)
    former = signal.signal(signal.SIGALRM, too_long)
    try:
        signal.alarm(60)
        loader = make(2)
        assert same(batches(loader), expected)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)
    loader.close()
    assert workers() == []


def test_between_passes(make, workers, capfd):
    expected, loader = batches(make(0)), make(2)
    for _ in range(2):
        assert same(batches(loader), expected)
        kill(workers())
    assert same(batches(loader), expected)
    loader.close()


def test_a_worker_of_another_loader(make, capfd):
    """Its own loader says that it has ended; the one that heard of it first goes on."""
    expected, loader, other = batches(make(0)), make(2), make(1)
    assert same(batches(loader), expected)
    before = set(multiprocessing.active_children())
    assert same(batches(other), expected)
    (idle,) = set(multiprocessing.active_children()) - before
    os.kill(idle.pid, signal.SIGKILL)
    idle.join()
    assert same(batches(loader), expected)
    assert capfd.readouterr().err == ""
    assert same(batches(other), expected)
    assert capfd.readouterr().err.count("warning: a process that reads clips was ended") == 1
    loader.close()
    other.close()


def test_one_that_dies_each_time(make, workers, monkeypatch, capfd):
    load = ClipDataset.load

    def dying(self, *arguments):
        if os.getpid() != MAIN:
            os.kill(os.getpid(), signal.SIGKILL)
        return load(self, *arguments)

    monkeypatch.setattr(ClipDataset, "load", dying)
    with pytest.raises(InputError, match=r"3 times for one batch; .* lower data.num_workers"):
        batches(make(1))
    err = capfd.readouterr().err
    assert err.count("warning: a process that reads clips was ended by SIGKILL") == 2
    assert workers() == []


def test_other_errors_stay_what_they_are(make, monkeypatch):
    def failing(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(ClipDataset, "load", failing)
    loader = make(1)
    with pytest.raises(RuntimeError, match="something else"):
        batches(loader)
    loader.close()
