"""Maps of one run, or of several side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from peclip_fast.config.run import RunConfig
from peclip_fast.data.records import DatasetSplits
from peclip_fast.data.splits import open_splits
from peclip_fast.embed.drawing import maps_png
from peclip_fast.embed.embedding import Embedding, embed_clips
from peclip_fast.embed.projection import LEAST
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.models.storage import safetensors_bytes


def embed_runs(
    runs: Sequence[RunFolder], configs: Sequence[RunConfig], titles: Sequence[str]
) -> tuple[dict[str, Embedding], dict[str, bytes | bytearray]]:
    """The test clips of each run by its title, and the files to be written.

    Raises:
        InputError: runs have other classes or too few clips, or a clip can't be read.
    """
    splits = [open_splits(config.data) for config in configs]
    check_splits(runs, splits)
    found = {
        title: embed_clips(run, config, clips)
        for title, run, config, clips in zip(titles, runs, configs, splits, strict=True)
    }
    classes = splits[0].classes
    return found, {
        "embedding.safetensors": as_safetensors(found, classes),
        "embedding.png": maps_png(found, classes, _title(found, configs)),
    }


def told(found: Mapping[str, Embedding]) -> Iterator[str]:
    """The silhouette of each map, a line each."""
    for title, one in found.items():
        for name, drawn in one.maps.items():
            yield f"{'' if len(found) == 1 else f'{title}, '}{name}: silhouette {drawn.score}"


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


def as_safetensors(found: Mapping[str, Embedding], classes: Sequence[str]) -> bytearray:
    """The numbers; where there are several runs, under the title of each."""
    single = len(found) == 1
    tensors = {}
    described: dict[str, dict[str, Any]] = {"paths": {}, "silhouette": {}}
    for title, one in found.items():
        prefix = "" if single else f"{title}."
        tensors[f"{prefix}labels"] = one.labels
        for name, drawn in one.maps.items():
            tensors[f"{prefix}{name}.features"] = one.features[name]
            tensors[f"{prefix}{name}.coordinates"] = drawn.coordinates
        described["paths"][title] = one.paths
        described["silhouette"][title] = {n: drawn.silhouette for n, drawn in one.maps.items()}
    notes = {
        key: json.dumps(next(iter(value.values())) if single else value)
        for key, value in described.items()
    }
    return safetensors_bytes(tensors, {"classes": json.dumps(classes), **notes})


def _title(found: Mapping[str, Embedding], configs: Sequence[RunConfig]) -> str:
    datasets = ", ".join(dict.fromkeys(config.title for config in configs))
    clips = sorted({len(one.labels) for one in found.values()})
    fold = f", fold {configs[0].data.fold}" if len(configs) == 1 else ""
    number = "-".join(str(count) for count in dict.fromkeys((clips[0], clips[-1])))
    each = "" if len(configs) == 1 else " each"
    return f"{datasets}{fold}: {number} test clips{each}, t-SNE"
