"""A run that was stopped anywhere and resumed ends with the bits of one that was not."""

from __future__ import annotations

import functools
import itertools
import os
import shutil
from pathlib import Path

import pytest
from helpers import tiny_runs
from helpers.same_runs import assert_same
from helpers.tiny_runs import write_config

from peclip_fast.commands.train import main
from peclip_fast.engine.checkpoint import read_checkpoint
from peclip_fast.engine.objective import Objective
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.files import PARTIAL, is_partial

# The options of a run of 2 epochs of 5 batches, and the batches before which it is stopped: the
# first and last of an epoch and, in one, the second, as others in its middle are like that one.
SETUPS = {
    "every step": ({"checkpoint_every": 1}, (0, 4, 5, 6, 9)),
    "best": ({"checkpoint_every": 3, "select": "best"}, (4, 8)),
    "accumulated": ({"checkpoint_every": 1, "accumulate": 2}, (2, 3, 9)),
    "bf16, clipped": ({"checkpoint_every": 1, "precision": "bf16", "clip_norm": 0.5}, (7,)),
}


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """They are nothing that a resumed run goes on from."""
    with tiny_runs.no_pictures():
        yield


class Watched:
    """A run that was not stopped, with what a kill would have left at each batch and write.

    Args:
        folder: of the run, its configuration and the copies.
        setup: one of SETUPS.
    """

    def __init__(self, folder: Path, setup: str, backbone: str, clips: Path) -> None:
        self.run, self.copies, self.written = RunFolder(folder / "run"), folder / "copies", []
        self.config = str(write_config(folder / "c.yaml", backbone, clips, **SETUPS[setup][0]))
        step, replace, batches = Objective.forward, os.replace, itertools.count()

        def stepping(module, *args):
            self.copy(f"batch{next(batches)}")
            return step(module, *args)

        def replacing(source, target):
            if Path(target).is_relative_to(self.run.path):
                copy = self.copy(f"write{len(self.written)}")
                whole = copy / Path(source).relative_to(self.run.path)
                half = copy / Path(target).relative_to(self.run.path)
                half.with_name(f"{half.name}{PARTIAL}0").write_bytes(whole.read_bytes()[:100])
                whole.unlink()
                self.written.append(half.name)
            replace(source, target)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Objective, "forward", stepping)
            patch.setattr(os, "replace", replacing)
            assert main(["--config", self.config, "--output", str(self.run.path)]) == 0

    def copy(self, name: str) -> Path:
        if self.run.path.exists():
            shutil.copytree(self.run.path, self.copies / name)
        return self.copies / name

    def resume(self, name: str, *options: str) -> RunFolder:
        """Go on from a copy."""
        run = RunFolder(self.copies / name)
        argv = ["--config", self.config, "--output", str(run.path), "--resume"]
        assert main([*argv, *options]) == 0
        return run


@pytest.fixture(scope="module")
def run_whole(tiny_backbone, tiny_clips, tmp_path_factory):
    """Gives the run of a setup; each is run once."""

    @functools.cache
    def run(setup: str) -> Watched:
        return Watched(tmp_path_factory.mktemp("whole"), setup, tiny_backbone, tiny_clips)

    return run


@pytest.mark.parametrize(
    ("setup", "batch"), [(name, batch) for name, (_, stops) in SETUPS.items() for batch in stops]
)
def test_stopped_before_a_batch(run_whole, setup, batch):
    whole = run_whole(setup)
    assert_same(whole.resume(f"batch{batch}"), whole.run)


def test_activations_may_be_kept_before_and_computed_again_after(run_whole):
    """A run that doesn't fit goes on where it does."""
    whole = run_whole("bf16, clipped")
    assert_same(whole.resume("batch6", "--train.recompute", "2"), whole.run)


def test_stopped_at_each_write(run_whole):
    """Every file, written for the first and for the last time, is left half aside, as by a kill."""
    whole = run_whole("best")
    written = whole.written
    last = {name: number for number, name in enumerate(written)}
    for number in sorted({*map(written.index, last), *last.values()}):
        run = whole.resume(f"write{number}")
        assert_same(run, whole.run)
        assert not [path for path in run.path.rglob("*") if is_partial(path)]
    assert written[0] == "config.yaml"
    assert {"last.ckpt", "best.safetensors", "metrics.csv", "model.safetensors"} < set(written)
    assert written[-1] == "report.json"


def test_resume_refuses_another_configuration(run_whole, capsys):
    run = run_whole("every step").run
    before = run.last.read_bytes()
    command = ["--output", str(run.path), "--resume"]
    assert main([*command, "--train.epochs", "3"]) == 2
    assert capsys.readouterr().err.strip() == (
        f"error: {run.path}: started with train.epochs=2, not 3"
    )
    assert run.last.read_bytes() == before


def test_a_damaged_checkpoint(run_whole, capsys):
    """The one before it serves as well, and isn't lost to a stop right after."""
    watched = run_whole("every step")
    copy = watched.copies / "batch7"
    for name in ("damaged", "both damaged"):
        shutil.copytree(copy, watched.copies / name)
        run = RunFolder(watched.copies / name)
        data = bytearray(run.last.read_bytes())
        data[len(data) // 2] ^= 4
        run.last.write_bytes(data)
    damage = "damaged: its bytes aren't those that were written"
    run = watched.resume("damaged")
    assert capsys.readouterr().err == (
        f"warning: {run.last}: {damage}; going on from the checkpoint before it\n"
    )
    assert_same(run, watched.run)
    read_checkpoint(run.previous)

    run = RunFolder(watched.copies / "both damaged")
    run.previous.write_bytes(run.previous.read_bytes()[:1000])
    assert main(["--output", str(run.path), "--resume"]) == 2
    assert capsys.readouterr().err == (
        f"error: {run.last}: {damage}; no other checkpoint is left: remove {run.last.parent} to "
        "train from the start\n"
    )
    shutil.rmtree(run.last.parent)
    assert_same(watched.resume("both damaged"), watched.run)
