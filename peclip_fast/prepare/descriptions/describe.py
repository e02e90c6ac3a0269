"""Descriptions of a dataset's clips, from an LLM or a file, written without words of a class."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from peclip_fast.config.data import DataConfig
from peclip_fast.data.cues.clip_names import clip_name
from peclip_fast.data.cues.descriptions import read_descriptions
from peclip_fast.data.records import ClipRecord
from peclip_fast.data.splits import completed, open_splits
from peclip_fast.prepare.descriptions.answers import Answers
from peclip_fast.prepare.descriptions.asking import Asking
from peclip_fast.prepare.descriptions.cost import Spent, estimate
from peclip_fast.prepare.descriptions.endpoint import Endpoint
from peclip_fast.prepare.descriptions.leaks import LeakFilter
from peclip_fast.prepare.descriptions.prompt import PROMPT, Question, filled
from peclip_fast.prepare.descriptions.removals import write_texts
from peclip_fast.text_files import read_text


class Described(NamedTuple):
    """How many clips have a text now, of how many."""

    described: int
    clips: int


def describe(config: DataConfig, options: Namespace, output: Path) -> Described | None:
    """Write the texts of all clips, and what was removed; None on a dry run.

    Args:
        config: names the clips.
        options: of the command describe.
        output: the file of texts.

    Raises:
        InputError: clips, texts, prompt or answers can't be used.
    """
    splits, root = open_splits(config), completed(config).root
    records = [*splits.train, *splits.test]
    clips = {clip_name(record, root): record for record in records}
    leaks = LeakFilter([*splits.classes, *options.classes])
    if options.texts:
        found = read_descriptions(Path(options.texts), records)
        told = {name: [found[full]] for name, r in clips.items() if (full := clip_name(r)) in found}
    else:
        asked = _asked(clips, options, leaks, output)
        if asked is None:
            return None
        told = asked
    output.parent.mkdir(parents=True, exist_ok=True)
    return Described(write_texts(output, told, leaks), len(clips))


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
