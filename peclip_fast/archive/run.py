"""An archive from its list to its tables."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

from peclip_fast.analyze.pipeline.sources import VideoSource
from peclip_fast.archive.account import DONE, Account, Counts
from peclip_fast.archive.engines import Engine
from peclip_fast.archive.progress import Progress
from peclip_fast.archive.shards import ShardWriter
from peclip_fast.archive.work import Order, VideoEnd
from peclip_fast.errors import printable
from peclip_fast.files import beside, clear_partial

MANIFEST = "manifest.csv"
_HEADINGS = ("source", "state", "reason", "folder", "people", "frames", "faces")


def analyze_archive(
    sources: Iterable[VideoSource],
    output: Path,
    order: Order,
    shard: int,
    engine: Callable[[], Engine],
    tell: Callable[[str], None],
) -> Counts:
    """Analyze all that isn't done yet, and give how things stand then.

    Args:
        sources: the list.
        output: gets the account, a folder for each video, the tables as Parquet, and manifest.csv.
        order: what is asked for of each video.
        shard: videos in each file of a table.
        engine: starts who does the work, if there is any.
        tell: gets a line on each video that failed, and on how things stand.

    Raises:
        InputError: the list or the output folder can't be used.
        OSError: results can't be written.
        Stopped: by a signal; the same command goes on.
    """
    account = Account(output, order.about, shard)
    try:
        counts = account.take_down(sources)
        again = f", {counts.again} listed more than once" if counts.again else ""
        tell(f"{counts.left} videos to analyze, {counts.done} done before{again}")
        shards = ShardWriter(account, order.recipe.classes, order.speech)
        clear_partial([output / MANIFEST])
        for number in account.unwritten():  # whose writing was cut off
            shards.write(number)
        try:
            if counts.left:
                _work(account, shards, engine(), counts.left, tell)
        finally:
            _write_manifest(account, output / MANIFEST)
        return account.counts()
    finally:
        account.close()


def _work(
    account: Account, shards: ShardWriter, engine: Engine, left: int, tell: Callable[[str], None]
) -> None:
    progress = Progress(left, tell)
    on_their_way = 0

    def note(ended: VideoEnd) -> None:
        nonlocal on_their_way
        on_their_way -= 1
        account.end(ended)
        progress.end(ended.error)
        shard = ended.number // account.shard
        if account.to_write(shard):
            shards.write(shard)

    try:
        for task in account.left():
            if on_their_way >= engine.slots:
                note(engine.take())
            engine.submit(task)
            on_their_way += 1
        while on_their_way:
            note(engine.take())
    finally:
        progress.close()
        engine.close()


def _write_manifest(account: Account, path: Path) -> None:
    """A row for each video that is asked for."""
    with (
        beside(path) as side,
        open(side, "w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_HEADINGS)
        for row in account.rows():
            found: list[object] = [""] * 4
            if row.state == DONE:
                folder = account.folder(row.number, row.source).relative_to(account.output)
                found = [folder, row.people, row.frames, row.faces]
            reason = printable(row.reason or "")
            writer.writerow([row.source, row.state, reason, *found])
