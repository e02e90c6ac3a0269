"""``peclip-fast data cues CONFIG``: find the face's landmarks and regions in every frame."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from peclip_fast.commands.data.shared import data_line, read
from peclip_fast.commands.shared.options import required
from peclip_fast.commands.shared.running import run_command
from peclip_fast.errors import InputError
from peclip_fast.files import check_writable, write_bytes
from peclip_fast.locks import locked

DESCRIPTION = """Find 468 landmarks of the face and its regions (brows, eyes, nose, lips, ...) in
every frame of every clip. Landmarks are BlazeFace's and FaceMesh's; regions are a face-parsing
network's, given by --parsing, or polygons over the landmarks. A frame without a face has the cues
of the nearest one with a face. The output folder gets a file for each clip, cues.csv with the
frames and faces of each, and cues.json with what they were made with. The same command again goes
on where one was ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_cues, argv)


def _cues(argv: list[str]) -> None:
    line = data_line("cues", DESCRIPTION, "--output FOLDER [--parsing FILE.onnx] [options]")
    line.add("--output", metavar="FOLDER", help="where the cues go; required")
    line.add("--parsing", metavar="FILE",
             help="a face-parsing network, ONNX, with CelebAMask-HQ's 19 classes")  # fmt: skip
    line.add("--parsing_classes", metavar="FILE",
             help="its classes, if others: lines 'number: region'")  # fmt: skip
    line.add("--sheet", metavar="FILE", help="a PNG file with the cues of some frames to look at")
    given, config = read(line, argv)
    options = given.own
    folder = required("output", options.output, "the folder of the cues")
    if options.parsing_classes and not options.parsing:
        raise InputError("--parsing_classes: says what a network's classes are; expected --parsing")

    from peclip_fast.data.splits import completed, open_splits
    from peclip_fast.prepare.cues.make import as_table, make_cues
    from peclip_fast.prepare.cues.parsing import find_parsing
    from peclip_fast.prepare.cues.sheet import cue_sheet
    from peclip_fast.prepare.make_files import processes_of
    from peclip_fast.prepare.pack import check_apart

    splits, seconds = open_splits(config.data), options.timeout
    data = completed(config.data)
    records = [*splits.train, *splits.test]
    check_apart(folder, records, [data.root] if data.root else [])
    check_writable(folder)
    if options.sheet:
        check_writable(Path(options.sheet).parent)
    network = None
    if options.parsing:
        classes = options.parsing_classes
        network = find_parsing(Path(options.parsing), Path(classes) if classes else None)
    skip, processes = data.on_bad_clip == "skip", processes_of(data)
    with locked(folder):
        run = make_cues(records, data.root, folder, network, processes, seconds, skip)
    print(config.title)
    print(as_table(run))
    if options.sheet:
        sheet = cue_sheet(run, folder, config.title, processes, seconds)
        write_bytes(Path(options.sheet), sheet)
    print(f"written to {folder}", file=sys.stderr)
