"""Lists far longer than what a test can analyze: by an engine that does nothing."""

from __future__ import annotations

import tracemalloc
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from peclip_fast.analyze.pipeline.sources import VideoSource
from peclip_fast.archive import engines
from peclip_fast.archive.engines import LocalEngine
from peclip_fast.archive.run import analyze_archive
from peclip_fast.archive.work import VideoEnd, VideoTask

ORDER = SimpleNamespace(about={}, recipe=SimpleNamespace(classes=("happy",)), speech=False)


class Nothing:
    """Two slots; the oldest task ends first, and fails."""

    slots = 2

    def __init__(self) -> None:
        self.running: deque[VideoTask] = deque()

    def submit(self, task: VideoTask) -> None:
        self.running.append(task)
        assert len(self.running) <= self.slots

    def take(self) -> VideoEnd:
        task = self.running.popleft()
        return VideoEnd(task.number, f"{task.source}: no good")

    def close(self) -> None:
        assert not self.running


def peak(output, count: int) -> int:
    """Bytes that Python has at most for a list of so many videos."""
    output.mkdir()

    def sources() -> Iterator[VideoSource]:
        for number in range(count):
            yield VideoSource(f"https://host/a/rather/long/folder/video-{number:07d}.mp4")

    told = 0

    def tell(line: str) -> None:
        nonlocal told
        told += line.startswith("failed: ")

    tracemalloc.start()
    try:
        counts = analyze_archive(sources(), output, ORDER, 100, Nothing, tell)
        found = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (counts.left, counts.done, counts.failed, told) == (0, 0, count, count)
    with (output / "manifest.csv").open() as file:
        assert sum(1 for _ in file) == count + 1
    return found


def test_memory_is_that_of_a_short_list(tmp_path, monkeypatch):
    monkeypatch.setattr("peclip_fast.archive.account._AT_ONCE", 100)
    peak(tmp_path / "first", 10)  # imports
    grown = peak(tmp_path / "long", 2200) - peak(tmp_path / "short", 200)
    assert grown < 2000 * 50  # bytes; the names alone would take more than twice that


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ZeroDivisionError("division\nby zero"), "a.mp4: ZeroDivisionError: division by zero"),
        (MemoryError(), "a.mp4: MemoryError: "),
    ],
)
def test_what_nobody_foresaw_is_that_videos_failure(monkeypatch, error, reason):
    def analyze(task):
        raise error

    made = SimpleNamespace(analyze=analyze)
    monkeypatch.setattr(engines, "VideoWorker", lambda order, classify: made)
    engine = LocalEngine(ORDER, None)
    engine.submit(VideoTask(7, "a.mp4", "out/a"))
    assert engine.take() == VideoEnd(7, reason)


def test_a_full_disk_is_not(monkeypatch):
    def analyze(task):
        raise OSError(28, "No space left on device", "out/a/frames.csv")

    made = SimpleNamespace(analyze=analyze)
    monkeypatch.setattr(engines, "VideoWorker", lambda order, classify: made)
    engine = LocalEngine(ORDER, None)
    engine.submit(VideoTask(7, "a.mp4", "out/a"))
    with pytest.raises(OSError, match="No space left"):
        engine.take()
