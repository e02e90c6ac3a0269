"""``python -m peclip_fast.fine_text CONFIG``: a description of each clip, from an LLM or a file."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import string
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from jsonargparse import Namespace
from PIL import Image
from tqdm import tqdm

from peclip_fast.cli import run_command
from peclip_fast.config import config_layers, make_parser, read_arguments, resolve
from peclip_fast.data.clip_names import clip_name
from peclip_fast.data.clip_source import open_record
from peclip_fast.data.descriptions import read_descriptions, write_descriptions
from peclip_fast.data.records import ClipRecord
from peclip_fast.data.sampling import sample_indices
from peclip_fast.engine.distributed import World
from peclip_fast.errors import InputError
from peclip_fast.files import check_writable, write_text
from peclip_fast.fine_text.answers import Answers
from peclip_fast.fine_text.endpoint import Endpoint, NoReplyError, Reply
from peclip_fast.fine_text.leak_filter import LeakFilter
from peclip_fast.inputs import open_clips

DESCRIPTION = """Write a description of what moves in the face in each clip, from an LLM behind an
OpenAI-compatible endpoint or from a file (--texts), without the words that name a class. Beside
FILE.jsonl come FILE.removals.csv with all that was removed, and FILE.answers.jsonl with each answer
of the LLM as it came: the same command again asks only for what isn't there. The key is taken from
the environment variable --key_env."""
PROMPT = """These are {frames} frames of one clip of a face, in order. In at most 50 words, say what
moves from frame to frame: brows, eyelids, gaze, nose, cheeks, lips, jaw, head. Name movements and
positions alone. Don't name or guess an emotion, a mood or an expression."""
FAILURES_IN_A_ROW = 20  # after which the endpoint is taken to be gone


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code, 1 if a clip has no text."""
    return run_command(_run, argv)


def _run(argv: list[str]) -> int:
    usage = "CONFIG (--endpoint URL --llm NAME | --texts FILE) --output FILE.jsonl [option ...]"
    parser = make_parser("fine_text", DESCRIPTION, usage)
    add = parser.add_argument
    add("config", type=str, nargs="+", help="packaged configurations by name, or files")
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
    options = read_arguments(parser, argv)
    if options.output is None or bool(options.texts) == bool(options.endpoint):
        raise InputError("expected --output and one of --endpoint and --texts")
    for name in ("frames", "side", "parallel"):
        if options[name] < 1:
            raise InputError(f"--{name} {options[name]}: expected at least 1")
    config = resolve(parser, argv, config_layers(options.config))
    splits = open_clips(config, World(0, 1, 0, 1))
    clips = {clip_name(record): record for record in [*splits.train, *splits.test]}
    output = Path(options.output)
    check_writable(output.parent)
    if options.texts:
        texts = read_descriptions(Path(options.texts), clips.values())
    elif options.dry_run or options.llm:
        texts = _asked(clips, options, output)
    else:
        raise InputError("--llm: expected the LLM's name at the endpoint")
    if options.dry_run:
        return 0
    output.parent.mkdir(parents=True, exist_ok=True)
    kept = _filtered(texts, [*splits.classes, *options.classes], output)
    print(f"{kept} of {len(clips)} clips have a text: {output}", file=sys.stderr)
    return int(kept < len(clips))


def _asked(clips: Mapping[str, ClipRecord], options: Namespace, output: Path) -> dict[str, str]:
    """The texts of all clips that the LLM has answered for, now or before."""
    template = Path(options.prompt).read_text(encoding="utf-8") if options.prompt else PROMPT
    prompt = _filled(template, options.frames)
    digest = hashlib.sha256(prompt.encode()).hexdigest()[:16]
    key = os.environ.get(options.key_env)
    endpoint = Endpoint(
        options.endpoint, options.llm, key, options.timeout, options.retries, options.backoff
    )
    answers = Answers(output.with_suffix(".answers.jsonl"))
    try:
        missing = [c for c in clips if (c, options.llm, digest) not in answers.found]
        missing = missing[: options.limit]
        if options.dry_run:
            sent = len(missing) * (len(prompt) / 4 + options.frames * options.side**2 / 750)
            cost = (sent * options.price_in + len(missing) * 100 * options.price_out) / 1e6
            print(f"{len(missing)} requests, about {sent:.0f} tokens sent, cost about {cost:.2f}")
            print("an estimate: a token for 4 letters and 750 pixels, 100 for an answer")
            return {}
        failed = _ask_all(
            {c: clips[c] for c in missing}, prompt, digest, endpoint, answers, options
        )
        for clip, reason in failed.items():
            print(f"no text for {clip}: {reason}", file=sys.stderr)
        found = {c: answers.found.get((c, options.llm, digest), {}).get("text") for c in clips}
        return {clip: text for clip, text in found.items() if text}
    finally:
        answers.close()


def _ask_all(
    clips: Mapping[str, ClipRecord],
    prompt: str,
    digest: str,
    endpoint: Endpoint,
    answers: Answers,
    options: Namespace,
) -> dict[str, str]:
    """Asks for all clips and keeps the answers; the reason of each clip that has none."""
    failed: dict[str, str] = {}
    in_a_row = sent = said = 0
    waiting, flying = iter(clips.items()), dict[Future[Reply], str]()
    bar = tqdm(total=len(clips), desc="asking", unit="clip", disable=None)
    with bar, ThreadPoolExecutor(options.parallel) as pool:

        def keep(done: Future[Reply]) -> None:
            nonlocal in_a_row, sent, said
            clip = flying.pop(done)
            try:
                reply = done.result()
            except (InputError, NoReplyError) as error:
                if isinstance(error, InputError) and str(error).startswith(endpoint.url):
                    raise
                failed[clip] = str(error)
                in_a_row += isinstance(error, NoReplyError)
                tqdm.write(f"{clip}: {error}", file=sys.stderr)
            else:
                answers.add((clip, endpoint.llm, digest), *reply)
                in_a_row = 0
                sent += reply.usage["prompt_tokens"]
                said += reply.usage["completion_tokens"]
            cost = (sent * options.price_in + said * options.price_out) / 1e6
            bar.set_postfix_str(f"{sent} + {said} tokens, cost {cost:.4f}")
            bar.update()

        try:
            while in_a_row < FAILURES_IN_A_ROW:
                while len(flying) < options.parallel and (item := next(waiting, None)):
                    job = pool.submit(_describe, item[1], prompt, endpoint, options)
                    flying[job] = item[0]
                if not flying:
                    break
                for done in wait(flying, return_when=FIRST_COMPLETED).done:
                    keep(done)
        finally:  # what is in flight is paid for: wait for it, and keep it
            endpoint.stopped.set()
            for done in list(flying):
                keep(done)
    if in_a_row >= FAILURES_IN_A_ROW:
        print(f"stopped after {in_a_row} failures in a row", file=sys.stderr)
    print(f"{sent} tokens sent, {said} received", file=sys.stderr)
    return failed


def _describe(record: ClipRecord, prompt: str, endpoint: Endpoint, options: Namespace) -> Reply:
    try:
        source = open_record(record)
        try:
            frames = source.read(sample_indices(source.num_frames, options.frames))
        finally:
            source.close()
    except OSError as error:
        raise InputError(f"{record.path}: can't be read ({error})") from None
    images = []
    for frame in frames:
        image, jpeg = Image.fromarray(frame), io.BytesIO()
        image.thumbnail((options.side, options.side))
        image.save(jpeg, "JPEG", quality=90)
        images.append(jpeg.getvalue())
    return endpoint.ask(prompt, images)


def _filled(template: str, frames: int) -> str:
    try:
        names = {name for _, name, *_ in string.Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise InputError(f"--prompt: {error}; a brace that is meant is written twice") from None
    if names - {"frames"}:
        raise InputError(
            f"--prompt: unknown {', '.join(sorted(names - {'frames'}))}; known: frames"
        )
    return template.format(frames=frames)


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
