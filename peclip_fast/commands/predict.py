"""``python -m peclip_fast.predict RUN clip.mp4 ...``: class probabilities of any clips."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from peclip_fast.commands.clips import open_files
from peclip_fast.commands.running import run_command
from peclip_fast.config.layers import read_yaml
from peclip_fast.config.parser import make_parser, read_arguments, resolve
from peclip_fast.engine.distributed import World, set_up
from peclip_fast.engine.run import predict_clips
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.models.pretrained import from_pretrained

DESCRIPTION = """Class probabilities of video files, or of folders of frames, by a run's model.
If any of them can't be read, the command names it, prints nothing else and ends with code 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_predict, argv)


def _predict(argv: list[str]) -> None:
    parser = make_parser("predict", DESCRIPTION, "RUN CLIP [CLIP ...] [--json] [option ...]")
    parser.add_argument("run", type=str, help="the run folder")
    parser.add_argument("clips", type=str, nargs="+", help="video files or folders of frames")
    parser.add_argument("--json", action="store_true", help="print a JSON list, not a table")
    arguments = read_arguments(parser, argv)
    run = RunFolder(Path(arguments.run))
    run.check_trained()
    config = resolve(parser, argv, [(str(run.config), read_yaml(run.config))])
    device = set_up(config.train, World.from_environment())
    model = from_pretrained(run.model, **asdict(config.model))
    records = open_files(arguments.clips, config, model.inputs)
    predictions = predict_clips(model, records, config, device)
    rows = [
        {
            "path": clip,
            "prediction": model.classes[best],
            "probabilities": dict(zip(model.classes, probabilities, strict=True)),
        }
        for clip, best, probabilities in zip(
            arguments.clips,
            predictions.classes.tolist(),
            predictions.probabilities.tolist(),
            strict=True,
        )
    ]
    print(json.dumps(rows, indent=1) if arguments.json else _table(rows, model.classes))
    if config.demo:
        print("a model of the built-in demo: trained on rendered faces", file=sys.stderr)


def _table(rows: list[dict], classes: Sequence[str]) -> str:
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


if __name__ == "__main__":
    sys.exit(main())
