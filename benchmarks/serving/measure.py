"""``python -m benchmarks.serving RUN``: a server's answers to one clip, and the same in a loop.

RUN is a run of the demo, and the clips are the demo's test clips. Clients send a clip to
``/v1/predict``, and the next one when they have the answer. Beside them stand two loops in this
process: one that calls what ``peclip-fast predict`` calls for each clip, and one that has the model
loaded. All must give the same probabilities. The programs take turns.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure.record import RESULTS, write
from peclip_fast.commands.predict import predictions
from peclip_fast.config.parser import resolve
from peclip_fast.data.splits import open_files, open_splits
from peclip_fast.engine.distributed import World, set_up
from peclip_fast.engine.evaluation import predict_clips
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.models.pretrained import from_pretrained

CLIENTS = (1, 4, 16)
COMMAND, LOADED = "predict in a loop", "predict_clips in a loop, model loaded"
NEAR = 1e-5  # probabilities of the same clip
Answer = dict[str, float]
Ask = Callable[[Path], Answer]


@contextmanager
def server(run: Path) -> Iterator[int]:
    """The port of a server of a run."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "peclip_fast", "serve", str(run), "--port", "0",
             "--folder", folder],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            found = re.search(r":(\d+)/", process.stdout.readline())
            if found is None:
                raise SystemExit("the server didn't start")
            yield int(found[1])
        finally:
            process.terminate()
            process.wait()


def asking(port: int) -> Ask:
    """Of a client, which keeps its connection."""
    connection = HTTPConnection("127.0.0.1", port)

    def ask(clip: Path) -> Answer:
        connection.request("POST", "/v1/predict", clip.read_bytes())
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{clip}: {answer.status} {body.decode()}")
        found: Answer = json.loads(body)["probabilities"]
        return found

    return ask


def loops(run: RunFolder) -> dict[str, Ask]:
    """The two loops' steps."""
    config = resolve(run.layers())
    device = set_up(config.train, World(0, 1, 0, 1))
    model = from_pretrained(run.model)

    def loaded(clip: Path) -> Answer:
        records = open_files([str(clip)], config.data, model.inputs)
        found = predict_clips(model, records, config, device).probabilities[0].tolist()
        return dict(zip(model.classes, found, strict=True))

    def command(clip: Path) -> Answer:
        found: Answer = predictions(run, config, [str(clip)])[0]["probabilities"]
        return found

    return {COMMAND: command, LOADED: loaded}


def times_of(asks: list[Ask], clips: list[Path], seconds: float) -> tuple[list[float], float]:
    """The time of each answer, and answers a second of all clients together."""
    times: list[list[float]] = [[] for _ in asks]
    begin = time.perf_counter()

    def work(number: int) -> None:
        for clip in itertools.islice(itertools.cycle(clips), number, None):
            start = time.perf_counter()
            asks[number](clip)
            times[number].append(time.perf_counter() - start)
            if time.perf_counter() > begin + seconds:
                return

    with ThreadPoolExecutor(len(asks)) as pool:
        list(pool.map(work, range(len(asks))))
    took = time.perf_counter() - begin
    found = [one for of_client in times for one in of_client]
    return found, len(found) / took


def measure(run: RunFolder, seconds: float, turns: int) -> list[dict[str, Any]]:
    """A row for each loop and number of clients."""
    config = resolve(run.layers())
    clips = [record.path for record in open_splits(config.data).test]
    with server(run.path) as port:
        known = loops(run)
        # A client that was silent for long is no longer connected.
        programs: dict[str, Callable[[], list[Ask]]] = {
            name: lambda ask=ask: [ask]  # type: ignore[misc]
            for name, ask in known.items()
        }
        for count in CLIENTS:
            name = f"serve, {count} client" + ("s" if count > 1 else "")
            programs[name] = lambda count=count: [asking(port) for _ in range(count)]  # type: ignore[misc]
        expected = [known[LOADED](clip) for clip in clips[:8]]
        for name, connect in programs.items():
            ask = connect()[0]
            for clip, answer in zip(clips, expected, strict=False):
                found = ask(clip)
                if max(abs(found[key] - answer[key]) for key in answer) > NEAR:
                    raise SystemExit(f"{name}: other probabilities of {clip}")
        taken: dict[str, list[tuple[list[float], float]]] = {name: [] for name in programs}
        for _ in range(turns):
            for name, connect in programs.items():
                taken[name].append(times_of(connect(), clips, seconds))
                print(f"{name:<40}{taken[name][-1][1]:>8.1f} clips/s", flush=True)
    rates = {name: statistics.median(rate for _, rate in found) for name, found in taken.items()}
    rows = []
    for name, found in taken.items():
        times = sorted(1e3 * one for of_turn, _ in found for one in of_turn)
        rows.append({
            "program": name, "clips_per_s": rates[name], "median_ms": statistics.median(times),
            "p95_ms": times[int(0.95 * (len(times) - 1))], "answers": len(times),
            "times_faster_than": {
                other: rates[name] / rates[other] for other in (COMMAND, LOADED) if other != name
            },
        })  # fmt: skip
    return rows


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = measure(RunFolder(options.run.absolute()), options.seconds, options.turns)
    print(write("serving", torch.device("cpu"), rows, options.output))
