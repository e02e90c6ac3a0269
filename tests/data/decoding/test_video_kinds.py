"""Every kind of video in every container: frame k is the one that bears the number k."""

from __future__ import annotations

import random
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.clips.numbered_frames import (
    copy_packets,
    number_of,
    numbers_of,
    picture,
    write_numbered,
)

from benchmarks.report.videos import GROUP, KINDS, VideoKind
from peclip_fast.config.data import DataConfig
from peclip_fast.data.decoding import clip_source, video_file
from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.data.decoding.video_file import VideoFile
from peclip_fast.data.decoding.video_index import VideoIndex
from peclip_fast.data.loading.dali.encoded_clip import OtherDecoderError, read_encoded
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.records import ClipRecord

COUNT = 30
CASES = [(kind, container) for kind in KINDS for container in kind.containers]


@pytest.mark.parametrize(
    ("kind", "container"), CASES, ids=[f"{k.codec}, {k.groups}, {c}" for k, c in CASES]
)
def test_every_frame_comes_under_its_number(
    tmp_path: Path, assets: Path, monkeypatch: pytest.MonkeyPatch, kind: VideoKind, container: str
) -> None:
    path = tmp_path / f"clip.{container}"
    if kind.encoder is None:
        copy_packets(assets / "numbered" / f"{kind.codec.lower()}.ogv", path)
    else:
        options = {"g": f"{GROUP}"} | kind.options
        write_numbered(path, kind.encoder, options, kind.pixels, COUNT)
    source = open_clip_source(path)
    check_reading(source)
    index = source.index
    assert isinstance(index, VideoIndex)
    assert index.timed == (container in kind.by_times.split())
    part = open_clip_source(path, start=6 / 25, end=0.6)
    assert numbers_of(part.read(range(part.num_frames))) == list(range(6, 15))
    check_what_dali_is_given(path, index)

    monkeypatch.setattr(video_file, "scan", None)  # from here on the clip index knows it
    again = open_clip_source(path)
    assert again.index == index
    check_reading(again)


def check_reading(source: clip_source.ClipSource) -> None:
    assert source.num_frames == COUNT
    every = list(source.frames())
    assert numbers_of(every) == list(range(COUNT))
    rng = random.Random(0)
    for indices in (
        range(COUNT),
        range(COUNT - 1, -1, -1),
        [COUNT - 1],
        [rng.randrange(COUNT)],
        [GROUP, GROUP - 1, GROUP, GROUP + 1, 0],
        [rng.randrange(COUNT) for _ in range(6)],
    ):
        images = source.read(indices)
        assert numbers_of(images) == list(indices)
        assert np.array_equal(images, np.stack([every[k] for k in indices]))
    source.close()


def check_what_dali_is_given(path: Path, index: VideoIndex) -> None:
    """DALI counts packets by their times: a file is given to it only where that is right."""
    dataset = ClipDataset([ClipRecord(path, 0)], DataConfig(frames=COUNT), 32, train=False)
    try:
        clip = read_encoded(dataset, (0, 0), {index.codec})
    except OtherDecoderError:
        assert not index.timed or index.packets != index.num_frames
        return
    with av.open(str(path)) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert clip.files[0].frames == tuple(range(COUNT))
    assert tuple(sorted(range(COUNT), key=times.__getitem__)) == index.positions


def test_packed_b_frames_of_xvid(assets: Path) -> None:
    """Two pictures in a packet, then an empty one. The last two come out of no decoder."""
    source = open_clip_source(assets / "numbered/xvid_packed.avi")
    every = list(source.frames())
    assert numbers_of(every) == list(range(28))
    rng = random.Random(1)
    for _ in range(8):
        indices = [rng.randrange(28) for _ in range(rng.choice((1, 3, 6)))]
        assert np.array_equal(source.read(indices), np.stack([every[k] for k in indices]))


