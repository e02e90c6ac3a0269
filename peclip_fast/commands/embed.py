"""``python -m peclip_fast.embed RUN ...``: maps of the test clips, and a run's curves."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from safetensors.torch import save

from peclip_fast.commands.clips import open_clips
from peclip_fast.commands.running import run_command
from peclip_fast.config.layers import read_yaml
from peclip_fast.config.parser import make_parser, read_arguments, resolve
from peclip_fast.config.run import RunConfig
from peclip_fast.data.records import DatasetSplits
from peclip_fast.embed.drawing import maps_png
from peclip_fast.embed.embedding import Embedding, embed_clips
from peclip_fast.embed.projection import LEAST
from peclip_fast.engine.distributed import World
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.files import check_writable, write_bytes
from peclip_fast.plots.curves import curves_png, read_history

DESCRIPTION = """Draw the clips of a run's test split by t-SNE of their features: of the frozen
backbone, and of the trained model. The output folder gets embedding.png, embedding.safetensors
with features, coordinates, labels, class names and paths, and curves.png with the run's losses and
scores. Of several runs, as of the folds of a dataset, the picture has a column each, the frozen
backbones in one row and the trained models in the other, and there is no curves.png. Options change
the configuration of every run, as --data.root FOLDER for clips elsewhere."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_embed, argv)


def _embed(argv: list[str]) -> None:
    arguments = read_arguments(_parser(), argv)
    runs = [RunFolder(Path(path)) for path in arguments.runs]
    for run in runs:
        run.check_trained()
    configs = [resolve(_parser(), argv, [(str(r.config), read_yaml(r.config))]) for r in runs]
    titles = run_titles(runs, configs)
    first, alone = runs[0].path, len(runs) == 1
    files = {}
    if alone:
        files["curves.png"] = curves_png(read_history(runs[0].metrics), configs[0].title)
    folder = Path(arguments.output or (first if alone else first.parent) / "embedding")
    check_writable(folder)
    splits = [open_clips(config, World(0, 1, 0, 1)) for config in configs]
    check_splits(runs, splits)
    found = {
        title: embed_clips(run, config, clips)
        for title, run, config, clips in zip(titles, runs, configs, splits, strict=True)
    }
    classes = splits[0].classes
    files["embedding.safetensors"] = as_safetensors(found, classes)
    files["embedding.png"] = maps_png(found, classes, _title(found, configs))
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        write_bytes(folder / file, data)
        print(folder / file)
    for title, one in found.items():
        for name, drawn in one.maps.items():
            print(f"{'' if alone else f'{title}, '}{name}: silhouette {drawn.score}")
    if skipped := sum(one.skipped for one in found.values()):
        print(f"warning: {skipped} test clips were skipped", file=sys.stderr)


def _parser() -> ArgumentParser:
    parser = make_parser("embed", DESCRIPTION, "RUN [RUN ...] [--output FOLDER] [option ...]")
    parser.add_argument("runs", type=str, nargs="+", help="the run folders")
    parser.add_argument(
        "--output",
        type=str,
        help="where it goes; embedding/ in the run folder, or beside the first of several",
    )
    return parser


def run_titles(runs: Sequence[RunFolder], configs: Sequence[RunConfig]) -> list[str]:
    """A word for each run that tells it from the others: its fold, its name, or its path.

    Raises:
        InputError: a run comes twice.
    """
    datasets = {config.data.dataset for config in configs}
    folds = [f"fold {config.data.fold}" for config in configs]
    paths = [str(run.path) for run in runs]
    names = [run.path.resolve().name for run in runs]
    for words in (folds if len(datasets) == 1 else [], names, paths):
        if len(set(words)) == len(runs):
            return words
    raise InputError(f"expected different runs, got {', '.join(paths)}")


def check_splits(runs: Sequence[RunFolder], splits: Sequence[DatasetSplits]) -> None:
    """Raise InputError for too few clips, or other classes than the first run's."""
    expected = splits[0].classes
    for run, own in zip(runs, splits, strict=True):
        if len(own.test) < LEAST:
            raise InputError(f"{own.name}: {len(own.test)} test clips, expected at least {LEAST}")
        if own.classes != expected:
            raise InputError(
                f"{run.path}: has the classes {', '.join(own.classes)}; expected those of "
                f"{runs[0].path}, {', '.join(expected)}"
            )


def as_safetensors(found: Mapping[str, Embedding], classes: Sequence[str]) -> bytes:
    """The numbers; where there are several runs, under the title of each."""
    alone = len(found) == 1
    tensors = {}
    described: dict[str, dict[str, Any]] = {"paths": {}, "silhouette": {}}
    for title, one in found.items():
        prefix = "" if alone else f"{title}."
        tensors[f"{prefix}labels"] = one.labels
        for name, drawn in one.maps.items():
            tensors[f"{prefix}{name}.features"] = one.features[name]
            tensors[f"{prefix}{name}.coordinates"] = drawn.coordinates
        described["paths"][title] = one.paths
        described["silhouette"][title] = {n: drawn.silhouette for n, drawn in one.maps.items()}
    notes = {
        key: json.dumps(next(iter(value.values())) if alone else value)
        for key, value in described.items()
    }
    return save(tensors, {"classes": json.dumps(classes), **notes})


def _title(found: Mapping[str, Embedding], configs: Sequence[RunConfig]) -> str:
    datasets = ", ".join(dict.fromkeys(config.title for config in configs))
    clips = sorted({len(one.labels) for one in found.values()})
    fold = f", fold {configs[0].data.fold}" if len(configs) == 1 else ""
    number = "-".join(str(count) for count in dict.fromkeys((clips[0], clips[-1])))
    each = "" if len(configs) == 1 else " each"
    return f"{datasets}{fold}: {number} test clips{each}, t-SNE"


if __name__ == "__main__":
    sys.exit(main())
