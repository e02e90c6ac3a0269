"""A frame is what a player shows: turned, mirrored, and with square pixels."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.clips.numbered_frames import corners_of, number_of, picture, write_numbered
from PIL import Image

from peclip_fast.config.data import DataConfig
from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.data.decoding.geometry import geometry_of
from peclip_fast.data.decoding.packed_file import packed_file
from peclip_fast.data.loading.dali.encoded_clip import OtherDecoderError, read_encoded
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError

# a, b, c, d of the matrix by which (x, y) is shown at (ax + cy, bx + dy); then the corners, and
# whether DALI's frames can be turned like that.
SHOWN = {
    "as it is": ((1, 0, 0, 1), "RB..", True),
    "a quarter clockwise": ((0, 1, -1, 0), ".R.B", True),
    "half round": ((-1, 0, 0, -1), "..BR", True),
    "a quarter back": ((0, -1, 1, 0), "B.R.", True),
    "left and right exchanged": ((-1, 0, 0, 1), "BR..", False),
    "upside down": ((1, 0, 0, -1), "..RB", False),
    "rows for columns": ((0, 1, 1, 0), "R.B.", False),
    "the other diagonal": ((0, -1, -1, 0), ".B.R", False),
    "half as large": ((0.5, 0, 0, 0.5), "RB..", True),
    "half a degree": ((0.99996, 0.00873, -0.00873, 0.99996), "RB..", True),
    "to nothing": ((0, 0, 0, 0), "RB..", True),
}


def with_matrix(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """Writes the matrix of an MP4's track."""
    data = bytearray(path.read_bytes())
    entries = [round(x * 65536) for x in (a, b, 0, c, d, 0, 0, 0)]
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, *entries, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", SHOWN)
def test_display_matrices(tmp_path: Path, name: str) -> None:
    matrix, corners, for_dali = SHOWN[name]
    path = with_matrix(write_numbered(tmp_path / "clip.mp4", count=4), *matrix)
    source = open_clip_source(path)
    (image,) = source.read([3])
    height, width = (64, 48) if matrix[0] == 0 != matrix[1] else (48, 64)
    assert image.shape == (height, width, 3)
    assert (source.index.height, source.index.width) == (height, width)
    assert corners_of(image) == corners
    assert given_to_dali(path) == for_dali


def test_other_angles_are_refused(tmp_path: Path) -> None:
    path = with_matrix(write_numbered(tmp_path / "clip.mp4", count=4), 0.7, 0.7, -0.7, 0.7)
    with pytest.raises(
        InputError, match=r"clip\.mp4: turned by 45 degrees: expected quarter turns"
    ):
        open_clip_source(path)


def squeezed(path: Path, encoder: str, aspect: Fraction, pixels: str = "yuv420p") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, pixels
        stream.bit_rate = 4_000_000
        stream.codec_context.sample_aspect_ratio = aspect
        for number in range(6):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("clip.mp4", "libx264"), ("clip.mkv", "libx264"), ("clip.ts", "libx264"),
        ("clip.avi", "mpeg4"), ("clip.mov", "mpeg4"), ("clip.avi", "mjpeg"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("aspect", "width"), [(Fraction(2), 128), (Fraction(3, 4), 48)])
def test_pixels_become_square(
    tmp_path: Path, name: str, encoder: str, aspect: Fraction, width: int
) -> None:
    pixels = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
    path = squeezed(tmp_path / name, encoder, aspect, pixels)
    source = open_clip_source(path)
    images = source.read([5, 2])
    assert images.shape == (2, 48, width, 3)
    assert [number_of(image) for image in images] == [5, 2]
    assert (source.index.height, source.index.width) == (48, width)
    assert np.array_equal(images[0], list(source.frames())[5])
    assert not given_to_dali(path)


def test_pixels_become_square_before_the_frame_is_turned(tmp_path: Path) -> None:
    path = with_matrix(squeezed(tmp_path / "clip.mp4", "libx264", Fraction(2)), 0, 1, -1, 0)
    (image,) = open_clip_source(path).read([0])
    assert image.shape == (128, 48, 3)
    assert corners_of(image) == ".R.B"


def test_the_density_of_packed_images_is_for_printers(tmp_path: Path) -> None:
    """A packed folder's frames are those of the folder."""
    data = io.BytesIO()
    Image.fromarray(picture(0)).save(data, "JPEG", dpi=(72, 144))
    path = tmp_path / "packed.mkv"
    path.write_bytes(packed_file([data.getvalue()] * 4, (48, 64), [0, 40, 80, 120], {}))
    assert open_clip_source(path).read([0]).shape == (1, 48, 64, 3)


@pytest.mark.parametrize(
    ("height", "width", "aspect", "words"),
    [
        (0, 64, None, "frames of 64x0 pixels"),
        (30_000, 30_000, None, "frames of 30000x30000 pixels: damaged, or too large"),
        (48, 64, Fraction(100), "pixels that are 100 times as wide as high"),
        (48, 64, Fraction(1, 50), "pixels that are 0.02 times as wide as high"),
    ],
)
def test_sizes_that_no_video_has(
    height: int, width: int, aspect: Fraction | None, words: str
) -> None:
    with pytest.raises(InputError, match=f"^clip.mp4: {words}"):
        geometry_of(Path("clip.mp4"), height, width, aspect, None)


def given_to_dali(path: Path) -> bool:
    dataset = ClipDataset([ClipRecord(path, 0)], DataConfig(), 32, train=False)
    codec = open_clip_source(path).index.codec
    try:
        read_encoded(dataset, (0, 0), {codec})
    except OtherDecoderError:
        return False
    return True
