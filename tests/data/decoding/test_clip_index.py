"""What was found out about clips is found again, and never wrong."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from peclip_fast.data.decoding import clip_index as module
from peclip_fast.data.decoding import video_file
from peclip_fast.data.decoding.clip_index import ClipIndex, ClipIndexWarning, clip_index
from peclip_fast.data.decoding.clip_source import locate_record, open_clip_source
from peclip_fast.data.decoding.stamps import clip_stamp, content_stamp
from peclip_fast.data.records import ClipRecord
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


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize("how", ["in place", "time kept", "copied over", "repaired"])
def test_frames_written_anew_under_their_names(tmp_path: Path, frames_at: Writer, how: str) -> None:
    folder, other = frames_at(tmp_path / "clip", 5), frames_at(tmp_path / "o", 5, height=90)
    first = folder / "00001.jpg"
    if how == "repaired":
        first.write_bytes(b"no image")
    assert open_clip_source(folder).index.height == 48
    before = os.stat(folder).st_mtime_ns, os.stat(first)
    for path in sorted(folder.iterdir()):
        times = os.stat(path)
        if how == "copied over":
            shutil.copy2(other / path.name, path)
        else:
            path.write_bytes((other / path.name).read_bytes())
        if how == "time kept":
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert os.stat(folder).st_mtime_ns == before[0]
    if how == "time kept":
        assert os.stat(first).st_mtime_ns == before[1].st_mtime_ns
    source = open_clip_source(folder)
    assert source.index.height == locate_record(ClipRecord(folder, 0))[0].height == 90
    assert source.read([0, 4]).shape[1] == 90


@pytest.mark.usefixtures("index")
def test_a_video_written_anew_with_its_size_and_time(tmp_path: Path, video_at: Writer) -> None:
    video, other = video_at(tmp_path / "clip.mp4", 30), video_at(tmp_path / "o.mp4", 20)
    data, size = other.read_bytes(), os.stat(video).st_size
    assert len(data) + 8 <= size
    assert open_clip_source(video).num_frames == 30
    times = os.stat(video)
    video.write_bytes(
        data + struct.pack(">I4s", size - len(data), b"free").ljust(size - len(data), b"x")
    )
    os.utime(video, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (os.stat(video).st_size, os.stat(video).st_mtime_ns) == (size, times.st_mtime_ns)
    assert open_clip_source(video).num_frames == 20


def test_the_stamp_of_a_folders_content(tmp_path: Path, frames_at: Writer) -> None:
    folder = frames_at(tmp_path / "clip", 5)
    (folder / "nowhere").symlink_to("nothing")
    stamps = [content_stamp(folder)]
    for name in ("00001.jpg", "00003.jpg", "00005.jpg"):
        (folder / name).write_bytes((folder / name).read_bytes())
        stamps.append(content_stamp(folder))
    (folder / "nowhere").unlink()
    stamps.append(content_stamp(folder))
    assert len(set(stamps)) == 5
    assert content_stamp(folder) == stamps[-1]


def test_names_that_are_not_utf8(tmp_path: Path, frames_at: Writer, index: ClipIndex) -> None:
    folder = frames_at(tmp_path / "caf\udce9", 3, "\udce9{}.jpg")
    assert open_clip_source(folder).num_frames == 3
    assert index.get(folder, clip_stamp(folder)).names == (
        "\udce91.jpg",
        "\udce92.jpg",
        "\udce93.jpg",
    )
    assert open_clip_source(folder).read([0, 2]).shape[0] == 2


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


@pytest.mark.filterwarnings("ignore::peclip_fast.data.decoding.clip_index.ClipIndexWarning")
def test_damage_in_what_the_file_says_of_its_table(
    tmp_path: Path, frames_at: Writer, index: ClipIndex
) -> None:
    """Of which SQLite's messages cite bytes that are no text."""
    path = frames_at(tmp_path / "clip", 3)
    known = open_clip_source(path).index
    whole = index.file.read_bytes()
    begin = whole.index(b"CREATE TABLE")
    for place in range(begin - 40, whole.index(b")", begin)):
        index.file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        assert ClipIndex(index.file).get(path, clip_stamp(path)) in (known, None)


def test_a_place_that_can_not_be_written_only_warns_once(tmp_path: Path, video_at: Writer) -> None:
    (tmp_path / "file").write_text("where a folder is expected")
    index = ClipIndex(tmp_path / "file/clips.sqlite")
    path = video_at(tmp_path / "clip.mp4", 5)
    with pytest.warns(ClipIndexWarning, match="not used"):
        index.put(path, clip_stamp(path), open_clip_source(path).index)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert index.get(path, clip_stamp(path)) is None


def test_no_process_repeats_the_warning_of_another(
    tmp_path: Path, frames_at: Writer, capfd: pytest.CaptureFixture[str]
) -> None:
    known = open_clip_source(frames_at(tmp_path / "clip", 3)).index
    (tmp_path / "file").write_text("where a folder is expected")
    index = ClipIndex(tmp_path / "file/clips.sqlite")
    context = multiprocessing.get_context("fork")
    with pytest.warns(ClipIndexWarning, match="XDG_CACHE_HOME"):
        index.put(tmp_path, "stamp", known)
    for _ in range(3):
        process = context.Process(target=index.put, args=(tmp_path, "stamp", known))
        process.start()
        process.join()
        assert process.exitcode == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "facts",
    [b"", b"no zlib", zlib.compress(b"{"), zlib.compress(b"[" * 10**6), bytes(16), "text", 3, 0.5],
)
def test_a_damaged_row_is_looked_up_again(
    tmp_path: Path, frames_at: Writer, index: ClipIndex, facts: object
) -> None:
    path = frames_at(tmp_path / "clip", 3)
    index.put(path, "stamp", open_clip_source(path).index)
    with sqlite3.connect(index.file) as connection:
        connection.execute(f"UPDATE {module._TABLE} SET facts = ?", (facts,))
    assert index.get(path, "stamp") is None


def test_a_row_that_is_another_ones_is_noticed_in_every_byte(
    tmp_path: Path, frames_at: Writer, index: ClipIndex
) -> None:
    path = frames_at(tmp_path / "clip", 3)
    known = open_clip_source(path).index
    index.put(path, "stamp", known)
    with sqlite3.connect(index.file) as connection:
        select = f"SELECT facts FROM {module._TABLE} WHERE stamp = 'stamp'"
        ((row,),) = connection.execute(select).fetchall()
    for place in range(len(row)):
        damaged = row[:place] + bytes([row[place] ^ 1]) + row[place + 1 :]
        with sqlite3.connect(index.file) as connection:
            connection.execute(f"UPDATE {module._TABLE} SET facts = ?", (damaged,))
        assert index.get(path, "stamp") is None


def test_processes_share_it(tmp_path: Path, frames_at: Writer, index: ClipIndex) -> None:
    """Forked while the parent holds a connection, all writing at once."""
    known = replace(open_clip_source(frames_at(tmp_path / "clip", 3)).index, stamps=())

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
