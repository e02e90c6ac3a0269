"""Packed clips: JPEG frames in a Matroska file, each a packet, and a note of their origin."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from peclip_fast.data.decoding.ffmpeg import open_container, packets

_NOTE = "PECLIP_FAST"
_FORMAT = "matroska"


def packed_file(
    jpegs: Sequence[bytes],
    size: tuple[int, int],
    milliseconds: Sequence[int],
    note: Mapping[str, Any],
) -> bytes:
    """The file, which is the same for the same arguments.

    Args:
        jpegs: the frames, at least one.
        size: their height and width in pixels.
        milliseconds: the moment of each frame, ascending.
        note: kept with them, in JSON.
    """
    step = max(1, round((milliseconds[-1] - milliseconds[0]) / max(1, len(jpegs) - 1)))
    data = io.BytesIO()
    with av.open(data, "w", format=_FORMAT, container_options={"fflags": "bitexact"}) as container:
        container.metadata[_NOTE] = json.dumps(note)
        stream = container.add_stream("mjpeg", rate=Fraction(1000, step))
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = size
        stream.pix_fmt = "yuvj420p"
        stream.time_base = Fraction(1, 1000)
        for jpeg, moment in zip(jpegs, milliseconds, strict=True):
            packet = av.Packet(jpeg)
            packet.stream = stream
            packet.time_base = stream.time_base
            packet.pts = packet.dts = moment
            packet.duration = step
            packet.is_keyframe = True
            container.mux(packet)
    return data.getvalue()


def packed_jpegs(data: bytes) -> list[bytes]:
    """The frames of a packed file as they were given."""
    with av.open(io.BytesIO(data), "r", format=_FORMAT) as container:
        return [bytes(packet) for packet in packets(container, container.streams.video[0])]


def read_note(path: Path) -> dict[str, Any] | None:
    """The note of a packed file; None where there is no such file."""
    try:
        container = open_container(path)
    except (av.FFmpegError, OSError, ValueError):
        return None
    with container:
        text = container.metadata.get(_NOTE)
    return None if text is None else json.loads(text)


def is_packed(container: InputContainer) -> bool:
    """Whether an opened file is one of ours."""
    return _NOTE in container.metadata
