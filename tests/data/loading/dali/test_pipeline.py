"""DALI gives the frames that PyAV gives, with the same done to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.clips.dali_cases import EXACT, STEPS, TOLERANCE, assert_same, devices, on_gpu
from helpers.clips.drawn_clips import H264, MJPEG, VP8, VP9, picture, turn_video, write_pictures
from PIL import Image

from peclip_fast.config.data import AugmentConfig, DataConfig
from peclip_fast.data.decoding.jpeg import encode_jpeg
from peclip_fast.data.decoding.packed_file import packed_file
from peclip_fast.data.loading.dali.encoded_clip import read_encoded
from peclip_fast.data.loading.dali.pipeline import CODECS, ClipPipeline
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.loading.loader import make_loader
from peclip_fast.data.records import ClipRecord

Writer = Callable[..., Path]
Numbers = Callable[[np.ndarray], list[int]]

AHEAD = {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good", "cpu-used": "4"}
CPU_VIDEOS = {
    "vp9": ("clip.webm", VP9),
    "vp9 in mp4": ("clip.mp4", VP9),
    "vp9 that looks ahead": ("clip.mkv", ("libvpx-vp9", AHEAD, "yuv420p")),
    "vp8": ("clip.webm", VP8),
    "vp8 that looks ahead": ("clip.webm", ("libvpx", AHEAD, "yuv420p")),
    "mjpeg": ("clip.avi", MJPEG),
}
OPEN_GROUPS = {"bf": "3", "g": "8", "x264-params": "open-gop=1:keyint=8:scenecut=0"}
GPU_VIDEOS = {
    "h264": ("clip.mp4", H264),
    "h264 open groups": ("clip.mkv", ("libx264", OPEN_GROUPS, "yuv420p")),
    "h264 stream": ("clip.ts", ("libx264", {"g": "7"}, "yuv420p")),
    "hevc": ("clip.mp4", ("libx265", {"preset": "veryfast"}, "yuv420p")),
    "hevc open groups": (
        "clip.mkv",
        ("libx265", {"x265-params": "keyint=8:open-gop=1"}, "yuv420p"),
    ),
    "mpeg4": ("clip.avi", ("mpeg4", {"bf": "2", "g": "6"}, "yuv420p")),
    "av1": ("clip.mkv", ("libsvtav1", {"preset": "12"}, "yuv420p")),
}


def batch_of(
    records: list[ClipRecord],
    decoder: str,
    device: str,
    size: int,
    augment: AugmentConfig | None = None,
    epoch: int = 0,
) -> torch.Tensor:
    """All clips' frames, on the CPU; training ones if there is an augmentation."""
    config = DataConfig(decoder=decoder, num_workers=0, augment=augment or AugmentConfig())
    dataset = ClipDataset(records, config, size, augment is not None, seed=3)
    loader = make_loader(dataset, len(records), device=torch.device(device))
    loader.set_epoch(epoch)
    (batch,) = loader
    loader.close()
    assert batch["frames"].device.type == ("cpu" if decoder == "pyav" else device)
    return batch["frames"].cpu()


def assert_same_frames(path: Path, device: str, video_at: Writer, numbers: Numbers) -> None:
    """Of a video of 40 grey frames, in any order."""
    dataset = ClipDataset([ClipRecord(path, 0)], DataConfig(), 64, train=False)
    clip = read_encoded(dataset, (0, 0), CODECS[device])
    pipeline = ClipPipeline(True, None, 64, torch.device(device), 1, 1)
    for wanted in (range(40), [39], [0], [25, 3, 3, 38], [7, 8, 9, 23], [20]):
        files = (replace(clip.files[0], frames=tuple(wanted)),)
        frames = pipeline.run([replace(clip, files=files)])[0]
        assert frames.shape == (len(wanted), 64, 64, 3)
        assert numbers(frames.cpu().numpy()) == list(wanted)


@devices
@pytest.mark.parametrize("kind", CPU_VIDEOS)
def test_frames_are_the_asked_ones(
    tmp_path: Path, video_at: Writer, numbers: Numbers, device: str, kind: str
) -> None:
    name, (codec, options, pixels) = CPU_VIDEOS[kind]
    path = video_at(tmp_path / name, 40, codec, options, pixels, height=64, width=80)
    assert_same_frames(path, device, video_at, numbers)


@on_gpu
@pytest.mark.parametrize("kind", GPU_VIDEOS)
def test_frames_are_the_asked_ones_of_nvdec(
    tmp_path: Path, video_at: Writer, numbers: Numbers, device: str, kind: str
) -> None:
    name, (codec, options, pixels) = GPU_VIDEOS[kind]
    path = video_at(tmp_path / name, 40, codec, options, pixels, height=144, width=160)
    assert_same_frames(path, device, video_at, numbers)


@devices
def test_frame_times_that_are_uneven(
    tmp_path: Path, video_at: Writer, numbers: Numbers, device: str
) -> None:
    times = [k * k for k in range(40)]
    codec, options, pixels = VP9
    path = video_at(tmp_path / "clip.mkv", 40, codec, options, pixels, 64, 64, times=times)
    assert_same_frames(path, device, video_at, numbers)
    # Frames 5 to 9, shown from 1 s to 3.24 s.
    record = ClipRecord(path, 0, None, "", 1.0, 4.0)
    frames = batch_of([record], "dali", device, 64)[0]
    assert numbers(frames.permute(0, 2, 3, 1).numpy()) == [5, 6, 7, 8, 9] + 11 * [9]
    assert_same(frames, batch_of([record], "pyav", device, 64)[0], TOLERANCE[device])


@devices
@pytest.mark.parametrize("codec", [VP9, VP8, MJPEG], ids=["vp9", "vp8", "mjpeg"])
@pytest.mark.parametrize(("height", "width"), [(96, 96), (96, 130), (131, 97), (97, 131)])
def test_videos(
    tmp_path: Path, device: str, codec: tuple[str, dict[str, str], str], height: int, width: int
) -> None:
    path = write_pictures(tmp_path / "clip.mkv", 20, codec, height, width)
    records = [ClipRecord(path, 0), ClipRecord(path, 0, start=0.2, end=0.5)]
    expected = batch_of(records, "pyav", device, 96)
    assert_same(batch_of(records, "dali", device, 96), expected, TOLERANCE[device], STEPS)
    assert not torch.equal(expected[0], expected[1])


def test_packed_clips(tmp_path: Path) -> None:
    """DALI takes MJPEG video on the CPU alone; the other decoder has libjpeg-turbo for it."""
    jpegs = [encode_jpeg(picture(number, 96, 130), 90) for number in range(20)]
    path = tmp_path / "clip.mkv"
    path.write_bytes(packed_file(jpegs, (96, 130), range(0, 800, 40), {}))
    for augment in (None, AugmentConfig()):
        expected = batch_of([ClipRecord(path, 0)], "pyav", "cpu", 96, augment)
        found = batch_of([ClipRecord(path, 0)], "dali", "cpu", 96, augment)
        assert_same(found, expected, TOLERANCE["cpu"], STEPS)


@devices
def test_real_video(tmp_path: Path, device: str, assets: Path) -> None:
    import av

    path = tmp_path / "clip.webm"
    with (
        av.open(str(assets / "videos/woman_sad_640x360_h264.mp4")) as source,
        av.open(str(path), "w") as container,
    ):
        stream = container.add_stream(VP9[0], rate=25, options=VP9[1])
        stream.height, stream.width, stream.pix_fmt = 360, 640, "yuv420p"
        for _, frame in zip(range(20), source.decode(video=0), strict=False):
            pixels = frame.to_ndarray(format="rgb24")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    records = [ClipRecord(path, 0)]
    expected = batch_of(records, "pyav", device, 360)  # the centre at its own size
    assert_same(batch_of(records, "dali", device, 360), expected, TOLERANCE[device])


@on_gpu
def test_real_video_of_nvdec(device: str, assets: Path) -> None:
    records = [ClipRecord(path, 0) for path in sorted(assets.glob("videos/*.mp4"))]
    expected = batch_of(records, "pyav", device, 224)
    assert_same(batch_of(records, "dali", device, 224), expected, TOLERANCE[device], STEPS)


EXIF = Image.Exif()
EXIF[0x0112] = 6  # lies on its side
IMAGES: dict[str, tuple[str, str, dict[str, object]]] = {
    "jpeg 4:4:4": ("RGB", "jpg", {"quality": 95, "subsampling": 0}),
    "jpeg 4:2:0": ("RGB", "jpg", {"quality": 70, "subsampling": 2}),
    "progressive": ("RGB", "jpg", {"progressive": True}),
    "grey": ("L", "jpg", {}),
    "cmyk": ("CMYK", "jpg", {}),
    "turned": ("RGB", "jpg", {"exif": EXIF}),
    "png": ("RGB", "png", {}),
    "transparent": ("RGBA", "png", {}),
    "palette": ("P", "png", {}),
    "webp": ("RGB", "webp", {}),
}


