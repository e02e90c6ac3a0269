"""Connections that get no more time than they need."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS = 64 << 10  # bytes of a request's head, at most
_LINGER = 2.0  # seconds in which a client that still sends can read why it was refused
_CONTENT = [(b"content-type", b"application/json"), (b"connection", b"close")]
_REASONS = {400: b"Bad Request", 408: b"Request Timeout", 503: b"Service Unavailable"}


class ImpatientConnection(H11Protocol):
    """A connection whose requests begin within ``patience`` seconds.

    Uvicorn itself waits for ever for the rest of a request's head, and closes a connection on which
    nonsense comes before its answer can be read.
    """

    patience: float
    most: int
    _timer: asyncio.TimerHandle | None = None
    _lingers = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._refuse(503, f"{self.most} connections are open already; try again later")
        self._watch()

    def data_received(self, data: bytes) -> None:
        if not self._lingers:
            super().data_received(data)
            self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        what = f"this is no HTTP/1.1, or its headers are longer than {HEADERS >> 10} kB"
        self._refuse(400, what)

    def _watch(self) -> None:
        """Give the next request its time, while none is being answered."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._timer is None and not self._lingers:
            self._timer = self.loop.call_later(self.patience, self._too_slow)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self.conn.our_state is h11.IDLE:
            self._refuse(408, f"no whole request came within {self.patience:g} seconds")
        else:  # a body that nobody wants any more
            self.transport.close()

    def _refuse(self, status: int, why: str) -> None:
        self._forget()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # whoever reads the body hears of it
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        body = json.dumps({"detail": why}).encode()
        headers = [*_CONTENT, (b"content-length", str(len(body)).encode())]
        answer = h11.Response(status_code=status, headers=headers, reason=_REASONS[status])
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self._lingers = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER, self.transport.close)


def impatient(patience: float, most: int) -> type[ImpatientConnection]:
    """Connections that wait for so many seconds, and so many of them at a time."""
    return type("Connection", (ImpatientConnection,), {"patience": patience, "most": most})
