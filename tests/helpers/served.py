"""A server as a process of its own, and a client of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 120.0


class Client:
    """Asks a server on this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, verb: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request(verb, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def job(self, video: bytes) -> str:
        """The name of a new one."""
        status, body = self.ask("POST", "/api/jobs", video)
        assert status == 202, body
        return json.loads(body)["id"]

    def state(self, name: str) -> dict[str, Any]:
        """What a job's address says."""
        return json.loads(self.ask("GET", f"/api/jobs/{name}")[1])

    def ended(self, name: str) -> str:
        """Done or failed, once a job is."""
        end = time.monotonic() + SECONDS
        while True:
            state = self.state(name)["state"]
            if state in ("done", "failed"):
                return state
            assert time.monotonic() < end, state
            time.sleep(0.1)


class Server(NamedTuple):
    """It, a client of it, and the file of all that it says on its standard error."""

    process: subprocess.Popen[str]
    client: Client
    log: Path


def said(log: Path) -> list[str]:
    """Lines of a server's log, but for what it warns of as it starts."""
    return [line for line in log.read_text().splitlines() if not line.startswith("warning: ")]


@contextmanager
def served(run: Path, folder: Path, *options: str) -> Iterator[Server]:
    """A server of a run with windows of one second; killed at the end of the block."""
    command = [sys.executable, "-m", "peclip_fast", "serve", str(run), "--folder", str(folder),
               "--port", "0", "--window", "1", *options]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    log = folder.with_name(f"{folder.name}.log")
    with log.open("w") as to:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=to, text=True
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"serving at http://127\.0\.0\.1:(\d+)/\n", line)
        assert found, (line, log.read_text())
        yield Server(process, Client(int(found[1])), log)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