@pytest.mark.parametrize("container", ["mp4", "mkv", "flv"])
@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("libx264", {"x264-params": "bframes=3:b-adapt=0:keyint=8:scenecut=0"}),
        ("mpeg4", {"bf": "2", "g": "8"}),
        ("libx265", {"x265-params": "log-level=none:bframes=3:b-adapt=0:keyint=8:scenecut=0"}),
    ],
)
def test_times_made_up_elsewhere(
    tmp_path: Path, encoder: str, options: dict[str, str], container: str
) -> None:
    """Copied from AVI to a container with times, by a program that made them up."""
    if (encoder, container) == ("mpeg4", "flv"):
        container = "mov"
    plain = write_numbered(tmp_path / "plain.mkv", encoder, options)
    path = copy_packets(plain, tmp_path / f"clip.{container}", made_up=True)
    source = open_clip_source(path)
    assert not source.index.timed
    check_reading(source)
    part = open_clip_source(path, start=0.2, end=0.4)
    assert numbers_of(part.read(range(part.num_frames))) == [5, 6, 7, 8, 9]


def test_a_clock_that_starts_anew(tmp_path: Path) -> None:
    """Two recordings in a transport stream, one after the other."""
    options = {"x264-params": "bframes=3:b-adapt=0:keyint=8:scenecut=0"}
    one = write_numbered(tmp_path / "one.ts", "libx264", options, count=20).read_bytes()
    counters: dict[int, int] = {}
    data = bytearray(one * 2)
    for place in range(0, len(data), 188):  # each packet counts those of its stream
        stream = int.from_bytes(data[place + 1 : place + 3], "big") & 0x1FFF
        counters[stream] = counters.get(stream, -1) + (data[place + 3] >> 4 & 1)
        data[place + 3] = data[place + 3] & 0xF0 | counters[stream] & 0x0F
    path = tmp_path / "two.ts"
    path.write_bytes(data)
    source = open_clip_source(path)
    assert numbers_of(list(source.frames())) == [*range(20)] * 2
    assert numbers_of(source.read([39, 21, 3])) == [19, 1, 3]


@pytest.mark.parametrize("late", [100, 2**33 / 90000 - 0.6])
def test_a_clock_that_wraps_around(tmp_path: Path, late: float) -> None:
    options = {"x264-params": "bframes=3:b-adapt=0:keyint=8:scenecut=0"}
    plain = write_numbered(tmp_path / "plain.mp4", "libx264", options)
    path = copy_packets(plain, tmp_path / "clip.ts", late=late)
    check_reading(open_clip_source(path))
    part = open_clip_source(path, start=0.2, end=0.8)
    assert numbers_of(part.read(range(part.num_frames))) == list(range(5, 20))


@pytest.mark.parametrize(
    ("encoder", "container"),
    [
        ("libx264", "mp4"), ("libx264", "mkv"), ("libx265", "mp4"), ("mpeg4", "mov"),
        ("mpeg4", "avi"), ("mpeg2video", "mkv"), ("libvpx", "mkv"), ("libvpx-vp9", "mp4"),
        ("libvpx-vp9", "webm"), ("ffv1", "mkv"), ("libsvtav1", "mkv"),
    ],
)  # fmt: skip
def test_every_packet_said_to_be_a_key_frame(tmp_path: Path, encoder: str, container: str) -> None:
    """Some writers mark all: decoding can't begin at most of them."""
    options = {"g": "10", "bf": "0"}
    if encoder == "libx265":
        options = {"x265-params": "log-level=none:keyint=10:bframes=0"}
    plain = write_numbered(tmp_path / "plain.mkv", encoder, options, count=COUNT)
    path = tmp_path / f"clip.{container}"
    with av.open(str(plain)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        for packet in old.demux(video=0):
            if packet.size:
                packet.is_keyframe, packet.stream = True, stream
                new.mux(packet)
    check_reading(open_clip_source(path))


def test_a_decoder_that_shows_frames_too_early(tmp_path: Path) -> None:
    """``frames`` goes by the numbers also where the frames come in another order."""
    source = VideoFile(write_numbered(tmp_path / "clip.mp4", count=6))
    images = dict(source._images(range(6)))
    source._images = lambda _: ((k, images[k]) for k in (0, 2, 1, 4, 5, 3))  # type: ignore[assignment]
    assert numbers_of(list(source.frames())) == list(range(6))


def test_numbers_survive_the_bars() -> None:
    assert [number_of(picture(k)) for k in range(256)] == list(range(256))
