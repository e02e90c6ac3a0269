from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.apart import apart

from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.data.decoding.frame_folder import decode_image
from peclip_fast.data.transforms.sampling import sample_indices
from peclip_fast.errors import InputError

Writer = Callable[..., Path]
Numbers = Callable[[np.ndarray], list[int]]

OPEN_GOPS = {"bf": "3", "g": "8", "x264-params": "open-gop=1:keyint=8:scenecut=0"}
FORMATS = {
    "h264": ("clip.mp4", "libx264", {}),
    "h264 short groups": ("clip.mp4", "libx264", {"g": "7"}),
    "h264 open groups": ("clip.mkv", "libx264", OPEN_GOPS),
    "h264 stream": ("clip.ts", "libx264", {"g": "7"}),
    "h264 in avi": ("clip.avi", "libx264", {"g": "7", "bf": "0"}),
    "vp9": ("clip.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "vp8 with hidden pictures": (
        "clip.webm",
        "libvpx",
        {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good", "cpu-used": "4"},
    ),
    "mjpeg": ("clip.avi", "mjpeg", {}),
    "mpeg4": ("clip.avi", "mpeg4", {"bf": "2", "g": "6"}),
    "flv": ("clip.flv", "flv", {}),
    "ffv1": ("clip.mkv", "ffv1", {}),
}
PIXELS = {"mjpeg": "yuvj420p"}


@pytest.mark.parametrize("kind", FORMATS)
def test_frames_are_the_asked_ones(
    tmp_path: Path, video_at: Writer, numbers: Numbers, kind: str
) -> None:
    name, codec, options = FORMATS[kind]
    path = video_at(tmp_path / name, 40, codec, options, PIXELS.get(codec, "yuv420p"))
    source = open_clip_source(path)
    assert source.num_frames == 40
    for indices in (
        range(40),
        sample_indices(40),
        sample_indices(40, train=True),
        [39],
        [0],
        [25, 3, 3, 38],
        [7, 8, 9, 23],
        [20],
    ):
        frames = source.read(indices)
        assert frames.shape == (len(indices), 48, 64, 3)
        assert frames.dtype == np.uint8
        assert numbers(frames) == list(indices)
    source.close()


def test_same_pixels_as_decoding_everything(assets: Path) -> None:
    path = assets / "videos/woman_sad_640x360_h264.mp4"
    with av.open(str(path)) as container:
        every = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    source = open_clip_source(path)
    assert source.num_frames == len(every)
    wanted = [183, 0, 71, 72, 150, 150]
    assert np.array_equal(source.read(wanted), np.stack([every[k] for k in wanted]))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("clip.mp4", "libx264", {"x264-params": "bframes=3:b-pyramid=normal:keyint=25"}),
        ("clip.mp4", "libx264", {"x264-params": "bframes=8:open-gop=1:keyint=20"}),
        ("clip.mp4", "libx265", {"x265-params": "log-level=none:bframes=4:open-gop=1:keyint=20"}),
        ("clip.avi", "mpeg4", {"bf": "2", "g": "12"}),
        ("clip.mkv", "mpeg2video", {"bf": "2", "g": "12"}),
        ("clip.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16"}),
        ("clip.webm", "libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "16"}),
        ("clip.mkv", "libsvtav1", {"preset": "12"}),
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_any_choice_of_frames_has_the_pixels_of_decoding_everything(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], threads: int
) -> None:
    """Frames that nothing is made from are passed over; it must not show."""
    path = noisy_video(tmp_path / name, 60, codec, options)
    with av.open(str(path)) as container:
        every = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    source = open_clip_source(path, threads=threads)
    rng = np.random.default_rng(0)
    for count in (1, 1, 3, 16, 16):
        wanted = sorted(rng.choice(60, count, replace=False).tolist())
        assert np.array_equal(source.read(wanted), np.stack([every[k] for k in wanted]))


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv420p10le", "gray"])
def test_other_pixel_formats(
    tmp_path: Path, video_at: Writer, numbers: Numbers, pixels: str
) -> None:
    path = video_at(tmp_path / "clip.mkv", 20, "ffv1", pixels=pixels, height=31, width=17)
    frames = open_clip_source(path).read([0, 7, 19])
    assert frames.shape == (3, 31, 17, 3)
    assert numbers(frames) == [0, 7, 19]


@pytest.mark.parametrize("codec", ["libx264", "mjpeg"])
def test_frames_are_all_in_order(tmp_path: Path, video_at: Writer, codec: str) -> None:
    path = video_at(tmp_path / "clip.mkv", 20, codec, {"g": "7"}, PIXELS.get(codec, "yuv420p"))
    source = open_clip_source(path, start=0.2, end=0.6)
    assert np.array_equal(np.stack(list(source.frames())), source.read(range(10)))


def test_jpeg_packets_are_decoded_as_jpeg_files(tmp_path: Path, video_at: Writer) -> None:
    path = video_at(tmp_path / "clip.avi", 5, "mjpeg", pixels="yuvj420p")
    with av.open(str(path)) as container:
        jpegs = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    expected = np.stack([decode_image(jpeg) for jpeg in jpegs])
    assert np.array_equal(open_clip_source(path).read(range(5)), expected)


