"""``python -m peclip_fast.data check|summary|pack|cues``: what is to be done before training."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from peclip_fast.commands.clips import open_clips
from peclip_fast.commands.running import run_command
from peclip_fast.config.layers import config_layers
from peclip_fast.config.parser import make_parser, read_arguments, resolve
from peclip_fast.config.run import RunConfig
from peclip_fast.config.texts import class_texts
from peclip_fast.data.loading.loader import default_workers
from peclip_fast.data.records import DatasetSplits
from peclip_fast.data.shots import described
from peclip_fast.engine.distributed import World
from peclip_fast.errors import InputError
from peclip_fast.files import check_writable, write_bytes, write_text
from peclip_fast.prepare import check, pack, summary
from peclip_fast.prepare.contact_sheet import contact_sheet
from peclip_fast.prepare.cues.make import as_table, make_cues
from peclip_fast.prepare.cues.parsing import find_parsing
from peclip_fast.prepare.cues.sheet import cue_sheet

USAGE = """python -m peclip_fast.data check CONFIG     list the clips that can't be used
python -m peclip_fast.data summary CONFIG   classes, counts, lengths, sizes, codecs, pictures
python -m peclip_fast.data pack CONFIG      copy the clips into the form that is read fastest
python -m peclip_fast.data cues CONFIG      find the face's landmarks and regions in every frame
python -m peclip_fast.data COMMAND --help   the options of a command

CONFIG is the name of a packaged configuration or a YAML file, as train's --config."""

CHECK = """Look for clips that are missing, can't be decoded, or have another number of frames than
their list says. All are listed in a CSV file, and the exit code is 1 if there are any. Clips with
fewer frames than are taken (data.frames) and test clips that are training clips too are listed as
well, but allowed."""

SUMMARY = """Print the classes with their texts and numbers of clips, the clips' lengths, sizes and
codecs, and draw a sheet with some frames of some clips of each class. Clips are opened once; what
was found out is kept for the next time and for training."""

PACK = """Copy the clips into the form that training reads fastest: JPEG frames in Matroska, one
file a clip, with all frames, the larger ones made smaller. JPEG frames that are small enough are
kept bit for bit. The output folder gets clips/, train.csv, test.csv, the clips' cues and
descriptions where there are any, and NAME-packed.yaml, which train takes as --config. The same
command again goes on where one was ended. The source is never written to."""

