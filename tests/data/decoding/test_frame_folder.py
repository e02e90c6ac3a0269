from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peclip_fast.data.decoding.clip_source import open_clip_source, open_record
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError

Writer = Callable[..., Path]
Numbers = Callable[[np.ndarray], list[int]]


@pytest.mark.parametrize(
    "name", ["{:05d}.jpg", "00007_{}.jpg", "{}.png", "frame {:d}.JPEG", "{}.webp"]
)
def test_frames_come_in_the_order_of_their_numbers(
    tmp_path: Path, frames_at: Writer, numbers: Numbers, name: str
) -> None:
    source = open_clip_source(frames_at(tmp_path / "clip", 12, name))
    assert source.num_frames == 12
    frames = source.read(range(12))
    assert frames.shape == (12, 48, 64, 3)
    assert frames.dtype == np.uint8
    assert numbers(frames) == list(range(12))
    assert numbers(source.read([11, 0, 3, 3])) == [11, 0, 3, 3]
    source.close()


def test_other_files_are_no_frames(tmp_path: Path, frames_at: Writer) -> None:
    clip = frames_at(tmp_path / "clip", 3)
    for name in ("Thumbs.db", "._00001.jpg", ".DS_Store", "notes.txt"):
        (clip / name).write_bytes(b"x")
    assert open_clip_source(clip).num_frames == 3


def test_grey_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "1.png")
    Image.fromarray(np.full((8, 8, 4), 90, np.uint8)).save(tmp_path / "2.png")
    assert (open_clip_source(tmp_path).read([0, 1]) == 90).all()


def test_grey_of_16_bits_keeps_its_shades(tmp_path: Path) -> None:
    shades = (np.arange(48 * 64).reshape(48, 64) * 21).astype(np.uint16)
    Image.fromarray(shades).save(tmp_path / "1.png")
    frame = open_clip_source(tmp_path).read([0])[0]
    assert np.array_equal(frame[..., 0], shades >> 8)
    assert np.array_equal(frame[..., 0], frame[..., 2])


def test_frames_of_another_size_are_resized_to_the_first(
    tmp_path: Path, frames_at: Writer, numbers: Numbers
) -> None:
    clip = frames_at(tmp_path / "clip", 3)
    frames_at(tmp_path / "big", 3, height=90, width=90)
    (tmp_path / "big/00002.jpg").replace(clip / "00002.jpg")
    frames = open_clip_source(clip).read([0, 1, 2])
    assert frames.shape == (3, 48, 64, 3)
    assert numbers(frames) == [0, 1, 2]


def test_same_pixels_as_pillow(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8))
    for quality, subsampling, mode in (
        (90, 0, "RGB"),
        (70, 2, "RGB"),
        (80, 0, "L"),
        (80, 0, "CMYK"),
    ):
        image = coarse.resize((101, 75), Image.Resampling.BICUBIC).convert(mode)
        image.save(tmp_path / "1.jpg", quality=quality, subsampling=subsampling)
        expected = np.asarray(Image.open(tmp_path / "1.jpg").convert("RGB"))
        assert np.array_equal(open_clip_source(tmp_path).read([0])[0], expected)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(tmp_path / "1.jpg", exif=exif)
    assert open_clip_source(tmp_path).read([0]).shape == (1, 20, 10, 3)


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{tmp_path}: empty folder: expected frames"):
        open_clip_source(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent: no such video file or frame folder$"):
        open_clip_source(tmp_path / "absent")


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_damaged_frame_is_named(tmp_path: Path, frames_at: Writer, damage: str) -> None:
    clip = frames_at(tmp_path / "clip", 3, height=200, width=200)
    bad = clip / "00002.jpg"
    data = bad.read_bytes()
    bad.write_bytes(
        {"truncated": data[: len(data) // 2], "text": b"hello" * 9, "empty": b""}[damage]
    )
    source = open_clip_source(clip)
    assert source.read([0, 2]).shape[0] == 2
    with pytest.raises(InputError, match=rf"{bad}: not a readable image: .+") as caught:
        source.read([0, 1, 2])
    assert "\n" not in str(caught.value)


def test_count_that_differs_from_the_list(tmp_path: Path, frames_at: Writer) -> None:
    clip = frames_at(tmp_path / "clip", 5)
    assert open_record(ClipRecord(clip, 0, 5, "list.txt:7")).num_frames == 5
    with pytest.raises(InputError) as caught:
        open_record(ClipRecord(clip, 0, 8, "list.txt:7"))
    assert str(caught.value) == f"{clip}: 5 frames on disk, but list.txt:7 says 8"


def test_missing_clip_names_its_list_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"00001: no such .* \(from list\.txt:7\)$"):
        open_record(ClipRecord(tmp_path / "00001", 0, 8, "list.txt:7"))


def test_start_and_end_are_for_videos(tmp_path: Path, frames_at: Writer) -> None:
    with pytest.raises(InputError, match="start and end need a video file"):
        open_clip_source(frames_at(tmp_path / "clip", 3), start=0.5)
