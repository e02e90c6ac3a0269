"""What was found out about clips is found again, and never wrong."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from peclip_fast.data.decoding import clip_index as module
from peclip_fast.data.decoding import video_file
from peclip_fast.data.decoding.clip_index import ClipIndex, ClipIndexWarning, clip_index, clip_stamp
from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.errors import InputError

Writer = Callable[..., Path]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClipIndex:
    """The index that open_clip_source uses, empty."""
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")
    clip_index.cache_clear()
    yield clip_index()
    clip_index.cache_clear()


def no_pass(*_: object) -> None:
    raise AssertionError("a pass over the packets")


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("clip.mp4", "libx264", {"g": "7"}),
        ("clip.mkv", "libx264", {"bf": "3", "x264-params": "open-gop=1:keyint=8:scenecut=0"}),
        ("clip.avi", "mpeg4", {}),
    ],
)
def test_the_second_opening_makes_no_pass(
    tmp_path: Path,
    video_at: Writer,
    index: ClipIndex,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    codec: str,
    options: dict[str, str],
) -> None:
    path = video_at(tmp_path / name, 30, codec, options)
    first = open_clip_source(path)
    monkeypatch.setattr(video_file, "scan", no_pass)
    second = open_clip_source(path)
    assert second.index == first.index == index.get(path, clip_stamp(path))
    assert (second.read([3, 29]) == first.read([3, 29])).all()
    assert open_clip_source(path, start=0.4, end=0.8).num_frames == 10


def test_folders_are_kept_too(tmp_path: Path, frames_at: Writer, index: ClipIndex) -> None:
    path = frames_at(tmp_path / "clip", 12)
    source = open_clip_source(path)
    assert source.index == index.get(path, clip_stamp(path))
    assert open_clip_source(path).index.names == source.index.names


def test_a_relative_path_is_the_same_clip(
    tmp_path: Path, frames_at: Writer, index: ClipIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = frames_at(tmp_path / "clip", 3)
    monkeypatch.chdir(tmp_path)
    open_clip_source("clip")
    assert index.get(path, clip_stamp(path)) is not None


@pytest.mark.usefixtures("index")
def test_a_changed_clip_is_seen(tmp_path: Path, frames_at: Writer, video_at: Writer) -> None:
    video, folder = video_at(tmp_path / "clip.mp4", 30), frames_at(tmp_path / "clip", 12)
    assert open_clip_source(video).num_frames == 30
    assert open_clip_source(folder).num_frames == 12
    video_at(video, 20)
    (folder / "00012.jpg").unlink()
    assert open_clip_source(video).num_frames == 20
    assert open_clip_source(folder).num_frames == 11


def test_a_bad_clip_is_not_kept(tmp_path: Path, video_at: Writer, index: ClipIndex) -> None:
    path = video_at(tmp_path / "clip.mp4", 30)
    path.write_bytes(path.read_bytes()[:-200])
    for _ in range(2):
        with pytest.raises(InputError, match="not a readable video"):
            open_clip_source(path)
    assert index.get(path, clip_stamp(path)) is None


def test_a_damaged_file_only_warns(tmp_path: Path, video_at: Writer, index: ClipIndex) -> None:
    path = video_at(tmp_path / "clip.mp4", 30)
    index.file.parent.mkdir()
    index.file.write_bytes(b"no database" * 1000)
    with pytest.warns(ClipIndexWarning, match=r"clips.sqlite: not used: file is not a database"):
        assert open_clip_source(path).num_frames == 30


def test_a_place_that_can_not_be_written_only_warns(tmp_path: Path, video_at: Writer) -> None:
    (tmp_path / "file").write_text("where a folder is expected")
    index = ClipIndex(tmp_path / "file/clips.sqlite")
    path = video_at(tmp_path / "clip.mp4", 5)
    with pytest.warns(ClipIndexWarning, match="not used"):
        index.put(path, clip_stamp(path), open_clip_source(path).index)
    with pytest.warns(ClipIndexWarning, match="not used"):
        assert index.get(path, clip_stamp(path)) is None


def test_processes_share_it(tmp_path: Path, frames_at: Writer, index: ClipIndex) -> None:
    """Forked while the parent holds a connection, all writing at once."""
    known = open_clip_source(frames_at(tmp_path / "clip", 3)).index

    def put() -> None:
        for number in range(50):
            index.put(Path(f"/{os.getpid()}/{number}"), "stamp", known)

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=put) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    for process in processes:
        for number in range(50):
            assert index.get(Path(f"/{process.pid}/{number}"), "stamp") == known
