"""Files of a result as answers, which may be removed at any moment."""

from __future__ import annotations

import contextlib

from fastapi.responses import FileResponse, JSONResponse
from starlette.types import Message, Receive, Scope, Send

GONE = "no such job; results are kept for a limited time"
_OF_RANGES = {400: "this Range can't be read", 416: "the file has no such part"}


class KeptFile(FileResponse):
    """A file that is sent to its end although it is removed meanwhile; 404 if it was before."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.ExitStack() as opened:
            try:
                file = opened.enter_context(open(self.path, "rb"))
            except FileNotFoundError:
                await JSONResponse({"detail": GONE}, 404)(scope, receive, send)
                return
            self.path = f"/proc/self/fd/{file.fileno()}"  # the file without its name
            await super().__call__(scope, receive, _with_reasons(send))


def _with_reasons(send: Send) -> Send:
    """What refuses a Range says why, as all that refuses does."""
    reason: list[bytes] = []

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] in _OF_RANGES:
            plain = JSONResponse({"detail": _OF_RANGES[message["status"]]}, message["status"])
            ours = {name for name, _ in plain.raw_headers}
            others = [(name, value) for name, value in message["headers"] if name not in ours]
            reason.append(bytes(plain.body))
            message = {**message, "headers": [*plain.raw_headers, *others]}
        elif reason:
            message = {**message, "body": reason[0]}
        await send(message)

    return sent
