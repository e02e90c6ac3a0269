"""Opening files with FFmpeg, and its errors in our words."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from peclip_fast.errors import InputError

MOST_PIXELS = 1 << 26  # of a frame: twice 8K; a header that says more is damaged

# What a damaged file can make PyAV raise. RuntimeError: NotImplementedError for odd pixel formats.
_ERRORS = (av.FFmpegError, OSError, ValueError, ArithmeticError, MemoryError, RuntimeError)


def open_video(path: Path, threads: int = 1) -> tuple[InputContainer, VideoStream]:
    """The file and its first video stream, at its first packet.

    Args:
        path: any name: a colon in it is no protocol, and it need not be UTF-8.
        threads: decoder threads; 0 lets the decoder choose.

    Raises:
        InputError: the file can't be opened or has no video; names it.
    """
    with named_errors(path, "not a readable video"):
        container = open_container(path)
        try:
            if not container.streams.video:
                raise InputError(f"{path}: no video stream in this file")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise InputError(f"{path}: unknown video codec")
            stream.codec_context.thread_count = threads
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        except BaseException:
            container.close()
            raise
    return container, stream


def open_container(path: Path) -> InputContainer:
    """The opened file. It may name no other file, and its texts may be in any encoding.

    Raises:
        whatever PyAV raises: see ``named_errors``.
    """
    name = os.path.abspath(path)
    descriptor = None
    if _is_foreign(name):
        # PyAV takes UTF-8 only. The descriptor's name is ASCII, and is opened as any other.
        descriptor = os.open(name, os.O_RDONLY)
        name = f"/dev/fd/{descriptor}"
    try:
        options = {"protocol_whitelist": "file"}
        return av.open(name, "r", container_options=options, metadata_errors="replace")
    finally:
        if descriptor is not None:
            os.close(descriptor)


def packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """The stream's packets that hold something.

    Left out are AVI's chunks of no bytes, which stand for dropped frames, and the last packet,
    which would drain the decoder.
    """
    for packet in container.demux(stream):
        if packet.size:
            yield packet


@contextlib.contextmanager
def named_errors(path: Path | str, what: str) -> Iterator[None]:
    """Makes ``InputError: path: what: reason`` of whatever FFmpeg says."""
    try:
        yield
    except InputError:
        raise
    except _ERRORS as error:
        raise InputError(f"{path}: {what}: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """FFmpeg's words without the file name and number that PyAV wraps around them."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]


def _is_foreign(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False