def test_jpeg_packets_in_another_range_are_left_to_ffmpeg(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    with av.open(str(path), mode="w") as container:
        options = {"strict": "unofficial", "qmin": "2", "qmax": "2"}
        stream = container.add_stream("mjpeg", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.color_range = 1  # 16 to 235, of which JPEG knows nothing
        image = np.full((48, 64, 3), 250, np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    assert open_clip_source(path).read([0]).mean() == pytest.approx(250, abs=3)


def test_variable_frame_rate(tmp_path: Path, video_at: Writer, numbers: Numbers) -> None:
    times = [0, 1, 2, 10, 11, 30, 31, 32, 50, 90]
    path = video_at(tmp_path / "clip.mp4", 10, "libx264", {"g": "3"}, times=times)
    source = open_clip_source(path)
    assert source.num_frames == 10
    assert numbers(source.read(range(10))) == list(range(10))
    # At 25 frames/s, 11 is 0.44 s and 32 is 1.28 s.
    part = open_clip_source(path, start=0.44, end=1.28)
    assert numbers(part.read(range(part.num_frames))) == [4, 5, 6]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "clip.ts"])
def test_part_of_a_video(tmp_path: Path, video_at: Writer, numbers: Numbers, name: str) -> None:
    path = video_at(tmp_path / name, 40, "mpeg4", {"g": "5"})
    part = open_clip_source(path, start=0.4, end=0.8)
    assert part.num_frames == 10
    assert numbers(part.read([0, 9])) == [10, 19]
    assert numbers(open_clip_source(path, start=1.0).read([0])) == [25]
    assert open_clip_source(path, end=0.2).num_frames == 5
    with pytest.raises(InputError, match=rf"{name}: no frames from 9 s to the end; .* to 1.56 s"):
        open_clip_source(path, start=9)


def test_rotated_video_is_turned_upright(tmp_path: Path) -> None:
    """As phones write it: pixels lying on their side, and a matrix that says so."""
    path = tmp_path / "clip.mp4"
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, 32:] = 255  # the right half
    write_images(path, [image] * 5, "libx264", {})
    data = path.read_bytes()

    def matrix(*entries: int) -> bytes:
        units = [entry << 16 for entry in entries]
        rows = [*units[:2], 0, *units[2:], 0, 0, 0, 1 << 30]
        return b"".join((entry & 0xFFFFFFFF).to_bytes(4, "big") for entry in rows)

    # x to y and y to -x: a quarter turn clockwise.
    place = data.index(matrix(1, 0, 0, 1), data.index(b"tkhd"))
    turned = matrix(0, 1, -1, 0)
    path.write_bytes(data[:place] + turned + data[place + len(turned) :])
    frame = open_clip_source(path).read([0])[0]
    assert frame.shape == (64, 48, 3)
    assert frame[:30].max() < 30  # right has become down
    assert frame[34:].min() > 225


def write_images(path: Path, images: list[np.ndarray], codec: str, options: dict[str, str]) -> Path:
    muxer = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), mode="w", options=muxer) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def noisy_video(path: Path, count: int, codec: str, options: dict[str, str]) -> Path:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(count)]
    apart(write_images, path, images, codec, options)
    return path


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "clip.webm"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_truncated_video(tmp_path: Path, name: str, share: float) -> None:
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    options = {"cpu-used": "8", "deadline": "realtime"} if "vpx" in codec else {"bf": "0"}
    whole = noisy_video(tmp_path / name, 50, codec, options)
    data = whole.read_bytes()
    whole.write_bytes(data[: int(len(data) * share)])

    def read() -> None:
        source = open_clip_source(whole)
        source.read(sample_indices(source.num_frames))

    with pytest.raises(InputError, match=rf"^{whole}: ") as caught:
        read()
    assert "\n" not in str(caught.value)


def test_truncated_before_the_index(tmp_path: Path, video_at: Writer) -> None:
    path = video_at(tmp_path / "clip.mp4", 40)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=rf"^{path}: not a readable video: Invalid data"):
        open_clip_source(path)


def test_text_and_nothing_named_mp4(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.mp4", tmp_path / "empty.mp4"
    text.write_text("this is no video\n" * 50)
    empty.write_bytes(b"")
    for path in (text, empty):
        with pytest.raises(InputError, match=rf"^{path}: not a readable video: Invalid data"):
            open_clip_source(path)


def test_sound_alone(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(8000))
    with pytest.raises(InputError, match=rf"^{path}: no video stream in this file"):
        open_clip_source(path)


def test_frames_before_an_edit_are_no_frames(
    tmp_path: Path, video_at: Writer, numbers: Numbers
) -> None:
    """A part cut out without encoding anew begins at a key frame that is not shown."""
    whole = video_at(tmp_path / "whole.mp4", 40, options={"g": "20", "bf": "0"})
    path = tmp_path / "clip.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                early = round(10 / 25 / packet.time_base)
                packet.pts, packet.dts = packet.pts - early, packet.dts - early
                packet.stream = stream
                target.mux(packet)
    clip = open_clip_source(path)
    assert clip.num_frames == 30
    assert numbers(clip.read([0, 15, 29])) == [10, 25, 39]


def test_video_without_frames(tmp_path: Path) -> None:
    path = tmp_path / "none.avi"
    with av.open(str(path), mode="w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        container.start_encoding()
    with pytest.raises(InputError, match=rf"^{path}: "):
        open_clip_source(path)


def test_damaged_middle_is_reported_or_harmless(tmp_path: Path) -> None:
    """Bits flipped inside the stream: an error with the name, never an exception of FFmpeg's."""
    path = noisy_video(tmp_path / "clip.mp4", 50, "libx264", {"bf": "0"})
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(1)
    for position in rng.integers(len(data) // 3, len(data), 200):
        data[position] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"^{path}: "):
        open_clip_source(path).read(range(50))
