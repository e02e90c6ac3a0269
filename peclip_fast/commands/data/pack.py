"""``peclip-fast data pack CONFIG``: copy the clips into the form that is read fastest."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from peclip_fast.commands.data.shared import data_line, read
from peclip_fast.commands.shared.options import required
from peclip_fast.commands.shared.running import run_command
from peclip_fast.files import check_writable, write_text
from peclip_fast.locks import locked

DESCRIPTION = """Copy the clips into the form that training reads fastest: JPEG frames in Matroska,
one file a clip, with all frames, the larger ones made smaller. JPEG frames that are small enough
are kept bit for bit. The output folder gets clips/, train.csv, test.csv, the clips' cues and
descriptions where there are any, and NAME-packed.yaml, which train takes as --config. The same
command again goes on where one was ended. The source is never written to."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_pack, argv)


def _pack(argv: list[str]) -> None:
    line = data_line("pack", DESCRIPTION, "--output FOLDER [options]", "data.cues",
                     "data.descriptions")  # fmt: skip
    line.add("--output", metavar="FOLDER", help="where the packed clips go; required")
    line.add("--side", type=int, default=256, help="shorter side of a larger frame, in pixels")
    line.add("--quality", type=int, default=90, help="of the JPEG frames, 1 to 100")
    given, config = read(line, argv)
    options = given.own
    folder = required("output", options.output, "the folder of the packed clips")

    from peclip_fast.data.splits import completed, open_splits
    from peclip_fast.prepare import pack
    from peclip_fast.prepare.make_files import processes_of

    packing = pack.Packing(options.side, options.quality)
    splits, data = open_splits(config.data), completed(config.data)
    records = [*splits.train, *splits.test]
    places = data.root, data.train_list, data.test_list, config.data.cues, config.data.descriptions
    pack.check_apart(folder, records, [path for path in places if path])
    check_writable(folder)
    skip = data.on_bad_clip == "skip"
    with locked(folder):
        done = pack.pack(records, folder, packing, processes_of(data), options.timeout, skip)
        lists = pack.write_lists(folder, splits, done)
        cues, descriptions = pack.copy_cues(folder, records, done)
        data = replace(
            data,
            dataset="csv",
            root=folder,
            fold=1,
            classes=list(splits.classes),
            train_list=lists.get("train"),
            test_list=lists.get("test"),
            cues=cues,
            descriptions=descriptions,
        )
        packed = folder / f"{Path(options.config).stem}-packed.yaml"
        write_text(packed, replace(config, data=data).to_yaml())
    print(pack.as_table(done))
    print(f"train with: peclip-fast train --config {packed}", file=sys.stderr)
