"""From a model and clips to probabilities, on one process or many."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from peclip_fast.config.run import RunConfig
from peclip_fast.data.loading.dataset import BadClip, ClipDataset
from peclip_fast.data.loading.loader import make_loader
from peclip_fast.data.records import ClipRecord
from peclip_fast.engine.distributed import World, gather, set_up
from peclip_fast.engine.graphs import CompiledModel
from peclip_fast.engine.kernels.choice import settle_kernels
from peclip_fast.engine.metrics import Scores, score
from peclip_fast.engine.steps.memory import kept_memory
from peclip_fast.errors import InputError
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.stopping import Stopped, hold, release, watch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Predictions:
    """What a model says of the clips that could be read, ordered by their index.

    Args:
        index: (N,) int64, into the records.
        labels: (N,) int64.
        probabilities: (N, C) float32.
        bad: the clips that were skipped.
    """

    index: Tensor
    labels: Tensor
    probabilities: Tensor
    bad: list[BadClip]

    @property
    def classes(self) -> Tensor:
        """(N,) int64, the most probable class of each clip."""
        return self.probabilities.argmax(1)

    def scores(self, names: tuple[str, ...]) -> Scores:
        """Metrics over the clips that could be read."""
        return score(self.labels, self.classes, names)


def as_tested(model: AdaptedCLIP, records: Sequence[ClipRecord], config: RunConfig) -> ClipDataset:
    """Clips with all that the model sees of them, as testing takes them."""
    return ClipDataset(
        records,
        config.data,
        model.image_size,
        train=False,
        inputs=model.inputs,
        tokenize=model.tokenize,
    )


def predict(
    model: AdaptedCLIP,
    records: list[ClipRecord],
    config: RunConfig,
    device: torch.device,
    world: World,
) -> Predictions:
    """Run the model over clips, each on one of the processes; all get the whole result.

    The model is put into eval mode and left there.

    Raises:
        InputError: a clip can't be read, or none can be where bad ones are skipped.
        Stopped: in all processes, once one was asked to stop before its clips were done.
    """
    batch_size = min(config.train.eval_batch_size * world.size, len(records))
    loader = make_loader(
        as_tested(model, records, config),
        batch_size,
        rank=world.rank,
        world_size=world.size,
        device=device,
    )
    model.to(device).eval()
    with watch(), hold(), contextlib.closing(loader):
        try:
            with release():
                mine: Any = _run(model, loader, config, device, len(loader))
        except Stopped as stopped:
            mine = stopped.number
        parts = gather(mine)
    for part in parts:
        if isinstance(part, int):
            raise Stopped(part)
    index, labels, probabilities = (torch.cat([part[i] for part in parts]) for i in range(3))
    if len(index) == 0:
        reason = next(part[3][0].reason for part in parts if part[3])
        raise InputError(f"none of the {len(records)} clips could be read, as {reason}")
    if len(index.unique()) != len(index):
        raise RuntimeError("a clip was evaluated twice")
    order = index.argsort()
    bad = sorted(clip for part in parts for clip in part[3])
    return Predictions(index[order], labels[order], probabilities[order], bad)


def predict_clips(
    model: AdaptedCLIP,
    records: list[ClipRecord],
    config: RunConfig,
    device: torch.device | None = None,
) -> Predictions:
    """What a model says of clips of any kind, in this process.

    Raises:
        InputError: a clip can't be read; names the file.
    """
    world = World(0, 1, 0, 1)
    device = device or set_up(config.train, world)
    settle_kernels(config, device)
    # A single batch needs no other process.
    workers = 0 if len(records) <= config.train.eval_batch_size else config.data.num_workers
    data = replace(config.data, on_bad_clip="error", num_workers=workers)
    with kept_memory(device):
        return predict(model, records, replace(config, data=data), device, world)


@torch.no_grad()
def _run(
    model: AdaptedCLIP,
    batches: Iterable[Mapping[str, Any]],
    config: RunConfig,
    device: torch.device,
    steps: int,
) -> tuple[Tensor, Tensor, Tensor, list[BadClip]]:
    """Index, labels and probabilities of this process's clips on the CPU, and the bad ones."""
    none = torch.empty(0, dtype=torch.int64)
    index, labels = [none], [none]
    probabilities = [torch.empty(0, len(model.classes), device=device)]
    classes: Tensor | None = None
    dtype, choice = DTYPES[config.train.precision], config.train.compile
    function = CompiledModel(model.forward)
    bad: list[BadClip] = []
    for batch in batches:
        bad += batch["bad"]
        if len(batch["label"]) == 0:
            continue
        inputs = {name: batch[name].to(device, non_blocking=True) for name in model.inputs}
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            # Once: to ask at each batch whether they are still right would wait for a GPU.
            classes = model.class_features() if classes is None else classes
            inputs["class_features"] = classes
            if choice:
                run = functools.partial(function, **inputs)
                function.settle(choice, run, steps, functools.partial(print, file=sys.stderr))
                choice = False
            logits = function(**inputs)
        index.append(batch["index"])
        labels.append(batch["label"])
        probabilities.append(logits.softmax(1))
    return torch.cat(index), torch.cat(labels), torch.cat(probabilities).cpu(), bad
