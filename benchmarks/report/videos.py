"""Which videos are read frame by frame, and how: the tests' list, and a table in docs/data.md.

``tests/data/decoding/test_video_kinds.py`` writes every one of them and reads it.
"""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.report.cells import markdown

CONTAINERS = ("avi", "mp4", "mov", "mkv", "webm", "flv", "ts", "mpg", "ogv", "gif")
GROUP = 8  # frames from one key frame to the next

_X264 = f"keyint={GROUP}:min-keyint={GROUP}:scenecut=0:b-adapt=0"
_X265 = f"log-level=none:{_X264}:bframes=3"
_PLAIN = {"g": f"{GROUP}"}
_CLOSED = {"bf": "2", "flags": "+cgop", "sc_threshold": "1000000000"}
_HIDDEN = {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good", "cpu-used": "5"}


class VideoKind(NamedTuple):
    """Videos of one codec, in all containers that FFmpeg writes and reads them in.

    Args:
        codec: what people call it.
        groups: how its frames build on one another.
        encoder: FFmpeg's name; None where it can only be copied from a file of the tests.
        options: of the encoder, beside the length of a group.
        by_times: suffixes of containers whose times tell the order of the frames.
        by_decoder: suffixes of those where the decoder has to tell it.
        pixels: FFmpeg's name of the pixel format.
    """

    codec: str
    groups: str
    encoder: str | None
    options: dict[str, str]
    by_times: str
    by_decoder: str = ""
    pixels: str = "yuv420p"

    @property
    def containers(self) -> list[str]:
        return [*self.by_times.split(), *self.by_decoder.split()]


KINDS = (
    VideoKind("H.264", "no B-frames", "libx264", {"bf": "0"}, "mp4 mov mkv flv ts", "avi mpg"),
    VideoKind(
        "H.264", "B-frames, closed groups", "libx264", {"x264-params": f"{_X264}:bframes=3"},
        "mp4 mov mkv flv ts", "avi mpg",
    ),
    VideoKind(
        "H.264", "B-frames, open groups", "libx264",
        {"x264-params": f"{_X264}:bframes=3:open-gop=1"}, "mp4 mov mkv flv ts", "avi mpg",
    ),
    VideoKind(
        "H.264", "no key frames but the first", "libx264", {"intra-refresh": "1", "bf": "0"},
        "mp4 mov mkv flv ts", "avi mpg",
    ),
    VideoKind(
        "HEVC", "B-frames, closed groups", "libx265", {"x265-params": f"{_X265}:open-gop=0"},
        "mp4 mov mkv flv ts", "mpg",
    ),
    VideoKind(
        "HEVC", "B-frames, open groups", "libx265", {"x265-params": f"{_X265}:open-gop=1"},
        "mp4 mov mkv flv ts", "mpg",
    ),
    VideoKind("MPEG-4", "no B-frames", "mpeg4", {}, "mp4 mov mkv ts", "avi mpg"),
    VideoKind("MPEG-4", "B-frames, closed groups", "mpeg4", _CLOSED, "mp4 mov mkv ts", "avi mpg"),
    VideoKind("MPEG-4", "B-frames, open groups", "mpeg4", {"bf": "2"}, "mp4 mov mkv ts", "avi mpg"),
    VideoKind("MPEG-2", "no B-frames", "mpeg2video", {}, "", "avi mp4 mov mkv ts mpg"),
    VideoKind(
        "MPEG-2", "B-frames, closed groups", "mpeg2video", _CLOSED, "mp4 mov mkv ts", "avi mpg"
    ),
    VideoKind(
        "MPEG-2", "B-frames, open groups", "mpeg2video", {"bf": "2"}, "mp4 mov mkv ts", "avi mpg"
    ),
    VideoKind("VP8", "hidden pictures", "libvpx", _HIDDEN, "mkv webm avi ogv"),
    VideoKind("VP9", "hidden pictures", "libvpx-vp9", _HIDDEN, "mkv webm mp4 avi flv"),
    VideoKind("AV1", "hidden pictures", "libsvtav1", {"preset": "12"}, "mkv webm mp4 avi flv"),
    VideoKind("MJPEG", "key frames", "mjpeg", {}, "avi mp4 mov mkv", pixels="yuvj420p"),
    VideoKind("FFV1", "no B-frames", "ffv1", {}, "avi mp4 mkv"),
    VideoKind("Theora", "no B-frames", None, {}, "ogv mkv"),
    VideoKind("GIF", "changed parts", "gif", {}, "gif mov", pixels="rgb8"),
)  # fmt: skip


def table() -> list[str]:
    """A row for each kind: what tells the order of its frames in each container."""
    rows = [
        [
            kind.codec,
            kind.groups,
            *(
                "times" if name in kind.by_times.split()
                else "decoder" if name in kind.by_decoder.split()
                else ""
                for name in CONTAINERS
            ),
        ]
        for kind in KINDS
    ]  # fmt: skip
    return markdown(["codec", "frames", *CONTAINERS], rows, 2 + len(CONTAINERS))
