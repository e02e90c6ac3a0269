"""``peclip-fast predict RUN CLIP ...``: class probabilities of any clips."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from peclip_fast.commands.shared.options import OF_FILES, CommandLineValues, run_line
from peclip_fast.commands.shared.running import run_command
from peclip_fast.config.run import RunConfig
from peclip_fast.engine.run_folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor

    from peclip_fast.faces.crop import CropProfile
    from peclip_fast.faces.finder import FaceFinder

DESCRIPTION = """Class probabilities of video files, or of folders of frames, by a run's model. If
any of them can't be read, the command names it, prints nothing else and ends with code 2. RUN may
also be a file that `peclip-fast export` wrote."""

_TOLD = 3  # clips that look uncropped and are named


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_predict, argv)


def _predict(argv: list[str]) -> None:
    line = run_line("predict", DESCRIPTION, "RUN CLIP [CLIP ...] [--json] [options]", OF_FILES)
    line.add("run", metavar="RUN", help="the run folder, or an exported file")
    line.add("clips", metavar="CLIP", nargs="+", help="video files or folders of frames")
    line.add("--json", action="store_true", help="print a JSON list, not a table")
    given = line.read(argv)
    path, clips = Path(given.own.run), given.own.clips
    if path.is_file():
        rows, config, crop = _by_exported(path, given)
        warned = _uncropped(clips, "RUN", lambda finder: crop)
    else:
        run = RunFolder(path)
        config = given.of_run(run)
        rows = predictions(run, config, clips)
        warned = _uncropped(clips, str(path), functools.partial(_crop_of, run, config))
    print(json.dumps(rows, indent=1) if given.own.json else _table(rows))
    for warning in warned:
        print(f"warning: {warning}", file=sys.stderr)
    if config.demo:
        print("a model of the built-in demo: trained on rendered faces", file=sys.stderr)


def predictions(run: RunFolder, config: RunConfig, clips: Sequence[str]) -> list[dict]:
    """Path, predicted class and the probability of each class, of every clip."""
    from peclip_fast.data.splits import open_files
    from peclip_fast.engine.distributed import World, set_up
    from peclip_fast.engine.evaluation import predict_clips
    from peclip_fast.models.pretrained import from_pretrained

    device = set_up(config.train, World.from_environment())
    model = from_pretrained(run.model, **asdict(config.model))
    records = open_files(clips, config.data, model.inputs)
    found = predict_clips(model, records, config, device)
    return _rows(clips, model.classes, found.probabilities)


def _by_exported(
    path: Path, given: CommandLineValues
) -> tuple[list[dict], RunConfig, CropProfile | None]:
    """The same by an exported file, and the configuration and the crop in it."""
    import torch

    from peclip_fast.export.exported import exported_probabilities
    from peclip_fast.export.formats import read_exported

    about, run = read_exported(path)
    config = given.resolve([(str(path), about.config)])
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    probabilities = exported_probabilities(about, run, given.own.clips, config)
    return _rows(given.own.clips, about.classes, probabilities), config, about.crop


def _rows(clips: Sequence[str], classes: Sequence[str], probabilities: Tensor) -> list[dict]:
    best = probabilities.argmax(1).tolist()
    return [
        {
            "path": clip,
            "prediction": classes[first],
            "probabilities": dict(zip(classes, row, strict=True)),
        }
        for clip, first, row in zip(clips, best, probabilities.tolist(), strict=True)
    ]


def _crop_of(run: RunFolder, config: RunConfig, finder: FaceFinder) -> CropProfile | None:
    from peclip_fast.analyze.crop_of_run import known_crop

    return known_crop(run, config, finder)


def _uncropped(
    clips: Sequence[str], run: str, known: Callable[[FaceFinder], CropProfile | None]
) -> list[str]:
    """Which clips don't show a face as the training clips do, as far as that can be told."""
    from peclip_fast.analyze.crop_of_run import installed, uncropped
    from peclip_fast.data.records import ClipRecord
    from peclip_fast.faces.crop import USUAL
    from peclip_fast.faces.finder import FaceFinder

    if not installed():
        return []
    finder = FaceFinder()
    profile = known(finder) or USUAL
    if not profile.of_faces:
        return []
    found = uncropped([ClipRecord(Path(clip), label=0) for clip in clips], profile, finder)
    more = [f"and {len(found) - _TOLD} more clips look uncropped"] if len(found) > _TOLD else []
    advice = [f"`peclip-fast analyze {run} CLIP` finds faces and crops them"] if found else []
    return [*found[:_TOLD], *more, *advice]


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
