"""What drives the engines of an archive."""

from __future__ import annotations

import pytest

from benchmarks.many_machines.archives import drive
from peclip_fast.archive.work import VideoEnd, VideoTask


class Engine:
    """Of two slots; the newest task ends first."""

    slots = 2

    def __init__(self, bad: int | None = None) -> None:
        self.running: list[VideoTask] = []
        self.done: list[int] = []
        self.bad = bad

    def submit(self, task: VideoTask) -> None:
        self.running.append(task)
        assert len(self.running) <= self.slots

    def take(self) -> VideoEnd:
        self.done.append(self.running.pop().number)
        return VideoEnd(self.done[-1], "no good" if self.done[-1] == self.bad else None)

    def close(self) -> None:
        """Nothing to end."""


TASKS = [VideoTask(number, "v.mp4", "out") for number in range(5)]


def test_all_tasks_are_done_once() -> None:
    engine = Engine()
    assert drive(engine, TASKS) > 0
    assert sorted(engine.done) == [0, 1, 2, 3, 4]
    assert len(TASKS) == 5


def test_a_video_without_a_result_ends_it() -> None:
    with pytest.raises(SystemExit, match="no good"):
        drive(Engine(bad=3), TASKS)
