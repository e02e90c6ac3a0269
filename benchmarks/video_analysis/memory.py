"""The memory of the command on a long video, while it runs."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.video_analysis.repeating import write_repeated

_EARLY = 600.0  # seconds of the video after which memory should be what it is at the end
_LOOKS = 1.0  # seconds between two looks at the memory


def of_long_video(run: Path, video: Path, minutes: float) -> list[dict[str, Any]]:
    """One row: memory after ten minutes of the video (a quarter of a shorter one), and at most."""
    with tempfile.TemporaryDirectory() as name:
        long, output = Path(name) / "long.mp4", Path(name) / "out"
        write_repeated(video, long, minutes)
        command = [sys.executable, "-m", "peclip_fast", "analyze", str(run), str(long),
                   "--output", str(output)]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        table, early, most, last = output / "long" / "frames.csv", 0, 0, 0
        begin = time.perf_counter()
        while process.poll() is None:
            size = _resident(process.pid)
            if _time_of_last_row(table) > min(_EARLY, 15 * minutes):
                early = early or size
                most, last = max(most, size), size or last
            time.sleep(_LOOKS)
        took = time.perf_counter() - begin
        if process.returncode:
            raise SystemExit(f"analyze: ended with {process.returncode}")
        with table.open(newline="") as file:
            frames = 1 + max(int(row["frame"]) for row in csv.DictReader(file))
    print(f"{early / 1e6:.1f} MB early, {last / 1e6:.1f} MB at the end, {most / 1e6:.1f} at most")
    return [{
        "what": f"a video of {minutes:g} minutes", "program": "ours, demo model",
        "per_s": frames / took, "unit": "frames", "early_bytes": early, "last_bytes": last,
        "most_bytes": most, "times_faster_than": {},
    }]  # fmt: skip


def _resident(process: int) -> int:
    """Bytes in memory; 0 of a process that has ended."""
    try:
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 0


def _time_of_last_row(table: Path) -> float:
    """Seconds; 0 before there is a row."""
    if not table.is_file():
        return 0.0
    with table.open("rb") as file:
        file.seek(max(0, table.stat().st_size - 4096))
        lines = file.read().split(b"\n")
    try:
        return float(lines[-2].split(b",")[1])
    except (IndexError, ValueError):
        return 0.0
