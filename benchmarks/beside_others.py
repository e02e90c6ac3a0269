"""``python -m benchmarks.beside_others``: how much a foreign busy process slows a step down.

As many processes as `--busy` do nothing but count, while another trains or infers with all of its
threads. Steps alone and beside them take turns of a few seconds, in one process per row, which
starts as the command line does. Two cores and one busy process leave it three quarters of the
machine at best: 1.33 times the time of alone; 2 where work is shared in equal halves.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure.record import RESULTS, write

SPIN = [sys.executable, "-c", "while True: pass"]
BACKBONES = {"demo": 4, "ViT-B-16-quickgelu": 2}
"""By name, the clips of a step."""
OPTIONS: dict[str, dict[str, Any]] = {"demo": {"prompt_depth": 4, "reduction": 4}}
WHAT = ("inference", "train step")


def step_of(backbone: str, clips: int, what: str) -> Callable[[], object]:
    """A step of ours in bf16, as benchmarks.pe_clip measures it."""
    import torch

    from benchmarks import pe_clip
    from peclip_fast import create_model

    classes = pe_clip.CLASSES
    model = create_model(backbone=backbone, classes=classes, **OPTIONS.get(backbone, {}))
    frames = pe_clip.make_frames(clips, model.image_size, torch.device("cpu"))

    def program(frames: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(frames)

    if what == "inference":
        run = pe_clip.infer(model, program)
    else:
        labels = torch.arange(clips) % len(classes)
        run = pe_clip.train_step(model, program, labels)
    return lambda: run(frames)


def median_of(step: Callable[[], object], seconds: float) -> float:
    """Milliseconds of a step, of those of this many seconds, at least two."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 2:
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def measured(backbone: str, clips: int, what: str, seconds: float, busy: int) -> dict[str, Any]:
    """Medians alone and beside ``busy`` processes, in turns."""
    step = step_of(backbone, clips, what)
    step(), step()
    alone, beside = [], []
    for _ in range(2):
        alone.append(median_of(step, seconds))
        others = [subprocess.Popen(SPIN) for _ in range(busy)]
        try:
            time.sleep(0.5)  # until they are counting
            beside.append(median_of(step, seconds))
        finally:
            for other in others:
                other.kill()
                other.wait()
    one, two = statistics.median(alone), statistics.median(beside)
    return {
        "what": what, "backbone": backbone, "clips": clips, "busy": busy,
        "alone_ms": one, "beside_ms": two, "times_as_long": two / one,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", nargs="+", default=list(BACKBONES), choices=list(BACKBONES))
    parser.add_argument("--what", nargs="+", default=list(WHAT), choices=WHAT)
    parser.add_argument("--busy", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        (backbone,), (what,) = options.backbone, options.what
        clips = BACKBONES[backbone]
        print(json.dumps(measured(backbone, clips, what, options.seconds, options.busy)))
        return
    rows = []
    for backbone in options.backbone:
        for what in options.what:
            command = [sys.executable, "-m", "benchmarks.beside_others", "--one",
                       "--backbone", backbone, "--what", what,
                       "--seconds", str(options.seconds), "--busy", str(options.busy)]  # fmt: skip
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            told = "{what:<11}{backbone:<20}{alone_ms:>9.1f} ms{beside_ms:>9.1f} ms beside"
            print(told.format(**rows[-1]) + f"{rows[-1]['times_as_long']:>6.2f}x", flush=True)
    import torch

    print(write("beside_others", torch.device("cpu"), rows, options.output))


if __name__ == "__main__":
    main()
