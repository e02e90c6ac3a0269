"""What video files begin with."""

from __future__ import annotations

from pathlib import Path

_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp"}  # of MP4, MOV
_STARTS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"RIFF",
    b"OggS",
    b"FLV\x01",
    b"GIF8",
    b"\x00\x00\x01\xba",  # MPEG-PS
    b"\x00\x00\x01\xb3",  # MPEG-1 and -2 video
    b"0&\xb2u\x8ef\xcf\x11",  # ASF
)
_TS_PACKET = 188


def is_video(path: Path) -> bool:
    """Whether a file begins as one of the usual kinds of video, whole or not."""
    with path.open("rb") as file:
        head = file.read(2 * _TS_PACKET)
    is_ts = head[:1] == b"G" and head[_TS_PACKET : _TS_PACKET + 1] in (b"G", b"")
    return head[4:8] in _BOXES or head.startswith(_STARTS) or is_ts
