"""Calls of the command, and what it leaves."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from helpers.llm_server import Llm
from helpers.tiny_runs import write_config

CLIPS = 24


def arguments(llm: Llm, clips: Path, folder: Path, *options: str) -> list[str]:
    config = write_config(folder / "tiny.yaml", "none", clips)
    return [
        *(str(config), "--endpoint", llm.url, "--llm", "test"),
        *("--output", str(folder / "fine.jsonl"), "--timeout", "20", "--backoff", "0.01"),
        *("--frames", "2", *options),
    ]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def removals(folder: Path) -> list[dict[str, str]]:
    with open(folder / "fine.removals.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def paid_once(llm: Llm, clips: int = CLIPS) -> None:
    assert len(llm.paid) == clips
    assert set(llm.paid.values()) == {1}
