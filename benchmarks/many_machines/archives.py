"""``python -m benchmarks.many_machines.archives RUN``: an archive by this process and by Ray.

RUN is a run of the demo, whose model analyzes short drawn videos. Each worker has one core and one
thread, this process too; all have done a video before the clock starts. The programs take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure.record import RESULTS, write
from peclip_fast.analyze.analyzer import Analyzer
from peclip_fast.analyze.pipeline.sources import TimeSpan
from peclip_fast.archive.engines import Cluster, Engine, LocalEngine, RayEngine
from peclip_fast.archive.work import Order, VideoTask
from peclip_fast.config.parser import resolve
from peclip_fast.demo.scene import make_scene
from peclip_fast.demo.scene_video import write_scene
from peclip_fast.engine.run_folder import RunFolder

ALONE = "plain analyze"
SECONDS = 8.0  # of a video


def drive(engine: Engine, tasks: list[VideoTask]) -> float:
    """Seconds for all tasks.

    Raises:
        SystemExit: a video has no result.
    """
    begin, on_their_way, waiting = time.perf_counter(), 0, list(tasks)
    while waiting or on_their_way:
        if waiting and on_their_way < engine.slots:
            engine.submit(waiting.pop())
            on_their_way += 1
            continue
        ended = engine.take()
        on_their_way -= 1
        if ended.error is not None:
            raise SystemExit(ended.error)
    return time.perf_counter() - begin


def measure(run: RunFolder, videos: int, turns: int) -> list[dict[str, Any]]:
    """A row for this process, and for one and two workers."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    config = resolve(run.layers())
    analyzer = Analyzer(run, "cpu", config=config)
    order = Order(analyzer.recipe(), TimeSpan(), False, None)
    cores = sorted(os.sched_getaffinity(0))
    times: dict[str, list[float]] = {ALONE: [], "Ray, 1 worker": [], "Ray, 2 workers": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scene(folder / "scene.mp4", make_scene(1, SECONDS, 0))
        tasks = [
            VideoTask(k, str(folder / "scene.mp4"), str(folder / f"out{k}")) for k in range(videos)
        ]
        for _ in range(turns):
            for workers, (program, found) in enumerate(times.items()):
                if workers == 0:
                    os.sched_setaffinity(0, cores[:1])
                    engine: Engine = LocalEngine(order, analyzer.classifier)
                else:
                    engine = RayEngine(order, run, config, Cluster(workers))
                drive(engine, tasks[: engine.slots])
                found.append(drive(engine, tasks))
                engine.close()
                os.sched_setaffinity(0, cores)
                print(f"{program:<16}{found[-1]:>8.2f} s", flush=True)
    medians = {program: statistics.median(found) for program, found in times.items()}
    return [
        {
            "program": program, "videos": videos, "seconds_of_video": SECONDS,
            "seconds": seconds, "all": times[program],
            "times_faster_than": {
                other: medians[other] / seconds for other in medians if other != program
            },
        }
        for program, seconds in medians.items()
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = measure(RunFolder(options.run.absolute()), options.videos, options.turns)
    print(write("archives", torch.device("cpu"), rows, options.output))


if __name__ == "__main__":
    main()
