"""``python -m benchmarks.video_analysis RUN VIDEO``: how fast a video is analyzed, and many clips.

Frames a second of one video: the faces alone (found, followed, cropped), with the expression model
of RUN, with a PE-CLIP on ViT-B/16 (random weights take as long), and other packages, each by an
interpreter that has it: ``--peer fer=/venvs/fer/bin/python``. Programs take turns.

Clips a second of many short clips: by one command, and by a command for each. The tables of the
clips must be the same, probabilities to the rounding of other batches. With ``--minutes`` the
memory of a long video (``memory.py``).
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure.record import RESULTS, place, rows_kept, write
from benchmarks.video_analysis import memory, peers
from benchmarks.video_analysis.repeating import write_parts
from peclip_fast import Analyzer, create_model
from peclip_fast.analyze.pipeline.classify import Deliver, WindowQueue
from peclip_fast.analyze.pipeline.looking import look_ahead
from peclip_fast.analyze.pipeline.session import Windows
from peclip_fast.analyze.pipeline.sources import OpenVideo, VideoSource
from peclip_fast.analyze.pipeline.windows import Window
from peclip_fast.analyze.tables import Collector

FACES, MODEL, LARGE = "ours, faces alone", "ours, demo model", "ours, PE-CLIP on ViT-B/16"
ONE, EACH = "one command", "a command for each clip"
TABLES = ("frames.csv", "windows.csv", "tracks.csv")
NEAR = 1e-5  # probabilities that are the same
Rate = Callable[[], dict[str, Any]]


class NoModel:
    """Windows that nobody looks at; ``Windows`` of a session."""

    def put(self, window: Window, deliver: Deliver) -> None:
        """Say nothing of it."""
        deliver(window, None)

    def poll(self) -> None:
        """Nothing waits."""


def frames_per_s(analyzer: Analyzer, queue: Windows, video: Path, frames: int) -> dict[str, Any]:
    """Of the first frames of a video, with all that they need, in this process."""
    begin, rows = time.perf_counter(), Collector()
    session = analyzer.session(rows, queue)
    source = OpenVideo(VideoSource(str(video)))
    for looked in look_ahead(islice(source, frames), analyzer.finder):
        session.push(looked)
    session.end()
    if isinstance(queue, WindowQueue):
        queue.flush()
    session.finish()
    source.close()
    took = time.perf_counter() - begin
    found = len({row.frame for row in rows.frames if row.success}) / session.frames
    return {"frames_per_s": session.frames / took, "found": found}


def large_model(like: Analyzer) -> Analyzer:
    """A PE-CLIP as large as the published one, that takes what another analyzer takes."""
    model = create_model(classes=like.classes).eval()
    return Analyzer(model, "cpu", crop=like.crop, window=like.windows.seconds)


def of_peer(program: str, python: Path, video: Path, seconds: float) -> dict[str, Any]:
    """Frames a second of another package."""
    command = [str(python), peers.__file__, program, str(video), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program}: {done.stderr.strip().splitlines()[-1]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def of_video(
    run: Path, video: Path, pythons: Mapping[str, Path], seconds: float, turns: int
) -> list[dict[str, Any]]:
    """A row for each program."""
    analyzer = Analyzer(run, "cpu")
    large = large_model(analyzer)
    frames = 1 << 30
    programs: dict[str, Rate] = {
        FACES: lambda: frames_per_s(analyzer, NoModel(), video, frames),
        MODEL: lambda: frames_per_s(analyzer, analyzer.queue(), video, frames),
        LARGE: lambda: frames_per_s(large, WindowQueue(large.classifier, 4), video, frames),
    }
    for name, (package, _) in peers.PROGRAMS.items():
        if package in pythons:
            programs[name] = lambda name=name, package=package: of_peer(  # type: ignore[misc]
                name, pythons[package], video, seconds
            )
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in programs}
    for _ in range(turns):
        for name, rate in programs.items():
            taken[name].append(rate())
            print(f"{name:<32}{taken[name][-1]['frames_per_s']:>8.1f} frames/s", flush=True)
    rates = {n: statistics.median(one["frames_per_s"] for one in t) for n, t in taken.items()}
    return [
        {
            "what": "a video", "program": name, "per_s": rates[name], "unit": "frames",
            "found": min(one["found"] for one in found), "turns": turns,
            "version": found[0].get("version"),
            "times_faster_than": {
                other: rates[name] / rates[other] for other in programs if other != name
            },
        }
        for name, found in taken.items()
    ]  # fmt: skip


def command_on(run: Path, clips: list[Path], output: Path) -> float:
    """Seconds that the command takes."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "peclip_fast", "analyze", str(run), *map(str, clips),
               "--output", str(output), "--window", "1"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"analyze: {done.stderr.strip()}")
    return time.perf_counter() - begin


