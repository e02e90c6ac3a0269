"""``python -m peclip_fast.fine_text CONFIG``: a description of each clip, from an LLM or a file."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import string
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from peclip_fast.commands.clips import clips_root, open_clips
from peclip_fast.commands.running import run_command
from peclip_fast.config.layers import config_layers
from peclip_fast.config.parser import make_parser, read_arguments, resolve
from peclip_fast.data.cues.clip_names import clip_name
from peclip_fast.data.cues.descriptions import read_descriptions, write_descriptions
from peclip_fast.data.records import ClipRecord
from peclip_fast.data.text_files import read_text
from peclip_fast.engine.distributed import World
from peclip_fast.errors import InputError
from peclip_fast.files import check_writable, write_text
from peclip_fast.prepare.descriptions.answers import Answers
from peclip_fast.prepare.descriptions.asking import Asking, Spent
from peclip_fast.prepare.descriptions.endpoint import Endpoint
from peclip_fast.prepare.descriptions.leak_filter import LeakFilter

DESCRIPTION = """Write a description of what moves in the face in each clip, from an LLM behind an
OpenAI-compatible endpoint or from a file (--texts), without the words that name a class. Beside
FILE.jsonl come FILE.removals.csv with all that was removed, and FILE.answers.jsonl with each answer
of the LLM as it came: the same command again asks only for what isn't there. The key is taken from
the environment variable --key_env. The exit code is 1 if a clip has no text."""
PROMPT = """These are {frames} frames of one clip of a face, in order. In at most 50 words, say what
moves from frame to frame: brows, eyelids, gaze, nose, cheeks, lips, jaw, head. Name movements and
positions alone. Don't name or guess an emotion, a mood or an expression."""
SMALLEST = {"frames": 1, "side": 1, "parallel": 1, "retries": 0, "limit": 0}
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
    if options.texts:
        found = read_descriptions(Path(options.texts), records)
        texts = {name: found[full] for name, r in clips.items() if (full := clip_name(r)) in found}
    else:
        asked = _asked(clips, options, output)
        if asked is None:
            return 0
        texts = asked
    output.parent.mkdir(parents=True, exist_ok=True)
    kept = _filtered(texts, [*splits.classes, *options.classes], output)
    print(f"{kept} of {len(clips)} clips have a text: {output}", file=sys.stderr)
    return int(kept < len(clips))


def _parser() -> ArgumentParser:
    usage = "CONFIG (--endpoint URL --llm NAME | --texts FILE) --output FILE.jsonl [option ...]"
    parser = make_parser("fine_text", DESCRIPTION, usage)
    add = parser.add_argument
    add("config", type=str, help="a packaged configuration's name, or a file")
    add("--output", type=str, help="the file of cleaned texts, required")
    add("--texts", type=str, help="descriptions made elsewhere, as JSON lines of clip and text")
    add("--endpoint", type=str, help="base address, such as http://localhost:8000/v1")
    add("--llm", type=str, help="the LLM's name at the endpoint")
    add("--key_env", type=str, default="OPENAI_API_KEY", help="variable that holds the key")
    add("--prompt", type=str, help="a text file instead of our prompt; may hold {frames}")
    add("--classes", type=str, nargs="*", default=[], help="further classes to remove the words of")
    add("--frames", type=int, default=8, help="frames of a clip that are sent")
    add("--side", type=int, default=336, help="longer side of a larger frame that is sent")
    add("--parallel", type=int, default=4, help="requests in flight")
    add("--retries", type=int, default=5, help="attempts after the first")
    add("--backoff", type=float, default=1.0, help="seconds before the second attempt")
    add("--timeout", type=float, default=120.0, help="seconds without a sign of the server")
    add("--price_in", type=float, default=0.0, help="per million tokens sent")
    add("--price_out", type=float, default=0.0, help="per million tokens of the answers")
    add("--limit", type=int, help="ask for this many clips at most")
    add("--dry_run", action="store_true", help="say what would be asked, and ask nothing")
    return parser


def _check(options: Namespace) -> None:
    if options.output is None:
        raise InputError("--output: expected the file of cleaned texts")
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
    clips: Mapping[str, ClipRecord], options: Namespace, output: Path
) -> dict[str, str] | None:
    """The texts of all clips that the LLM has answered for, now or before; None on a dry run."""
    prompt = _filled(read_text(Path(options.prompt)) if options.prompt else PROMPT, options.frames)
    question = _digest(prompt, options.frames, options.side)
    key = os.environ.get(options.key_env)
    endpoint = Endpoint(
        options.endpoint, options.llm, key, options.timeout, options.retries, options.backoff
    )
    answers = Answers(output.with_suffix(".answers.jsonl"))
    try:
        missing = [c for c in clips if (c, options.llm, question) not in answers.found]
        missing = missing[: options.limit]
        if options.dry_run:
            print(_estimate(len(missing), prompt, options))
            return None
        spent = Spent(options.price_in, options.price_out)
        asking = Asking(
            endpoint,
            answers,
            prompt,
            question,
            options.frames,
            options.side,
            options.parallel,
            spent,
        )
        if missing:
            for clip, reason in asking.ask({c: clips[c] for c in missing}).items():
                print(f"no text for {clip}: {reason}", file=sys.stderr)
        found = {c: answers.found.get((c, options.llm, question)) for c in clips}
        for clip in (clip for clip, text in found.items() if text == ""):
            print(f"no text for {clip}: the answer is empty", file=sys.stderr)
        return {clip: text for clip, text in found.items() if text}
    finally:
        answers.close()


def _digest(prompt: str, frames: int, side: int) -> str:
    """Tells one question from another: an answer for other pictures is no answer."""
    return hashlib.sha256(json.dumps([prompt, frames, side]).encode()).hexdigest()[:16]


def _estimate(requests: int, prompt: str, options: Namespace) -> str:
    sent = requests * (len(prompt) / 4 + options.frames * options.side**2 / 750)
    cost = (sent * options.price_in + requests * 100 * options.price_out) / 1e6
    return (
        f"{requests} requests, about {sent:.0f} tokens sent, cost about {cost:.2f}\n"
        "an estimate: a token for 4 letters and 750 pixels, 100 for an answer"
    )


def _filled(template: str, frames: int) -> str:
    if not template.strip():
        raise InputError("--prompt: the file is empty")
    try:
        fields = list(string.Formatter().parse(template))
        unknown = {name for _, name, *_ in fields if name is not None} - {"frames"}
        if unknown:
            raise InputError(f"--prompt: unknown {', '.join(sorted(unknown))}; known: frames")
        return template.format(frames=frames)
    except ValueError as error:
        raise InputError(f"--prompt: {error}; a brace that is meant is written twice") from None


def _filtered(texts: Mapping[str, str], classes: Sequence[str], output: Path) -> int:
    """Write the cleaned texts and the list of removals; how many texts aren't empty now."""
    clean = LeakFilter(classes)
    table, kept = io.StringIO(), {}
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("clip", "word", "class", "reason", "start", "end"))
    for clip, text in texts.items():
        cleaned = clean(text)
        rows.writerows((clip, p.word, p.label, p.reason, p.start, p.end) for p in cleaned.removed)
        if cleaned.text:
            kept[clip] = cleaned.text
        else:
            print(f"nothing is left of the text of {clip}", file=sys.stderr)
    write_descriptions(output, kept)
    write_text(output.with_suffix(".removals.csv"), table.getvalue())
    return len(kept)


if __name__ == "__main__":
    sys.exit(main())
