"""``python -m faults.read_clips BYTES SECONDS``: read clips whose paths come by standard input.

In a process of its own, since a clip may end it: with so many bytes of memory beyond what the
imports take, and so many seconds for a clip. Prints a line of JSON for each, before the next one.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

from faults.campaign import WrongError, judged, little_memory

from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.data.transforms.sampling import sample_indices


def read(path: str) -> None:
    """What training, testing and the commands read of a clip."""
    source = open_clip_source(path)
    try:
        indices = sample_indices(source.num_frames, 16)
        taken = source.read(indices)
        one = source.read(indices[-1:])
        if taken.shape != (len(indices), *one.shape[1:]):
            raise WrongError(f"frames of two sizes: {taken.shape} and {one.shape}")
        for frame in source.frames():
            if frame.shape != one.shape[1:]:
                raise WrongError(f"frames of two sizes: {frame.shape} and {one.shape}")
    finally:
        source.close()


def main(memory: int, seconds: float) -> None:
    warnings.simplefilter("ignore")
    with little_memory(memory):
        for line in sys.stdin:
            path = json.loads(line)
            start = time.monotonic()
            verdict = judged(lambda path=path: read(path), limit=seconds)
            wall = time.monotonic() - start
            print(json.dumps(verdict._replace(seconds=wall)._asdict()), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
