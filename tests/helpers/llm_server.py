"""A local server that plays an LLM's endpoint, and fails in every way when told to."""

from __future__ import annotations

import email.utils
import json
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

Body = dict[str, Any]
ANSWER: Body = {
    "choices": [{"message": {"content": "A mouth opens."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5},
}

LEAKING = ANSWER | {"choices": [{"message": {"content": "A brow sinks. She looks happy."}}]}


def careless(body: Body) -> Body:
    """Names a class until it is told not to."""
    return ANSWER if "must not appear" in prompt_of(body) else LEAKING


def prompt_of(body: Body) -> str:
    """The text that came with the pictures."""
    text = body["messages"][0]["content"][0]["text"]
    assert isinstance(text, str)
    return text


class Llm(ThreadingHTTPServer):
    """Plays ``failures`` first, one a request, then answers.

    A failure is a status, a name that ``_Handler`` knows, JSON or bytes to send in place of the
    answer, or a function that makes it of the request.
    The first ``together`` requests are held until all of them are there; answers after the first
    ``free`` wait for the gate.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.failures: list[Any] = []
        self.always: list[Any] = []
        self.paid: Counter[str] = Counter()
        self.requests: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.slow = 0.0
        self.together = self.free = 0
        self.reached, self.gate = Event(), Event()
        self.gate.set()
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Llm

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.times.append(time.monotonic())
        self.server.requests.append(
            {"path": self.path, "key": self.headers["Authorization"]} | body
        )
        self._wait_for_the_others()
        todo = self.server.failures or self.server.always
        failure = todo.pop(0) if todo is self.server.failures else (todo[0] if todo else None)
        if callable(failure):
            failure = failure(body)
        if failure == "late":
            self.connection.settimeout(30)
            self.rfile.read(1)  # until the client has given up
        elif failure == "half":
            self._send(200, b'{"choices": [', length=500)
        elif failure == "broken":
            self._send(200, b'{"choices": [')
        elif failure == "html":
            self._send(200, b"<html>busy</html>")
        elif failure == "date":
            self._send(429, b"{}", email.utils.formatdate(time.time() + 2, usegmt=True))
        elif isinstance(failure, bytes):
            self._send(200, failure)
        elif isinstance(failure, int):
            self._send(failure, b'{"error": "no"}', "0.2" if failure == 429 else None)
        elif isinstance(failure, tuple):
            self._send(failure[0], b"{}", failure[1])
        elif isinstance(failure, dict) and "choices" not in failure:
            self._send(200, json.dumps(failure).encode())
        else:
            self.server.paid[json.dumps(body["messages"])] += 1
            self.server.reached.set()
            time.sleep(self.server.slow)
            if sum(self.server.paid.values()) > self.server.free:
                self.server.gate.wait(30)
            self._send(200, json.dumps(failure or ANSWER).encode())

    def _wait_for_the_others(self) -> None:
        last = time.monotonic() + 10
        while len(self.server.requests) < self.server.together and time.monotonic() < last:
            time.sleep(0.01)

    def _send(
        self, code: int, data: bytes, wait: str | None = None, length: int | None = None
    ) -> None:
        self.send_response(code)
        if wait is not None:
            self.send_header("Retry-After", wait)
        if 300 <= code < 400:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.send_header("Content-Length", str(length or len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass
