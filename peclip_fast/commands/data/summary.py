"""``peclip-fast data summary CONFIG``: counts, lengths, sizes, codecs, and a sheet of pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from peclip_fast.commands.data.shared import data_line, read
from peclip_fast.commands.shared.running import run_command
from peclip_fast.files import check_writable, write_bytes

DESCRIPTION = """Print the classes with their texts and numbers of clips, the clips' lengths, sizes
and codecs, and draw a sheet with some frames of some clips of each class. Clips are opened once;
what was found out is kept for the next time and for training."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_summary, argv)


def _summary(argv: list[str]) -> None:
    line = data_line("summary", DESCRIPTION, "[options]", "data.frames", "model.texts")
    line.add("--output", metavar="FILE", help="the sheet; NAME-contact-sheet.png unless given")
    given, config = read(line, argv)
    options = given.own
    output = Path(options.output or f"{Path(options.config).stem}-contact-sheet.png")
    check_writable(output.parent)

    from peclip_fast.data.shots import described
    from peclip_fast.data.splits import open_splits
    from peclip_fast.prepare import summary
    from peclip_fast.prepare.contact_sheet import contact_sheet
    from peclip_fast.prepare.make_files import processes_of

    splits = open_splits(config.data)
    texts = config.model.class_texts(splits.classes)
    records = [*splits.train, *splits.test]
    processes, seconds = processes_of(config.data), options.timeout
    facts = summary.all_facts(records, processes, seconds)
    print(config.title)
    if config.data.shots:
        print(described(splits, config.data))
    print(summary.as_table(splits, texts, facts, config.data.frames))
    good = [record for record, fact in zip(records, facts, strict=True) if fact]
    write_bytes(output, contact_sheet(splits, texts, good, config.title, processes, seconds))
    print(f"written to {output}", file=sys.stderr)
