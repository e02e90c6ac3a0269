"""The account: what is left, what is done, and what has changed since then."""

from __future__ import annotations

import os

import pytest

from peclip_fast.analyze.pipeline.sources import VideoSource
from peclip_fast.archive.account import Account, Counts
from peclip_fast.archive.fetching import stamp_of
from peclip_fast.archive.work import VideoEnd
from peclip_fast.errors import InputError


@pytest.fixture
def sources(tmp_path):
    folder = tmp_path / "v"
    folder.mkdir()
    for number in range(7):
        (folder / f"{number}.mp4").write_text(str(number))
    return [VideoSource(str(folder / f"{number}.mp4")) for number in range(7)]


@pytest.fixture
def opened(tmp_path):
    def make(**asked):
        return Account(tmp_path, {"window": 2.0, **asked}, 3)

    return make


def done(number: int, sources) -> VideoEnd:
    return VideoEnd(number, None, 1, 10, 9, stamp_of(sources[number].name))


def test_each_once_and_it_goes_on_where_it_stood(opened, sources):
    account = opened()
    assert account.take_down([*sources, sources[2]]) == Counts(7, 0, 0, 1)
    tasks = list(account.left())
    assert [task.source for task in tasks] == [source.name for source in sources]
    assert len({task.folder for task in tasks}) == 7
    account.end(done(0, sources))
    account.end(VideoEnd(1, "v1: no good"))
    account.close()
    account = opened()  # as after a death
    assert account.counts() == Counts(5, 1, 1, 1)
    assert [row.reason for row in account.rows()][:3] == [None, "v1: no good", None]
    # What failed is tried again, in its old folder; a new video comes last.
    new = VideoSource("https://host/x.mp4")
    assert account.take_down([new, *sources]) == Counts(7, 1, 0, 0)
    again = list(account.left())
    assert again[:-1] == tasks[1:]
    assert (again[-1].number, again[-1].source) == (7, "https://host/x.mp4")


def test_what_is_not_asked_for_now_stays_and_is_not_told(opened, sources):
    account = opened()
    account.take_down(sources)
    account.end(done(0, sources))
    assert account.take_down(sources[3:]) == Counts(4, 0, 0, 0)
    assert [task.number for task in account.left()] == [3, 4, 5, 6]
    assert [row.number for row in account.rows()] == [3, 4, 5, 6]
    assert account.take_down(sources) == Counts(6, 1, 0, 0)


def test_a_changed_file_is_analyzed_again_and_its_shard_written_again(opened, sources):
    account = opened()
    account.take_down(sources)
    for number in range(7):
        assert account.unwritten() == ([] if number < 3 else [0] if number < 6 else [0, 1])
        account.end(done(number, sources))
    assert account.unwritten() == [0, 1, 2]
    assert account.to_write(2)
    for shard in range(3):
        account.wrote(shard)
    assert account.unwritten() == []
    assert not account.to_write(2)
    assert account.take_down(sources) == Counts(0, 7, 0, 0)
    os.utime(sources[4].name, ns=(0, 0))
    os.unlink(sources[0].name)  # which is no reason to do anything
    assert account.take_down(sources) == Counts(1, 6, 0, 0)
    assert [task.number for task in account.left()] == [4]
    assert account.unwritten() == []
    account.end(done(4, sources))
    assert account.unwritten() == [1]


def test_a_shard_is_not_written_for_failures_alone(opened, sources):
    account = opened()
    account.take_down(sources[:4])
    for number in range(3):
        account.end(VideoEnd(number, "no"))
    assert not account.to_write(0)
    account.end(done(3, sources))
    assert account.unwritten() == [1]
    assert [path.name[:2] for _, path in account.done_in(1)] == ["3-"]


def test_long_and_odd_names(opened, tmp_path):
    odd = [os.fsdecode(b"\xff.mp4"), "x" * 240 + ".mp4", "a\nb.mp4"]
    account = opened()
    account.take_down(VideoSource(str(tmp_path / name)) for name in odd)
    tasks = list(account.left())
    assert [task.source for task in tasks] == [str(tmp_path / name) for name in odd]
    assert all(len(os.path.basename(task.folder)) < 100 for task in tasks)
    os.makedirs(tasks[0].folder)


def test_of_something_else_or_damaged(opened, sources, tmp_path):
    opened().close()
    with pytest.raises(InputError, match=r"holds an analysis with window 2\.0, not 3\.0; choose"):
        opened(window=3.0)
    with pytest.raises(InputError, match="shard 3, not 5"):
        Account(tmp_path, {"window": 2.0}, 5)
    (tmp_path / "archive.sqlite").write_bytes(b"no such thing" * 1000)
    with pytest.raises(InputError, match=r"archive\.sqlite: can't be used: file is not a database"):
        opened()


def test_a_list_that_fails_leaves_the_account_as_it_was(opened, sources):
    account = opened()
    account.take_down(sources[:2])

    def failing():
        yield sources[5]
        raise InputError("list.csv:3: no")

    with pytest.raises(InputError, match=r"list\.csv:3"):
        account.take_down(failing())
    assert [task.number for task in account.left()] == [0, 1]