def alike(one: Path, other: Path) -> bool:
    """Whether two tables are the same, probabilities to the rounding of other batches."""
    first, second = (list(csv.DictReader(path.open(newline=""))) for path in (one, other))
    return len(first) == len(second) and all(
        a[key] == b[key]
        or (key[:2] == "p_" and a[key] and b[key] and abs(float(a[key]) - float(b[key])) < NEAR)
        for a, b in zip(first, second, strict=True)
        for key in a
    )


def of_clips(run: Path, video: Path, count: int, compared: int, turns: int) -> list[dict[str, Any]]:
    """A row for one command on all, and one for a command each, of which some are run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = write_parts(video, folder / "clips", count, 1.0)
        chosen = clips[:: max(1, count // compared)][:compared]
        at_once, each = [], []
        for turn in range(turns):
            at_once.append(command_on(run, clips, folder / f"all-{turn}") / count)
            print(f"{ONE:<32}{1 / at_once[-1]:>8.2f} clips/s", flush=True)
            for clip in chosen:
                each.append(command_on(run, [clip], folder / f"each-{turn}"))
                for table in TABLES:
                    ways = (folder / f"{way}-{turn}" / clip.stem / table for way in ("all", "each"))
                    if not alike(*ways):
                        raise SystemExit(f"{clip.name}: {table} is another")
            print(f"{EACH:<32}{1 / statistics.median(each):>8.2f} clips/s", flush=True)
    times = {ONE: statistics.median(at_once), EACH: statistics.median(each)}
    return [
        {
            "what": f"{count} clips of 1 s", "program": name, "per_s": 1 / times[name],
            "unit": "clips", "turns": turns, "commands": len(each) if name == EACH else turns,
            "times_faster_than": {
                other: times[other] / times[name] for other in times if other != name
            },
        }
        for name in times
    ]  # fmt: skip


def main() -> None:
    """Measure and write; parts that were not asked for stay as they are."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--peer", action="append", default=[], metavar="PACKAGE=PYTHON")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn of a peer")
    parser.add_argument("--turns", type=int, default=3, help="0 leaves out the video")
    parser.add_argument("--clips", type=int, default=100, help="0 leaves them out")
    parser.add_argument("--commands", type=int, default=5, help="of one clip, in each turn")
    parser.add_argument("--minutes", type=float, default=0.0, help="of a long video")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    pythons = {name: Path(path) for name, _, path in (one.partition("=") for one in options.peer)}
    run, video = options.run.absolute(), options.video.absolute()
    rows: list[dict[str, Any]] = []
    if options.turns:
        rows += of_video(run, video, pythons, options.seconds, options.turns)
    if options.clips:
        rows += of_clips(run, video, options.clips, options.commands, 2)
    if options.minutes:
        rows += memory.of_long_video(run, video, options.minutes)
    device = torch.device("cpu")
    path = place("video_analysis", device, options.output)
    print(write("video_analysis", device, rows_kept(path, rows, ("what",)), options.output))
