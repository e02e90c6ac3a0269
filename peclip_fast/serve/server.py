"""A server from its socket to its end."""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import socket
from collections.abc import Iterator
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from peclip_fast.errors import InputError, one_line
from peclip_fast.serve.service import Service
from peclip_fast.serve.web.application import application
from peclip_fast.serve.web.connections import HEADERS, impatient
from peclip_fast.serve.web.guard import Access

_CONNECTIONS = 400  # of two files each: a process may usually open 1024
_FAREWELL = 10  # seconds in which requests that are being answered can end
_BACKLOG = 256


def is_loopback(host: str) -> bool:
    """Whether a host's name is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: the address isn't this machine's, or is taken.
    """
    if not 0 <= port < 1 << 16:  # the system would take its last 16 bits
        raise InputError(f"--port {port}: expected 0 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        why = one_line(getattr(error, "strerror", None) or error)
        raise InputError(f"--host {host} --port {port}: can't listen there ({why})") from None


def address_of(listening: socket.socket) -> str:
    """The page's address."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def configured(app: ASGIApp, patience: float, most: int = _CONNECTIONS) -> uvicorn.Config:
    """How the application is served.

    Args:
        app: the application.
        patience: seconds in which a request has to begin.
        most: connections at a time.
    """
    return uvicorn.Config(
        app,
        http=impatient(patience, most),
        ws="none",
        log_level="error",  # warnings are of clients' nonsense, and clients are told
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=HEADERS,
        timeout_graceful_shutdown=_FAREWELL,
    )


def serve(service: Service, access: Access, listening: socket.socket) -> None:
    """Answer requests until SIGINT, SIGTERM or SIGHUP; a second one doesn't wait for anybody."""
    config = configured(application(service, access), service.limits.patience)
    try:
        _Server(config, service).run(sockets=[listening])
    finally:
        service.close()


class _Server(uvicorn.Server):
    """Whose end by a signal is an end like any other."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        heard = [number for number in asked if signal.getsignal(number) != signal.SIG_IGN]
        former = {number: signal.signal(number, self.handle_exit) for number in heard}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> Any:
        self._service.closing = True
        await super().shutdown(sockets)
