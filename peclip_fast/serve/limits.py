"""What a client may ask for, and what is answered where it asks for more."""

from __future__ import annotations

from dataclasses import dataclass

from peclip_fast.errors import InputError

MEGABYTE = 1_000_000


class StatusError(Exception):
    """A request that isn't done, with the status of HTTP and a reason in one line.

    Args:
        status: such as 413.
        reason: for the client.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class Limits:
    """Of what clients send.

    Args:
        megabytes: of a file.
        seconds: that a video may last.
        frames: of a video.
        pixels: of a frame.
        waiting: jobs that wait; so many requests for one clip, too.
        time: seconds that a job may take; a sixtieth of them for one clip.
        keep: seconds that results are kept.
        patience: seconds between two pieces of a request.

    Raises:
        InputError: a limit that lets nothing through; names its option.
    """

    megabytes: float = 256
    seconds: float = 600
    frames: int = 36_000
    pixels: int = 3840 * 2160
    waiting: int = 32
    time: float = 3600
    keep: float = 3600
    patience: float = 15

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < float("inf"):
                raise InputError(f"--{OPTIONS[name]} {value:g}: expected more than 0")

    @property
    def bytes(self) -> int:
        """Of a file."""
        return int(self.megabytes * MEGABYTE)

    @property
    def clip_time(self) -> float:
        """Seconds that one clip may take to be decoded."""
        return max(1.0, self.time / 60)

    def check_video(self, width: int, height: int, frames: int, seconds: float) -> None:
        """Raise StatusError for a video that is too large."""
        if width * height > self.pixels:
            raise StatusError(
                413, f"frames of {width}x{height} pixels; at most {self.pixels} pixels are taken"
            )
        if frames > self.frames:
            raise StatusError(413, f"{frames} frames; at most {self.frames} are taken")
        if seconds > self.seconds:
            raise StatusError(
                413, f"a video of {seconds:.0f} seconds; at most {self.seconds:g} are taken"
            )


OPTIONS = {
    "megabytes": "max_megabytes",
    "seconds": "max_seconds",
    "frames": "max_frames",
    "pixels": "max_pixels",
    "waiting": "max_waiting",
    "time": "max_time",
    "keep": "keep",
    "patience": "patience",
}
"""The options of the command line, by field."""
