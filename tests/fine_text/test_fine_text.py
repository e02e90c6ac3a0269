"""The command against a local endpoint that fails in every way; nothing is paid for twice."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tiny_runs import CLASSES, write_config

from peclip_fast.fine_text.__main__ import main


class Llm(ThreadingHTTPServer):
    """Plays ``failures`` first, then answers; counts the good answers by their images."""

    failures: list[str]
    paid: Counter[str]
    requests = 0


class _Handler(BaseHTTPRequestHandler):
    server: Llm

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests += 1
        failure = self.server.failures.pop(0) if self.server.failures else ""
        if failure == "late":
            time.sleep(1.5)
            return
        if failure.isdigit():
            self._send(int(failure), b"{}")
        elif failure == "broken":
            self._send(200, b'{"choices": [')
        else:
            self.server.paid[json.dumps(body["messages"])] += 1
            reply: dict[str, Any] = {"choices": [{"message": {"content": "A happy mouth opens."}}]}
            reply["usage"] = {"prompt_tokens": 10, "completion_tokens": 5}
            self._send(200, json.dumps(reply).encode())

    def _send(self, code: int, data: bytes) -> None:
        self.send_response(code)
        if code == 429:
            self.send_header("Retry-After", "0.2")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def llm() -> Iterator[Llm]:
    server = Llm(("127.0.0.1", 0), _Handler)
    server.failures, server.paid = [], Counter()
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def command(llm: Llm, clips: Path, folder: Path, *options: str) -> list[str]:
    config = write_config(folder / "tiny.yaml", "none", clips)
    url = f"http://127.0.0.1:{llm.server_port}/v1"
    return [
        *(str(config), "--endpoint", url, "--llm", "test", "--output", str(folder / "fine.jsonl")),
        *("--timeout", "0.5", "--backoff", "0.01", "--frames", "2", *options),
    ]


def test_failures_are_retried_and_nothing_is_paid_for_twice(
    llm: Llm, tiny_clips: Path, tmp_path: Path
) -> None:
    llm.failures = ["late", "429", "broken", "503", "429", "broken"]
    assert main(command(llm, tiny_clips, tmp_path, "--limit", "10")) == 1
    answers = tmp_path / "fine.answers.jsonl"
    assert len(answers.read_text().splitlines()) == 10
    with open(answers, "a") as file:
        file.write('{"clip": "torn')  # as a kill leaves it
    assert main(command(llm, tiny_clips, tmp_path)) == 0
    assert len(llm.paid) == 24
    assert set(llm.paid.values()) == {1}
    asked = llm.requests
    assert main(command(llm, tiny_clips, tmp_path)) == 0
    assert llm.requests == asked
    rows = [json.loads(line) for line in (tmp_path / "fine.jsonl").read_text().splitlines()]
    assert len(rows) == 24
    assert {row["text"] for row in rows} == {"A mouth opens."}
    assert (tmp_path / "fine.removals.csv").read_text().count(",happy,happiness,") == 24


def test_a_refusal_of_one_clip_is_told_and_not_retried(
    llm: Llm, tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llm.failures = ["400"]
    assert main(command(llm, tiny_clips, tmp_path)) == 1
    assert llm.requests == 24
    assert "HTTP 400" in capsys.readouterr().err


def test_a_wrong_key_ends_the_run(
    llm: Llm, tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llm.failures = ["401"] * 24
    assert main(command(llm, tiny_clips, tmp_path)) == 2
    assert llm.requests <= 8
    assert "HTTP 401" in capsys.readouterr().err


def test_texts_by_hand_go_through_the_same_filter(
    llm: Llm, tiny_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "tiny.yaml", "none", tiny_clips)
    hand, output = tmp_path / "hand.jsonl", tmp_path / "fine.jsonl"
    clip = rf"D:\\clips\\train\\{CLASSES[0]}\\000"
    line = f'{{"clip": "{clip}", "text": "A sad-looking brow sinks."}}\n'
    hand.write_text(line)
    arguments = [str(config), "--texts", str(hand), "--output", str(output)]
    assert main(arguments) == 1
    assert "1 of 24 clips have a text" in capsys.readouterr().err
    assert json.loads(output.read_text())["text"] == "A brow sinks."
    hand.write_text(line * 2)
    assert main(arguments) == 2
    assert "hand.jsonl:2: " in capsys.readouterr().err
