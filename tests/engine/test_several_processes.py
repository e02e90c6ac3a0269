"""One, two and four processes train the same, over batches that don't divide, and go on from one
another."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from faults.training import Started, Training
from helpers.same_runs import rows
from safetensors.torch import load_file
from torch import Tensor

from peclip_fast.config.parser import resolve
from peclip_fast.data.loading.sampler import ClipBatchSampler
from peclip_fast.data.splits import open_splits
from peclip_fast.engine import distributed
from peclip_fast.engine.checkpoint import read_checkpoint
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError

pytestmark = pytest.mark.slow

# 15 training clips: the last of an epoch's four batches has 3 of them, and none for a fourth
# process; the batches of 4 can't be halved among 3. Dropout and mixing are of each process.
OPTIONS = {
    "epochs": 3, "batch_size": 4, "checkpoint_every": 1000, "accumulate": 1,
    "lr": {"adapters": 2e-3},
}  # fmt: skip
# Those of a run that goes nowhere: what all begin with.
START = {"epochs": 1, "warmup_epochs": 0, "lr": {"adapters": 1e-12, "prompts": 1e-12}}
NO_MIXING = ("--data.mix.mixup", "0", "--data.mix.fmix", "0")
# Adam divides by the gradients' size, so that rounding moves what has hardly a gradient by as much
# as the rest: of the way that the parameters have gone.
NEAR = 2e-3


class Made(NamedTuple):
    """A run that has ended, and what crossed between its processes, by rank."""

    run: RunFolder
    traffic: list[list[list[Any]]]

    def tensors(self) -> dict[str, Tensor]:
        return load_file(self.run.model / "model.safetensors")


Make = Callable[..., Made]


@pytest.fixture(scope="module")
def make(tiny_backbone: str, tiny_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Trains in a number of processes; each setup once."""
    known: dict[tuple[int, str], Made] = {}

    def run(processes: int, **train: Any) -> Made:
        key = processes, repr(OPTIONS | train)
        if key not in known:
            folder = tmp_path_factory.mktemp("several")
            made = Training(folder, Path(tiny_backbone), tiny_clips, OPTIONS | train)
            traffic = {"traffic_in": str(folder)}
            ended(made.start_several(*NO_MIXING, processes=processes, happens=traffic))
            files = [folder / f"{rank}.jsonl" for rank in range(processes)]
            lines = [[json.loads(line) for line in f.read_text().splitlines()] for f in files]
            known[key] = Made(made.run, lines)
        return known[key]

    return run


def ended(processes: list[Started], code: int = 0) -> list[list[str]]:
    """What each of them said."""
    ends = [process.end() for process in processes]
    assert [end.code for end in ends] == [code] * len(ends), [end.said for end in ends]
    return [end.said for end in ends]