CUES = """Find 468 landmarks of the face and its regions (brows, eyes, nose, lips, ...) in every
frame of every clip. Landmarks are BlazeFace's and FaceMesh's; regions are a face-parsing network's,
given by --parsing, or polygons over the landmarks. A frame without a face has the cues of the
nearest one with a face. The output folder gets a file for each clip, cues.csv with the frames and
faces of each, and cues.json with what they were made with. The same command again goes on where one
was ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """The commands; returns the exit code."""
    return run_command(_run, argv)


def _run(argv: list[str]) -> int:
    commands = {"check": _check, "summary": _summary, "pack": _pack, "cues": _cues}
    if argv and argv[0] in commands:
        return commands[argv[0]](argv[1:])
    if argv in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    got = f", got {argv[0]}" if argv else ""
    raise InputError(f"python -m peclip_fast.data: expected check, summary, pack or cues{got}")


def _check(argv: list[str]) -> int:
    parser = _parser("check", CHECK, "[--quick] [option ...]")
    parser.add_argument("--quick", action="store_true", help="look at headers, decode nothing")
    parser.add_argument("--output", type=str, help="the CSV file; NAME-bad-clips.csv unless given")
    arguments, config, splits = _read(parser, argv)
    output = Path(arguments.output or f"{Path(arguments.config).stem}-bad-clips.csv")
    check_writable(output.parent)
    findings = check.find(
        splits, config.data.frames, arguments.quick, _processes(config), arguments.timeout
    )
    write_text(output, check.as_csv(findings))
    print(config.title)
    print(check.as_table(findings, splits, config.data.frames))
    print(f"written to {output}", file=sys.stderr)
    return int(any(finding.kind in check.BAD for finding in findings))


def _summary(argv: list[str]) -> int:
    parser = _parser("summary", SUMMARY, "[option ...]")
    parser.add_argument("--output", type=str, help="the sheet; NAME-contact-sheet.png unless given")
    arguments, config, splits = _read(parser, argv)
    output = Path(arguments.output or f"{Path(arguments.config).stem}-contact-sheet.png")
    check_writable(output.parent)
    texts = class_texts(splits.classes, config.model.texts)
    records = [*splits.train, *splits.test]
    processes, seconds = _processes(config), arguments.timeout
    facts = summary.all_facts(records, processes, seconds)
    print(config.title)
    if config.data.shots:
        print(described(splits, config.data))
    print(summary.as_table(splits, texts, facts, config.data.frames))
    good = [record for record, fact in zip(records, facts, strict=True) if fact]
    write_bytes(output, contact_sheet(splits, texts, good, config.title, processes, seconds))
    print(f"written to {output}", file=sys.stderr)
    return 0


def _pack(argv: list[str]) -> int:
    parser = _parser("pack", PACK, "--output FOLDER [option ...]")
    parser.add_argument("--output", type=str, help="folder of the packed clips, required")
    parser.add_argument("--side", type=int, default=256, help="shorter side of a larger frame")
    parser.add_argument("--quality", type=int, default=90, help="of the JPEG frames, 1 to 100")
    arguments, config, splits = _read(parser, argv)
    if arguments.output is None:
        raise InputError("--output: expected the folder of the packed clips")
    folder, data = Path(arguments.output), config.data
    packing = pack.Packing(arguments.side, arguments.quality)
    records = [*splits.train, *splits.test]
    places = data.root, data.train_list, data.test_list, data.cues, data.descriptions
    sources = [path for path in places if path]
    pack.check_apart(folder, records, sources)
    check_writable(folder)
    skip = data.on_bad_clip == "skip"
    done = pack.pack(records, folder, packing, _processes(config), arguments.timeout, skip)
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
    packed = folder / f"{Path(arguments.config).stem}-packed.yaml"
    write_text(packed, replace(config, data=data).to_yaml())
    print(pack.as_table(done))
    print(f"train with: python -m peclip_fast.train --config {packed}", file=sys.stderr)
    return 0


def _cues(argv: list[str]) -> int:
    parser = _parser("cues", CUES, "--output FOLDER [--parsing FILE.onnx] [option ...]")
    add = parser.add_argument
    add("--output", type=str, help="folder of the cues, required")
    add("--parsing", type=str, help="a face-parsing network, ONNX, with CelebAMask-HQ's 19 classes")
    add("--parsing_classes", type=str, help="its classes, if others: lines 'number: region'")
    add("--sheet", type=str, help="a PNG file with the cues of some frames, to look at")
    arguments, config, splits = _read(parser, argv)
    if arguments.output is None:
        raise InputError("--output: expected the folder of the cues")
    if arguments.parsing_classes and not arguments.parsing:
        raise InputError("--parsing_classes: says what a network's classes are; expected --parsing")
    folder, data, seconds = Path(arguments.output), config.data, arguments.timeout
    records = [*splits.train, *splits.test]
    pack.check_apart(folder, records, [data.root] if data.root else [])
    check_writable(folder)
    if arguments.sheet:
        check_writable(Path(arguments.sheet).parent)
    network = None
    if arguments.parsing:
        classes = arguments.parsing_classes
        network = find_parsing(Path(arguments.parsing), Path(classes) if classes else None)
    skip, processes = data.on_bad_clip == "skip", _processes(config)
    run = make_cues(records, data.root, folder, network, processes, seconds, skip)
    print(config.title)
    print(as_table(run))
    if arguments.sheet:
        sheet = cue_sheet(run, folder, config.title, processes, seconds)
        write_bytes(Path(arguments.sheet), sheet)
    print(f"written to {folder}", file=sys.stderr)
    return 0


def _parser(command: str, description: str, usage: str) -> ArgumentParser:
    parser = make_parser(f"data {command}", description, f"CONFIG [--data.root FOLDER] {usage}")
    parser.add_argument("config", type=str, help="a packaged configuration's name, or a file")
    parser.add_argument(
        "--timeout", type=float, default=600.0, help="seconds for one clip, after which it is bad"
    )
    return parser


def _read(parser: ArgumentParser, argv: list[str]) -> tuple[Namespace, RunConfig, DatasetSplits]:
    """The command's own options, the configuration, and its clips."""
    arguments = read_arguments(parser, argv)
    if arguments.timeout <= 0:
        raise InputError(f"--timeout {arguments.timeout:g}: expected more than 0 seconds")
    name = arguments.config
    try:
        layers = config_layers([name])
    except InputError as error:  # it isn't an option here
        raise InputError(str(error).replace("--config", "CONFIG", 1)) from None
    config = resolve(parser, argv, layers)
    return arguments, config, open_clips(config, World(0, 1, 0, 1))


def _processes(config: RunConfig) -> int:
    """Clips are always read in other processes, which may crash."""
    workers = config.data.num_workers
    return max(1, default_workers() if workers is None else workers)


if __name__ == "__main__":
    sys.exit(main())
