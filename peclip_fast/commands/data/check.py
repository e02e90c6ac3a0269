"""``peclip-fast data check CONFIG``: list the clips that can't be used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from peclip_fast.commands.data.shared import data_line, read
from peclip_fast.commands.shared.running import run_command
from peclip_fast.files import check_writable, write_text

DESCRIPTION = """Look for clips that are missing, can't be decoded, or have another number of frames
than their list says. All are listed in a CSV file, and the exit code is 1 if there are any. Clips
with fewer frames than are taken (data.frames) and test clips that are training clips, too, are
listed as well, but allowed."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_check, argv)


def _check(argv: list[str]) -> int:
    line = data_line("check", DESCRIPTION, "[--quick] [options]", "data.frames")
    line.add("--quick", action="store_true", help="look at headers and decode nothing")
    line.add("--output", metavar="FILE", help="the CSV file; NAME-bad-clips.csv unless given")
    given, config = read(line, argv)
    options = given.own
    output = Path(options.output or f"{Path(options.config).stem}-bad-clips.csv")
    check_writable(output.parent)

    from peclip_fast.data.splits import open_splits
    from peclip_fast.prepare import check
    from peclip_fast.prepare.make_files import processes_of

    splits = open_splits(config.data)
    findings = check.find(
        splits, config.data.frames, options.quick, processes_of(config.data), options.timeout
    )
    write_text(output, check.as_csv(findings))
    print(config.title)
    print(check.as_table(findings, splits, config.data.frames))
    print(f"written to {output}", file=sys.stderr)
    return int(any(finding.kind in check.BAD for finding in findings))
