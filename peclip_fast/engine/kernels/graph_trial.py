"""The trial of CUDA graphs, which runs in a process of its own (peclip_fast.ops.verdicts.child)."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from peclip_fast.config.parser import configure
from peclip_fast.config.run import CUES, RunConfig

PLACE = f"{__name__}:run"
GRAPHS, WITHOUT = "cuda_graphs", "reference"  # the names of the two in verdicts
BATCHES = 3  # whole ones, of which the first one captures
TIMED = 7  # steps of each, in turns
# What two runs of the same kernels may differ by, as a share of a gradient: PyTorch's may add in
# another order, and in another precision's products that shows.
TOLERANCE = {"fp32": 1e-3, "bf16": 3e-2, "fp16": 1e-2}

Step = Callable[[int], list[Tensor]]


def run(job: Mapping[str, Any], device: torch.device, tell: Callable[..., None]) -> None:
    """Compare the losses and gradients of some steps with those without graphs, then time both."""
    from peclip_fast.engine.kernels.choice import known
    from peclip_fast.ops.declared import install
    from peclip_fast.ops.verdicts.verdict import choices

    config = configure(yaml.safe_load(job["config"]))
    install(choices(known(device).verdicts, device.type))  # the kernels that the run takes
    tell(call=0, at="building the model")
    steps = steps_of(config, job["classes"], device)
    for number in range(BATCHES):
        tell(at=f"step {number + 1} of {BATCHES}")
        expected, found = (steps[name](number) for name in (WITHOUT, GRAPHS))
        if said := different(expected, found, TOLERANCE[config.train.precision]):
            tell(verdict=0, state="failed", reason=f"step {number + 1}: {said}")
            return
    tell(at="timing")
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(TIMED):
        for name, step in steps.items():
            times[name].append(_milliseconds(step, number, device))
    tell(times=0, found={name: {"both": statistics.median(t)} for name, t in times.items()})
    tell(verdict=0, state="passed", reason="")


def steps_of(config: RunConfig, classes: Sequence[str], device: torch.device) -> dict[str, Step]:
    """Functions of a number that give a step's loss and gradients, without graphs and with them.

    A step has as many batches as the run adds up.
    """
    from peclip_fast.engine.kernels.choice import AUTOCAST
    from peclip_fast.engine.objective import Objective
    from peclip_fast.models.pretrained import create_model

    torch.manual_seed(config.train.seed)
    options = vars(dataclasses.replace(config.model, pretrained=None))
    model = create_model(classes=classes, **options)
    model.to(device).train().recompute(config.train.recompute)
    dtype = AUTOCAST[config.train.precision]

    def with_graphs(graphs: bool) -> Step:
        train = dataclasses.replace(config.train, cuda_graphs=graphs)
        objective = Objective(model, dataclasses.replace(config, train=train), 0)

        def step(number: int) -> list[Tensor]:
            model.zero_grad()
            losses = []
            for batch in range(config.train.accumulate):
                seed = number * config.train.accumulate + batch
                with torch.autocast(device.type, dtype, enabled=dtype is not None):
                    loss = objective(_batch(model, config, len(classes), device, seed), seed)
                loss.backward()
                losses.append(loss.detach().clone())
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone()
                         for p in objective.parameters()]  # fmt: skip
            return [torch.stack(losses), *gradients]

        return step

    return {WITHOUT: with_graphs(False), GRAPHS: with_graphs(True)}


def _batch(
    model: nn.Module, config: RunConfig, classes: int, device: torch.device, seed: int
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs: Any = model
    clips, side = config.train.batch_size, inputs.image_size
    batch = {"label": torch.randint(0, classes, (clips,), generator=generator)}
    for name in inputs.inputs:
        if name == "frames" or name in CUES:
            shape = (clips, config.data.frames, 3, side, side)
            batch[name] = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        else:
            tokens = inputs.tokenize([f"a face {seed} {i}" for i in range(clips)])
            batch[name] = tokens
    return {name: value.to(device) for name, value in batch.items()}


def different(expected: list[Tensor], found: list[Tensor], tolerance: float) -> str | None:
    """What is wrong with a step's loss and gradients, or None."""
    for number, (a, b) in enumerate(zip(expected, found, strict=True)):
        what = f"gradient {number} of {len(expected) - 1}" if number else "the loss"
        if bad := int((~b.isfinite() & a.isfinite()).sum()):
            return f"{what}: {bad} of {b.numel()} numbers are not finite"
        size, error = a.double().norm().item(), (a.double() - b.double()).norm().item()
        if not error <= tolerance * size + 1e-9:
            return f"{what} differs by {error:.3g}, its size is {size:.3g}"
    return None


def _milliseconds(step: Step, number: int, device: torch.device) -> float:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()
    start = time.perf_counter()
    step(number)
    wait()
    return 1e3 * (time.perf_counter() - start)
