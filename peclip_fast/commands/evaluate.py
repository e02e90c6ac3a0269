"""``peclip-fast evaluate RUN``: how good a trained model is on a test split."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from peclip_fast.commands.shared.options import OF_TEST, run_line
from peclip_fast.commands.shared.running import run_command
from peclip_fast.config.parser import resolve
from peclip_fast.config.run import differences
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.files import check_writable
from peclip_fast.locks import locked

DESCRIPTION = """Evaluate a run's model on its test split: WAR, UAR, recall per class, confusion
matrix, and the probabilities of every clip. Options change the run's configuration, as
--data.root FOLDER for clips elsewhere or --data.test_list FILE for others. A run that was trained
on descriptions takes the classes of any dataset, by --data.dataset NAME --data.root FOLDER."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_evaluate, argv)


def _evaluate(argv: list[str]) -> None:
    line = run_line("evaluate", DESCRIPTION, "RUN [--data.root FOLDER] [--json] [options]",
                       OF_TEST)  # fmt: skip
    line.add("run", metavar="RUN", help="the run folder")
    line.add("--output", metavar="FOLDER", help="where the report goes: the run folder, or its "
             "evaluation/ if an option changes the configuration")  # fmt: skip
    line.add("--json", action="store_true", help="print report.json, not a table")
    given = line.read(argv)
    run = RunFolder(Path(given.own.run))
    config = given.of_run(run)
    former = resolve(run.layers())
    changed = differences(former, config)
    folder = Path(given.own.output or (run.path / "evaluation" if changed else run.path))
    check_writable(folder)

    from peclip_fast.data.splits import open_splits
    from peclip_fast.engine.distributed import World, process_group, set_up
    from peclip_fast.engine.run import evaluate_run

    world = World.from_environment()
    device = set_up(config.train, world)
    with locked(folder) if world.first else nullcontext():
        with process_group(world, device):
            splits = open_splits(config.as_tested.data)
            report = evaluate_run(run, config, splits, former, changed, device, world)
        if world.first:
            report.write(folder)
    if world.first:
        print(json.dumps(report.as_json(), indent=1) if given.own.json else report.as_table())
        print(f"written to {folder}", file=sys.stderr)
