"""``python -m benchmarks.loss_curves``: the fast program learns what plain PyTorch learns.

The built-in demo is trained by its own recipe with our kernels and with plain PyTorch, from the
same weights over the same batches, several seeds each. Rounding moves such a pair of runs apart,
and a seed moves them further: the curves' means should differ less than plain PyTorch's seeds do.

Curves are running means over an epoch's steps, in which every clip counts once; else the batches
that a seed happens to draw would make its spread a large one. Of their last quarter are told

- difference_of_means: the mean distance between the two programs' mean curves,
- seed_spread: the standard deviation over plain PyTorch's seeds, its mean over the steps,
- overlap: whether the first is at most the second.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from benchmarks.measure.record import RESULTS, write
from benchmarks.pe_clip import with_nn_gru
from peclip_fast.config.layers import config_path, read_yaml
from peclip_fast.config.parser import resolve
from peclip_fast.config.run import RunConfig
from peclip_fast.data.records import DatasetSplits
from peclip_fast.data.splits import open_splits
from peclip_fast.engine import recorder
from peclip_fast.engine.distributed import World, set_up
from peclip_fast.engine.evaluation import predict
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.engine.trainer import train
from peclip_fast.models.methods.pe_clip import PECLIP
from peclip_fast.models.pretrained import create_model

BACKENDS = {"plain PyTorch": "reference", "ours": "auto"}
ALONE = World(0, 1, 0, 1)


class Run(NamedTuple):
    """What a training came to: every step's loss, the last epoch's, and the test's recall."""

    losses: list[float]
    final_loss: float
    uar: float


def read_config(name: str, epochs: int | None, device: str) -> RunConfig:
    """A packaged configuration or a file, without tests on the way."""
    layers = [(name, read_yaml(config_path(name)))]
    config = resolve(layers)
    options = replace(config.train, test_every=0, device=device)
    if epochs is not None:
        options = replace(options, epochs=epochs, warmup_epochs=min(1, epochs - 1))
    return replace(config, train=options)


def make_model(config: RunConfig, splits: DatasetSplits, backend: str) -> PECLIP:
    """As the training command makes it; in plain PyTorch with its own GRU."""
    torch.manual_seed(config.train.seed)
    options = asdict(replace(config.model, backend=backend))
    model = create_model(classes=splits.classes, **options)
    return with_nn_gru(model) if backend == "reference" else model


def check(config: RunConfig, splits: DatasetSplits, device: torch.device) -> None:
    """SystemExit unless both programs start from the same weights and the same logits."""
    theirs, ours = (make_model(config, splits, name).to(device) for name in BACKENDS.values())
    start = ours.trained_state()
    if not all(torch.equal(value, start[name]) for name, value in theirs.trained_state().items()):
        raise SystemExit("the two programs start from different weights")
    for value in start.values():
        if not value.any():  # else no kernel before a projection that starts at zero would count
            value.normal_(std=0.02)
    theirs.load_trained_state(start)
    generator = torch.Generator().manual_seed(1)
    shape = (1, config.data.frames, 3, ours.image_size, ours.image_size)
    frames = torch.rand(shape, generator=generator).to(device)
    with torch.no_grad():
        error = (theirs(frames) - ours(frames)).abs().max().item()
    if error > 1e-3:
        raise SystemExit(f"the two programs give other logits, by {error}")


def run(config: RunConfig, splits: DatasetSplits, backend: str, device: torch.device) -> Run:
    """One training, in a run folder that is thrown away; its curve is TensorBoard's."""
    model = make_model(config, splits, backend)
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place))
        folder.last.parent.mkdir()
        with mock.patch.object(recorder, "CURVE_STEPS", 1):
            trained = train(model, splits, config, folder, device, ALONE)
        events = EventAccumulator(str(folder.path / "tensorboard"), {"scalars": 0}).Reload()
        losses = [event.value for event in events.Scalars("train/loss")]
    scores = predict(model, splits.test, config, device, ALONE).scores(splits.classes)
    return Run(losses, trained.history[-1]["loss"], scores.uar)


def smoothed(losses: Sequence[float], window: int) -> Tensor:
    """Means of ``window`` losses each, from the first whole window on."""
    curve = torch.tensor(losses, dtype=torch.float64)
    return curve.unfold(0, min(window, len(curve)), 1).mean(1)


def compare(baseline: Tensor, ours: Tensor) -> dict[str, Any]:
    """Of curves (seeds, steps), the figures of the last quarter."""
    start = ours.shape[1] * 3 // 4
    baseline, ours = baseline[:, start:], ours[:, start:]
    difference = (ours.mean(0) - baseline.mean(0)).abs().mean().item()
    spread = baseline.std(0).mean().item() if len(baseline) > 1 else 0.0
    return {
        "difference_of_means": difference,
        "seed_spread": spread,
        "overlap": difference <= spread,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--config", default="demo", help="packaged, or a file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--epochs", type=int, default=None, help="the configuration's unless given")
    parser.add_argument("--every", type=int, default=10, help="steps between the points written")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    base = read_config(options.config, options.epochs, options.device)
    device = set_up(base.train, ALONE)
    splits = open_splits(base.data)
    window = -(-len(splits.train) // base.train.batch_size)
    curves: dict[str, list[Tensor]] = {name: [] for name in BACKENDS}
    rows, ends = [], []
    for seed in options.seeds:
        config = replace(base, train=replace(base.train, seed=seed))
        check(config, splits, device)
        for program, backend in BACKENDS.items():
            print(f"seed {seed}, {program}", flush=True)
            done = run(config, splits, backend, device)
            curve = smoothed(done.losses, window)
            curves[program].append(curve)
            first = len(done.losses) - len(curve) + 1  # the step that ends the first window
            steps = [*range(0, len(curve), options.every), len(curve) - 1]
            rows += [
                {"program": program, "seed": seed, "step": first + i, "loss": curve[i].item()}
                for i in dict.fromkeys(steps)
            ]
            end = {"final_loss": done.final_loss, "uar": done.uar, "steps": len(done.losses)}
            ends.append({"program": program, "seed": seed, **end})
    facts = compare(*(torch.stack(curves[name]) for name in ("plain PyTorch", "ours")))
    for program in BACKENDS:
        of_one = [end for end in ends if end["program"] == program]
        loss, uar = (statistics.mean(end[key] for end in of_one) for key in ("final_loss", "uar"))
        print(f"{program:<14} last epoch's loss {loss:.4f}, test UAR {uar:.2%}")
    print("means differ by {difference_of_means:.4f}, seeds by {seed_spread:.4f}".format(**facts))
    facts |= {"config": options.config, "epochs": base.train.epochs, "window": window, "ends": ends}
    print(write("loss_curves", device, rows, options.output, **facts))


if __name__ == "__main__":
    main()
