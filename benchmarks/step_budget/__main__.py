"""``python -m benchmarks.step_budget``: count what a step asks of a GPU; no GPU is needed.

``--check`` fails where a number is larger than in the committed table; ``--write`` writes that.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks.step_budget import steps
from benchmarks.step_budget.table import DATA, PAGE, Row, as_json, as_page, grown, read, row
from peclip_fast.files import write_text

CLIPS = (8, 32)
BACKENDS = ("auto", "triton", "cuda")


def count() -> list[Row]:
    """All rows."""
    rows = []
    for step, function in (("train", steps.trained), ("inference", steps.inferred)):
        for clips in CLIPS:
            for backend in BACKENDS:
                counts = function(clips, backend)
                rows.append(row(step, clips, backend, counts))
                print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Count, then check or write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_budget", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="compare with the committed table")
    what.add_argument("--write", action="store_true", help="write the table")
    options = parser.parse_args()
    found, pytorch = count(), torch.__version__
    if options.write:
        write_text(DATA, as_json(found, pytorch))
        write_text(PAGE, as_page(found, pytorch, steps.FRAMES))
        return
    known, of = read()
    wrong = grown(found, known, same_pytorch=pytorch == of)
    if PAGE.read_text() != as_page(known, of, steps.FRAMES):
        wrong.append(f"{PAGE.name} isn't of {DATA.name}")
    if wrong:
        raise SystemExit("\n".join(wrong))
    if found != known:
        print("some numbers are smaller than in the table: --write it anew")


if __name__ == "__main__":
    main()
