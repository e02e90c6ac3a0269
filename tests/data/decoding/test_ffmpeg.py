"""Odd names, and errors that are the decoder's: always one line with the file's name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from helpers.clips.numbered_frames import numbers_of, write_numbered

from peclip_fast.data import open_clip_source
from peclip_fast.data.decoding import ffmpeg, video_file, video_scan
from peclip_fast.data.decoding.ffmpeg import open_video
from peclip_fast.errors import InputError


@pytest.fixture
def video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_numbered(tmp_path / "clip.mp4", count=8)


@pytest.mark.parametrize(
    "name",
    [
        "P01:take2.mp4", "./S1:b/x.mp4", "http:clip.mp4", "file:clip.mp4", "concat:a|b.mp4",
        "-i.mp4", "%03d.mp4", "a b?*#&.mp4", "émotion 笑.mp4", "no suffix", "pipe:0",
        os.fsdecode(b"caf\xe9.mp4"), os.fsdecode(b"\xc0\xaf:%d/\xff.mkv"), "new\nline.mp4",
    ],
)  # fmt: skip
def test_any_name(video: Path, name: str) -> None:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    shutil.copy(video, path)
    for _ in range(2):  # then as the clip index has it
        source = open_clip_source(path)
        assert numbers_of(source.read([7, 0, 3])) == [7, 0, 3]
        assert numbers_of(list(source.frames())) == list(range(8))
        source.close()


def test_nothing_stays_open(video: Path) -> None:
    path = Path(os.fsdecode(b"caf\xe9.mp4"))
    shutil.copy(video, path)
    before = os.listdir("/dev/fd")
    for _ in range(3):
        open_clip_source(path).close()
    assert len(os.listdir("/dev/fd")) == len(before)


def test_texts_in_the_file_may_be_of_any_encoding(video: Path) -> None:
    data = video.read_bytes()
    with av.open("titled.mkv", "w") as new, av.open(str(video)) as old:
        new.metadata["title"] = "TITLEXYZ"
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in [p for p in old.demux(video=0) if p.size]:
            packet.stream = stream
            new.mux(packet)
    data = Path("titled.mkv").read_bytes()
    assert b"TITLEXYZ" in data
    Path("titled.mkv").write_bytes(data.replace(b"TITLEXYZ", b"caf\xe9\xff\xfe!!"))
    assert open_clip_source("titled.mkv").num_frames == 8


def test_a_file_can_not_name_another_one(tmp_path: Path, video: Path) -> None:
    path = tmp_path / "list.mp4"
    path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/clip.mp4\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError, match=rf"^{path}: "):
        open_clip_source(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.mp4"
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"pipe\.mp4: neither a file nor a folder"):
        open_clip_source(path)


SAID = [
    av.error.PermissionError(1, "Operation not permitted"),
    av.error.InvalidDataError(1094995529, "Invalid data found"),
    OSError(5, "Input/output error"),
    ValueError("two\nlines"),
    MemoryError(),
    NotImplementedError("this pixel format"),
    OverflowError("too large"),
]


@pytest.mark.parametrize("error", SAID, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "place",
    ["open", "scan: packets", "scan: shape", "reader: open", "reader: packets", "reader: colour"],
)
def test_whatever_a_decoder_says_names_the_file(
    video: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    def second(real: Callable[..., object]) -> Callable[..., object]:
        calls: list[None] = []

        def called(*arguments: object, **options: object) -> object:
            calls.append(None)
            return fail() if len(calls) == 2 else real(*arguments, **options)

        return called

    patched: dict[str, tuple[object, str, object]] = {
        "open": (ffmpeg, "open_container", fail),
        "scan: packets": (video_scan, "packets", fail),
        "scan: shape": (video_scan, "display_matrix", fail),
        "reader: open": (ffmpeg, "open_container", second(ffmpeg.open_container)),
        "reader: packets": (video_file, "packets", fail),
        "reader: colour": (video_file.VideoFile, "_shown", fail),
    }
    target, name, replacement = patched[place]
    monkeypatch.setattr(target, name, replacement)
    with pytest.raises(InputError, match=r"clip\.mp4: ") as caught:
        open_clip_source(video).read([1])
    assert "\n" not in str(caught.value)


def test_a_file_without_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=8000)
        container.mux(sound.encode(None))
    with pytest.raises(InputError, match=rf"^{path}: "):
        open_video(path)