def distance(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Norm of the difference of all tensors together."""
    assert found.keys() == expected.keys()
    return math.sqrt(sum((found[n] - t).square().sum().item() for n, t in expected.items()))


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_they_come_to_what_one_comes_to(make: Make, processes: int) -> None:
    one, several = make(1), make(processes)
    start = make(1, **START)
    gone = distance(one.tensors(), start.tensors())
    assert distance(several.tensors(), one.tensors()) < NEAR * gone
    for first, second in zip(rows(one.run), rows(several.run), strict=True):
        assert float(second["loss"]) == pytest.approx(float(first["loss"]), rel=1e-4)
        assert second | {"loss": ""} == first | {"loss": ""}  # rates, steps, metrics
    reports = [json.loads(made.run.report.read_text()) for made in (one, several)]
    for key in ("clips", "war", "uar", "recall", "confusion_matrix"):
        assert reports[0][key] == reports[1][key]
    assert reports[1]["processes"] == processes
    first, second = (
        list(csv.reader((made.run.path / "predictions.csv").open())) for made in (one, several)
    )
    assert [row[:3] for row in second] == [row[:3] for row in first]
    for row, other in zip(first[1:], second[1:], strict=True):
        assert list(map(float, other[3:])) == pytest.approx(list(map(float, row[3:])), abs=1e-4)


@pytest.mark.parametrize(("processes", "accumulate"), [(2, 1), (4, 1), (2, 2)])
def test_gradients_cross_once_a_step_in_buckets_while_others_are_made(
    make: Make, processes: int, accumulate: int
) -> None:
    made = make(processes, accumulate=accumulate)
    # Nothing of what is frozen.
    trained = 4 * json.loads(made.run.report.read_text())["parameters"]["trained"]
    steps = 3 * math.ceil(4 / accumulate)
    for lines in made.traffic:
        buckets = [line for line in lines if line[0] == "bucket"]
        assert sum(size for _, size, _ in buckets) == steps * trained
        assert sum(line[1] for line in lines if line[0] == "reduce") < 0.01 * steps * trained
        passes: list[list[int]] = [[]]
        for kind, *figures in lines:
            if kind == "bucket":
                passes[-1].append(figures[1])
            elif kind == "backward":
                passes.append([])
        reduced = [left for left in passes if left]
        assert (len(passes) - 1, len(reduced)) == (12, steps)
        # The first two find out in which order gradients come, and cut the buckets.
        assert all(len(left) > 2 for left in reduced[2:])
        # In the last batches of the three epochs a process may have no clip to make them from.
        assert sum(left[0] > left[-1] for left in reduced[2:]) >= steps - 5


@pytest.mark.parametrize("seed", range(6))
def test_others_go_on_where_some_have_stopped(seed: int) -> None:
    """1, 2, 3 or 4 processes after any others: each clip once in an epoch."""
    draw = random.Random(seed)
    for _ in range(50):
        clips, size, epoch = draw.randint(4, 70), draw.randint(4, 20), draw.randint(0, 9)
        seen: list[int] = []
        stop = 0
        while stop < (total := -(-clips // size)):
            start, stop = stop, draw.randint(stop + 1, total)
            world = draw.choice([1, 2, 3, 4])
            for rank in range(world):
                sampler = ClipBatchSampler(clips, size, True, 5, rank, world)
                assert sampler.batches_per_epoch == total
                sampler.set_epoch(epoch, start)
                for batch, _ in zip(sampler, range(start, stop), strict=False):
                    seen += [index for _, index in batch]
        assert sorted(seen) == list(range(clips))


def test_a_run_goes_on_in_another_number_of_processes(
    make: Make, tiny_backbone: str, tiny_clips: Path, tmp_path: Path
) -> None:
    """In more, in fewer and in one, at its rate and its place: it comes to what one process comes
    to, with all clips."""
    made = Training(tmp_path, Path(tiny_backbone), tiny_clips, OPTIONS | {"checkpoint_every": 1})
    for processes, batch in ((1, 2), (4, 6), (2, 9)):
        bad = {f"{rank}:{batch}": math.nan for rank in range(processes)}
        ended(made.start_several(*NO_MIXING, processes=processes, happens={"losses": bad}), code=2)
        place = read_checkpoint(made.run.last)["place"]
        assert (place.epoch, place.batch, place.step) == (batch // 4, batch % 4, batch)
        assert sum(clips for _, clips in place.losses) == 4 * (batch % 4)
    ended(made.start_several(*NO_MIXING, processes=1))
    one, start = make(1), make(1, **START)
    tensors = load_file(made.run.model / "model.safetensors")
    assert distance(tensors, one.tensors()) < NEAR * distance(one.tensors(), start.tensors())
    for first, second in zip(rows(one.run), rows(made.run), strict=True):
        assert float(second["loss"]) == pytest.approx(float(first["loss"]), rel=1e-4)
        assert second | {"loss": ""} == first | {"loss": ""}


def test_more_processes_than_clips_in_a_batch() -> None:
    world = distributed.World(0, 5, 0, 5)
    with pytest.raises(InputError, match=r"^train.batch_size=4: expected at least one clip for"):
        world.share(4)
    assert [distributed.World(rank, 3, rank, 3).share(8) for rank in range(3)] == [3, 3, 2]


# A loss that is no number -------------------------------------------------------------------------


@pytest.fixture
def training(tiny_backbone: str, tiny_clips: Path, tmp_path: Path) -> Training:
    options = OPTIONS | {"checkpoint_every": 2}
    return Training(tmp_path, Path(tiny_backbone), tiny_clips, options)


def clips_of(training: Training, batch: int, rank: int, world: int) -> set[str]:
    """Names of the clips of a batch of the run."""
    config = resolve(training.run.layers())
    records = open_splits(config.data).train
    sampler = ClipBatchSampler(len(records), 4, True, config.train.seed, rank, world)
    sampler.set_epoch(batch // 4)
    return {str(records[index].path) for _, index in list(sampler)[batch % 4]}


@pytest.mark.parametrize(
    ("processes", "value", "on_nan"), [(1, math.inf, "stop"), (2, math.nan, "skip")]
)
def test_it_stops_and_names_step_and_clips(
    training: Training, make: Make, processes: int, value: float, on_nan: str
) -> None:
    """Of two processes one has such a loss; both stop, and the first one says so. Where it turns
    out good, the run is the same with either option, which may change when it goes on."""
    bad = {f"{processes - 1}:6": value}
    said = ended(
        training.start_several(*NO_MIXING, processes=processes, happens={"losses": bad}), code=2
    )
    assert said[1:] == [[]] * (processes - 1)
    (line,) = said[0]
    assert line.startswith(
        f"error: the loss of step 7 (epoch 2, batch 3) is {value}, of the clips "
    )
    assert "; the last checkpoint is of step 6; expected " in line
    named = line.partition(" of the clips ")[2].partition("; ")[0].split(", ")
    assert set(named) == clips_of(training, 6, processes - 1, processes)
    checkpoint = read_checkpoint(training.run.last)
    assert checkpoint["place"].step == 6
    assert all(t.isfinite().all() for t in checkpoint["model"].values())
    # The clips were good after all.
    ended(training.start_several(*NO_MIXING, "--train.on_nan", on_nan, processes=processes))
    assert [row["step"] for row in rows(training.run)] == ["4", "8", "12"]
    whole = make(processes)
    for name in ("report.json", "predictions.csv"):
        found, expected = ((r.path / name).read_text() for r in (training.run, whole.run))
        assert found.replace('"on_nan": "skip"', '"on_nan": "stop"') == expected
    tensors = load_file(training.run.model / "model.safetensors")
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensors[name], tensor)


@pytest.mark.parametrize("processes", [1, 2])
def test_it_leaves_the_step_out(training: Training, tmp_path: Path, processes: int) -> None:
    """All processes do, and no number is spoilt; so it is with gradients that have added up."""
    options = (*NO_MIXING, "--train.on_nan", "skip", "--train.accumulate", "2")
    happens = {"losses": {"0:6": math.nan}, "traffic_in": str(tmp_path)}
    (first, *others) = ended(training.start_several(*options, processes=processes, happens=happens))
    assert others == [[]] * (processes - 1)
    (line,) = first
    where = "step 4 (epoch 2, batches 3 to 4)"
    assert line.startswith(f"warning: the loss of {where} is nan, of the clips ")
    assert line.endswith(": left out")
    tensors = load_file(training.run.model / "model.safetensors")
    assert all(t.isfinite().all() for t in tensors.values())
    assert all(math.isfinite(float(row["loss"])) for row in rows(training.run))
    steps = read_checkpoint(training.run.last)["optimizer"]["state"]
    assert {int(state["step"]) for state in steps.values()} == {5}  # of six


def test_nothing_but_such_steps_is_no_run(
    training: Training,
) -> None:
    bad = {f"0:{batch}": math.nan for batch in range(1, 100)}
    options = (*NO_MIXING, "--train.on_nan", "skip", "--train.epochs", "9")
    process = training.start(*options, happens={"losses": bad})
    (said,) = ended([process], code=2)
    assert said[-1].startswith("error: the loss of step 21 ")
    assert ", and so it was with the 19 steps before; the last checkpoint is of step " in said[-1]