@devices
@pytest.mark.parametrize("kind", IMAGES)
def test_images(tmp_path: Path, device: str, kind: str) -> None:
    mode, suffix, options = IMAGES[kind]
    for number in range(20):
        image = Image.fromarray(picture(number, 96, 96)).convert(mode)
        image.save(tmp_path / f"{number}.{suffix}", **options)
    records = [ClipRecord(tmp_path, 0)]
    expected = batch_of(records, "pyav", device, 96)
    assert_same(batch_of(records, "dali", device, 96), expected, EXACT[device])


@devices
def test_images_of_several_sizes(tmp_path: Path, device: str) -> None:
    """All come in the size of the folder's first, as nearly as two ways to resize can agree."""
    for number, (height, width) in enumerate([(96, 128), (90, 120), (192, 256)]):
        Image.fromarray(picture(0, height, width)).save(tmp_path / f"{number}.png")
    records = [ClipRecord(tmp_path, 0)]
    for augment in (None, AugmentConfig()):
        expected = batch_of(records, "pyav", device, 64, augment)
        assert_same(batch_of(records, "dali", device, 64, augment), expected, (99, 4.0))


@devices
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_video_that_lies_on_its_side(tmp_path: Path, device: str, turns: int) -> None:
    path = turn_video(write_pictures(tmp_path / "clip.mp4", 20, VP9, 97, 131), turns)
    records = [ClipRecord(path, 0)] * 4  # of a clip's four draws some are flipped
    for augment in (None, AugmentConfig(brightness=0)):
        expected = batch_of(records, "pyav", device, 96, augment)
        assert_same(batch_of(records, "dali", device, 96, augment), expected, EXACT[device], STEPS)


AUGMENTS = {
    "recipe": AugmentConfig(),
    "crop": AugmentConfig(hflip=0, brightness=0),
    "flip": AugmentConfig(hflip=1, brightness=0),
    "contrast": AugmentConfig(brightness=0, contrast=0.5),
    "saturation": AugmentConfig(brightness=0, saturation=0.5),
    "rotation": AugmentConfig(brightness=0, rotation=30),
}


@devices
@pytest.mark.parametrize("name", AUGMENTS)
@pytest.mark.parametrize("kind", ["video", "folder"])
def test_same_augmentation(tmp_path: Path, device: str, name: str, kind: str) -> None:
    if kind == "video":
        write_pictures(tmp_path / "clip.webm", 20, VP9, 131, 97)
    else:
        for number in range(20):
            Image.fromarray(picture(number, 131, 97)).save(tmp_path / f"{number}.png")
    records = [ClipRecord(tmp_path / "clip.webm" if kind == "video" else tmp_path, 0)] * 3
    for epoch in range(2):
        expected = batch_of(records, "pyav", device, 64, AUGMENTS[name], epoch)
        found = batch_of(records, "dali", device, 64, AUGMENTS[name], epoch)
        if name == "rotation":  # at the seam to the black corners one pixel or the other is taken
            found[(expected == 0) | (found == 0)] = expected[(expected == 0) | (found == 0)]
            assert_same(found, expected, EXACT[device], (128, STEPS[1]))
        else:
            assert_same(found, expected, EXACT[device], STEPS)


def test_all_steps_of_the_augmentation_together(tmp_path: Path) -> None:
    path = write_pictures(tmp_path / "clip.webm", 20, VP9, 131, 97)
    augment = AugmentConfig(contrast=0.5, saturation=0.5)
    for epoch in range(3):
        expected = batch_of([ClipRecord(path, 0)], "pyav", "cpu", 64, augment, epoch)
        found = batch_of([ClipRecord(path, 0)], "dali", "cpu", 64, augment, epoch)
        assert_same(found, expected, (12, 2.0))


def test_same_draws(tmp_path: Path, frames_at: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the augmentations' distributions are equal, too."""
    records = [ClipRecord(frames_at(tmp_path / f"{k}", 20 + 9 * k), k) for k in range(4)]
    dataset = ClipDataset(records, DataConfig(augment=AugmentConfig(rotation=9)), 8, True, seed=5)
    drawn = []
    draw = ClipDataset.draw_transform

    def noted(*args: object) -> object:
        drawn.append(draw(*args))
        return drawn[-1]

    monkeypatch.setattr(ClipDataset, "draw_transform", noted)
    for epoch in range(20):
        for index in range(4):
            dataset.load(index, epoch)
            clip = read_encoded(dataset, (epoch, index), ())
            assert clip.transform == drawn[-2]
    assert len(set(drawn)) == 80
