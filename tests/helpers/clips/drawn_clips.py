"""Clips of drawn pictures with colours, edges and motion, for comparing decoders pixel by pixel."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import av
import numpy as np

VP9 = ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, "yuv420p")
VP8 = ("libvpx", {"deadline": "realtime", "cpu-used": "8"}, "yuv420p")
MJPEG = ("mjpeg", {}, "yuvj420p")
H264 = ("libx264", {"preset": "veryfast"}, "yuv420p")


def picture(number: int, height: int, width: int) -> np.ndarray:
    """A bright disc that wanders over soft colours; uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    red = 60 + 120 * x / width
    green = 60 + 120 * y / height
    blue = 120 + 60 * np.sin((x + y) / 25 + number / 5)
    image = np.stack([red, green, blue], -1)
    disc = (y - height / 2) ** 2 + (x - width * (number + 5) / 50) ** 2 < (height / 4) ** 2
    image[disc] += 60
    return image.astype(np.uint8)


def write_pictures(
    path: Path,
    count: int,
    codec: tuple[str, dict[str, str], str] = VP9,
    height: int = 96,
    width: int = 96,
) -> Path:
    """A video of ``picture``s, 25 in a second."""
    name, options, pixels = codec
    with av.open(str(path), mode="w") as container:
        stream = container.add_stream(name, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, pixels
        stream.bit_rate = 2_000_000
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number, height, width), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn_video(path: Path, turns: int) -> Path:
    """Writes into an MP4's header that its frames are shown after quarter turns clockwise."""

    def matrix(cosine: int, sine: int) -> bytes:
        rows = [cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30]
        return b"".join((entry & 0xFFFFFFFF).to_bytes(4, "big") for entry in rows)

    data = path.read_bytes()
    place = data.index(matrix(1, 0), data.index(b"tkhd"))
    turned = matrix(*((1, 0), (0, 1), (-1, 0), (0, -1))[turns])
    path.write_bytes(data[:place] + turned + data[place + len(turned) :])
    return path


def hide_pictures(path: Path, numbers: Collection[int]) -> Path:
    """Rewrites a VP8 file so that some of its pictures are decoded but not shown."""
    hidden = path.with_name("hidden" + path.name)
    with av.open(str(path)) as source, av.open(str(hidden), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                data = bytearray(bytes(packet))
                data[0] &= 0xFF if number not in numbers else 0xEF  # the bit show_frame
                copy = av.Packet(bytes(data))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.is_keyframe, copy.stream = packet.is_keyframe, stream
                container.mux(copy)
    return hidden
