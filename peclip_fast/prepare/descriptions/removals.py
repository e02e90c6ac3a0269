"""The texts that are kept, and the list of what was left out of them."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from peclip_fast.data.cues.descriptions import write_descriptions
from peclip_fast.files import write_text
from peclip_fast.prepare.descriptions.leaks import Cleaned, LeakFilter

HEADER = ("clip", "word", "class", "sentence", "done")
LEFT_OUT, REPLACED = "sentence left out", "another answer taken"


def write_texts(output: Path, told: Mapping[str, Sequence[str]], leaks: LeakFilter) -> int:
    """Write a text for each clip, and FILE.removals.csv with each word that named a class.

    Args:
        output: the file of texts, JSON lines.
        told: each clip's name and its texts, several where an LLM was asked again.
        leaks: leaves out sentences.

    Returns:
        How many clips have a text now.
    """
    table, kept = io.StringIO(), {}
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(HEADER)
    for clip, texts in told.items():
        answers = [leaks(text) for text in texts]
        taken = best(answers)
        rows.writerows((clip, *row) for row in _rows(answers, taken))
        if text := " ".join(answers[taken].text.split()):
            kept[clip] = text
        else:
            print(f"nothing is left of the text of {clip}", file=sys.stderr)
    write_descriptions(output, kept)
    write_text(output.with_suffix(".removals.csv"), table.getvalue())
    return len(kept)


def best(answers: Sequence[Cleaned]) -> int:
    """Which answer is taken: the first that names no class, or the one of which most is left."""
    for place, answer in enumerate(answers):
        if answer.text and not answer.leaks:
            return place
    return max(range(len(answers)), key=lambda place: len(answers[place].text))


def _rows(answers: Sequence[Cleaned], taken: int) -> Iterator[tuple[str, ...]]:
    for place, answer in enumerate(answers):
        for leak in answer.leaks:
            yield *leak, LEFT_OUT if place == taken else REPLACED
