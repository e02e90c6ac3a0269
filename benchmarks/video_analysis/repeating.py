"""Short and long videos from one: its parts, and itself over and over."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from peclip_fast.data.decoding.clip_source import open_clip_source


def write_parts(video: Path, folder: Path, count: int, seconds: float) -> list[Path]:
    """So many clips that begin all over a video, at 25 frames a second."""
    folder.mkdir(parents=True)
    source = open_clip_source(video)
    frames = source.read(range(source.num_frames))
    source.close()
    length = round(25 * seconds)
    paths = []
    for number, start in enumerate(np.linspace(0, len(frames) - length, count).astype(int)):
        paths.append(folder / f"clip{number:03d}.mp4")
        with av.open(str(paths[-1]), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
            for image in frames[start : start + length]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    return paths


def write_repeated(video: Path, path: Path, minutes: float) -> int:
    """A video over and over until it is so long, without encoding it anew; gives how often."""
    with av.open(str(video)) as source, av.open(str(path), "w") as container:
        stream = source.streams.video[0]
        copied = container.add_stream_from_template(stream)
        assert stream.time_base is not None
        assert stream.average_rate is not None
        frame = round(1 / (stream.average_rate * stream.time_base))
        times, shift = 0, 0
        while shift * stream.time_base < 60 * minutes:
            source.seek(0)
            last = 0
            for packet in source.demux(stream):
                if packet.dts is None or packet.pts is None:
                    continue
                last = max(last, packet.pts)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = copied
                container.mux(packet)
            shift, times = shift + last + frame, times + 1
    return times
