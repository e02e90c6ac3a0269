"""``peclip-fast compare RUN RUN``: whether one run is better than another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from peclip_fast.commands.shared.options import CommandLine
from peclip_fast.commands.shared.running import run_command

DESCRIPTION = """Compare two runs on the test clips that both have classified, clip by clip: the
difference in WAR with McNemar's exact test, and the difference in UAR with a bootstrap interval.
Differences are the second run's less the first's."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_compare, argv)


def _compare(argv: list[str]) -> None:
    line = CommandLine("compare", DESCRIPTION, "RUN RUN [--json]", ())
    line.add("runs", type=Path, nargs=2, metavar="RUN", help="run folders")
    line.add("--json", action="store_true", help="print JSON")
    options = line.read(argv).own

    from peclip_fast.experiment.comparison import as_text, compare_runs, read_predictions

    first, second = (read_predictions(run) for run in options.runs)
    found = compare_runs(first, second, options.runs)
    print(json.dumps(asdict(found), indent=1) if options.json else as_text(found, options.runs))
