"""``python -m peclip_fast.evaluate RUN``: how well a trained model does on a test split."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from peclip_fast.commands.clips import open_clips
from peclip_fast.commands.running import run_command
from peclip_fast.config.layers import read_yaml
from peclip_fast.config.parser import make_parser, read_arguments, resolve
from peclip_fast.config.run import differences
from peclip_fast.engine.distributed import World, process_group, set_up
from peclip_fast.engine.run import evaluate_run
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.files import check_writable

DESCRIPTION = """Evaluate a run's model on its test split: WAR, UAR, recall per class, confusion
matrix, and the probabilities of every clip. Options change the run's configuration, as
--data.root FOLDER for clips elsewhere or --data.test_list FILE for others. A run that was trained
on descriptions takes the classes of any dataset, by --data.dataset NAME --data.root FOLDER."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_evaluate, argv)


def _evaluate(argv: list[str]) -> None:
    parser = make_parser("evaluate", DESCRIPTION, "RUN [--data.root FOLDER] [--json] [option ...]")
    parser.add_argument("run", type=str, help="the run folder")
    parser.add_argument(
        "--output",
        type=str,
        help="where the report goes: the run folder, or its evaluation/ if any option is given",
    )
    parser.add_argument("--json", action="store_true", help="print report.json, not a table")
    arguments = read_arguments(parser, argv)
    run = RunFolder(Path(arguments.run))
    run.check_trained()
    saved = [(str(run.config), read_yaml(run.config))]
    former = resolve(parser, [str(run.path)], saved)
    config = resolve(parser, argv, saved)
    changed = differences(former, config)
    folder = Path(arguments.output or (run.path / "evaluation" if changed else run.path))
    check_writable(folder)

    world = World.from_environment()
    device = set_up(config.train, world)
    with process_group(world, device):
        splits = open_clips(config.as_tested, world)
        report = evaluate_run(run, config, splits, former, changed, device, world)
    if world.first:
        report.write(folder)
        print(json.dumps(report.as_json(), indent=1) if arguments.json else report.as_table())
        print(f"written to {folder}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
