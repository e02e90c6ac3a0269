"""``peclip-fast describe CONFIG``: a description of each clip, from an LLM or a file."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from peclip_fast.commands.shared.options import OF_SPLITS, CommandLine, positive
from peclip_fast.commands.shared.running import run_command
from peclip_fast.errors import InputError
from peclip_fast.files import check_writable

DESCRIPTION = """Write a description of what moves in the face in each clip, without the words that
name a class. An LLM behind an OpenAI-compatible endpoint writes them, or they come from a file
(--texts). If the LLM's answer names a class, it is asked again; a sentence that still names one is
left out, as it is from a file's texts. Two files are written next to FILE.jsonl: FILE.removals.csv
lists each word that named a class, its sentence and what was done, and FILE.answers.jsonl holds
every answer of the LLM as it came, so the same command asks only for what is missing. The key is
taken from the environment variable --key_env. The exit code is 1 if a clip has no text."""
SMALLEST = {"frames": 1, "side": 1, "asks": 1, "parallel": 1, "retries": 0, "limit": 0}
LEAST = {"backoff": 0.0, "price_in": 0.0, "price_out": 0.0}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code, 1 if a clip has no text."""
    return run_command(_describe, argv)


def _describe(argv: list[str]) -> int:
    given = _line().read(argv)
    options = given.own
    _check(options)
    config = given.of_config()
    output = Path(options.output)
    check_writable(output.parent)

    from peclip_fast.prepare.descriptions.describe import describe

    found = describe(config.data, options, output)
    if found is None:
        return 0
    print(f"{found.described} of {found.clips} clips have a text: {output}", file=sys.stderr)
    return int(found.described < found.clips)


def _line() -> CommandLine:
    usage = "CONFIG (--endpoint URL --llm NAME | --texts FILE) --output FILE.jsonl [options]"
    line = CommandLine("describe", DESCRIPTION, usage, OF_SPLITS)
    line.add_config_argument()
    add = line.add
    add("--output", metavar="FILE", help="the file of texts to write, required")
    add(
        "--texts",
        metavar="FILE",
        help="texts made elsewhere, as JSON lines of clip and text",
    )
    add("--endpoint", metavar="URL", help="base address, such as http://localhost:8000/v1")
    add("--llm", metavar="NAME", help="the LLM's name at the endpoint")
    add("--key_env", metavar="NAME", default="OPENAI_API_KEY", help="variable that holds the key")
    add("--prompt", metavar="FILE", help="a text file instead of our prompt; may hold {frames}")
    add("--classes", nargs="*", default=[], help="further classes that no text may name")
    add("--asks", type=int, default=2, help="requests for a clip at most, while its answers name a "
        "class")  # fmt: skip
    add("--frames", type=int, default=8, help="frames of a clip that are sent")
    add("--side", type=int, default=336, help="longer side of a larger frame that is sent")
    add("--parallel", type=int, default=4, help="requests in flight")
    add("--retries", type=int, default=5, help="further attempts of a request that failed")
    add("--backoff", type=float, default=1.0, help="seconds before the second attempt")
    add("--timeout", type=float, default=120.0, help="seconds without a sign of the server")
    add("--price_in", type=float, default=0.0, help="per million tokens sent")
    add("--price_out", type=float, default=0.0, help="per million tokens of the answers")
    add("--limit", type=int, help="ask for this many clips at most")
    add("--dry_run", action="store_true", help="say what would be asked, and ask nothing")
    return line


def _check(options: argparse.Namespace) -> None:
    if options.output is None:
        raise InputError("--output: expected the file of texts to write")
    if bool(options.texts) == bool(options.endpoint):
        raise InputError("expected one of --endpoint and --texts")
    if options.endpoint and not options.llm:
        raise InputError("--llm: expected the LLM's name at the endpoint")
    if options.texts and options.dry_run:
        raise InputError("--dry_run: expected with --endpoint, as --texts asks for nothing")
    for name, least in (SMALLEST | LEAST).items():
        value = getattr(options, name)
        if value is not None and not (value >= least and math.isfinite(value)):
            raise InputError(f"--{name} {value}: expected at least {least:g}")
    positive("timeout", options.timeout)
