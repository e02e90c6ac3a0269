"""``python -m peclip_fast.embed RUN``: a map of the test clips, and the run's curves."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from peclip_fast.cli import run_command
from peclip_fast.config import make_parser, read_arguments, read_yaml, resolve
from peclip_fast.embed.drawing import Map, maps_png
from peclip_fast.embed.features import clip_features
from peclip_fast.embed.projection import LEAST, project, silhouette
from peclip_fast.engine.curves import curves_png, read_history
from peclip_fast.engine.distributed import World, set_up
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.files import check_writable, write_bytes
from peclip_fast.inputs import open_clips
from peclip_fast.models import from_pretrained

DESCRIPTION = """Draw the clips of a run's test split by t-SNE of their features: of the frozen
backbone, and of the trained model. The output folder gets embedding.png, embedding.safetensors
with features, coordinates, labels, class names and paths, and curves.png with the run's losses and
scores. Options change the run's configuration, as --data.root FOLDER for clips elsewhere."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_embed, argv)


def _embed(argv: list[str]) -> None:
    parser = make_parser("embed", DESCRIPTION, "RUN [--output FOLDER] [option ...]")
    parser.add_argument("run", type=str, help="the run folder")
    parser.add_argument(
        "--output", type=str, help="where it goes; embedding/ in the run folder unless given"
    )
    arguments = read_arguments(parser, argv)
    run = RunFolder(Path(arguments.run))
    run.check_trained()
    history = read_history(run.metrics)
    config = resolve(parser, argv, [(str(run.config), read_yaml(run.config))])
    folder = Path(arguments.output or run.path / "embedding")
    check_writable(folder)
    world = World(0, 1, 0, 1)
    device = set_up(config.train, world)
    splits = open_clips(config, world)
    if len(splits.test) < LEAST:
        raise InputError(
            f"{config.data.dataset}: {len(splits.test)} test clips, expected at least {LEAST}"
        )
    model = from_pretrained(run.model, classes=splits.classes, **asdict(config.model))
    found = clip_features(model, splits.test, config, device)
    tensors: dict[str, Tensor] = {"labels": found.labels}
    maps = {}
    for name, features in found.features.items():
        coordinates = project(features, config.train.seed)
        maps[name] = Map(coordinates, silhouette(features, found.labels))
        tensors[f"{name}.features"] = features
        tensors[f"{name}.coordinates"] = coordinates
    described = {
        "classes": json.dumps(splits.classes),
        "paths": json.dumps([str(splits.test[i].path) for i in found.index.tolist()]),
        "silhouette": json.dumps({name: one.silhouette for name, one in maps.items()}),
    }
    title = f"{config.title}, fold {config.data.fold}: {len(found.labels)} test clips, t-SNE"
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "embedding.safetensors": save(tensors, described),
        "embedding.png": maps_png(maps, found.labels, splits.classes, title),
        "curves.png": curves_png(history, config.title),
    }
    for file, data in files.items():
        write_bytes(folder / file, data)
        print(folder / file)
    for name, one in maps.items():
        print(f"{name}: silhouette {one.score}")
    if found.bad:
        print(f"warning: {len(found.bad)} test clips were skipped", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
