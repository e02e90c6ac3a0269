"""A server under load, a third of it nonsense: every request is answered, and nothing piles up."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.clips.face_videos import one_face, steady, write_faces_video
from helpers.served import SECONDS, said, served
from helpers.serving import gone, plain_video, with_samples

from peclip_fast import Analyzer
from peclip_fast.commands.predict import main as predict

CLIENTS, REQUESTS = 8, 200
KINDS = 66  # requests in which each nonsense comes once on each route
LIMITS = ("--max_megabytes", "2", "--max_frames", "400", "--patience", "2", "--max_waiting", "64")
ROUTES = ("/v1/predict", "/api/jobs")


def head(route: str, length: int, more: str = "") -> bytes:
    text = f"POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{more}\r\n"
    return text.encode()


def whole(body: bytes):
    return lambda route: head(route, len(body)) + body


def drip(route: str) -> bytes:
    """A head, and a body whose rest never comes."""
    return head(route, 1000) + b"x"


VIDEO = plain_video()
NONSENSE = {
    "text": (whole(b"hello\n" * 200), {415}),
    "cut off": (whole(VIDEO[: len(VIDEO) // 3]), {422}),
    "a huge header": (lambda route: head(route, 1, f"X-Y: {'z' * 300_000}\r\n"), {400}),
    "nothing": (whole(b""), {422}),
    "4 GB declared": (lambda route: head(route, 4 << 30) + bytes(1000), {413}),
    "frames that aren't there": (whole(with_samples(VIDEO, 10**6)), {413, 422}),
    "more frames than are taken": (whole(plain_video(420, (32, 32), rate=240)), {413}),
    "huge frames": (whole(plain_video(2, (4096, 2304))), {413}),
    "a head without an end": (lambda route: head(route, 10)[:-2], {408}),
    "a body without an end": (drip, {408}),
    "no request": (lambda route: b"\x16\x03\x01\x02" + bytes(100) + b"\r\n\r\n", {400}),
}


def told(port: int, sent: bytes) -> tuple[int, bytes]:
    """Status and body of the answer to some bytes, after which the client says no more."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.sendall(sent)
        connection.settimeout(SECONDS)
        said = b""
        while b"\r\n\r\n" not in said:
            part = connection.recv(1 << 16)
            assert part, "no answer"
            said += part
        first, _, body = said.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in first.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        while len(body) < length:
            part = connection.recv(1 << 16)
            assert part, "half an answer"
            body += part
    return int(first.split()[1]), body


def family(pid: int) -> list[int]:
    """A process and all that came of it."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += map(int, (task / "children").read_text().split())
    return [pid, *(found for child in children for found in family(child))]


def taken(pid: int) -> tuple[int, int]:
    """Open files of a server's own process, and the kilobytes that it has in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    memory = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return len(os.listdir(f"/proc/{pid}/fd")), int(memory.split()[1])


class Load:
    """Requests, and what must be answered to each."""

    def __init__(self, client, folder, run, capsys) -> None:
        self.client, self.statuses = client, Counter()
        paths = [
            write_faces_video(folder / f"{n}.mp4", steady(1 + n / 4), one_face) for n in range(3)
        ]
        self.clips = [path.read_bytes() for path in paths]
        options = ["--json", "--train.precision", "fp32"]
        capsys.readouterr()
        assert predict([str(run), *map(str, paths), *options]) == 0
        self.predicted = [row["probabilities"] for row in json.loads(capsys.readouterr().out)]
        found = [Analyzer(run, window=1.0).analyze(path) for path in paths]
        self.analyzed = [[list(w.probabilities) for w in one.windows] for one in found]

    def ask(self, number: int) -> None:
        """One request, and all that belongs to it."""
        route = ROUTES[number % 4 == 0]
        if number % 3 == 0:
            self.nonsense(list(NONSENSE)[number // 3 % len(NONSENSE)], ROUTES[number % 2])
        elif route == ROUTES[0]:
            self.clip(number % len(self.clips))
        else:
            self.job(number % len(self.clips))

    def nonsense(self, name: str, route: str) -> None:
        make, expected = NONSENSE[name]
        status, body = told(self.client.port, make(route))
        self.statuses[status] += 1
        assert status in expected, (name, status, body)
        assert len(json.loads(body)["detail"]) > 10, name

    def clip(self, number: int) -> None:
        status, body = self.client.ask("POST", ROUTES[0], self.clips[number])
        assert status == 200, body
        self.statuses[status] += 1
        assert json.loads(body)["probabilities"] == pytest.approx(self.predicted[number], abs=1e-5)

    def job(self, number: int) -> None:
        name = self.client.job(self.clips[number])
        assert self.client.ended(name) == "done"
        self.statuses[202] += 1
        (track,) = self.client.state(name)["result"]["tracks"]
        windows = [list(window["probabilities"].values()) for window in track["windows"]]
        assert len(windows) == len(self.analyzed[number])
        for window, expected in zip(windows, self.analyzed[number], strict=True):
            assert window == pytest.approx(expected, abs=1e-5)
        assert self.client.ask("DELETE", f"/api/jobs/{name}")[0] == 204

    def all(self, requests: int) -> None:
        order = list(range(requests))
        random.Random(5).shuffle(order)
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(self.ask, order))


@pytest.mark.slow
def test_200_requests_of_8_clients(tiny_run, tmp_path, capsys):
    folder = tmp_path / "served"
    with served(tiny_run, folder, *LIMITS) as (process, client, log):
        load = Load(client, tmp_path, tiny_run, capsys)
        load.all(KINDS)  # what is allocated once is allocated now
        files, memory = taken(process.pid)
        load.all(REQUESTS)
        time.sleep(3)  # connections that linger
        files_after, memory_after = taken(process.pid)
        assert sum(load.statuses.values()) == KINDS + REQUESTS
        assert files_after <= files
        assert memory_after < 1.1 * memory
        assert list(folder.glob("*/*")) == []
        everybody = family(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        assert said(log) == ["stopped; results are kept for their time"]
        for pid in everybody[1:]:
            gone(Path(f"/proc/{pid}"))
