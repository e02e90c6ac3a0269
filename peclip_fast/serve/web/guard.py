"""Who may ask, from where, and what browsers are told of every answer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "peclip_token"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_OPEN = ("/", "/app.css", "/app.js", "/healthz", "/openapi.json", "/favicon.ico")
_SAFE = ("GET", "HEAD", "OPTIONS")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
Count = Callable[[str, int, float], None]


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Args:
        token: that has to be told; None where everybody who reaches the server may ask.
        local: whether the server is reached from its own machine only.
    """

    token: str | None
    local: bool

    def refusal(self, verb: str, path: str, headers: Headers) -> tuple[int, str] | None:
        """A status and a reason where a request isn't let in."""
        if self.local and _name(headers.get("host", "")) not in LOOPBACK:
            # Another site's name that leads here would let its pages read what clients sent.
            return 421, "this server answers to localhost only"
        origin = headers.get("origin")
        if origin is not None and verb not in _SAFE and _place(origin) != headers.get("host"):
            return 403, "this comes from another site's page"
        if self.token is None or path in _OPEN or self._knows(headers):
            return None
        return 401, "expected the server's token: `Authorization: Bearer TOKEN`"

    def _knows(self, headers: Headers) -> bool:
        assert self.token is not None
        kind, _, told = headers.get("authorization", "").partition(" ")
        given = told.strip() if kind.lower() == "bearer" else _cookie(headers)
        return secrets.compare_digest(given.encode(), self.token.encode())


class Guard:
    """The outermost layer of the application.

    Args:
        app: what is behind it.
        access: who may ask.
        count: is told the route, the status and the seconds of each answer.
    """

    def __init__(self, app: ASGIApp, access: Access, count: Count) -> None:
        self._app, self._access, self._count = app, access, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, statuses = time.perf_counter(), list[int]()

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._access.refusal(scope["method"], scope["path"], Headers(scope=scope))
        try:
            if refusal is None:
                await self._app(scope, receive, sent)
            else:
                status, reason = refusal
                bearer = {"WWW-Authenticate": "Bearer"} if status == 401 else None
                answer = JSONResponse({"detail": reason}, status, headers=bearer)
                await answer(scope, receive, sent)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            status = statuses[0] if statuses else 499  # the client has gone
            self._count(route, status, time.perf_counter() - began)


def _name(host: str) -> str:
    """A host's name without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _place(origin: str) -> str:
    """An origin's host and port."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value
