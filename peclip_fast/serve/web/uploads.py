"""Bodies of requests, into files: no larger, and no slower, than is allowed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from starlette.requests import ClientDisconnect, Request

from peclip_fast.serve.limits import MEGABYTE, Limits, StatusError

_SLOWEST = 4096  # bytes in a second, on average


async def receive_file(
    request: Request, path: Path, limits: Limits, check: Callable[[], None]
) -> None:
    """Write a request's body to a file.

    Args:
        request: whose body comes.
        path: of the file.
        limits: of it.
        check: raises StatusError where no more of it can be taken.

    Raises:
        StatusError: it is too large, too slow, ends early, or is no plain body.
        OSError: it can't be written.
    """
    _check_headers(request, limits)
    size, began = 0, time.monotonic()
    parts = request.stream()
    with path.open("xb") as file:
        while True:
            try:
                part = await asyncio.wait_for(anext(parts, None), limits.patience)
            except TimeoutError:
                raise StatusError(
                    408, f"nothing came for {limits.patience:g} seconds; {size} bytes so far"
                ) from None
            except ClientDisconnect:
                raise StatusError(400, f"the connection ended after {size} bytes") from None
            if part is None:
                return
            size += len(part)
            if size > limits.bytes:
                raise StatusError(413, _too_large(limits))
            spent = time.monotonic() - began
            if spent > limits.patience and size < _SLOWEST * spent:
                raise StatusError(408, f"{size} bytes in {spent:.0f} seconds are too slow")
            check()
            file.write(part)


def _check_headers(request: Request, limits: Limits) -> None:
    """Refuse what can be told before the body comes."""
    if int(request.headers.get("content-length") or 0) > limits.bytes:
        raise StatusError(413, _too_large(limits))
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise StatusError(415, "expected the bytes of a video file, without Content-Encoding")
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise StatusError(415, "expected the bytes of a video file as the body, not a form")


def _too_large(limits: Limits) -> str:
    return f"at most {limits.bytes / MEGABYTE:g} megabytes are taken"
