"""The options of ``analyze`` that mean something for archives only."""

from __future__ import annotations

import argparse

from peclip_fast.errors import InputError

ENGINES = ("local", "ray")
_OF_RAY = ("workers", "decoders", "gpus", "address")


def add_archive_options(parser: argparse.ArgumentParser) -> None:
    """The options that mean something with ``--sources`` only."""
    add = parser.add_argument_group("archives (docs/archives.md)").add_argument
    add("--sources", dest="listed", nargs="+", metavar="LIST",
        help="instead of SOURCE: lists of videos (CSV or Parquet with a column source, or a text "
        "file), videos, folders, patterns, URLs")  # fmt: skip
    add("--engine", choices=ENGINES, help="who does the work: this process, or Ray's; local unless "
        "given")  # fmt: skip
    add("--workers", type=int, metavar="N", help="processes of Ray with the model; 1 unless given")
    add("--decoders", type=int, metavar="N",
        help="processes of Ray that read videos for them; none unless given, each worker reads its "
        "own then")  # fmt: skip
    add("--gpus", type=float, metavar="N", help="GPUs of each worker, such as 0.5; 0 unless given")
    add("--address", help="of a Ray cluster, such as auto; one on this machine unless given")
    add("--shard", type=int, metavar="N", help="videos in a Parquet file; 100 unless given")
    add("--pages", action="store_true", help="also draw each video's timeline and page")


def check_archive_options(options: argparse.Namespace) -> None:
    """Raise InputError unless the options go together."""
    if options.listed is None:
        if not options.sources:
            raise InputError("SOURCE: expected a video, a folder, a camera, or --sources")
        for name in ("engine", *_OF_RAY, "shard"):
            if getattr(options, name) is not None:
                raise InputError(f"--{name}: expected --sources, too")
        if options.pages:
            raise InputError("--pages: expected --sources, too; without it pages are always drawn")
        return
    if options.sources:
        raise InputError(f"{options.sources[0]}: expected it after --sources")
    if options.engine != "ray":
        for name in _OF_RAY:
            if getattr(options, name) is not None:
                raise InputError(f"--{name}: expected --engine ray, too")
    if options.shard is not None and options.shard < 1:
        raise InputError(f"--shard {options.shard}: expected at least 1")
