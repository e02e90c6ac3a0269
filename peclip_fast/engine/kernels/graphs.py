"""Whether a run launches its passes as CUDA graphs by ``auto``: where a trial has seen them work.

A trial is a few steps of the run's own model, on random clips and weights, in a process of its own:
what a capture that fails leaves of a process isn't known.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence

import torch

from peclip_fast.config.run import RunConfig
from peclip_fast.engine.distributed import World
from peclip_fast.engine.kernels.choice import ALONE, Tell, known
from peclip_fast.engine.kernels.graph_trial import GRAPHS, PLACE, WITHOUT
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.ops.verdicts import machine, settle, store
from peclip_fast.ops.verdicts.verdict import OperatorCall, Record, Verdict, choice

OP = "train_step"


def settle_graphs(
    config: RunConfig,
    classes: Sequence[str],
    image_size: int,
    device: torch.device,
    world: World = ALONE,
    run: RunFolder | None = None,
    tell: Tell = store.warn,
) -> Record | None:
    """Find out whether CUDA graphs are right here and faster, trying them if need be.

    Args:
        config: of the run; ``train.cuda_graphs`` and ``train.kernel_check`` say whether.
        classes: their names.
        image_size: of the model.
        device, world, run, tell: as settle_kernels() has them.

    Returns:
        What takes_graphs() follows from; None where there was nothing to find out.
    """
    train = config.train
    asked = train.cuda_graphs == "auto" and train.kernel_check in ("auto", "force")
    able = config.model.cuda_graphs and train.target == "classes" and not train.compile
    if not (asked and able and config.epochs and device.type == "cuda" and world.size == 1):
        return None
    call = _call(config, classes, image_size)
    if train.kernel_check != "force":
        of_run = store.read(run.kernels) if run is not None and run.kernels.is_file() else None
        for record in (of_run, known(device)):
            if record is None or record.machine != machine.facts(device):
                continue
            if former := record.of(call):
                return Record(record.machine, list(former.values()))
    verdicts = _tried(config, classes, call, device, tell)
    store.keep(Record(machine.facts(device)).with_(verdicts))
    return Record(machine.facts(device), verdicts)


def takes_graphs(config: RunConfig, found: Record | None) -> bool:
    """Whether the run is to use them."""
    if config.train.cuda_graphs != "auto":
        return config.train.cuda_graphs
    verdicts = [] if found is None else [v for v in found.verdicts if v.call.op == OP]
    return choice(verdicts).backend == GRAPHS


def _call(config: RunConfig, classes: Sequence[str], image_size: int) -> OperatorCall:
    """What a verdict is about: all that the step depends on."""
    train, frames = config.train, config.data.frames
    names = ("precision", "accumulate", "clip_norm", "recompute")
    options = {name: getattr(train, name) for name in names}
    model = {key: str(value) for key, value in dataclasses.asdict(config.model).items()}
    digest = hashlib.sha256(
        json.dumps([model, list(classes)], sort_keys=True).encode()
    ).hexdigest()[:16]
    shape = [train.batch_size, frames, 3, image_size, image_size]
    return OperatorCall(
        OP, {"frames": shape}, [], options, "uint8", image_size, 0, frames,
        f"{config.model.method} {digest}",
    )  # fmt: skip


def _tried(
    config: RunConfig, classes: Sequence[str], call: OperatorCall, device: torch.device, tell: Tell
) -> list[Verdict]:
    if refusal := settle.not_now(device):
        return [Verdict(call, GRAPHS, "unknown", refusal)]
    tell("trying CUDA graphs on random clips")
    job = {"config": config.to_yaml(), "classes": list(classes)}
    answers = settle.run_task(PLACE, [job], device, settle.limit())
    state, reason = answers.verdicts.get(0, (answers.state, answers.reason))
    if state == "passed" and 0 in answers.times:
        times = answers.times[0]
        return [
            Verdict(call, name, "passed", both=times[name]["both"]) for name in (WITHOUT, GRAPHS)
        ]
    tell(f"CUDA graphs aren't taken: {reason}")
    return [Verdict(call, GRAPHS, state if state == "unknown" else "failed", reason)]
