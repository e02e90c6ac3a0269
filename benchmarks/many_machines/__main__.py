"""``python -m benchmarks.many_machines``: measure the small end, write docs/scaling.md, check it.

``--measure RUN`` times this machine, RUN being a run of the demo, and writes a results file.
``--write`` makes the page of that and of assumptions.yaml. ``--check`` fails where the page isn't
of them, or the simulation is further than 20 % from what was measured.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from benchmarks.many_machines.page import MODEL, PAGE, as_page, problems, read_rows
from peclip_fast.files import write_text


def main() -> None:
    """One of the three."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_machines", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--measure", type=Path, metavar="RUN", help="time the small end")
    what.add_argument("--write", action="store_true", help="write the page")
    what.add_argument("--check", action="store_true", help="compare page, study and measurement")
    options = parser.parse_args()
    if options.measure:
        from benchmarks.many_machines.measure import measure, model_facts
        from benchmarks.measure.record import RESULTS, write

        write_text(MODEL, json.dumps(model_facts()) + "\n")
        print(write("many_machines", torch.device("cpu"), measure(options.measure), RESULTS))
    elif options.write:
        write_text(PAGE, as_page(*read_rows()))
    elif wrong := problems():
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
