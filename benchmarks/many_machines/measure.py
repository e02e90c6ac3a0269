"""The small end: parts of training and analysis by themselves, and the whole with 1 and 2 workers.

Each worker has one core. The parts are timed alone and beside another worker at the same work, as
two cores share caches and memory. Whole runs take turns with each other.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from benchmarks.data_loading import VIDEOS, write_clip
from peclip_fast.analyze.analyzer import Analyzer
from peclip_fast.analyze.pipeline.looking import look
from peclip_fast.analyze.pipeline.sources import OpenVideo, TimeSpan, find_sources
from peclip_fast.analyze.tables import Collector
from peclip_fast.config.parser import configure
from peclip_fast.config.run import RunConfig
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.records import DatasetSplits
from peclip_fast.data.splits import open_splits
from peclip_fast.demo.scene import make_scene
from peclip_fast.demo.scene_video import write_scene
from peclip_fast.engine.distributed import World, process_group
from peclip_fast.engine.objective import Objective
from peclip_fast.engine.optimizer import make_optimizer
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.pretrained import create_model
from peclip_fast.plots.curves import read_history

CLIPS, ROUNDS, RUNS = 4, 3, 2
STEPS = {"training": 5, "analysis": 1}  # in a round
VIDEOS_EACH, VIDEO_SECONDS = 2, 8.0
SIZES = (2**12, 2**17, 2**20)  # bytes that are reduced
LARGE = "H.264 720p"
Facts = dict[str, Any]


def mean_of(run: Callable[[], object], times: int) -> float:
    """Seconds a call."""
    begin = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - begin) / times


def worker(rank: int, port: int, work: str, folder: str, queue: Any) -> None:
    """One of two processes on a core each; gives its parts' times, alone and beside."""
    os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[rank]])
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    parts = (training_parts if work == "training" else analysis_parts)(Path(folder))
    for part in parts.values():  # warm up
        part()
    found: dict[str, dict[str, list[float]]] = {n: {"alone": [], "beside": []} for n in parts}
    with process_group(World(rank, 2, rank, 2), torch.device("cpu")):
        for _ in range(ROUNDS):
            for name, part in parts.items():
                dist.barrier()
                if rank == 0:
                    found[name]["alone"].append(mean_of(part, STEPS[work]))
                dist.barrier()
                found[name]["beside"].append(mean_of(part, STEPS[work]))
        reduced = {size: _reduce_time(size) for size in SIZES}
        dist.barrier()
    queue.put((rank, found, reduced))


