"""``peclip-fast analyze RUN SOURCE ...``: who shows what, when, in any video."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from peclip_fast.commands.shared.archives import add_archive_options, check_archive_options
from peclip_fast.commands.shared.options import (
    OF_MACHINE,
    CommandLine,
    positive,
    required,
    run_line,
)
from peclip_fast.commands.shared.running import run_command
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.files import check_writable
from peclip_fast.locks import locked
from peclip_fast.stopping import Stopped

if TYPE_CHECKING:
    from peclip_fast.analyze.batch import Outcome

DESCRIPTION = """Find the faces in videos, follow each, and say what it shows, window by window, by
a run's model. SOURCE is a file, a folder or a pattern of files, camera:0, rtsp://..., or - for
standard input. Each source gets a folder with frames.csv (a row for every face in every frame),
windows.csv, tracks.csv, run.json (the model, the crop, the detector and its licence), a timeline
and a page to look at (timeline.png, report.html). Times are
the frames' own, in seconds, as ffprobe prints them. The same command again goes on where one was
ended. A source that can't be read is named and skipped; the command then ends with code 1. With
--sources it takes archives of any size, and shares them among processes or machines by Ray."""
SOURCES_FAILED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_analyze, argv)


def _analyze(argv: list[str]) -> int:
    line = run_line(
        "analyze",
        DESCRIPTION,
        "RUN (SOURCE [SOURCE ...] | --sources LIST ...) [options]",
        OF_MACHINE,
    )
    _add_options(line)
    given = line.read(argv)
    options = given.own
    check_archive_options(options)
    _check_span(options.start, options.end)
    output = required("output", options.output, "the folder of the results")
    run = RunFolder(Path(options.run))
    config = given.of_run(run)
    check_writable(output)

    from peclip_fast.analyze.analyzer import AnalyzeOptions, Analyzer
    from peclip_fast.analyze.batch import Batch
    from peclip_fast.analyze.outputs.make import Wanted, make_outputs
    from peclip_fast.analyze.pipeline.sources import TimeSpan, find_sources

    wanted = Wanted(tuple(options.formats), options.video)
    span = TimeSpan(options.start, options.end, options.every)
    chosen = AnalyzeOptions(
        **{name: getattr(options, name) for name in AnalyzeOptions.__dataclass_fields__}
    )
    if options.listed is not None:
        from peclip_fast.archive.command import run_archive

        failed = run_archive(options, output, run, config, chosen, wanted, span)
        return SOURCES_FAILED if failed else 0
    sources = find_sources(options.sources)
    for source in sources:
        if options.video and not source.is_file:
            raise InputError(f"--video: {source.name} is no file that can be read again")
    analyzer = Analyzer(run, options=chosen, config=config)
    for weights in (analyzer.finder.detector.weights, analyzer.finder.mesh.weights):
        print(f"faces by {weights.name}; licence of the weights: {weights.licence}",
              file=sys.stderr)  # fmt: skip
    batch = Batch(
        analyzer, output, span, lambda folder: make_outputs(folder, wanted), options.speech
    )
    with locked(output):
        try:
            outcomes = batch.run(sources)
        except Stopped as stopped:
            advice = stopped.advice or "the same command goes on"
            raise Stopped(stopped.number, advice) from None
    return _told(outcomes, output)


def _add_options(line: CommandLine) -> None:
    add = line.add
    add("run", metavar="RUN", help="the run folder")
    add("sources", metavar="SOURCE", nargs="*", help="videos, folders of them, a camera, a stream")
    add("--output", metavar="FOLDER", default="analysis", help="gets a folder for each source")
    add("--window", type=float, metavar="SECONDS",
        help="length of a window; that of the training clips unless given")  # fmt: skip
    add("--stride", type=float, metavar="SECONDS",
        help="from one window to the next; half a window unless given")  # fmt: skip
    add("--from", dest="start", type=float, metavar="SECONDS", help="where to begin")
    add("--to", dest="end", type=float, metavar="SECONDS", help="where to end")
    add("--every", type=int, default=1, metavar="N", help="look at each N-th frame")
    add("--min_face", type=float, default=0.0, metavar="PIXELS", help="smallest height of a face")
    add("--max_faces", type=int, metavar="N", help="most faces in a frame, the largest ones")
    add("--smooth", type=float, default=0.0, metavar="SECONDS",
        help="smooth a face's probabilities over so long")  # fmt: skip
    add("--detector", default="blazeface", metavar="NAME",
        help="blazeface, centerface, or a file of CenterFace's weights (ONNX)")  # fmt: skip
    add("--whole_frame", action="store_true",
        help="the model sees whole frames, as with predict; for videos of crops")  # fmt: skip
    add("--formats", nargs="+", default=[], metavar="NAME",
        help="other programs' files too: jsonl, boris, eaf")  # fmt: skip
    add("--video", action="store_true", help="also write the video with boxes and labels in it")
    add("--speech", action="store_true", help="mark when there is speech, as talking moves mouths")
    add_archive_options(line.parser)


def _check_span(start: float | None, end: float | None) -> None:
    if start is not None and not 0 <= start < float("inf"):
        raise InputError(f"--from {start:g}: expected seconds from the start of the video")
    positive("to", end)
    if start is not None and end is not None and start >= end:
        raise InputError(f"--to {end:g}: expected more than --from {start:g}")


def _told(outcomes: Sequence[Outcome], output: Path) -> int:
    """Print what became of the sources; the exit code."""
    bad = [outcome for outcome in outcomes if outcome.error is not None]
    if len(bad) == len(outcomes):
        others = f" (and {len(bad) - 1} more sources)" if len(bad) > 1 else ""
        raise InputError(f"{bad[0].error}{others}")
    width = max(len("source"), *(len(outcome.source.name) for outcome in outcomes))
    print(f"{'source':<{width}}  faces followed  frames  with a face")
    for outcome in outcomes:
        if outcome.error is None:
            found = f"{outcome.people:>14}  {outcome.frames:>6}  {outcome.faces:>11}"
            print(f"{outcome.source.name:<{width}}  {found}{'  (kept)' if outcome.kept else ''}")
            if not outcome.people:
                print(f"{outcome.source.name}: no face found")
            for note in outcome.notes:
                print(f"warning: {outcome.source.name}: {note}", file=sys.stderr)
    for outcome in bad:
        print(f"skipped: {outcome.error}", file=sys.stderr)
    print(f"written to {output}", file=sys.stderr)
    return SOURCES_FAILED if bad else 0
