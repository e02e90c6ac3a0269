"""``python -m peclip_fast.fine_text CONFIG``: a description of each clip, from an LLM or a file."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from peclip_fast.cli import run_command
from peclip_fast.config import config_layers, make_parser, read_arguments, resolve
from peclip_fast.data.clip_names import clip_name
from peclip_fast.data.descriptions import read_descriptions
from peclip_fast.data.records import ClipRecord
from peclip_fast.data.textfile import read_text
from peclip_fast.engine.distributed import World
from peclip_fast.errors import InputError
from peclip_fast.files import check_writable
from peclip_fast.fine_text.answers import Answers
from peclip_fast.fine_text.asking import Asking
from peclip_fast.fine_text.cost import Spent, estimate
from peclip_fast.fine_text.endpoint import Endpoint
from peclip_fast.fine_text.leaks import LeakFilter
from peclip_fast.fine_text.prompt import PROMPT, Question, filled
from peclip_fast.fine_text.removals import write_texts
from peclip_fast.inputs import clips_root, open_clips

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
    return run_command(_run, argv)


def _run(argv: list[str]) -> int:
    parser = _parser()
    options = read_arguments(parser, argv)
    _check(options)
    try:
        layers = config_layers([options.config])
    except InputError as error:  # it isn't an option here
        raise InputError(str(error).replace("--config", "CONFIG", 1)) from None
    config = resolve(parser, argv, layers)
    splits = open_clips(config, World(0, 1, 0, 1))
    root = clips_root(config)
    records = [*splits.train, *splits.test]
    clips = {clip_name(record, root): record for record in records}
    output = Path(options.output)
    check_writable(output.parent)
    leaks = LeakFilter([*splits.classes, *options.classes])
    if options.texts:
        found = read_descriptions(Path(options.texts), records)
        told = {name: [found[full]] for name, r in clips.items() if (full := clip_name(r)) in found}
    else:
        asked = _asked(clips, options, leaks, output)
        if asked is None:
            return 0
        told = asked
    output.parent.mkdir(parents=True, exist_ok=True)
    kept = write_texts(output, told, leaks)
    print(f"{kept} of {len(clips)} clips have a text: {output}", file=sys.stderr)
    return int(kept < len(clips))


def _parser() -> ArgumentParser:
    usage = "CONFIG (--endpoint URL --llm NAME | --texts FILE) --output FILE.jsonl [option ...]"
    parser = make_parser("fine_text", DESCRIPTION, usage)
    add = parser.add_argument
    add("config", type=str, help="a packaged configuration's name, or a file")
    add("--output", type=str, help="the file of texts to write, required")
    add("--texts", type=str, help="descriptions made elsewhere, as JSON lines of clip and text")
    add("--endpoint", type=str, help="base address, such as http://localhost:8000/v1")
    add("--llm", type=str, help="the LLM's name at the endpoint")
    add("--key_env", type=str, default="OPENAI_API_KEY", help="variable that holds the key")
    add("--prompt", type=str, help="a text file instead of our prompt; may hold {frames}")
    add("--classes", type=str, nargs="*", default=[], help="further classes that no text may name")
    add(
        "--asks",
        type=int,
        default=2,
        help="requests for a clip at most, while its answers name a class",
    )
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
    return parser


def _check(options: Namespace) -> None:
    if options.output is None:
        raise InputError("--output: expected the file of texts to write")
    if bool(options.texts) == bool(options.endpoint):
        raise InputError("expected one of --endpoint and --texts")
    if options.endpoint and not options.llm:
        raise InputError("--llm: expected the LLM's name at the endpoint")
    if options.texts and options.dry_run:
        raise InputError("--dry_run: expected with --endpoint, as --texts asks for nothing")
    for name, least in (SMALLEST | LEAST).items():
        value = options[name]
        if value is not None and not (value >= least and math.isfinite(value)):
            raise InputError(f"--{name} {value}: expected at least {least:g}")
    if not 0 < options.timeout < math.inf:
        raise InputError(f"--timeout {options.timeout:g}: expected more than 0 seconds")


def _asked(
    clips: Mapping[str, ClipRecord], options: Namespace, leaks: LeakFilter, output: Path
) -> dict[str, list[str]] | None:
    """All answers of the LLM for each clip, of now and before; None on a dry run."""
    prompt = filled(read_text(Path(options.prompt)) if options.prompt else PROMPT, options.frames)
    question = Question(prompt, options.frames, options.side)
    key = os.environ.get(options.key_env)
    endpoint = Endpoint(
        options.endpoint, options.llm, key, options.timeout, options.retries, options.backoff
    )
    spent = Spent(options.price_in, options.price_out)
    answers = Answers(output.with_suffix(".answers.jsonl"))
    try:
        asking = Asking(endpoint, answers, question, leaks, options.asks, options.parallel, spent)
        missing = asking.missing(clips, options.limit)
        if options.dry_run:
            most = sum(asking.open_asks(clip) for clip in missing)
            print(estimate(len(missing), most, question, spent))
            return None
        if missing:
            asking.ask(missing)
        return asking.texts(clips)
    finally:
        answers.close()


if __name__ == "__main__":
    sys.exit(main())
