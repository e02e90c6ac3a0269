"""The frames of a clip as an LLM gets to see them."""

from __future__ import annotations

import io

from PIL import Image

from peclip_fast.data.decoding.clip_source import open_record
from peclip_fast.data.records import ClipRecord
from peclip_fast.data.transforms.sampling import sample_indices
from peclip_fast.errors import InputError


def pictures(record: ClipRecord, frames: int, side: int) -> list[bytes]:
    """So many frames of a clip as JPEG, in order, none with a longer side than ``side``.

    The clip is opened and closed here, so it stays in the thread that calls.

    Raises:
        InputError: the clip can't be read.
    """
    try:
        source = open_record(record)
        try:
            pixels = source.read(sample_indices(source.num_frames, frames))
        finally:
            source.close()
    except OSError as error:
        raise InputError(f"{record.path}: can't be read ({error})") from None
    images = []
    for frame in pixels:
        image, jpeg = Image.fromarray(frame), io.BytesIO()
        image.thumbnail((side, side))
        image.save(jpeg, "JPEG", quality=90)
        images.append(jpeg.getvalue())
    return images
