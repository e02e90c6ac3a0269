"""``PYTHONPATH=tests python -m faults.fuzz_text NAME SECONDS``: look for faults by coverage.

Needs ``pip install atheris``. NAME is a reader of texts.py (``csv``, ``yaml``, ...); libFuzzer goes
on from its good inputs, and keeps what reaches new lines of the package in runs/faults/fuzz/NAME,
from which the next call starts. Each new kind of finding is printed, and its input kept in
runs/faults.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["peclip_fast", "yaml"]):
    from faults.campaign import Tally, judged
    from faults.texts import readers

KEPT = Path("runs/faults")


def main(name: str, seconds: int) -> None:
    """Does not return: libFuzzer ends the process."""
    found = {reader.name: reader for reader in readers(Path(tempfile.mkdtemp()))}
    reader = found[name]
    corpus = KEPT / "fuzz" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, good in enumerate(reader.corpus):
        (corpus / f"good-{number}").write_bytes(good)
    tally = Tally(f"fuzz-{name}", kept=KEPT)

    def try_one(data: bytes) -> None:
        reader.place.write_bytes(data)
        verdict = judged(reader.read, reader.refuses)
        if verdict.kind and verdict.kind not in tally.kinds():
            tally.add(tally.inputs, verdict, data)
            print(f"\nFOUND in {name}: {verdict.kind}\n{verdict.said}", flush=True)
        tally.inputs += 1

    # No time limit of libFuzzer's: both would use the one alarm that a process has.
    options = ["-timeout=0", f"-max_total_time={seconds}", "-max_len=4096", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
