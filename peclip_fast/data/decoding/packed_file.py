"""Packed clips: JPEG frames in a Matroska file, each a packet, and a note of their origin."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from peclip_fast.data.decoding.ffmpeg import named_errors, open_container, packets
from peclip_fast.errors import InputError
from peclip_fast.json_files import parse_json

_NOTE, _DIGEST = "PECLIP_FAST", "sha256"
_FORMAT, _SUFFIX = "matroska", ".mkv"
_RAW = "mjpeg"  # the format that FFmpeg sees in JPEG images after something unknown


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
        note: kept with them, in JSON, next to the digest of size, frames and moments.
    """
    digest = _digest(size, zip(milliseconds, jpegs, strict=True))
    step = max(1, round((milliseconds[-1] - milliseconds[0]) / max(1, len(jpegs) - 1)))
    data = io.BytesIO()
    with av.open(data, "w", format=_FORMAT, container_options={"fflags": "bitexact"}) as container:
        container.metadata[_NOTE] = json.dumps({**note, _DIGEST: digest})
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
    """The note of a whole packed file; None where there is none."""
    try:
        note = check_packed(path)
    except InputError:
        return None
    return None if note is None else {k: v for k, v in note.items() if k != _DIGEST}


def check_packed(path: Path) -> dict[str, Any] | None:
    """Read all of a packed file and compare it with its digest.

    Returns:
        Its note; None for any other video, of which nothing is said.

    Raises:
        InputError: the file is damaged, or none; names it.
    """
    with named_errors(path, "damaged, or not there"), open_container(path) as container:
        if path.suffix == _SUFFIX and container.format.name == _RAW:
            raise InputError(f"{path}: damaged: a Matroska file without its first bytes")
        text = container.metadata.get(_NOTE)
        if text is None or not container.streams.video:
            return None
        stream = container.streams.video[0]
        size = stream.codec_context.height, stream.codec_context.width
        digest = _digest(size, ((p.pts, bytes(p)) for p in packets(container, stream)))
        note = parse_json(text, f"{path}: damaged", dict[str, Any])
    if note.get(_DIGEST) != digest:
        raise InputError(f"{path}: damaged: it doesn't hold what was packed; pack it again")
    return note


def _digest(size: tuple[int, int], frames: Iterable[tuple[int | None, bytes]]) -> str:
    digest = hashlib.sha256(repr(size).encode())
    for moment, jpeg in frames:
        digest.update(f" {moment} {len(jpeg)} ".encode())
        digest.update(jpeg)
    return digest.hexdigest()


def is_packed(container: InputContainer) -> bool:
    """Whether an opened file is one of ours."""
    return _NOTE in container.metadata
