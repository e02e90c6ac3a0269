from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from peclip_fast.data.decoding.clip_source import open_clip_source, open_record
from peclip_fast.data.decoding.jpeg import is_plain_jpeg
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


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def tiff(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """EXIF with one entry in IFD0, of the type SHORT or another."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + ("H2x" if kind == 3 else "I"), orientation)
    return head + struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, 1) + value + bytes(4)


def exif(*numbers: int, order: str = "<") -> bytes:
    return b"".join(segment(0xE1, b"Exif\0\0" + tiff(n, order)) for n in numbers)


CORNERS = np.kron(np.array([[0, 80], [160, 240]], np.uint8), np.ones((24, 40), np.uint8))
BEFORE = {
    "nothing": b"",
    "comment": segment(0xFE, b"x" * 60),
    "icc": segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(400)),
    "xmp": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b" " * 200),
    "photoshop": segment(0xED, b"Photoshop 3.0\0" + b"8BIM" + bytes(60)),
    "several": segment(0xFE, b"FF" * 30000) + segment(0xED, bytes(65000)) + segment(0xE5, b"x"),
    "padding": b"\xff" * 9 + segment(0xFE, b"Exif"),
}


def with_header(extra: bytes, image: np.ndarray = CORNERS) -> bytes:
    """A JPEG file with further segments behind JFIF's."""
    data = io.BytesIO()
    Image.fromarray(image).convert("RGB").save(data, "JPEG", quality=95)
    whole = data.getvalue()
    end = 4 + struct.unpack(">H", whole[4:6])[0]
    return whole[:end] + extra + whole[end:]


def first_frame(path: Path, data: bytes, name: str = "1.jpg") -> np.ndarray:
    path.mkdir(exist_ok=True)
    (path / name).write_bytes(data)
    source = open_clip_source(path)
    frame = source.read([0])[0]
    assert frame.shape[:2] == (source.index.height, source.index.width)
    return frame


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("before", BEFORE)
def test_exif_orientation_anywhere_in_the_header(tmp_path: Path, number: int, before: str) -> None:
    data = with_header(BEFORE[before] + exif(number, order="<>"[number % 2]))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.array_equal(first_frame(tmp_path, data), expected)
    upright = {1: [0, 80], 2: [80, 0], 3: [240, 160], 4: [160, 240], 5: [0, 160], 6: [160, 0],
               7: [240, 80], 8: [80, 240]}[number]  # fmt: skip
    assert np.allclose([expected[5, 5, 0], expected[5, -5, 0]], upright, atol=3)


@pytest.mark.parametrize(("suffix", "format"), [("png", "PNG"), ("webp", "WEBP")])
@pytest.mark.parametrize("number", [2, 6, 7])
def test_orientation_of_other_images(tmp_path: Path, suffix: str, format: str, number: int) -> None:
    data, kept = io.BytesIO(), Image.Exif()
    kept[0x0112] = number
    Image.fromarray(CORNERS).convert("RGB").save(data, format, exif=kept, lossless=True)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(data)).convert("RGB"))
    assert np.array_equal(first_frame(tmp_path, data.getvalue(), f"1.{suffix}"), expected)


@pytest.mark.parametrize(
    "damaged",
    [
        segment(0xE1, b"Exif\0\0"),
        segment(0xE1, b"Exif\0\0garbage"),
        segment(0xE1, b"Exif\0\0" + tiff(6)[:13]),
        segment(0xE1, b"Exif\0\0II*\0" + b"\xff" * 4),
        exif(0),
        exif(9),
        segment(0xE1, b"Exif\0\0" + tiff(6, kind=2)),
        segment(0xE1, b"Exif\0\0" + tiff(6, kind=12)),
        segment(0xE1, b""),
    ],
)
def test_damaged_exif_turns_nothing(tmp_path: Path, damaged: bytes) -> None:
    frame = first_frame(tmp_path, with_header(damaged))
    assert np.array_equal(frame, first_frame(tmp_path / "plain", with_header(b"")))


def test_a_plain_jpeg_is_one_by_its_header() -> None:
    assert is_plain_jpeg(with_header(b""))
    assert is_plain_jpeg(with_header(BEFORE["several"]))
    whole = with_header(exif(1))
    assert not any(is_plain_jpeg(data) for data in (whole, whole[:9], b"", b"\xff\xd8", b"PNG"))
    for length in range(len(whole)):
        is_plain_jpeg(with_header(BEFORE["comment"])[:length])
    assert not is_plain_jpeg(b"\xff\xd8" + b"\xff" * 1000)


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
