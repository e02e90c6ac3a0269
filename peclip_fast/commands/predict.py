"""``peclip-fast predict RUN CLIP ...``: class probabilities of any clips."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from peclip_fast.commands.options import OF_FILES, run_line
from peclip_fast.commands.running import run_command
from peclip_fast.config.run import RunConfig
from peclip_fast.engine.run_folder import RunFolder

DESCRIPTION = """Class probabilities of video files, or of folders of frames, by a run's model. If
any of them can't be read, the command names it, prints nothing else and ends with code 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_predict, argv)


def _predict(argv: list[str]) -> None:
    line = run_line("predict", DESCRIPTION, "RUN CLIP [CLIP ...] [--json] [options]", OF_FILES)
    line.add("run", metavar="RUN", help="the run folder")
    line.add("clips", metavar="CLIP", nargs="+", help="video files or folders of frames")
    line.add("--json", action="store_true", help="print a JSON list, not a table")
    given = line.read(argv)
    run = RunFolder(Path(given.own.run))
    config = given.of_run(run)
    rows = predictions(run, config, given.own.clips)
    print(json.dumps(rows, indent=1) if given.own.json else _table(rows))
    if config.demo:
        print("a model of the built-in demo: trained on rendered faces", file=sys.stderr)


def predictions(run: RunFolder, config: RunConfig, clips: Sequence[str]) -> list[dict]:
    """Path, predicted class and the probability of each class, of every clip."""
    from peclip_fast.data.splits import open_files
    from peclip_fast.engine.distributed import World, set_up
    from peclip_fast.engine.run import predict_clips
    from peclip_fast.models.pretrained import from_pretrained

    device = set_up(config.train, World.from_environment())
    model = from_pretrained(run.model, **asdict(config.model))
    records = open_files(clips, config.data, model.inputs)
    found = predict_clips(model, records, config, device)
    answers = zip(clips, found.classes.tolist(), found.probabilities.tolist(), strict=True)
    return [
        {
            "path": clip,
            "prediction": model.classes[best],
            "probabilities": dict(zip(model.classes, probabilities, strict=True)),
        }
        for clip, best, probabilities in answers
    ]


def _table(rows: list[dict]) -> str:
    classes = list(rows[0]["probabilities"])
    width = max(len("clip"), *(len(row["path"]) for row in rows))
    widths = [max(len(name), 6) for name in classes]
    heads = "  ".join(f"{name:>{w}}" for name, w in zip(classes, widths, strict=True))
    best = max(len("prediction"), *map(len, classes))
    lines = [f"{'clip':<{width}}  {'prediction':<{best}}  {heads}"]
    for row in rows:
        values = zip(row["probabilities"].values(), widths, strict=True)
        cells = "  ".join(f"{p:>{w}.1%}" for p, w in values)
        lines.append(f"{row['path']:<{width}}  {row['prediction']:<{best}}  {cells}")
    return "\n".join(lines)
