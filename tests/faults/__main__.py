"""``PYTHONPATH=tests python -m faults``: all campaigns, for an hour or as long as one likes.

A slice of each campaign comes after a slice of the one before, so that all have had their part
whenever the time is up. Twenty slices are what docs/reliability.md has its figures of. The results
go to benchmarks/results, from which ``python -m benchmarks.report`` makes the table. What isn't
right is printed, with the numbers that make it again by ``--only NAME --seed S --numbers N``, and
its inputs are kept.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, in all processes
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import open_clip
import torch
from faults.campaign import Campaign, Tally
from faults.clips import DamagedFrames, DamagedVideos
from faults.disturbed import CAMPAIGNS, Scene
from faults.stored import stored_files
from faults.texts import readers
from helpers.models.tiny_backbone import TINY
from helpers.tiny_runs import write_clips

from benchmarks.measure.record import RESULTS, write
from peclip_fast.models.backbone import save_backbone


def campaigns(folder: Path) -> Iterator[Campaign]:
    """All of them, with what they need below the folder."""
    torch.manual_seed(1)
    save_backbone(open_clip.CLIP(**TINY), TINY, folder / "backbone")
    scene = Scene(folder / "runs", folder / "backbone", write_clips(folder / "clips"))
    yield from readers(folder / "texts")
    yield DamagedVideos(folder / "videos")
    yield DamagedFrames(folder / "frames")
    (folder / "stored").mkdir()
    yield from stored_files(folder / "stored", scene.whole(0).run, folder / "backbone")
    yield from (kind(scene) for kind in CAMPAIGNS)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no slice begins")
    parser.add_argument("--slices", type=int, help="as many slices, however long they take")
    parser.add_argument("--seed", type=int, default=0, help="of all inputs")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these campaigns")
    parser.add_argument("--numbers", nargs="+", type=int, metavar="N", help="these inputs")
    parser.add_argument("--kept", type=Path, default=Path("runs/faults"), metavar="FOLDER",
                        help="for inputs that show a fault")  # fmt: skip
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER")
    return parser.parse_args()


def tell(tally: Tally, since: int) -> None:
    """A line for a campaign, and the findings that came after so many."""
    print(
        f"{tally.name:<14} {tally.inputs:>6} inputs  {tally.refused:>6} refused  "
        f"{tally.accepted:>6} right  slowest {tally.slowest:.2f} s  {len(tally.findings)} findings",
        flush=True,
    )
    known = {finding.kind for finding in tally.findings[:since]}
    for finding in tally.findings[since:]:
        if finding.kind not in known:
            known.add(finding.kind)
            print(f"  {finding.kind} (number {finding.number})\n    ", end="")
            print("\n    ".join(finding.said.splitlines()[-8:]), flush=True)


def main() -> int:
    """The exit code: 1 where anything was found."""
    given, begin = arguments(), time.monotonic()
    with tempfile.TemporaryDirectory() as made:
        os.environ["XDG_CACHE_HOME"] = str(Path(made) / "cache")
        chosen = [c for c in campaigns(Path(made)) if not given.only or c.name in given.only]
        tallies = [Tally(campaign.name, given.seed, given.kept) for campaign in chosen]
        slices = range(given.slices) if given.slices else itertools.count()
        for part in [0] if given.numbers else slices:
            for campaign, tally in zip(chosen, tallies, strict=True):
                numbers = range(part * campaign.share, (part + 1) * campaign.share)
                since = len(tally.findings)
                campaign.run(given.numbers or numbers, tally)
                tell(tally, since)
            minutes = (time.monotonic() - begin) / 60
            print(f"slice {part + 1}, {minutes:.1f} minutes", flush=True)
            if not given.only:
                rows = [
                    {"title": campaign.title, **tally.row()}
                    for campaign, tally in zip(chosen, tallies, strict=True)
                ]
                facts = {"seed": given.seed, "minutes": round(minutes, 1)}
                write("faults", torch.device("cpu"), rows, given.results, **facts)
            if not given.slices and minutes > given.minutes:
                break
    return int(any(tally.findings for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