def _reduce_time(size: int) -> float:
    tensor = torch.zeros(size // 4)
    times = []
    for _ in range(100):
        dist.barrier()
        times.append(mean_of(lambda: dist.all_reduce(tensor), 1))
    return statistics.median(times)


def _demo() -> tuple[RunConfig, DatasetSplits, AdaptedCLIP]:
    config = configure("demo", {"train.device": "cpu"})
    splits = open_splits(config.data)
    return config, splits, create_model(classes=splits.classes, **vars(config.model))


def training_parts(_: Path) -> dict[str, Callable[[], object]]:
    """Of a step of the demo: load a batch, forward, backward, step."""
    config, splits, model = _demo()
    model.train()
    objective, optimizer = Objective(model, config, 0), make_optimizer(model, config)
    clips = ClipDataset(splits.train, config.data, model.image_size, train=True)
    batch = clips.collate([clips.load(index) for index in range(CLIPS)])
    tensors = {n: v for n, v in batch.items() if isinstance(v, torch.Tensor)}
    state: dict[str, torch.Tensor] = {}

    def load() -> None:
        clips.collate([clips.load(index) for index in range(CLIPS)])

    def forward() -> None:
        state["loss"] = objective(tensors, 0)

    def both() -> None:
        objective(tensors, 0).backward()

    def step() -> None:
        optimizer.step()

    return {"load": load, "forward": forward, "both": both, "step": step}


def analysis_parts(folder: Path) -> dict[str, Callable[[], object]]:
    """Of a video: decode it, look at its frames, the rest with the model."""
    analyzer, path = Analyzer(folder / "run", "cpu"), next(folder.glob("*.mp4"))

    def frames(source: Path = path) -> list[Any]:
        with closing(OpenVideo(find_sources([str(source)])[0], TimeSpan())) as video:
            return list(video)

    kept = frames()
    looked = [look(analyzer.finder, frame) for frame in kept]

    def rest() -> None:
        queue = analyzer.queue()
        session = analyzer.session(Collector(), queue)
        for one in looked:
            session.push(one)
        session.end()
        queue.flush()
        session.finish()

    return {
        "decode": frames,
        "look": lambda: [look(analyzer.finder, frame) for frame in kept],
        "rest": rest,
        "decode large": lambda: frames(next((folder / "large").glob("*.mp4"))),
    }


def parts_of(work: str, folder: Path) -> Facts:
    """Seconds of each part: the median over rounds, alone and beside."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    args = [(rank, port, work, str(folder), queue) for rank in range(2)]
    both = [context.Process(target=worker, args=given) for given in args]
    for process in both:
        process.start()
    answers = {rank: rest for rank, *rest in (queue.get() for _ in both)}
    for process in both:
        process.join()
    first, second = answers[0][0], answers[1][0]
    seconds = {
        name: {
            "alone": statistics.median(times["alone"]),
            "beside": statistics.median(times["beside"] + second[name]["beside"]),
            "deviation": statistics.pstdev(times["beside"]) / statistics.mean(times["beside"]),
        }
        for name, times in first.items()
    }
    return {"seconds": seconds, "reduce": {str(k): v for k, v in answers[0][1].items()}}


def train_whole(processes: int, folder: Path) -> float:
    """Seconds of a step in a real run: an epoch of the demo, its clips loaded between the steps."""
    run = folder / f"run-{processes}-{time.monotonic_ns()}"
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    options = {
        "train.epochs": 1, "train.warmup_epochs": 0, "train.batch_size": CLIPS * processes,
        "train.test_every": 0, "train.threads": 1, "data.num_workers": 0, "train.device": "cpu",
    }  # fmt: skip
    argv = [f"--{name}={value}" for name, value in options.items()]
    cores = sorted(os.sched_getaffinity(0))[:processes]
    subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), "-m", "peclip_fast.train",
         "--config", "demo", "--output", str(run), *argv],
        check=True, stdout=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, cores),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    last = read_history(run / "metrics.csv")[-1]
    return CLIPS * processes / float(last["clips_per_second"] or 0)


def _analyze_some(rank: int, folder: str, paths: Any, barrier: Any, queue: Any) -> None:
    os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[rank]])
    torch.set_num_threads(1)
    analyzer = Analyzer(Path(folder) / "run", "cpu")
    video = next(Path(folder).glob("*.mp4"))
    analyzer.analyze(video)
    barrier.wait()
    begin = time.perf_counter()
    while paths.get() is not None:
        analyzer.analyze(video)
    queue.put(time.perf_counter() - begin)


def analyze_whole(workers: int, folder: Path) -> float:
    """Seconds for the videos, by workers that take the next when they have done one."""
    context = multiprocessing.get_context("spawn")
    paths, queue, barrier = context.Queue(), context.Queue(), context.Barrier(workers)
    for number in range(VIDEOS_EACH * 2):
        paths.put(number)
    for _ in range(workers):
        paths.put(None)
    given = (str(folder), paths, barrier, queue)
    all_of = [context.Process(target=_analyze_some, args=(r, *given)) for r in range(workers)]
    for process in all_of:
        process.start()
    times = [queue.get() for _ in all_of]
    for process in all_of:
        process.join()
    return float(max(times))


def measure(run: Path) -> list[Facts]:
    """All rows. Args: run: a trained demo, whose model analyzes."""
    rows: list[Facts] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run").symlink_to(run.absolute())
        scene = folder / "scene.mp4"
        write_scene(scene, make_scene(1, VIDEO_SECONDS, 0))
        (folder / "large").mkdir()
        assert LARGE in VIDEOS
        large = write_clip(LARGE, folder / "large", 0)
        with closing(OpenVideo(find_sources([str(large)])[0], TimeSpan())) as video:
            large_frames = sum(1 for _ in video)
        with closing(OpenVideo(find_sources([str(scene)])[0], TimeSpan())) as video:
            frames = sum(1 for _ in video)
        windows = Analyzer(run, "cpu").windows
        trained = sum(p.nbytes for p in _demo()[2].trained_parameters().values())
        rows.append({
            "what": "training parts", "clips": CLIPS, "trained_bytes": trained,
            **parts_of("training", folder),
        })  # fmt: skip
        rows.append({
            "what": "analysis parts", "frames": frames, "large_frames": large_frames,
            "seconds_of_video": VIDEO_SECONDS, "window": windows.seconds,
            "stride": windows.stride, **parts_of("analysis", folder),
        })  # fmt: skip
        wholes: dict[tuple[str, int], list[float]] = {}
        for _ in range(RUNS):
            for workers in (1, 2):
                for what, whole in (("training", train_whole), ("analysis", analyze_whole)):
                    wholes.setdefault((what, workers), []).append(whole(workers, folder))
    for (what, workers), times in wholes.items():
        row = {"what": what, "workers": workers, "seconds": statistics.median(times)}
        rows.append(row | {"all": times, "videos": 2 * VIDEOS_EACH})
        print(rows[-1], flush=True)
    return rows


def model_facts() -> Facts:
    """Of PE-CLIP on ViT-B/16 with 16 frames: operations of 8 clips, and bytes of gradients."""
    from benchmarks.measure.flops import gflop
    from benchmarks.step_budget.steps import BACKBONE, CLASSES, FRAMES

    with torch.device("meta"):
        model: Any = create_model(backbone=BACKBONE, classes=CLASSES)
    return {
        "gflop_train": gflop(model, FRAMES, 8, True),
        "gflop_inference": gflop(model, FRAMES, 8, False),
        "trained_bytes": sum(4 * p.numel() for p in model.trained_parameters().values()),
    }
