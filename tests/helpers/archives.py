"""Lists of short videos, some of them broken, and commands that analyze them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from helpers.clips.face_videos import one_face, steady, write_faces_video


def write_archive(folder: Path, good: int, broken: int) -> Path:
    """A list of so many videos, whose broken ones are among the others; one comes twice."""
    folder.mkdir(parents=True)
    kinds = [
        write_faces_video(folder / f"kind{k}.mp4", steady(1.5 + 0.25 * k), one_face)
        for k in range(3)
    ]
    data = [path.read_bytes() for path in kinds]
    for path in kinds:
        path.unlink()
    rows = ["source,place"]
    for number in range(good + broken):
        path = folder / f"v{number:03d}.mp4"
        whole = data[number % 3]
        is_broken = number % ((good + broken) // max(1, broken)) == 1 and broken > 0
        path.write_bytes(whole[: len(whole) // 3] if is_broken else whole)
        rows.append(f"{path.name},{number}")
    rows.append(rows[1])
    listed = folder / "list.csv"
    listed.write_text("\n".join(rows) + "\n")
    return listed


def analyzing(run: Path, listed: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    """The command, with one thread in each process."""
    return subprocess.Popen(
        [sys.executable, "-m", "peclip_fast", "analyze", str(run), "--sources", str(listed),
         "--output", str(output), "--window", "1", "--shard", "5", *options],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def files_of(output: Path) -> dict[str, bytes]:
    """All that an archive's folder holds, but for the ledger, whose rows manifest.csv has."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and not path.name.startswith("archive.sqlite")
    }
