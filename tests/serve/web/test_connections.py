"""Connections on which no request comes, or none that ends: an answer, and an end."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from peclip_fast.serve.server import configured, open_socket
from peclip_fast.serve.web.connections import HEADERS

PATIENCE = 1.0


async def answer(scope, receive, send):
    """Says OK at once, whatever the body."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.contextmanager
def served(**options: int) -> Iterator[int]:
    listening = open_socket("127.0.0.1", 0)
    server = uvicorn.Server(configured(answer, PATIENCE, **options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served() as found:
        yield found


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as found:
        yield found


def rest(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def refusal(said: bytes) -> tuple[int, str]:
    head, _, body = said.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["detail"]


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        bytes(100) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2 * HEADERS + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(20_000)),
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    ],
    ids=["words", "zeros", "a long header", "many headers", "minus one", "two lengths", "TLS"],
)
def test_nonsense_is_answered(port, sent):
    with connected(port) as connection:
        connection.sendall(sent)
        status, reason = refusal(rest(connection))
    assert status == 400
    assert "HTTP" in reason


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_request_that_never_ends_is_ended(port, sent):
    with connected(port) as connection:
        began = time.monotonic()
        connection.sendall(sent)
        status, reason = refusal(rest(connection))
    assert status == 408
    assert "1 seconds" in reason
    assert PATIENCE * 0.9 < time.monotonic() - began < 10


def test_dripping_does_not_help(port):
    with connected(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 15:
                connection.sendall(b"X: y\r\n")
                time.sleep(0.05)
        assert time.monotonic() - began < 10


def test_a_body_that_nobody_wants_is_ended_too(port):
    with connected(port) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967296\r\n\r\n")
        began = time.monotonic()
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 15:
                connection.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - began < 10


def test_one_connection_takes_requests_one_after_another(port):
    with connected(port) as connection:
        for _ in range(3):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            said = b""
            while b"0\r\n\r\n" not in said:
                said += connection.recv(1000)
            assert said.startswith(b"HTTP/1.1 200")
            time.sleep(0.6)  # longer than PATIENCE in all


def test_more_connections_than_can_be_are_told_so():
    with served(most=2) as port, contextlib.ExitStack() as open_ones:
        for _ in range(2):
            first = open_ones.enter_context(connected(port))
            first.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert first.recv(100).startswith(b"HTTP/1.1 200")
        with connected(port) as connection:
            status, reason = refusal(rest(connection))
        assert status == 503
        assert "2 connections" in reason
        open_ones.close()
        time.sleep(0.3)
        with connected(port) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
