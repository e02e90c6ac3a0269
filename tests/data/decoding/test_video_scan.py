"""Where videos begin and end: complete ones are read, those that were cut are refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.clips.numbered_frames import copy_packets, numbers_of, write_numbered

from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.data.decoding.video_file import VideoFile
from peclip_fast.errors import InputError

B_FRAMES = {"x264-params": "bframes=3:b-adapt=0:keyint=8:scenecut=0"}
OPEN = {
    "libx264": {"x264-params": "keyint=8:min-keyint=8:scenecut=0:b-adapt=0:bframes=3:open-gop=1"},
    "libx265": {
        "x265-params": "log-level=none:keyint=8:min-keyint=8:scenecut=0:b-adapt=0:bframes=3"
    },
    "mpeg2video": {"bf": "2", "g": "8"},
    "mpeg4": {"bf": "2", "g": "8"},
}


def numbers_in(path: Path, start: float | None = None, end: float | None = None) -> list[int]:
    """The numbers of the frames, read one by one and backwards; ``frames`` gives the same."""
    source = open_clip_source(path, start, end)
    every = numbers_of(list(source.frames()))
    some = range(source.num_frames - 1, -1, -max(1, source.num_frames // 6))
    assert [numbers_of(source.read([k]))[0] for k in some] == [every[k] for k in some]
    return every


# --- Where they begin ----------------------------------------------------------------------------


def with_sound(video: Path, path: Path, late: float, seconds: float = 2) -> Path:
    """Sound from 0 s on, and the video ``late`` seconds after it."""
    with av.open(str(video)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        sound = new.add_stream("mp2", rate=32000)
        for packet in [p for p in old.demux(video=0) if p.size]:
            packet.pts += round(late / packet.time_base)
            packet.dts = None if packet.dts is None else packet.dts + round(late / packet.time_base)
            packet.stream = stream
            new.mux(packet)
        silence = np.zeros((1, round(seconds * 32000)), np.int16)
        frame = av.AudioFrame.from_ndarray(silence, "s16", "mono")
        frame.sample_rate = 32000
        new.mux(sound.encode(frame))
        new.mux(sound.encode())
    return path


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "ts"])
@pytest.mark.parametrize("bf", ["0", "2"])
def test_start_and_end_count_from_the_first_stream(tmp_path: Path, container: str, bf: str) -> None:
    video = write_numbered(tmp_path / "video.mp4", "libx264", {"bf": bf, "g": "8"})
    path = with_sound(video, tmp_path / f"late.{container}", late=1)
    assert numbers_in(path) == list(range(30))
    # Matroska's sound begins some milliseconds late, by what its decoder drops.
    assert numbers_in(path, 1.17, 1.57) == list(range(5, 15))
    assert numbers_in(path, end=1.17) == list(range(5))
    with pytest.raises(InputError, match=r"no frames from 0 s to 0.9 s; the video's frames are at"):
        open_clip_source(path, end=0.9)


@pytest.mark.parametrize("container", ["mkv", "flv", "mp4", "mov", "ts", "avi"])
def test_complete_files_that_begin_late(tmp_path: Path, container: str) -> None:
    """As after the sound was taken out, or of a live stream: times count from the first frame."""
    codec = ("mpeg4", {}) if container == "avi" else ("libx264", B_FRAMES)
    plain = write_numbered(tmp_path / "plain.mp4", *codec)
    for late in (0.32,) if container == "avi" else (0.32, 100.0):
        path = copy_packets(plain, tmp_path / f"late.{container}", late=late)
        assert numbers_in(path) == list(range(30))
        begin = late if container == "avi" else 0  # whose time always begins at 0
        assert numbers_in(path, begin + 0.4, begin + 0.8) == list(range(10, 20))


@pytest.mark.parametrize("encoder", OPEN)
@pytest.mark.parametrize("container", ["mkv", "ts"])
def test_leading_frames_whose_group_was_cut_off_are_left_out(
    tmp_path: Path, encoder: str, container: str
) -> None:
    whole = write_numbered(tmp_path / f"whole.{container}", encoder, OPEN[encoder])
    index = VideoFile(whole).index
    first = index.first_packet[1]
    key = index.numbers[first]
    assert 1 in index.open_groups
    path = copy_packets(whole, tmp_path / f"cut.{container}", first=first)
    source = open_clip_source(path)
    assert source.index.packets == 30 - first
    assert numbers_in(path) == list(range(key, 30))


@pytest.mark.parametrize("encoder", ["libx264", "mpeg2video"])
def test_a_recording_that_begins_within_a_group(tmp_path: Path, encoder: str) -> None:
    """As receivers of broadcasts write it: shown from the first key frame on."""
    options = {"bf": "0", "g": "10", "sc_threshold": "0"}
    whole = write_numbered(tmp_path / "whole.ts", encoder, options)
    path = copy_packets(whole, tmp_path / "cut.ts", first=4)
    assert numbers_in(path) == list(range(10, 30))


def test_empty_chunks_of_avi_are_no_frames(tmp_path: Path) -> None:
    """So VirtualDub and webcams store a dropped frame."""
    path = write_numbered(tmp_path / "clip.avi", "mpeg4", {"g": "5"}, count=20)
    data = path.read_bytes()
    # The chunk of the 20th frame keeps its place and loses its bytes; junk takes them.
    place = data.rindex(b"00dc", 0, data.index(b"idx1"))
    (length,) = struct.unpack("<I", data[place + 4 : place + 8])
    empty = b"00dc" + bytes(4) + b"JUNK" + struct.pack("<I", length - 8)
    data = data[:place] + empty + data[place + 16 :]
    entry = data.rindex(b"00dc")
    data = data[: entry + 12] + bytes(4) + data[entry + 16 :]
    path.write_bytes(data)
    assert numbers_in(path) == list(range(19))


# --- Where they end ------------------------------------------------------------------------------

Writer = Callable[[Path], Path]


def plain(encoder: str, pixels: str = "yuv420p", **muxer: str) -> Writer:
    return lambda path: write_numbered(path, encoder, {"g": "6"}, pixels, muxer=muxer)


def talking(path: Path) -> Path:
    return with_sound(write_numbered(path.with_name("mute.mp4"), "mpeg4"), path, 0)


def late(path: Path) -> Path:
    return copy_packets(write_numbered(path.with_name("early.mp4"), "libx264"), path, late=5.0)


COMPLETE: dict[str, tuple[str, Writer]] = {
    "mp4": ("mp4", plain("libx264")),
    "mp4, header first": ("mp4", plain("libx264", movflags="faststart")),
    "mp4 in fragments": ("mp4", plain("libx264", movflags="frag_keyframe+empty_moov")),
    "mp4 with sound": ("mp4", talking),
    "mp4 that begins late": ("mp4", late),
    "mov": ("mov", plain("mpeg4")),
    "mkv": ("mkv", plain("libx264")),
    "mkv with sound": ("mkv", talking),
    "mkv that begins late": ("mkv", late),
    "ffv1": ("mkv", plain("ffv1")),
    "webm": ("webm", plain("libvpx-vp9")),
    "avi": ("avi", plain("mpeg4")),
    "avi of jpegs": ("avi", plain("mjpeg", "yuvj420p")),
    "avi with sound": ("avi", talking),
    "flv": ("flv", plain("libx264")),
    "flv that begins late": ("flv", late),
    "ogv": ("ogv", plain("libvpx")),
    "gif": ("gif", plain("gif", "rgb8")),
    "asf": ("asf", plain("wmv2")),
}


@pytest.mark.parametrize("kind", COMPLETE)
def test_complete_files_are_read_and_cut_ones_refused(tmp_path: Path, kind: str) -> None:
    suffix, writer = COMPLETE[kind]
    data = writer(tmp_path / f"whole.{suffix}").read_bytes()
    assert numbers_in(tmp_path / f"whole.{suffix}") == list(range(30))
    for share in (0.3, 0.6, 0.95):
        path = tmp_path / f"{share}.{suffix}"
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(InputError, match=rf"^{path}: ") as caught:
            open_clip_source(path).read([0])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_bytes_behind_the_end_do_no_harm(tmp_path: Path, suffix: str) -> None:
    path = write_numbered(tmp_path / f"clip.{suffix}", "mpeg4")
    path.write_bytes(path.read_bytes() + b"\0" * 1000)
    assert numbers_in(path) == list(range(30))


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
def test_streams_do_not_tell_their_length(tmp_path: Path, suffix: str) -> None:
    """As docs/data.md says: what is there is read, or refused where a frame isn't whole."""
    whole = write_numbered(tmp_path / f"whole.{suffix}", "mpeg2video", {"g": "6"})
    path = tmp_path / f"cut.{suffix}"
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) * 4 // 10])
    try:
        found = numbers_in(path)
    except InputError as error:
        found = str(error)
    assert found in [list(range(count)) for count in range(5, 30)] or str(path) in found
