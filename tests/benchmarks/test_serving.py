"""How answers are counted, and that the loops give the same."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from benchmarks.serving import measure
from peclip_fast.engine.run_folder import RunFolder

CLIPS = [Path(f"{number}.mp4") for number in range(3)]


def test_each_client_begins_with_its_own_clip_and_goes_round() -> None:
    asked: dict[int, list[str]] = {0: [], 1: []}
    together = threading.Barrier(2)

    def client(number: int):
        def ask(clip: Path) -> dict[str, float]:
            if not asked[number]:
                together.wait(10)  # both at once
            asked[number].append(clip.stem)
            time.sleep(0.02)
            return {}

        return ask

    times, rate = measure.times_of([client(0), client(1)], CLIPS, 0.2)
    assert asked[0][:4] == ["0", "1", "2", "0"]
    assert asked[1][:4] == ["1", "2", "0", "1"]
    assert len(times) == len(asked[0]) + len(asked[1])
    assert min(times) >= 0.02
    assert 0 < rate <= 2 / 0.02


def test_both_loops_give_the_same(trained_run, tiny_clips) -> None:
    loop = measure.loops(RunFolder(trained_run))
    assert loop.keys() == {measure.COMMAND, measure.LOADED}
    clip = next(path for path in sorted(tiny_clips.glob("test/*/*")))
    first, second = (ask(clip) for ask in loop.values())
    assert first.keys() == second.keys()
    assert max(abs(first[key] - second[key]) for key in first) < measure.NEAR
