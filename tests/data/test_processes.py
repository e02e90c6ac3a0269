"""Every item gets an answer, whatever becomes of the processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
import weakref
from pathlib import Path

import pytest

from peclip_fast.data.processes import Lost, over_clips


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 10])
def test_every_item_has_one_answer(processes: int, count: int) -> None:
    items = [f"{number}" * 100_000 for number in range(count)]
    answers = list(over_clips(len, items, processes, 60, "counting"))
    assert sorted(answers) == [(number, 100_000) for number in range(count)]


def test_items_that_end_their_process() -> None:
    def work(number: int) -> int:
        if number % 2:
            os._exit(number)
        return number

    answers = dict(over_clips(work, range(8), 3, 60, "working"))
    assert [answers[number] for number in range(0, 8, 2)] == [0, 2, 4, 6]
    for number in range(1, 8, 2):
        assert answers[number] == Lost(f"the process that read it ended with code {number}")


def test_a_process_that_was_killed_costs_nothing(tmp_path: Path) -> None:
    """As it may be killed for lack of memory, and the clip is a good one."""

    def work(number: int) -> int:
        if number == 3 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    answers = list(over_clips(work, range(8), 2, 60, "working"))
    assert sorted(answers) == [(number, number) for number in range(8)]
    assert (tmp_path / "killed").exists()


def test_what_is_inherited_is_left_alone() -> None:
    """Garbage of the parent, such as a decoder with threads, stays where it is in a worker."""

    class Decoder:
        def __init__(self) -> None:
            self.itself = self

    gc.collect()
    gc.disable()
    try:
        decoder = weakref.ref(Decoder())

        def work(_: int) -> bool:
            gc.collect()
            return decoder() is not None

        assert dict(over_clips(work, [0], 1, 60, "collecting")) == {0: True}
        gc.collect()
        assert decoder() is None
    finally:
        gc.enable()


def test_an_item_that_takes_too_long() -> None:
    begin = time.monotonic()
    answers = dict(over_clips(lambda seconds: time.sleep(seconds), [0, 1000, 0], 1, 1.5, "waiting"))
    assert answers == {0: None, 1: Lost("not done within 1.5 s"), 2: None}
    assert time.monotonic() - begin < 30


def test_errors_come_out() -> None:
    def work(number: int) -> None:
        raise OSError(28, "No space left on device", "there")

    with pytest.raises(OSError, match="No space left on device: 'there'"):
        list(over_clips(work, [1, 2], 2, 60, "working"))


def test_a_killed_parent_leaves_no_processes(tmp_path: Path) -> None:
    def work(number: int) -> None:
        (tmp_path / str(os.getpid())).touch()
        time.sleep(0.2)

    def parent() -> None:
        for _ in over_clips(work, range(1000), 3, 60, "working"):
            pass

    process = multiprocessing.get_context("fork").Process(target=parent)
    process.start()
    _until(lambda: len(list(tmp_path.iterdir())) == 3)
    process.kill()
    process.join()
    workers = [Path("/proc", file.name) for file in tmp_path.iterdir()]
    _until(lambda: not any(_running(worker) for worker in workers))


def _until(condition) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _running(process: Path) -> bool:
    """Whether it is there, and not only waited for by nobody."""
    try:
        return "Z" not in (process / "stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
